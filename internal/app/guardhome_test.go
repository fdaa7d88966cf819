package app

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/config"
)

// TestSeedHome: an agent that was here before has prepared its home for the
// next run.
func TestSeedHome(t *testing.T) {
	dir := t.TempDir()
	user, home, outside := filepath.Join(dir, "user"), filepath.Join(dir, "home"), filepath.Join(dir, "outside")
	plant(t, user, map[string]string{".gitconfig": "mine", ".claude/agents/a.md": "a", ".claude/agents/sub/b.md": "b", ".claude/secret": "no"})
	plant(t, outside, map[string]string{"kept": "untouched"})
	plant(t, home, map[string]string{".claude/agents/stale.md": "left by the agent", "own": "the agent's"})
	for link, target := range map[string]string{
		filepath.Join(home, ".gitconfig"): filepath.Join(outside, "kept"), filepath.Join(home, ".tool"): outside,
		filepath.Join(user, ".claude/agents/link.md"): filepath.Join(outside, "kept"),
	} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	g := &guarded{userHome: user, boxOf: boxOf{app: &App{Config: config.Default(), Env: config.NewEnv(nil, "")}, home: home, prof: config.Profile{
		Home: []config.HomeFile{{Path: ".gitconfig"}, {Path: ".claude/agents"}, {Path: ".absent"}, {Path: ".conf/x.toml", Content: "set = 1"}},
		Env:  map[string]string{"TOOL_HOME": "${run.home}/.own/dir", "EVIL_DIR": "${run.home}/.tool/made"},
	}}}
	// As an ordinary user's agent it closes what is to be replaced, and its home.
	for _, dir := range []string{".claude/agents/deep/er", ".claude/agents/deep", ".claude/agents", ".claude", "."} {
		if err := errors.Join(os.MkdirAll(filepath.Join(home, dir), 0o700), os.Chmod(filepath.Join(home, dir), 0)); err != nil {
			t.Fatal(err)
		}
		if dir == ".claude/agents/deep/er" {
			if err := os.WriteFile(filepath.Join(home, dir, "f"), nil, 0o600); err != nil && os.Geteuid() == 0 {
				t.Fatal(err)
			}
		}
	}
	if err := g.seedHome(); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, d := range []string{home, outside} {
		err := filepath.WalkDir(d, func(p string, e os.DirEntry, err error) error {
			if err == nil && e.Type().IsRegular() {
				text, rerr := os.ReadFile(p)
				rel, _ := filepath.Rel(dir, p)
				got[rel], err = string(text), rerr
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]string{
		"home/.gitconfig": "mine", "home/.claude/agents/a.md": "a", "home/.claude/agents/sub/b.md": "b", "home/own": "the agent's", "home/.conf/x.toml": "set = 1",
		"outside/kept": "untouched",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if info, err := os.Lstat(filepath.Join(home, ".tool")); err != nil || !info.IsDir() {
		t.Errorf("the link in the way: %v", err)
	}
	if info, err := os.Stat(filepath.Join(home, ".own/dir")); err != nil || !info.IsDir() {
		t.Errorf("the directory a variable promises: %v", err)
	}
}
