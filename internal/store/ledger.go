package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Labels of scopes that nobody described.
var (
	// unknownCeiling: an unknown agent is cleared for public data only.
	unknownCeiling = label.Label{Level: label.Public, Integrity: label.Foreign}
	// operatorCeiling: the operator may see everything.
	operatorCeiling = label.Unlabelled
)

// scopeQuery reads what a revision consists of. Each part only grows, so their
// sum moves when any of them does, and agents do not disturb each other.
const scopeQuery = `SELECT
	COALESCE((SELECT rev FROM agents WHERE agent=''), 0) + CASE WHEN ?1='' THEN 0 ELSE COALESCE((SELECT rev FROM agents WHERE agent=?1), 0) END + COALESCE(c.rev, 0),
	COALESCE(NULLIF((SELECT stopped_by FROM agents WHERE agent=''), ''), (SELECT stopped_by FROM agents WHERE agent=?1), ''),
	COALESCE(c.label, ''), COALESCE(c.ceiling, ''), COALESCE(c.bits, 0)
	FROM (SELECT 1) LEFT JOIN contexts c ON c.id=?2`

// snapshotQuery reads all that a decision may depend on in one statement, which
// is one moment: first the scope with what its agent has spent and holds, then
// the session's counters, then the agent's grants. It needs agent, context,
// session and the time.
var snapshotQuery = `SELECT 0, s.*, COALESCE((SELECT spent + reserved FROM accounts WHERE account=?1), 0), NULL, NULL, NULL FROM (` + scopeQuery + `) s
	UNION ALL SELECT 1, name, n, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM counters WHERE session=?3
	UNION ALL SELECT 2, g.* FROM (` + strings.ReplaceAll(liveGrants, "?2", "?4") + `) g`

type scope struct {
	rev     int64
	stopped string
	known   bool // the context exists
	label   label.Label
	ceiling label.Label
	bits    int
}

func readScope(scan func(...any) error, s record.Scope) (scope, error) {
	var out scope
	var l, c string
	if err := scan(&out.rev, &out.stopped, &l, &c, &out.bits); err != nil {
		return scope{}, err
	}
	switch {
	case l != "":
		out.known = true
		if err := errors.Join(out.label.UnmarshalText([]byte(l)), out.ceiling.UnmarshalText([]byte(c))); err != nil {
			return scope{}, fault.New("store.scope", fault.Corrupt, "the stored label of a context cannot be read: restore a backup")
		}
	case s.Context == "" && s.Agent == "":
		out.label, out.ceiling = label.Bottom, operatorCeiling
	default: // forgetting to describe a context can only deny
		out.label, out.ceiling = label.Unlabelled, unknownCeiling
	}
	return out, nil
}

// Snapshot gives what a decision about the scope may depend on, read in one
// statement. An unknown context is label.Unlabelled with a public ceiling.
//
// Revision moves with the context's label, the agent's grants and stop flags.
// It does not move with money, bits, counters or denials: parallel calls of one
// agent would otherwise refuse each other, and Intend checks the limits itself.
func (s *Store) Snapshot(ctx context.Context, sc record.Scope) (record.Snapshot, error) {
	const name = "store.snapshot"
	out := record.Snapshot{ReadOnly: s.opt.ReadOnly, Calls: map[string]int{}}
	args := []any{sc.Agent, sc.Context, sc.Session, s.opt.Now().UnixMicro()}
	err := s.each(ctx, name, snapshotQuery, args, func(scan func(...any) error) error {
		var part int
		var columns [9]any
		if err := scan(&part, &columns[0], &columns[1], &columns[2], &columns[3], &columns[4], &columns[5], &columns[6], &columns[7], &columns[8]); err != nil {
			return err
		}
		return snapshotPart(&out, sc, part, columns[:])
	})
	if err != nil {
		return record.Snapshot{}, err
	}
	slices.SortFunc(out.Grants, func(a, b record.Grant) int { return strings.Compare(a.ID, b.ID) })
	return out, nil
}

// snapshotPart adds a row of snapshotQuery.
func snapshotPart(out *record.Snapshot, sc record.Scope, part int, columns []any) error {
	scan := func(dest ...any) error { return assign(dest, columns[:len(dest)]) }
	switch part {
	case 0:
		p, err := readScope(scan, sc)
		out.Revision, out.Context, out.Ceiling, out.Stopped, out.Bits = p.rev, p.label, p.ceiling, p.stopped, p.bits
		return errors.Join(err, assignOne(&out.Spent, columns[5]))
	case 1:
		var name string
		var n int
		err := scan(&name, &n)
		if name == deniedCounter {
			out.Denials = n
		} else {
			out.Calls[name] = n
		}
		return err
	default:
		g, err := scanGrant(scan)
		out.Grants = append(out.Grants, g)
		return err
	}
}

