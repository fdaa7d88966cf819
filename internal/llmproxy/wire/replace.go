package wire

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	"sallyport/internal/fault"
)

type textItem struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type partItem struct {
	Text string `json:"text"`
}

type outputItem struct {
	Type    string       `json:"type"`
	ID      string       `json:"id"`
	Status  string       `json:"status"`
	Role    string       `json:"role"`
	Content []outputText `json:"content"`
}

type outputText struct {
	Type        string     `json:"type"`
	Text        string     `json:"text"`
	Annotations []struct{} `json:"annotations"`
}

// Notice gives the item that stands in a call's place: a text block, a message
// item or a part. The id of a message item comes from the call's alone, so
// every copy of one item in a stream gets the same. Chat has no items; its
// notices are a part of a content array.
func Notice(api API, c Call, line string) []byte {
	switch api {
	case Responses:
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %s", c.Index, c.ID)
		return marshal(outputItem{
			"message", fmt.Sprintf("msg_%016x", h.Sum64()), "completed", roleAssistant,
			[]outputText{{"output_text", line, []struct{}{}}},
		})
	case Gemini:
		return marshal(partItem{line})
	default:
		return marshal(textItem{"text", line})
	}
}

// Replace gives the body with a text in the place of each call that notices
// has a line for, keyed by Call.Index. A stop reason that promises calls is
// changed where none is left for the client; every other byte stays. The body
// must be the one that the reply was read from.
func (r *Reply) Replace(body []byte, notices map[int]string) ([]byte, error) {
	if len(notices) == 0 {
		return body, nil
	}
	d, err := openObject(body)
	if err != nil {
		return nil, err
	}
	defer d.free()
	p, err := readReply(r.api, d)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(p.r.Calls, r.Calls) {
		return nil, fault.New("wire.replace", fault.Internal, "a reply was changed while it was judged")
	}
	by := map[int]string{} // by site
	left := 0              // calls that the client will still run
	for i, c := range p.r.Calls {
		line, ok := notices[i]
		switch {
		case ok && line == "":
			line = "Blocked by Sallyport."
			fallthrough
		case ok:
			by[p.sites[i]] = line
		case c.Type != "server":
			left++
		}
	}
	if len(by) != len(notices) {
		return nil, fault.New("wire.replace", fault.Internal, "a notice is for a call that the reply does not have")
	}
	var edits []edit
	if r.api == Chat {
		edits, err = p.chatEdits(by)
	} else {
		edits, err = p.itemEdits(by, left)
	}
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(edits, func(a, b edit) int { return a.span.Start - b.span.Start })
	return apply(body, edits), nil
}

// itemEdits puts an item in the place of each call.
func (p *reader) itemEdits(by map[int]string, left int) ([]edit, error) {
	var edits []edit
	for i, site := range p.sites {
		if line, ok := by[site]; ok {
			edits = append(edits, edit{p.d.span(site), string(Notice(p.r.api, p.r.Calls[i], line))})
		}
	}
	if p.r.api == Messages && left == 0 && p.r.Stop == "tool_use" {
		f, err := p.d.get(0, &messagesReplyFields)
		if err != nil {
			return nil, err
		}
		edits = append(edits, edit{p.d.span(f[2]), `"end_turn"`})
	}
	return edits, nil
}

// chatEdits changes each choice on its own.
func (p *reader) chatEdits(by map[int]string) ([]edit, error) {
	d := p.d
	top, err := d.get(0, &chatReplyFields)
	if err != nil {
		return nil, err
	}
	var edits []edit
	for n := range d.elements(top[2]) {
		f, err := d.get(n, &choiceFields)
		if err != nil {
			return nil, err
		}
		if !d.has(f[1]) {
			continue
		}
		m := chatMessageEdit{doc: d, by: by, msg: f[1]}
		if err := m.read(); err != nil {
			return nil, err
		}
		if len(m.lines) == 0 {
			continue
		}
		m.write()
		edits = append(edits, m.edits...)
		if stop := f[2]; m.kept == 0 && d.has(stop) {
			if s := string(d.name(stop)); s == "tool_calls" || s == "function_call" {
				edits = append(edits, edit{d.span(stop), `"stop"`})
			}
		}
	}
	return edits, nil
}

