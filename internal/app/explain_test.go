package app

import (
	"context"
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

const explainConf = `agents:
  sarah: {profile: auditor, clearance: internal, commandProtection: %s}
  bob: {profile: auditor, clearance: secret}
profiles:
  auditor: {enable_command_execution: true}
`

// why is an installation whose actions pass the real gate, rules, ledger and
// approvals; only what performs them is not there.
type why struct {
	t *testing.T
	*App
	st *store.Store
}

func newWhy(t *testing.T, protection string) *why {
	t.Helper()
	home := filepath.Join(t.TempDir(), "state")
	w := &why{t: t}
	w.configure(home, fmt.Sprintf(explainConf, protection))
	return w
}

// configure opens the installation with a configuration, anew if need be.
func (w *why) configure(home, conf string) {
	w.t.Helper()
	var err error
	if w.App != nil {
		err = w.Close()
	}
	if err == nil {
		err = os.MkdirAll(home, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(home, "sallyport.yaml"), []byte(conf), 0o600)
	}
	if err == nil {
		w.App, err = Open(w.t.Context(), Options{Home: home, Environ: []string{"HOME=" + w.t.TempDir()}, Create: true})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	app := w.App
	w.t.Cleanup(func() { app.Close() })
	if w.st, err = w.Store(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

type performed struct{}

func (performed) Perform(_ context.Context, p *gate.Permit) (record.Result, error) {
	_, err := p.Take()
	return record.Result{Output: "well done", Cost: 1500}, err
}

// do passes an action of an agent through the gate.
func (w *why) do(kind action.Kind, agent, target string, args map[string]any) error {
	w.t.Helper()
	rules, err := w.Policy()
	if err != nil {
		w.t.Fatal(err)
	}
	people, _, err := w.People(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	g, err := gate.New(gate.Config{
		Ledger: w.st, Policy: rules, Approver: people, Now: time.Now,
		Executors: map[action.Kind]gate.Executor{kind: performed{}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	who := principal.ForAgent(agent)
	session, transcript := "s-"+agent, "c-"+agent
	if agent == "" {
		who, session, transcript = principal.TheOperator("op"), "", ""
	}
	_, err = g.Do(w.t.Context(), action.Action{Kind: kind, Target: target, Args: args, Agent: agent, Session: session, Context: transcript, Principal: who})
	return err
}

// context makes the transcript of an agent.
func (w *why) context(agent string, l, ceiling label.Label) {
	w.t.Helper()
	if err := w.do(action.AgentSpawn, "", agent, map[string]any{"agent": agent, "context": "c-" + agent, "label": l.String(), "ceiling": ceiling.String()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *why) ask(q ExplainQuery) Explained {
	w.t.Helper()
	x, err := w.ExplainEvent(w.t.Context(), q)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

var newest = ExplainQuery{Newest: true}

func (d *ExplainedDecision) remedy(how string) Remedy {
	i := slices.IndexFunc(d.Remedies, func(r Remedy) bool { return r.How == how })
	if i < 0 {
		return Remedy{}
	}
	return d.Remedies[i]
}

var internal = label.New(label.Internal, label.Member, 0)

// TestExplainApproval follows one command from the question to its effect, and
// what is left of the signature when its signer is not trusted any more.
func TestExplainApproval(t *testing.T) {
	w := newWhy(t, "manual")
	w.context("sarah", internal, label.New(label.Internal, label.Foreign, 0))
	args := map[string]any{"script": "uname -a"}
	if err := w.do(action.Exec, "sarah", "s-sarah", args); !fault.Is(err, fault.Denied) {
		t.Fatalf("unanswered: %v", err)
	}
	d := w.ask(ExplainQuery{Newest: true, Denied: true}).Decision
	if d.Verdict != "ask" || d.Ask == nil || d.Ask.State != record.AskOpen || len(d.Signatures) != 0 {
		t.Fatalf("unanswered: %+v, ask %+v", d, d.Ask)
	}
	if r := d.remedy("approval"); !r.Tried || r.Command != "sallyport approve "+d.Ask.ID || !strings.Contains(r.Text, "1 of owner ("+ownerName()+")") {
		t.Errorf("approval: %+v", r)
	}
	if r := d.remedy("grant"); !r.Tried || r.Command != "sallyport grant sarah exec s-sarah --expires 1h" {
		t.Errorf("grant: %+v", r)
	}
	if r := d.remedy("setting"); r.Key != "agents.sarah.commandProtection" {
		t.Errorf("setting: %+v", r)
	}
	if d.Now.Differs || !d.Now.SameSet || !d.Now.Exact || d.Labels.Context != "internal/member" {
		t.Errorf("now: %+v, labels %+v", d.Now, d.Labels)
	}

	bob := w.person("bob")
	if err := w.AnswerWith(t, d.Ask.ID, bob); err != nil {
		t.Fatal(err)
	}
	if err := w.do(action.Exec, "sarah", "s-sarah", args); err != nil {
		t.Fatal(err)
	}
	d = w.ask(newest).Decision
	if d.Verdict != "allow" || len(d.Signatures) != 1 || len(d.Remedies) != 0 {
		t.Fatalf("approved: %+v", d)
	}
	sig := d.Signatures[0]
	if sig.Person != "bob" || !sig.Verifies || !sig.Used || sig.Nonce == "" || sig.Key == "" || sig.Time.IsZero() || sig.Kind != record.StatementApprove {
		t.Errorf("signature: %+v", sig)
	}
	want := Effect{Event: d.Event + 1, Verified: true, Status: "done", Dollars: 0.0015, Output: "well done", Label: d.Labels.Result}
	got := *d.Effect
	got.Seconds = 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("effect (-want +got):\n%s", diff)
	}
	if d.Now.Differs || !d.Now.Exact {
		t.Errorf("now: %+v", d.Now)
	}

	if _, err := w.ChangeTrust(t.Context(), func(n *approval.Trust) error {
		n.People = slices.DeleteFunc(n.People, func(p approval.Person) bool { return p.Name == "bob" })
		return nil
	}, Signing{}); err != nil {
		t.Fatal(err)
	}
	sig = w.ask(ExplainQuery{Event: d.Event}).Decision.Signatures[0]
	if sig.Verifies || sig.Problem == "" || sig.Person != "" || !sig.Used {
		t.Errorf("a signer who was removed: %+v", sig)
	}
}

// person puts somebody with a new key into the trust file.
func (w *why) person(name string) ssh.Signer {
	w.t.Helper()
	_, priv, err := ed25519.GenerateKey(nil)
	if err != nil {
		w.t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.ChangeTrust(w.t.Context(), func(n *approval.Trust) error {
		n.People = append(n.People, approval.Person{Name: name, Groups: []string{"owner"}, Keys: []ssh.PublicKey{signer.PublicKey()}, Clearance: label.Unlabelled})
		return nil
	}, Signing{}); err != nil {
		w.t.Fatal(err)
	}
	return signer
}

// AnswerWith says yes with a key of somebody's own.
func (w *why) AnswerWith(t *testing.T, ask string, signer ssh.Signer) error {
	svc, _, err := w.People(t.Context(), nil)
	if err != nil {
		return err
	}
	return svc.Approve(t.Context(), ask, signer)
}

// TestExplainRemedies: what would have allowed it is tried where it can be.
func TestExplainRemedies(t *testing.T) {
	w := newWhy(t, "none")
	foreign := label.New(label.Internal, label.Foreign, 0)
	w.context("sarah", internal, foreign)
	w.context("bob", label.New(label.Secret, label.Foreign, 0), label.New(label.Secret, label.Foreign, 0))
	for name, tt := range map[string]struct {
		kind          action.Kind
		agent, target string
		args          map[string]any
		rule          string
		how, key      string
		no            string // a remedy that must not be offered
	}{
		"a blocked command":   {action.Exec, "sarah", "s-sarah", map[string]any{"script": "rm -rf /"}, "security.blocked_commands", "setting", "security.blocked_commands", "approval"},
		"a model too low":     {action.ModelCall, "sarah", "anthropic/claude", map[string]any{"messages": []any{}}, "R3c", "setting", "endpoints.anthropic.clearance", "grant"},
		"a context that read": {action.ModelCall, "bob", "anthropic/claude", map[string]any{"messages": []any{}}, "R3c", "label", "", "approval"},
		"nobody configured":   {action.Exec, "eve", "s-eve", map[string]any{"script": "ls"}, "agent.unknown", "setting", "agents.eve", "approval"},
		"not permitted":       {action.ScheduleSet, "sarah", "sarah", map[string]any{"every": "1h"}, "R3a", "nothing", "", "approval"},
	} {
		t.Run(name, func(t *testing.T) {
			w.t = t
			if err := w.do(tt.kind, tt.agent, tt.target, tt.args); !fault.Is(err, fault.Denied) {
				t.Fatalf("not denied: %v", err)
			}
			d := w.ask(newest).Decision
			if d.Verdict != "deny" || d.Rules[0].ID != tt.rule || d.Rules[0].Origin == "" || d.Rules[0].Gone {
				t.Fatalf("decided %s by %+v", d.Verdict, d.Rules)
			}
			r := d.remedy(tt.how)
			if r.Text == "" || r.Key != tt.key {
				t.Errorf("%s: %+v", tt.how, d.Remedies)
			}
			if tt.how == "setting" && !strings.HasSuffix(r.File, "sallyport.yaml") {
				t.Errorf("the setting's file: %+v", r)
			}
			if no := d.remedy(tt.no); no.Text != "" {
				t.Errorf("offers %+v", no)
			}
		})
	}
}

// TestExplainChangedRules: the set that decided, and what today's says.
func TestExplainChangedRules(t *testing.T) {
	w := newWhy(t, "none")
	w.context("sarah", internal, label.New(label.Internal, label.Foreign, 0))
	if err := w.do(action.Exec, "sarah", "s-sarah", map[string]any{"script": "uname -a"}); err != nil {
		t.Fatal(err)
	}
	then := w.ask(newest).Decision
	if !then.Now.SameSet || then.Now.Differs || then.Now.PolicySet != then.PolicySet {
		t.Fatalf("unchanged: %+v", then.Now)
	}
	w.configure(w.Paths.Home, fmt.Sprintf(explainConf, "none")+"readOnlyMode: true\n")
	now := w.ask(newest).Decision
	if now.PolicySet != then.PolicySet || now.Now.SameSet || !now.Now.Differs || now.Now.Verdict != "deny" || !slices.Contains(now.Now.Rules, "readOnlyMode") {
		t.Errorf("read only since: %+v", now.Now)
	}
	if now.Verdict != "allow" {
		t.Errorf("the decision of then is now %s", now.Verdict)
	}
}

// TestExplainTampered: rows that were changed under the log.
func TestExplainTampered(t *testing.T) {
	for name, tt := range map[string]struct {
		change string // on event ?1, the newest decision, whose entry is ?2
		want   string
	}{
		"its text":           {`UPDATE events SET data = replace(data, 'uname', 'rm -r') WHERE id = ?1`, "event was changed"},
		"its agent":          {`UPDATE events SET agent_id = 'bob' WHERE id = ?1`, "event was changed"},
		"its time":           {`UPDATE events SET timestamp = '2026-01-01 00:00:00.000' WHERE id = ?1`, "event was changed"},
		"the entry it names": {`UPDATE events SET leaf = 0 WHERE id = ?1`, "event was changed"},
		"an entry not there": {`UPDATE events SET leaf = 99 WHERE id = ?1`, "entry 99 is not among"},
		"its salt":           {`UPDATE openings SET row_salt = zeroblob(16) WHERE leaf = ?2`, "event was changed"},
		"the digest":         {`UPDATE openings SET digest = zeroblob(32) WHERE leaf = ?2`, "digest was changed"},
		"what opens it":      {`DELETE FROM openings WHERE leaf = ?2`, "does not say that it was erased"},
		"its entry":          {`UPDATE leaves SET leaf = replace(leaf, 'allow', 'ALLOW') WHERE seq = ?2`, "not under the root"},
		"the tree's hashes":  {`UPDATE leaves SET hashes = zeroblob(length(hashes)) WHERE seq = 1`, "not under the root"},
		"a missing hash":     {`UPDATE leaves SET hashes = x'' WHERE seq = 1`, "not under the root"},
		"a missing entry":    {`DELETE FROM leaves WHERE seq = 1`, "not under the root"},
		"a decision planted": {`UPDATE events SET data = replace(data, '"decision":"allow"', '"decision":"deny"') WHERE id = ?1`, "event was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWhy(t, "none")
			w.context("sarah", internal, label.New(label.Internal, label.Foreign, 0))
			if err := w.do(action.Exec, "sarah", "s-sarah", map[string]any{"script": "uname -a"}); err != nil {
				t.Fatal(err)
			}
			x := w.ask(newest)
			if !x.Log.Verified || !x.Log.Included || !x.Log.Row || x.Log.Kind != "intent" || !x.Decision.Verified {
				t.Fatalf("unchanged: %+v", x.Log)
			}
			w.change(tt.change, x.Event.ID, x.Event.Leaf)
			x, err := w.ExplainEvent(t.Context(), ExplainQuery{Event: x.Event.ID})
			if !fault.Is(err, fault.Corrupt) || x.Log.Verified || !strings.Contains(x.Log.Problem, tt.want) {
				t.Errorf("changed: %+v, %v", x.Log, err)
			}
		})
	}
}

// change runs a statement behind the store's back.
func (w *why) change(statement string, event, leaf int64) {
	w.t.Helper()
	db, err := sql.Open("sqlite", w.Paths.Database)
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	res, err := db.ExecContext(w.t.Context(), statement, event, leaf)
	if err != nil {
		w.t.Fatal(err)
	}
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		w.t.Fatalf("%s changed %d rows, %v", statement, n, err)
	}
}

// TestExplainFinds: whatever a model writes, a decision is found by its own
// number, and only where the log says that something was decided.
func TestExplainFinds(t *testing.T) {
	w := newWhy(t, "none")
	w.context("sarah", internal, label.New(label.Internal, label.Foreign, 0)) // intent 1
	// An argument that looks like the number of the intent after it.
	if err := w.do(action.Exec, "sarah", "s-sarah", map[string]any{"script": `echo '"intent":3'`, "intent": int64(3)}); err != nil {
		t.Fatal(err)
	}
	if err := w.do(action.Exec, "sarah", "s-sarah", map[string]any{"script": "true"}); err != nil {
		t.Fatal(err)
	}
	x := w.ask(ExplainQuery{Intent: 3})
	if x.Decision.Intent != 3 || x.Decision.Asked.Args["script"] != "true" {
		t.Errorf("intent 3: %+v", x.Decision.Asked)
	}
	if e := w.ask(ExplainQuery{Intent: 2}).Decision.Effect; e == nil || e.Event != x.Event.ID-1 {
		t.Errorf("the outcome of intent 2: %+v", e)
	}
	out := w.ask(ExplainQuery{Event: x.Decision.Effect.Event})
	if out.Decision == nil || out.Decision.Event != x.Event.ID || !strings.Contains(out.What, "outcome of intent 3") {
		t.Errorf("from the outcome: %s, %+v", out.What, out.Decision)
	}
	// A row that only looks like a decision.
	if _, err := w.st.Append(t.Context(), record.Event{Type: "exec.start", Agent: "sarah", Data: map[string]any{
		"intent": 3, "kind": "exec", "decision": "allow", "rules": []any{"allow.exec"},
	}}); err != nil {
		t.Fatal(err)
	}
	x = w.ask(newest)
	if x.Decision != nil || x.Log.Kind != "event" || !strings.Contains(x.What, "nothing was decided") {
		t.Errorf("a row that looks like a decision: %s, %+v", x.What, x.Decision)
	}
	for name, q := range map[string]ExplainQuery{"no such event": {Event: 999}, "no such intent": {Intent: 999}} {
		if _, err := w.ExplainEvent(t.Context(), q); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestExplainErased: what was erased is gone, its place is not.
func TestExplainErased(t *testing.T) {
	w := newWhy(t, "none")
	w.context("sarah", internal, label.New(label.Internal, label.Foreign, 0))
	if err := w.do(action.Exec, "sarah", "s-sarah", map[string]any{"script": "true"}); err != nil {
		t.Fatal(err)
	}
	id := w.ask(newest).Event.ID
	if err := w.st.Erase(t.Context(), id, "op"); err != nil {
		t.Fatal(err)
	}
	x := w.ask(ExplainQuery{Event: id})
	if x.Decision != nil || !x.Log.Erased || !x.Log.Verified || x.Log.Row || !strings.Contains(x.What, "was erased") {
		t.Errorf("erased: %s, %+v", x.What, x.Log)
	}
	// Its outcome still stands, without a decision.
	if x := w.ask(ExplainQuery{Event: id + 1}); x.Decision != nil || !x.Log.Verified {
		t.Errorf("the outcome of what was erased: %+v", x)
	}
}

// TestExplainWithheld: texts of a secret context are not there; that they are
// not, and with which clearance they would be, is.
func TestExplainWithheld(t *testing.T) {
	w := newWhy(t, "none")
	secret := label.New(label.Secret, label.Foreign, 0)
	w.context("bob", secret, secret)
	const canary = "the name of the source"
	if err := w.do(action.Exec, "bob", "s-bob", map[string]any{"script": "echo " + canary}); !fault.Is(err, fault.Denied) && err != nil {
		t.Fatal(err)
	}
	d := w.ask(newest).Decision
	held := d.Asked.Withheld
	if held == nil || held.Label != "secret/foreign" || held.Bytes < int64(len(canary)) {
		t.Errorf("withheld: %+v of %+v", held, d.Asked)
	}
	if d.Now.Exact || len(d.Now.Unknown) == 0 {
		t.Errorf("the question is said to be known: %+v", d.Now)
	}
	if text := fmt.Sprintf("%+v %+v", d, d.Effect); strings.Contains(text, canary) {
		t.Errorf("explains with the text: %s", text)
	}
}
