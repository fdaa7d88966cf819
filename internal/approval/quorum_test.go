package approval

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// asking makes the request of an action of the operator, or of an agent.
func asking(t testing.TB, a action.Action, needs ...record.Need) record.ApprovalRequest {
	t.Helper()
	d, err := a.Digest(label.Bottom, "set")
	if err != nil {
		t.Fatal(err)
	}
	return record.ApprovalRequest{Action: a, Digest: d, Context: label.Bottom, PolicySet: "set", Needs: needs, Because: "people decide"}
}

// order is an instruction that ann gives.
func order(change func(*action.Action)) action.Action {
	a := action.Action{Kind: action.AgentInstruct, Target: "chief", Principal: principal.TheOperator("ann"), Args: map[string]any{
		"text": "sum up", "label": "internal/signed", "clearance": "confidential/foreign", "type": "task", "id": "i-1", "expires": "2026-01-02T12:00:00Z",
	}}
	if change != nil {
		change(&a)
	}
	return a
}

func owners(n int) record.Need { return record.Need{Count: n, Group: "owner"} }

// TestRequesterDoesNotCount: one owner may say yes to their own; where two are
// needed, the asker is none of them, whatever the group.
func TestRequesterDoesNotCount(t *testing.T) {
	for name, tt := range map[string]struct {
		needs []record.Need
		agent bool // asked by an agent that runs on ann's word
		count bool // ann's own yes counts
	}{
		"one":                 {[]record.Need{owners(1)}, false, true},
		"two":                 {[]record.Need{owners(2)}, false, false},
		"one of two groups":   {[]record.Need{owners(1), {Count: 1, Group: "finance"}}, false, false},
		"an agent's, one":     {[]record.Need{owners(1)}, true, true},
		"an agent's, by two":  {[]record.Need{owners(2)}, true, false},
		"an agent's, 1 and 1": {[]record.Need{owners(1), {Count: 1, Group: "finance"}}, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, func(c *Config) {
				c.Requester = func(context.Context, action.Action) string { return "ann" }
			})
			a := order(nil)
			if tt.agent {
				a = action.Action{Kind: action.Exec, Agent: "night", Target: "s", Args: map[string]any{"script": "ls"}}
			}
			req := asking(t, a, tt.needs...)
			row := l.published(t, req)
			err := l.Approve(t.Context(), row.ID, l.owner)
			if (err == nil) != tt.count || err != nil && (!errors.Is(err, ErrRequester) || !fault.Is(err, fault.Denied)) {
				t.Errorf("approve: %v", err)
			}
			// Nor does a signature count that somebody wrote into the book.
			envelope, err := Sign(row.Payload, l.owner)
			if err != nil {
				t.Fatal(err)
			}
			l.book.statements[req.Digest] = []record.Statement{{Kind: record.StatementApprove, Envelope: envelope}}
			if got := len(l.found(t, req.Digest)) == 1; got != tt.count {
				t.Errorf("counts: %v", got)
			}
			if text, err := l.Render(row, nil); err != nil || strings.Contains(text, "does not count") == tt.count || !strings.Contains(text, "asked by") {
				t.Errorf("%v: %s", err, text)
			}
			if err := l.Deny(t.Context(), row.ID, l.owner); err != nil { // a no always counts
				t.Errorf("deny: %v", err)
			}
		})
	}
}

// TestRequesterIsSigned: who asks is part of what is signed, and another asker
// is another ask.
func TestRequesterIsSigned(t *testing.T) {
	l := newLab(t, nil)
	req := asking(t, order(nil), owners(2))
	row := l.published(t, req)
	if !bytes.Contains(row.Payload, []byte(`"requester":"ann"`)) {
		t.Fatalf("%s", row.Payload)
	}
	req.Requester = "bob"
	if other := l.published(t, req); other.ID == row.ID {
		t.Error("the ask of another person was taken for the same")
	}
	shifted := row
	shifted.Payload = bytes.Replace(row.Payload, []byte(`"requester":"ann"`), []byte(`"requester":"bob"`), 1)
	terms, err := readAsk(shifted, l.cfg.Instance)
	if err != nil {
		t.Fatal(err) // well formed: the signature is what it lacks
	}
	envelope, err := Sign(row.Payload, l.bob)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.checked(t, shifted, terms, envelope); err == nil {
		t.Error("bob's signature counts for another asker")
	}
}

