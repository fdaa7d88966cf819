package app

import (
	"context"
	"encoding/json"

	"sallyport/internal/store"
)

// nameAgents fills in the agents of runs that the row does not name, from the
// event that recorded the run's start: a stop must find whom it is for.
func nameAgents(ctx context.Context, st *store.Store, runs []store.RunInfo) error {
	unnamed := map[int64]*store.RunInfo{}
	for i := range runs {
		if runs[i].Alive && len(runs[i].Agents) == 0 {
			unnamed[runs[i].ID] = &runs[i]
		}
	}
	if len(unnamed) == 0 {
		return nil
	}
	events, err := st.Events(ctx, store.Filter{Types: []string{"run.start"}, Newest: true})
	if err != nil {
		return err
	}
	for _, e := range events {
		var d struct {
			Run    int64    `json:"run"`
			Agents []string `json:"agents"`
		}
		if json.Unmarshal(e.Data, &d) != nil {
			continue // not an event of ours
		}
		if r := unnamed[d.Run]; r != nil {
			r.Agents = d.Agents
		}
	}
	return nil
}
