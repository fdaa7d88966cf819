package app

import (
	"context"
	"encoding/base64"
	"time"

	"sallyport/internal/audit"
	"sallyport/internal/fault"
)

// LogEntry is one entry of the verifiable log as it was hashed.
type LogEntry struct {
	Seq      int64     `json:"seq"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind"`
	Agent    string    `json:"agent,omitempty"`   // pseudonym
	Session  string    `json:"session,omitempty"` // pseudonym
	Decision string    `json:"decision,omitempty"`
	Rules    []string  `json:"rules,omitempty"`
	Label    string    `json:"label,omitempty"`
	Hash     string    `json:"hash"` // base64
}

// LogView is the newest part of the log.
type LogView struct {
	Size       int64      `json:"size"`
	Entries    []LogEntry `json:"entries"`
	Checkpoint string     `json:"checkpoint"` // the newest signed tree head
}

// Log gives the newest limit entries, 0 for all, and the checkpoint.
func (a *App) Log(ctx context.Context, limit int) (LogView, error) {
	out := LogView{Entries: []LogEntry{}}
	st, ok, err := a.reader(ctx)
	if err != nil || !ok {
		return out, err
	}
	size, note, err := st.Latest(ctx)
	if err != nil {
		return out, err
	}
	out.Size, out.Checkpoint = size, string(note)
	err = st.Entries(ctx, size, false, func(seq int64, leaf, hash []byte, _ map[string][2][]byte) error {
		if limit > 0 && seq < size-int64(limit) {
			return nil
		}
		l, err := audit.ParseLeaf(leaf)
		if err != nil {
			return fault.New("app.log", fault.Corrupt, "entry %d of the log cannot be read: run `sallyport verify`", seq)
		}
		out.Entries = append(out.Entries, LogEntry{
			Seq: l.Seq, Time: l.Time, Kind: l.Kind, Agent: l.Agent, Session: l.Session, Decision: l.Decision,
			Rules: l.Rules, Label: l.Label, Hash: base64.StdEncoding.EncodeToString(hash),
		})
		return nil
	})
	return out, err
}
