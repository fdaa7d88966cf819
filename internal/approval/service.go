package approval

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Book keeps asks, statements and grants; the store implements it. What it
// returns is verified here each time, so it need not be trusted to the letter.
type Book interface {
	// PutAsk stores an open ask and gives its id, chosen if row.ID is empty.
	PutAsk(ctx context.Context, row record.AskRow) (string, error)
	// Ask gives one ask; fault.NotFound if there is none.
	Ask(ctx context.Context, id string) (record.AskRow, error)
	// AsksAbout gives the asks about one action, oldest first.
	AsksAbout(ctx context.Context, d action.Digest) ([]record.AskRow, error)
	// CloseAsk ends an open ask; fault.NotFound if it is not open.
	CloseAsk(ctx context.Context, id, state string) error
	// PutStatement stores a signed envelope about an action.
	PutStatement(ctx context.Context, d action.Digest, envelope []byte, kind string) error
	// Statements gives the envelopes about an action, oldest first.
	Statements(ctx context.Context, d action.Digest) ([]record.Statement, error)
	// Consumed tells whether a nonce was used by an intent.
	Consumed(ctx context.Context, nonce string) (bool, error)
	// PutGrant stores a grant and gives its id; by says who gave it.
	PutGrant(ctx context.Context, g record.Grant, by string) (string, error)
	// Grants gives an agent's live grants; for "" every grant there ever was.
	Grants(ctx context.Context, agent string, now time.Time) ([]record.Grant, error)
	// Revoke ends a grant and all that were delegated from it.
	Revoke(ctx context.Context, id, by string) error
}

// Asker asks the person at the terminal. answered is false when nobody
// answered: ctx ended, or the input did. It must return soon after ctx ends,
// because an answer from elsewhere ends the question.
type Asker interface {
	Ask(ctx context.Context, row record.AskRow, render string) (answer, answered bool, err error)
}

// Config wires a Service.
type Config struct {
	Book Book
	// Trust gives who may approve at this moment. It is asked each time a
	// signature is looked at, so that who was removed does not count any more.
	Trust    func(ctx context.Context) (*Roster, error)
	Instance string // name of this installation: statements of another are refused
	Now      func() time.Time
	// LastTime gives the time of the last log entry; nil leaves the clock
	// unguarded.
	LastTime func(ctx context.Context) (time.Time, error)
	Signer   ssh.Signer    // the owner's key, for answers at the terminal; needed with Asker
	Asker    Asker         // nil when unattended
	TTL      time.Duration // of an ask; 0 = DefaultTTL, at most MaxTTL
	Wait     time.Duration // how long to wait for an answer from elsewhere; 0 = not at all when unattended
	Poll     time.Duration // how often to look for one; 0 = 500 ms
	// Requester names the person behind an action of an agent, whose own yes does
	// not count where two or more are needed; nil or "" is nobody.
	Requester func(ctx context.Context, a action.Action) string
}

// Service asks, and finds what was answered. It is safe for concurrent use.
type Service struct {
	cfg    Config
	prompt sync.Mutex // one question at the terminal at a time
	given  given
}

// clockSlack is how far the clock may be behind the log before approvals pause.
const clockSlack = 2 * time.Minute

// New makes a Service.
func New(cfg Config) (*Service, error) {
	if cfg.Book == nil || cfg.Now == nil || cfg.Trust == nil || cfg.Instance == "" {
		return nil, errors.New("approval.new: book, trust, clock and instance are required")
	}
	if cfg.Asker != nil && cfg.Signer == nil {
		return nil, errors.New("approval.new: an answer at the terminal needs the owner's key")
	}
	if cfg.TTL == 0 {
		cfg.TTL = DefaultTTL
	}
	if cfg.TTL < time.Second || cfg.TTL > MaxTTL || cfg.Wait < 0 {
		return nil, fmt.Errorf("approval.new: an ask lives 1 s to %v, and waiting is not negative", MaxTTL)
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 500 * time.Millisecond
	}
	return &Service{cfg: cfg}, nil
}

