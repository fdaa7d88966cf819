package store

import (
	"context"
	"math"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// usage is what a model call used, in tokens.
type usage struct{ input, output, cacheRead, cacheWrite, reasoning int64 }

// maxTokens bounds a figure that an upstream reports, so that no sum of them
// overflows.
const maxTokens = 1 << 40

// usageOf reads an outcome's usage{input_tokens, output_tokens, …}; what is not
// there, or is no such number, is zero.
func usageOf(data map[string]any) usage {
	var get func(string) any
	switch m := data["usage"].(type) {
	case map[string]any:
		get = func(k string) any { return m[k] }
	case map[string]int64:
		get = func(k string) any { return m[k] }
	case map[string]int:
		get = func(k string) any { return int64(m[k]) }
	default:
		return usage{}
	}
	n := func(k string) int64 {
		switch v := get(k).(type) {
		case int64:
			return min(max(v, 0), maxTokens)
		case int:
			return min(max(int64(v), 0), maxTokens)
		case float64:
			if v >= 0 && v <= maxTokens && v == math.Trunc(v) {
				return int64(v)
			}
		}
		return 0
	}
	return usage{n("input_tokens"), n("output_tokens"), n("cache_read_tokens"), n("cache_write_tokens"), n("reasoning_tokens")}
}

// Groupings of Costs.
const (
	ByAgent = "agent"
	ByModel = "model"
	ByKey   = "key"
	ByDay   = "day"
)

// CostRow is what was used under one key: an agent, a model, the name of an API
// key (empty for calls without one) or a UTC day. Input, Output, CacheRead,
// CacheWrite and Reasoning are tokens as the upstream reported them; Input leaves
// out what was read from a cache or written to one, Output has the reasoning.
type CostRow struct {
	Key                                             string
	Calls                                           int
	Cost                                            record.Micros
	Input, Output, CacheRead, CacheWrite, Reasoning int64
}

const (
	costColumns = `, count(*), sum(cost), sum(input), sum(output), sum(cache_read), sum(cache_write), sum(reasoning) FROM intents `
	costRows    = ` WHERE (cost > 0 OR input > 0 OR output > 0) AND settled >= ? GROUP BY 1 ORDER BY `
)

var costQueries = map[string]string{
	ByAgent: `SELECT intents.agent` + costColumns + costRows + `3 DESC, 1`,
	ByModel: `SELECT target` + costColumns + costRows + `3 DESC, 1`,
	ByKey:   `SELECT COALESCE(k.name, api_key)` + costColumns + `LEFT JOIN api_keys k ON k.id = api_key` + costRows + `3 DESC, 1`,
	ByDay:   `SELECT date(settled/1000000, 'unixepoch')` + costColumns + costRows + `1`,
}

// Costs sums what settled calls used since a time. A call counts if it cost
// something or used tokens.
func (s *Store) Costs(ctx context.Context, by string, since time.Time) ([]CostRow, error) {
	const name = "store.costs"
	query, ok := costQueries[by]
	if !ok {
		return nil, fault.New(name, fault.Usage, "costs are grouped by agent, model, key or day, not by %q", by)
	}
	from := int64(0)
	if !since.IsZero() {
		from = since.UnixMicro()
	}
	var out []CostRow
	err := s.each(ctx, name, query, []any{from}, func(scan func(...any) error) error {
		var r CostRow
		err := scan(&r.Key, &r.Calls, &r.Cost, &r.Input, &r.Output, &r.CacheRead, &r.CacheWrite, &r.Reasoning)
		out = append(out, r)
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}
