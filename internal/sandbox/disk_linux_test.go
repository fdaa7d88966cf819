package sandbox

import (
	"bytes"
	"flag"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"sallyport/internal/fault"
)

// TestDiskIsBounded lets a payload fill the disk in every way that has another
// place to be counted.
func TestDiskIsBounded(t *testing.T) {
	const endless = "while :; do sleep 1; done"
	for _, x := range []struct{ name, script, want string }{
		{"one file", "head -c 200M /dev/zero > big; " + endless, "16777216 bytes"},
		{"copied up", "echo x >> large; cp large second; cp large third; " + endless, "16777216 bytes"},
		{"many files", "for i in {1..400}; do : > f$i; done; " + endless, "300 files"},
		{"many directories", "mkdir -p d/{1..20}/{1..20}; " + endless, "300 files"},
		{"closed directory", "mkdir c; head -c 200M /dev/zero > c/big; chmod 0 c; " + endless, "16777216 bytes"},
		{"closed top", "chmod 0 .; exec 5>/dev/null; head -c 200M /dev/zero > big; " + endless, ""},
		{"deleted file", "exec 5>big; rm big; head -c 200M /dev/zero >&5; " + endless, "16777216 bytes"},
		{"home", "mkdir -p ~/d; for i in {1..40}; do head -c 1M /dev/zero > ~/d/$i; done; " + endless, "16777216 bytes"},
		{"home and copies", "head -c 9M /dev/zero > ~/a; head -c 9M /dev/zero > b; " + endless, "16777216 bytes"},
		{"files in the home", "for i in {1..400}; do : > ~/f$i; done; " + endless, "300 files"},
		{"deep", "for i in {1..290}; do mkdir d && cd d || break; done; " + endless, "deeper than 256"},
	} {
		t.Run(x.name, func(t *testing.T) {
			inModes(t, func(t *testing.T, p *project, spec Spec) {
				must(t, os.WriteFile(p.dir+"/large", bytes.Repeat([]byte("x"), 7<<20), 0o644))
				spec.Limits.Disk, spec.Limits.DiskFiles = 16<<20, 300
				if strings.Contains(x.name, "home") {
					spec.Home = p.base + "/home"
					must(t, os.Mkdir(spec.Home, 0o700))
					// What an earlier run left there is not counted again.
					must(t, os.WriteFile(spec.Home+"/cache", bytes.Repeat([]byte("x"), 20<<20), 0o600))
					spec.Env = append(spec.Env, "HOME="+spec.Home)
				}
				sb := open(t, spec, TierFull)
				sh, err := sb.Shell(t.Context(), ShellOptions{})
				must(t, err)
				limit := 10 * time.Second
				if x.want == "" {
					limit = time.Second
				}
				began := time.Now()
				r, _ := sh.Run(t.Context(), x.script, limit)
				if x.want == "" {
					if sb.Ended() != nil {
						t.Errorf("ended: %v", sb.Ended())
					}
					must(t, sb.Close())
					must(t, os.Chmod(sb.Overlays()[0].Upper, 0o700))
					return
				}
				if err := sb.Ended(); !fault.Is(err, fault.Budget) || !strings.Contains(fault.PublicText(err), x.want) {
					t.Fatalf("after %s: %v, want %q; %s %+v", time.Since(began), err, x.want, r.Head, sb.Limits())
				}
				<-sb.Done()
				for _, d := range []string{"/c"} {
					_ = os.Chmod(sb.Overlays()[0].Upper+d, 0o700)
				}
			})
		})
	}
}

func TestLimitsSayHowTheDiskIsKept(t *testing.T) {
	p := newProject(t)
	sb := open(t, p.spec(), TierFull)
	said := strings.Join(sb.Limits(), "\n")
	if !strings.Contains(said, "4294967296 bytes and 500000 files") || strings.Contains(said, "disk used by the writable directories: NOT") {
		t.Errorf("%s", said)
	}
	spec := p.spec()
	spec.Overlays = nil
	spec.Limits.CPUPercent = 50
	sb = open(t, spec, TierFull)
	said = strings.Join(sb.Limits(), "\n")
	if !strings.Contains(said, "disk used by the writable directories: NOT") || !strings.Contains(said, "CPU share: ") {
		t.Errorf("%s", said)
	}
	if bounded := strings.Contains(said, "CPU share: 50 %"); bounded != sb.cg.cpu || !bounded && !strings.Contains(said, "CPU share: NOT") {
		t.Errorf("%s", said)
	}
}