// Find gives the valid, unused approvals over a digest, all of one ask: of the
// first ask whose quorum is complete, else of the newest that has any. While
// the clock is behind the log there are none.
func (s *Service) Find(ctx context.Context, d action.Digest) ([]record.Approval, error) {
	rows, err := s.cfg.Book.Statements(ctx, d)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	if err := s.paused(ctx); err != nil {
		if fault.Is(err, fault.NeedsAsk) {
			return nil, nil
		}
		return nil, err
	}
	r, err := s.roster(ctx)
	if err != nil {
		return nil, err
	}
	asks, err := s.cfg.Book.AsksAbout(ctx, d)
	if err != nil {
		return nil, err
	}
	var best []record.Approval
	for _, row := range asks {
		if row.Digest != d {
			continue
		}
		v, err := s.review(ctx, r, row, rows)
		if err != nil {
			return nil, err
		}
		if v.complete() {
			return v.approvals, nil
		}
		if len(v.approvals) > 0 {
			best = v.approvals
		}
	}
	return best, nil
}

// verdict is what the statements about one ask amount to.
type verdict struct {
	terms     terms
	approvals []record.Approval // one per person
	denier    string            // who denied, empty for nobody
}

// complete reports whether every need is met by distinct people.
func (v verdict) complete() bool {
	if v.denier != "" || len(v.terms.needs) == 0 {
		return false
	}
	for _, n := range v.terms.needs {
		count := 0
		for _, a := range v.approvals {
			if slices.Contains(a.Groups, n.Group) {
				count++
			}
		}
		if count < n.Count {
			return false
		}
	}
	return true
}

// review verifies the statements about one ask. An ask that does not verify,
// is over, or whose nonce was used has no approvals.
func (s *Service) review(ctx context.Context, r *Roster, row record.AskRow, rows []record.Statement) (verdict, error) {
	t, err := readAsk(row, s.cfg.Instance)
	if err != nil || s.inTime(t) != nil || row.State != record.AskOpen && row.State != record.AskApproved {
		return verdict{}, nil
	}
	used, err := s.cfg.Book.Consumed(ctx, t.nonce)
	if err != nil || used {
		return verdict{}, err
	}
	return s.count(r, row, t, rows), nil
}

// count verifies statements about an ask and says what they amount to.
func (s *Service) count(r *Roster, row record.AskRow, t terms, rows []record.Statement) verdict {
	v := verdict{terms: t}
	for _, st := range rows {
		kind, a, err := r.check(row, t, st.Envelope)
		switch {
		case err != nil: // not a statement about this ask by somebody who may make it
		case kind == record.StatementDeny:
			v.denier, v.approvals = a.Person, nil
			return v
		case !slices.ContainsFunc(v.approvals, func(o record.Approval) bool { return o.Person == a.Person }):
			v.approvals = append(v.approvals, a)
		}
	}
	r.applyThresholds(v.approvals)
	return v
}

// applyThresholds takes a group from approvals that has not reached its
// threshold: one of a group that needs two counts as nobody of it.
func (r *Roster) applyThresholds(as []record.Approval) {
	for g, n := range r.trust.Thresholds {
		in := func(a record.Approval) bool { return slices.Contains(a.Groups, g) }
		have := 0
		for _, a := range as {
			if in(a) {
				have++
			}
		}
		if g == OwnerGroup || have >= n {
			continue
		}
		for i := range as {
			as[i].Groups = slices.DeleteFunc(as[i].Groups, func(o string) bool { return o == g })
		}
	}
}

// roster gives who may approve now.
func (s *Service) roster(ctx context.Context) (*Roster, error) {
	r, err := s.cfg.Trust(ctx)
	if err != nil {
		return nil, err
	}
	return r, r.inForce(s.cfg.Now())
}

// inTime checks the validity period by this machine's clock.
func (s *Service) inTime(t terms) error {
	now := s.cfg.Now()
	switch {
	case now.Before(t.notBefore):
		return fault.New("approval.time", fault.Denied, "the ask is dated in the future; check the clock")
	case !now.Before(t.expires):
		return fault.New("approval.time", fault.Denied, "the ask has expired; let the action be tried again")
	}
	return nil
}

var errNotDemanded = errors.New("approval.check: the statement is not the one this ask demands")

// ErrRequester is in the error of who approves what they ask for themselves,
// where two or more are needed.
var ErrRequester = errors.New("approval: the asker does not count")

