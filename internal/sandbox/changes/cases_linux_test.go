package changes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// TestConflict: what the host changed meanwhile is said, and kept until confirmed.
func TestConflict(t *testing.T) {
	l := newLab(t, `echo 1 > a; echo 2 > b; mkdir d; echo 3 > d/f; echo 4 > same`)
	l.session(`echo mine > a; rm b; rm -r d; echo mine > both; echo x > same`)
	l.sh(l.dir, `echo host > a; echo host > b; echo host > d/new; echo host > both`)
	must(t, l.set.End())
	list := l.list()
	want := []string{"deleted file b conflict", "deleted dir d conflict", "modified file a conflict", "modified file both conflict", "modified file same"}
	if d := cmp.Diff(want, tell(list)); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	l.commit(list, CommitOptions{})
	if got := l.read("a") + l.read("b") + l.read("d/new") + l.read("both") + l.read("same"); got != "host\nhost\nhost\nhost\nx\n" {
		t.Errorf("the host holds %q", got)
	}
	rest := l.list()
	l.commit(rest, all(rest))
	if got := l.read("a") + l.read("both"); got != "mine\nmine\n" {
		t.Errorf("after confirming the host holds %q", got)
	}
}

// copied makes a copy-mode store the way the sandbox does.
func (l *lab) copied() string {
	l.t.Helper()
	store := l.set.Store()
	l.sh(l.dir, fmt.Sprintf(`cp -a . '%s/copy'`, store))
	f, err := os.Create(filepath.Join(store, "base.jsonl"))
	must(l.t, err)
	defer f.Close()
	must(l.t, filepath.WalkDir(l.dir, func(path string, _ fs.DirEntry, err error) error {
		raw, _ := filepath.Rel(l.dir, path)
		if err != nil || raw == "." {
			return err
		}
		dir, _, err := openTree(l.dir)
		must(l.t, err)
		defer dir.close()
		n, err := dir.look(raw, false)
		must(l.t, err)
		r := record{Path: raw, Type: n.typ, Mode: n.st.Mode & 0o7777, Size: n.st.Size, MTime: n.st.Mtim.Nano(), Target: n.target}
		if n.typ == TypeFile {
			r.SHA256, err = dir.digest(l.t.Context(), raw)
			must(l.t, err)
		}
		return json.NewEncoder(f).Encode(r)
	}))
	must(l.t, l.set.Began(ModeCopy))
	return filepath.Join(store, "copy")
}

// TestCopyMode: the same list, commit and discard as with an overlay.
func TestCopyMode(t *testing.T) {
	l, twin := newLab(t, project), newLab(t, project)
	twin.sh(twin.dir, everything)
	l.sh(l.copied(), everything)
	l.sh(l.dir, `echo host > c; echo host > host`)
	must(t, l.set.End())
	list := l.list()
	want := []string{
		"deleted file a", "deleted file d/g", "deleted dir d/sub", "deleted dir old",
		"modified file b", "modified file c conflict", "modified file d/f", "added file d/f2",
		"added dir n", "added dir n/m", "added file n/m/l", "added file new", "added link newlink", "modified link relink",
		"replaced dir tobedir", "added file tobedir/in", "replaced file tobefile",
	}
	if d := cmp.Diff(want, tell(list)); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	must(t, l.set.Discard(t.Context(), []Change{find(t, list, "new"), find(t, list, "a"), find(t, list, "b")}))
	if r := l.commit(l.list(), CommitOptions{}); len(r.Skipped) != 1 {
		t.Errorf("skipped: %v", r.Skipped)
	}
	if d := cmp.Diff([]string{"modified file c conflict"}, tell(l.list())); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
	got, expect := snapshot(t, l.dir), snapshot(t, twin.dir)
	for _, p := range []string{"a", "b", "c", "new", "host"} {
		delete(got, p)
		delete(expect, p)
	}
	if d := cmp.Diff(expect, got); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	l.sh(l.dir, `echo later > d/f`)
	if d := cmp.Diff([]string{"modified file c conflict"}, tell(l.list())); d != "" {
		t.Errorf("what was committed comes back (-want +got):\n%s", d)
	}
}

