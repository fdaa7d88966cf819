package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// touchEvery is how exactly the last use of a key is known.
const touchEvery = time.Minute

// keyLimits is the column limits.
type keyLimits struct {
	Micros   record.Micros `json:"micros"`
	Day      record.Micros `json:"day_micros"`
	Requests int           `json:"requests_per_minute"`
	Tokens   int           `json:"tokens_per_minute"`
}

// PutKey stores a new key. Id, name, hash, a known role and an expiry are
// required (fault.Usage); an id or hash that exists, or the name of a key that
// is not revoked, is fault.Conflict. by says who made it. Neither the event nor
// anything else tells the hash.
func (s *Store) PutKey(ctx context.Context, k record.APIKey, by string) error {
	const name = "store.putKey"
	if err := checkKey(name, k); err != nil {
		return err
	}
	limits := keyLimits{k.LimitMicros, k.DayMicros, k.RequestsPerMinute, k.TokensPerMinute}
	text, err := json.Marshal(limits)
	if err != nil {
		return fault.Wrap(name, fault.Internal, err)
	}
	err = s.do(ctx, name, func(t *tx) error {
		now := max(t.tree.clock, s.opt.Now().UnixMicro())
		res, err := t.exec(`INSERT OR IGNORE INTO api_keys (id, name, agent, hash, role, ceiling, client, created, expires, limits) VALUES (?,?,?,?,?,?,?,?,?,?)`,
			k.ID, k.Name, k.Agent, k.Hash[:], k.Role, k.Ceiling.String(), k.Client, now, k.Expires.UnixMicro(), string(text))
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return fault.New(name, fault.Conflict, "there is a key with the id or name of %s already: revoke it or choose another name", k.Name)
		}
		if err := t.bumpKeys(); err != nil {
			return err
		}
		return t.note(record.Event{Type: "key.created", Agent: k.Agent, Channel: "OPERATOR", Data: map[string]any{
			"key": k.ID, "name": k.Name, "role": k.Role, "ceiling": k.Ceiling.String(), "client": k.Client,
			"expires": k.Expires.UTC().Format(time.RFC3339), "limits": limits, "by": by,
		}})
	})
	return s.explain(name, err)
}

func checkKey(op string, k record.APIKey) error {
	switch {
	case k.ID == "" || len(k.ID) > 64 || strings.ContainsFunc(k.ID, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }):
		return fault.New(op, fault.Usage, "the id of an API key is 1 to 64 lower-case letters and digits")
	case k.Name == "" || len(k.Name) > 128 || k.Name != valid(k.Name):
		return fault.New(op, fault.Usage, "an API key has a name of 1 to 128 bytes: name whom it is for")
	case k.Hash == [32]byte{}:
		return fault.New(op, fault.Usage, "an API key is stored by its hash, and this one has none")
	case k.Expires.IsZero():
		return fault.New(op, fault.Usage, "an API key expires: say when")
	case k.RequestsPerMinute < 0 || k.TokensPerMinute < 0:
		return fault.New(op, fault.Usage, "the rate limits of an API key are not negative: leave them out for none")
	}
	for r := range strings.SplitSeq(k.Role, ",") {
		if !slices.Contains([]string{record.RoleAgent, record.RoleIngest, record.RoleMetrics}, r) {
			return fault.New(op, fault.Usage, "the role %q of an API key is unknown: use %s, %s or %s", r, record.RoleAgent, record.RoleIngest, record.RoleMetrics)
		}
	}
	return nil
}

// bumpKeys moves the revision of the keys.
func (t *tx) bumpKeys() error {
	_, err := t.exec(`INSERT INTO meta VALUES ('keys', '1') ON CONFLICT (key) DO UPDATE SET value = CAST(value AS INTEGER) + 1`)
	return err
}

// KeysRevision gives a number that grows whenever a key is made or revoked, by
// any process. Keys read before it grew are stale.
func (s *Store) KeysRevision(ctx context.Context) (rev int64, err error) {
	err = s.each(ctx, "store.keysRevision", `SELECT CAST(value AS INTEGER) FROM meta WHERE key='keys'`, nil,
		func(scan func(...any) error) error { return scan(&rev) })
	return rev, err
}

const selectKey = `SELECT id, name, agent, hash, role, ceiling, client, created, expires, revoked_at, last_used, limits FROM api_keys `