// TestCPUShare burns CPU and asks the kernel how often it held the sandbox back.
func TestCPUShare(t *testing.T) {
	p := newProject(t)
	spec := p.spec()
	throttled := func(percent int) string {
		spec.Limits.CPUPercent = percent
		sb := open(t, spec, TierFull)
		if percent > 0 && !sb.cg.cpu {
			t.Skip("no cgroup for CPU can be made by this user: " + sb.cg.why)
		}
		sh, err := sb.Shell(t.Context(), ShellOptions{})
		must(t, err)
		runOK(t, sh, "timeout 1 bash -c 'while :; do :; done'")
		for _, d := range sb.cg.dirs {
			b, _ := os.ReadFile(d + "/cpu.stat")
			for line := range strings.Lines(string(b)) {
				if n, ok := strings.CutPrefix(line, "nr_throttled "); ok && strings.TrimSpace(n) != "0" {
					return line
				}
			}
		}
		return ""
	}
	if throttled(5) == "" {
		t.Error("a loop was never held back at 5 %")
	}
	if s := throttled(0); s != "" {
		t.Errorf("held back without a limit: %s", s)
	}
}

func TestFullDiskIsThePayloadsMatter(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	p := newProject(t)
	must(t, unix.Mount("tmpfs", p.store, "tmpfs", 0, "size=2m,mode=0700"))
	defer unix.Unmount(p.store, unix.MNT_DETACH)
	sb := open(t, p.spec(), TierFull)
	if m := sb.Overlays()[0].Mode; m != modeOverlay {
		t.Errorf("mode %s", m)
	}
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	r := runOK(t, sh, "head -c 8M /dev/zero > big; rm big; echo alive > f; cat f")
	if !bytes.Contains(r.Head, []byte("No space left")) || !bytes.HasSuffix(r.Head, []byte("alive\n")) || sb.Ended() != nil {
		t.Errorf("%s %v", r.Head, sb.Ended())
	}
}

// TestRefusedOverlayBecomesACopy puts the directory on a file system that
// cannot be id-mapped, as the root of a container cannot.
func TestRefusedOverlayBecomesACopy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	p := newProject(t)
	for _, d := range []string{"/u", "/w"} {
		must(t, os.Mkdir(p.base+d, 0o755))
	}
	must(t, unix.Mount("overlay", p.dir, "overlay", 0, "lowerdir="+p.dir+",upperdir="+p.base+"/u,workdir="+p.base+"/w"))
	defer unix.Unmount(p.dir, unix.MNT_DETACH)
	before := snapshot(t, p.dir)
	sb := open(t, p.spec(), TierFull)
	if m := sb.Overlays()[0].Mode; m != modeCopy {
		t.Errorf("mode %s", m)
	}
	if said := strings.Join(sb.Report().NotPromised, "\n"); !strings.Contains(said, "not copy-on-write (it cannot be id-mapped") {
		t.Errorf("%s", said)
	}
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	if r := runOK(t, sh, everyWrite); r.Exit != 0 {
		t.Errorf("%s", r.Head)
	}
	if diff := cmp.Diff(before, snapshot(t, p.dir)); diff != "" {
		t.Error(diff)
	}
}

