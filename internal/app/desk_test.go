package app

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
)

// atDesk opens an installation outside of /tmp's usual names with a
// configuration.
func atDesk(t *testing.T, yaml string) *App {
	t.Helper()
	home := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "sallyport.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return reopened(t, home)
}

func reopened(t *testing.T, home string) *App {
	t.Helper()
	a, err := openAt(t, home, true)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

const agency = `
agents:
  chief: {clearance: 'secret{c1}'}
  scout: {clearance: public}
organisation:
  tiers:
    - {name: core, agents: [chief]}
    - {name: edge, agents: [scout]}
  channels:
    - {from: core, to: edge, label: public/member}
    - {from: edge, to: core, label: internal/foreign}
`

func yes(context.Context, string) (answer, answered bool, err error) { return true, true, nil }

// holding lists the files below a directory that hold the bytes.
func holding(t *testing.T, dir string, needle []byte) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err == nil && bytes.Contains(b, needle) {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func put(t *testing.T, a *App, name, l, data string) Item {
	t.Helper()
	it, err := a.PutItem(t.Context(), name, l, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	return it
}

// TestItemsOfTheOperator: what is put comes back, in new versions, under new
// names and raised labels; nothing is ever answered with empty data.
func TestItemsOfTheOperator(t *testing.T) {
	a := atDesk(t, agency)
	ctx := t.Context()
	put(t, a, "plans/next", "confidential", "one")
	put(t, a, "plans/next", "", "two")
	if _, err := a.PutItem(ctx, "plans/next", "secret", []byte("three")); !fault.Is(err, fault.Conflict) {
		t.Errorf("a new version with another label: %v", err)
	}
	if _, err := a.PutItem(ctx, "plans/other", "", []byte("x")); !fault.Is(err, fault.Usage) {
		t.Errorf("a new item without a label: %v", err)
	}
	if it, err := a.LabelItem(ctx, "plans/next", "secret{c1}", "", "", nil); err != nil || it.Version != 3 || it.Label != "secret{c1}/member" {
		t.Errorf("raised to %+v, %v", it, err)
	}
	if it, err := a.MoveItem(ctx, "plans/next", "archive"); err != nil || it.Version != 1 || it.Label != "secret{c1}/member" {
		t.Errorf("moved to %+v, %v", it, err)
	}
	if data, it, err := a.GetItem(ctx, "archive"); err != nil || string(data) != "two" || it.Bytes != 3 {
		t.Errorf("got %q %+v, %v", data, it, err)
	}
	for _, name := range []string{"plans/next", "nothing"} {
		if data, _, err := a.GetItem(ctx, name); !fault.Is(err, fault.NotFound) || data != nil {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	if _, err := a.PutItem(ctx, "plans/next", "public", []byte("x")); !fault.Is(err, fault.Conflict) {
		t.Errorf("a name was used again: %v", err)
	}
	if n, faults, err := a.CheckItems(ctx); err != nil || n != 1 || len(faults) != 0 {
		t.Errorf("checked %d: %v, %v", n, faults, err)
	}
}

// agentRead passes a read of an agent through the gate, as a driver does.
func agentRead(t *testing.T, b *bench, agent, ctxID, ref, taint string) (record.Result, error) {
	t.Helper()
	args := map[string]any{"item": ref}
	if taint != "" {
		args["taint"] = taint
	}
	return b.gate.Do(t.Context(), action.Action{
		Kind: action.DataRead, Target: ref, Args: args, Agent: agent, Session: "s-" + agent, Context: ctxID, Principal: principal.ForAgent(agent),
	})
}

func agentWrite(t *testing.T, b *bench, agent, ctxID, text string) (record.Result, error) {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	return b.gate.Do(t.Context(), action.Action{
		Kind: action.DataWrite, Target: refNew, Body: []byte(text),
		Args:  map[string]any{"item": refNew, "sha256": hex.EncodeToString(sum[:]), "bytes": int64(len(text))},
		Agent: agent, Session: "s-" + agent, Context: ctxID, Principal: principal.ForAgent(agent),
	})
}

// fork makes a context of an agent.
func fork(t *testing.T, b *bench, agent, ctxID string, l, ceiling label.Label) {
	t.Helper()
	in := record.Intent{
		Action:   action.Action{Kind: action.AgentSpawn, Target: agent, Agent: agent, Session: "s-" + agent, Principal: b.app.theOperator(t.Context())},
		Decision: record.Decision{Verdict: record.Allow, ResultLabel: label.Bottom}, Fork: &record.Fork{Context: ctxID, Label: l, Ceiling: ceiling},
		Reserve: record.Reservation{Account: agent, Limit: -1},
	}
	snap, err := b.desk.rows.Snapshot(t.Context(), record.Scope{Agent: agent, Session: "s-" + agent})
	if err != nil {
		t.Fatal(err)
	}
	in.Revision = snap.Revision
	got, err := b.desk.rows.Intend(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.desk.rows.Settle(t.Context(), record.Outcome{Intent: got.ID, Status: record.Done}); err != nil {
		t.Fatal(err)
	}
}

func benchOf(t *testing.T, a *App, ask AskFunc) *bench {
	t.Helper()
	b, err := a.bench(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.desk.close)
	return b
}

var member = label.New(label.Public, label.Member, 0)

// TestAgentsReadWhatTheyAreClearedFor: too high, absent and another's look
// alike; a name cannot be chosen; the index shows what the context may know of.
func TestAgentsReadWhatTheyAreClearedFor(t *testing.T) {
	a := atDesk(t, agency)
	put(t, a, "open", "public", "for all")
	put(t, a, "crown", "secret{c1}", "jewels")
	b := benchOf(t, a, nil)
	top := label.New(label.Secret, label.Foreign, 2)
	fork(t, b, "chief", "x", member, top)
	fork(t, b, "scout", "y", member, label.Label{})

	if res, err := agentRead(t, b, "scout", "y", "open", ""); err != nil || res.Output != "for all" {
		t.Errorf("open: %q, %v", res.Output, err)
	}
	_, high := agentRead(t, b, "scout", "y", "crown", "yes")
	_, none := agentRead(t, b, "scout", "y", "crowns", "yes")
	if !fault.Is(high, fault.Denied) || !fault.Is(none, fault.Denied) ||
		strings.ReplaceAll(fault.PublicText(none), "crowns", "crown") != fault.PublicText(high) {
		t.Errorf("too high and absent differ:\n%v\n%v", high, none)
	}
	if res, err := agentRead(t, b, "chief", "x", "crown", "yes"); err != nil || res.Output != "jewels" || res.Label.Level != label.Secret {
		t.Errorf("crown: %q %v, %v", res.Output, res.Label, err)
	}
	kept, err := agentWrite(t, b, "chief", "x", "digest of the jewels")
	if err != nil || !isHandle("o", kept.Output) {
		t.Fatalf("kept as %q, %v", kept.Output, err)
	}
	o, err := b.desk.rows.Object(t.Context(), kept.Output)
	if err != nil || o.Label != label.New(label.Secret, label.Member, 2) || o.Made != o.Label {
		t.Errorf("kept %+v, %v", o, err)
	}
	if res, err := agentRead(t, b, "scout", "y", refIndex, ""); err != nil || strings.Contains(res.Output, "crown") || strings.Contains(res.Output, kept.Output) || !strings.Contains(res.Output, "open") {
		t.Errorf("the scout's index:\n%s%v", res.Output, err)
	}
	if res, err := agentRead(t, b, "chief", "x", refIndex, ""); err != nil || !strings.Contains(res.Output, "crown") || !strings.Contains(res.Output, kept.Output) {
		t.Errorf("the chief's index:\n%s%v", res.Output, err)
	}
}
