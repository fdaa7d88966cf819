package scan

import "slices"

// The windows. A finding belongs to the window in which it begins; left is
// what a rule may see before it, ahead how far it may reach behind.
const (
	window = 64 << 10
	left   = 256
	ahead  = 8 << 10

	maxDepth    = 3   // decodings inside decodings
	maxFindings = 256 // per window
	floorSteps  = 1 << 18
)

// Scanner reads one text at a time, whole or in pieces. It may be used again;
// it is not safe for concurrent use. What it returns is valid until its next
// use.
type Scanner struct {
	e       *Engine
	res     Result
	buf     []byte
	bufAt   int // offset of buf[0] in the text
	next    int // where the next window's core begins
	closed  bool
	run     int // where a run of letters began that reaches into the next window, -1 for none
	nextRun int
	paths   pathCount

	// of the window that is being read
	at      int // offset of the view's first byte in the text
	coreA   int // the core, in the view
	coreB   int
	steps   int
	work    int // steps of all windows of the text so far, and two for each byte of every reading
	from    int // first finding of this window
	spent   string
	last    bool // nothing follows the view
	views   [maxDepth + 2]view
	scratch [maxDepth + 2]view // normalised readings
	own     []Finding          // of the window, before they are settled
	fold    []byte             // room for letters and digits alone
	kept    []int32            // how many of them stand before each 64th byte
	address [2]int             // a stretch of the view in which no address ends
}

// NewScanner gives a reader for one text after another.
func (e *Engine) NewScanner() *Scanner {
	s := &Scanner{e: e}
	s.reset()
	return s
}

// Scan reads a whole text.
func (e *Engine) Scan(text []byte) Result { return e.NewScanner().Scan(text) }

func (s *Scanner) reset() {
	s.res = Result{Findings: s.res.Findings[:0], Unscanned: s.res.Unscanned[:0]}
	s.buf, s.bufAt, s.next, s.closed, s.run = s.buf[:0], 0, 0, false, -1
	s.paths = pathCount{first: -1}
	s.work = 0
}

// Scan reads a whole text.
func (s *Scanner) Scan(text []byte) Result {
	s.reset()
	for s.next < len(text) {
		from := max(0, s.next-left)
		to := min(len(text), s.next+window+ahead)
		s.window(text[from:to], from, to == len(text))
	}
	return s.finish(len(text))
}

// Write takes the next piece of a text. The first one after a Close begins a
// new text. What is found is the same whatever the pieces are; findings are
// final once their window and what a rule may see behind it have arrived.
func (s *Scanner) Write(piece []byte) (int, error) {
	if s.closed {
		s.reset()
	}
	s.buf = append(s.buf, piece...)
	// More than the window must be there: whether a view is the last one must
	// not depend on how the text was cut.
	for s.bufAt+len(s.buf) > s.next+window+ahead {
		from := max(0, s.next-left) - s.bufAt
		s.window(s.buf[from:s.next+window+ahead-s.bufAt], s.bufAt+from, false)
		keep := max(0, s.next-left) - s.bufAt
		s.buf = append(s.buf[:0], s.buf[keep:]...)
		s.bufAt += keep
	}
	return len(piece), nil
}

// Found gives what is certain so far; Close gives the rest.
func (s *Scanner) Found() []Finding { return s.res.Findings }

// Peek reads what has arrived and was not read yet, as if the text ended here.
// What it gives may change with what follows; it costs a reading of at most
// one window, and nothing is kept.
func (s *Scanner) Peek() Result {
	if s.closed {
		return Result{}
	}
	t := s.e.NewScanner()
	t.run, t.bufAt, t.next, t.paths = s.run, s.bufAt, s.next, s.paths
	t.buf = append(t.buf, s.buf...)
	return t.Close()
}

// Close ends the text and gives its result.
func (s *Scanner) Close() Result {
	n := s.bufAt + len(s.buf)
	for s.next < n {
		from := max(0, s.next-left)
		to := min(n, s.next+window+ahead)
		s.window(s.buf[from-s.bufAt:to-s.bufAt], from, to == n)
	}
	return s.finish(n)
}

