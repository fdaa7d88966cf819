package store

import (
	"context"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

const selectMessage = `SELECT id, slot, writer, reader, sent, fetched FROM messages `

// PutMessage puts a message into a slot of its recipient; a zero Sent is now.
// fault.Conflict if its id was used.
func (s *Store) PutMessage(ctx context.Context, m record.Message) error {
	const name = "store.putMessage"
	if m.ID == "" || m.To == "" {
		return fault.New(name, fault.Internal, "a message has an id and a recipient")
	}
	err := s.do(ctx, name, func(t *tx) error {
		sent := m.Sent.UnixMicro()
		if m.Sent.IsZero() {
			sent = t.now()
		}
		res, err := t.exec(`INSERT OR IGNORE INTO messages (id, reader, slot, writer, sent, fetched) VALUES (?, ?, ?, ?, ?, ?)`,
			m.ID, m.To, m.Slot, m.From, sent, m.Fetched)
		return inserted(res, err, fault.New(name, fault.Conflict, "there is a message %s already", m.ID))
	})
	return s.explain(name, err)
}

// inserted gives taken if a statement changed nothing.
func inserted(res interface{ RowsAffected() (int64, error) }, err error, taken *fault.Error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return taken
	}
	return nil
}

func (s *Store) messages(ctx context.Context, name, where string, args ...any) ([]record.Message, error) {
	var out []record.Message
	err := s.each(ctx, name, selectMessage+where, args, func(scan func(...any) error) error {
		var m record.Message
		var sent int64
		err := scan(&m.ID, &m.Slot, &m.From, &m.To, &sent, &m.Fetched)
		m.Sent = time.UnixMicro(sent).UTC()
		out = append(out, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Messages gives at most limit messages of a slot, newest first.
func (s *Store) Messages(ctx context.Context, to, slot string, limit int) ([]record.Message, error) {
	return s.messages(ctx, "store.messages", `WHERE reader=? AND slot=? ORDER BY n DESC LIMIT ?`, to, slot, max(limit, 0))
}

// Message gives one message; fault.NotFound if there is none.
func (s *Store) Message(ctx context.Context, id string) (record.Message, error) {
	const name = "store.message"
	all, err := s.messages(ctx, name, `WHERE id=?`, id)
	if err == nil && len(all) == 0 {
		err = fault.New(name, fault.NotFound, "there is no message %s; list the inbox", id)
	}
	if err != nil {
		return record.Message{}, err
	}
	return all[0], nil
}

// FetchMessages marks all messages of a slot as listed to their reader.
func (s *Store) FetchMessages(ctx context.Context, to, slot string) error {
	const name = "store.fetchMessages"
	return s.explain(name, s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`UPDATE messages SET fetched=1 WHERE reader=? AND slot=? AND fetched=0`, to, slot)
		return err
	}))
}
