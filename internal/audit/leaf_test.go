package audit

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func drawLeaf(t *rapid.T) Leaf {
	text := rapid.Map(rapid.String(), Text)
	l := Leaf{
		Seq:   rapid.Int64Range(0, maxExact-1).Draw(t, "seq"),
		Time:  time.UnixMicro(rapid.Int64Range(0, 4e15).Draw(t, "time")).UTC(),
		Kind:  "k" + Text(rapid.StringN(0, 20, 20).Draw(t, "kind")),
		Agent: text.Draw(t, "agent"), Session: text.Draw(t, "session"), Decision: text.Draw(t, "decision"), Label: text.Draw(t, "label"),
		Rules: rapid.SliceOfN(text, 0, 4).Draw(t, "rules"),
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z]{1,8}`), 0, 4, rapid.ID[string]).Draw(t, "names") {
		if l.Commit == nil {
			l.Commit = map[string]Commitment{}
		}
		l.Commit[name] = Commit(name, make([]byte, SaltSize), []byte("v"))
	}
	if len(l.Rules) == 0 {
		l.Rules = nil
	}
	return l
}

func TestLeafEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLeaf(t)
		b, err := l.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if want, err := l.canonical(); err != nil || !bytes.Equal(b, want) {
			t.Fatalf("got %s, canonical JSON is %s (%v)", b, want, err)
		}
		got, err := ParseLeaf(b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(l, got); d != "" {
			t.Fatal(d)
		}
	})
}

func TestLeafBounds(t *testing.T) {
	good := Leaf{Kind: "event", Time: time.UnixMicro(1).UTC()}
	for name, change := range map[string]func(*Leaf){
		"no kind":      func(l *Leaf) { l.Kind = "" },
		"quote":        func(l *Leaf) { l.Agent = `a"b` },
		"backslash":    func(l *Leaf) { l.Rules = []string{`a\b`} },
		"long":         func(l *Leaf) { l.Label = strings.Repeat("x", maxText+1) },
		"negative":     func(l *Leaf) { l.Seq = -1 },
		"too old":      func(l *Leaf) { l.Time = time.Time{} },
		"empty name":   func(l *Leaf) { l.Commit = map[string]Commitment{"": {}} },
		"many rules":   func(l *Leaf) { l.Rules = make([]string, maxRules+1) },
		"not ASCII":    func(l *Leaf) { l.Session = "é" },
		"control byte": func(l *Leaf) { l.Decision = "\n" },
	} {
		l := good
		change(&l)
		if _, err := l.Bytes(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzParseLeaf(f *testing.F) {
	b, _ := Leaf{
		Seq: 12, Time: time.UnixMicro(1e15), Kind: "intent", Rules: []string{"a", "b"}, Label: "internal{c3}/foreign",
		Commit: map[string]Commitment{"row": {1}, "action": {2}},
	}.Bytes()
	f.Add(b)
	f.Add(bytes.Replace(b, []byte(`"seq":12`), []byte(`"seq":012`), 1))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseLeaf(data)
		if err != nil {
			return
		}
		if again, err := l.Bytes(); err != nil || !bytes.Equal(again, data) {
			t.Fatalf("read %q, wrote %q (%v)", data, again, err)
		}
	})
}

func TestTreeIsRFC6962(t *testing.T) {
	var peaks []Hash
	stored := map[[2]int64]Hash{}
	var flat []tlog.Hash
	read := HashReader(func(leaf int64, level int) (Hash, error) { return stored[[2]int64{leaf, int64(level)}], nil })
	flatRead := tlog.HashReaderFunc(func(ix []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(ix))
		for i, x := range ix {
			out[i] = flat[x]
		}
		return out, nil
	})
	roots := []Hash{Root(nil)}
	for n := range int64(70) {
		leaf := []byte{byte(n)}
		hs, next, err := Grow(n, peaks, leaf)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tlog.StoredHashes(n, leaf, flatRead)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(toHashes(hs), want); d != "" {
			t.Fatalf("entry %d: %s", n, d)
		}
		flat = append(flat, want...)
		for level, h := range hs {
			stored[[2]int64{n, int64(level)}] = h
		}
		peaks = next
		root, err := tlog.TreeHash(n+1, flatRead)
		if err != nil || Hash(root) != Root(peaks) {
			t.Fatalf("size %d: root differs (%v)", n+1, err)
		}
		roots = append(roots, Root(peaks))
		leaves, levels := Peaks(n + 1)
		for i := range leaves {
			if stored[[2]int64{leaves[i], int64(levels[i])}] != peaks[i] {
				t.Fatalf("size %d: peak %d is elsewhere", n+1, i)
			}
		}
	}
	for size := int64(1); size <= 70; size++ {
		for n := range size {
			p, err := Inclusion(size, n, read)
			if err != nil || CheckInclusion(p, size, roots[size], n, []byte{byte(n)}) != nil {
				t.Fatalf("inclusion of %d in %d", n, size)
			}
			if CheckInclusion(p, size, roots[size], n, []byte{byte(n + 1)}) == nil {
				t.Fatalf("another entry passes as %d in %d", n, size)
			}
			c, err := Consistency(size, n+1, read)
			if err != nil || CheckConsistency(c, size, roots[size], n+1, roots[n+1]) != nil {
				t.Fatalf("consistency of %d and %d: %v", size, n+1, err)
			}
		}
	}
}

// TestRecordHash holds the hash of entries of any length to the tree's own.
func TestRecordHash(t *testing.T) {
	for n := range 2000 {
		leaf := bytes.Repeat([]byte{byte(n)}, n)
		if recordHash(leaf) != tlog.RecordHash(leaf) {
			t.Fatalf("an entry of %d bytes has another hash", n)
		}
	}
}
