package stream

import (
	"fmt"
	"strconv"
	"strings"
)

func (s *responses) pass(e *event) error {
	d := &s.doc
	typ := d.str(d.get(0, "type"))
	r := d.get(0, "response")
	if r != 0 && len(e.calls) > 0 && strings.HasPrefix(typ, "response.") {
		s.output(e, r)
	} else if len(e.calls) > 0 {
		c := e.calls[0]
		if c.state == replaced && !c.told {
			s.instead(c)
		}
		if c.state != released || !s.belongs(typ, c) {
			return nil
		}
	}
	if n, ok := d.integer(d.get(0, "sequence_number")); ok {
		if s.shift && n < s.at.Next {
			n = s.at.Next
			s.value(d.get(0, "sequence_number"), strconv.FormatInt(n, 10))
		}
		s.at.Next = n + 1
	}
	if r != 0 {
		if id := d.str(d.get(r, "id")); id != "" {
			s.at.ID = id
		}
	}
	s.edited(e)
	return nil
}

// belongs tells whether an event of a held item is one whose content was judged.
func (s *responses) belongs(typ string, c *call) bool {
	switch typ {
	case "response.output_item.added", "response.output_item.done",
		"response.function_call_arguments.delta", "response.function_call_arguments.done",
		"response.custom_tool_call_input.delta", "response.custom_tool_call_input.done":
		return true
	}
	return c.Type == "text"
}

// output writes the replaced calls of a response's output anew.
func (s *responses) output(e *event, r int) {
	d := &s.doc
	k := 0
	_ = d.each(d.get(r, "output"), func(i int) error {
		if _, as := s.typeOf(i); as == "" || as == "server" {
			return nil
		}
		c := e.calls[k]
		if k++; c.state == replaced {
			s.value(i, messageItem(c, "completed", contentPart(c.notice)))
		}
		return nil
	})
}

func contentPart(text string) string {
	return `{"type":"output_text","annotations":[],"logprobs":[],"text":` + quote(text) + `}`
}

func messageItem(c *call, status, content string) string {
	return fmt.Sprintf(`{"id":"msg_sallyport_%d","type":"message","status":"%s","role":"assistant","content":[%s]}`, c.Index, status, content)
}

// instead hands on a message with the notice at the place of a call.
func (s *responses) instead(c *call) {
	d := &s.doc
	c.told = true
	index, _ := d.integer(d.get(0, "output_index"))
	n, numbered := d.integer(d.get(0, "sequence_number"))
	if s.shift && n < s.at.Next {
		n = s.at.Next
	}
	part := fmt.Sprintf(`"item_id":"msg_sallyport_%d","output_index":%d,"content_index":0,`, c.Index, index)
	text := quote(c.notice)
	for _, ev := range [...][2]string{
		{"response.output_item.added", fmt.Sprintf(`"output_index":%d,"item":%s`, index, messageItem(c, "in_progress", ""))},
		{"response.content_part.added", part + `"part":` + contentPart("")},
		{"response.output_text.delta", part + `"logprobs":[],"delta":` + text},
		{"response.output_text.done", part + `"logprobs":[],"text":` + text},
		{"response.content_part.done", part + `"part":` + contentPart(c.notice)},
		{"response.output_item.done", fmt.Sprintf(`"output_index":%d,"item":%s`, index, messageItem(c, "completed", contentPart(c.notice)))},
	} {
		number := ""
		if numbered {
			number = `"sequence_number":` + strconv.FormatInt(n, 10) + ","
			n++
			s.at.Next, s.shift = n, true
		}
		s.putEvent(ev[0], `{"type":"`+ev[0]+`",`+number+ev[1]+"}")
	}
}
