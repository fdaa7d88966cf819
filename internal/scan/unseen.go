package scan

import (
	"bytes"
	"unicode"
	"unicode/utf8"
)

// invisible looks at the characters of a view that is not ASCII.
func (s *Scanner) invisible(v *view) { //nolint:gocognit // one case per kind of character
	if !s.spend(2 * len(v.text)) {
		return
	}
	for i := nextHigh(v.text, 0); i < len(v.text) && s.steps >= 0; i = nextHigh(v.text, i) {
		r, n := utf8.DecodeRune(v.text[i:])
		if r < 0x200B && r != 0xAD || r > 0x206F && r < 0xFE00 {
			i += n
			continue
		}
		end := i + n
		switch {
		case r >= 0xE0000 && r <= 0xE007F:
			end = row(v.text, i, func(r rune) bool { return r >= 0xE0000 && r <= 0xE007F })
			if !flag(v.text, i, end) {
				s.emit(v, s.e.fixed("invisible.tags"), i, end, "")
			}
		case r >= 0xFE00 && r <= 0xFE0F || r >= 0xE0100 && r <= 0xE01EF:
			end = row(v.text, i, func(r rune) bool { return r >= 0xFE00 && r <= 0xFE0F || r >= 0xE0100 && r <= 0xE01EF })
			if utf8.RuneCount(v.text[i:end]) >= 4 {
				s.emit(v, s.e.fixed("invisible.selectors"), i, end, "")
			}
		case r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069:
			s.bidi(v, i, end, r)
		case unseen(r) && r != 0x200E && r != 0x200F:
			end = row(v.text, i, func(r rune) bool { return unseen(r) && r < 0xE0000 })
			s.zeroWidth(v, i, end, r)
		}
		i = end
	}
}

// row gives the end of characters of a kind.
func row(text []byte, at int, kind func(rune) bool) int {
	for at < len(text) {
		r, n := utf8.DecodeRune(text[at:])
		if !kind(r) {
			break
		}
		at += n
	}
	return at
}

// flag reports the one good use of tags: a region's flag, black flag, two to
// six tags, end tag.
func flag(text []byte, start, end int) bool {
	before, _ := utf8.DecodeLastRune(text[:start])
	last, _ := utf8.DecodeLastRune(text[:end])
	n := utf8.RuneCount(text[start:end])
	return before == 0x1F3F4 && last == 0xE007F && n >= 3 && n <= 7
}

// bidi reports overrides, and embeddings where nothing runs from right to left.
func (s *Scanner) bidi(v *view, at, end int, r rune) {
	if r == 0x202D || r == 0x202E {
		s.emit(v, s.e.fixed("invisible.bidi"), at, end, "")
		return
	}
	around := v.text[max(0, at-128):min(len(v.text), end+128)]
	for len(around) > 0 {
		q, n := utf8.DecodeRune(around)
		if unicode.In(q, unicode.Hebrew, unicode.Arabic, unicode.Syriac, unicode.Thaana) {
			return
		}
		around = around[n:]
	}
	s.emit(v, s.e.fixed("invisible.bidi"), at, end, "")
}

// zeroWidth reports unseen characters between Latin letters, or many in a row.
// Joiners are at home in other scripts and between pictures; a byte order mark
// at the head of a file.
func (s *Scanner) zeroWidth(v *view, at, end int, r rune) {
	n := utf8.RuneCount(v.text[at:end])
	latin := at > 0 && end < len(v.text) && isAlnum(v.text[at-1]) && isAlnum(v.text[end])
	if n >= 4 || latin && r != 0xAD || latin && n > 1 {
		s.emit(v, s.e.fixed("invisible.zero-width"), at, end, "")
	}
}

// escapes looks for terminal escapes, with one byte or two.
func (s *Scanner) escapes(v *view, high bool) {
	for at := 0; at < len(v.text); {
		i := bytes.IndexByte(v.text[at:], 0x1b)
		if i < 0 {
			break
		}
		if !s.spend(16) {
			return
		}
		at += i
		if v.depth > 0 && !introduces(v.text[at+1:]) {
			at++
			continue
		}
		end, colour := sequence(v.text, at+1)
		s.escapeAt(v, at, end, colour)
		at = max(end, at+1)
	}
	for at := 0; high && at < len(v.text); { // the C1 control, as UTF-8
		i := bytes.Index(v.text[at:], []byte{0xc2, 0x9b})
		if i < 0 {
			break
		}
		if !s.spend(16) {
			return
		}
		at += i + 2
		end, colour := csi(v.text, at)
		s.escapeAt(v, at-2, end, colour)
	}
}

