package app

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/internal/action"
	"sallyport/internal/alert"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

// TestMarksOfMailTellNothing: that a message was listed is written into the
// slot, so a context that knows more than the slot does not write it: whether it
// looked or not would be a bit for a later one.
func TestMarksOfMailTellNothing(t *testing.T) {
	a := atDesk(t, agency)
	b := benchOf(t, a, nil)
	top := label.New(label.Secret, label.Foreign, 2)
	fork(t, b, "chief", "high", label.New(label.Secret, label.Member, 2), top)
	fork(t, b, "chief", "low", member, top)
	if err := b.desk.rows.PutMessage(t.Context(), record.Message{ID: handle("m"), Slot: "edge", From: "scout", To: "chief"}); err != nil {
		t.Fatal(err)
	}
	lists := func(ctxID string) string {
		t.Helper()
		res, err := agentRead(t, b, "chief", ctxID, "mail/chief/edge", "yes")
		if err != nil {
			t.Fatal(err)
		}
		return res.Output
	}
	before := lists("high")
	if again := lists("high"); !strings.Contains(before, "  new") || again != before {
		t.Errorf("the high context left a mark:\n%s%s", before, again)
	}
	if low := lists("low"); low != before {
		t.Errorf("the low context sees that it was looked at:\n%s%s", before, low)
	}
	if again := lists("low"); strings.Contains(again, "  new") {
		t.Errorf("who may write there leaves no mark either, so the test shows nothing:\n%s", again)
	}
}

// TestReportNamesAreTexts: the name of a report goes to every sink, so that of
// a folder which a secret session has written is withheld.
func TestReportNamesAreTexts(t *testing.T) {
	for name, tt := range map[string]struct {
		knows label.Label
		named bool
	}{
		"clear":  {label.New(label.Internal, label.Foreign, 0), true},
		"secret": {label.New(label.Secret, label.Foreign, 2), false},
	} {
		a := atDesk(t, agency)
		st, err := a.Store(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(a.Paths.Reports, 0o700); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(a.Paths.Reports, "level_5_"+canary+".txt")
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if list, err := a.Reports(); err != nil || len(list) != 1 || list[0].Level != 5 {
			t.Fatalf("%+v, %v", list, err)
		}
		if err := st.RaisePlace(t.Context(), filepath.Dir(a.Paths.Reports), tt.knows); err != nil { // that of an agent's home above it
			t.Fatal(err)
		}
		w, err := a.newWatcher(st)
		if err != nil {
			t.Fatal(err)
		}
		w.reports(t.Context())
		w.reports(t.Context())
		rows, err := st.Events(t.Context(), store.Filter{Types: []string{alert.EventReport}, Limit: 10})
		if err != nil || len(rows) != 1 {
			t.Fatalf("%s: %d events, %v", name, len(rows), err)
		}
		if strings.Contains(string(rows[0].Data), canary) != tt.named {
			t.Errorf("%s: %s", name, rows[0].Data)
		}
	}
}

// TestReadableLogSaysNoMore: the log for people shows of an action what the
// event about it does.
func TestReadableLogSaysNoMore(t *testing.T) {
	for name, tt := range map[string]struct {
		context label.Label
		said    bool
	}{"clear": {member, true}, "secret": {label.New(label.Secret, label.Member, 2), false}} {
		a := atDesk(t, agency)
		b := benchOf(t, a, nil)
		fork(t, b, "chief", "x", tt.context, label.New(label.Secret, label.Foreign, 2))
		r, err := a.newReadable(b.desk.rows)
		if err != nil {
			t.Fatal(err)
		}
		in := record.Intent{
			Action:  action.Action{Kind: action.DataRead, Target: canary, Args: map[string]any{"item": canary}, Agent: "chief", Session: "s-chief", Context: "x"},
			Context: tt.context, Args: tt.context,
			Decision: record.Decision{Rules: []string{"R1"}, Because: "there is no " + canary, ResultLabel: tt.context},
		}
		snap, err := r.Snapshot(t.Context(), record.Scope{Agent: "chief", Session: "s-chief", Context: "x"})
		if err != nil {
			t.Fatal(err)
		}
		in.Revision = snap.Revision
		if _, err := r.Intend(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		in.Decision.Verdict = record.Allow
		if snap, err = r.Snapshot(t.Context(), record.Scope{Agent: "chief", Session: "s-chief", Context: "x"}); err != nil {
			t.Fatal(err)
		}
		in.Revision, in.Reserve = snap.Revision, record.Reservation{Account: "chief", Limit: -1}
		got, err := r.Intend(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Settle(t.Context(), record.Outcome{Intent: got.ID, Status: record.Failed, Result: record.Result{Label: tt.context}, Err: "no " + canary}); err != nil {
			t.Fatal(err)
		}
		if err := r.file.Close(); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(a.Paths.Log)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), canary); (n >= 5) != tt.said || !tt.said && n > 0 {
			t.Errorf("%s: said %d times:\n%s", name, n, text)
		}
	}
}

// TestQuestionsOfSecretSessionsAreSealed: a context that knows a secret can put
// it into what people are asked. They see and sign every letter of it, and none
// of it, nor of what they signed, lies in the clear.
func TestQuestionsOfSecretSessionsAreSealed(t *testing.T) {
	for name, tt := range map[string]struct {
		context label.Label
		lies    bool
	}{"clear": {member, true}, "secret": {label.New(label.Secret, label.Member, 2), false}} {
		a := atDesk(t, agency)
		b := benchOf(t, a, nil)
		fork(t, b, "chief", "x", tt.context, label.New(label.Secret, label.Foreign, 2))
		svc, owner, err := a.People(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		act := action.Action{Kind: action.DataLower, Target: canary, Agent: "chief", Session: "s-chief", Context: "x", Principal: principal.ForAgent("chief"), Args: map[string]any{"purpose": canary}}
		digest, err := act.Digest(tt.context, "set")
		if err != nil {
			t.Fatal(err)
		}
		row, err := svc.Publish(t.Context(), record.ApprovalRequest{
			Action: act, Digest: digest, Context: tt.context, PolicySet: "set", Because: "about " + canary, Needs: []record.Need{{Count: 1, Group: "owner"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		again := reopened(t, a.Paths.Home)
		if got, err := again.AskText(t.Context(), row.ID); err != nil || !strings.Contains(got.Text, canary) || got.Target != canary || got.Because != "about "+canary {
			t.Errorf("%s: shown %+v, %v", name, got, err)
		}
		if err := svc.Approve(t.Context(), row.ID, owner); err != nil {
			t.Fatal(err)
		}
		if found, err := svc.Find(t.Context(), digest); err != nil || len(found) != 1 {
			t.Errorf("%s: the answer counts %d times, %v", name, len(found), err)
		}
		files := holding(t, a.Paths.Home, []byte(canary))
		for shift := range 3 { // what was signed is kept as base64
			text := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + canary))
			files = append(files, holding(t, a.Paths.Home, []byte(text[4:16]))...)
		}
		if (len(files) > 0) != tt.lies {
			t.Errorf("%s: it lies in %v", name, files)
		}
		sqlOn(t, a, `UPDATE asks SET payload=CAST(CAST(payload AS TEXT) || 'A' AS BLOB)`)
		if found, err := svc.Find(t.Context(), digest); err != nil || len(found) != 0 {
			t.Errorf("%s: a changed question counts: %+v, %v", name, found, err)
		}
	}
}
