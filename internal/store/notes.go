package store

import (
	"context"

	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// SaveNote keeps the note with which an agent's session ended, for the next
// one. It carries the label of the context that wrote it. That a note was made
// is an event of the session, which the agent's loop appends.
func (s *Store) SaveNote(ctx context.Context, agent, note string, l label.Label) error {
	const name = "store.saveNote"
	note = s.text("note", note)
	err := s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`INSERT INTO notes VALUES (?1,?2,?3,?4) ON CONFLICT (agent) DO UPDATE SET note=?2, label=?3, time=?4`,
			agent, note, l.String(), max(t.tree.clock, s.opt.Now().UnixMicro()))
		return err
	})
	return s.explain(name, err)
}

// LastNote gives an agent's last note with its label; ok is false if there is
// none.
func (s *Store) LastNote(ctx context.Context, agent string) (note string, l label.Label, ok bool, err error) {
	const name = "store.lastNote"
	err = s.each(ctx, name, `SELECT note, label FROM notes WHERE agent=?`, []any{agent}, func(scan func(...any) error) error {
		var text string
		if err := scan(&note, &text); err != nil {
			return err
		}
		ok = true
		if l.UnmarshalText([]byte(text)) != nil {
			return fault.New(name, fault.Corrupt, "the label of the last session note cannot be read: restore a backup")
		}
		return nil
	})
	if err != nil {
		return "", label.Unlabelled, false, s.explain(name, err)
	}
	return note, l, ok, nil
}

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
