package sandbox

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sallyport/internal/fault"
)

const folderCanary = "canary-7f3a"

// labelled makes a directory with content, and links in it that lead out.
func labelled(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/var/tmp", "sallyport-folders-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	dir, err = filepath.EvalSymlinks(dir)
	must(t, err)
	host := filepath.Join(dir, "hr")
	must(t, os.MkdirAll(filepath.Join(host, "sub"), 0o700))
	must(t, os.WriteFile(filepath.Join(host, "pay"), []byte(folderCanary+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(host, "sub", "more"), []byte(folderCanary+"\n"), 0o600))
	must(t, os.WriteFile(filepath.Join(host, "tool"), []byte("#!/bin/sh\necho ran\n"), 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "beside"), []byte("beside\n"), 0o600))
	must(t, os.Symlink("../beside", filepath.Join(host, "out")))
	must(t, os.Symlink("pay", filepath.Join(host, "in")))
	return host
}

func folderSpec(t *testing.T, host, view string) Spec {
	t.Helper()
	work, err := os.MkdirTemp("/var/tmp", "sallyport-folders-")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(work) })
	return Spec{
		View: ViewWorkspace, Workdir: work, Env: []string{"PATH=/usr/bin:/bin"},
		Folders: []Folder{{Name: "hr", Host: host, View: view, Notice: "hr is closed\n"}},
	}
}

func said(r Result) string { return string(r.Head) + string(r.Tail) }

// TestFolderOpensInARunningShell: before, only the notice; afterwards the shell
// that runs already reads the content, and can do no more than read it.
func TestFolderOpensInARunningShell(t *testing.T) {
	host := labelled(t)
	for name, view := range map[string]string{"own path": host, "another path": "/data/hr"} {
		t.Run(name, func(t *testing.T) {
			sb := open(t, folderSpec(t, host, view), TierFull)
			sh, err := sb.Shell(t.Context(), ShellOptions{})
			must(t, err)
			r := runOK(t, sh, "ls -A "+view+"; cat "+view+"/CLOSED "+view+"/pay; (sleep 1000) & :")
			if got := said(r); !strings.Contains(got, "hr is closed") || strings.Contains(got, folderCanary) || !strings.HasPrefix(got, "CLOSED\n") {
				t.Fatalf("before: %s", got)
			}
			began := time.Now()
			must(t, sb.OpenFolder(t.Context(), "hr"))
			t.Logf("opened in %s", time.Since(began))
			must(t, sb.OpenFolder(t.Context(), "hr")) // again: nothing
			if !sb.FolderOpen("hr") {
				t.Error("not said to be open")
			}
			r = runOK(t, sh, "cat "+view+"/pay "+view+"/sub/more "+view+"/in; ls "+view)
			if got := said(r); strings.Count(got, folderCanary) != 3 || strings.Contains(got, "CLOSED") {
				t.Errorf("after: %s", got)
			}
			for what, script := range map[string]string{
				"write": "echo x > " + view + "/new", "overwrite": "echo x >> " + view + "/pay", "execute": view + "/tool",
				"remove": "rm -f " + view + "/pay", "a link that leads out": "cat " + view + "/out",
			} {
				if r := runOK(t, sh, script); r.Exit == 0 {
					t.Errorf("%s succeeded: %s", what, said(r))
				}
			}
			if err := sb.OpenFolder(t.Context(), "other"); !fault.Is(err, fault.NotFound) {
				t.Errorf("an unknown folder: %v", err)
			}
			must(t, sb.Close())
			if err := sb.OpenFolder(t.Context(), "hr"); !fault.Is(err, fault.Unavailable) {
				t.Errorf("after the end: %v", err)
			}
		})
	}
}

