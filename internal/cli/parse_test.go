package cli

import (
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOneCommandParsesAlike: the parser of one command makes of its line what
// that of all makes of it, and each command has one.
func TestOneCommandParsesAlike(t *testing.T) {
	quiet := func(tree *commands) *call { return &call{out: io.Discard, err: io.Discard, flags: &tree.globals} }
	var all commands
	whole, err := newParser(&all, quiet(&all))
	if err != nil {
		t.Fatal(err)
	}
	for _, top := range whole.Model.Children {
		if all.named(top.Name) == nil {
			t.Errorf("%s is parsed among all commands only", top.Name)
		}
	}
	for _, line := range [][]string{
		{"version"},
		{"version", "--json", "--home", "/x"},
		{"status", "-v", "--config=c.yaml", "--no-color"},
		{"run", "x.yaml", "--once"},
		{"events", "--json", "--limit", "3"},
		{"data", "get", "plan"},
		{"guard", "--", "claude", "--resume", "-v"},
		{"help", "exit-codes"},
	} {
		var one, every commands
		got, err := parse(&one, quiet(&one), line)
		if err != nil {
			t.Errorf("%v: %v", line, err)
			continue
		}
		if len(got.Model.Children) != 1 {
			t.Errorf("%v: %d commands were built to parse it", line, len(got.Model.Children))
		}
		parser, err := newParser(&every, quiet(&every))
		if err != nil {
			t.Fatal(err)
		}
		want, err := parser.Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if got.Command() != want.Command() {
			t.Errorf("%v: command %q, among all %q", line, got.Command(), want.Command())
		}
		alike := cmp.Options{cmp.Exporter(func(reflect.Type) bool { return true }), cmp.FilterPath(ofOther(line[0]), cmp.Ignore())}
		if diff := cmp.Diff(every, one, alike); diff != "" {
			t.Errorf("%v (-among all +alone):\n%s", line, diff)
		}
	}
}

// ofOther tells the fields of the tree that belong to other commands.
func ofOther(word string) func(cmp.Path) bool {
	return func(p cmp.Path) bool {
		if len(p) < 2 {
			return false
		}
		name := p.Index(1).(cmp.StructField).Name()
		return name != "globals" && !strings.EqualFold(strings.TrimSuffix(name, "Cmd"), word)
	}
}

// TestMistakesAreOfTheWhole: a mistake in a command's line says the same with
// all commands built, and leaves nothing behind of the first try.
func TestMistakesAreOfTheWhole(t *testing.T) {
	for _, line := range [][]string{{"version", "--jsno"}, {"data", "gte"}, {"run"}, {"status", "--json", "too", "many"}} {
		var one, every commands
		c := &call{out: io.Discard, err: io.Discard, flags: &one.globals}
		_, got := parse(&one, c, line)
		parser, err := newParser(&every, &call{out: io.Discard, err: io.Discard, flags: &every.globals})
		if err != nil {
			t.Fatal(err)
		}
		_, want := parser.Parse(line)
		if got == nil || want == nil || usageError(got).Error() != usageError(want).Error() {
			t.Errorf("%v: %v, among all %v", line, got, want)
		}
		if one.JSON != every.JSON {
			t.Errorf("%v: the first try left --json behind", line)
		}
	}
}

// TestHelpIsShownOnce: what asks for help is not tried alone first, which would
// show it twice.
func TestHelpIsShownOnce(t *testing.T) {
	for _, line := range [][]string{{"version", "--help"}, {"version", "-h"}, {"version", "-vh"}} {
		got, stderr, code := runHere(t, line...)
		if code != 0 || stderr != "" || strings.Count(got, "Usage: ") != 1 {
			t.Errorf("%v: code %d, %q, %q", line, code, got, stderr)
		}
	}
}
