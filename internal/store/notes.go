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
