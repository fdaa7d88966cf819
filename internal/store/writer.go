package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"maps"
	"runtime"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
)

// maxBatch bounds how many writes share a commit, and with it how long another
// process waits for its turn.
const maxBatch = 256

// Kept checkpoints: one each keepEntries entries and keepTime; the newest is
// there always. A later checkpoint covers what a dropped one did.
const (
	keepEntries = 1024
	keepTime    = time.Minute
)

// clockTolerance is how far the clock may step back without being recorded.
const clockTolerance = time.Second

// op is one write. What fn did is undone if it fails.
type op struct {
	ctx  context.Context //nolint:containedctx // it travels to the writer and back
	fn   func(*tx) error
	err  error
	done chan struct{}
}

// refusal is an error of fn that rolls it back but leaves evidence.
type refusal struct {
	cause  *fault.Error
	record func(*tx) error
}

func (r *refusal) Error() string { return r.cause.Error() }
func (r *refusal) Unwrap() error { return r.cause }

// treeState is the head of the log.
type treeState struct {
	size   int64
	root   Hash
	clock  int64
	behind bool
	peaks  []Hash
	event  int64 // id given last
}

// tx is the transaction of one batch.
type tx struct {
	s       *Store
	conn    *writerConn
	tree    treeState
	stored  int64             // size of the tree in the database
	fresh   map[string]string // pseudonyms not committed yet
	pending []pendingRow
	bytes   int // of events' data among them, at most

	// Of the op that runs:
	own   int  // pending rows from here on are its
	saved bool // it has a savepoint
	sure  bool // it needs none, see certain
}

// do hands fn to the writer and waits until it is durable or failed. A context
// that ends while fn is queued does not abandon it: the caller must know.
func (s *Store) do(ctx context.Context, name string, fn func(*tx) error) error {
	if err := s.Err(); err != nil {
		return err
	}
	o := &op{ctx: ctx, fn: fn, done: make(chan struct{})}
	closed := fault.New(name, fault.Unavailable, "the store is closed")
	select {
	case <-s.quit:
		return closed
	default:
	}
	select {
	case s.ops <- o:
	case <-ctx.Done():
		return fault.Wrap(name, fault.Canceled, ctx.Err())
	case <-s.quit:
		return closed
	}
	select {
	case <-o.done:
	case <-s.done:
		select {
		case <-o.done:
		default:
			return closed
		}
	}
	return o.err
}

// run is the writer: it commits whatever has queued up while it was busy.
func (s *Store) run() {
	defer close(s.done)
	for {
		select {
		case o := <-s.ops:
			s.commit(o)
		case <-s.quit:
			for {
				select {
				case o := <-s.ops:
					s.commit(o)
				default:
					return
				}
			}
		}
	}
}

func (s *Store) commit(first *op) {
	b := &batch{s: s, ops: []*op{first}}
	note, size, err := s.transact(b)
	for _, o := range b.ops {
		if err != nil {
			o.err = err
		}
		close(o.done)
	}
	if err == nil && note != nil && s.opt.OnCheckpoint != nil {
		s.opt.OnCheckpoint(size, note)
	}
}

// batch is a group of ops that share a commit; it grows while it is worked on.
type batch struct {
	s   *Store
	ops []*op
}

// next gives the i-th op. When none waits it lets other goroutines run once:
// those whose ops the last commit released are about to come with new ones.
func (b *batch) next(i int) *op {
	for try := 0; i >= len(b.ops) && i < maxBatch; try++ {
		select {
		case o := <-b.s.ops:
			b.ops = append(b.ops, o)
		default:
			if try > 0 {
				return nil
			}
			runtime.Gosched()
		}
	}
	if i >= len(b.ops) {
		return nil
	}
	return b.ops[i]
}

// transact runs a batch in one transaction. Its error concerns all of them:
// then nothing of the batch is acknowledged.
func (s *Store) transact(b *batch) (note []byte, size int64, err error) {
	if err := s.Err(); err != nil {
		return nil, 0, err
	}
	if err := s.turn.lock(); err != nil {
		return nil, 0, s.fail(err)
	}
	defer func() {
		if uerr := s.turn.unlock(); uerr != nil && err == nil {
			err = s.fail(uerr)
		}
	}()
	t := &tx{s: s, fresh: map[string]string{}}
	err = s.lend(func(c *writerConn) error {
		t.conn = c
		var err error
		note, err = t.whole(b)
		return err
	})
	if err != nil {
		s.tree = treeState{}
		clear(s.sessions)
		return nil, 0, s.fail(err)
	}
	s.tree = t.tree
	maps.Copy(s.alias, t.fresh)
	return note, t.tree.size, nil
}

// whole runs a batch to its commit, or rolls all of it back.
func (t *tx) whole(b *batch) (note []byte, err error) {
	if err := t.conn.exec(`BEGIN IMMEDIATE`); err != nil {
		return nil, err
	}
	if note, err = t.all(b); err == nil {
		err = t.conn.exec(`COMMIT`)
	}
	if err != nil {
		// The error may have ended the transaction already; then there is
		// nothing to roll back and SQLite says so.
		_ = t.conn.exec(`ROLLBACK`)
	}
	return note, err
}

