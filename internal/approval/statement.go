package approval

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"time"

	"sallyport/internal/action"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// The names that bind a statement to its purpose.
const (
	StatementType = "https://in-toto.io/Statement/v1"
	PredicateType = "urn:sallyport:approval:v1"
	PayloadType   = "application/vnd.in-toto+json"
	Namespace     = "approve@sallyport" // of the SSH signature
)

// DefaultTTL is how long an ask can be answered and an approval used; MaxTTL
// bounds any configured value.
const (
	DefaultTTL = 15 * time.Minute
	MaxTTL     = 24 * time.Hour
)

// PAE is the pre-authentication encoding of DSSE: what is signed.
func PAE(payload []byte) []byte {
	return append(fmt.Appendf(nil, "DSSEv1 %d %s %d ", len(PayloadType), PayloadType, len(payload)), payload...)
}

// terms is what an ask's payload says, after every field was checked.
type terms struct {
	digest    action.Digest
	nonce     string
	notBefore time.Time
	expires   time.Time
	needs     []record.Need
	requester string         // who asks; "" if nobody in person
	seen      label.Label    // what an answer shows its signer: context and arguments joined
	action    map[string]any // the very object whose canonical form was digested
	payload   map[string]any
}

// people is how many distinct people the quorum names.
func (t terms) people() int {
	n := 0
	for _, need := range t.needs {
		n += need.Count
	}
	return n
}

// excluded reports whether a person's yes does not count because it is them who
// ask: where two or more must agree, nobody agrees with themselves.
func (t terms) excluded(person string) bool { return t.requester == person && t.people() >= 2 }

// The kinds of statements that say yes, by what they say yes to; every other
// kind of action is approved. A no is StatementDeny.
var kindOf = map[action.Kind]string{
	action.AgentInstruct: "instruct", action.DataLower: "lower", action.DataErase: "erase",
	action.PolicyChange: "policy", action.ConfigChange: "policy", action.TrustChange: "key",
}

func yes(kind action.Kind) string {
	if k, ok := kindOf[kind]; ok {
		return k
	}
	return record.StatementApprove
}

// actionObject rebuilds what action.Digest digests, so that people see and
// sign the action itself and not just a number.
func actionObject(a action.Action, context label.Label, policySet string) map[string]any {
	labels := make(map[string]any, len(a.ArgLabels))
	for name, l := range a.ArgLabels {
		labels[name] = l.String()
	}
	args := a.Args
	if args == nil {
		args = map[string]any{}
	}
	return map[string]any{
		"agent": a.Agent, "args": args, "arg_labels": labels, "context_label": context.String(),
		"kind": string(a.Kind), "policy": policySet, "schema": a.Schema, "target": a.Target,
	}
}

// payloadFor builds the statement that approves a request.
func payloadFor(req record.ApprovalRequest, instance, nonce string, from, until time.Time) ([]byte, error) {
	object := actionObject(req.Action, req.Context, req.PolicySet)
	b, err := action.Canonical(object)
	if err != nil {
		return nil, fmt.Errorf("approval.payload: %w", err)
	}
	if sha256.Sum256(b) != req.Digest {
		return nil, errors.New("approval.payload: the action, context label and policy set do not give the digest that is asked for")
	}
	quorum := make([]any, len(req.Needs))
	for i, n := range req.Needs {
		quorum[i] = map[string]any{"count": n.Count, "group": n.Group}
	}
	return action.Canonical(statement(string(req.Action.Kind), req.Digest.String(), map[string]any{
		"instance": instance, "kind": yes(req.Action.Kind), "action": object, "context_label": req.Context.String(),
		"requester": req.Requester, "policy_set": req.PolicySet, "nonce": nonce, "not_before": stamp(from), "expires": stamp(until), "quorum": quorum, "uses": 1,
	}))
}

