package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/changes"
)

// TestGlance: a session leaves files whose holes take long to read; its end and
// the list of all sets do not wait for them.
func TestGlance(t *testing.T) {
	defer func(was time.Duration) { glance = was }(glance)
	glance = 50 * time.Millisecond
	a := &App{}
	a.Paths.Home = t.TempDir()
	set, err := changes.Create(a.changesDir(), changes.Meta{Session: "s-1", Agent: "ada", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	upper := filepath.Join(set.Store(), "upper")
	if err := os.Mkdir(upper, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := os.WriteFile(filepath.Join(upper, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(filepath.Join(upper, name), 15<<30); err != nil {
			t.Fatal(err)
		}
	}
	if err := set.Began(changes.ModeOverlay); err != nil {
		t.Fatal(err)
	}
	if err := set.End(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := describe(t.Context(), set, false); !fault.Is(err, fault.Unavailable) {
		t.Errorf("counted: %v", err)
	}
	sets, err := a.ChangeSets(t.Context(), false)
	if err != nil || len(sets) != 1 || !strings.Contains(sets[0].Error, "discard --all --set s-1") {
		t.Errorf("%+v, %v", sets, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	if err := set.DiscardAll(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestProfileProtects: what the profile of a session protects is held back when
// its changes are committed, whatever agent's name it ran under.
func TestProfileProtects(t *testing.T) {
	dir := t.TempDir()
	g := &guarded{session: "s-1", boxOf: boxOf{app: &App{}, name: "ada", dir: dir, prof: config.Profile{Protected: []string{"deploy/**"}}}}
	g.app.Paths.Home = t.TempDir()
	var spec sandbox.Spec
	if err := g.copyOnWrite(&spec); err != nil {
		t.Fatal(err)
	}
	plant(t, filepath.Join(g.sets[0].Store(), "upper"), map[string]string{"deploy/run.sh": "evil", "main.go": "fine"})
	if err := errors.Join(g.sets[0].Began(changes.ModeOverlay), g.sets[0].End()); err != nil {
		t.Fatal(err)
	}
	info, list, err := g.app.Changes(t.Context(), g.sets[0].Meta().ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if held := c.Protected != ""; held != (c.Path == "deploy/run.sh") && c.Type == "file" {
			t.Errorf("%s: %q", c.Path, c.Protected)
		}
	}
	if info.Held == 0 {
		t.Errorf("%+v", info)
	}
}
