package scan

import "bytes"

// view is one reading of a window: raw, normalised or decoded.
type view struct {
	text  []byte
	pos   []int32 // where each byte comes from in the window, and the end; nil: as it stands
	depth int     // decodings above it
	how   string  // the decodings, outermost first
	hard  bool    // its ends are those of the window, not of a word in it
	plain bool    // it is a normalised reading, which is not normalised again
	from  int     // findings that end here or before are not this reading's
	to    int     // nor those that begin here or behind; 0: all are
}

// span maps a part of the view to the window.
func (v *view) span(start, end int) (a, b int) {
	if v.pos == nil {
		return start, end
	}
	a = int(v.pos[start])
	return a, max(a+1, int(v.pos[end]))
}

// read lets every detector read a view, and the readings below it.
func (s *Scanner) read(v *view) {
	if len(v.text) == 0 || !s.spend(len(v.text)/4) {
		return
	}
	s.work += 2 * len(v.text)
	s.address = [2]int{}
	s.e.filter.scan(v.text, func(lit int32, at int) bool { return s.literal(v, lit, at) })
	if s.e.squeezed != nil && !v.plain {
		s.squeeze(v)
	}
	t := s.survey(v)
	if t.high && !v.plain {
		if s.e.on["invisible"] {
			s.invisible(v)
		}
		s.normalised(v)
	}
	if s.e.on["terminal"] && !v.plain {
		s.escapes(v, t.high)
	}
	if !v.plain {
		s.decode(v)
	}
}

// literal asks those who wait for a literal.
func (s *Scanner) literal(v *view, lit int32, at int) bool {
	l := &s.e.filter.lits[lit]
	for _, o := range l.owner {
		if !s.spend(12 + len(l.text)/4) {
			return false
		}
		switch o.kind {
		case ownToken:
			s.token(v, &s.e.tokens[o.index], at)
		case ownContext:
			s.context(v, &s.e.contexts[o.index], at, at+len(l.text))
		case ownKeyword:
			s.keyword(v, &s.e.keywords[o.index], at, at+len(l.text))
		case ownSecret:
			s.secret(v, &s.e.secrets[o.index], at, at+len(l.text))
		case ownPhrase:
			s.phrase(v, &s.e.phrases[o.index], at)
		case ownPrivateID:
			s.identifier(v, &s.e.ids[o.index], at, at+len(l.text))
		case ownMarkup:
			s.markup(v, &s.e.marks[o.index], at)
		}
	}
	return true
}

// userRegexes runs the operator's own expressions over the raw window.
func (s *Scanner) userRegexes(v *view) {
	for i := range s.e.regexes {
		r := &s.e.regexes[i]
		if !s.spend(2 * len(v.text)) {
			return
		}
		for at := 0; at <= len(v.text); {
			m := r.re.FindIndex(v.text[at:])
			if m == nil || !s.spend(64) {
				break
			}
			if m[1] > m[0] {
				s.emit(v, r.rule, at+m[0], at+m[1], "")
			}
			at += max(m[1], m[0]+1)
		}
	}
}

// seen is what a pass over a view's bytes tells.
type seen struct{ high bool }

// survey looks for digits in a row and for anything that is not ASCII.
func (s *Scanner) survey(v *view) seen {
	var t seen
	t.high = s.numbers(v)
	if s.e.pii {
		for at := 0; ; {
			i := bytes.IndexByte(v.text[at:], '@')
			if i < 0 {
				break
			}
			if !s.spend(24) {
				return t
			}
			s.email(v, at+i)
			at += i + 1
		}
	}
	return t
}
