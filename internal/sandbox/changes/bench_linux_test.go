package changes

import "testing"

const fiveThousand = `for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo "$d $f" > d$d/f$f; done; done`

// BenchmarkList lists 5,000 files that were modified.
func BenchmarkList(b *testing.B) {
	l := newLab(b, fiveThousand)
	l.session(`for f in d*/*; do echo more >> $f; done`)
	must(b, l.set.End())
	for b.Loop() {
		if n := len(l.list()); n != 5000 {
			b.Fatal(n)
		}
	}
}

// BenchmarkCommit commits 5,000 files that were modified, durably.
func BenchmarkCommit(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		l := newLab(b, fiveThousand)
		l.session(`for f in d*/*; do echo more >> $f; done`)
		must(b, l.set.End())
		list := l.list()
		b.StartTimer()
		if r := l.commit(list, CommitOptions{}); len(r.Committed) != 5000 {
			b.Fatal(r.Skipped[0])
		}
		b.StopTimer()
		l.gone()
		b.StartTimer()
	}
}
