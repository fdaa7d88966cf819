package llmproxy

import (
	"bytes"

	"sallyport/internal/llmproxy/wire"
)

// borderSize is how much of two texts that follow each other is read as one: a
// secret in the longest of its codings.
const borderSize = 512

// border reads what stands across the border of two texts of one message: a
// model reads the parts of a message as one text.
type border struct {
	segment int
	tail    []byte // of the texts so far
	both    []byte
}

// next takes the next text and gives the end of those before it together with
// its beginning; nil if there is no border.
func (b *border) next(t wire.Text, text []byte) []byte {
	if t.Segment < 0 || t.Role == "form" || t.Role == "tools" || len(text) == 0 {
		return nil
	}
	if t.Segment != b.segment {
		b.segment, b.tail = t.Segment, b.tail[:0]
	}
	met := len(b.tail) > 0
	if met {
		head := text
		if len(head) > borderSize { // to the end of a word, which would be another one if it were cut
			head = head[:max(bytes.LastIndexByte(head[:borderSize], ' '), 0)]
		}
		b.both = append(append(b.both[:0], b.tail...), head...)
	}
	if len(text) > borderSize {
		b.tail, text = b.tail[:0], text[len(text)-borderSize-1:]
	}
	b.tail = append(b.tail, text...)
	if over := len(b.tail) - borderSize; over > 0 {
		if i := bytes.IndexByte(b.tail[over:], ' '); i >= 0 {
			over += i
		}
		b.tail = append(b.tail[:0], b.tail[over:]...)
	}
	if !met {
		return nil
	}
	return b.both
}
