package changes

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// operations draws a script of changes to a small tree, where names meet often.
func operations(t *rapid.T) string {
	name := rapid.SampledFrom([]string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "d/e/f", "g", "g/a", "with space", "d/\u00e9"})
	var b strings.Builder
	for range rapid.IntRange(1, 14).Draw(t, "n") {
		p, q := name.Draw(t, "p"), name.Draw(t, "q")
		op := rapid.SampledFrom([]string{
			"echo %[3]d > '%[1]s'", "echo %[3]d >> '%[1]s'", "rm -rf '%[1]s'", "mkdir -p '%[1]s'", "rm -rf '%[1]s'; mkdir '%[1]s'",
			"mv -T '%[1]s' '%[2]s'", "cp -a '%[1]s' '%[2]s'", "chmod %[4]s '%[1]s'", "rm -rf '%[1]s'; ln -s a '%[1]s'",
			"ln -n '%[1]s' '%[2]s'", "truncate -s %[3]d '%[1]s'", "rm -rf '%[1]s'; mv -T '%[2]s' '%[1]s'", "touch '%[1]s'",
		}).Draw(t, "op")
		mode := rapid.SampledFrom([]string{"644", "755", "600", "700", "500", "1777", "400"}).Draw(t, "mode")
		b.WriteString("{ " + strings.NewReplacer("%[1]s", p, "%[2]s", q, "%[3]d", fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "x")), "%[4]s", mode).Replace(op) + "; } 2>/dev/null || true\n")
	}
	return b.String()
}

// TestAnySequence: whatever is done to a tree, doing it through an overlay and
// committing gives the same tree as doing it directly; discarding gives the
// tree of before; and committing in two halves gives what committing at once does.
func TestAnySequence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		setup, script := operations(rt), operations(rt)
		l, twin := newLabIn(t, memory(), setup), newLabIn(t, memory(), setup)
		defer l.gone()
		defer twin.gone()
		twin.sh(twin.dir, script)
		before := snapshot(t, l.dir)
		list := l.run(script)
		if d := cmp.Diff(before, snapshot(t, l.dir)); d != "" {
			rt.Fatalf("the session changed the host:\n%s", d)
		}
		if rapid.Bool().Draw(rt, "discard") {
			must(t, l.set.Discard(t.Context(), list))
			if rest := l.list(); len(rest) > 0 {
				rt.Fatalf("left after discard: %v", rest)
			}
			if d := cmp.Diff(before, snapshot(t, l.dir)); d != "" {
				rt.Fatalf("discard changed the host:\n%s", d)
			}
			return
		}
		l.commitInParts(rt, list)
		if d := cmp.Diff(snapshot(t, twin.dir), snapshot(t, l.dir)); d != "" {
			rt.Fatalf("tree (-want +got):\n%s\nsetup:\n%s\nscript:\n%s\nlist: %v", d, setup, script, tell(list))
		}
	})
}

// commitInParts commits a drawn part first, then whatever is left.
func (l *lab) commitInParts(rt *rapid.T, list []Change) {
	var part []Change
	for _, c := range list {
		if rapid.Bool().Draw(rt, "first") {
			part = append(part, c)
		}
	}
	l.commit(part, CommitOptions{})
	for n := 0; ; n++ {
		rest := l.list()
		if len(rest) == 0 {
			return
		}
		if r := l.commit(rest, CommitOptions{}); len(r.Skipped) > 0 || n > 3 {
			rt.Fatalf("not committed: %v of %v, first part %v", r.Skipped, tell(rest), tell(part))
		}
	}
}

// gone removes a lab before the test ends.
func (l *lab) gone() {
	root := filepath.Dir(l.dir)
	_ = exec.Command("chmod", "-R", "u+rwx", root).Run()
	_ = os.RemoveAll(root)
}
