package scan

import "bytes"

// markRule is a form that makes a client fetch or offer an address.
type markRule struct{ image bool }

func (e *Engine) addMarkup(b *builder) error {
	e.marks = []markRule{{image: true}, {image: false}}
	for i, forms := range [][]string{
		{"<img", "url(http", "<iframe", "<video", "<audio", "<source", "background=\"http"},
		{"](http", "](<http", "](//", "]: http", "<a href"},
	} {
		for _, f := range forms {
			b.add(f, true, owner{ownMarkup, int32(i)})
		}
	}
	return nil
}

// markup judges the address that follows.
func (s *Scanner) markup(v *view, m *markRule, at int) {
	text := v.text
	near := text[at:min(len(text), at+512)]
	i := bytes.Index(near[:min(len(near), 256)], []byte("//"))
	if i < 0 || !s.spend(300) {
		return
	}
	end := s.addressEnd(text[:at+len(near)], at+i) - at
	image := m.image
	start := at
	if !image {
		// ![ before the ] makes it an image.
		for k := at; k > 0 && at-k < 200 && text[k-1] != '\n'; k-- {
			if text[k-1] == '[' {
				start = k - 1
				if k > 1 && text[k-2] == '!' {
					image = true
					start--
				}
				break
			}
		}
	}
	id := "exfil.link"
	if image {
		id = "exfil.image"
	}
	if s.reported(v, s.e.fixed(id), start) || !s.spend(3*(end-i)) {
		return
	}
	load := carries(near[i+2 : end])
	if load >= 2 || image && load >= 1 {
		s.emit(v, s.e.fixed(id), start, at+end, "")
	}
}

// addressStop are the bytes that end an address.
var addressStop = func() (t [256]bool) {
	for _, c := range []byte(" \t\r\n\"'<>)") {
		t[c] = true
	}
	return t
}()

// addressEnd gives the end of the address that covers a place. What was gone
// through for an earlier mark of the same view is not gone through again.
func (s *Scanner) addressEnd(text []byte, at int) int {
	end := at
	if s.address[0] <= at && at < s.address[1] {
		end = min(len(text), s.address[1])
	} else {
		s.address[0] = at
	}
	for end < len(text) && !addressStop[text[end]] {
		end++
	}
	s.address[1] = end
	return end
}

// carries tells whether an address holds data: 2 a lot or a blank to fill in,
// 1 some in its query, 0 none.
func carries(address []byte) int {
	host, path := address, []byte(nil)
	if i := bytes.IndexAny(address, "/?#"); i >= 0 {
		host, path = address[:i], address[i:]
	}
	for label := range bytes.SplitSeq(host, []byte{'.'}) {
		if len(label) >= 40 && entropy(label) > 3.2 {
			return 2
		}
	}
	if bytes.ContainsAny(address, "{}") || bytes.Contains(address, []byte("[[")) || bytes.Contains(address, []byte("%7B")) {
		return 2
	}
	i := bytes.IndexByte(path, '?')
	if i < 0 {
		for part := range bytes.SplitSeq(path, []byte{'/'}) {
			if len(part) >= 64 && entropy(part) > 4.2 {
				return 1
			}
		}
		return 0
	}
	worst := 0
	for pair := range bytes.SplitSeq(path[i+1:], []byte{'&'}) {
		name, value, ok := bytes.Cut(pair, []byte{'='})
		if !ok {
			value = name
		}
		switch {
		case len(value) >= 48, len(value) >= 24 && entropy(value) > 3.8:
			return 2
		case len(value) > 0 && telling(name):
			worst = 2
		case len(value) >= 12:
			worst = max(worst, 1)
		}
	}
	return worst
}

// telling reports names of parameters that say what they carry.
func telling(name []byte) bool {
	switch string(bytes.ToLower(name)) {
	case "data", "secret", "secrets", "leak", "exfil", "token", "password", "history", "conversation", "chat", "memory", "content", "payload", "stolen", "cookie", "cookies", "prompt", "env":
		return true
	}
	return false
}