// deniedCounter counts a session's denials among its counters.
const deniedCounter = "!denied"

// Intend makes an intent durable: see the package documentation. Errors are
// fault.Conflict when the scope moved, fault.Budget when the reservation does
// not fit, fault.Denied when an approval, a grant, an instruction or a budget of
// bits is used up; the last two leave an event that says so. An intent that is not allowed is recorded and
// settled by itself.
func (s *Store) Intend(ctx context.Context, in record.Intent) (record.Receipt, error) {
	const name = "store.intend"
	var out record.Receipt
	w := s.wordsOf(in, false)
	err := s.do(ctx, name, func(t *tx) error {
		var err error
		if in.Decision.Verdict != record.Allow {
			out, err = t.denied(in, w)
		} else {
			out, err = t.intend(in, w)
		}
		return err
	})
	if err != nil {
		return record.Receipt{}, s.explain(name, err)
	}
	return out, nil
}

// explain leaves errors that have a kind alone and classes others.
func (s *Store) explain(name string, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return unavailable(name, err)
}

// words are the texts about an intent that are stored, masked and bounded; they
// are made where it is asked for, not in the writer that all wait for.
type words struct {
	data   []byte // of the event
	target string
	digest *action.Digest // nil if it could tell what is withheld
}

// wordsOf makes them; ours says that the decision's sentence is the store's.
func (s *Store) wordsOf(in record.Intent, ours bool) words {
	v := s.viewOf(in)
	target := v.target(in)
	return words{
		data: s.intentData(in, v, target, ours), digest: v.digest(in), target: clip(s.text("target", target), maxTarget),
	}
}

func (t *tx) denied(in record.Intent, w words) (record.Receipt, error) {
	t.certain()
	if err := t.count(in.Action.Session, deniedCounter); err != nil {
		return record.Receipt{}, err
	}
	return t.insert(in, w, "deny", eventType(in.Action.Kind, "blocked"), "warning", "denied", 0)
}

// intend checks first and writes then. Only what an approval, a grant or a fork
// uses up is checked by writing it.
func (t *tx) intend(in record.Intent, w words) (record.Receipt, error) {
	a := in.Action
	sc := record.Scope{Agent: a.Agent, Session: a.Session, Context: a.Context}
	p, err := readScope(t.row(scopeQuery, a.Agent, a.Context).Scan, sc)
	if err != nil {
		return record.Receipt{}, err
	}
	if p.rev != in.Revision {
		return record.Receipt{}, fault.New("store.intend", fault.Conflict, "the label, grants or stop flag of %s moved while it was decided", whose(a.Agent))
	}
	if p.stopped != "" && a.Agent != "" {
		return record.Receipt{}, t.refuse(in, fault.Denied, "stopped", "stopped by %s; starting it anew (`sallyport run`, `guard` or `proxy`) ends that", p.stopped)
	}
	if err := t.consume(in); err != nil {
		return record.Receipt{}, err
	}
	if err := t.useGrant(in); err != nil {
		return record.Receipt{}, err
	}
	if err := t.keyCounts(in); err != nil {
		return record.Receipt{}, err
	}
	if err := t.affordable(in); err != nil {
		return record.Receipt{}, err
	}
	if err := t.spendBits(in); err != nil {
		return record.Receipt{}, err
	}
	if err := t.fork(in); err != nil {
		return record.Receipt{}, err
	}
	t.certain()
	if err := t.hold(in.Reserve); err != nil {
		return record.Receipt{}, err
	}
	if joined := p.label.Join(in.Decision.ResultLabel); p.known && joined != p.label {
		if _, err := t.exec(`UPDATE contexts SET label=?, rev=rev+1 WHERE id=?`, joined.String(), a.Context); err != nil {
			return record.Receipt{}, err
		}
		clear(t.s.sessions)
	}
	if err := t.count(a.Session, string(a.Kind)); err != nil {
		return record.Receipt{}, err
	}
	return t.insert(in, w, "intent", eventType(a.Kind, "start"), "info", "open", in.Reserve.Micros)
}

