package changes

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSwapAtTheLastMoment swaps when everything was looked at, and nothing
// written: each check behind the first has to hold alone.
func TestSwapAtTheLastMoment(t *testing.T) {
	for _, swap := range []struct{ name, upper, host string }{
		{"content of the same size", `echo evil > sub/f`, ""},
		{"host file edited", "", `echo mine > sub/f`},
		{"host directory becomes a link inside", "", `mv sub other; ln -s other sub`},
		{"session's directory becomes a link inside", `mv sub other; ln -s other sub`, ""},
	} {
		t.Run(swap.name, func(t *testing.T) {
			l := newLab(t, `mkdir sub; echo host > sub/f`)
			list := l.run(`echo good > sub/f`)
			var before map[string]string
			r := l.commit(list, CommitOptions{Before: func(Change) error {
				l.tick()
				l.sh(filepath.Join(l.set.Store(), "upper"), swap.upper)
				l.sh(l.dir, swap.host)
				before = snapshot(t, l.dir)
				return nil
			}})
			if len(r.Skipped) != 1 {
				t.Errorf("%+v", r)
			}
			if d := cmp.Diff(before, snapshot(t, l.dir)); d != "" {
				t.Errorf("the host changed:\n%s", d)
			}
		})
	}
}

// TestOtherModeThanListed: a mode is part of what was listed.
func TestOtherModeThanListed(t *testing.T) {
	l := newLab(t, `echo host > f`)
	list := l.run(`echo good > f`)
	l.sh(filepath.Join(l.set.Store(), "upper"), `chmod 777 f`)
	if r := l.commit(list, CommitOptions{}); len(r.Skipped) != 1 || l.read("f") != "host\n" {
		t.Errorf("%+v, f holds %q", r, l.read("f"))
	}
}
