package changes

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const project = `
echo one > a; echo two > b; echo three > c; chmod 644 a b c
mkdir -p d/sub old/x; echo 1 > d/f; echo 2 > d/g; echo 3 > d/sub/h; echo 4 > old/x/1; echo 5 > old/2
ln -s a link; ln -s b relink; mkdir tobefile; echo 6 > tobefile/in; echo 7 > tobedir
`

const everything = `
rm a; echo more >> b; chmod 755 c; echo new > new; rm -r old
rm -r d; mkdir d; echo fresh > d/f2; echo changed > d/f
rm relink; ln -s d/f relink; ln -s b newlink; mkdir -p n/m; echo deep > n/m/l; chmod 500 n/m
rm -r tobefile; echo file > tobefile; rm tobedir; mkdir tobedir; echo in > tobedir/in
`

// TestRoundTrip: what the session sees is what the host has after a commit.
func TestRoundTrip(t *testing.T) {
	l := newLab(t, project)
	twin := newLab(t, project)
	twin.sh(twin.dir, everything)
	before := snapshot(t, l.dir)
	list := l.run(everything)
	want := []string{
		"deleted file a", "deleted file d/g", "deleted dir d/sub", "deleted dir old",
		"modified file b", "mode file c", "modified file d/f", "added file d/f2",
		"added dir n", "added dir n/m", "added file n/m/l", "added file new", "added link newlink", "modified link relink",
		"replaced dir tobedir", "added file tobedir/in", "replaced file tobefile",
	}
	if d := cmp.Diff(want, tell(list)); d != "" {
		t.Fatalf("list (-want +got):\n%s", d)
	}
	if d := cmp.Diff(before, snapshot(t, l.dir)); d != "" {
		t.Fatalf("listing changed the host:\n%s", d)
	}
	if c := find(t, list, "old"); c.Lost != 2 {
		t.Errorf("old loses %d files, want 2", c.Lost)
	}
	r := l.commit(list, CommitOptions{})
	if len(r.Skipped) > 0 {
		t.Errorf("skipped: %v", r.Skipped)
	}
	if d := cmp.Diff(snapshot(t, twin.dir), snapshot(t, l.dir)); d != "" {
		t.Errorf("after commit (-want +got):\n%s", d)
	}
	if rest := l.list(); len(rest) > 0 {
		t.Errorf("left after commit: %v", rest)
	}
	if s := l.set.Meta().State; s != StateCommitted {
		t.Errorf("state is %s", s)
	}
	again := l.commit(list, CommitOptions{})
	if len(again.Committed) != len(list) {
		t.Errorf("a second commit of the same skips %v", again.Skipped)
	}
	must(t, l.set.Remove())
}

// TestPartialCommit: what is not chosen stays, whatever the order.
func TestPartialCommit(t *testing.T) {
	l := newLab(t, project)
	twin := newLab(t, project)
	twin.sh(twin.dir, everything)
	list := l.run(everything)
	for i := range list {
		c := list[len(list)-1-i]
		r := l.commit([]Change{c}, CommitOptions{})
		if len(r.Skipped) > 0 && !strings.Contains(r.Skipped[0].Reason, "the directory it goes into is not on the host") && !strings.Contains(r.Skipped[0].Reason, "no longer") {
			t.Errorf("%v: %v", c, r.Skipped)
		}
	}
	for l.set.Meta().State != StateCommitted {
		rest := l.list()
		if r := l.commit(rest, CommitOptions{}); len(r.Committed) == 0 {
			t.Fatalf("nothing moves: %v", r)
		}
	}
	if d := cmp.Diff(snapshot(t, twin.dir), snapshot(t, l.dir)); d != "" {
		t.Errorf("after commits one by one (-want +got):\n%s", d)
	}
}

// TestDiscard: one by one, each goes alone, and the host never changes.
func TestDiscard(t *testing.T) {
	l := newLab(t, project)
	before := snapshot(t, l.dir)
	list := l.run(everything)
	for len(list) > 0 {
		gone := list[0]
		must(t, l.set.Discard(t.Context(), list[:1]))
		rest := l.list()
		want := []Change{}
		for _, c := range list[1:] {
			if !strings.HasPrefix(c.Path, gone.Path+"/") {
				want = append(want, c)
			}
		}
		if d := cmp.Diff(tell(want), tell(rest)); d != "" {
			t.Fatalf("after discarding %v (-want +got):\n%s", gone, d)
		}
		list = rest
	}
	if d := cmp.Diff(before, snapshot(t, l.dir)); d != "" {
		t.Errorf("discard changed the host:\n%s", d)
	}
	if s := l.set.Meta().State; s != StateDiscarded {
		t.Errorf("state is %s", s)
	}
}
