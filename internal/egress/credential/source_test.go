package credential

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/zalando/go-keyring"

	"sallyport/internal/fault"
)

func env(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1], true
			}
		}
		return "", false
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSourceReads(t *testing.T) {
	keyring.MockInit()
	if err := keyring.Set("https://api.example.com/v1", "me", secret); err != nil {
		t.Fatal(err)
	}
	path := write(t, "key", secret+"\n", 0o600)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		source Source
		want   string
	}{
		"env":          {Source{Env: "KEY"}, secret},
		"file":         {Source{File: path}, secret},
		"read only":    {Source{File: write(t, "key", secret+"\r\n", 0o400)}, secret},
		"one line end": {Source{File: write(t, "key", secret+"\n\n", 0o600)}, secret + "\n"},
		"link":         {Source{File: link}, secret},
		"keyring":      {Source{Keyring: "https://api.example.com/v1/me"}, secret},
		"command":      {Source{Command: []string{"cat", path}}, secret},
		"no shell":     {Source{Command: []string{"printf", "%s", "$(id); `id` > x"}}, "$(id); `id` > x"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := c.source.Read(t.Context(), env("KEY", secret, "DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere", "PATH", os.Getenv("PATH")))
			if err != nil {
				t.Fatal(err)
			}
			if v.Reveal() != c.want {
				t.Errorf("got %q, want %q", v.Reveal(), c.want)
			}
		})
	}
}

// TestSourceRefuses: each error names the remedy, none the value.
func TestSourceRefuses(t *testing.T) {
	keyring.MockInit()
	long := write(t, "key", strings.Repeat(secret, 4000), 0o600)
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		source Source
		kind   fault.Kind
		says   string
	}{
		"nothing":         {Source{}, fault.Config, "exactly one"},
		"two":             {Source{Env: "KEY", File: "x"}, fault.Config, "exactly one"},
		"unset":           {Source{Env: "OTHER"}, fault.NotFound, "export it"},
		"empty variable":  {Source{Env: "EMPTY"}, fault.Config, "store a value"},
		"long variable":   {Source{Env: "LONG"}, fault.Config, "64 KiB"},
		"no file":         {Source{File: filepath.Join(t.TempDir(), "none")}, fault.NotFound, "correct the path"},
		"group reads":     {Source{File: write(t, "key", secret, 0o640)}, fault.Config, "chmod 600"},
		"world reads":     {Source{File: write(t, "key", secret, 0o604)}, fault.Config, "chmod 600"},
		"world writes":    {Source{File: write(t, "key", secret, 0o602)}, fault.Config, "chmod 600"},
		"long file":       {Source{File: long}, fault.Config, "64 KiB"},
		"empty file":      {Source{File: write(t, "key", "\n", 0o600)}, fault.Config, "store a value"},
		"folder":          {Source{File: t.TempDir()}, fault.Config, "regular file"},
		"pipe":            {Source{File: pipe}, fault.Config, "regular file"},
		"keyring form":    {Source{Keyring: "service"}, fault.Config, "service/user"},
		"keyring no user": {Source{Keyring: "service/"}, fault.Config, "service/user"},
		"not in keyring":  {Source{Keyring: "service/user"}, fault.NotFound, "secret-tool store"},
		"no command":      {Source{Command: []string{"/nowhere/pass"}}, fault.Config, "there is no shell"},
		"command fails":   {Source{Command: []string{"sh", "-c", "echo '" + secret + "'; echo '" + secret + "' >&2; exit 3"}}, fault.Unavailable, "exit status 3"},
		"command long":    {Source{Command: []string{"cat", long}}, fault.Config, "64 KiB"},
		"command endless": {Source{Command: []string{"yes", secret}}, fault.Config, "64 KiB"},
		"command silent":  {Source{Command: []string{"true"}}, fault.Config, "store a value"},
	} {
		t.Run(name, func(t *testing.T) {
			v, err := c.source.Read(t.Context(), env("KEY", secret, "EMPTY", "", "LONG", strings.Repeat(secret, 4000), "DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere"))
			refused(t, err, c.kind, c.says)
			if v.Len() != 0 {
				t.Error("a value came with the error")
			}
		})
	}
}

func TestKeyringWithoutBus(t *testing.T) {
	keyring.MockInit()
	_, err := Source{Keyring: "service/user"}.Read(t.Context(), env("XDG_RUNTIME_DIR", t.TempDir()))
	refused(t, err, fault.Unavailable, "no D-Bus")
}

// TestKeyringFails: what the service says is for the log; the sentence is ours.
func TestKeyringFails(t *testing.T) {
	keyring.MockInitWithError(syscall.ECONNREFUSED)
	t.Cleanup(keyring.MockInit)
	_, err := Source{Keyring: "service/user"}.Read(t.Context(), env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere"))
	refused(t, err, fault.Unavailable, "unlock it")
}

// TestCommandEnvironment: a command gets the few variables named, and neither
// the terminal nor the rest.
func TestCommandEnvironment(t *testing.T) {
	t.Setenv("SALLYPORT_TEST_CANARY", "canary")
	v, err := Source{Command: []string{"sh", "-c", "env; cat; ls -l /proc/$$/fd/0"}}.Read(t.Context(), env("PATH", os.Getenv("PATH"), "HOME", "/nowhere", "SALLYPORT_TEST_CANARY", "canary"))
	if err != nil {
		t.Fatal(err)
	}
	got := v.Reveal()
	if strings.Contains(got, "canary") || !strings.Contains(got, "HOME=/nowhere") || !strings.Contains(got, "/dev/null") {
		t.Errorf("got %s", got)
	}
}

// TestCommandWithoutEnvironment: nothing is not everything.
func TestCommandWithoutEnvironment(t *testing.T) {
	t.Setenv("SALLYPORT_TEST_CANARY", "canary")
	v, err := Source{Command: []string{"sh", "-c", "env; echo end"}}.Read(t.Context(), env())
	if err != nil || strings.Contains(v.Reveal(), "canary") {
		t.Errorf("got %v, %s", err, v.Reveal())
	}
}

// TestCommandIsEnded: with everything it started, also when that holds on to
// the output.
func TestCommandIsEnded(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "alive"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		// Opening for reading ends when the child has opened for writing.
		f, err := os.Open(filepath.Join(dir, "alive"))
		if err == nil {
			cancel()
			defer func() { _ = f.Close() }()
			_, _ = f.Read(make([]byte, 1)) // until every writer is gone
		}
	}()
	begin := time.Now()
	_, err := Source{Command: []string{"sh", "-c", `(exec 3>"$0"; sleep 1000; :) & wait`, filepath.Join(dir, "alive")}}.Read(ctx, env("PATH", os.Getenv("PATH")))
	refused(t, err, fault.Unavailable, "did not end")
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("it took %s", took)
	}
	// Nobody writes any more: opening without waiting fails only for writers,
	// so look for a reader's end of file instead.
	f, err := os.OpenFile(filepath.Join(dir, "alive"), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if n, err := syscall.Read(int(f.Fd()), make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("a child still lives: %d, %v", n, err)
	}
}
