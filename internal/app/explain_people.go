package app

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// ExplainedSignature is one signed answer about an action.
type ExplainedSignature struct {
	Kind     string    `json:"kind"` // approve (also what instructs, lowers or erases) or deny
	Person   string    `json:"person,omitempty"`
	Key      string    `json:"key,omitempty"` // fingerprint
	Nonce    string    `json:"nonce,omitempty"`
	Time     time.Time `json:"time,omitzero"` // when it was stored
	Verifies bool      `json:"verifies"`      // now, against those who are trusted now and what they may answer
	Problem  string    `json:"problem,omitempty"`
	Used     bool      `json:"used"` // this decision consumed its nonce
}

// people adds the question that was put to people and what they signed.
func (x *explainer) people(ctx context.Context, s stored, out *ExplainedDecision) error {
	out.Signatures = []ExplainedSignature{}
	for _, n := range field[[]record.Need](s.fields, "needs") {
		out.Needs = append(out.Needs, ExplainedNeed{Count: n.Count, Group: n.Group, People: []string{}})
	}
	row, err := x.ask(ctx, s)
	if err != nil {
		return err
	}
	if row != nil {
		if err := x.answers(ctx, s, *row, out); err != nil {
			return err
		}
	}
	unsigned(s, out)
	return nil
}

// answers adds a question with its signatures, each verified now.
func (x *explainer) answers(ctx context.Context, s stored, row record.AskRow, out *ExplainedDecision) error {
	out.Ask = &ExplainedAsk{ID: row.ID, State: askOf(row, time.Now()).State, Expires: row.Expires}
	svc, _, err := x.app.People(ctx, nil)
	if err != nil {
		return err
	}
	proof, err := svc.Evidence(ctx, row.ID)
	if err != nil {
		out.Ask.Problem = fault.PublicText(err)
		return nil
	}
	if needs, err := svc.Needs(row); err == nil && len(out.Needs) == 0 {
		for _, n := range needs {
			out.Needs = append(out.Needs, ExplainedNeed{Count: n.Count, Group: n.Group, People: []string{}})
		}
	}
	x.members(ctx, out.Needs)
	rows, err := x.st.Statements(ctx, row.Digest)
	if err != nil {
		return err
	}
	for _, a := range proof.Answers {
		sig := ExplainedSignature{Kind: a.Kind, Person: a.Person, Key: a.KeyID, Nonce: row.Nonce, Verifies: a.Counts, Problem: a.Why, Time: storedAt(rows, a)}
		if slices.ContainsFunc(s.approvals, func(r storedApproval) bool { return r.Nonce == "" || r.Nonce == row.Nonce }) {
			if sig.Used, err = x.st.Consumed(ctx, row.Nonce); err != nil {
				return err
			}
		}
		out.Signatures = append(out.Signatures, sig)
	}
	return nil
}

// by reports whether an approval was given with a key. An event may name the
// person alone: an older one, or one whose key was masked. Somebody who is not
// trusted any more has no name.
func (r storedApproval) by(key, person string) bool {
	if strings.HasPrefix(r.Key, fingerprint) {
		return r.Key == key
	}
	return r.Person == person || person == ""
}

// fingerprint is how the id of a key begins.
const fingerprint = "SHA256:"

// storedAt tells when an answer was stored.
func storedAt(rows []record.Statement, a approval.Answer) time.Time {
	for _, st := range rows {
		armor, signed, err := approval.ExportSignature(st.Envelope)
		if err == nil && bytes.Equal(armor, a.Armor) && bytes.Equal(signed, a.Signed) {
			return st.Created
		}
	}
	return time.Time{}
}

// unsigned adds the approvals that the decision recorded and whose statements
// are no longer stored, or that an older event names by the person alone.
func unsigned(s stored, out *ExplainedDecision) {
	for _, a := range s.approvals {
		if slices.ContainsFunc(out.Signatures, func(g ExplainedSignature) bool {
			return g.Kind != record.StatementDeny && a.by(g.Key, g.Person)
		}) {
			continue
		}
		out.Signatures = append(out.Signatures, ExplainedSignature{
			Kind: record.StatementApprove, Person: a.Person, Key: a.Key, Nonce: a.Nonce, Used: a.Nonce != "",
			Problem: "its statement is not stored, so it cannot be verified now",
		})
	}
}

// ask finds the question that a decision answered: the one whose nonce it
// consumed, else the newest that was there; nil for none.
func (x *explainer) ask(ctx context.Context, s stored) (*record.AskRow, error) {
	digest, err := action.ParseDigest(s.digest)
	if err != nil {
		return nil, nil //nolint:nilnil // a digest that is not recorded finds no question
	}
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
	if !strings.HasPrefix(lastOf(s.rules), "ask.") && len(s.approvals) == 0 {
		return nil, nil //nolint:nilnil // nobody's answer was needed
	}
	return best, nil
}

func lastOf(rules []string) string {
	if len(rules) == 0 {
		return ""
	}
	return rules[len(rules)-1]
}

// members names who can meet each need today. Nobody can while the trust file
// is refused.
func (x *explainer) members(ctx context.Context, needs []ExplainedNeed) {
	src, _, err := x.app.trusted(ctx)
	if err != nil {
		return
	}
	r, err := src.roster(ctx)
	if err != nil {
		return
	}
	for i := range needs {
		needs[i].People = []string{}
		for _, p := range r.Trust().People {
			if slices.Contains(p.Groups, needs[i].Group) {
				needs[i].People = append(needs[i].People, p.Name)
			}
		}
	}
}