func (t *tx) all(b *batch) (note []byte, err error) {
	if err := t.begin(); err != nil {
		return nil, err
	}
	for i := 0; ; i++ {
		o := b.next(i)
		if o == nil {
			return t.end()
		}
		if o.ctx.Err() != nil {
			o.err = fault.Wrap("store.write", fault.Canceled, o.ctx.Err())
			continue
		}
		if err := t.one(o); err != nil {
			return nil, err
		}
	}
}

// one runs an op; the error it returns dooms the batch, the op's own error is
// in op.err.
func (t *tx) one(o *op) error {
	err := t.try(o.fn)
	var r *refusal
	if errors.As(err, &r) && r.record != nil {
		if rerr := t.try(r.record); rerr != nil {
			err = errors.Join(rerr, err)
		} else {
			err = r.cause
		}
	}
	if dooms(err) {
		return err
	}
	o.err = err
	return nil
}

// try runs fn and undoes what it did if it fails. Most ops need no savepoint
// for that, which is dear: they check before they write, or only append.
func (t *tx) try(fn func(*tx) error) error {
	if t.bytes > maxPending {
		if err := t.flush(len(t.pending)); err != nil {
			return err
		}
	}
	before := t.tree
	t.own, t.saved, t.sure = len(t.pending), false, false
	err := fn(t)
	if dooms(err) {
		return err
	}
	if err != nil && t.sure {
		return &doom{err}
	}
	if err != nil {
		t.tree = before
		t.pending = t.pending[:t.own]
		clear(t.s.sessions)
	}
	if !t.saved {
		return err
	}
	if err != nil {
		clear(t.fresh) // a pseudonym of an earlier op is found again in its table
		if rerr := t.conn.exec(`ROLLBACK TO one`); rerr != nil {
			return &doom{rerr}
		}
	}
	if rerr := t.conn.exec(`RELEASE one`); rerr != nil {
		return &doom{rerr}
	}
	return err
}

// begin reads the head. Other processes write too, so the peaks kept in memory
// count only if they belong to the head that is in the database.
func (t *tx) begin() error {
	var root []byte
	var st treeState
	if err := t.conn.row(`SELECT size, root, clock, behind FROM head`).Scan(&st.size, &root, &st.clock, &st.behind); err != nil {
		return err
	}
	copy(st.root[:], root)
	if c := t.s.tree; c.peaks != nil && c.size == st.size && c.root == st.root {
		st.peaks, st.event = c.peaks, c.event
	} else {
		clear(t.s.sessions) // another process may have raised a label
		var err error
		if st.peaks, err = readPeaks(t.s.opt.Tree, st.size, t.conn.row); err != nil {
			return err
		}
		if t.s.opt.Tree.Root(st.peaks) != st.root {
			return fault.New("store.begin", fault.Corrupt, "the stored tree does not have the root that was recorded: the database was changed from outside; run `sallyport verify` and restore a backup")
		}
		// Not the greatest id there is: one that was removed does not come back.
		if err = t.conn.row(`SELECT COALESCE((SELECT seq FROM sqlite_sequence WHERE name='events'), 0)`).Scan(&st.event); err != nil {
			return err
		}
	}
	t.tree, t.stored = st, st.size
	return t.checkClock()
}

// checkClock records that the machine's clock went back. Entries keep the
// latest time until the clock has caught up.
func (t *tx) checkClock() error {
	now := t.s.opt.Now().UnixMicro()
	switch {
	case now >= t.tree.clock:
		t.tree.behind = false
	case !t.tree.behind && t.tree.clock-now > clockTolerance.Microseconds():
		t.tree.behind = true
		data, err := json.Marshal(map[string]any{
			"alert": "suspicious", "clock": stamp(now), "log": stamp(t.tree.clock),
			"note": "the clock went back; entries keep the later time until it has caught up",
		})
		if err != nil {
			return err
		}
		_, err = t.append(entry{kind: "event", row: eventRow{typ: "clock_back", channel: "SYSTEM", level: "warning", data: data}})
		return err
	}
	return nil
}

// end inserts what is pending and signs the new head, both at once.
func (t *tx) end() ([]byte, error) {
	if t.tree.size == t.stored {
		return nil, nil
	}
	t.tree.root = t.s.opt.Tree.Root(t.tree.peaks)
	type signature struct {
		note []byte
		err  error
	}
	signed := make(chan signature, 1)
	go func(size int64, root Hash) {
		note, err := t.s.opt.Tree.Sign(size, root)
		signed <- signature{note, err}
	}(t.tree.size, t.tree.root)
	if err := t.flush(len(t.pending)); err != nil {
		return nil, err
	}
	if err := t.conn.exec(`UPDATE head SET size=?, root=?, clock=?, behind=? WHERE id=1`, t.tree.size, t.tree.root[:], t.tree.clock, t.tree.behind); err != nil {
		return nil, err
	}
	sig := <-signed
	if sig.err != nil {
		return nil, sig.err
	}
	return sig.note, t.checkpoint(sig.note)
}

