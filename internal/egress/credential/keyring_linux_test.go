package credential

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/zalando/go-keyring"
)

// TestRealKeyring stores a secret in a real Secret Service on a session bus of
// its own and reads it back. The second half runs inside that session.
func TestRealKeyring(t *testing.T) {
	if os.Getenv("CREDENTIAL_TEST_SESSION") == "yes" {
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
		 "$0" -test.run '^TestRealKeyring$' -test.v`, os.Args[0])
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_RUNTIME_DIR=" + home, "XDG_DATA_HOME=" + home, "CREDENTIAL_TEST_SESSION=yes",
	}
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	case !strings.Contains(string(out), "--- PASS: TestRealKeyring"):
		t.Errorf("it did not run:\n%s", out)
	}
}

func inSession(t *testing.T) {
	// Asking for the owner of the name waits until the service has started.
	wait := exec.CommandContext(t.Context(), "gdbus", "wait", "--session", "--timeout", "10", "org.freedesktop.secrets")
	if out, err := wait.CombinedOutput(); err != nil {
		t.Skipf("the keyring's service does not come up: %v, %s", err, out)
	}
	if err := keyring.Set("sallyport-test", "me", secret); err != nil {
		t.Skipf("the keyring takes nothing: %v", err)
	}
	v, err := Source{Keyring: "sallyport-test/me"}.Read(t.Context(), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if v.Reveal() != secret {
		t.Errorf("got %q", v.Reveal())
	}
	if _, err := (Source{Keyring: "sallyport-test/nobody"}).Read(t.Context(), os.LookupEnv); err == nil || !strings.Contains(err.Error(), "secret-tool store") {
		t.Errorf("got %v", err)
	}
}
