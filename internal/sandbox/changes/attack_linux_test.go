package changes

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// naive carries the session's changes over the way a script would: cp -a.
func (l *lab) naive() {
	l.t.Helper()
	_ = exec.CommandContext(l.t.Context(), "cp", "-aT", filepath.Join(l.set.Store(), "upper"), l.dir).Run()
}

// TestAttacks: every attack works against the naive way and is refused here,
// without a trace on the host.
func TestAttacks(t *testing.T) {
	exists := func(path string) func(*lab) bool {
		return func(l *lab) bool { _, err := os.Lstat(filepath.Join(l.dir, path)); return err == nil }
	}
	mode := func(path string, bits uint32) func(*lab) bool {
		return func(l *lab) bool {
			var st unix.Stat_t
			return unix.Lstat(filepath.Join(l.dir, path), &st) == nil && st.Mode&bits == bits
		}
	}
	leads := func(path, to string) func(*lab) bool {
		return func(l *lab) bool {
			got, err := filepath.EvalSymlinks(filepath.Join(l.dir, path))
			return err == nil && strings.HasPrefix(got+"/", to+"/") && !strings.HasPrefix(got, l.dir)
		}
	}
	for _, a := range []struct {
		name, script, path string
		protected          bool // refused only without an explicit yes
		hit                func(*lab) bool
	}{
		{"setuid", `cp /bin/true tool; chmod 4755 tool`, "tool", false, mode("tool", unix.S_ISUID)},
		{"setgid", `cp /bin/true tool; chmod 2755 tool`, "tool", false, mode("tool", unix.S_ISGID)},
		{"absolute link", `ln -s /etc x`, "x", false, leads("x", "/etc")},
		{"link out", `mkdir s; ln -s ../../../../../etc s/x`, "s/x", false, leads("s/x", "/etc")},
		{"link out through a link", `ln -s . b; ln -s b/b/b/../../../../../etc x`, "x", false, leads("x", "/etc")},
		{"file becomes link", `rm a; ln -s /etc/passwd a`, "a", false, leads("a", "/etc")},
		{"directory becomes link", `rm -r d; ln -s /etc d`, "d", false, leads("d", "/etc")},
		{"pipe", `mkfifo p`, "p", false, mode("p", unix.S_IFIFO)},
		{"socket", `perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local=>"k",Listen=>1)'`, "k", false, mode("k", unix.S_IFSOCK)},
		{"control characters", `touch $'e\e]0;owned\a'`, `"e\x1b]0;owned\a"`, false, exists("e\x1b]0;owned\a")},
		{"newline", `touch $'n\nl'`, `"n\nl"`, false, exists("n\nl")},
		{"invalid utf-8", `touch $'u\xff'`, `"u\xff"`, false, exists("u\xff")},
		{"invisible rune", `mkdir $'.g\xe2\x80\x8cit'; touch $'.g\xe2\x80\x8cit/x'`, `".g\u200cit/x"`, true, exists(".g\u200cit/x")},
		{"git hook", `echo x > .git/hooks/pre-commit; chmod +x .git/hooks/pre-commit`, ".git/hooks/pre-commit", true, exists(".git/hooks/pre-commit")},
		{"git config", `echo x >> .git/config`, ".git/config", true, func(l *lab) bool { return l.read(".git/config") != "own\n" }},
		{"git becomes link", `cp -r .git other; rm -r .git; ln -s other .git`, ".git", true, func(l *lab) bool { s, _ := os.Readlink(filepath.Join(l.dir, ".git")); return s == "other" }},
		{"git becomes file", `rm -r .git; echo gitdir: other > .git`, ".git", true, exists(".git")},
		{"odd case", `mkdir -p .GIT/Hooks; echo x > .GIT/Hooks/x`, ".GIT/Hooks/x", true, exists(".GIT/Hooks/x")},
		{"bare repository", `mkdir -p lib/objects lib/refs; echo x > lib/HEAD; echo x > lib/config`, "lib/config", true, exists("lib/config")},
		{"workflows through a link", `mkdir w; ln -s w .github`, ".github", true, exists(".github")},
		{"shell start file", `echo x > d/.bashrc`, "d/.bashrc", true, exists("d/.bashrc")},
		{"agent's orders", `echo x > CLAUDE.md`, "CLAUDE.md", true, exists("CLAUDE.md")},
	} {
		t.Run(a.name, func(t *testing.T) {
			const setup = `echo a > a; mkdir -p d .git/hooks; echo f > d/f; echo own > .git/config; echo ref > .git/HEAD`
			victim := newLab(t, setup)
			victim.run(a.script)
			if a.name == "git becomes link" || a.name == "git becomes file" || a.name == "directory becomes link" {
				victim.sh(victim.dir, "rm -r .git d") // cp does not replace a directory; rsync does
			}
			if victim.naive(); !a.hit(victim) {
				t.Fatal("the attack does not even work against the naive way")
			}
			l := newLab(t, setup)
			list := l.run(a.script)
			before := l.read(".git/config")
			c := find(t, list, a.path)
			if a.protected != (c.Refused == "") || a.protected && c.Protected == "" {
				t.Fatalf("listed as %+v", c)
			}
			o := CommitOptions{}
			if !a.protected {
				o = all(list)
			}
			l.commit(list, o)
			if l.read(".git/config") != before || a.name != "git becomes file" && a.hit(l) {
				t.Error("the attack reached the host")
			}
			if a.protected {
				rest := l.list()
				l.commit(rest, all(rest))
				if !a.hit(l) {
					t.Errorf("the explicit yes was not heard: %v", tell(l.list()))
				}
			}
		})
	}
}

