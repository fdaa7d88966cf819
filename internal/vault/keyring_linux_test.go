package vault

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"

	"sallyport/internal/fault"
)

// TestKeyring keeps a root key in a real Secret Service on a session bus of its
// own. The second half runs inside that session.
func TestKeyring(t *testing.T) {
	if os.Getenv("VAULT_TEST_SESSION") == "yes" {
		inSession(t)
		return
	}
	for _, program := range []string{"dbus-run-session", "gnome-keyring-daemon", "gdbus"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s", program)
		}
	}
	home := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "dbus-run-session", "--", "sh", "-c",
		`printf password | gnome-keyring-daemon --unlock --components=secrets --foreground >/dev/null 2>&1 &
		 trap "kill $!" EXIT
		 "$0" -test.run '^TestKeyring$' -test.v`, os.Args[0])
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "XDG_DATA_HOME=" + home, "VAULT_TEST_SESSION=yes",
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: TestKeyring"):
		t.Errorf("it did not run:\n%s", out)
	}
}

func inSession(t *testing.T) {
	// Asking for the owner of the name waits until the service has started.
	wait := exec.CommandContext(t.Context(), "gdbus", "wait", "--session", "--timeout", "10", "org.freedesktop.secrets")
	if out, err := wait.CombinedOutput(); err != nil {
		t.Skipf("the keyring's service does not come up: %v, %s", err, out)
	}
	if err := keyring.Set("sallyport-test", "probe", "x"); err != nil {
		t.Skipf("the keyring takes nothing: %v", err)
	}
	_, err := ReadRootFromKeyring(t.Context(), "vault", os.LookupEnv)
	wantKind(t, "before it is made", err, fault.NotFound)
	r, err := CreateRootInKeyring(t.Context(), "vault", os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := ReadRootFromKeyring(t.Context(), "vault", os.LookupEnv); err != nil || !same(r, back) {
		t.Fatal(err)
	}
	_, err = CreateRootInKeyring(t.Context(), "vault", os.LookupEnv)
	wantKind(t, "making it twice", err, fault.Conflict)
	if back, err := ReadRootFromKeyring(t.Context(), "vault", os.LookupEnv); err != nil || !same(r, back) {
		t.Error("the only key was overwritten")
	}
	if err := keyring.Set(keyringService, "broken", "sallyport-root-1 key x"); err != nil {
		t.Fatal(err)
	}
	_, err = ReadRootFromKeyring(t.Context(), "broken", os.LookupEnv)
	wantKind(t, "a damaged entry", err, fault.Config)
}

// TestNoKeyring: without a session bus the answer comes at once, and says what to
// do.
func TestNoKeyring(t *testing.T) {
	lookup := func(name string) (string, bool) {
		if name == "XDG_RUNTIME_DIR" {
			return t.TempDir(), true
		}
		return "", false
	}
	_, err := ReadRootFromKeyring(t.Context(), "vault", lookup)
	wantKind(t, "no bus", err, fault.Unavailable)
	_, err = CreateRootInKeyring(t.Context(), "vault", lookup)
	wantKind(t, "no bus", err, fault.Unavailable)
	_, err = ReadRootFromKeyring(t.Context(), "", lookup)
	wantKind(t, "no name", err, fault.Config)
}
