package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// homeDir gives a private directory like an operator's home with a tool in it.
func homeDir(t *testing.T, p *project) string {
	t.Helper()
	home := p.base + "/operator"
	must(t, os.MkdirAll(home+"/.tool/bin", 0o700))
	must(t, os.WriteFile(home+"/.tool/bin/prog", []byte("#!/bin/sh\necho tool\n"), 0o700))
	must(t, os.WriteFile(home+"/.tool/conf", []byte("conf\n"), 0o600))
	must(t, os.WriteFile(home+"/secret", []byte("secret\n"), 0o644))
	must(t, os.Symlink(".tool", home+"/current"))
	must(t, os.Chmod(home, 0o700))
	return home
}

func TestMountsAreShownReadOnly(t *testing.T) {
	p := newProject(t)
	home := homeDir(t, p)
	spec := p.spec()
	spec.Mounts = []Mount{
		{Host: home + "/.tool"},
		{Host: home + "/current", View: "/opt-tool/here"},
		{Host: home + "/.tool/conf", View: "/etc/tool.conf"},
		{Host: home + "/.tool", View: p.dir + "/vendored/tool"},
		{Host: home + "/.tool/conf", View: "/tmp/t/conf"},
		{Host: home + "/absent", Optional: true},
	}
	spec.Masked = []string{p.dir + "/vendored/tool/conf"}
	before := append(snapshot(t, home), snapshot(t, p.dir)...)
	sb := open(t, spec, TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	r := runOK(t, sh, strings.ReplaceAll(`HOME/.tool/bin/prog; cat /opt-tool/here/conf /etc/tool.conf /tmp/t/conf; vendored/tool/bin/prog; ls vendored; cat HOME/secret
for f in HOME/.tool/conf HOME/.tool/new /opt-tool/here/conf /etc/tool.conf vendored/tool/new; do { echo evil > $f; } 2>&1 | grep -o Read-only; done
chmod 777 HOME/.tool/conf; rm -rf vendored 2>&1 | tail -1; echo beside > vendored/mine; cat vendored/mine`, "HOME", home))
	want := "tool\nconf\nconf\nconf\ntool\ntool\ncat: " + home + "/secret: No such file or directory\n" + strings.Repeat("Read-only\n", 5)
	if !strings.HasPrefix(string(r.Head), want) || !strings.HasSuffix(string(r.Head), "beside\n") {
		t.Errorf("got\n%s\nwant\n%s", r.Head, want)
	}
	// Landlock does not stop a change of mode or times: the mount has to.
	if !bytes.Contains(r.Head, []byte("changing permissions of '"+home+"/.tool/conf': Read-only")) {
		t.Errorf("the mode could be changed: %s", r.Head)
	}
	must(t, sb.Close())
	if diff := cmp.Diff(before, append(snapshot(t, home), snapshot(t, p.dir)...)); diff != "" {
		t.Error(diff)
	}
	// the mountpoints are no changes of the agent's
	if _, err := os.Stat(p.store + "/upper/vendored/tool"); err == nil {
		t.Error("a mountpoint was made in the upper layer")
	}
}

func TestFilesAreShown(t *testing.T) {
	p := newProject(t)
	must(t, os.Mkdir(p.dir+"/mixed", 0o750))
	spec := p.spec()
	spec.Files = []File{
		{Path: "/etc/ssl/certs/extra/ca.pem", Content: []byte("ca\n")},
		{Path: "/etc/hosts", Content: []byte("127.0.0.1 localhost\n")},
		{Path: p.dir + "/a", Content: []byte("covered\n"), Mode: 0o400},
		{Path: p.dir + "/mixed/.config/tool/settings", Content: []byte("settings\n"), Mode: 0o500},
		{Path: "/etc/empty"},
	}
	if _, err := os.Stat("/etc/ssl/certs"); err == nil {
		spec.Files[0].Path = "/etc/sallyport/extra/ca.pem"
	}
	before := snapshot(t, p.dir)
	sb := open(t, spec, TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	r := runOK(t, sh, "cat "+spec.Files[0].Path+" /etc/hosts a mixed/.config/tool/settings /etc/empty; stat -c %a mixed mixed/.config/tool/settings /etc/empty; "+
		"for f in a /etc/hosts mixed/.config/tool/settings; do echo evil > $f; rm -f $f; mv $f x; done 2>/dev/null; cat a mixed/.config/tool/settings; echo x > mixed/.config/other; ls -A mixed/.config")
	if want := "ca\n127.0.0.1 localhost\ncovered\nsettings\n750\n500\n444\ncovered\nsettings\nother\ntool\n"; string(r.Head) != want {
		t.Errorf("got\n%s\nwant\n%s", r.Head, want)
	}
	must(t, sb.Close())
	if diff := cmp.Diff(before, snapshot(t, p.dir)); diff != "" {
		t.Error(diff)
	}
}

// TestNothingIsMadeInADirectDirectory: a mountpoint there would be a stray file.
func TestNothingIsMadeInADirectDirectory(t *testing.T) {
	p := newProject(t)
	before := snapshot(t, p.dir)
	must(t, os.Symlink("/etc", p.base+"/sly"))
	for _, f := range []func(*Spec){
		func(s *Spec) { s.Files = []File{{Path: p.dir + "/absent"}} },
		func(s *Spec) { s.Mounts = []Mount{{Host: p.base, View: p.dir + "/absent"}} },
		func(s *Spec) { s.Files = []File{{Path: "/usr/absent-of-sallyport"}} },
		func(s *Spec) { s.Files = []File{{Path: p.dir + "/link"}} },
		func(s *Spec) {
			s.Overlays = []Overlay{{p.dir, p.store}}
			s.Files = []File{{Path: p.dir + "/a/beneath-a-file"}}
		},
	} {
		spec := p.spec()
		spec.Overlays = nil
		f(&spec)
		sb, err := Start(t.Context(), spec)
		if err == nil {
			_ = sb.Close()
		}
		if !fault.Is(err, fault.Usage) || !strings.Contains(fault.PublicText(err), "cannot be shown in the sandbox (") {
			t.Errorf("%v %v: %v", spec.Files, spec.Mounts, err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, p.dir)); diff != "" {
		t.Error(diff)
	}
}

// TestSubmounts shows a mount below a writable directory, or says it is missing.
func TestSubmounts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	p := newProject(t)
	must(t, unix.Mount("tmpfs", p.dir+"/empty", "tmpfs", 0, "mode=0755"))
	defer unix.Unmount(p.dir+"/empty", unix.MNT_DETACH)
	must(t, os.WriteFile(p.dir+"/empty/f", []byte("below\n"), 0o600))
	spec := p.spec()
	spec.Overlays = nil
	if r := runOK(t, openShell(t, spec, TierFull), "cat empty/f; echo new > empty/g; stat -c %u empty/g"); string(r.Head) != fmt.Sprintf("below\n%d\n", PayloadUID) {
		t.Errorf("direct: %s", r.Head)
	}
	var st unix.Stat_t
	must(t, unix.Stat(p.dir+"/empty/g", &st))
	if st.Uid != 0 {
		t.Errorf("the file belongs to %d on the host", st.Uid)
	}
	sb := open(t, p.spec(), TierFull)
	if said := strings.Join(sb.Report().NotPromised, "\n"); !strings.Contains(said, p.dir+"/empty is not shown") {
		t.Errorf("the missing mount is not named: %s", said)
	}
}

func TestWorkspaceSpecIsChecked(t *testing.T) {
	p := newProject(t)
	must(t, os.Mkdir(p.base+"/s2", 0o700))
	must(t, os.Mkdir(p.dir+"/in", 0o700))
	must(t, os.Symlink(p.dir, p.base+"/to-work"))
	must(t, os.Mkdir(p.base+"/open", 0o755))
	tests := []struct {
		name string
		edit func(*Spec)
		kind fault.Kind
		want string
	}{
		{"workdir is a file", func(s *Spec) { s.Workdir, s.Overlays = p.dir+"/a", nil }, fault.Usage, "is not a directory"},
		{"workdir is gone", func(s *Spec) { s.Workdir, s.Overlays = p.dir+"/gone", nil }, fault.NotFound, "does not exist"},
		{"workdir is /", func(s *Spec) { s.Workdir, s.Overlays = "/", nil }, fault.Usage, "root directory"},
		{"workdir holds the store", func(s *Spec) { s.Workdir = p.base }, fault.Usage, "lie one in the other"},
		{"home holds the store", func(s *Spec) { s.Home = p.base + "/state" }, fault.Usage, "lie one in the other"},
		{"store in dir", func(s *Spec) { s.Overlays[0].Store = p.dir + "/in" }, fault.Usage, "lie one in the other"},
		{"dir in store", func(s *Spec) { s.Overlays[0] = Overlay{p.store, p.base + "/state"} }, fault.Usage, ""},
		{"store open to others", func(s *Spec) { s.Overlays[0].Store = p.base + "/open" }, fault.Usage, "mode 0700"},
		{"one store for two", func(s *Spec) { s.Overlays = append(s.Overlays, Overlay{p.base + "/open", p.store}) }, fault.Usage, "share"},
		{"one dir twice", func(s *Spec) { s.Overlays = append(s.Overlays, Overlay{p.base + "/to-work", p.base + "/s2"}) }, fault.Usage, "share"},
		{"overlay in the auditor's view", func(s *Spec) { s.View = ViewAuditor }, fault.Usage, "workspace view"},
		{"mount absent", func(s *Spec) { s.Mounts = []Mount{{Host: p.base + "/none"}} }, fault.NotFound, "does not exist"},
		{"mount of /proc", func(s *Spec) { s.Mounts = []Mount{{Host: "/proc/sys", View: "/x"}} }, fault.Usage, "kernel"},
		{"mount of /", func(s *Spec) { s.Mounts = []Mount{{Host: "/", View: "/x"}} }, fault.Usage, "root directory"},
		{"mount on /proc", func(s *Spec) { s.Mounts = []Mount{{Host: p.base, View: "/x/../proc/y"}} }, fault.Usage, "cannot appear"},
		{"mount twice", func(s *Spec) { s.Mounts = []Mount{{Host: p.base, View: "/x"}, {Host: p.dir, View: "/x/"}} }, fault.Usage, "two mounts"},
		{"file on /sys", func(s *Spec) { s.Files = []File{{Path: "/sys/x"}} }, fault.Usage, "cannot appear"},
		{"file relative", func(s *Spec) { s.Files = []File{{Path: "x"}} }, fault.Usage, "cannot appear"},
		{"file too large", func(s *Spec) { s.Files = []File{{Path: "/x", Content: make([]byte, 1<<20+1)}} }, fault.Usage, "1 MiB"},
		{"file setuid", func(s *Spec) { s.Files = []File{{Path: "/x", Mode: 0o4755}} }, fault.Usage, "permission bits"},
		{"file twice", func(s *Spec) { s.Files = []File{{Path: "/x/y"}, {Path: "/x"}} }, fault.Usage, "twice"},
		{"files too many", func(s *Spec) { s.Files = make([]File, 65) }, fault.Usage, "at most 64"},
		{"pin relative", func(s *Spec) { s.Pinned = []string{".git"} }, fault.Usage, "not absolute"},
		{"pin of the whole", func(s *Spec) { s.Pinned = []string{p.base + "/to-work"} }, fault.Usage, "itself"},
		{"negative disk", func(s *Spec) { s.Limits.Disk = -1 }, fault.Usage, "negative"},
	}
	for _, x := range tests {
		spec := p.spec()
		spec.Overlays = append([]Overlay(nil), spec.Overlays...)
		x.edit(&spec)
		_, err := spec.normalise()
		if !fault.Is(err, x.kind) || !strings.Contains(fault.PublicText(err), x.want) {
			t.Errorf("%s: %v, want %s with %q", x.name, err, x.kind, x.want)
		}
	}
	spec := p.spec()
	spec.Workdir, spec.Overlays[0].Dir = p.base+"/to-work", p.base+"/to-work"
	spec.Pinned = []string{p.base + "/to-work/link", "/nowhere/near"}
	spec, err := spec.normalise()
	must(t, err)
	if spec.Workdir != p.dir || spec.Overlays[0].Dir != p.dir || !cmp.Equal(spec.Pinned, []string{"/nowhere/near", p.dir + "/link"}) {
		t.Errorf("links to the directory: %+v", spec)
	}
}

// TestVanishedBetween removes the directory after the Spec was checked.
func TestVanishedBetween(t *testing.T) {
	for _, overlay := range []bool{true, false} {
		p := newProject(t)
		spec := p.spec()
		if !overlay {
			spec.Overlays = nil
		}
		spec, err := spec.normalise()
		must(t, err)
		must(t, os.RemoveAll(p.dir))
		_, err = start(t.Context(), spec)
		if !fault.Is(err, fault.NotFound) || !strings.Contains(fault.PublicText(err), "vanished") {
			t.Errorf("overlay=%v: %v", overlay, err)
		}
	}
}

func TestPinsThroughLinks(t *testing.T) {
	for _, overlay := range []bool{true, false} {
		p := newProject(t)
		must(t, os.Mkdir(p.dir+"/.git", 0o755))
		must(t, os.Symlink("../sub", p.dir+"/.git/hooks"))
		spec := p.spec()
		if !overlay {
			spec.Overlays = nil
		}
		spec.Pinned = []string{p.dir + "/.git/hooks"}
		sb, err := Start(t.Context(), spec)
		if err == nil {
			_ = sb.Close()
		}
		if overlay != (err == nil) || !overlay && !strings.Contains(fault.PublicText(err), "symbolic link") {
			t.Errorf("overlay=%v: %v", overlay, err)
		}
	}
}

func TestReadOnlyOverlay(t *testing.T) {
	p := newProject(t)
	spec := p.spec()
	spec.ReadOnly = true
	sb := open(t, spec, TierFull)
	sb.spec.ReadOnly = false // the refusal of shells is lifted, the limits are not
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	if r := runOK(t, sh, "cat a; echo x > a; touch new"); strings.Count(string(r.Head), "Read-only") != 2 {
		t.Errorf("%s", r.Head)
	}
}
