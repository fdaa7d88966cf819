package scan

import (
	"bytes"
	"compress/gzip"
	"io"
	"unicode/utf8"
)

const (
	minRun     = 16       // letters in a row that may hide something
	maxInflate = 64 << 10 // bytes that one compressed run may become
)

// runSet is 1 for what a coding's letters are.
var runSet = func() (t [256]uint8) {
	for c := range 256 {
		if isAlnum(byte(c)) || isOneOf(byte(c), "+/-_=") {
			t[c] = 1
		}
	}
	return t
}()

// decode reads again what a view holds in another coding.
func (s *Scanner) decode(v *view) {
	if v.depth >= maxDepth {
		return
	}
	if bytes.IndexByte(v.text, '%') >= 0 {
		s.escaped(v, '%', "percent")
	}
	if bytes.IndexByte(v.text, '\\') >= 0 {
		s.escaped(v, '\\', "escape")
	}
	if bytes.IndexByte(v.text, '&') >= 0 {
		s.escaped(v, '&', "entity")
	}
	if i := bytes.Index(v.text, []byte{0x1f, 0x8b, 8}); i >= 0 {
		s.inflate(v, v.text[i:], i, len(v.text))
	}
	s.runs(v)
}

// runs finds letters in a row, looking at every sixteenth place first: if it is
// in a row of sixteen, so is what stands eight before it or eight behind it,
// and everything between.
func (s *Scanner) runs(v *view) {
	text := v.text
	for at := minRun - 1; at < len(text); {
		if at+8 < len(text) {
			b := text[at-8 : at+9 : at+9]
			before := runSet[b[0]] & runSet[b[2]] & runSet[b[4]] & runSet[b[6]]
			behind := runSet[b[10]] & runSet[b[12]] & runSet[b[14]] & runSet[b[16]]
			if runSet[b[8]]&(before|behind) == 0 {
				at += minRun
				continue
			}
		}
		start := at
		for start > 0 && at-start < minRun-1 && runSet[text[start-1]] != 0 {
			start--
		}
		end := at
		for end < len(text) && runSet[text[end]] != 0 {
			end++
		}
		if end-start < minRun {
			at = max(at, end) + minRun
			continue
		}
		end = s.wrapped(text, start, end)
		if v.to == 0 || end > v.from && start < v.to {
			s.oneRun(v, start, end)
		}
		at = end + minRun
		if s.steps < 0 {
			return
		}
	}
}

// wrapped lets a run go on in the next line, as encoders break theirs.
func (s *Scanner) wrapped(text []byte, start, end int) int {
	lineStart := start
	for end-lineStart >= 56 && end+2 < len(text) {
		next := end
		switch {
		case text[end] == '\n':
			next++
		case text[end] == '\r' && text[end+1] == '\n', text[end] == '\\' && text[end+1] == 'n':
			next += 2
		}
		if next == end || next >= len(text) || runSet[text[next]] == 0 {
			break
		}
		to := next
		for to < len(text) && runSet[text[to]] != 0 {
			to++
		}
		if !sameCoding(kindsOf(text[lineStart:end]), kindsOf(text[next:to])) {
			break
		}
		lineStart, end = next, to
	}
	return end
}

// oneRun tries the codings a run may be in.
func (s *Scanner) oneRun(v *view, start, end int) { //nolint:gocognit // one condition per coding
	begun := start // where it began in the text, to keep groups of characters together
	if v.hard && v.depth == 0 {
		begun += s.at
		if start == 0 && s.run >= 0 {
			begun = s.run
		}
		// The next view begins left bytes before the next core.
		if cut := s.coreA + window - left; start < cut && end > cut && !s.last {
			s.nextRun = begun
		}
	}
	skip := 0
	if v.hard && v.depth == 0 {
		skip = s.at + start - begun
	}
	run := v.text[start:end]
	if !s.spend(len(run) / 4) {
		return
	}
	k := kindsOf(run)
	if k.hex && len(run) >= minRun {
		s.decoded(v, start+skip%2, end, hexBits, "hex")
	}
	if k.upper != k.lower && k.digit && !k.other && len(run) >= 24 && !k.hex { // one case only
		s.decoded(v, start+skip%8, end, base32Bits, "base32")
	}
	if k.upper && k.lower {
		s.decoded(v, start+(4-skip%4)%4, end, base64Bits, "base64")
		// A coding may follow a word of the same letters: key=…, path/….
		for i, c := range run {
			if (c == '=' || c == '/' || c == '-' || c == '_') && i > 0 && i+minRun < len(run) && i < 64 && (i+1)%4 != 0 {
				s.decoded(v, start+i+1, end, base64Bits, "base64")
				if !s.spend(32) {
					return
				}
			}
		}
	}
}

// sameCoding reports that a line may go on in the next one: a word behind hex or
// base32 must not make the whole something else.
func sameCoding(line, next runKinds) bool {
	oneCase := line.upper != line.lower && line.digit && !line.other
	return (!line.hex || next.hex) && (!oneCase || next.upper == line.upper && next.lower == line.lower && !next.other || !next.upper && !next.lower && !next.other)
}

// below gives the view for a decoding of v.
func (s *Scanner) below(v *view, how string) *view {
	w := &s.views[v.depth+1]
	*w = view{text: w.text[:0], pos: w.pos[:0], depth: v.depth + 1, how: how}
	if v.how != "" {
		w.how = v.how + ", " + how
	}
	return w
}

