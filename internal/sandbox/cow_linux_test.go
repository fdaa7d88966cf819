package sandbox

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// snapshot tells everything of a tree that a write could change: names, types,
// modes, owners, sizes, times, links and contents.
func snapshot(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(p, &st); err != nil {
			return err
		}
		line := fmt.Sprintf("%s %o %d:%d %d %d.%d nlink=%d", strings.TrimPrefix(p, dir), st.Mode, st.Uid, st.Gid, st.Size, st.Mtim.Sec, st.Mtim.Nsec, st.Nlink)
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(b))
		case unix.S_IFLNK:
			l, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " -> " + l
		}
		out = append(out, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(out)
	return out
}

// project is a working directory with something of every kind, and a store.
type project struct{ base, dir, store string }

func newProject(t testing.TB) *project {
	t.Helper()
	base, err := os.MkdirTemp("/var/tmp", "sallyport-cow-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(base); err != nil {
			t.Errorf("the supervisor cannot remove what is left: %v", err)
		}
	})
	must2 := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	must2(os.Chmod(base, 0o755))
	p := &project{base: base, dir: base + "/work", store: base + "/state/store"}
	for _, d := range []string{p.dir + "/sub/deep", p.dir + "/empty", p.store} {
		must2(os.MkdirAll(d, 0o755))
	}
	must2(os.Chmod(p.base+"/state", 0o700))
	must2(os.Chmod(p.store, 0o700))
	for name, text := range map[string]string{"a": "one\n", "b": "two\n", "sub/c": "three\n", "sub/deep/d": "four\n"} {
		must2(os.WriteFile(p.dir+"/"+name, []byte(text), 0o644))
	}
	must2(os.WriteFile(p.dir+"/private", []byte("own\n"), 0o600))
	must2(os.WriteFile(p.dir+"/run", []byte("#!/bin/sh\necho ran\n"), 0o755))
	must2(os.Symlink("a", p.dir+"/link"))
	must2(os.Link(p.dir+"/a", p.dir+"/hard"))
	return p
}

func (p *project) spec() Spec {
	return Spec{
		View: ViewWorkspace, Workdir: p.dir, Overlays: []Overlay{{Dir: p.dir, Store: p.store}},
		Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + p.dir, "LANG=C"},
	}
}

// inModes runs a test with the kernel's overlay and with the copy.
func inModes(t *testing.T, f func(t *testing.T, p *project, spec Spec)) {
	for _, mode := range []string{modeOverlay, modeCopy} {
		t.Run(mode, func(t *testing.T) {
			p := newProject(t)
			spec := p.spec()
			spec.forceCopy = mode == modeCopy
			f(t, p, spec)
		})
	}
}

// everyWrite is one of each way to change a tree.
const everyWrite = `set -e
echo new > created; echo more >> a; echo other > b; rm sub/c
mv sub/deep/d sub/deep/e; mv empty moved 2>/dev/null || { cp -a empty moved; rm -r empty; }
mv sub renamed 2>/dev/null || { cp -a sub renamed; rm -rf sub; }
chmod 600 run; ln -s /etc/passwd escape; ln created second; rm link; ln -s b link
touch -d 2001-01-01 b; truncate -s 1M sparse; mkdir -p x/y/z; : > x/y/z/f
rm -rf renamed; mkdir renamed; echo opaque > renamed/only; cat private; ./created 2>/dev/null || true
mkdir closed; echo in > closed/f; chmod 0 closed; chmod u+s created`

