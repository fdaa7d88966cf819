package obs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

func open(t *testing.T, o LogOptions) *LogFile {
	t.Helper()
	l, err := OpenLog(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func readAll(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	if err := ReadLog(path, func(l Line) error {
		out = append(out, l.Message+l.Raw)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLogIsPrivateAndStructured(t *testing.T) {
	path := filepath.Join(t.TempDir(), "logs", "agent.log")
	l := open(t, LogOptions{Path: path, Level: slog.LevelInfo})
	l.Logger().Debug("quiet")
	l.Logger().Warn("loud\nand long", "agent", "sarah")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if m := info.Mode().Perm(); m != 0o600 {
		t.Errorf("mode %o, want 600", m)
	}
	var got []Line
	if err := ReadLog(path, func(l Line) error { got = append(got, l); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0].Message != "loud\nand long" || got[0].Level != "WARN" || got[0].Attrs["agent"] != "sarah" {
		t.Errorf("read %+v", got)
	}
	if _, offset := got[0].Time.Zone(); offset != 0 || time.Since(got[0].Time) > time.Minute {
		t.Errorf("time %v is not now in UTC", got[0].Time)
	}
}

func TestLogClosesWhatWasOpenToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	if err := os.WriteFile(path, []byte("{}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, LogOptions{Path: path})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestLogFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "precious")
	if err := os.WriteFile(target, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "agent.log")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLog(LogOptions{Path: link}); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a link was opened: %v", err)
	}
}

func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	l := open(t, LogOptions{Path: path, MaxBytes: 64, Backups: 2})
	for i := range 40 {
		if _, err := fmt.Fprintf(l, "{\"msg\":\"line %02d, padded\"}\n", i); err != nil {
			t.Fatal(err)
		}
	}
	files := Files(path)
	if diff := cmp.Diff([]string{path + ".2", path + ".1", path}, files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil || info.Size() > 64 || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", f, info, err)
		}
	}
	want := []string{"line 34, padded", "line 35, padded", "line 36, padded", "line 37, padded", "line 38, padded", "line 39, padded"}
	if diff := cmp.Diff(want, readAll(t, path)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
}

func TestRotationWithoutBackups(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	l := open(t, LogOptions{Path: path, MaxBytes: 16})
	for range 5 {
		fmt.Fprintln(l, `{"msg":"x"}`)
	}
	if got := Files(path); len(got) != 1 {
		t.Errorf("files %v", got)
	}
}

// TestTwoProcessesShare: whoever finds that the file was rotated away goes on
// in the new one.
func TestTwoProcessesShare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	a := open(t, LogOptions{Path: path, MaxBytes: 1 << 20, Backups: 3})
	b := open(t, LogOptions{Path: path, MaxBytes: 1 << 20, Backups: 3})
	var wg sync.WaitGroup
	for _, l := range []*LogFile{a, b} {
		wg.Go(func() {
			for i := range 100 {
				fmt.Fprintf(l, "{\"msg\":\"m%d\"}\n", i)
			}
		})
	}
	wg.Wait()
	if got := readAll(t, path); len(got) != 200 {
		t.Errorf("%d lines, want 200", len(got))
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(a, `{"msg":"after"}`)
	fmt.Fprintln(b, `{"msg":"after too"}`)
	if got := readAll(t, path); len(got) != 202 || got[201] != "after too" {
		t.Errorf("after a rotation: %d lines, last %q", len(got), got[len(got)-1])
	}
}

func TestClosedLogSaysSo(t *testing.T) {
	l := open(t, LogOptions{Path: filepath.Join(t.TempDir(), "x")})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Write([]byte("x\n")); err == nil {
		t.Error("a closed log was written")
	}
}

// TestFollow sees what is appended, across a rotation, whole lines only.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	l := open(t, LogOptions{Path: path, MaxBytes: 60, Backups: 3})
	fmt.Fprintln(l, `{"msg":"old"}`)
	ctx, cancel := context.WithCancel(t.Context())
	lines := make(chan string, 10)
	done := make(chan error, 1)
	tl := tail{path: path}
	tl.skip()
	go func() {
		for ctx.Err() == nil {
			if err := tl.poll(func(x Line) error { lines <- x.Message; return nil }); err != nil {
				done <- err
				return
			}
			time.Sleep(time.Millisecond)
		}
		done <- nil
	}()
	for i := range 6 {
		text := fmt.Sprintf("{\"msg\":\"new %d, padded padded\"}\n", i)
		if _, err := l.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-lines:
			if want := fmt.Sprintf("new %d, padded padded", i); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("line %d did not arrive", i)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReadLogStops(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	if err := os.WriteFile(path, []byte("{}\n{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	stop := errors.New("enough")
	n := 0
	if err := ReadLog(path, func(Line) error { n++; return stop }); !errors.Is(err, stop) || n != 1 {
		t.Errorf("%v after %d lines", err, n)
	}
}

func TestLongLineIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	if err := os.WriteFile(path, []byte(strings.Repeat("x", 3*maxLine)+"\nend\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := readAll(t, path)
	if len(got) != 2 || len(got[0]) != maxLine || got[1] != "end" {
		t.Errorf("%d lines, first of %d bytes", len(got), len(got[0]))
	}
}

func TestParseLevel(t *testing.T) {
	for in, want := range map[string]slog.Level{"": slog.LevelInfo, "DEBUG": slog.LevelDebug, "Warning": slog.LevelWarn, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := ParseLevel(in); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v", in, got, err)
		}
	}
	if _, err := ParseLevel("loud"); !fault.Is(err, fault.Config) {
		t.Errorf("loud: %v", err)
	}
}

func FuzzParseLine(f *testing.F) {
	for _, s := range []string{`{"time":"2024-03-07T05:40:00Z","level":"INFO","msg":"x","a":{"b":1}}`, `null`, `[]`, `{"msg":1}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		l := ParseLine(b)
		if l.Raw != "" && (l.Message != "" || l.Attrs != nil) {
			t.Errorf("both raw and parsed: %+v", l)
		}
	})
}

// TestForms: lines as text, and a file that is never rotated.
func TestForms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l.log")
	l := open(t, LogOptions{Path: path, MaxBytes: -1, Backups: 1, Text: true})
	for range 100 {
		l.Logger().Info("event", "kind", "model call")
	}
	b, err := os.ReadFile(path)
	if err != nil || strings.Count(string(b), "\n") != 100 || !strings.Contains(string(b), `kind="model call"`) {
		t.Errorf("%v: %.200s", err, b)
	}
	if _, err := os.Stat(path + ".1"); err == nil {
		t.Error("it was rotated")
	}
}
