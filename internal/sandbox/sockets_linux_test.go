package sandbox

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// hostSocket is a host program that greets at a socket file.
func hostSocket(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("host"))
			c.Close()
		}
	}()
	return l
}

// unixGreeting connects to a socket file and wants the host's greeting.
func unixGreeting(path string) error {
	c, err := net.Dial("unix", path)
	if err != nil {
		return err
	}
	b := make([]byte, 8)
	n, err := c.Read(b)
	if string(b[:n]) != "host" {
		return fmt.Errorf("read %q: %w", b[:n], err)
	}
	return nil
}

// ownUnix uses a stream socket of its own, by file and by abstract name.
func ownUnix(dir string) error {
	for _, name := range []string{dir + "/own.sock", "@own"} {
		l, err := net.Listen("unix", name)
		if err != nil {
			return err
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Write([]byte("host"))
				c.Close()
			}
		}()
		if err := unixGreeting(name); err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

func unixType(kind string) error {
	fd, err := unix.Socket(unix.AF_UNIX, num(kind), 0)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func TestSockets(t *testing.T) {
	x := newTarget(t)
	must(t, os.MkdirAll(x.work+"/deep/down", 0o755))
	must(t, os.MkdirAll(x.dir+"/shown", 0o755))
	must(t, os.MkdirAll(x.dir+"/run", 0o755))
	must(t, os.MkdirAll(x.dir+"/store", 0o700))
	must(t, os.Symlink(x.dir+"/run", x.dir+"/link"))
	listed, viaLink, inWork := x.dir+"/run/listed.sock", x.dir+"/link/other.sock", x.work+"/listed.sock"
	hidden := []string{x.work + "/daemon.sock", x.work + "/deep/down/daemon.sock", x.home + "/daemon.sock", x.dir + "/shown/daemon.sock", x.dir + "/run/unlisted.sock"}
	for _, p := range append([]string{listed, viaLink, inWork}, hidden...) {
		hostSocket(t, p)
		must(t, os.Chmod(p, 0o777))
		must(t, unixGreeting(p)) // the control
	}
	must(t, os.Chmod(listed, 0o600)) // its owner's right becomes the payload's
	must(t, os.Link(hidden[0], x.work+"/deep/second-name.sock"))
	hidden = append(hidden, x.work+"/deep/second-name.sock", "@"+x.name, x.sock)

	base := x.spec(ViewWorkspace)
	base.Mounts = []Mount{{Host: x.dir + "/shown"}}
	with := base
	with.Sockets = []string{listed, viaLink, inWork}
	own := base
	own.LocalSockets = true
	cow := own
	cow.Overlays = []Overlay{{Dir: x.work, Store: x.dir + "/store"}}
	for _, c := range []struct {
		name  string
		spec  Spec
		open  []string
		own   bool
		notes bool
	}{
		{"none", base, nil, false, false},
		{"listed", with, []string{listed, viaLink, inWork}, true, true},
		{"own", own, nil, true, true},
		{"own, copy-on-write", cow, nil, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			sb := open(t, c.spec, TierFull)
			sh := shellOf(t, sb)
			var script strings.Builder
			script.WriteString(x.work + "/attacker attack unix-type 2 unix-type 5 unix-type 3 unix-type " + fmt.Sprint(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC))
			for _, p := range hidden {
				script.WriteString(" unix-greeting " + p)
			}
			if !c.own {
				script.WriteString(" own-unix /tmp unix-greeting " + listed)
			}
			r := runOK(t, sh, script.String())
			want := 4 + len(hidden)
			if !c.own {
				want += 2
			}
			if n := strings.Count(string(r.Head), "refused: "); n != want || bytes.Contains(r.Head, []byte("SUCCEEDED")) {
				t.Errorf("%d of %d refused:\n%s", n, want, r.Head)
			}
			script.Reset()
			script.WriteString(x.work + "/attacker attack")
			n := len(c.open)
			for _, p := range c.open {
				script.WriteString(" unix-greeting " + p)
			}
			if c.own {
				script.WriteString(" own-unix /tmp own-unix " + x.work)
				n += 2
			}
			if n > 0 {
				if r := runOK(t, sh, script.String()); strings.Count(string(r.Head), "SUCCEEDED") != n {
					t.Errorf("not all open:\n%s", r.Head)
				}
			}
			if said := strings.Contains(strings.Join(sb.Report().NotPromised, " "), "after the start"); said != c.notes {
				t.Errorf("the report says %q", sb.Report().NotPromised)
			}
		})
	}
}

// TestLateSocket holds the one sentence of the report to be true, and what it
// says of copy-on-write.
func TestLateSocket(t *testing.T) {
	x := newTarget(t)
	must(t, os.MkdirAll(x.dir+"/store", 0o700))
	spec := x.spec(ViewWorkspace)
	spec.LocalSockets = true
	direct := shellOf(t, open(t, spec, TierFull))
	spec.Overlays = []Overlay{{Dir: x.work, Store: x.dir + "/store"}}
	cow := shellOf(t, open(t, spec, TierFull))
	hostSocket(t, x.work+"/late.sock")
	must(t, os.Chmod(x.work+"/late.sock", 0o777))
	script := x.work + "/attacker attack unix-greeting " + x.work + "/late.sock"
	if r := runOK(t, direct, script); !bytes.Contains(r.Head, []byte("SUCCEEDED")) {
		t.Errorf("the report is wrong about late sockets: %s", r.Head)
	}
	if r := runOK(t, cow, script); !bytes.Contains(r.Head, []byte("refused: ")) {
		t.Errorf("copy-on-write does not keep a host program's socket away: %s", r.Head)
	}
}

func TestSocketsOfTheSpecAreChecked(t *testing.T) {
	x := newTarget(t)
	must(t, os.WriteFile(x.dir+"/file", nil, 0o600))
	for _, c := range []struct {
		name   string
		change func(*Spec)
	}{
		{"a file", func(s *Spec) { s.Sockets = []string{x.dir + "/file"} }},
		{"nothing", func(s *Spec) { s.Sockets = []string{x.dir + "/absent"} }},
		{"relative", func(s *Spec) { s.Sockets = []string{"run/x"} }},
		{"in /dev", func(s *Spec) { s.Sockets = []string{"/dev/log"} }},
		{"network", func(s *Spec) { s.Network = 7 }},
		{"auditor", func(s *Spec) { s.View, s.LocalSockets = ViewAuditor, true }},
		{"auditor's network", func(s *Spec) { s.View, s.Network = ViewAuditor, NetworkHandoff }},
	} {
		spec := x.spec(ViewWorkspace)
		c.change(&spec)
		if sb, err := Start(t.Context(), spec); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", c.name, err)
			if err == nil {
				sb.Close()
			}
		}
	}
}