func TestNothingOfTheHostChanges(t *testing.T) {
	inModes(t, func(t *testing.T, p *project, spec Spec) {
		before := snapshot(t, p.dir)
		sb := open(t, spec, TierFull)
		sh, err := sb.Shell(t.Context(), ShellOptions{})
		must(t, err)
		r := runOK(t, sh, everyWrite)
		if r.Exit != 0 || string(r.Head) != "own\n" {
			t.Errorf("exit %d at line %d: %s", r.Exit, r.FailedLine, r.Head)
		}
		r = runOK(t, sh, "pwd; cat a renamed/only; ls renamed; stat -c %u created a; id -u")
		if got, want := string(r.Head), p.dir+"\none\nmore\nopaque\nonly\n"; !strings.HasPrefix(got, want) {
			t.Errorf("inside: %s, want %s", got, want)
		}
		f := strings.Fields(string(r.Head))
		if n := len(f); n < 3 || f[n-1] != f[n-2] || f[n-2] != f[n-3] {
			t.Errorf("owners and user differ: %s", r.Head)
		}
		must(t, sb.Close())
		if diff := cmp.Diff(before, snapshot(t, p.dir)); diff != "" {
			t.Errorf("the host's tree changed:\n%s", diff)
		}
		want := []OverlayState{{Dir: p.dir, Store: p.store, Mode: filepath.Base(t.Name()), Upper: p.store + "/upper"}}
		if spec.forceCopy {
			want[0].Upper = p.store + "/copy"
		}
		if diff := cmp.Diff(want, sb.Overlays()); diff != "" {
			t.Error(diff)
		}
		must(t, os.Chmod(want[0].Upper+"/closed", 0o700)) // the payload's own doing, not the kernel's
		if b, err := os.ReadFile(want[0].Upper + "/created"); err != nil || string(b) != "new\n" {
			t.Errorf("the change is not in the store: %q %v", b, err)
		}
		if err := sb.Ended(); err != nil {
			t.Errorf("ended by a limit: %v", err)
		}
	})
}

// TestASecondRunGoesOn starts again with the store of an earlier run.
func TestASecondRunGoesOn(t *testing.T) {
	inModes(t, func(t *testing.T, p *project, spec Spec) {
		for i, script := range []string{"echo first > made; rm a", "cat made; ls a; echo second >> made; cat made"} {
			sb := open(t, spec, TierFull)
			sh, err := sb.Shell(t.Context(), ShellOptions{})
			must(t, err)
			r := runOK(t, sh, script)
			if i == 1 && (!bytes.HasPrefix(r.Head, []byte("first\nls: cannot access 'a'")) || !bytes.HasSuffix(r.Head, []byte("first\nsecond\n"))) {
				t.Errorf("second run: %s", r.Head)
			}
			must(t, sb.Close())
			spec.forceCopy = false // a copy in the store decides by itself
		}
	})
}

