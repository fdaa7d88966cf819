package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// askIDLength gives 2^30 ids, of which few are open at a time.
const askIDLength = 6

// PutAsk stores an open ask and gives its id.
func (s *Store) PutAsk(ctx context.Context, a record.AskRow) (string, error) {
	const name = "store.putAsk"
	if a.Nonce == "" || a.Expires.IsZero() {
		return "", fault.New(name, fault.Internal, "an ask needs a nonce and an expiry")
	}
	id := a.ID
	err := s.do(ctx, name, func(t *tx) error {
		for try := 0; ; try++ {
			if a.ID == "" {
				id = shortID(askIDLength)
			}
			var taken int
			if err := t.row(`SELECT count(*) FROM asks WHERE id=?`, id).Scan(&taken); err != nil {
				return err
			}
			if taken == 0 {
				break
			}
			if a.ID != "" || try > 16 {
				return fault.New(name, fault.Conflict, "there is an ask %s already", id)
			}
		}
		knows, err := t.sessionLabel(a.Agent, a.Session)
		if err != nil {
			return err
		}
		hide := !s.Clears(knows.Join(a.Seen))
		if _, err := t.exec(`INSERT INTO asks VALUES (?,?,?,?,'open',?,?,?,?,?,?,?)`, id, a.Digest.String(), max(t.tree.clock, s.opt.Now().UnixMicro()),
			a.Expires.UnixMicro(), a.Agent, a.Session, string(a.Kind), s.sealed(a.Target, hide), s.sealed(a.Because, hide), a.Nonce,
			[]byte(s.sealed(string(a.Payload), hide))); err != nil {
			return err
		}
		return t.note(record.Event{Type: "approval.ask", Agent: a.Agent, Session: a.Session, Level: "warning", Data: map[string]any{
			"ask": id, "kind": string(a.Kind), "target": a.Target, "because": a.Because, "expires": a.Expires.UTC().Format(time.RFC3339),
		}}, "ask", "kind", "expires")
	})
	if err != nil {
		return "", s.explain(name, err)
	}
	return id, nil
}

const selectAsk = `SELECT id, digest, created, expires, state, agent, session, kind, target, because, nonce, payload FROM asks `

func (s *Store) scanAsk(scan func(...any) error) (record.AskRow, error) {
	var a record.AskRow
	var digest, kind string
	var created, expires int64
	if err := scan(&a.ID, &digest, &created, &expires, &a.State, &a.Agent, &a.Session, &kind, &a.Target, &a.Because, &a.Nonce, &a.Payload); err != nil {
		return a, err
	}
	a.Target, a.Because, a.Payload = s.unsealed(a.Target), s.unsealed(a.Because), []byte(s.unsealed(string(a.Payload)))
	var err error
	a.Digest, err = action.ParseDigest(digest)
	a.Kind, a.Created, a.Expires = action.Kind(kind), time.UnixMicro(created).UTC(), time.UnixMicro(expires).UTC()
	return a, err
}

// Asks gives the asks, oldest first; with openOnly those that wait and have not
// expired.
func (s *Store) Asks(ctx context.Context, openOnly bool) ([]record.AskRow, error) {
	if openOnly {
		return s.asks(ctx, "store.asks", `WHERE state='open' AND expires > ?`, s.opt.Now().UnixMicro())
	}
	return s.asks(ctx, "store.asks", ``)
}

// AsksAbout gives the asks about one action, oldest first. It takes no longer
// the more other asks there are: agents make those.
func (s *Store) AsksAbout(ctx context.Context, d action.Digest) ([]record.AskRow, error) {
	return s.asks(ctx, "store.asksAbout", `WHERE digest=?`, d.String())
}