// TestClearances: whoever signs must be cleared for all that they sign for.
func TestClearances(t *testing.T) {
	secret := label.New(label.Secret, label.Foreign, 0)
	for name, tt := range map[string]struct {
		change func(*action.Action)
		ctx    label.Label
		bob    label.Label
		want   bool
	}{
		"all of it":              {nil, label.Bottom, label.New(label.Confidential, label.Foreign, 0), true},
		"the clearance it lends": {nil, label.Bottom, label.New(label.Internal, label.Foreign, 0), false},
		"the text":               {func(a *action.Action) { a.Args["label"] = "confidential{c3}/signed" }, label.Bottom, secret, false},
		"an argument's label":    {func(a *action.Action) { a.ArgLabels = map[string]label.Label{"x": label.Unlabelled} }, label.Bottom, secret, false},
		"the context's label":    {nil, label.Unlabelled, secret, false},
		"no label at all":        {func(a *action.Action) { a.Args["label"] = "whatever" }, label.Bottom, label.Unlabelled, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			l.trust.People[1].Clearance = tt.bob
			a := order(tt.change)
			d, err := a.Digest(tt.ctx, "set")
			if err != nil {
				t.Fatal(err)
			}
			req := record.ApprovalRequest{Action: a, Digest: d, Context: tt.ctx, PolicySet: "set", Needs: []record.Need{owners(1)}, Because: "b"}
			row, err := l.Publish(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Approve(t.Context(), row.ID, l.bob); (err == nil) != tt.want {
				t.Errorf("approve: %v", err)
			}
			if err := l.Deny(t.Context(), row.ID, l.bob); (err == nil) != tt.want {
				t.Errorf("deny: %v", err)
			}
			envelope, err := Sign(row.Payload, l.bob)
			if err != nil {
				t.Fatal(err)
			}
			l.book.statements[d] = []record.Statement{{Kind: record.StatementApprove, Envelope: envelope}}
			if got := len(l.found(t, d)) == 1; got != tt.want {
				t.Errorf("counts: %v", got)
			}
		})
	}
}

// TestRevocationIsAtOnce: a signature that counted a moment ago does not when
// its person, key, group or clearance is gone, in a service that runs.
func TestRevocationIsAtOnce(t *testing.T) {
	for name, change := range map[string]func(*lab){
		"person":    func(l *lab) { l.trust.People = l.trust.People[:1] },
		"key":       func(l *lab) { l.trust.People[1].Keys = nil },
		"group":     func(l *lab) { l.trust.People[1].Groups = []string{"finance"} },
		"clearance": func(l *lab) { l.trust.People[1].Clearance = label.New(label.Public, label.Foreign, 0) },
		"expiry": func(l *lab) {
			l.trust.Version, l.trust.Created, l.trust.Expires = 1, epoch.Add(-time.Hour), epoch.Add(-time.Second)
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			req := asking(t, order(nil), owners(1))
			row := l.published(t, req)
			if err := l.Approve(t.Context(), row.ID, l.bob); err != nil {
				t.Fatal(err)
			}
			if got, err := l.Await(t.Context(), req); err != nil || len(got) != 1 {
				t.Fatalf("before: %v, %v", got, err)
			}
			change(l)
			got, err := l.Find(t.Context(), req.Digest)
			if err == nil && slices.ContainsFunc(got, func(a record.Approval) bool { return slices.Contains(a.Groups, "owner") }) {
				t.Errorf("counts: %+v", got)
			}
			if _, err := l.Await(t.Context(), req); err == nil {
				t.Error("the wait is over")
			}
		})
	}
}

