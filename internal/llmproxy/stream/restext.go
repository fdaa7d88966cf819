package stream

import (
	"hash/maphash"
	"strings"
)

// plain takes an event that carries no call. The text of a reply comes in
// deltas and is repeated when it is whole: a repetition is handed to Text only
// if it says something else.
func (s *responses) plain(typ string) error {
	d := &s.doc
	switch typ {
	case "response.output_text.delta", "response.refusal.delta", "response.reasoning_text.delta", "response.reasoning_summary_text.delta":
		i := d.get(0, "delta")
		t := d.str(i)
		s.now = nil
		if k := s.textKey(typ); len(s.texts) < maxTexts {
			h := s.texts[k]
			if h == nil {
				if s.texts == nil {
					s.texts = map[textKey]*maphash.Hash{}
				}
				h = &maphash.Hash{}
				h.SetSeed(seed)
				s.texts[k] = h
			}
			_, _ = h.WriteString(t)
			s.now = h
		}
		return s.speak(i)
	case "response.output_text.done", "response.refusal.done", "response.reasoning_text.done", "response.reasoning_summary_text.done":
		k := s.textKey(strings.TrimSuffix(typ, ".done") + ".delta")
		if h := s.texts[k]; h != nil {
			s.remember(h.Sum64())
			delete(s.texts, k)
		}
		return s.copies(0, false)
	case "response.content_part.added", "response.content_part.done",
		"response.reasoning_summary_part.added", "response.reasoning_summary_part.done":
		return s.copies(0, false)
	}
	if strings.HasPrefix(typ, "response.function_call") || strings.HasPrefix(typ, "response.custom_tool_call") || d.hidesCall(0) {
		return refuse("hidden-call", "an event that belongs to no announced item carries a tool call")
	}
	return s.sayAll(0)
}

// repeat adds to the text that the event before belongs to.
func (s *responses) repeat(text string) bool {
	if s.now == nil || s.shift {
		return false
	}
	_, _ = s.now.WriteString(text)
	return true
}

func (s *responses) textKey(typ string) textKey {
	d := &s.doc
	k := textKey{typ: typ}
	k.output, _ = d.integer(d.get(0, "output_index"))
	k.part, _ = d.integer(d.get(0, "content_index"))
	k.item, _ = d.integer(d.get(0, "summary_index"))
	return k
}

func (s *responses) remember(sum uint64) {
	if s.known == nil {
		s.known = map[uint64]bool{}
	}
	if len(s.known) < maxTexts {
		s.known[sum] = true
	}
}

// copies hands on the texts of an item, a part or an event that were not handed
// on before: those in known places, or all.
func (s *responses) copies(obj int, all bool) error {
	d := &s.doc
	for i := obj; i < int(d.tape[obj].next); i++ {
		if d.tape[i].kind != str {
			continue
		}
		switch k := d.key(i); k {
		case "text", "refusal", "transcript":
		default:
			if !all || noText[k] {
				continue
			}
		}
		t := d.str(i)
		sum := maphash.String(seed, t)
		if t == "" || s.known[sum] {
			continue
		}
		s.remember(sum)
		if err := s.say(t); err != nil {
			return err
		}
	}
	return nil
}