// maxTarget is how much of a target, in bytes, is kept to count and list by;
// the event has more.
const maxTarget = 4 << 10

// insert writes the intent's row, event and entry.
func (t *tx) insert(in record.Intent, w words, kind, typ, level, status string, reserved record.Micros) (record.Receipt, error) {
	a := in.Action
	opened := max(t.tree.clock, t.s.opt.Now().UnixMicro())
	res, err := t.exec(`INSERT INTO intents (leaf, owner, opened, agent, session, kind, target, label, account, reserved, status, api_key, also) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		t.tree.size, t.s.owner, opened, a.Agent, a.Session, string(a.Kind), w.target, in.Decision.ResultLabel.String(),
		in.Reserve.Account, int64(reserved), status, in.Reserve.Key, alsoNames(in.Reserve.Also))
	if err != nil {
		return record.Receipt{}, err
	}
	id, err := res.LastInsertId()
	if err != nil {
		return record.Receipt{}, err
	}
	data, err := with(w.data, map[string]any{"intent": id})
	if err != nil {
		return record.Receipt{}, err
	}
	leaf, err := t.append(entry{
		kind: kind, decision: in.Decision.Verdict.String(), label: in.Decision.ResultLabel.String(),
		rules: in.Decision.Rules, digest: w.digest,
		row: eventRow{typ: typ, agent: valid(a.Agent), session: valid(a.Session), channel: Channel(a.Kind, a.Agent), level: level, data: data},
	})
	return record.Receipt{ID: id, Leaf: leaf, Time: time.UnixMicro(t.tree.clock).UTC()}, err
}

// refuse makes an error that rolls the intent back and records the refusal.
func (t *tx) refuse(in record.Intent, kind fault.Kind, rule, format string, args ...any) error {
	f := fault.New("store.intend", kind, format, args...)
	in.Decision.Verdict = record.Deny
	in.Decision.Rules = append([]string{rule}, in.Decision.Rules...)
	in.Decision.Because = f.Public
	return &refusal{cause: f, record: func(t *tx) error {
		_, err := t.denied(in, t.s.wordsOf(in, true))
		return err
	}}
}

// consume uses up the approvals' nonces. Several people sign the same nonce.
func (t *tx) consume(in record.Intent) error {
	seen := map[string]bool{}
	for _, a := range in.Approvals {
		if a.Nonce == "" || (!a.Expires.IsZero() && !t.s.opt.Now().Before(a.Expires)) {
			return t.refuse(in, fault.Denied, "approval.expired", "the approval of %s has expired: ask again", in.Action.Kind)
		}
		if seen[a.Nonce] {
			continue
		}
		seen[a.Nonce] = true
		res, err := t.exec(`INSERT OR IGNORE INTO nonces VALUES (?, ?)`, a.Nonce, t.tree.size)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			return t.refuse(in, fault.Denied, "approval.used", "the approval of %s was already used: an approval is good for one action, ask again", in.Action.Kind)
		}
	}
	return nil
}

// fork creates the transcript that an agent.spawn asks for.
func (t *tx) fork(in record.Intent) error {
	f := in.Fork
	if f == nil {
		return nil
	}
	if f.Context == "" || in.Action.Kind != action.AgentSpawn {
		return fault.New("store.intend", fault.Internal, "only agent.spawn makes a context, and it names it")
	}
	clear(t.s.sessions)
	res, err := t.exec(`INSERT OR IGNORE INTO contexts VALUES (?,?,?,?,?,1,?)`,
		f.Context, in.Action.Target, in.Action.Session, f.Label.String(), f.Ceiling.String(), f.Bits)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil {
		return err
	} else if n == 0 {
		return t.refuse(in, fault.Denied, "context.exists", "a context is made once and its label only rises: choose another name")
	}
	return t.takeInstruction(in)
}

func (t *tx) count(session, name string) error {
	if session == "" {
		return nil
	}
	_, err := t.exec(`INSERT INTO counters VALUES (?,?,1) ON CONFLICT (session, name) DO UPDATE SET n = n+1`, session, name)
	return err
}

// bump moves the revision of an agent, or of everybody for the empty one.
func (t *tx) bump(agent string) error {
	_, err := t.exec(`INSERT INTO agents (agent, rev) VALUES (?, 1) ON CONFLICT (agent) DO UPDATE SET rev = rev+1`, agent)
	return err
}

func whose(agent string) string {
	if agent == "" {
		return "the operator"
	}
	return fmt.Sprintf("agent %s", agent)
}