func statement(name, digest string, predicate map[string]any) map[string]any {
	return map[string]any{
		"_type": StatementType, "predicateType": PredicateType, "predicate": predicate,
		"subject": []any{map[string]any{"name": name, "digest": map[string]any{"sha256": digest}}},
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// withKind gives the same statement as a deny.
func (t terms) withKind(kind string) ([]byte, error) {
	predicate := map[string]any{}
	old, _ := t.payload["predicate"].(map[string]any)
	maps.Copy(predicate, old)
	predicate["kind"] = kind
	all := maps.Clone(t.payload)
	all["predicate"] = predicate
	return action.Canonical(all)
}

// readAsk checks an ask's row against its payload, field by field: the payload
// was written by an earlier process, and the row is not trusted to agree.
func readAsk(row record.AskRow, instance string) (terms, error) {
	var t terms
	all, err := action.ParseObject(row.Payload)
	if err != nil {
		return t, fmt.Errorf("approval.ask: %w", err)
	}
	if canonical, err := action.Canonical(all); err != nil || !bytes.Equal(canonical, row.Payload) {
		return t, errors.New("approval.ask: the statement is not in canonical form")
	}
	p, _ := all["predicate"].(map[string]any)
	object, _ := p["action"].(map[string]any)
	if object == nil {
		return t, errors.New("approval.ask: the statement has no action")
	}
	b, err := action.Canonical(object)
	if err != nil {
		return t, fmt.Errorf("approval.ask: %w", err)
	}
	t = terms{digest: sha256.Sum256(b), action: object, payload: all}
	t.nonce, _ = p["nonce"].(string)
	if t.notBefore, err = parseStamp(p["not_before"]); err != nil {
		return t, err
	}
	if t.expires, err = parseStamp(p["expires"]); err != nil {
		return t, err
	}
	if t.needs, err = parseQuorum(p["quorum"]); err != nil {
		return t, err
	}
	t.requester, _ = p["requester"].(string)
	if t.seen, err = seenIn(object); err != nil {
		return t, err
	}
	// What is left must be exactly the statement these values make.
	kind, _ := object["kind"].(string)
	policySet, _ := object["policy"].(string)
	want, err := action.Canonical(statement(kind, t.digest.String(), map[string]any{
		"instance": instance, "kind": yes(action.Kind(kind)), "action": object, "context_label": object["context_label"],
		"requester": t.requester, "policy_set": policySet, "nonce": t.nonce, "not_before": p["not_before"], "expires": p["expires"], "quorum": p["quorum"], "uses": 1,
	}))
	switch {
	case err != nil:
		return t, fmt.Errorf("approval.ask: %w", err)
	case !bytes.Equal(want, row.Payload):
		return t, errors.New("approval.ask: the statement is of another instance or has other fields")
	case t.digest != row.Digest || t.nonce != row.Nonce || len(t.nonce) != 32:
		return t, errors.New("approval.ask: digest or nonce is not that of the row")
	case !t.expires.After(t.notBefore) || t.expires.Sub(t.notBefore) > MaxTTL || !stampOf(row.Expires).Equal(t.expires):
		return t, errors.New("approval.ask: the times do not fit")
	}
	return t, nil
}

// seenIn joins the labels of everything that an action shows: its context, its
// arguments and, for an instruction, the text and the clearance it lends.
func seenIn(object map[string]any) (label.Label, error) {
	var all []string
	context, _ := object["context_label"].(string)
	all = append(all, context)
	labels, _ := object["arg_labels"].(map[string]any)
	for _, v := range labels {
		s, _ := v.(string)
		all = append(all, s)
	}
	if object["kind"] == string(action.AgentInstruct) {
		args, _ := object["args"].(map[string]any)
		for _, name := range []string{"label", "clearance"} {
			s, _ := args[name].(string)
			all = append(all, s)
		}
	}
	out := label.Bottom
	for _, s := range all {
		l, err := label.Parse(s)
		if err != nil {
			return label.Unlabelled, fmt.Errorf("approval.ask: %w", err)
		}
		out = out.Join(l)
	}
	return out, nil
}

func stampOf(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

func parseStamp(v any) (time.Time, error) {
	s, _ := v.(string)
	t, err := time.Parse(time.RFC3339, s)
	if err != nil || stamp(t) != s {
		return time.Time{}, fmt.Errorf("approval.ask: %q is no UTC time", s)
	}
	return t, nil
}

func parseQuorum(v any) ([]record.Need, error) {
	list, _ := v.([]any)
	var needs []record.Need
	for _, e := range list {
		m, _ := e.(map[string]any)
		count, _ := m["count"].(int64)
		group, _ := m["group"].(string)
		if count < 1 || group == "" || len(m) != 2 {
			return nil, errors.New("approval.ask: the quorum is not a list of counts and groups")
		}
		needs = append(needs, record.Need{Count: int(count), Group: group})
	}
	if len(needs) == 0 {
		return nil, errors.New("approval.ask: the quorum is empty")
	}
	return needs, nil
}
