package store

import (
	"context"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// SaveMemory keeps what an agent notes for its next session in the slot with a
// fixed label. A context may write it only if its label flows to the slot's
// (rule R5), else it is fault.Denied. The text of a slot that is not clear (see
// Options.Clear) is whatever the caller sealed it into, stored as it is.
func (s *Store) SaveMemory(ctx context.Context, agent, note string, from, slot label.Label) error {
	const name = "store.saveMemory"
	if !from.FlowsTo(slot) {
		return fault.New(name, fault.Denied, "rule R5 forbids the note: the context is %s and the agent's memory %s, which must be able to hold all that the context has seen; end the session without a note", from, slot)
	}
	if s.Clears(slot) {
		note = s.text("note", note)
	}
	return s.explain(name, s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`INSERT OR REPLACE INTO memory VALUES (?,?,?,?)`, agent, slot.String(), []byte(note), t.now())
		return err
	}))
}

// Memory gives what an agent noted in a slot; ok is false if nothing. What is in
// other slots, and whether anything is, plays no part.
func (s *Store) Memory(ctx context.Context, agent string, slot label.Label) (note string, ok bool, err error) {
	err = s.each(ctx, "store.memory", `SELECT note FROM memory WHERE agent=? AND slot=?`, []any{agent, slot.String()}, func(scan func(...any) error) error {
		ok = true
		return scan(&note)
	})
	return note, ok && err == nil, err
}
