package cli

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"sallyport/internal/action"
	"sallyport/internal/app"
	"sallyport/internal/approval"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
)

// procedure gives the documented commands that verify evidence.
func procedure(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/approvals.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(b), "keep this block runnable as it is -->\n```sh\n")
	script, _, ok2 := strings.Cut(rest, "```\n")
	if !ok || !ok2 {
		t.Fatal("docs/approvals.md has no procedure any more")
	}
	return script
}

// TestDocumentedProcedure runs the commands of docs/approvals.md literally, on
// the evidence of a question that two people answered, and then on evidence in
// which one byte was changed.
func TestDocumentedProcedure(t *testing.T) {
	for _, tool := range []string{"ssh-keygen", "sha256sum", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %s is not installed; the procedure of docs/approvals.md is NOT tested", tool)
		}
	}
	script := procedure(t)
	dir := evidence(t)
	out, err := runProcedure(t, script, dir)
	if err != nil || !strings.Contains(out, "verified ") || strings.Count(out, "Good \"approve@sallyport\" signature") != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() == "allowed_signers" || f.Name() == "start" || f.Name() == "expected" {
			continue
		}
		path := filepath.Join(dir, f.Name())
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bad := []byte(strings.Replace(strings.Replace(string(good), `rm x`, `rm y`, 1), "U1NIU0lH", "U1NIU0lI", 1))
		if string(bad) == string(good) {
			t.Fatalf("%s was not changed", f.Name())
		}
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := runProcedure(t, script, dir); err == nil {
			t.Errorf("%s was changed and verifies: %s", f.Name(), out)
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func runProcedure(t *testing.T, script, dir string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// evidence makes the directory of a question about `rm x` with an awkward
// argument, answered by two people, one of whose names holds a hyphen.
func evidence(t *testing.T) string {
	t.Helper()
	home := t.TempDir()
	a, err := app.Open(t.Context(), app.Options{Home: filepath.Join(home, "state"), Environ: []string{"HOME=" + home}, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}()
	other, err := approval.LoadOrCreateOwner(filepath.Join(home, "other"))
	if err != nil {
		t.Fatal(err)
	}
	pub := filepath.Join(home, "other.pub")
	if err := os.WriteFile(pub, ssh.MarshalAuthorizedKey(other.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.ChangeTrust(t.Context(), a.AddPerson("mary-ann", []string{pub}, []string{"owner"}, "secret"), app.Signing{}); err != nil {
		t.Fatal(err)
	}
	svc, _, err := a.People(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	act := action.Action{Kind: action.Exec, Target: "s1", Agent: "sarah", Args: map[string]any{
		"script": "rm x", "odd": "%s \\ $(id) ' \" \n,\"subject\":[{\"digest\":{}}]}", "n": 1.5,
	}}
	d, err := act.Digest(label.Bottom, "set")
	if err != nil {
		t.Fatal(err)
	}
	_, err = svc.Await(t.Context(), record.ApprovalRequest{Action: act, Digest: d, Context: label.Bottom, PolicySet: "set", Needs: []record.Need{{Count: 1, Group: "owner"}}, Because: "b"})
	if !fault.Is(err, fault.NeedsAsk) {
		t.Fatal(err)
	}
	asks, err := a.Asks(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"", filepath.Join(home, "other", "owner")} {
		if _, err := a.Answer(t.Context(), asks[0].ID, true, app.Signing{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(home, "evidence")
	if _, err := a.WriteEvidence(t.Context(), asks[0].ID, dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
