package changes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary is also the session: it mounts a real overlay over the host's
// directory in namespaces of its own and runs a script there. The format of the
// Store is thereby the kernel's.
func TestMain(m *testing.M) {
	switch os.Getenv("CHANGES_TEST_AS") {
	case "session":
		inSession()
	case "committer":
		inCommitter()
	default:
		os.Exit(m.Run())
	}
}

func inSession() {
	dir, store := os.Getenv("DIR"), os.Getenv("STORE")
	// Relative names: a test directory may hold what overlay options cannot.
	opts := fmt.Sprintf("lowerdir=%s,upperdir=%s/upper,workdir=%s/work,userxattr", dir, store, store)
	if err := unix.Mount("overlay", dir, "overlay", 0, opts); err != nil {
		fmt.Fprintln(os.Stderr, "mount overlay:", err)
		os.Exit(100)
	}
	if err := os.Chdir(dir); err != nil {
		panic(err)
	}
	if err := syscall.Exec("/bin/bash", []string{"bash", "-c", "set -e\numask 022\n" + os.Getenv("SCRIPT")}, []string{"PATH=/usr/bin:/bin"}); err != nil {
		panic(err)
	}
}

// lab is a project directory, a state directory, and a set of changes.
type lab struct {
	t      testing.TB
	dir    string
	parent string
	set    *Set
}

// newLab makes a project with what the script puts into it, then begins a set.
func newLab(t testing.TB, setup string) *lab {
	t.Helper()
	return newLabIn(t, "/var/tmp", setup)
}

// memory is a directory where flushing costs nothing: neither a kill nor a wrong
// tree needs a disk to show.
func memory() string {
	var st unix.Statfs_t
	if unix.Access("/dev/shm", unix.W_OK) == nil && unix.Statfs("/dev/shm", &st) == nil && st.Bavail*uint64(st.Bsize) > 64<<20 {
		return "/dev/shm"
	}
	return "/var/tmp"
}

func newLabIn(t testing.TB, where, setup string) *lab {
	t.Helper()
	root, err := os.MkdirTemp(where, "changes-")
	must(t, err)
	t.Cleanup(func() {
		_ = exec.CommandContext(context.Background(), "chmod", "-R", "u+rwx", root).Run()
		_ = os.RemoveAll(root)
	})
	l := &lab{t: t, dir: filepath.Join(root, "project"), parent: filepath.Join(root, "changes")}
	must(t, os.Mkdir(l.dir, 0o755))
	l.sh(l.dir, setup)
	l.begin()
	return l
}

func (l *lab) begin() {
	l.t.Helper()
	var err error
	l.set, err = Create(l.parent, Meta{Session: "s1", Agent: "a", Dir: l.dir})
	must(l.t, err)
	l.t.Cleanup(func() { _ = l.set.End() })
	l.tick()
}

// tick waits until the clock of file times has passed this moment, so that
// before and after can be told.
func (l *lab) tick() {
	var now, file unix.Timespec
	must(l.t, unix.ClockGettime(unix.CLOCK_REALTIME, &now))
	for file.Nano() <= now.Nano() {
		must(l.t, unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &file))
	}
}

// sh runs a script in a directory of the host.
func (l *lab) sh(dir, script string) {
	l.t.Helper()
	cmd := exec.CommandContext(context.Background(), "/bin/bash", "-c", "set -e\numask 022\n"+script)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// session runs a script over an overlay of the project; the session goes on.
func (l *lab) session(script string) {
	l.t.Helper()
	for _, d := range []string{"upper", "work"} {
		if err := os.Mkdir(filepath.Join(l.set.Store(), d), 0o755); err != nil && !os.IsExist(err) {
			l.t.Fatal(err)
		}
	}
	must(l.t, l.set.Began(ModeOverlay))
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe")
	cmd.Env = []string{"CHANGES_TEST_AS=session", "DIR=" + l.dir, "STORE=" + l.set.Store(), "SCRIPT=" + script}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		l.t.Fatalf("session: %v\n%s", err, out)
	}
}

// run is a whole session: script, end, list.
func (l *lab) run(script string) []Change {
	l.t.Helper()
	l.session(script)
	must(l.t, l.set.End())
	return l.list()
}

func (l *lab) list() []Change {
	l.t.Helper()
	list, err := l.set.List(l.t.Context())
	must(l.t, err)
	return list
}

func (l *lab) commit(list []Change, o CommitOptions) Result {
	l.t.Helper()
	r, err := l.set.Commit(l.t.Context(), list, o)
	must(l.t, err)
	if len(r.Committed)+len(r.Skipped) != len(list) {
		l.t.Errorf("%d changes gave %d committed and %d skipped", len(list), len(r.Committed), len(r.Skipped))
	}
	return r
}

// all confirms everything that can be confirmed.
func all(list []Change) CommitOptions {
	var o CommitOptions
	for _, c := range list {
		o.AllowProtected = append(o.AllowProtected, c.Path)
		o.AllowConflict = append(o.AllowConflict, c.Path)
	}
	return o
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func find(t testing.TB, list []Change, path string) Change {
	t.Helper()
	for _, c := range list {
		if c.Path == path {
			return c
		}
	}
	t.Fatalf("no change of %q among %v", path, list)
	return Change{}
}

// tell is a short form of a list.
func tell(list []Change) []string {
	out := []string{}
	for _, c := range list {
		s := c.Kind + " " + c.Type + " " + c.Path
		if c.Refused != "" {
			s += " refused"
		}
		if c.Protected != "" {
			s += " protected"
		}
		if c.Conflict != "" {
			s += " conflict"
		}
		out = append(out, s)
	}
	return out
}

// snapshot describes a tree: types, modes, contents, links; not times.
func snapshot(t testing.TB, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case rel == ".":
		case d.Type() == fs.ModeSymlink:
			target, err := os.Readlink(path)
			out[rel] = "link " + target
			return err
		case d.IsDir():
			out[rel] = "dir " + info.Mode().String()
		case d.Type().IsRegular():
			data, err := os.ReadFile(path)
			out[rel] = fmt.Sprintf("file %s %x", info.Mode()&^fs.ModeSticky, sha256.Sum256(data))
			return err
		default:
			out[rel] = info.Mode().String()
		}
		return nil
	}))
	return out
}

func (l *lab) diff(c Change, o DiffOptions) string {
	l.t.Helper()
	var b bytes.Buffer
	must(l.t, l.set.Diff(l.t.Context(), &b, c, o))
	return b.String()
}

func (l *lab) read(path string) string {
	l.t.Helper()
	b, err := os.ReadFile(filepath.Join(l.dir, path))
	if err != nil {
		return "! " + strings.TrimPrefix(err.Error(), l.dir)
	}
	return string(b)
}

// inCommitter commits everything that is listed, over and over, until nothing
// is left or somebody kills it.
func inCommitter() {
	s, err := Open(os.Getenv("PARENT"), "s1")
	if err != nil {
		panic(err)
	}
	list, err := s.List(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Println("go")
	if _, err := s.Commit(context.Background(), list, all(list)); err != nil {
		panic(err)
	}
}