// moveCheckpoint makes the checkpoint over the former head, if it is not kept,
// that over the new one.
const moveCheckpoint = `UPDATE checkpoints SET size=?1, time=?2, note=?6,
	kept = ?1/?3 > ?4/?3 OR ?2 - COALESCE((SELECT time FROM checkpoints WHERE size < ?4 ORDER BY size DESC LIMIT 1), 0) > ?5
	WHERE size=?4 AND kept=0`

// checkpoint stores a signed head. Of all checkpoints only the one over the
// former head may be unkept: it becomes this one.
func (t *tx) checkpoint(note []byte) error {
	args := []any{t.tree.size, t.tree.clock, keepEntries, t.stored, keepTime.Microseconds(), note}
	st, err := t.conn.stmt(moveCheckpoint)
	if err != nil {
		return err
	}
	res, err := t.conn.run(st, args)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return t.conn.exec(`INSERT OR REPLACE INTO checkpoints (size, time, kept, note)
		VALUES (?1, ?2, ?1/?3 > ?4/?3 OR ?2 - COALESCE((SELECT time FROM checkpoints ORDER BY size DESC LIMIT 1), 0) > ?5, ?6)`, args...)
}

// entry is what one thing that happened leaves in the database.
type entry struct {
	kind     string // of the log's entry
	decision string
	label    string
	rules    []string
	digest   *action.Digest
	row      eventRow
}

// eventRow is a row of events before it has an id.
type eventRow struct {
	typ, agent, session, channel, level string
	data                                []byte // JSON

	// Of an event that is no action's:
	alert string
	label label.Label    // of its data, if that is known; joined to the session's
	kept  map[string]any // what stays of the data if they are withheld
}

// append makes the event, its entry in the log and what opens the entry's
// commitments; they reach the database with the end of the batch.
func (t *tx) append(e entry) (leaf int64, err error) {
	t.tree.clock = max(t.tree.clock, t.s.opt.Now().UnixMicro())
	seq, at := t.tree.size, time.UnixMicro(t.tree.clock).UTC()
	agent, err := t.pseudonym("agent", e.row.agent)
	if err != nil {
		return 0, err
	}
	session, err := t.pseudonym("session", e.row.session)
	if err != nil {
		return 0, err
	}
	when := stamp(t.tree.clock)
	var salts [32]byte // two of 16 bytes
	_, _ = rand.Read(salts[:])
	value, err := rowValue(when, e.row)
	if err != nil {
		return 0, err
	}
	commit := map[string][32]byte{"row": t.s.opt.Tree.Commit("row", salts[:16], value)}
	if e.digest != nil {
		commit["action"] = t.s.opt.Tree.Commit("action", salts[16:], e.digest[:])
	}
	b, err := t.s.opt.Tree.Leaf(seq, at, e.kind, agent, session, e.decision, e.label, e.rules, commit)
	if err != nil {
		return 0, err
	}
	stored, peaks, err := t.s.opt.Tree.Grow(seq, t.tree.peaks, b)
	if err != nil {
		return 0, err
	}
	t.tree.size, t.tree.peaks = seq+1, peaks
	t.tree.event++
	t.pending = append(t.pending, pendingRow{
		seq: seq, event: t.tree.event, leaf: b, hashes: flat(stored), when: when, row: e.row, salts: salts, digest: e.digest,
	})
	t.bytes += len(e.row.data)
	return seq, nil
}

// rowValue is what the commitment "row" commits to: the event's columns as a
// canonical JSON list of texts.
func rowValue(when string, r eventRow) ([]byte, error) {
	return action.Canonical([]string{when, r.typ, r.agent, r.session, r.channel, r.level, string(r.data)})
}

// stamp renders microseconds as the events table does.
func stamp(micros int64) string {
	return time.UnixMicro(micros).UTC().Format("2006-01-02 15:04:05.000")
}

// pseudonym gives the random name under which an agent or session appears in
// the log.
func (t *tx) pseudonym(kind, name string) (string, error) {
	if name == "" {
		return "", nil
	}
	key := kind + "\x00" + name
	if a, ok := t.s.alias[key]; ok {
		return a, nil
	}
	if a, ok := t.fresh[key]; ok {
		return a, nil
	}
	var alias string
	err := t.row(`SELECT alias FROM pseudonyms WHERE kind=? AND name=?`, kind, name).Scan(&alias)
	if errors.Is(err, sql.ErrNoRows) {
		alias = randomHex(8)
		_, err = t.exec(`INSERT INTO pseudonyms VALUES (?,?,?)`, kind, name, alias)
	}
	if err != nil {
		return "", err
	}
	t.fresh[key] = alias
	return alias, nil
}