// TestOnlyAfterTheSession: a living session's changes are listed, not committed.
func TestOnlyAfterTheSession(t *testing.T) {
	l := newLab(t, `echo 1 > a`)
	l.session(`echo 2 > a`)
	list := l.list()
	other, err := Open(l.parent, "s1")
	must(t, err)
	for _, s := range []*Set{l.set, other} {
		if _, err := s.Commit(t.Context(), list, CommitOptions{}); !fault.Is(err, fault.Conflict) {
			t.Errorf("commit: %v", err)
		}
		if err := s.Discard(t.Context(), list); !fault.Is(err, fault.Conflict) {
			t.Errorf("discard: %v", err)
		}
		if err := s.DiscardAll(t.Context()); !fault.Is(err, fault.Conflict) {
			t.Errorf("discard all: %v", err)
		}
		if !s.Live() {
			t.Error("not live")
		}
	}
	// A session that died without a word is over too.
	_ = l.set.lock.Close()
	if sets, err := Sets(l.parent); err != nil || len(sets) != 1 || sets[0].Live || sets[0].Meta.State != StateOpen {
		t.Errorf("%+v, %v", sets, err)
	}
	if r, err := other.Commit(t.Context(), list, CommitOptions{}); err != nil || len(r.Committed) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestDirIsAnother: changes go to the directory they were made for, or nowhere.
func TestDirIsAnother(t *testing.T) {
	for name, script := range map[string]string{
		"swapped": `mv ../project ../x; mkdir ../project; echo 1 > ../project/a`,
		"link":    `mv ../project ../x; ln -s x ../project`,
		"gone":    `mv ../project ../x`,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, `echo 1 > a`)
			list := l.run(`echo 2 > a`)
			l.sh(l.dir, script)
			if _, err := l.set.Commit(t.Context(), list, CommitOptions{}); !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
				t.Errorf("commit: %v", err)
			}
			if b, _ := os.ReadFile(filepath.Join(filepath.Dir(l.dir), "x/a")); string(b) != "1\n" {
				t.Errorf("a holds %q", b)
			}
			must(t, l.set.DiscardAll(t.Context()))
			must(t, l.set.Remove())
		})
	}
}

// TestBadStore: what was not made here is said to be so.
func TestBadStore(t *testing.T) {
	l := newLab(t, `echo 1 > a`)
	l.run(`echo 2 > a`)
	l.sh(l.parent, `mkdir empty 'odd name' bad; echo '{' > bad/meta.json; echo x > file; mkdir twin; cp s1/meta.json twin; ln -s s1 link`)
	sets, err := Sets(l.parent)
	must(t, err)
	got := map[string]string{}
	for _, s := range sets {
		got[s.ID] = "fine"
		if s.Err != nil {
			got[s.ID] = fault.KindOf(s.Err).String()
		}
	}
	if d := cmp.Diff(map[string]string{"s1": "fine", "empty": "not-found", "bad": "corrupt", "twin": "corrupt"}, got); d != "" {
		t.Error(d)
	}
	l.sh(l.set.Store(), `rm -r upper`)
	if _, err := l.set.List(t.Context()); !fault.Is(err, fault.Corrupt) {
		t.Errorf("without upper: %v", err)
	}
	l.sh(l.set.Store(), `ln -s / upper`)
	if _, err := l.set.List(t.Context()); !fault.Is(err, fault.Corrupt) {
		t.Errorf("upper is a link: %v", err)
	}
}

