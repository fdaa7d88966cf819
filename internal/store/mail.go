package store

import (
	"context"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

const selectMessage = `SELECT id, slot, writer, reader, sent, fetched, made FROM messages `

// MailPerDay is how many messages a writer can put into one slot within 24
// hours. What the reader does with them changes nothing, and a context counts
// only those that were sent by contexts of which it may know: a bound that told
// of anybody else would be a message to who meets it.
const MailPerDay = 1000

// PutMessage puts a message into a slot of its recipient; a zero Sent is now.
// fault.Conflict if its id was used, fault.Denied beyond MailPerDay.
func (s *Store) PutMessage(ctx context.Context, m record.Message) error {
	return s.explain("store.putMessage", s.do(ctx, "store.putMessage", func(t *tx) error { return t.putMessage(m) }))
}

func (t *tx) putMessage(m record.Message) error {
	const name = "store.putMessage"
	if m.ID == "" || m.To == "" || !m.Made.Valid() {
		return fault.New(name, fault.Internal, "a message has an id, a recipient, and the label of who sent it")
	}
	sent := m.Sent.UnixMicro()
	if m.Sent.IsZero() {
		sent = t.now()
	}
	if n, err := t.sentBefore(m, sent); err != nil {
		return err
	} else if n >= MailPerDay {
		return fault.New(name, fault.Denied, "%s sent %d messages from %s to %s within a day, and more are not taken; send fewer and longer ones", m.From, MailPerDay, m.Slot, m.To)
	}
	res, err := t.exec(`INSERT OR IGNORE INTO messages (id, reader, slot, writer, sent, fetched, made) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		m.ID, m.To, m.Slot, m.From, sent, m.Fetched, m.Made.String())
	return inserted(res, err, fault.New(name, fault.Conflict, "there is a message %s already", m.ID))
}

// sentBefore counts what the writer of a message put into its slot within a day
// before, as far as the writing context may know of it.
func (t *tx) sentBefore(m record.Message, at int64) (n int, err error) {
	err = t.each(func(scan func(...any) error) error {
		var made string
		var count int
		if err := scan(&made, &count); err != nil {
			return err
		}
		if l, err := label.Parse(made); err == nil && l.FlowsTo(m.Made) {
			n += count
		}
		return nil
	}, `SELECT made, count(*) FROM messages WHERE writer=? AND reader=? AND slot=? AND sent > ? GROUP BY made`,
		m.From, m.To, m.Slot, at-(24*time.Hour).Microseconds())
	return n, err
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
		var made string
		err := scan(&m.ID, &m.Slot, &m.From, &m.To, &sent, &m.Fetched, &made)
		m.Made = label.Unlabelled
		if made != "" && err == nil { // what older programs stored says none
			m.Made, err = storedLabel(name, made)
		}
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
