package audit

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"sallyport/internal/action"
)

// Bounds of reading an export.
const (
	chunkSize = 256 << 10 // bytes handed to one worker
	maxLine   = 16 << 20  // longest line; a longer one is no line of ours
)

// chunk is a run of whole lines that starts with an entry, so that an entry and
// its openings are never apart.
type chunk struct {
	data []byte
	line int64 // number of its first line, from 1
}

type chunker struct {
	r    *bufio.Reader
	read int64     // lines read
	held []byte    // line read ahead, with its end
	used sync.Pool // *[]byte of chunks that were parsed
}

func newChunker(r io.Reader) *chunker { return &chunker{r: bufio.NewReaderSize(r, 64<<10)} }

// line reads one line without its end; every line must have one.
func (c *chunker) line() ([]byte, error) {
	b, err := c.appendLine(nil)
	return bytes.TrimSuffix(b, []byte{'\n'}), err
}

func (c *chunker) appendLine(b []byte) ([]byte, error) {
	start := len(b)
	for {
		part, err := c.r.ReadSlice('\n')
		b = append(b, part...)
		switch {
		case err == nil:
			c.read++
			return b, nil
		case errors.Is(err, bufio.ErrBufferFull) && len(b)-start <= maxLine:
		case errors.Is(err, bufio.ErrBufferFull):
			return b, bad(c.read+1, 0, -1, "the line is longer than %d bytes", maxLine)
		case errors.Is(err, io.EOF) && len(b) > start:
			return b, bad(c.read+1, 0, -1, "the last line has no end: the export was cut off")
		default:
			return b, err
		}
	}
}

// next gives the next chunk.
func (c *chunker) next() (chunk, error) {
	out := chunk{line: c.read + 1}
	if b, ok := c.used.Get().(*[]byte); ok {
		out.data = (*b)[:0]
	} else if c.read > 1024 { // not a short export: make room for the chunk at once
		out.data = make([]byte, 0, chunkSize+chunkSize/4)
	}
	if c.held != nil {
		out.data, out.line = append(out.data, c.held...), c.read
		c.held = nil
	}
	for {
		n := len(out.data)
		b, err := c.appendLine(out.data)
		if err != nil {
			if errors.Is(err, io.EOF) && n > 0 {
				return chunk{b[:n], out.line}, nil
			}
			return chunk{}, err
		}
		if n >= chunkSize && bytes.HasPrefix(b[n:], []byte(leafHead)) {
			c.held = bytes.Clone(b[n:])
			out.data = b[:n]
			return out, nil
		}
		out.data = b
	}
}

// free takes a chunk back of which nothing refers to the data any more.
func (c *chunker) free(done chunk) {
	if cap(done.data) <= 2*chunkSize { // a very long line is not kept
		c.used.Put(&done.data)
	}
}

// checkOpening compares an exported value with the entry's commitment; it tells
// what is wrong, the commitment's name, and the entries whose erasure the value
// records.
func checkOpening(line []byte, l Leaf, values bool) (what, name string, erases []span) {
	var o opening
	if err := decodeLine(line, &o); err != nil {
		return "a value cannot be read", "", nil
	}
	value, err := o.value()
	if err != nil {
		return "a value cannot be read", "", nil
	}
	salt, err := hex.DecodeString(o.Salt)
	if err != nil || hex.EncodeToString(salt) != o.Salt || len(salt) != SaltSize || o.Seq != l.Seq || !values {
		return "a value stands in the wrong place", "", nil
	}
	want, ok := l.Commit[o.Open]
	if !ok || Commit(o.Open, salt, value) != want {
		return fmt.Sprintf("its value %.20q was changed", o.Open), "", nil
	}
	if o.Open == RowValue {
		return "", o.Open, erasedBy(value)
	}
	return "", o.Open, nil
}

// span is a run of entries, first and last.
type span struct{ first, last int64 }

// erasedBy reads the entries that an erasure's row names.
func erasedBy(row []byte) []span {
	if !bytes.Contains(row, []byte(EraseEvent)) {
		return nil
	}
	var columns []string // timestamp, type, …, data
	if json.Unmarshal(row, &columns) != nil || len(columns) < 3 || columns[1] != EraseEvent {
		return nil
	}
	data, err := action.ParseObject([]byte(columns[len(columns)-1]))
	if err != nil {
		return nil
	}
	if n, ok := data["erased_leaf"].(int64); ok {
		return []span{{n, n}}
	}
	list, _ := data["erased_leaves"].([]any)
	out := make([]span, 0, len(list))
	for _, e := range list {
		pair, _ := e.([]any)
		if len(pair) != 2 {
			continue
		}
		first, ok1 := pair[0].(int64)
		last, ok2 := pair[1].(int64)
		if ok1 && ok2 && first <= last {
			out = append(out, span{first, last})
		}
	}
	return out
}
