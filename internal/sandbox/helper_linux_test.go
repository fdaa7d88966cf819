package sandbox

import (
	"testing"
	"time"
)

// open starts a sandbox in exactly one tier.
func open(t *testing.T, spec Spec, tier Tier) *Sandbox {
	t.Helper()
	spec, err := spec.normalise()
	must(t, err)
	sb, err := startTier(t.Context(), spec, tier)
	if err != nil {
		t.Fatalf("start %s in tier %s: %v", spec.View, tier, err)
	}
	t.Cleanup(func() { _ = sb.Close() })
	return sb
}

func openShell(t *testing.T, spec Spec, tier Tier) *Shell {
	t.Helper()
	sh, err := open(t, spec, tier).Shell(t.Context(), ShellOptions{})
	must(t, err)
	return sh
}

// runOK runs a script that has time to end.
func runOK(t *testing.T, sh *Shell, script string) Result {
	t.Helper()
	r, err := sh.Run(t.Context(), script, 20*time.Second)
	if err != nil {
		t.Fatalf("run %q: %v", script, err)
	}
	if r.TimedOut {
		t.Fatalf("run %q timed out; output:\n%s%s", script, r.Head, r.Tail)
	}
	return r
}