func scanKey(scan func(...any) error) (record.APIKey, error) {
	var k record.APIKey
	var hash []byte
	var ceiling, limits string
	var created, expires, revoked, used int64
	if err := scan(&k.ID, &k.Name, &k.Agent, &hash, &k.Role, &ceiling, &k.Client, &created, &expires, &revoked, &used, &limits); err != nil {
		return k, err
	}
	var l keyLimits
	var err error
	if k.Ceiling, err = label.Parse(ceiling); err == nil {
		err = json.Unmarshal([]byte(limits), &l)
	}
	if err != nil || copy(k.Hash[:], hash) != len(k.Hash) {
		return record.APIKey{}, fault.New("store.keys", fault.Corrupt, "the stored API key %s cannot be read: restore a backup", k.ID)
	}
	k.LimitMicros, k.DayMicros, k.RequestsPerMinute, k.TokensPerMinute = l.Micros, l.Day, l.Requests, l.Tokens
	k.Created, k.Expires, k.Revoked, k.LastUsed = moment(created), moment(expires), moment(revoked), moment(used)
	return k, nil
}

// moment gives a stored time, zero for none.
func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func (s *Store) keys(ctx context.Context, name, where string, args ...any) ([]record.APIKey, error) {
	var out []record.APIKey
	err := s.each(ctx, name, selectKey+where, args, func(scan func(...any) error) error {
		k, err := scanKey(scan)
		out = append(out, k)
		return err
	})
	if err != nil {
		return nil, s.explain(name, err)
	}
	return out, nil
}

// KeyByHash gives the key with a hash, also one that is revoked or expired (see
// APIKey.Live); fault.NotFound if there is none.
func (s *Store) KeyByHash(ctx context.Context, hash [32]byte) (record.APIKey, error) {
	const name = "store.keyByHash"
	ks, err := s.keys(ctx, name, `WHERE hash=?`, hash[:])
	if err != nil {
		return record.APIKey{}, err
	}
	if len(ks) == 0 {
		return record.APIKey{}, fault.New(name, fault.NotFound, "there is no such API key: `sallyport keys list` shows the names of those there are")
	}
	return ks[0], nil
}

// Keys gives every key there ever was, oldest first.
func (s *Store) Keys(ctx context.Context) ([]record.APIKey, error) {
	return s.keys(ctx, "store.keys", `ORDER BY created, id`)
}

// RevokeKey ends a key for good: from now on intents of it are refused, whatever
// a process remembers of it. A key that is unknown is fault.NotFound, one that
// was revoked before fault.Conflict.
func (s *Store) RevokeKey(ctx context.Context, id, by string) error {
	const name = "store.revokeKey"
	err := s.do(ctx, name, func(t *tx) error {
		k, err := scanKey(t.row(selectKey+`WHERE id=?`, id).Scan)
		if errors.Is(err, sql.ErrNoRows) {
			return fault.New(name, fault.NotFound, "there is no API key %s: `sallyport keys list` shows them", id)
		}
		if err != nil {
			return err
		}
		if !k.Revoked.IsZero() {
			return fault.New(name, fault.Conflict, "API key %s was revoked before", id)
		}
		if _, err := t.exec(`UPDATE api_keys SET revoked_at=? WHERE id=?`, max(t.tree.clock, s.opt.Now().UnixMicro()), id); err != nil {
			return err
		}
		if err := t.bumpKeys(); err != nil {
			return err
		}
		return t.note(record.Event{Type: "key.revoked", Agent: k.Agent, Channel: "OPERATOR", Data: map[string]any{"key": id, "name": k.Name, "by": by}})
	})
	return s.explain(name, err)
}

// TouchKey records that a key was used. It writes at most once a minute and key
// and takes no time otherwise.
func (s *Store) TouchKey(ctx context.Context, id string, at time.Time) error {
	const name = "store.touchKey"
	if last, ok := s.touched.Load(id); ok {
		if l, ok := last.(time.Time); ok && at.Sub(l) < touchEvery {
			return nil
		}
	}
	s.touched.Store(id, at) // before it is written: others who come now need not
	err := s.do(ctx, name, func(t *tx) error {
		_, err := t.exec(`UPDATE api_keys SET last_used=?1 WHERE id=?2 AND last_used <= ?1 - ?3`, at.UnixMicro(), id, touchEvery.Microseconds())
		return err
	})
	if err != nil {
		s.touched.Delete(id)
	}
	return s.explain(name, err)
}

// keyCounts refuses an intent of a key that no longer counts. Whoever asks
// remembers keys for a while; this does not.
func (t *tx) keyCounts(in record.Intent) error {
	id := in.Reserve.Key
	if id == "" {
		return nil
	}
	var expires, revoked int64
	err := t.row(`SELECT expires, revoked_at FROM api_keys WHERE id=?`, id).Scan(&expires, &revoked)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if err != nil || revoked != 0 || t.s.opt.Now().UnixMicro() >= expires {
		return t.refuse(in, fault.Denied, "key.ended", "API key %s was revoked, has expired or never was: make another with `sallyport keys create`", id)
	}
	return nil
}