// TestChangesAreNotLostByAnotherMode: an upper layer means nothing to a copy.
func TestChangesAreNotLostByAnotherMode(t *testing.T) {
	p := newProject(t)
	sb := open(t, p.spec(), TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	runOK(t, sh, "echo x > made")
	must(t, sb.Close())
	spec := p.spec()
	spec.forceCopy = true
	if _, err := Start(t.Context(), spec); err == nil || !strings.Contains(err.Error(), "commit or discard") {
		t.Errorf("a copy in place of an upper layer: %v", err)
	}
}

func TestOddNamesOfDirectories(t *testing.T) {
	p := newProject(t)
	odd := p.base + `/a,b:c\d e"f` + "\t" + `lowerdir=` + "\u00e9"
	must(t, os.Rename(p.dir, odd))
	store := p.base + `/state/s,t:o\re`
	must(t, os.Rename(p.store, store))
	spec := p.spec()
	spec.Workdir, spec.Overlays = odd, []Overlay{{Dir: odd, Store: store}}
	before := snapshot(t, odd)
	sb := open(t, spec, TierFull)
	if m := sb.Overlays()[0].Mode; m != modeOverlay {
		t.Errorf("mode %s", m)
	}
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	if r := runOK(t, sh, "echo x > a && cat a b"); string(r.Head) != "x\ntwo\n" {
		t.Errorf("%s", r.Head)
	}
	if diff := cmp.Diff(before, snapshot(t, odd)); diff != "" {
		t.Error(diff)
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.org", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.org")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(out)
}

func newRepo(t *testing.T, p *project) {
	t.Helper()
	git(t, p.dir, "init", "-q", "-b", "main")
	git(t, p.dir, "config", "user.name", "a")
	git(t, p.dir, "config", "user.email", "a@example.org")
	git(t, p.dir, "add", "-A")
	git(t, p.dir, "commit", "-q", "-m", "first")
}

// TestPinsHold shows each attack working without pins, then refused with them,
// in a directory written directly and in one of copy-on-write.
func TestPinsHold(t *testing.T) {
	attacks := []string{
		"echo evil > .git/hooks/pre-commit",
		"echo evil >> .git/config",
		"mv .git .gone && mkdir -p .git/hooks && echo evil > .git/hooks/pre-commit",
		"mv .git/hooks .git/h2 && mkdir .git/hooks && echo evil > .git/hooks/x",
		"rm -rf .git/hooks && mkdir .git/hooks && echo evil > .git/hooks/x",
		"mv .git/config .git/c2 && echo evil > .git/config",
		"git config core.hooksPath /tmp",
		"chmod 755 .git/config && chmod 644 .git/config",
	}
	for _, overlay := range []bool{false, true} {
		for _, pinned := range []bool{false, true} {
			t.Run(fmt.Sprintf("overlay=%v pinned=%v", overlay, pinned), func(t *testing.T) {
				for _, a := range attacks {
					p := newProject(t)
					newRepo(t, p)
					spec := p.spec()
					if !overlay {
						spec.Overlays = nil
					}
					if pinned {
						spec.Pinned = []string{p.dir + "/.git/hooks", p.dir + "/.git/config", p.dir + "/.bashrc"}
					}
					r := runOK(t, openShell(t, spec, TierFull), a)
					if (r.Exit != 0) != pinned {
						t.Errorf("%q: exit %d: %s", a, r.Exit, r.Head)
					}
				}
			})
		}
	}
}

func TestGitWorksWithPins(t *testing.T) {
	for _, overlay := range []bool{false, true} {
		p := newProject(t)
		newRepo(t, p)
		spec := p.spec()
		if !overlay {
			spec.Overlays = nil
		}
		spec.Pinned = []string{p.dir + "/.git/hooks", p.dir + "/.git/config", p.dir + "/.vscode/tasks.json"}
		sb := open(t, spec, TierFull)
		sh, err := sb.Shell(t.Context(), ShellOptions{})
		must(t, err)
		r := runOK(t, sh, `set -e; git checkout -q -b topic; echo y >> a; git add -A; git commit -q -m second
git checkout -q main; grep -c y a || true; git merge -q topic; git gc -q; git stash list; git log --oneline | wc -l; mv .git gone 2>&1 || true`)
		if !strings.HasPrefix(string(r.Head), "0\n2\n") || !bytes.Contains(r.Head, []byte("busy")) {
			t.Errorf("overlay=%v: exit %d line %d: %s", overlay, r.Exit, r.FailedLine, r.Head)
		}
		if n := strings.Count(git(t, p.dir, "log", "--oneline"), "\n"); overlay == (n == 2) {
			t.Errorf("overlay=%v: the host has %d commits", overlay, n)
		}
		said := strings.Contains(strings.Join(sb.Report().NotPromised, "\n"), ".vscode/tasks.json")
		if said == overlay {
			t.Errorf("overlay=%v: the absent path is named: %v", overlay, said)
		}
	}
}

// TestWorktree commits in a worktree whose common directory is a second overlay.
func TestWorktree(t *testing.T) {
	p := newProject(t)
	newRepo(t, p)
	tree := p.base + "/tree"
	git(t, p.dir, "worktree", "add", "-q", tree, "-b", "side")
	second := p.base + "/state/second"
	must(t, os.Mkdir(second, 0o700))
	spec := p.spec()
	spec.Workdir = tree
	spec.Overlays = []Overlay{{Dir: tree, Store: p.store}, {Dir: p.dir + "/.git", Store: second}}
	spec.Pinned = []string{p.dir + "/.git/hooks", p.dir + "/.git/config", tree + "/.git"}
	before := append(snapshot(t, p.dir), snapshot(t, tree)...)
	sb := open(t, spec, TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	r := runOK(t, sh, "echo z > new && git add -A && git commit -q -m side && git log --oneline | wc -l; echo evil > "+p.dir+"/.git/hooks/x || rm .git || echo held")
	if !strings.HasPrefix(string(r.Head), "2\n") || !strings.HasSuffix(string(r.Head), "held\n") {
		t.Errorf("%s", r.Head)
	}
	if diff := cmp.Diff(before, append(snapshot(t, p.dir), snapshot(t, tree)...)); diff != "" {
		t.Error(diff)
	}
}
