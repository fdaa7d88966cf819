package app

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/record"
)

// ExplainedSignature is one signed answer about an action.
type ExplainedSignature struct {
	Kind     string    `json:"kind"` // approve, deny …
	Person   string    `json:"person,omitempty"`
	Key      string    `json:"key,omitempty"` // fingerprint
	Nonce    string    `json:"nonce,omitempty"`
	Time     time.Time `json:"time"`     // it was stored
	Verifies bool      `json:"verifies"` // now, against those who are trusted now
	Problem  string    `json:"problem,omitempty"`
	Used     bool      `json:"used"` // this decision consumed its nonce
}

// people adds the question that was put to people and what they signed.
func (x *explainer) people(ctx context.Context, s stored, out *ExplainedDecision) error {
	out.Signatures = []ExplainedSignature{}
	digest, err := action.ParseDigest(s.digest)
	if err != nil {
		x.unsigned(s, out)
		return nil
	}
	ask, err := x.ask(ctx, s, digest)
	if err != nil {
		return err
	}
	if ask != nil {
		shown := askOf(*ask, time.Now())
		out.Ask = &ExplainedAsk{ID: ask.ID, State: shown.State, Expires: ask.Expires}
		out.Needs = quorumIn(ask.Payload)
	}
	rows, err := x.st.Statements(ctx, digest)
	if err != nil {
		return err
	}
	for _, st := range rows {
		sig := x.signature(st, digest)
		consumed := slices.ContainsFunc(s.approvals, func(a storedApproval) bool {
			return a.Nonce == sig.Nonce && a.Nonce != "" || a.Nonce == "" && a.Person == sig.Person
		})
		switch {
		case consumed:
		case ask == nil || sig.Nonce != ask.Nonce:
			continue // an answer to another question about the same action
		}
		if consumed {
			if sig.Used, err = x.st.Consumed(ctx, sig.Nonce); err != nil {
				return err
			}
		}
		out.Signatures = append(out.Signatures, sig)
	}
	x.unsigned(s, out)
	return nil
}

// unsigned adds the approvals that the decision recorded and whose statements
// are no longer stored.
func (x *explainer) unsigned(s stored, out *ExplainedDecision) {
	for _, a := range s.approvals {
		if !slices.ContainsFunc(out.Signatures, func(g ExplainedSignature) bool {
			return g.Kind == record.StatementApprove && g.Person == a.Person && (a.Key == "" || g.Key == a.Key)
		}) {
			out.Signatures = append(out.Signatures, ExplainedSignature{
				Kind: record.StatementApprove, Person: a.Person, Key: a.Key, Nonce: a.Nonce, Used: a.Nonce != "",
				Problem: "its statement is not stored, so it cannot be verified now",
			})
		}
	}
}

// ask finds the question that a decision answered: the one whose nonce it
// consumed, else the newest that was there.
func (x *explainer) ask(ctx context.Context, s stored, digest action.Digest) (*record.AskRow, error) {
	rows, err := x.st.AsksAbout(ctx, digest)
	if err != nil {
		return nil, err
	}
	var best *record.AskRow
	for i := range rows {
		r := &rows[i]
		if slices.ContainsFunc(s.approvals, func(a storedApproval) bool { return a.Nonce == r.Nonce }) {
			return r, nil
		}
		if !r.Created.Truncate(time.Second).After(s.row.Time) {
			best = r
		}
	}
	return best, nil
}

// quorumIn reads whose answers a question needs from its statement.
func quorumIn(payload []byte) []ExplainedNeed {
	var out []ExplainedNeed
	all, err := action.ParseObject(payload)
	if err != nil {
		return nil
	}
	p, _ := all["predicate"].(map[string]any)
	list, _ := p["quorum"].([]any)
	for _, e := range list {
		m, _ := e.(map[string]any)
		count, _ := m["count"].(int64)
		group, _ := m["group"].(string)
		out = append(out, ExplainedNeed{Count: int(count), Group: group, People: []string{}})
	}
	return out
}

// signature reads one stored answer and verifies it against who is trusted now.
func (x *explainer) signature(st record.Statement, digest action.Digest) ExplainedSignature {
	out := ExplainedSignature{Kind: st.Kind, Time: st.Created}
	armored, signed, err := approval.ExportSignature(st.Envelope)
	if err != nil {
		out.Problem = "the stored envelope is damaged"
		return out
	}
	sig, err := sshsig.Unarmor(armored)
	if err != nil {
		out.Problem = "the stored signature is damaged"
		return out
	}
	out.Key = ssh.FingerprintSHA256(sig.PublicKey)
	terms := termsOf(signed)
	out.Nonce = terms.nonce
	if terms.kind != "" {
		out.Kind = terms.kind
	}
	person, key, err := x.app.holderOf(out.Key)
	out.Person = person
	switch {
	case err != nil:
		out.Problem = "who is trusted now cannot be read: " + err.Error()
	case key == nil:
		out.Problem = "nobody who is trusted now holds this key"
	case terms.digest != digest.String():
		out.Problem = "it is about another action"
	case terms.instance != x.app.Signer().Origin():
		out.Problem = "it is of another instance"
	case sshsig.Verify(bytes.NewReader(signed), sig, key, sshsig.HashSHA512, approval.Namespace) != nil:
		out.Problem = "the signature does not fit the statement"
	default:
		out.Verifies = true
	}
	return out
}

// terms is what a signed statement says about itself.
type signedTerms struct{ kind, nonce, instance, digest string }

// termsOf reads the statement inside what was signed.
func termsOf(signed []byte) (t signedTerms) {
	i := bytes.IndexByte(signed, '{')
	if i < 0 || !bytes.Equal(approval.PAE(signed[i:]), signed) {
		return t
	}
	all, err := action.ParseObject(signed[i:])
	if err != nil {
		return t
	}
	p, _ := all["predicate"].(map[string]any)
	t.kind, _ = p["kind"].(string)
	t.nonce, _ = p["nonce"].(string)
	t.instance, _ = p["instance"].(string)
	if list, _ := all["subject"].([]any); len(list) == 1 {
		subject, _ := list[0].(map[string]any)
		d, _ := subject["digest"].(map[string]any)
		t.digest, _ = d["sha256"].(string)
	}
	return t
}

// holderOf tells who of those that are trusted now holds a key, by its
// fingerprint; nil when nobody does.
func (a *App) holderOf(fingerprint string) (string, ssh.PublicKey, error) {
	if _, err := os.Lstat(filepath.Join(a.Paths.Keys, approval.OwnerKey)); errors.Is(err, fs.ErrNotExist) {
		return "", nil, nil // explaining makes no key
	}
	signer, err := approval.LoadOrCreateOwner(a.Paths.Keys)
	if err != nil {
		return "", nil, err
	}
	if ssh.FingerprintSHA256(signer.PublicKey()) != fingerprint {
		return "", nil, nil
	}
	return ownerName(), signer.PublicKey(), nil
}
