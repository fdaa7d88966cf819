package screen

import (
	"slices"
	"unicode/utf8"

	"sallyport/internal/scan"
)

const (
	again  = 1 << 10  // bytes before a piece that are read again with it
	margin = 256      // bytes before those, which only show what stands before
	recent = 80 << 10 // more than the engine takes before its findings are final
	early  = 256      // findings told before they are final, at most, in those
	group  = 8        // characters of every coding make whole bytes in groups of these
)

// continuations are what might follow and undo a finding: the word or the
// number goes on, another one follows, or a script that is written the other
// way. What holds before all of them is told at once.
var continuations = []string{"xyz", "000x", " x y", " 0000 0000 0000 0000 0000", "\u05d0"}

// Stream judges one text that arrives in pieces. It is not safe for concurrent
// use.
//
// What leads to Alert or more is told with the piece that settles it: a known
// secret with its last byte, a word with the character behind it, a command of
// SQL or a shell when nothing that follows could make it a sentence. What is
// only written down, what stretches over more than a KiB and what was not read
// wholly is told when the engine is certain, at the latest by Close.
//
// All verdicts of a stream together are those of Screen.Text on the whole,
// however it was cut; spans are those of the whole. One exception, on the safe
// side: something told early may come out as a part of something more specific
// of its class, and then both are told.
type Stream struct {
	s      *Screen
	whole  *scan.Scanner // windows, exact and late
	ahead  *scan.Scanner // the end of the text, again with every piece
	end    []byte        // of the text, from at on
	at     int
	read   int // findings of whole that were judged
	told   []scan.Finding
	closed bool
}

// Stream begins a text that arrives in pieces.
func (s *Screen) Stream() *Stream {
	return &Stream{s: s, whole: s.engine.NewScanner(), ahead: s.engine.NewScanner()}
}

// Write takes the next piece and gives what it shows: what was told before is
// not told again. The first Write after a Close begins a new text.
func (t *Stream) Write(p []byte) Verdict {
	if t.closed {
		*t = Stream{s: t.s, whole: t.whole, ahead: t.ahead, end: t.end[:0]}
	}
	var v Verdict
	if len(p) == 0 {
		return v.done()
	}
	_, _ = t.whole.Write(p) // it has no error to give
	found := t.whole.Found()
	for i := range found[t.read:] {
		t.tell(&v, &found[t.read+i])
	}
	t.read = len(found)
	t.end = append(t.end, p...)
	t.soon(&v)
	t.forget()
	return v.done()
}

// Close ends the text and gives what was not told yet.
func (t *Stream) Close() Verdict {
	var v Verdict
	if t.closed {
		return v.done()
	}
	t.closed = true
	judged := map[scan.Finding]int{}
	for _, f := range t.whole.Found()[:t.read] {
		judged[f]++
	}
	r := t.whole.Close()
	for i := range r.Findings {
		if f := &r.Findings[i]; judged[*f] > 0 {
			judged[*f]--
		} else {
			t.tell(&v, f)
		}
	}
	t.s.gaps(&v, r.Unscanned)
	return v.done()
}

// tell judges a final finding unless it was told early.
func (t *Stream) tell(v *Verdict, f *scan.Finding) {
	if !overlaps(t.told, f) {
		t.s.finding(v, f)
	}
}

func overlaps(list []scan.Finding, f *scan.Finding) bool {
	return slices.ContainsFunc(list, func(g scan.Finding) bool { return g.Rule == f.Rule && g.Start < f.End && f.Start < g.End })
}

// soon reads the end of the text and tells what is settled.
func (t *Stream) soon(v *Verdict) {
	from := max(0, len(t.end)-recent)
	text := t.end[from:complete(t.end)]
	at := t.at + from
	var open []scan.Finding
	for _, f := range t.ahead.Scan(text).Findings {
		if f.Rule == "paths.dense" || t.s.hitOf(&f).Action < Alert || at > 0 && f.Start < margin {
			continue
		}
		if f.End >= len(text) && f.Rule != knownSecret {
			continue // what it ends with may go on
		}
		if len(t.told)+len(open) < early && !t.wasTold(f, at) {
			open = append(open, f)
		}
	}
	for _, c := range continuations {
		if len(open) == 0 {
			return
		}
		r := t.ahead.Scan(append(slices.Clip(text), c...))
		open = slices.DeleteFunc(open, func(f scan.Finding) bool {
			return f.Rule != knownSecret && !slices.ContainsFunc(r.Findings, func(g scan.Finding) bool {
				return g.Rule == f.Rule && g.Start == f.Start && g.End == f.End && g.Detail == f.Detail
			})
		})
	}
	for _, f := range open {
		f.Start, f.End = f.Start+at, f.End+at
		t.told = append(t.told, f)
		t.s.finding(v, &f)
	}
}

// wasTold reports that a finding at an offset was told before, early or final.
func (t *Stream) wasTold(f scan.Finding, at int) bool {
	f.Start, f.End = f.Start+at, f.End+at
	found := t.whole.Found()
	return overlaps(t.told, &f) || overlaps(found[max(0, len(found)-2*early):], &f)
}

// complete gives where the last complete character ends.
func complete(text []byte) int {
	for i := len(text) - 1; i >= max(0, len(text)-utf8.UTFMax); i-- {
		if utf8.RuneStart(text[i]) {
			if utf8.FullRune(text[i:]) {
				break
			}
			return i
		}
	}
	return len(text)
}

// forget keeps of the text what the next piece is read with. A coding that is
// cut is cut between groups of its characters.
func (t *Stream) forget() {
	cut := len(t.end) - again - margin
	if cut <= 0 {
		return
	}
	run := cut
	for run > 0 && coded(t.end[run-1]) {
		run--
	}
	cut = run + (cut-run)/group*group
	n := copy(t.end, t.end[cut:])
	t.end = t.end[:n]
	t.at += cut
	t.told = slices.DeleteFunc(t.told, func(f scan.Finding) bool { return f.End < t.at-recent })
}

// coded reports the characters of base64, base32 and hex.
func coded(c byte) bool {
	return c-'0' < 10 || c|0x20-'a' < 26 || c == '+' || c == '/' || c == '-' || c == '_' || c == '='
}
