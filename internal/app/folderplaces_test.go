package app

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/record"
	"sallyport/internal/sandbox"
)

// rows is a ledger of places in memory.
type rows map[string]label.Label

func (r rows) Places(context.Context) ([]record.Place, error) {
	var out []record.Place
	for p, l := range r {
		out = append(out, record.Place{Path: p, Label: l})
	}
	return out, nil
}

func (r rows) RaisePlace(_ context.Context, path string, l label.Label) error {
	if old, ok := r[path]; ok {
		l = l.Join(old)
	}
	r[path] = l
	return nil
}

var (
	viewLevel  = label.New(label.Internal, label.Foreign, 0)
	hrLevel    = label.New(label.Confidential, label.Foreign, 1)
	lowerLevel = label.New(label.Public, label.Foreign, 0)
)

// TestRegister: what a session knows goes to the directories that it writes,
// before it knows it, and only while nobody who knows less shares them.
func TestRegister(t *testing.T) {
	dir, home, work, store := t.TempDir(), t.TempDir(), t.TempDir(), t.TempDir()
	places := rows{}
	r := &register{dir: dir, rows: places}
	spec := sandbox.Spec{View: sandbox.ViewWorkspace, Home: home, Workdir: work, Overlays: []sandbox.Overlay{{Dir: work, Store: store}}}
	enter := func(session string, spec sandbox.Spec, l label.Label) (*tenancy, error) {
		return r.enter(t.Context(), session, "ada", spec, l, viewLevel)
	}
	one, err := enter("s-1", spec, viewLevel)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rows{home: viewLevel}, places); diff != "" {
		t.Errorf("what is copy-on-write belongs to nobody yet: %s", diff)
	}
	two, err := enter("s-2", spec, viewLevel)
	if err != nil {
		t.Fatalf("a second session that knows the same: %v", err)
	}
	if rose, err := one.raise(t.Context(), viewLevel); rose || err != nil {
		t.Errorf("nothing new: %v, %v", rose, err)
	}
	if _, err := one.raise(t.Context(), hrLevel); !fault.Is(err, fault.Conflict) || !strings.Contains(fault.PublicText(err), home) {
		t.Errorf("raised beside a session that knows less: %v", err)
	}
	if places[home] != viewLevel {
		t.Error("a refused rise left its label")
	}
	other, err := enter("s-3", sandbox.Spec{View: sandbox.ViewWorkspace, Home: t.TempDir(), Workdir: t.TempDir()}, lowerLevel)
	if err != nil {
		t.Fatal(err)
	}
	two.leave()
	if rose, err := one.raise(t.Context(), hrLevel); !rose || err != nil {
		t.Fatalf("raised alone, beside a session elsewhere: %v, %v", rose, err)
	}
	if places[home] != hrLevel || places[store] != hrLevel {
		t.Errorf("places %v", places)
	}
	if _, err := enter("s-4", spec, viewLevel); !fault.Is(err, fault.Conflict) {
		t.Errorf("a session that was judged before the rise: %v", err)
	}
	reader := sandbox.Spec{View: sandbox.ViewWorkspace, Home: t.TempDir(), Workdir: t.TempDir(), Mounts: []sandbox.Mount{{Host: filepath.Dir(home)}}}
	if _, err := enter("s-5", reader, viewLevel); !fault.Is(err, fault.Conflict) {
		t.Errorf("a session that reads what lies above: %v", err)
	}
	if five, err := enter("s-6", spec, hrLevel); err != nil {
		t.Errorf("a session that knows as much: %v", err)
	} else {
		five.leave()
	}
	one.leave()
	other.leave()
	left, err := filepath.Glob(filepath.Join(dir, "*.place"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestRegisterOfTheDead: an entry counts as long as its file is locked; one
// that lives and cannot be read shares everything.
func TestRegisterOfTheDead(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	r := &register{dir: dir, rows: rows{}}
	spec := sandbox.Spec{View: sandbox.ViewWorkspace, Home: home, Workdir: home}
	file := filepath.Join(dir, "s-dead.place")
	if err := os.WriteFile(file, []byte("{ what"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := lockFile(f, true); err != nil {
		t.Fatal(err)
	}
	if _, err := r.enter(t.Context(), "s-1", "ada", spec, viewLevel, viewLevel); !fault.Is(err, fault.Conflict) {
		t.Errorf("beside a session nobody can read: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	one, err := r.enter(t.Context(), "s-1", "ada", spec, viewLevel, viewLevel)
	if err != nil {
		t.Fatalf("beside a dead one: %v", err)
	}
	one.leave()
	if _, err := os.Stat(file); err == nil {
		t.Error("the dead one's file is still there")
	}
}

// TestFoldersFor: who is cleared and named finds a folder closed at its place;
// for everybody else it is covered, and nothing is said about it.
func TestFoldersFor(t *testing.T) {
	a := &App{Config: &config.Config{
		Labels: config.Labels{Compartments: []string{"hr"}},
		Agents: map[string]config.AgentSettings{
			"clerk": {Clearance: "confidential{hr}"}, "boss": {Clearance: "secret{*}"}, "intern": {Clearance: "confidential"},
		},
		Folders: map[string]config.Folder{
			"pay":  {Path: "/srv/pay", Label: "confidential{hr}/member", At: "/data/pay"},
			"plan": {Path: "/srv/plan", Label: "secret", Agents: []string{"boss"}},
		},
	}}
	for agent, want := range map[string][]string{
		"clerk": {"/data/pay", ""}, "boss": {"/data/pay", "/srv/plan"}, "intern": {"", ""},
	} {
		got, err := a.foldersFor(agent, sandbox.ViewWorkspace)
		if err != nil {
			t.Fatal(err)
		}
		var views []string
		for _, f := range got {
			views = append(views, f.View)
			if (f.View == "") != (f.Notice == "") || f.View != "" && !strings.Contains(f.Notice, "echo "+f.Name) {
				t.Errorf("%s: folder %s at %q says %q", agent, f.Name, f.View, f.Notice)
			}
		}
		if !slices.Equal(views, want) {
			t.Errorf("%s: %q, want %q", agent, views, want)
		}
	}
	if got, err := a.foldersFor("boss", sandbox.ViewAuditor); err != nil || got[0].View != "/srv/pay" {
		t.Errorf("in the auditor's view: %v, %v", got, err)
	}
}