// TestClosedFolderCannotBeRead tries the ways around the gate. Each way is first
// shown to work once the folder is open, or in a sandbox that simply mounts it.
func TestClosedFolderCannotBeRead(t *testing.T) {
	host := labelled(t)
	ways := map[string]string{
		"plainly":                     "cat %s/pay",
		"by a link of the agent's":    "ln -sfn %s l; cat l/pay",
		"by a directory beside it":    "cat %s/../hr/pay",
		"after a change of directory": "cd %s && cat pay",
		"with find":                   "find %s -name pay -exec cat {} +",
		"as a copy":                   "cp -r %s copy && cat copy/pay",
	}
	closed, opened := open(t, folderSpec(t, host, host), TierFull), open(t, folderSpec(t, host, host), TierFull)
	must(t, opened.OpenFolder(t.Context(), "hr"))
	before, err := closed.Shell(t.Context(), ShellOptions{})
	must(t, err)
	after, err := opened.Shell(t.Context(), ShellOptions{})
	must(t, err)
	for name, way := range ways {
		script := fmt.Sprintf("cd $OLDPWD 2>/dev/null; cd "+closed.spec.Workdir+" 2>/dev/null || cd "+opened.spec.Workdir+"; "+way, host)
		if got := said(runOK(t, after, script)); !strings.Contains(got, folderCanary) {
			t.Errorf("%s: the way does not work where it should: %s", name, got)
		}
		if got := said(runOK(t, before, script)); strings.Contains(got, folderCanary) {
			t.Errorf("%s: the content of a closed folder was read: %s", name, got)
		}
	}
	for _, script := range []string{
		"for p in /proc/[0-9]*; do for f in $p/fd/*; do cat $f/pay $f/hr/pay; done; cat $p/root" + host + "/pay $p/cwd/pay; done",
		"umount " + host + "; umount -l " + host + "; cat " + host + "/pay",
		"mount --bind / " + closed.spec.Workdir + "; nsenter -t 1 -m cat " + host + "/pay; unshare -rm cat " + host + "/pay",
		"mv " + host + " " + filepath.Dir(host) + "/moved; cat " + filepath.Dir(host) + "/moved/pay",
		"grep -l hr /proc/1/fdinfo/* /proc/1/mountinfo; cat /proc/1/environ; ls -l /proc/1/fd",
	} {
		if got := said(runOK(t, before, script)); strings.Contains(got, folderCanary) || strings.Contains(got, "/proc/1/fd/") && !strings.Contains(got, "ermission denied") {
			t.Errorf("%s:\n%s", script, got)
		}
	}
}

// TestCoveredFolder: a folder that is not to be opened shows nothing through
// whatever shows its surroundings, and one whose inside would be shown keeps the
// sandbox from starting.
func TestCoveredFolder(t *testing.T) {
	host := labelled(t)
	parent := filepath.Dir(host)
	for path, mode := range map[string]os.FileMode{parent: 0o755, host: 0o755, host + "/sub": 0o755, host + "/pay": 0o644, host + "/sub/more": 0o644} {
		must(t, os.Chmod(path, mode)) // so that the cover alone keeps it closed
	}
	for name, change := range map[string]func(*Spec){
		"working directory": func(s *Spec) { s.Workdir = parent },
		"mount":             func(s *Spec) { s.Mounts = []Mount{{Host: parent}} },
		"mount elsewhere":   func(s *Spec) { s.Mounts = []Mount{{Host: parent, View: "/data"}} },
		"copy-on-write": func(s *Spec) {
			store := t.TempDir()
			must(t, os.Chmod(store, 0o700))
			s.Workdir, s.Overlays = parent, []Overlay{{Dir: parent, Store: store}}
		},
		"a copy": func(s *Spec) {
			store := t.TempDir()
			must(t, os.Chmod(store, 0o700))
			s.Workdir, s.Overlays, s.forceCopy = parent, []Overlay{{Dir: parent, Store: store}}, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec := folderSpec(t, host, "")
			change(&spec)
			find := "cat " + parent + "/hr/pay /data/hr/pay; cat " + parent + "/*/sub/more; find /var /data /tmp -name pay -exec cat {} + 2>/dev/null"
			bare := spec
			bare.Folders = nil
			if name != "copy-on-write" && name != "a copy" { // else the store would be used twice
				if got := said(runOK(t, openShell(t, bare, TierFull), find)); !strings.Contains(got, folderCanary) {
					t.Fatalf("without a cover nothing is readable either: %s", got)
				}
			}
			sh := openShell(t, spec, TierFull)
			if got := said(runOK(t, sh, find)); strings.Contains(got, folderCanary) {
				t.Errorf("covered, but read: %s", got)
			}
			runOK(t, sh, "mkdir -p "+parent+"/x; mv "+parent+"/hr "+parent+"/x/; rm -rf "+parent+"/hr")
			if got := said(runOK(t, sh, find)); strings.Contains(got, folderCanary) {
				t.Errorf("moved and read: %s", got)
			}
		})
	}
	if b, err := os.ReadFile(filepath.Join(host, "pay")); err != nil || !strings.Contains(string(b), folderCanary) {
		t.Errorf("the host's folder changed: %q, %v", b, err)
	}
	for name, change := range map[string]func(*Spec){
		"working directory inside": func(s *Spec) { s.Workdir = filepath.Join(host, "sub") },
		"mount of it":              func(s *Spec) { s.Mounts = []Mount{{Host: host, View: "/data"}} },
		"two in one another": func(s *Spec) {
			s.Folders = append(s.Folders, Folder{Name: "inner", Host: filepath.Join(host, "sub")})
		},
		"over the kernel's files": func(s *Spec) { s.Folders[0].View = "/proc/hr" },
		"over the requests":       func(s *Spec) { s.Folders[0].View = "/run/sallyport" },
		"over the working directory": func(s *Spec) {
			s.Workdir = filepath.Join(parent, "work")
			must(t, os.MkdirAll(s.Workdir, 0o755))
			s.Folders[0].View = parent
		},
		"a strange name": func(s *Spec) { s.Folders[0].Name = "../hr" },
	} {
		spec := folderSpec(t, host, "")
		change(&spec)
		if _, err := Start(t.Context(), spec); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := StartTier(t.Context(), folderSpec(t, host, host), TierLandlock); !fault.Is(err, fault.Unsupported) {
		t.Errorf("tier landlock: %v", err)
	}
}

