package store

import (
	"context"
	"database/sql"
	"errors"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Place gives the label of a directory that outlives sessions; ok is false if
// none is known.
func (s *Store) Place(ctx context.Context, path string) (l label.Label, ok bool, err error) {
	all, err := s.places(ctx, `WHERE path=?`, path)
	if err != nil || len(all) == 0 {
		return label.Unlabelled, false, err
	}
	return all[0].Label, true, nil
}

// Places gives all directories that have a label, by path.
func (s *Store) Places(ctx context.Context) ([]record.Place, error) { return s.places(ctx, ``) }

func (s *Store) places(ctx context.Context, where string, args ...any) ([]record.Place, error) {
	const name = "store.places"
	var out []record.Place
	err := s.each(ctx, name, `SELECT path, label FROM places `+where+` ORDER BY path`, args, func(scan func(...any) error) error {
		var p record.Place
		var text string
		if err := scan(&p.Path, &text); err != nil {
			return err
		}
		var err error
		p.Label, err = storedLabel(name, text)
		out = append(out, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// RaisePlace joins a label to a directory's; a directory that has none gets it.
func (s *Store) RaisePlace(ctx context.Context, path string, l label.Label) error {
	return s.setPlace(ctx, "store.raisePlace", path, l, func(t *tx) (label.Label, error) {
		var text string
		err := t.row(`SELECT label FROM places WHERE path=?`, path).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			return l, nil
		}
		if err != nil {
			return l, err
		}
		old, err := storedLabel("store.raisePlace", text)
		return l.Join(old), err
	})
}

// LowerPlace gives a directory exactly the label to instead of from, which it
// had when somebody looked at what is in there: fault.Conflict if it has another
// one by now.
func (s *Store) LowerPlace(ctx context.Context, path string, from, to label.Label) error {
	const name = "store.lowerPlace"
	return s.setPlace(ctx, name, path, to, func(t *tx) (label.Label, error) {
		var text string
		err := t.row(`SELECT label FROM places WHERE path=?`, path).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) || err == nil && text != from.String() {
			err = fault.New(name, fault.Conflict, "%s is not labelled %s any more: something was written there meanwhile; look at it again", path, from)
		}
		return to, err
	})
}

func (s *Store) setPlace(ctx context.Context, name, path string, l label.Label, next func(*tx) (label.Label, error)) error {
	if path == "" || !l.Valid() {
		return fault.New(name, fault.Internal, "a place has a path and a label")
	}
	return s.explain(name, s.do(ctx, name, func(t *tx) error {
		l, err := next(t)
		if err != nil {
			return err
		}
		_, err = t.exec(`INSERT OR REPLACE INTO places VALUES (?, ?)`, path, l.String())
		return err
	}))
}

// TrustPin gives version and digest of the newest trust file that was in force;
// 0 and empty if none ever was.
func (s *Store) TrustPin(ctx context.Context) (version int64, digest string, err error) {
	err = s.each(ctx, "store.trustPin", `SELECT version, digest FROM trust_pin`, nil, func(scan func(...any) error) error { return scan(&version, &digest) })
	return version, digest, err
}

// SetTrustPin records the trust file that is in force from now on. It never goes
// back: fault.Conflict unless version is greater than the recorded one.
func (s *Store) SetTrustPin(ctx context.Context, version int64, digest string) error {
	const name = "store.setTrustPin"
	return s.explain(name, s.do(ctx, name, func(t *tx) error {
		res, err := t.exec(`INSERT INTO trust_pin SELECT 1, ?1, ?2 WHERE ?1 > 0 ON CONFLICT (id) DO UPDATE SET version=?1, digest=?2 WHERE version < ?1`, version, digest)
		return inserted(res, err, fault.New(name, fault.Conflict, "version %d of the trust file is not newer than the one in force; never go back to an older file", version))
	}))
}
