package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// when is a moment that a person writes: a span back from now (90m, 24h, 7d),
// a date or a date with time in the local zone, or RFC 3339.
type when struct{ time.Time }

// Decode reads the flag's value.
func (w *when) Decode(ctx *kong.DecodeContext) error {
	var s string
	if err := ctx.Scan.PopValueInto("time", &s); err != nil {
		return err
	}
	t, err := parseWhen(s, time.Now())
	if err != nil {
		return err
	}
	w.Time = t
	return nil
}

func parseWhen(s string, now time.Time) (time.Time, error) {
	s = strings.TrimSpace(s)
	if d, err := parseSpan(s); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time; write a span back from now (90m, 24h, 7d), a date (2024-03-07) or RFC 3339", s)
}

// parseSpan reads Go's durations and whole days and weeks.
func parseSpan(s string) (time.Duration, error) {
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			days, err := strconv.ParseUint(n, 10, 16)
			if err != nil {
				return 0, fmt.Errorf("%q is no span of time; write 90m, 24h or 7d", s)
			}
			return time.Duration(days) * unit, nil
		}
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no span of time; write 90m, 24h or 7d", s)
	}
	return d, nil
}

// span is a duration that may be written in days.
type span struct{ time.Duration }

// Decode reads the flag's value.
func (p *span) Decode(ctx *kong.DecodeContext) error {
	var s string
	if err := ctx.Scan.PopValueInto("duration", &s); err != nil {
		return err
	}
	d, err := parseSpan(s)
	p.Duration = d
	return err
}
