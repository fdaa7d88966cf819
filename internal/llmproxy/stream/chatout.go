package stream

import (
	"strconv"
	"strings"
)

func (s *chat) pass(e *event) error {
	if e.text {
		e.text = false
		s.heldText--
	}
	if s.isEnd(e) {
		s.put(e.raw)
		return nil
	}
	if len(e.calls) == 0 && !e.look {
		s.put(e.raw)
		return nil
	}
	d := &s.doc
	keep, k := len(e.calls) == 0, 0
	if list := d.get(0, "choices"); list != 0 {
		_ = d.each(list, func(i int) error {
			kept := s.rewrite(e, i, &k)
			keep = keep || kept
			return nil
		})
	}
	if u := d.get(0, "usage"); !d.null(u) && s.o.StripUsage {
		if d.empty(d.get(0, "choices")) && d.get(0, "error") == 0 {
			keep = false
		}
		s.remove(0, u)
	}
	if !keep {
		s.edits = s.edits[:0]
		return nil
	}
	s.edited(e)
	return nil
}

// rewrite notes what of a choice is replaced; it tells whether the choice still
// says something.
func (s *chat) rewrite(e *event, i int, k *int) (keep bool) {
	d := &s.doc
	c, err := s.of(i)
	if err != nil {
		return false
	}
	delta := d.get(i, "delta")
	notice := ""
	if delta != 0 && len(e.calls) > 0 {
		notice, keep = s.parts(e, c, delta, k)
	}
	if f := d.get(i, "finish_reason"); !d.null(f) {
		keep = true
		if c.replaced > 0 && c.released == 0 && (d.is(f, "tool_calls") || d.is(f, "function_call")) {
			s.value(f, `"stop"`)
			s.sum.Stop = "stop"
		}
	}
	return keep || notice != "" || len(e.calls) == 0
}

// parts rewrites the members of a delta that hold calls.
func (s *chat) parts(e *event, c *choice, delta int, k *int) (notice string, keep bool) {
	d := &s.doc
	next := func() *call { *k++; return e.calls[*k-1] }
	tell := func(call *call) {
		if call.state != replaced || call.told {
			return
		}
		call.told = true
		if c.text || notice != "" {
			notice += "\n"
		}
		notice += call.notice
	}
	content, textGone := d.get(delta, "content"), false
	for _, name := range deltaTexts {
		t := d.get(delta, name)
		switch {
		case d.empty(t):
			continue
		case !s.o.TextIsCall || !executed(name):
			keep = true
			continue
		}
		call := next()
		tell(call)
		switch {
		case call.state == released:
			keep = true
		case t == content:
			textGone = true
		default:
			s.value(t, `""`)
		}
	}
	gone := 0 // a member that goes
	if list := d.get(delta, "tool_calls"); !d.empty(list) {
		if s.entries(list, next, tell) {
			keep = true
		} else {
			gone = list
		}
	}
	if f := d.get(delta, "function_call"); !d.empty(f) {
		call := next()
		tell(call)
		switch {
		case call.state == released:
			keep = true
		case gone == 0:
			gone = f
		default:
			s.value(f, "null")
		}
	}
	c.text = c.text || notice != ""
	s.notice(delta, content, gone, notice, textGone)
	return notice, keep
}

// notice puts the notice where the text of a delta stands, and takes the member
// gone out.
func (s *chat) notice(delta, content, gone int, notice string, textGone bool) {
	d := &s.doc
	switch {
	case textGone:
		s.value(content, quote(notice))
	case notice == "":
	case content == 0 && gone != 0:
		s.change(d.tape[gone].k0-1, d.tape[gone].v1, `"content":`+quote(notice))
		return
	case content == 0:
		s.change(d.tape[delta].v1-1, d.tape[delta].v1-1, `,"content":`+quote(notice))
	case d.tape[content].kind == str && !d.empty(content):
		q := quote("\n" + strings.TrimPrefix(notice, "\n"))
		s.change(d.tape[content].v1-1, d.tape[content].v1, q[1:])
	default:
		s.value(content, quote(notice))
	}
	if gone != 0 {
		s.remove(delta, gone)
	}
}

// entries rewrites a list of calls: those that are released get the indexes that
// the client counts, the others go. It tells whether one is left.
func (s *chat) entries(list int, next func() *call, tell func(*call)) bool {
	d := &s.doc
	var b strings.Builder
	same, left := true, 0
	_ = d.each(list, func(i int) error {
		call := next()
		tell(call)
		if call.state != released {
			same = false
			return nil
		}
		raw := d.raw(i)
		if left++; left > 1 {
			b.WriteByte(',')
		}
		base, n := int(d.tape[i].v0), d.get(i, "index")
		want := strconv.Itoa(call.out)
		switch {
		case n == 0:
			same = false
			b.WriteString(`{"index":` + want)
			if len(raw) > 2 && !d.empty(i) {
				b.WriteByte(',')
			}
			b.Write(raw[1:])
		case string(d.raw(n)) != want:
			same = false
			b.Write(raw[:int(d.tape[n].v0)-base])
			b.WriteString(want)
			b.Write(raw[int(d.tape[n].v1)-base:])
		default:
			b.Write(raw)
		}
		return nil
	})
	if left > 0 && !same {
		s.value(list, "["+b.String()+"]")
	}
	return left > 0
}