// TestListeningSocketsAreKnown: what no search reaches, the kernel's list names.
func TestListeningSocketsAreKnown(t *testing.T) {
	x := newTarget(t)
	must(t, os.MkdirAll(x.dir+"/shown/deep", 0o755))
	hostSocket(t, x.work+"/a b.sock")
	hostSocket(t, x.dir+"/shown/deep/c.sock")
	hostSocket(t, x.dir+"/elsewhere.sock")
	spec := x.spec(ViewWorkspace)
	spec.LocalSockets, spec.Mounts = true, []Mount{{Host: x.dir + "/shown", View: "/srv/shown"}}
	spec, err := spec.normalise()
	must(t, err)
	conf := &stageConfig{Spec: spec, Tier: TierFull}
	_, err = new(Sandbox).grantSockets(conf)
	must(t, err)
	var got []string
	for _, p := range conf.HostSockets {
		if underAny(p, x.dir, "/srv/shown") {
			got = append(got, p)
		}
	}
	sort.Strings(got)
	want := []string{"/srv/shown/deep/c.sock", x.home + "/s", x.work + "/a b.sock"}
	want = append(want, x.gram)
	sort.Strings(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSwappedSocketIsRefused: a socket file that became another before the
// stage opened it.
func TestSwappedSocketIsRefused(t *testing.T) {
	x := newTarget(t)
	must(t, os.WriteFile(x.dir+"/file", nil, 0o600))
	m := &mounter{c: &stageConfig{Sockets: []socketMount{{Host: x.dir + "/file", View: "/run/s"}}}}
	if err := m.collectSockets(&sources{}); err == nil {
		t.Error("a file is shown as a socket")
	}
}

func TestFindSocketsIsBounded(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		must(t, os.MkdirAll(fmt.Sprintf("%s/d%d", dir, i), 0o755))
	}
	must(t, os.Symlink("/", dir+"/root"))
	budget := 30
	if got := findSockets(dir, &budget); got != nil || budget > 10 {
		t.Errorf("%v, %d left", got, budget)
	}
	budget = 5
	if findSockets(dir, &budget); budget > 0 {
		t.Errorf("%d left", budget)
	}
}

func FuzzListeningPaths(f *testing.F) {
	const head = "Num       RefCount Protocol Flags    Type St Inode Path\n"
	for _, c := range []struct {
		in   string
		want []string
	}{
		{head, nil},
		{head + "ffff8880: 00000002 00000000 00010000 0001 01 1234 /run/a b.sock\n", []string{"/run/a b.sock"}},
		{head + "0000000000000000: 00000002 00000000 00010000 0001 01  1234 /run/../x\nffff: 3 0 0 1 3 99\nffff: 3 0 0 1 3 99 @/abstract\n", []string{"/x"}},
		{"a b c d e f g /p\na b c d e f /q\n", []string{"/p"}},
	} {
		if diff := cmp.Diff(c.want, listeningPaths([]byte(c.in))); diff != "" {
			f.Errorf("%q: %s", c.in, diff)
		}
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, p := range listeningPaths(b) {
			if !filepath.IsAbs(p) || filepath.Clean(p) != p || strings.Contains(p, "\n") {
				t.Errorf("path %q", p)
			}
		}
	})
}

func TestHostsByDNS(t *testing.T) {
	for _, c := range [][2]string{
		{"", "hosts: files dns\n"},
		{"passwd: files sss\nhosts:  files mdns4_minimal [NOTFOUND=return] resolve [!UNAVAIL=return] dns\n", "passwd: files sss\nhosts: files dns\n"},
		{" hosts : nis\n# hosts: x\ngroup: files", "# hosts: x\ngroup: files\nhosts: files dns\n"},
	} {
		if got := string(hostsByDNS([]byte(c[0]))); got != c[1] {
			t.Errorf("%q: %q, want %q", c[0], got, c[1])
		}
	}
}