func (s *Scanner) finish(n int) Result {
	s.closed = true
	s.endPaths(n)
	s.res.Bytes = n
	s.res.sort()
	return s.res
}

// window reads the core that begins at s.next; text is what may be seen of it.
func (s *Scanner) window(text []byte, at int, last bool) {
	s.at, s.last = at, last
	s.coreA = s.next - at
	s.coreB = min(s.coreA+window, len(text))
	s.steps = max(floorSteps, s.e.budget*len(text))
	s.work += s.steps
	s.from, s.spent = len(s.res.Findings), ""
	s.nextRun = -1
	raw := &s.views[0]
	*raw = view{text: text, hard: true}
	s.read(raw)
	if s.e.on["paths"] {
		s.countPaths(text[s.coreA:s.coreB], at+s.coreA)
	}
	s.userRegexes(raw)
	s.settle()
	if s.spent != "" {
		s.res.Unscanned = append(s.res.Unscanned, Gap{at + s.coreA, at + s.coreB, s.spent})
	}
	s.next += window
	s.work -= s.steps
	s.run = s.nextRun
}

// spend takes steps from the window's budget; false means that it is used up.
func (s *Scanner) spend(n int) bool {
	s.steps -= n
	if s.steps < 0 && s.spent == "" {
		s.spent = "more work than the budget allows"
	}
	return s.steps >= 0
}

// emit keeps a finding at [start,end) of a view, if it begins in the core and
// no finding of the same rule touches it. A reading of neighbourhoods has findings
// near what it changed only: the others are those of the reading it was made of.
func (s *Scanner) emit(v *view, rule int32, start, end int, detail string) {
	a, b := v.span(start, end)
	if a < s.coreA || a >= s.coreB || v.to > 0 && (end <= v.from || start >= v.to) {
		return
	}
	r := &s.e.rules[rule]
	a, b = a+s.at, b+s.at
	own := s.res.Findings[s.from:]
	if !s.spend(8 + len(own)) {
		return
	}
	for i := range own {
		if f := &own[i]; f.Rule == r.ID && a < f.End && f.Start < b {
			return
		}
	}
	if len(own) >= maxFindings {
		s.spent, s.steps = "more findings than are kept", -1
		return
	}
	f := Finding{Block: r.Block}
	f.Rule, f.Start, f.End, f.Severity, f.Confidence, f.Detail = r.ID, a, b, r.Severity, r.Confidence, detail
	if v.how != "" {
		f.Detail = v.how
		if detail != "" {
			f.Detail += ": " + detail
		}
	}
	s.res.Findings = append(s.res.Findings, f)
}

// reported tells that the latest finding of a rule in this window covers a
// place of a view, so that another one there would be dropped.
func (s *Scanner) reported(v *view, rule int32, at int) bool {
	a, _ := v.span(at, at+1)
	a += s.at
	id := s.e.rules[rule].ID
	for _, f := range slices.Backward(s.res.Findings[s.from:]) {
		if f.Rule == id {
			return f.Start <= a && a < f.End
		}
	}
	return false
}

// settle drops, of two findings of a class that overlap, the vaguer one.
func (s *Scanner) settle() {
	own := s.res.Findings[s.from:]
	if len(own) < 2 {
		return
	}
	s.own = append(s.own[:0], own...)
	kept := own[:0]
	for k := range s.own {
		f := &s.own[k]
		vague := false
		for i := range s.own {
			g := &s.own[i]
			if g.Start < f.End && f.Start < g.End && covers(g, f) {
				vague = true
				break
			}
		}
		if !vague {
			kept = append(kept, *f)
		}
	}
	s.res.Findings = s.res.Findings[:s.from+len(kept)]
}

// covers reports whether g, which overlaps f, says the same more certainly.
func covers(g, f *Finding) bool {
	return g.Confidence > f.Confidence && g.Rule != f.Rule && classOf(g.Rule) == classOf(f.Rule)
}

func classOf(rule string) string {
	for i := range len(rule) {
		if rule[i] == '.' {
			return rule[:i]
		}
	}
	return rule
}
