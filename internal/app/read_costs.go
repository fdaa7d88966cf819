package app

import (
	"context"
	"time"

	"sallyport/internal/fault"
)

// Cost is what was used under one key: an agent, a model, the name of an API
// key (empty for calls without one) or a UTC day. Tokens are as the upstream
// reported them: input leaves out what was read from a cache and written to one,
// output has the reasoning in it.
type Cost struct {
	Key        string  `json:"key"`
	Calls      int     `json:"calls"`
	Input      int64   `json:"input_tokens"`
	Output     int64   `json:"output_tokens"`
	CacheRead  int64   `json:"cache_read_tokens"`
	CacheWrite int64   `json:"cache_write_tokens"`
	Reasoning  int64   `json:"reasoning_tokens"`
	Dollars    float64 `json:"dollars"`
}

// Costs sums what was spent since a time by agent, model, key or day.
func (a *App) Costs(ctx context.Context, by string, since time.Time) ([]Cost, error) {
	out := []Cost{}
	switch by {
	case "agent", "model", "key", "day":
	default:
		return nil, fault.New("app.costs", fault.Usage, "costs are grouped by agent, model, key or day, not by %q", by)
	}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	rows, err := st.Costs(ctx, by, since)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		out = append(out, Cost{
			Key: r.Key, Calls: r.Calls, Input: r.Input, Output: r.Output, CacheRead: r.CacheRead, CacheWrite: r.CacheWrite,
			Reasoning: r.Reasoning, Dollars: r.Cost.Dollars(),
		})
	}
	return out, nil
}