// TestDevice needs root's right to make one; the session has not got it.
func TestDevice(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("making a device needs root")
	}
	l := newLab(t, `echo a > a`)
	l.session(`true`)
	must(t, unix.Mknod(filepath.Join(l.set.Store(), "upper/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(t, l.set.End())
	list := l.list()
	if c := find(t, list, "null"); c.Refused == "" {
		t.Errorf("listed as %+v", c)
	}
	if r := l.commit(list, all(list)); len(r.Committed) > 0 {
		t.Errorf("committed %v", r.Committed)
	}
	if l.naive(); l.read("null") != "" {
		t.Error("the naive way does not copy the device: the test proves nothing")
	}
}

// TestHardLinkOut: a file that is also somewhere else does not come along.
func TestHardLinkOut(t *testing.T) {
	l := newLab(t, `echo a > a`)
	l.session(`echo x > inner; ln inner twin`)
	outside := filepath.Join(filepath.Dir(l.dir), "secret")
	must(t, os.WriteFile(outside, []byte("secret"), 0o600))
	must(t, os.Link(outside, filepath.Join(l.set.Store(), "upper/leak")))
	must(t, l.set.End())
	list := l.list()
	want := []string{"added file inner", "added file leak refused", "added file twin"}
	if d := cmp.Diff(want, tell(list)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	l.commit(list, all(list))
	if l.read("inner") != "x\n" || l.read("twin") != "x\n" || !strings.HasPrefix(l.read("leak"), "!") {
		t.Errorf("inner %q twin %q leak %q", l.read("inner"), l.read("twin"), l.read("leak"))
	}
}

// TestSwapBetweenListAndCommit: what is committed is what was listed.
func TestSwapBetweenListAndCommit(t *testing.T) {
	outside := func(l *lab) string { return filepath.Join(filepath.Dir(l.dir), "outside") }
	for _, swap := range []struct {
		name string
		do   func(l *lab, upper string)
	}{
		{"other content", func(l *lab, upper string) { l.sh(upper, `echo evil > f`) }},
		{"same size and times", func(l *lab, upper string) { l.sh(upper, `touch -r f .r; echo evi2 > f; touch -r .r f; rm .r`) }},
		{"file to link", func(l *lab, upper string) { l.sh(upper, `rm f; ln -s /etc/passwd f`) }},
		{"directory to link", func(l *lab, upper string) { l.sh(upper, `mv dir dir2; ln -s dir2 dir`) }},
		{"setuid", func(l *lab, upper string) { l.sh(upper, `chmod 4755 f`) }},
		{"host directory to link", func(l *lab, _ string) { l.sh(l.dir, `mv sub ../outside; ln -s ../outside sub`) }},
		{"host file to link", func(l *lab, _ string) { l.sh(l.dir, `mv f ../outside.f; ln -s ../outside.f f`) }},
		{"host file edited", func(l *lab, _ string) { l.sh(l.dir, `echo mine > f`) }},
		{"host file appears", func(l *lab, _ string) { l.sh(l.dir, `echo mine > fresh`) }},
		{"host file removed", func(l *lab, _ string) { l.sh(l.dir, `rm f`) }},
		{"something new beneath a deleted directory", func(l *lab, _ string) { l.sh(l.dir, `echo mine > gone/more`) }},
	} {
		t.Run(swap.name, func(t *testing.T) {
			l := newLab(t, `echo host > f; mkdir sub gone; echo g > gone/g`)
			list := l.run(`echo good > f; echo new > sub/n; mkdir dir; echo in > dir/in; echo fr > fresh; rm -r gone`)
			l.tick()
			swap.do(l, filepath.Join(l.set.Store(), "upper"))
			before := snapshot(t, l.dir)
			r := l.commit(list, all(list))
			if len(r.Skipped) == 0 {
				t.Error("nothing was skipped")
			}
			for _, s := range r.Skipped {
				if before[s.Path] != snapshot(t, l.dir)[s.Path] {
					t.Errorf("%s was skipped and changed: %s", s.Path, s.Reason)
				}
			}
			if l.read("f") != "good\n" && l.read("f") != "host\n" && l.read("f") != "mine\n" && !strings.HasPrefix(l.read("f"), "! ") {
				t.Errorf("f holds %q", l.read("f"))
			}
			if _, err := os.Stat(filepath.Join(outside(l), "n")); err == nil {
				t.Error("a file was written through a link")
			}
		})
	}
}

// TestOneSwapsWhileTheOtherCommits: a writer that swaps a file for a link and
// back all the time never gets the host to write elsewhere, nor content that
// was not listed.
func TestOneSwapsWhileTheOtherCommits(t *testing.T) {
	l := newLab(t, `mkdir sub; echo host > sub/f`)
	list := l.run(`echo good > sub/f; echo more > sub/g`)
	stop := make(chan struct{})
	done := make(chan struct{})
	upper := filepath.Join(l.set.Store(), "upper")
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(filepath.Join(upper, "sub/g"), filepath.Join(upper, "sub/h"))
			_ = os.Symlink("/etc/passwd", filepath.Join(upper, "sub/g"))
			_ = os.Remove(filepath.Join(upper, "sub/g"))
			_ = os.Rename(filepath.Join(upper, "sub/h"), filepath.Join(upper, "sub/g"))
		}
	}()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		_, _ = l.set.Commit(t.Context(), list, CommitOptions{})
		if got := l.read("sub/g"); got != "more\n" && !strings.HasPrefix(got, "!") {
			t.Errorf("the host got %q", got)
		}
		if fi, err := os.Lstat(filepath.Join(l.dir, "sub/g")); err == nil && !fi.Mode().IsRegular() {
			t.Error("the host got a link")
		}
	}
	close(stop)
	<-done
}

// TestRepositoryAsTheDirectory: of a worktree the repository is a Set of its
// own, and so is one without a working tree: what git runs out of it is held
// back there too.
func TestRepositoryAsTheDirectory(t *testing.T) {
	for _, name := range []string{".git", "shop.git"} {
		l := newLab(t, "mkdir -p ../"+name+" && git init -q --bare ../"+name)
		l.dir = filepath.Join(filepath.Dir(l.dir), name)
		must(t, l.set.End())
		l.begin()
		list := l.run("echo evil > hooks/post-checkout; echo '[core] fsmonitor = evil' >> config; echo x > info/attributes; mkdir -p refs/heads; echo 0 > refs/heads/x")
		res := l.commit(list, CommitOptions{})
		for _, path := range []string{"hooks/post-checkout", "config", "info/attributes"} {
			if slices.Contains(res.Committed, path) {
				t.Errorf("%s: %s was committed", name, path)
			}
		}
		if !slices.Contains(res.Committed, "refs/heads/x") {
			t.Errorf("%s: %+v", name, res)
		}
	}
}
