package store

import (
	"context"

	"sallyport/internal/fault"
)

// Entry gives one entry of the log as it was hashed, and salt and value of each
// commitment that was not erased, nil if all were. fault.NotFound if there is no
// such entry.
func (s *Store) Entry(ctx context.Context, seq int64) (leaf []byte, opened map[string][2][]byte, err error) {
	const name = "store.entry"
	err = s.each(ctx, name, selectEntry+` WHERE seq = ?`, []any{seq}, func(scan func(...any) error) error {
		_, leaf, _, opened, err = scanEntry(scan)
		return err
	})
	if err == nil && leaf == nil {
		err = fault.New(name, fault.NotFound, "there is no entry %d in the log", seq)
	}
	return leaf, opened, err
}

// TreeHash gives the hash of the log's tree, at a level from 0 for its leaves,
// that an entry completed, as Tree.Peaks names them. fault.Corrupt if it is not
// there.
func (s *Store) TreeHash(ctx context.Context, seq int64, level int) (h Hash, err error) {
	const name = "store.treeHash"
	n := 0
	err = s.each(ctx, name, `SELECT substr(hashes, ?, 32) FROM leaves WHERE seq=?`, []any{level*32 + 1, seq}, func(scan func(...any) error) error {
		var b []byte
		err := scan(&b)
		n = copy(h[:], b)
		return err
	})
	if err == nil && n != len(h) {
		err = fault.New(name, fault.Corrupt, "entry %d of the log lacks its tree hashes: the database was changed from outside; restore a backup", seq)
	}
	return h, err
}

// selectEntry reads entries with what opens their commitments.
const selectEntry = `SELECT seq, l.leaf, substr(hashes, 1, 32), row_salt, digest_salt, digest,
	COALESCE(timestamp, ''), COALESCE(event_type, ''), COALESCE(agent_id, ''), COALESCE(session_id, ''), COALESCE(channel, ''), COALESCE(level, ''), COALESCE(data, '')
	FROM leaves l LEFT JOIN openings o ON o.leaf = seq LEFT JOIN events e ON e.id = o.event`

func scanEntry(scan func(...any) error) (seq int64, leaf, hash []byte, opened map[string][2][]byte, err error) {
	var rowSalt, digestSalt, digest, data []byte
	var when string
	var r eventRow
	if err := scan(&seq, &leaf, &hash, &rowSalt, &digestSalt, &digest, &when, &r.typ, &r.agent, &r.session, &r.channel, &r.level, &data); err != nil {
		return 0, nil, nil, nil, err
	}
	r.data = data
	return seq, leaf, hash, openings(rowSalt, digestSalt, digest, when, r), nil
}
