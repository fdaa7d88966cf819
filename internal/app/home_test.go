package app

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"sallyport/internal/fault"
)

func openAt(t *testing.T, home string, create bool) (*App, error) {
	t.Helper()
	a, err := Open(t.Context(), Options{Home: home, Environ: []string{"HOME=" + t.TempDir()}, Create: create})
	t.Cleanup(func() { a.Close() })
	return a, err
}

func TestHomeMustBeClosedToOthers(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(path string) error
		kind fault.Kind
	}{
		{"open to the group", func(p string) error { return os.Mkdir(p, 0o750) }, fault.Config},
		{"a file", func(p string) error { return os.WriteFile(p, nil, 0o600) }, fault.Config},
		{"a dead link", func(p string) error { return os.Symlink("/nonexistent", p) }, fault.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			home := filepath.Join(t.TempDir(), "state")
			if err := tt.make(home); err != nil {
				t.Fatal(err)
			}
			for _, create := range []bool{false, true} {
				if _, err := openAt(t, home, create); !fault.Is(err, tt.kind) {
					t.Errorf("create=%v: %v, want kind %v", create, err, tt.kind)
				}
			}
		})
	}
}

func TestHomeOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("giving a directory away needs root")
	}
	home := filepath.Join(t.TempDir(), "state")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 12345, 12345); err != nil {
		t.Fatal(err)
	}
	if _, err := openAt(t, home, false); !fault.Is(err, fault.Denied) {
		t.Errorf("%v, want denied", err)
	}
}

// TestLookingCreatesNothing: every question about an installation that does
// not exist is answered without making one.
func TestLookingCreatesNothing(t *testing.T) {
	home := filepath.Join(t.TempDir(), "state")
	a, err := openAt(t, home, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	_, e1 := a.Events(ctx, EventFilter{}, func(Event) error { return nil })
	_, e2 := a.Status(ctx)
	_, e3 := a.Log(ctx, 1)
	_, e4 := a.Asks(ctx, true)
	_, e5 := a.Grants(ctx, "", true)
	_, e6 := a.Reports()
	for i, err := range []error{e1, e2, e3, e4, e5, e6} {
		if err != nil {
			t.Errorf("question %d: %v", i+1, err)
		}
	}
	if _, err := os.Stat(home); !os.IsNotExist(err) {
		t.Errorf("the state directory appeared: %v", err)
	}
}

// TestKeysAreMadeOnce: processes that start together in a new directory agree
// on one instance and one key.
func TestKeysAreMadeOnce(t *testing.T) {
	home := filepath.Join(t.TempDir(), "state")
	if err := makeHome(home); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	keys := make([]string, 8)
	for i := range keys {
		wg.Go(func() {
			s, err := openKeys(t.Context(), filepath.Join(home, "keys"))
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = s.Origin() + " " + s.Verifier()
		})
	}
	wg.Wait()
	for _, k := range keys {
		if k == "" || k != keys[0] {
			t.Errorf("two instances: %q and %q", k, keys[0])
		}
	}
	left, err := filepath.Glob(filepath.Join(home, "keys", ".instance-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestDamagedInstanceIsRefused(t *testing.T) {
	home := filepath.Join(t.TempDir(), "state")
	if err := makeHome(home); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "keys", "instance"), []byte("../../x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := openAt(t, home, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Store(t.Context()); !fault.Is(err, fault.Corrupt) {
		t.Errorf("%v, want corrupt", err)
	}
}

func TestReportNames(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	a, err := openAt(t, home, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(a.Paths.Reports, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"2024-03-07-054000-level3-web1.txt", "report_Level4.txt", "notes.txt", "x.json"} {
		if err := os.WriteFile(filepath.Join(a.Paths.Reports, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := a.Reports()
	if err != nil {
		t.Fatal(err)
	}
	levels := map[string]int{}
	for _, r := range got {
		levels[filepath.Base(r.File)+" "+r.Host] = r.Level
	}
	for name, want := range map[string]int{"2024-03-07-054000-level3-web1.txt web1": 3, "report_Level4.txt ": 4, "notes.txt ": 0} {
		if n, ok := levels[name]; !ok || n != want {
			t.Errorf("%s: level %d (%v), want %d; all %v", name, n, ok, want, levels)
		}
	}
	if len(got) != 3 {
		t.Errorf("%d reports, want 3", len(got))
	}
}