// introduces reports what a control sequence or a string goes on with. In what
// was decoded only these count: a lone escape there is a byte like any other,
// of tables, keys and names that happen to be base64.
func introduces(text []byte) bool {
	if len(text) < 2 {
		return false
	}
	switch text[0] {
	case '[':
		return text[1] >= '0' && text[1] <= '?' || text[1] >= '@' && text[1] <= 'z'
	case ']':
		return text[1]-'0' < 10
	case 'P', '_', '^':
		return text[1] > ' ' && text[1] < 0x7f
	}
	return false
}

func (s *Scanner) escapeAt(v *view, at, end int, colour bool) {
	id := "terminal.escape"
	if colour {
		id = "terminal.colour"
	}
	s.emit(v, s.e.fixed(id), at, max(end, at+1), "")
}

// sequence gives the end of an escape, and whether it only colours.
func sequence(text []byte, at int) (end int, colour bool) {
	if at >= len(text) {
		return at, false
	}
	switch text[at] {
	case '[':
		return csi(text, at+1)
	case ']', 'P', '_', '^', 'X': // a string, up to BEL or ST
		for i := at + 1; i < min(len(text), at+2048); i++ {
			if text[i] == 7 || text[i] == 0x1b {
				return i + 1, false
			}
		}
	}
	return at + 1, false
}

// csi reads parameters and the final byte; 8 hides what follows.
func csi(text []byte, at int) (end int, colour bool) {
	from := at
	for at < len(text) && at-from < 64 && text[at] >= 0x20 && text[at] < 0x40 {
		at++
	}
	if at >= len(text) {
		return at, false
	}
	hidden := false
	for p := range bytes.SplitSeq(text[from:at], []byte{';'}) {
		hidden = hidden || string(p) == "8"
	}
	return at + 1, (text[at] == 'm' || text[at] == 'K') && !hidden
}

// pathCount counts lines that are paths. It lives as long as the text.
type pathCount struct {
	lines, hits int
	first, last int
	head        [2]byte
	length      int
	spaces      int
	slashes     int
	from        int
}

// countPaths goes through the lines of a core.
func (s *Scanner) countPaths(core []byte, at int) {
	p := &s.paths
	for len(core) > 0 {
		line := core
		i := bytes.IndexByte(core, '\n')
		if i >= 0 {
			line = core[:i]
			if p.length == 0 && (i == 0 || line[0] != '/' && line[0] != '~' && line[0] != '.') { // a whole line that is no path
				p.lines += min(i, 1)
				at += i + 1
				core = core[i+1:]
				continue
			}
		}
		if p.length == 0 {
			p.from, p.spaces, p.slashes = at, 0, 0
		}
		for k := 0; k < len(line) && p.length+k < len(p.head); k++ {
			p.head[p.length+k] = line[k]
		}
		if p.length == 0 && len(line) > 0 && (line[0] == '/' || line[0] == '~' || line[0] == '.') {
			short := line[:min(len(line), 256)]
			p.spaces += bytes.Count(short, []byte{' '})
			p.slashes += bytes.Count(short, []byte{'/'})
		}
		p.length += len(line)
		at += len(line)
		if i < 0 {
			return
		}
		s.endLine(at)
		at++
		core = core[i+1:]
	}
}

func (s *Scanner) endLine(end int) {
	p := &s.paths
	if p.length > 0 {
		p.lines++
		h := p.head
		if p.length > 3 && (h[0] == '/' && h[1] != '/' && h[1] != '*' && h[1] != ' ' || h[0] == '~' && h[1] == '/' || h[0] == '.' && h[1] == '/') &&
			p.spaces <= 1 && p.slashes >= 2 {
			p.hits++
			if p.first < 0 {
				p.first = p.from
			}
			p.last = end
		}
	}
	p.length = 0
	p.head = [2]byte{}
}

// endPaths reports a text that is mostly paths.
func (s *Scanner) endPaths(end int) {
	s.endLine(end)
	p := &s.paths
	if !s.e.on["paths"] || p.hits < 25 || p.hits*5 < p.lines*3 {
		return
	}
	r := s.e.rules[s.e.fixed("paths.dense")]
	f := Finding{Block: r.Block}
	f.Rule, f.Start, f.End, f.Severity, f.Confidence = r.ID, p.first, p.last, r.Severity, r.Confidence
	s.res.Findings = append(s.res.Findings, f)
}