// chatMessageEdit takes calls out of one message and puts their notices into
// its content.
type chatMessageEdit struct {
	*doc
	by      map[int]string
	msg     int
	f       found
	lines   []string
	removed []int // elements of tool_calls
	legacy  bool  // function_call goes
	kept    int
	edits   []edit
}

func (m *chatMessageEdit) read() (err error) {
	if m.f, err = m.get(m.msg, &chatFields); err != nil {
		return err
	}
	if list := m.f[2]; m.has(list) {
		for e := range m.elements(list) {
			if line, ok := m.by[e]; ok {
				m.lines, m.removed = append(m.lines, line), append(m.removed, e)
				continue
			}
			f, err := m.get(e, &callFields)
			if err != nil {
				return err
			}
			if f[4] != 0 {
				m.edits = append(m.edits, edit{m.span(f[4]), strconv.Itoa(m.kept)})
			}
			m.kept++
		}
	}
	if legacy := m.f[3]; m.has(legacy) {
		if line, ok := m.by[legacy]; ok {
			m.lines, m.legacy = append(m.lines, line), true
		} else {
			m.kept++
		}
	}
	return nil
}

func (m *chatMessageEdit) write() {
	if len(m.removed) == 0 {
		m.edits = nil // nothing was renumbered
	}
	var gone []int // keys
	list := m.f[2]
	switch {
	case len(m.removed) == 0:
	case len(m.removed) == m.count(list):
		gone = append(gone, list-1)
	default:
		m.cut(slices.Collect(m.elements(list)), m.removed, func(e int) Span { return m.span(e) })
	}
	if m.legacy {
		gone = append(gone, m.f[3]-1)
	}
	slices.Sort(gone)
	text := strings.Join(m.lines, "\n")
	if m.f[1] != 0 {
		m.content(m.f[1], text)
	} else if len(gone) > 0 {
		m.edits = append(m.edits, edit{m.member(gone[0]), `"content":` + quote(text)})
		gone = gone[1:]
	} else {
		at := m.span(list - 1).Start
		m.edits = append(m.edits, edit{Span{at, at}, `"content":` + quote(text) + ","})
	}
	m.cut(slices.Collect(m.members(m.msg)), gone, m.member)
}

func (m *chatMessageEdit) count(arr int) int {
	n := 0
	for range m.elements(arr) {
		n++
	}
	return n
}

// member is the span of a key with its value.
func (m *chatMessageEdit) member(key int) Span {
	return Span{m.span(key).Start, m.span(key + 1).End}
}

// content adds the line at the end of what the message says.
func (m *chatMessageEdit) content(n int, line string) {
	s := m.span(n)
	switch at := s.End - 1; {
	case m.kind(n) == array && m.count(n) > 0:
		m.edits = append(m.edits, edit{Span{at, at}, "," + string(Notice(Chat, Call{}, line))})
	case m.kind(n) == array:
		m.edits = append(m.edits, edit{Span{at, at}, string(Notice(Chat, Call{}, line))})
	case m.kind(n) == text && s.End-s.Start > 2:
		q := quote("\n" + line)
		m.edits = append(m.edits, edit{Span{at, at}, q[1 : len(q)-1]})
	default:
		m.edits = append(m.edits, edit{s, quote(line)})
	}
}

// cut takes some of the children of a container out, each with one comma; both
// lists are in order.
func (m *chatMessageEdit) cut(all, gone []int, span func(int) Span) {
	kept := -1 // the last child that stays
	for i, c := range all {
		if _, out := slices.BinarySearch(gone, c); !out {
			kept = i
			continue
		}
		s := span(c)
		switch {
		case kept >= 0:
			s.Start = span(all[i-1]).End
		case i+1 < len(all):
			s.End = span(all[i+1]).Start
		}
		m.edits = append(m.edits, edit{s, ""})
	}
}

func quote(s string) string { return string(marshal(s)) }