// TestFolderInTheAuditorsView: the host's tree is in sight, the folder is not.
func TestFolderInTheAuditorsView(t *testing.T) {
	host := labelled(t)
	spec := Spec{View: ViewAuditor, Home: t.TempDir(), Env: []string{"PATH=/usr/bin:/bin"}}
	if got := said(runOK(t, openShell(t, spec, TierFull), "cat "+host+"/pay")); !strings.Contains(got, folderCanary) {
		t.Fatalf("the auditor does not see it without a label: %s", got)
	}
	spec.Folders = []Folder{{Name: "hr", Host: host, View: host, Notice: "hr is closed\n"}}
	sb := open(t, spec, TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	before := said(runOK(t, sh, "cat "+host+"/CLOSED "+host+"/pay; for p in /proc/[0-9]*; do cat $p/root"+host+"/pay $p/cwd/pay; done 2>/dev/null"))
	if strings.Contains(before, folderCanary) || !strings.Contains(before, "hr is closed") {
		t.Fatalf("before: %s", before)
	}
	must(t, sb.OpenFolder(t.Context(), "hr"))
	if got := said(runOK(t, sh, "cat "+host+"/pay")); !strings.Contains(got, folderCanary) {
		t.Errorf("after: %s", got)
	}
}

// TestAskingForAFolder: what programs write arrives as names, what is said is
// read, and neither end can be turned into anything else.
func TestAskingForAFolder(t *testing.T) {
	sb := open(t, folderSpec(t, labelled(t), "/data/hr"), TierFull)
	sh, err := sb.Shell(t.Context(), ShellOptions{})
	must(t, err)
	runOK(t, sh, "head -c 20000 /dev/zero > "+FolderRequests+"; echo > "+FolderRequests+"; echo ../hr > "+FolderRequests+"; printf 'h' > "+FolderRequests)
	runOK(t, sh, "echo > "+FolderRequests+"; echo hr > "+FolderRequests)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, want := range []string{"h", "hr"} {
		if got, err := sb.NextFolder(ctx); got != want {
			t.Errorf("asked for %q, %v, want %q", got, err, want)
		}
	}
	must(t, sb.AnswerFolder("a longer answer than the next one"))
	must(t, sb.AnswerFolder("hr: no"))
	if got := said(runOK(t, sh, "cat "+FolderAnswer)); got != "hr: no\n" {
		t.Errorf("answer %q", got)
	}
	if r := runOK(t, sh, "echo x > "+FolderAnswer+" || rm -f "+FolderAnswer+" "+FolderRequests); r.Exit == 0 {
		t.Error("the answer can be written inside")
	}
	if r := runOK(t, sh, "timeout 1 cat "+FolderRequests); r.Exit == 0 || strings.Contains(said(r), "hr") {
		t.Errorf("requests of others were read: %s", said(r))
	}
	quick, stop := context.WithCancel(t.Context())
	stop()
	if _, err := sb.NextFolder(quick); !fault.Is(err, fault.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	must(t, sb.Close())
	if _, err := sb.NextFolder(t.Context()); !fault.Is(err, fault.Unavailable) {
		t.Errorf("ended: %v", err)
	}
}

func FuzzFolderLines(f *testing.F) {
	f.Add([]byte("hr\n"), 1)
	f.Add([]byte("hr\r\nlaw\n\n../x\n"), 3)
	f.Add([]byte(strings.Repeat("a", 40)+"\nhr\n"), 7)
	f.Add([]byte("h\x00r\nHR\n-\n"), 2)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		var want []string
		lines := strings.Split(string(b), "\n")
		for _, l := range lines[:len(lines)-1] {
			if l = strings.TrimSuffix(l, "\r"); validFolderName(l) {
				want = append(want, l)
			}
		}
		var got []string
		var p folderLines
		step = max(1, step%64)
		for i := 0; i < len(b); i += step {
			p.feed(b[i:min(i+step, len(b))], func(n string) { got = append(got, n) })
			if cap(p.line) > 256 {
				t.Fatalf("%d bytes are held", cap(p.line))
			}
		}
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%q in steps of %d: %q, want %q", b, step, got, want)
		}
	})
}
