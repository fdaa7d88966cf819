package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/internal/fault"
)

var update = flag.Bool("update", false, "rewrite golden files and scripts")

// exitsWith runs `code N command…` and checks the exit code.
func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command [args...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	if err != nil {
		var ee *exec.ExitError
		if !errors.As(err, &ee) {
			ts.Fatalf("%v", err)
		}
		got = ee.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// jsonValid checks that stdout (or stderr) is a sequence of JSON values, each
// with the named top-level keys.
func jsonValid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: jsonvalid stdout|stderr|FILE [key...]")
	}
	d := json.NewDecoder(strings.NewReader(ts.ReadFile(args[0])))
	n := 0
	for d.More() {
		var m map[string]any
		ts.Check(d.Decode(&m))
		for _, k := range args[1:] {
			if _, ok := m[k]; !ok {
				ts.Fatalf("value %d has no key %q", n, k)
			}
		}
		n++
	}
	if n == 0 {
		ts.Fatalf("no JSON value in %s", args[0])
	}
}

func runHere(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Run(t.Context(), args, strings.NewReader(""), &out, &errs, []string{"HOME=" + t.TempDir()})
	return out.String(), errs.String(), code
}

// TestEveryKindHasACode: a new kind of error must be given a code.
func TestEveryKindHasACode(t *testing.T) {
	for k := fault.Internal; !strings.HasPrefix(k.String(), "kind("); k++ {
		found := 0
		for _, row := range exitTable() {
			for _, kind := range row.Kinds {
				if kind == k {
					found++
				}
			}
		}
		if found != 1 {
			t.Errorf("%s stands in %d rows of the table of exit codes, want 1", k, found)
		}
	}
	seen := map[int]bool{}
	for _, row := range exitTable() {
		if seen[row.Code] {
			t.Errorf("code %d is there twice", row.Code)
		}
		seen[row.Code] = true
	}
}

// TestExitCodeDocument: docs/exit-codes.md is the same table.
func TestExitCodeDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/exit-codes.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range exitTable() {
		line := "| " + strconv.Itoa(row.Code) + " | " + row.Name + " | " + row.Meaning + " |"
		if !strings.Contains(string(doc), line) {
			t.Errorf("docs/exit-codes.md lacks %q", line)
		}
	}
}

func TestVisible(t *testing.T) {
	for in, want := range map[string]string{
		"plain äöü 世界":            "plain äöü 世界",
		"\x1b]0;title\x07x":       `\x1b]0;title\x07x`,
		"a\u202eb":                `a\u202eb`,
		"zero\u200bwidth":         `zero\u200bwidth`,
		"bad \xff byte":           `bad \xff byte`,
		"two\nlines\tand\r":       `two lines and\x0d`,
		"\u009b31m":               `\u009b31m`,
		"real replacement \ufffd": "real replacement \ufffd",
	} {
		if got := visible(in); got != want {
			t.Errorf("visible(%q) = %q, want %q", in, got, want)
		}
	}
	if got, want := visibleLines("a\r\nb\x1b[2J\n"), "a\nb\\x1b[2J\n"; got != want {
		t.Errorf("visibleLines: %q, want %q", got, want)
	}
}

func FuzzVisible(f *testing.F) {
	f.Add("a\x1b[0m\u202e\xff")
	f.Fuzz(func(t *testing.T, s string) {
		for _, r := range visible(s) {
			if hostile(r) && r != '\ufffd' || r == '\n' || r == '\t' {
				t.Fatalf("visible(%q) leaves %U", s, r)
			}
		}
	})
}

func TestTableFits(t *testing.T) {
	long := strings.Repeat("x", 200)
	for _, limit := range []int{0, 40, 80} {
		var out bytes.Buffer
		c := &call{out: &out, width: limit}
		tab := table{cols: []column{{title: "N", right: true}, {title: "NAME", flex: true}, {title: "WHAT", flex: true}}}
		tab.add(plain("1"), plain("short"), plain(long))
		tab.print(c)
		for line := range strings.Lines(out.String()) {
			if w := width(strings.TrimRight(line, "\n")); limit > 0 && w > limit {
				t.Errorf("width %d, limit %d: %q", w, limit, line)
			}
		}
		if limit == 0 && !strings.Contains(out.String(), long) {
			t.Error("a piped table was cut")
		}
	}
}

// TestHelpTeaches: each command has a summary and an example.
func TestHelpTeaches(t *testing.T) {
	var tree commands
	parser, err := newParser(&tree, &call{flags: &tree.globals})
	if err != nil {
		t.Fatal(err)
	}
	for _, leaf := range parser.Model.Leaves(false) {
		if leaf.Help == "" {
			t.Errorf("%s has no summary", leaf.FullPath())
		}
		detail := leaf.Detail
		if leaf.Parent != nil {
			detail += leaf.Parent.Detail
		}
		if !strings.Contains(detail, "sallyport ") {
			t.Errorf("%s: its help has no example", leaf.FullPath())
		}
	}
}

func TestHelpGolden(t *testing.T) {
	t.Setenv("COLUMNS", "100")
	got, stderr, code := runHere(t)
	if code != 0 || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	const file = "testdata/help.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("help (-want +got; -update rewrites it):\n%s", diff)
	}
}