// TestThresholds: one of a group that needs two counts as nobody of it.
func TestThresholds(t *testing.T) {
	l := newLab(t, nil)
	l.trust.People[0].Groups = []string{"owner", "finance"}
	l.trust.Thresholds = map[string]int{"finance": 2}
	req := asking(t, order(func(a *action.Action) { a.Principal.Name = "" }), record.Need{Count: 1, Group: "finance"})
	row := l.published(t, req)
	if err := l.Approve(t.Context(), row.ID, l.bob); err != nil {
		t.Fatal(err)
	}
	if got := l.found(t, req.Digest); len(got) != 1 || slices.Contains(got[0].Groups, "finance") || !slices.Contains(got[0].Groups, "owner") {
		t.Errorf("one of finance: %+v", got)
	}
	if err := l.Approve(t.Context(), row.ID, l.owner); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Await(t.Context(), req); err != nil {
		t.Error(err)
	}
}

// TestKindsOfStatements: what a yes is to is said in it, and a yes to one is
// none to another.
func TestKindsOfStatements(t *testing.T) {
	l := newLab(t, nil)
	for kind, want := range map[action.Kind]string{
		action.AgentInstruct: "instruct", action.DataLower: "lower", action.DataErase: "erase", action.TrustChange: "key",
		action.PolicyChange: "policy", action.ConfigChange: "policy", action.Exec: "approve", action.AgentStop: "approve",
	} {
		row := l.published(t, asking(t, order(func(a *action.Action) { a.Kind = kind }), owners(1)))
		if !bytes.Contains(row.Payload, []byte(`"kind":"`+want+`","nonce"`)) {
			t.Errorf("%s: %s", kind, row.Payload)
		}
		swapped := row
		swapped.Payload = bytes.Replace(row.Payload, []byte(`"kind":"`+want+`","nonce"`), []byte(`"kind":"deny","nonce"`), 1)
		if _, err := readAsk(swapped, l.cfg.Instance); err == nil {
			t.Errorf("%s: a no is read as an ask", kind)
		}
	}
}

