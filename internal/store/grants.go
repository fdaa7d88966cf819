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

// liveGrants gives an agent's grants that are neither expired, used up nor
// revoked, and neither is any grant they were delegated from.
const liveGrants = `WITH RECURSIVE dead(id) AS (
	SELECT id FROM grants WHERE revoked = 1 OR expires <= ?2 OR uses = 0
	UNION SELECT g.id FROM grants g JOIN dead d ON g.parent = d.id WHERE g.parent <> ''
) SELECT id, parent, agent, kind, target, expires, uses, revoked, because FROM grants
	WHERE agent = ?1 AND id NOT IN dead ORDER BY id`

func scanGrant(scan func(...any) error) (record.Grant, error) {
	var g record.Grant
	var kind string
	var expires int64
	err := scan(&g.ID, &g.Parent, &g.Agent, &kind, &g.Target, &expires, &g.Uses, &g.Revoked, &g.Because)
	g.Kind, g.Expires = action.Kind(kind), time.UnixMicro(expires).UTC()
	if g.Uses == 0 {
		g.Revoked = true // used up; in a Grant 0 would mean unlimited
	}
	if g.Uses < 0 {
		g.Uses = 0
	}
	return g, err
}

// useGrant counts a use of the grant that an intent rests on and of every grant
// it was delegated from.
func (t *tx) useGrant(in record.Intent) error {
	now := t.s.opt.Now()
	for id, depth := in.Grant, 0; id != ""; depth++ {
		g, err := scanGrant(t.row(`SELECT id, parent, agent, kind, target, expires, uses, revoked, because FROM grants WHERE id=?`, id).Scan)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err != nil || depth > 16 || !g.Covers(in.Action, now) {
			return t.refuse(in, fault.Denied, "grant.spent", "grant %s does not permit this %s: it has ended, was used up or is for something else", id, in.Action.Kind)
		}
		res, err := t.exec(`UPDATE grants SET uses = uses - 1 WHERE id=? AND uses > 0`, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n > 0 && g.Uses == 1 { // used up: decisions made on it are stale
			if err := t.bump(in.Action.Agent); err != nil {
				return err
			}
		}
		id = g.Parent
	}
	return nil
}

// PutGrant stores a new grant, whose ID may be empty to have one chosen, and
// gives its id. A delegated grant must be within its parent, a grant without
// expiry is refused. by says who gave it.
func (s *Store) PutGrant(ctx context.Context, g record.Grant, by string) (string, error) {
	const name = "store.putGrant"
	if g.Expires.IsZero() || g.Uses < 0 || g.Agent == "" {
		return "", fault.New(name, fault.Usage, "a grant names an agent, an expiry and no negative number of uses")
	}
	if g.ID == "" {
		g.ID = shortID(8)
	}
	g.Expires = time.UnixMicro(g.Expires.UnixMicro()).UTC() // as it is stored, to be compared with a stored parent
	uses := g.Uses
	if uses == 0 {
		uses = -1
	}
	err := s.do(ctx, name, func(t *tx) error {
		if g.Parent != "" {
			p, err := scanGrant(t.row(`SELECT id, parent, agent, kind, target, expires, uses, revoked, because FROM grants WHERE id=?`, g.Parent).Scan)
			if errors.Is(err, sql.ErrNoRows) {
				return fault.New(name, fault.NotFound, "there is no grant %s to delegate from", g.Parent)
			}
			if err != nil {
				return err
			}
			if !g.Within(p) {
				return fault.New(name, fault.Denied, "the grant would be wider than grant %s it comes from: narrow it", p.ID)
			}
		}
		res, err := t.exec(`INSERT OR IGNORE INTO grants VALUES (?,?,?,?,?,?,?,0,?,?)`, g.ID, g.Parent, g.Agent, string(g.Kind), g.Target,
			g.Expires.UnixMicro(), uses, g.Because, max(t.tree.clock, s.opt.Now().UnixMicro()))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return fault.New(name, fault.Conflict, "there is a grant %s already", g.ID)
		}
		if err := t.bump(g.Agent); err != nil {
			return err
		}
		return t.note(record.Event{Type: "grant.give", Agent: g.Agent, Channel: "OPERATOR", Data: map[string]any{
			"grant": g.ID, "parent": g.Parent, "kind": string(g.Kind), "target": g.Target, "uses": g.Uses, "because": g.Because,
			"expires": g.Expires.UTC().Format(time.RFC3339), "by": by,
		}})
	})
	if err != nil {
		return "", s.explain(name, err)
	}
	return g.ID, nil
}

// note appends an event within a transaction; the named data are ours, see
// rowKept.
func (t *tx) note(e record.Event, kept ...string) error {
	_, err := t.event(t.s.rowKept(e, kept...), nil)
	return err
}

// Grants gives the grants of an agent that are live at now; for the empty agent
// every grant there ever was.
func (s *Store) Grants(ctx context.Context, agent string, now time.Time) ([]record.Grant, error) {
	const name = "store.grants"
	var out []record.Grant
	query, args := liveGrants, []any{agent, now.UnixMicro()}
	if agent == "" {
		query, args = `SELECT id, parent, agent, kind, target, expires, uses, revoked, because FROM grants ORDER BY given, id`, nil
	}
	err := s.each(ctx, name, query, args, func(scan func(...any) error) error {
		g, err := scanGrant(scan)
		out = append(out, g)
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// Revoke ends a grant and all that were delegated from it, at once: decisions
// made on it that are not intended yet are refused.
func (s *Store) Revoke(ctx context.Context, id, by string) error {
	const name = "store.revoke"
	err := s.do(ctx, name, func(t *tx) error {
		var agent string
		err := t.row(`SELECT agent FROM grants WHERE id=?`, id).Scan(&agent)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(name, fault.NotFound, "there is no grant %s: `sallyport grants` lists them", id)
		}
		if err != nil {
			return err
		}
		if _, err := t.exec(`UPDATE grants SET revoked=1 WHERE id=?`, id); err != nil {
			return err
		}
		if err := t.bump(agent); err != nil {
			return err
		}
		return t.note(record.Event{Type: "grant.revoke", Agent: agent, Channel: "OPERATOR", Data: map[string]any{"grant": id, "by": by}})
	})
	return s.explain(name, err)
}