// TestDiff: what the agent wrote is shown, and cannot steer the terminal.
func TestDiff(t *testing.T) {
	l := newLab(t, `printf 'one\ntwo\nthree' > a; head -c 100 /dev/zero > bin; ln -s a l; echo '{"scripts":{"x":"1"}}' > package.json; echo gone > gone`)
	list := l.run(`printf 'one\n\e]0;t\a2\xe2\x80\xae\r\nthree' > a; head -c 200 /dev/zero > bin; rm l; ln -s bin l; echo '{"scripts":{"x":"2"}}' > package.json; rm gone; yes | head -400000 > big`)
	for path, want := range map[string][]string{
		"a":            {"--- a/a\n+++ b/a\n@@ -1,3 +1,3 @@\n one\n-two\n", `+\x1b]0;t\a2` + "\\u202e" + `\r` + "\n three\n\\ No newline"},
		"bin":          {"- file, 100 bytes", "+ file, 200 bytes, binary or large, sha256 "},
		"l":            {"-link to a\n+link to bin\n"},
		"package.json": {"scripts changed"},
		"gone":         {"+++ /dev/null", "-gone"},
		"big":          {"800000 bytes, binary or large"},
	} {
		got := l.diff(find(t, list, path), DiffOptions{})
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s lacks %q:\n%s", path, w, got)
			}
		}
		if strings.ContainsAny(got, "\x1b\a\r") {
			t.Errorf("%s: raw control characters", path)
		}
	}
	if got := l.diff(find(t, list, "gone"), DiffOptions{Color: true}); !strings.Contains(got, red+"-gone\x1b[0m") {
		t.Errorf("no colour: %q", got)
	}
}

// TestFullAndReadOnly: a disk that is full or read-only leaves each file whole.
func TestFullAndReadOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	l := newLab(t, `echo 1 > a`)
	l.set = nil
	must(t, unix.Mount("tmpfs", l.dir, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(l.dir, unix.MNT_DETACH) })
	l.sh(l.dir, `echo old > big; echo old > small`)
	l.begin()
	list := l.run(`head -c 3000000 /dev/zero | tr '\0' x > big; echo new > small`)
	r, err := l.set.Commit(t.Context(), list, CommitOptions{})
	if !errors.Is(err, unix.ENOSPC) || len(r.Skipped) == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	if d := cmp.Diff(map[string]bool{"big": true, "small": true}, keys(snapshot(t, l.dir))); d != "" {
		t.Errorf("litter: %s", d)
	}
	if l.read("big") != "old\n" {
		t.Error("big is not whole")
	}
	must(t, unix.Mount("", l.dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	r, err = l.set.Commit(t.Context(), l.list(), CommitOptions{})
	if !errors.Is(err, unix.EROFS) || len(r.Committed) > 0 {
		t.Errorf("read-only: %+v, %v", r, err)
	}
	must(t, unix.Mount("", l.dir, "", unix.MS_REMOUNT, "size=16m"))
	l.commit(l.list(), CommitOptions{})
	if l.read("small") != "new\n" || len(l.read("big")) != 3000000 {
		t.Error("not committed after making room")
	}
}

// TestDiscardOnFullDisk: changes that fill the disk of their own store can
// still be dropped, at the first try.
func TestDiscardOnFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	l := newLab(t, `echo 1 > a`)
	root := filepath.Join(t.TempDir(), "disk")
	must(t, os.Mkdir(root, 0o700))
	must(t, unix.Mount("tmpfs", root, "tmpfs", 0, "size=64k"))
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	set, err := Create(root, Meta{Session: "full", Agent: "t", Dir: l.dir})
	must(t, err)
	upper := filepath.Join(set.Store(), "upper")
	must(t, os.Mkdir(upper, 0o700))
	must(t, set.End())
	if err := os.WriteFile(filepath.Join(upper, "big"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	must(t, set.DiscardAll(t.Context()))
	if got, err := Open(root, set.Meta().ID); err != nil || got.Meta().State != StateDiscarded {
		t.Errorf("%+v, %v", got, err)
	}
}

func keys(m map[string]string) map[string]bool {
	out := map[string]bool{}
	for k := range m {
		out[k] = true
	}
	return out
}

// TestOwners: new entries belong to their directory's owner, old ones stay.
func TestOwners(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("owners need root")
	}
	l := newLab(t, `mkdir d; echo 1 > d/old`)
	l.session(`echo 2 > d/old; echo new > d/new; mkdir d/sub; echo x > d/sub/x; ln -s x d/sub/l`)
	l.sh(l.set.Store(), `chown -Rh 1900000001:1900000001 upper`)
	l.sh(l.dir, `chown 1234:1235 d; chown 77:78 d/old; chmod g+s d`)
	must(t, l.set.End())
	list := l.list()
	if r := l.commit(list, all(list)); len(r.Skipped) > 0 {
		t.Errorf("skipped: %v", r.Skipped)
	}
	for path, want := range map[string]uint32{"d": 1234, "d/old": 77, "d/new": 1234, "d/sub": 1234, "d/sub/x": 1234, "d/sub/l": 1234} {
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(l.dir, path), &st))
		if st.Uid != want || st.Gid != want+1 {
			t.Errorf("%s belongs to %d:%d, want %d:%d", path, st.Uid, st.Gid, want, want+1)
		}
		if path == "d" && st.Mode&unix.S_ISGID == 0 {
			t.Error("d lost its set-group-id bit")
		}
	}
}