// TestProof: what was used stays proven only while everything about it stands.
func TestProof(t *testing.T) {
	made := func(t *testing.T) (*lab, record.ApprovalRequest, record.AskRow) {
		l := newLab(t, nil)
		req := asking(t, order(nil), owners(1))
		row := l.published(t, req)
		if err := l.Approve(t.Context(), row.ID, l.bob); err != nil {
			t.Fatal(err)
		}
		l.book.used[row.Nonce] = true
		l.now = l.now.Add(48 * time.Hour) // the ask is long over
		return l, req, row
	}
	l, req, _ := made(t)
	p, err := l.Proven(t.Context(), req.Digest)
	if err != nil {
		t.Fatal(err)
	}
	args, _ := p.Action["args"].(map[string]any)
	if diff := cmp.Diff([]string{"bob"}, p.People); diff != "" || args["text"] != "sum up" {
		t.Errorf("%+v", p)
	}
	for name, change := range map[string]func(*lab, *record.AskRow){
		"never used":   func(l *lab, row *record.AskRow) { l.book.used = map[string]bool{} },
		"not approved": func(_ *lab, row *record.AskRow) { row.State = record.AskWithdrawn },
		"other row":    func(_ *lab, row *record.AskRow) { row.Nonce = strings.Repeat("0", 32) },
		"changed text": func(_ *lab, row *record.AskRow) {
			row.Payload = bytes.Replace(row.Payload, []byte("sum up"), []byte("run up"), 1)
		},
		"no signature":     func(l *lab, row *record.AskRow) { delete(l.book.statements, row.Digest) },
		"signer removed":   func(l *lab, _ *record.AskRow) { l.trust.People = l.trust.People[:1] },
		"clearance lower":  func(l *lab, _ *record.AskRow) { l.trust.People[1].Clearance = label.Bottom },
		"another instance": func(l *lab, _ *record.AskRow) { l.cfg.Instance = "other" },
	} {
		l, req, row := made(t)
		change(l, l.book.find(row.ID))
		if p, err := l.Proven(t.Context(), req.Digest); !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

// TestWrongRecipient: a signed order to one agent is none to another, nor with
// another text, clearance, label, type or id.
func TestWrongRecipient(t *testing.T) {
	l := newLab(t, nil)
	req := asking(t, order(nil), owners(1))
	row := l.published(t, req)
	if err := l.Approve(t.Context(), row.ID, l.owner); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*action.Action){
		"agent":     func(a *action.Action) { a.Target = "scout" },
		"by":        func(a *action.Action) { a.Agent = "chief" },
		"kind":      func(a *action.Action) { a.Kind = action.MessageSend },
		"schema":    func(a *action.Action) { a.Schema = "00" },
		"text":      func(a *action.Action) { a.Args["text"] = "run up" },
		"clearance": func(a *action.Action) { a.Args["clearance"] = "secret/foreign" },
		"label":     func(a *action.Action) { a.Args["label"] = "public/signed" },
		"type":      func(a *action.Action) { a.Args["type"] = "payment" },
		"id":        func(a *action.Action) { a.Args["id"] = "i-2" },
		"shifted":   func(a *action.Action) { a.Args["text"], a.Args["type"] = "sum uptask", "" },
		"more":      func(a *action.Action) { a.Args["also"] = "x" },
		"less":      func(a *action.Action) { delete(a.Args, "expires") },
	} {
		other := asking(t, order(change), owners(1))
		l.book.statements[other.Digest] = l.book.statements[req.Digest]
		moved := row
		moved.Digest = other.Digest
		l.book.asks = append(l.book.asks, moved)
		if got := l.found(t, other.Digest); got != nil {
			t.Errorf("%s: counts: %+v", name, got)
		}
	}
	if len(l.found(t, req.Digest)) != 1 {
		t.Error("the order itself does not count any more")
	}
}

// TestEndGrants: a change of trust ends the grants that no owner of now signed,
// and those that nobody ever signed.
func TestEndGrants(t *testing.T) {
	l := newLab(t, nil)
	g := record.Grant{Agent: "night", Kind: action.Exec, Target: "s*", Expires: epoch.Add(time.Hour), Uses: 5, Because: "patrol"}
	give := func(k ssh.Signer) string {
		got, _, err := l.Grant(t.Context(), g, k)
		if err != nil {
			t.Fatal(err)
		}
		return got.ID
	}
	give(l.owner)
	spare, bobs := give(l.spare), give(l.bob)
	byHand, _ := l.book.PutGrant(t.Context(), g, "nobody")
	wider := give(l.owner)
	for i := range l.book.grants {
		if l.book.grants[i].ID == wider {
			l.book.grants[i].Target = "*"
		}
	}
	l.book.grants[0].Uses = 2 // used three times
	l.trust.People = l.trust.People[:1]
	l.trust.People[0].Keys = l.trust.People[0].Keys[:1]
	ended, err := l.EndGrants(t.Context(), "test")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{spare, bobs, byHand, wider}, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	if live, _ := l.book.Grants(t.Context(), "night", l.now); len(live) != 1 || live[0].Uses != 2 {
		t.Errorf("live: %+v", live)
	}
}

// TestClockGuard: two minutes behind the log are borne, more pauses approvals,
// for finding, waiting and answering alike.
func TestClockGuard(t *testing.T) {
	for behind, paused := range map[time.Duration]bool{-time.Hour: false, 0: false, clockSlack: false, clockSlack + time.Second: true, 24 * time.Hour: true} {
		l := newLab(t, nil)
		req := asking(t, order(nil), owners(1))
		row := l.published(t, req)
		if err := l.Approve(t.Context(), row.ID, l.owner); err != nil {
			t.Fatal(err)
		}
		l.last = l.now.Add(behind)
		if got := l.found(t, req.Digest) == nil; got != paused {
			t.Errorf("%v: found nothing: %v", behind, got)
		}
		if _, err := l.Await(t.Context(), req); (err != nil) != paused {
			t.Errorf("%v: await: %v", behind, err)
		}
		if err := l.Approve(t.Context(), row.ID, l.bob); (err != nil) != paused {
			t.Errorf("%v: approve: %v", behind, err)
		}
		if _, _, err := l.Grant(t.Context(), record.Grant{Agent: "a", Kind: action.Exec, Target: "x", Expires: epoch.Add(time.Hour)}, l.owner); (err != nil) != paused {
			t.Errorf("%v: grant: %v", behind, err)
		}
	}
}