// check verifies one envelope against one ask: payload byte for byte, a trusted
// person's key, the signature and its flags, and whether that person may answer.
func (r *Roster) check(row record.AskRow, t terms, envelope []byte) (kind string, a record.Approval, err error) {
	payload, sig, err := open(envelope)
	if err != nil {
		return "", a, err
	}
	kind = record.StatementApprove
	if !bytes.Equal(payload, row.Payload) {
		if !bytes.Contains(payload, []byte(`"kind":"deny"`)) { // most are not worth more work
			return "", a, errNotDemanded
		}
		deny, err := t.withKind(record.StatementDeny)
		if err != nil || !bytes.Equal(payload, deny) {
			return "", a, errNotDemanded
		}
		kind = record.StatementDeny
	}
	id := ssh.FingerprintSHA256(sig.PublicKey)
	h, ok := r.keys[id]
	if !ok {
		return "", a, fault.New("approval.check", fault.Denied, "nobody in the trust file holds key %s, so its signature does not count; an owner adds it with `sallyport trust add-key`", id)
	}
	if err := verify(payload, sig, h.key, Namespace); err != nil {
		return "", a, err
	}
	switch p := h.person; {
	case !t.seen.ConfFlowsTo(p.Clearance):
		return "", a, fault.New("approval.check", fault.Denied, "%s is cleared for %s and this is %s, so their signature does not count; let somebody answer who is cleared", p.Name, clearanceOf(*p), t.seen)
	case kind == record.StatementApprove && t.excluded(p.Name):
		e := fault.New("approval.check", fault.Denied, "%s asks for this, and where two or more must agree the asker does not count; let others answer", p.Name)
		e.Err = ErrRequester
		return "", a, e
	}
	return kind, record.Approval{
		Nonce: t.nonce, Person: h.person.Name, Groups: slices.Clone(h.person.Groups), KeyID: id, Expires: t.expires,
	}, nil
}

// paused refuses approvals while the clock is behind the log: expiry could not
// be judged.
func (s *Service) paused(ctx context.Context) error {
	if s.cfg.LastTime == nil {
		return nil
	}
	last, err := s.cfg.LastTime(ctx)
	if err != nil {
		return fmt.Errorf("approval.clock: %w", err)
	}
	if behind := last.Sub(s.cfg.Now()); behind > clockSlack {
		return fault.New("approval.clock", fault.NeedsAsk,
			"approvals are paused: the clock is %v behind the last log entry; set the clock right", behind.Round(time.Second))
	}
	return nil
}

// publish stores the ask, or finds the one that asks the same already and is
// not over.
func (s *Service) publish(ctx context.Context, req record.ApprovalRequest) (record.AskRow, error) {
	if req.Requester == "" && req.Action.Agent == "" {
		req.Requester = req.Action.Principal.Name
	} else if req.Requester == "" && s.cfg.Requester != nil {
		req.Requester = s.cfg.Requester(ctx, req.Action)
	}
	row, err := s.newAsk(req)
	if err != nil {
		return record.AskRow{}, err
	}
	asks, err := s.cfg.Book.AsksAbout(ctx, req.Digest)
	if err != nil {
		return record.AskRow{}, err
	}
	for _, old := range asks {
		if old.Digest != req.Digest || old.State != record.AskOpen && old.State != record.AskApproved {
			continue
		}
		t, err := readAsk(old, s.cfg.Instance)
		if err != nil || s.inTime(t) != nil || !slices.Equal(t.needs, req.Needs) || t.requester != req.Requester {
			continue
		}
		if used, err := s.cfg.Book.Consumed(ctx, t.nonce); err != nil {
			return record.AskRow{}, err
		} else if !used {
			return old, nil
		}
	}
	row.ID, err = s.cfg.Book.PutAsk(ctx, row)
	return row, err
}

// newAsk makes the row and its statement; an action that does not give the
// request's digest is refused.
func (s *Service) newAsk(req record.ApprovalRequest) (record.AskRow, error) {
	var nonce [16]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return record.AskRow{}, fmt.Errorf("approval.ask: %w", err)
	}
	from := stampOf(s.cfg.Now())
	row := record.AskRow{
		Digest: req.Digest, Created: from, Expires: from.Add(s.cfg.TTL), State: record.AskOpen,
		Agent: req.Action.Agent, Session: req.Action.Session, Kind: req.Action.Kind, Target: req.Action.Target,
		Because: req.Because, Nonce: hex.EncodeToString(nonce[:]),
	}
	var err error
	if row.Payload, err = payloadFor(req, s.cfg.Instance, row.Nonce, from, row.Expires); err != nil {
		return row, err
	}
	row.Seen = req.Context
	for _, l := range req.Action.ArgLabels {
		row.Seen = row.Seen.Join(l)
	}
	if req.Action.Kind == action.AgentInstruct { // the order names its text's label itself
		l, err := label.Parse(req.Action.Arg("label"))
		if err != nil {
			l = label.Unlabelled
		}
		row.Seen = row.Seen.Join(l)
	}
	return row, nil
}