func (s *Store) asks(ctx context.Context, name, where string, args ...any) ([]record.AskRow, error) {
	var out []record.AskRow
	err := s.each(ctx, name, selectAsk+where+` ORDER BY created, id`, args, func(scan func(...any) error) error {
		a, err := s.scanAsk(scan)
		out = append(out, a)
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// Ask gives one ask; fault.NotFound if there is none.
func (s *Store) Ask(ctx context.Context, id string) (record.AskRow, error) {
	const name = "store.ask"
	var out *record.AskRow
	err := s.each(ctx, name, selectAsk+`WHERE id=?`, []any{id}, func(scan func(...any) error) error {
		a, err := s.scanAsk(scan)
		out = &a
		return err
	})
	if err != nil {
		return record.AskRow{}, s.explain(name, err)
	}
	if out == nil {
		return record.AskRow{}, fault.New(name, fault.NotFound, "there is no ask %s: `sallyport approvals` lists them", id)
	}
	return *out, nil
}

// CloseAsk records how an open ask ended.
func (s *Store) CloseAsk(ctx context.Context, id, state string) error {
	const name = "store.closeAsk"
	if state == record.AskOpen || state == "" {
		return fault.New(name, fault.Internal, "an ask is closed as approved, denied, expired or withdrawn")
	}
	err := s.do(ctx, name, func(t *tx) error {
		var agent, session string
		err := t.row(`SELECT agent, session FROM asks WHERE id=? AND state='open'`, id).Scan(&agent, &session)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(name, fault.NotFound, "there is no open ask %s: `sallyport approvals` lists them", id)
		}
		if err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE asks SET state=? WHERE id=?`, state, id); err != nil {
			return err
		}
		return t.note(record.Event{Type: "approval.close", Agent: agent, Session: session, Data: map[string]any{"ask": id, "state": state}}, "ask", "state")
	})
	return s.explain(name, err)
}

// PutStatement stores a signed envelope about an action. Whether it counts is
// for the approval room to say, each time it reads it.
func (s *Store) PutStatement(ctx context.Context, d action.Digest, envelope []byte, kind string) error {
	const name = "store.putStatement"
	if kind != record.StatementApprove && kind != record.StatementDeny && kind != record.StatementGrant {
		return fault.New(name, fault.Internal, "a statement approves, denies or grants")
	}
	err := s.do(ctx, name, func(t *tx) error {
		var hide bool
		if err := t.row(`SELECT EXISTS (SELECT 1 FROM asks WHERE digest=? AND substr(CAST(payload AS TEXT), 1, ?)=?)`, d.String(), len(sealedMark), sealedMark).Scan(&hide); err != nil {
			return err
		}
		data := map[string]any{"envelope": string(envelope)}
		if hide {
			data = map[string]any{"withheld": "what was signed", "bytes": len(envelope)}
		}
		if _, err := t.exec(`INSERT INTO statements (digest, kind, created, envelope) VALUES (?,?,?,?)`,
			d.String(), kind, max(t.tree.clock, s.opt.Now().UnixMicro()), []byte(s.sealed(string(envelope), hide))); err != nil {
			return err
		}
		_, err := t.event(s.rowOf(record.Event{Type: "approval." + kind, Channel: "OPERATOR", Data: data}), &d)
		return err
	})
	return s.explain(name, err)
}

// Statements gives the envelopes about an action, oldest first.
func (s *Store) Statements(ctx context.Context, d action.Digest) ([]record.Statement, error) {
	const name = "store.statements"
	var out []record.Statement
	err := s.each(ctx, name, `SELECT id, kind, created, envelope FROM statements WHERE digest=? ORDER BY id`, []any{d.String()}, func(scan func(...any) error) error {
		var st record.Statement
		var created int64
		if err := scan(&st.ID, &st.Kind, &created, &st.Envelope); err != nil {
			return err
		}
		st.Created, st.Envelope = time.UnixMicro(created).UTC(), []byte(s.unsealed(string(st.Envelope)))
		out = append(out, st)
		return nil
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// Consumed reports whether an approval's nonce was used.
func (s *Store) Consumed(ctx context.Context, nonce string) (used bool, err error) {
	err = s.each(ctx, "store.consumed", `SELECT 1 FROM nonces WHERE nonce=?`, []any{nonce}, func(scan func(...any) error) error {
		var one int
		used = true
		return scan(&one)
	})
	return used, err
}