// TestLandlockTierWorksOnACopy has no mounts: the copy has a path of its own.
func TestLandlockTierWorksOnACopy(t *testing.T) {
	p := newProject(t)
	if os.Geteuid() == 0 {
		spec, err := p.spec().normalise()
		must(t, err)
		if _, err := startTier(t.Context(), spec, TierLandlock); !fault.Is(err, fault.Unsupported) || !strings.Contains(fault.PublicText(err), "private directory") {
			t.Errorf("a copy the payload cannot reach: %v", err)
		}
		must(t, os.Chmod(p.base+"/state", 0o711))
		must(t, os.Chmod(p.store, 0o711))
	}
	before := snapshot(t, p.dir)
	spec := p.spec()
	spec.Pinned = []string{p.dir + "/a"}
	spec, err := spec.normalise()
	if os.Geteuid() == 0 {
		// such a store is refused, so root's copy can be tried only past the check
		if !fault.Is(err, fault.Usage) {
			t.Fatalf("an open store: %v", err)
		}
		spec.Limits = spec.Limits.withDefaults()
	} else {
		must(t, err)
	}
	sb, err := startTier(t.Context(), spec, TierLandlock)
	must(t, err)
	defer sb.Close()
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	copied := p.store + "/copy"
	r := runOK(t, sh, "pwd; echo $HOME; cat private; echo evil > "+p.dir+"/a; echo new > a; cat a")
	if want := copied + "\n" + copied + "\nown\n"; !strings.HasPrefix(string(r.Head), want) || !bytes.HasSuffix(r.Head, []byte("new\n")) || !bytes.Contains(r.Head, []byte("denied")) {
		t.Errorf("got %s, want %s", r.Head, want)
	}
	if diff := cmp.Diff(before, snapshot(t, p.dir)); diff != "" {
		t.Error(diff)
	}
	if said := strings.Join(sb.Report().NotPromised, "\n"); !strings.Contains(said, copied) {
		t.Errorf("%s", said)
	}
	spec = p.spec()
	spec.Overlays, spec.Pinned = nil, []string{p.dir + "/a"}
	if spec, _ = spec.normalise(); !spec.needsMounts() {
		t.Error("pins are thought to hold without mounts")
	}
}

// operation draws one change of the tree as a line of shell.
func operation(t *rapid.T) string {
	names := []string{"a", "b", "hard", "link", "run", "private", "sub", "sub/c", "sub/deep", "sub/deep/d", "empty", "n1", "n2", "n1/x", "sub/n"}
	name := rapid.SampledFrom(names)
	a, b := name.Draw(t, "a"), name.Draw(t, "b")
	return rapid.SampledFrom([]string{
		"echo " + b + " > " + a, "echo " + b + " >> " + a, "rm -f " + a, "rm -rf " + a, "mkdir -p " + a, "mkdir " + a, "rmdir " + a,
		"mv -fT " + a + " " + b, "mv -f " + a + " " + b, "ln -f " + a + " " + b, "ln -sfn " + b + " " + a, "chmod 700 " + a, "chmod 755 " + a,
		"truncate -s 5 " + a, "cp -rT " + a + " " + b, "touch " + a,
	}).Draw(t, "do")
}

const describe = "find . -printf '%p %y %m %n %l\\n' | sed 's/^\\([^ ]* d [0-9]*\\) [0-9]*/\\1/' | sort; find . -type f -exec sha256sum {} + | sort -k2"

// TestViewBehavesLikeADirectory does the same things inside, over an overlay or
// a copy, and outside to a real copy of the tree: both must end up the same,
// and the original as it was.
func TestViewBehavesLikeADirectory(t *testing.T) {
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		must(t, f.Value.Set("25")) // each takes a sandbox of its own
	}
	rapid.Check(t, func(rt *rapid.T) {
		p := newProject(t)
		must(t, os.Remove(p.dir+"/hard")) // the names of one file part at the first write, which is said
		ops := rapid.SliceOfN(rapid.Custom(operation), 3, 25).Draw(rt, "ops")
		script := "umask 022\n{ " + strings.Join(ops, "; } 2>/dev/null\n{ ") + "; } 2>/dev/null\n" + describe
		plain := p.base + "/plain"
		if out, err := exec.Command("cp", "-a", p.dir, plain).CombinedOutput(); err != nil {
			rt.Fatalf("%s %v", out, err)
		}
		cmd := exec.Command("bash", "-c", script)
		cmd.Dir, cmd.Env = plain, []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C"}
		want, err := cmd.Output()
		if err != nil {
			rt.Fatal(err)
		}
		spec := p.spec()
		spec.forceCopy = rapid.IntRange(0, 4).Draw(rt, "copy") == 0
		before := snapshot(t, p.dir)
		sb := open(t, spec, TierFull)
		defer sb.Close()
		sh, err := sb.Shell(t.Context(), ShellOptions{})
		must(t, err)
		r := runOK(t, sh, script)
		if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(r.Head), "\n")); diff != "" {
			rt.Errorf("%s\nthe view differs from a directory (-directory +view):\n%s", script, diff)
		}
		must(t, sb.Close())
		if diff := cmp.Diff(before, snapshot(t, p.dir)); diff != "" {
			rt.Errorf("%s\nthe host's tree changed:\n%s", script, diff)
		}
	})
}
