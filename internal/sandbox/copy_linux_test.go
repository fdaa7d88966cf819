package sandbox

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

func copyConf(l Limits) *stageConfig {
	return &stageConfig{Spec: Spec{Limits: l.withDefaults()}, Root: os.Geteuid() == 0}
}

// withoutOwners drops what a copy may not have in common with its original.
func withoutOwners(lines []string) []string {
	out := make([]string, 0, len(lines))
	for _, l := range lines {
		f := strings.Fields(l)
		if f[0] == "/" || len(f) < 6 {
			continue
		}
		f[2] = ""
		if strings.HasPrefix(f[1], "12") { // a link's time cannot be set
			f[4] = ""
		}
		out = append(out, strings.Join(f, " "))
	}
	return out
}

func TestCopyIsTheSame(t *testing.T) {
	p := newProject(t)
	must(t, os.Chtimes(p.dir+"/sub/deep", time.Unix(1, 0), time.Unix(1e9, 7)))
	must(t, os.Chmod(p.dir+"/run", 0o755|os.ModeSetuid))
	f, err := os.Create(p.dir + "/sparse")
	must(t, err)
	_, err = f.WriteAt([]byte("end"), 65<<20)
	must(t, err)
	must(t, f.Close())
	must(t, os.WriteFile(p.dir+"/not\xffutf8", []byte("x"), 0o644))
	before := snapshot(t, p.dir)
	must(t, unix.Mkfifo(p.dir+"/pipe", 0o644))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	must(t, err)
	must(t, unix.Bind(fd, &unix.SockaddrUnix{Name: p.dir + "/socket"}))
	must(t, unix.Close(fd))
	o := Overlay{Dir: p.dir, Store: p.store}
	notes, err := copyOnce(t.Context(), o, copyConf(Limits{Disk: 1 << 20}))
	must(t, err)
	if len(notes) != 1 || !strings.HasPrefix(notes[0], "2 sockets") {
		t.Errorf("%q", notes)
	}
	if diff := cmp.Diff(withoutOwners(before), withoutOwners(snapshot(t, p.store+"/copy"))); diff != "" {
		t.Errorf("(-original +copy)\n%s", diff)
	}
	var st unix.Stat_t
	must(t, unix.Stat(p.store+"/copy/sparse", &st))
	if st.Blocks > 64 {
		t.Errorf("the hole was filled: %d blocks", st.Blocks)
	}
	if want := map[bool]uint32{true: PayloadUID, false: uint32(os.Getuid())}[os.Geteuid() == 0]; st.Uid != want {
		t.Errorf("the copy belongs to %d", st.Uid)
	}
	must(t, os.WriteFile(p.store+"/copy/a", []byte("kept\n"), 0o644))
	_, err = copyOnce(t.Context(), o, copyConf(Limits{}))
	must(t, err)
	if b, err := os.ReadFile(p.store + "/copy/a"); err != nil || string(b) != "kept\n" {
		t.Errorf("a complete copy was made again: %q %v", b, err)
	}
}

