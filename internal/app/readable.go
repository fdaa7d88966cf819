package app

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/obs"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// readable is the ledger with the readable log beside it: every action,
// allowed or denied, and every outcome leaves a line for people. The lines are
// a convenience; the evidence is the store's.
type readable struct {
	*store.Store
	file     *obs.LogFile
	log      *slog.Logger
	channels []string // that leave lines; empty: all
	text     func(string) string
}

// newReadable opens the readable log as the configuration says.
func (a *App) newReadable(st *store.Store) (*readable, error) {
	level, err := obs.ParseLevel(a.Config.Logging.Level)
	if err != nil {
		return nil, fault.Wrap("app.log", fault.Config, err)
	}
	file, err := obs.OpenLog(obs.LogOptions{
		Path: a.Paths.Log, MaxBytes: a.Config.Logging.RotateAt(), Backups: a.Config.Logging.BackupCount, Level: level,
		Text: a.Config.Logging.Format == "text",
	})
	if err != nil {
		return nil, err
	}
	hide := func(s string) string { return s }
	m, err := a.lazy.mask.get()
	if err != nil {
		return nil, err
	}
	if m != nil {
		hide = m.String
	}
	return &readable{Store: st, file: file, log: file.Logger(), channels: a.Config.Monitoring.Channels, text: hide}, nil
}

// shows tells whether events of a channel leave a line.
func (r *readable) shows(channel string) bool {
	return len(r.channels) == 0 || slices.Contains(r.channels, strings.ToLower(channel))
}

// clear gives a text as the readable log may hold it: masked, or left out where
// the store withholds texts of that label too.
func (r *readable) clear(l label.Label, text string) string {
	if text == "" || r.Clears(l) {
		return r.text(text)
	}
	return "(withheld: " + l.String() + ")"
}

// Intend implements gate.Ledger.
func (r *readable) Intend(ctx context.Context, in record.Intent) (record.Receipt, error) {
	got, err := r.Store.Intend(ctx, in)
	level := slog.LevelInfo
	verdict := in.Decision.Verdict.String()
	if in.Decision.Verdict != record.Allow || err != nil {
		level = slog.LevelWarn
	}
	if err != nil {
		verdict = "not recorded: " + fault.KindOf(err).String()
	}
	a := in.Action
	if !r.shows(store.Channel(a.Kind, a.Agent)) && err == nil {
		return got, err
	}
	said := in.Context.Join(in.Args)
	r.log.LogAttrs(ctx, level, "action",
		slog.String("decision", verdict), slog.String("kind", string(a.Kind)), slog.String("target", r.clear(said, a.Target)),
		slog.String("agent", a.Agent), slog.String("session", a.Session), slog.Any("rules", in.Decision.Rules),
		slog.String("because", r.clear(said, in.Decision.Because)), slog.Int64("intent", got.ID), slog.Int64("leaf", got.Leaf))
	return got, err
}

// Settle implements gate.Ledger.
func (r *readable) Settle(ctx context.Context, out record.Outcome) error {
	err := r.Store.Settle(ctx, out)
	level := slog.LevelInfo
	if out.Status != record.Done || err != nil {
		level = slog.LevelWarn
	}
	r.log.LogAttrs(ctx, level, "outcome",
		slog.Int64("intent", out.Intent), slog.String("status", string(out.Status)), slog.String("error", r.clear(out.Result.Label, out.Err)),
		slog.Int64("cost_micros", int64(out.Result.Cost)), slog.Duration("elapsed", out.Elapsed))
	return err
}

// Append records an event in both.
func (r *readable) Append(ctx context.Context, e record.Event) (int64, error) {
	leaf, err := r.Store.Append(ctx, e)
	if !r.shows(e.Channel) && err == nil {
		return leaf, err
	}
	r.log.LogAttrs(ctx, slog.LevelInfo, "event",
		slog.String("type", e.Type), slog.String("agent", e.Agent), slog.String("session", e.Session),
		slog.String("level", e.Level), slog.Int64("leaf", leaf))
	return leaf, err
}