// TestMarks: what another overlay feature left is refused, not guessed.
func TestMarks(t *testing.T) {
	l := newLab(t, `echo 1 > a; mkdir d; echo 2 > d/f`)
	l.session(`echo 22 > a; mkdir e; echo 1 > e/f; echo 3 > x; chmod 700 d`)
	upper := filepath.Join(l.set.Store(), "upper")
	must(t, unix.Setxattr(upper+"/a", "user.overlay.metacopy", nil, 0))
	must(t, unix.Setxattr(upper+"/e", "user.overlay.redirect", []byte("/etc"), 0))
	must(t, os.WriteFile(upper+"/d/f", nil, 0o600))
	must(t, unix.Setxattr(upper+"/d/f", "user.overlay.whiteout", []byte("y"), 0))
	must(t, l.set.End())
	want := []string{"deleted file d/f", "modified file a refused", "mode dir d", "added dir e refused", "added file x"}
	if d := cmp.Diff(want, tell(l.list())); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDeepAndLarge: a tree deeper than a path can say, and a file that is all hole.
func TestDeepAndLarge(t *testing.T) {
	l := newLab(t, `echo 1 > a`)
	list := l.run(`truncate -s 300M sparse; perl -e 'my $n="x"x200; for(1..60){mkdir $n; chdir $n or die} open F,">f"; print F 1'`)
	refused := 0
	for _, c := range list {
		if c.Refused != "" {
			refused++
		}
	}
	if refused != 1 || len(list) < 15 {
		t.Errorf("%d of %d refused", refused, len(list))
	}
	if r := l.commit(list, CommitOptions{}); len(r.Skipped) != 1 {
		t.Errorf("skipped %v", r.Skipped)
	}
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(l.dir, "sparse"), &st))
	if st.Size != 300<<20 || st.Blocks > 1000 {
		t.Errorf("sparse takes %d blocks of %d bytes", st.Blocks, st.Size)
	}
	must(t, l.set.DiscardAll(t.Context()))
	must(t, l.set.Remove())
}

// TestWatched: no yes, no effect; and the end of each is told.
func TestWatched(t *testing.T) {
	l := newLab(t, `echo 1 > a; echo 2 > b`)
	list := l.run(`echo x > a; echo x > b; echo x > c`)
	told := map[string]string{}
	r := l.commit(list, CommitOptions{
		Before: func(c Change) error {
			if c.Path == "b" {
				return fault.New("test", fault.Denied, "not this one")
			}
			return nil
		},
		After: func(c Change, err error) { told[c.Path] = fmt.Sprint(err) },
	})
	if l.read("b") != "2\n" || len(r.Committed) != 2 || !strings.Contains(r.Skipped[0].Reason, "not this one") {
		t.Errorf("%+v", r)
	}
	if d := cmp.Diff(map[string]string{"a": "<nil>", "c": "<nil>"}, told); d != "" {
		t.Error(d)
	}
}