// descend reads what was decoded.
func (s *Scanner) descend(w *view) {
	if len(w.text) < 6 {
		return
	}
	if bytes.HasPrefix(w.text, []byte{0x1f, 0x8b, 8}) {
		if w.depth < maxDepth {
			s.inflate(w, w.text, 0, len(w.text))
		}
		return
	}
	if bytes.IndexByte(w.text[:min(len(w.text), 24)], 0) >= 0 { // UTF-16
		n := 0
		for i, c := range w.text {
			if c != 0 {
				w.text[n], w.pos[n] = c, w.pos[i]
				n++
			}
		}
		w.pos[n] = w.pos[len(w.text)]
		w.text, w.pos = w.text[:n], w.pos[:n+1]
	}
	s.read(w)
}

// nextEscape gives the next place, from one on, at which an escape stands.
func nextEscape(text []byte, at int, mark byte) int {
	for at < len(text) {
		i := bytes.IndexByte(text[at:], mark)
		if i < 0 {
			break
		}
		at += i
		if _, n := escape(text[at:], mark); n > 0 {
			return at
		}
		at++
	}
	return len(text)
}

// escaped reads the neighbourhoods of a view's escapes of one kind, with these
// replaced. Escapes that are near each other have one neighbourhood.
func (s *Scanner) escaped(v *view, mark byte, how string) {
	text := v.text
	first := nextEscape(text, 0, mark)
	from := max(0, first-left)
	for from > 0 && from < first && !blank(text[from-1]) { // not in the middle of a word
		from++
	}
	for last := first; first < len(text); {
		next := nextEscape(text, min(len(text), last+left), mark) // whatever is nearer is read anyway
		if next < len(text) && next-last <= after+2*reach {
			last = next
			continue
		}
		end, to, begin := len(text), min(len(text), last+2*left+ahead/8), next
		if next < len(text) {
			end, to = last+left+near, last+after
			for to < next && !blank(text[to]) {
				to++
			}
			if begin = unbroken(text, next, to); begin == to {
				last = next
				continue
			}
		}
		if !s.spend(4 * (to - from)) {
			return
		}
		w := s.below(v, how)
		w.unescape(v, mark, from, min(to, end), to)
		w.from = first - from - reach/2
		s.read(w)
		first, last, from = next, next, begin
	}
}

// unescape appends the bytes of a view below with their escapes replaced, and
// notes where behind the last one a neighbourhood's own findings end.
func (v *view) unescape(below *view, mark byte, from, end, to int) {
	for i := from; i < to; {
		if i >= end && v.to == 0 {
			v.to = len(v.text)
		}
		stop := to
		if i < end {
			stop = end
		}
		if below.text[i] != mark {
			k := bytes.IndexByte(below.text[i:stop], mark)
			if k < 0 {
				k = stop - i
			}
			v.take(below, i, i+k)
			i += k
			continue
		}
		r, n := escape(below.text[i:to], mark)
		if n == 0 {
			v.push(mark, below, i)
			i++
			continue
		}
		var b [4]byte
		out := b[:1]
		if b[0] = byte(r); r >= utf8.RuneSelf && mark != '%' && n != 4 { //nolint:gosec // one byte, or encoded below
			out = b[:utf8.EncodeRune(b[:], r)]
		}
		for _, c := range out {
			v.push(c, below, i)
		}
		i += n
	}
	if v.to == 0 {
		v.to = len(v.text)
	}
	v.end(below, to)
}

// escape reads one escape: its character and length, 0 for none.
func escape(t []byte, mark byte) (r rune, n int) {
	switch {
	case mark == '%' && len(t) >= 3:
		return hexRune(t[1:3], 3)
	case mark == '\\' && len(t) >= 4 && t[1] == 'x':
		return hexRune(t[2:4], 4)
	case mark == '\\' && len(t) >= 6 && t[1] == 'u' && t[2] != '{':
		return hexRune(t[2:6], 6)
	case mark == '&' && len(t) >= 4 && t[1] == '#':
		end := bytes.IndexByte(t[:min(len(t), 10)], ';')
		if end < 3 {
			return 0, 0
		}
		if t[2]|0x20 == 'x' {
			return hexRune(t[3:end], end+1)
		}
		for _, c := range t[2:end] {
			if c-'0' > 9 {
				return 0, 0
			}
			r = r*10 + rune(c-'0')
		}
		return r, end + 1
	}
	return 0, 0
}

func hexRune(t []byte, n int) (rune, int) {
	r := rune(0)
	for _, c := range t {
		d := digitOf(c, hexBits)
		if d < 0 {
			return 0, 0
		}
		r = r<<4 | rune(d) //nolint:gosec // a hexadecimal digit
	}
	if len(t) == 0 {
		return 0, 0
	}
	return r, n
}

// inflate reads compressed data; all of it is one place in the text.
func (s *Scanner) inflate(v *view, data []byte, start, end int) {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil || !s.spend(len(data)*8) {
		return
	}
	out, err := io.ReadAll(io.LimitReader(z, maxInflate+1))
	if !s.spend(len(out) * 4) {
		return
	}
	if err != nil && len(out) == 0 {
		return
	}
	if len(out) > maxInflate || err != nil && !s.last {
		s.spent = "compressed data that is larger than what is read of it"
		out = out[:min(len(out), maxInflate)]
	}
	w := s.below(v, "gzip")
	for _, c := range out {
		w.push(c, v, start)
	}
	w.end(v, end)
	s.read(w)
}
