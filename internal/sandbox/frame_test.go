package sandbox

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func parseAll(chunks ...string) []frame {
	var p frameParser
	var out []frame
	for _, c := range chunks {
		p.feed([]byte(c), func(f frame) { out = append(out, f) })
	}
	return out
}

func TestFrames(t *testing.T) {
	long := strings.Repeat("x", maxHeader+1)
	for _, c := range []struct {
		name string
		in   []string
		want []frame
	}{
		{"one", []string{"N abc 3 7\x00/tmp\x00declare -x A\n\x00"}, []frame{{'N', "abc", 3, 7, "/tmp", "declare -x A\n"}}},
		{"in pieces", []string{"N a", "bc 3", " 7\x00/t", "mp\x00", "\x00"}, []frame{{'N', "abc", 3, 7, "/tmp", ""}}},
		{"two", []string{"S a 0 0\x00\x00\x00X - 255 1\x00/\x00s\x00"}, []frame{{'S', "a", 0, 0, "", ""}, {'X', "-", 255, 1, "/", "s"}}},
		{"unfinished", []string{"N abc 3 7\x00/tmp\x00declare"}, nil},
		{"no header", []string{"hello\x00N a 0 0\x00/\x00\x00"}, []frame{{'N', "a", 0, 0, "/", ""}}},
		{"status too large", []string{"N a 256 0\x00/\x00\x00"}, nil},
		{"negative status", []string{"N a -1 0\x00/\x00\x00"}, nil},
		{"line is no number", []string{"N a 1 x\x00/\x00\x00"}, []frame{{'N', "a", 1, 0, "/", ""}}},
		{"relative directory", []string{"N a 1 0\x00tmp\x00\x00"}, []frame{{'N', "a", 1, 0, "", ""}}},
		{"unknown tag", []string{"Q a 1 0\x00/\x00\x00"}, nil},
		{"long header", []string{"N " + long + " 1 0\x00/\x00\x00"}, nil},
		{"long directory", []string{"N a 1 0\x00/" + strings.Repeat("d", maxCwd) + "\x00s\x00"}, []frame{{'N', "a", 1, 0, "", "s"}}},
		{
			"long state",
			[]string{"N a 1 0\x00/\x00" + strings.Repeat("s", maxState+1) + "\x00N b 1 0\x00/\x00\x00"},
			[]frame{{'N', "a", 1, 0, "/", ""}, {'N', "b", 1, 0, "/", ""}},
		},
	} {
		if d := cmp.Diff(c.want, parseAll(c.in...), cmp.AllowUnexported(frame{})); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// FuzzFrames: no input makes the parser hold more than its limits, and how the
// stream is cut into pieces changes nothing.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("N abc 3 7\x00/tmp\x00declare -x A\n\x00"), 3)
	f.Add([]byte("x\x00\x00N a 1 1\x00/\x00\x00"), 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut < 1 {
			cut = 1
		}
		whole := parseAll(string(b))
		var pieces []string
		for rest := b; len(rest) > 0; {
			n := min(cut, len(rest))
			pieces = append(pieces, string(rest[:n]))
			rest = rest[n:]
		}
		if d := cmp.Diff(whole, parseAll(pieces...), cmp.AllowUnexported(frame{})); d != "" {
			t.Error(d)
		}
		for _, f := range whole {
			if len(f.nonce) > maxHeader || len(f.cwd) > maxCwd || len(f.state) > maxState || f.status > 255 || f.status < 0 || f.line < 0 {
				t.Errorf("out of bounds: %+v", f)
			}
		}
	})
}

// TestOutputBuffer: whatever is written in whatever pieces, the beginning, the
// end and the counts are those of the whole.
func TestOutputBuffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		half := rapid.IntRange(1, 20).Draw(t, "half")
		o := newOutputBuffer(2 * half)
		var all []byte
		for _, p := range rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 60)).Draw(t, "pieces") {
			o.write(p)
			all = append(all, p...)
		}
		var r Result
		o.fill(&r)
		if !bytes.HasPrefix(all, r.Head) || !bytes.HasSuffix(all, r.Tail) {
			t.Fatalf("head %q tail %q of %q", r.Head, r.Tail, all)
		}
		if r.TotalBytes != int64(len(all)) || r.DroppedBytes != int64(len(all)-len(r.Head)-len(r.Tail)) || r.DroppedBytes < 0 {
			t.Fatalf("counts %d %d of %d", r.TotalBytes, r.DroppedBytes, len(all))
		}
		if r.TotalLines != int64(bytes.Count(all, []byte("\n"))) {
			t.Fatalf("lines %d", r.TotalLines)
		}
		if want := min(len(all), 2*half); len(r.Head)+len(r.Tail) != want {
			t.Fatalf("kept %d of %d, want %d", len(r.Head)+len(r.Tail), len(all), want)
		}
	})
}

func TestSpecIsChecked(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		spec Spec
		want string
	}{
		{"view", Spec{View: "x"}, "does not exist"},
		{"no workdir", Spec{View: ViewWorkspace}, "working directory"},
		{"relative", Spec{View: ViewAuditor, Home: "home"}, "absolute"},
		{"root", Spec{View: ViewAuditor, Home: "/"}, "root directory"},
		{"relative mask", Spec{View: ViewAuditor, Masked: []string{"x"}}, "absolute"},
		{"environment", Spec{View: ViewAuditor, Env: []string{"A"}}, "NAME=value"},
		{"environment NUL", Spec{View: ViewAuditor, Env: []string{"A=\x00"}}, "NAME=value"},
		{"memory", Spec{View: ViewAuditor, Limits: Limits{Memory: 1}}, "16 MiB"},
		{"replace in workspace", Spec{View: ViewWorkspace, Workdir: dir, Replace: map[string]string{"/etc": dir}}, "auditor view only"},
		{"replace root", Spec{View: ViewAuditor, Replace: map[string]string{"/": dir}}, "cannot be replaced"},
		{"absent home", Spec{View: ViewAuditor, Home: dir + "/x"}, "does not exist"},
	} {
		if _, err := c.spec.normalise(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	s, err := Spec{View: ViewAuditor, Home: dir, Masked: []string{"/does/not/exist"}}.normalise()
	if err != nil || s.Limits.Pids != DefaultPids || s.MinTier != TierLandlock || len(s.Masked) != 0 {
		t.Errorf("%+v %v", s, err)
	}
}