func TestCopyIsWrittenDown(t *testing.T) {
	p := newProject(t)
	must(t, unix.Mkfifo(p.dir+"/pipe", 0o644))
	_, err := copyOnce(t.Context(), Overlay{Dir: p.dir, Store: p.store}, copyConf(Limits{}))
	must(t, err)
	f, err := os.Open(p.store + "/base.jsonl")
	must(t, err)
	defer f.Close()
	got := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var e baseEntry
		must(t, json.Unmarshal(lines.Bytes(), &e))
		fi, err := os.Lstat(p.dir + "/" + e.Path)
		must(t, err)
		if e.Mtime != fi.ModTime().UnixNano() || e.Type == "file" && e.Size != fi.Size() {
			t.Errorf("%+v is not as on the host", e)
		}
		got[e.Path] = fmt.Sprintf("%s %o %.8s%s", e.Type, e.Mode, e.SHA256, e.Target)
	}
	want := map[string]string{
		"a": "file 644 2c8b08da", "b": "file 644 27dd8ed4", "empty": "dir 755 ", "hard": "file 644 2c8b08da", "link": "link 777 a",
		"pipe": "other 644 ", "private": "file 600 7e651837", "run": "file 755 ", "sub": "dir 755 ", "sub/c": "file 644 f3e5e9b1",
		"sub/deep": "dir 755 ", "sub/deep/d": "file 644 ",
	}
	for k, v := range want {
		if !strings.HasPrefix(got[k], v[:min(len(v), 10)]) {
			t.Errorf("%s: got %q, want %q", k, got[k], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
}

func TestCopyStaysInItsBudget(t *testing.T) {
	p := newProject(t)
	o := Overlay{Dir: p.dir, Store: p.store}
	must(t, os.WriteFile(p.dir+"/big", make([]byte, 1<<20), 0o644))
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	for _, x := range []struct {
		ctx    context.Context
		limits Limits
		kind   fault.Kind
		want   string
	}{
		{t.Context(), Limits{Disk: 1 << 19}, fault.Budget, "larger than the 524288 bytes"},
		{t.Context(), Limits{DiskFiles: 5}, fault.Budget, "larger than the 5 files"},
		{canceled, Limits{}, fault.Canceled, ""},
	} {
		_, err := copyOnce(x.ctx, o, copyConf(x.limits))
		if !fault.Is(err, x.kind) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%v", err)
		}
		if exists(p.store+"/copy") || exists(p.store+"/base.jsonl") {
			t.Error("an incomplete copy is left, or taken for a complete one")
		}
	}
}

// TestInnerDirectoriesStayInPlace: within a directory written directly a parent
// of a copy-on-write or hidden directory could be put aside on the host.
func TestInnerDirectoriesStayInPlace(t *testing.T) {
	for _, x := range []struct {
		name  string
		guard func(*Spec, *project)
	}{
		{"neither", func(*Spec, *project) {}},
		{"overlay", func(s *Spec, p *project) { s.Overlays = []Overlay{{Dir: p.dir + "/sub/deep", Store: p.store}} }},
		{"masked", func(s *Spec, p *project) { s.Masked = []string{p.dir + "/sub/deep"} }},
	} {
		p := newProject(t)
		spec := p.spec()
		spec.Overlays = nil
		x.guard(&spec, p)
		r := runOK(t, openShell(t, spec, TierFull), "mv sub put-aside; echo $?; cat sub/deep/d put-aside/deep/d; echo x > sub/beside && echo ok")
		_, err := os.Stat(p.dir + "/sub/deep/d")
		if held := err == nil; held != (x.name != "neither") {
			t.Errorf("%s: %s", x.name, r.Head)
		}
		if x.name == "masked" && strings.Contains(string(r.Head), "four") {
			t.Errorf("the mask is gone: %s", r.Head)
		}
	}
}

// BenchmarkCreate makes 5,000 files in the view: in a directory written
// directly, copy-on-write, and outside any sandbox.
func BenchmarkCreate(b *testing.B) {
	const script = "mkdir n && cd n && for i in {1..5000}; do echo x > f$i; done; cd .. && rm -r n"
	for _, kind := range []string{"direct", "overlay"} {
		b.Run(kind, func(b *testing.B) {
			p := newProject(b)
			spec := p.spec()
			if kind == "direct" {
				spec.Overlays = nil
			}
			sb, err := Start(b.Context(), spec)
			if err != nil {
				b.Fatal(err)
			}
			defer sb.Close()
			sh, err := sb.Shell(b.Context(), ShellOptions{})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if r, err := sh.Run(b.Context(), script, time.Minute); err != nil || r.Exit != 0 {
					b.Fatal(err, string(r.Head))
				}
			}
		})
	}
}

// BenchmarkStart starts a sandbox and ends it, with what makes a start longer.
func BenchmarkStart(b *testing.B) {
	for _, kind := range []string{"direct", "overlay", "overlay-pins-mounts", "copy"} {
		b.Run(kind, func(b *testing.B) {
			p := newProject(b)
			spec := p.spec()
			switch kind {
			case "direct":
				spec.Overlays = nil
			case "overlay-pins-mounts":
				spec.Pinned = []string{p.dir + "/sub/deep/d", p.dir + "/a", p.dir + "/sub/c"}
				spec.Mounts = []Mount{{Host: p.base + "/state", View: "/m1"}, {Host: p.base + "/state", View: "/m2"}}
				spec.Files = []File{{Path: "/etc/x"}, {Path: "/etc/y"}}
			}
			spec.forceCopy = kind == "copy"
			for b.Loop() {
				sb, err := Start(b.Context(), spec)
				if err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				_ = sb.Close()
				b.StartTimer()
			}
		})
	}
}
