package approval

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/hiddeco/sshsig"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// Proof is what still stands of an approval that was used.
type Proof struct {
	Action map[string]any // exactly what was signed
	People []string       // whose signatures count today, each once
	Nonce  string
	From   time.Time // the ask's not-before and expiry
	Until  time.Time
}

// Proven verifies, against the trust file of now, the approval that an intent
// about d consumed: the statements, the quorum and the clearances. It is a
// fault.Denied error if none stands any more, because a row was changed or
// because who signed has been removed since.
func (s *Service) Proven(ctx context.Context, d action.Digest) (Proof, error) {
	r, err := s.roster(ctx)
	if err != nil {
		return Proof{}, err
	}
	rows, err := s.cfg.Book.Statements(ctx, d)
	if err != nil {
		return Proof{}, err
	}
	asks, err := s.cfg.Book.AsksAbout(ctx, d)
	if err != nil {
		return Proof{}, err
	}
	for _, row := range asks {
		t, err := readAsk(row, s.cfg.Instance)
		if err != nil || row.Digest != d || row.State != record.AskApproved {
			continue
		}
		used, err := s.cfg.Book.Consumed(ctx, t.nonce)
		if err != nil {
			return Proof{}, err
		}
		if v := s.count(r, row, t, rows); used && v.complete() {
			p := Proof{Action: t.action, Nonce: t.nonce, From: t.notBefore, Until: t.expires}
			for _, a := range v.approvals {
				p.People = append(p.People, a.Person)
			}
			slices.Sort(p.People)
			return p, nil
		}
	}
	return Proof{}, fault.New("approval.proof", fault.Denied,
		"no signatures that count today stand behind action %s: they were changed, or who gave them is no longer in the trust file; let it be signed again", d)
}

// Describe gives the action of a stored ask, as it is signed: what an answer
// carries out. Its Body is not kept with it.
func (s *Service) Describe(row record.AskRow) (action.Action, error) {
	t, err := readAsk(row, s.cfg.Instance)
	if err != nil {
		return action.Action{}, &fault.Error{Op: "approval.ask", Kind: fault.Corrupt, Public: "the stored ask " + row.ID + " does not verify", Err: err}
	}
	a := action.Action{Args: map[string]any{}, Session: row.Session, ArgLabels: map[string]label.Label{}}
	kind, _ := t.action["kind"].(string)
	a.Kind = action.Kind(kind)
	a.Target, _ = t.action["target"].(string)
	a.Schema, _ = t.action["schema"].(string)
	a.Agent, _ = t.action["agent"].(string)
	if args, ok := t.action["args"].(map[string]any); ok {
		a.Args = args
	}
	labels, _ := t.action["arg_labels"].(map[string]any)
	for name, v := range labels {
		text, _ := v.(string)
		if a.ArgLabels[name], err = label.Parse(text); err != nil {
			return action.Action{}, fmt.Errorf("approval.ask: %w", err)
		}
	}
	a.Principal.Name = t.requester // the caller says of which kind it is
	return a, nil
}

// Needs gives the quorum of a stored ask.
func (s *Service) Needs(row record.AskRow) ([]record.Need, error) {
	t, err := readAsk(row, s.cfg.Instance)
	return t.needs, err
}

// Signed names the people whose yes to a stored ask counts now, in order of
// their names: how far an ask is that needs several.
func (s *Service) Signed(ctx context.Context, row record.AskRow) ([]string, error) {
	r, err := s.roster(ctx)
	if err != nil {
		return nil, err
	}
	rows, err := s.cfg.Book.Statements(ctx, row.Digest)
	if err != nil {
		return nil, err
	}
	v, err := s.review(ctx, r, row, rows)
	out := make([]string, 0, len(v.approvals))
	for _, a := range v.approvals {
		out = append(out, a.Person)
	}
	slices.Sort(out)
	return out, err
}

// Evidence is everything that somebody needs to verify an ask and its answers
// without Sallyport.
type Evidence struct {
	Payload []byte // the statement that says yes: canonical JSON
	Action  []byte // the action alone, canonical JSON: its SHA-256 is the subject
	Digest  action.Digest
	Answers []Answer
	Signers []byte // allowed_signers, made from the trust file of now
}

// Answer is one signed answer.
type Answer struct {
	Kind   string // record.StatementApprove or StatementDeny
	Person string // who holds the key today; "" for nobody
	KeyID  string
	Counts bool   // whether it counts today
	Why    string // why not
	Signed []byte // the bytes that were signed: PAE of the statement
	Armor  []byte // the signature, as ssh-keygen takes it
}

// Evidence gives what there is about an ask.
func (s *Service) Evidence(ctx context.Context, askID string) (Evidence, error) {
	row, err := s.cfg.Book.Ask(ctx, askID)
	if err != nil {
		return Evidence{}, err
	}
	t, err := readAsk(row, s.cfg.Instance)
	if err != nil {
		return Evidence{}, &fault.Error{Op: "approval.evidence", Kind: fault.Corrupt, Public: "the stored ask " + askID + " does not verify", Err: err}
	}
	r, err := s.roster(ctx)
	if err != nil {
		return Evidence{}, err
	}
	e := Evidence{Payload: row.Payload, Digest: t.digest, Signers: r.AllowedSigners()}
	if e.Action, err = action.Canonical(t.action); err != nil {
		return Evidence{}, fmt.Errorf("approval.evidence: %w", err)
	}
	rows, err := s.cfg.Book.Statements(ctx, row.Digest)
	if err != nil {
		return Evidence{}, err
	}
	for _, st := range rows {
		payload, sig, err := open(st.Envelope)
		if err != nil || !about(payload, t.nonce) {
			continue // of another ask about the same action
		}
		a := Answer{Kind: st.Kind, KeyID: keyID(sig), Signed: PAE(payload), Armor: sshsig.Armor(sig), Counts: true}
		if p, ok := r.Holder(sig.PublicKey); ok {
			a.Person = p.Name
		}
		if _, _, err := r.check(row, t, st.Envelope); err != nil {
			a.Counts, a.Why = false, fault.PublicText(err)
		}
		e.Answers = append(e.Answers, a)
	}
	return e, nil
}

func about(payload []byte, nonce string) bool {
	all, err := action.ParseObject(payload)
	if err != nil {
		return false
	}
	p, _ := all["predicate"].(map[string]any)
	return p["nonce"] == nonce
}
