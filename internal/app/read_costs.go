package app

import (
	"context"
	"time"

	"sallyport/internal/fault"
)

// Cost is money spent under one key: an agent, a model or a UTC day.
type Cost struct {
	Key     string  `json:"key"`
	Calls   int     `json:"calls"`
	Dollars float64 `json:"dollars"`
}

// Costs sums what was spent since a time by agent, model or day.
func (a *App) Costs(ctx context.Context, by string, since time.Time) ([]Cost, error) {
	out := []Cost{}
	switch by {
	case "agent", "model", "day":
	default:
		return nil, fault.New("app.costs", fault.Usage, "costs are grouped by agent, model or day, not by %q", by)
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
		out = append(out, Cost{Key: r.Key, Calls: r.Calls, Dollars: r.Cost.Dollars()})
	}
	return out, nil
}
