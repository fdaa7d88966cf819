package audit

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"sallyport/internal/fault"
)

// ExportVersion names the export format. An export is lines of JSON, each in
// its one encoding: a header; then each entry as it was hashed, with its stored
// tree hash, followed by the openings of its commitments as far as values are
// exported and not erased; and each kept checkpoint after the last entry that it
// covers. The last line is the checkpoint over everything.
const ExportVersion = "sallyport/export/v1"

// RowValue names the commitment to an event's row; its value is text, that of
// every other commitment is bytes.
const RowValue = "row"

// EraseEvent is the type of the event that records an erasure; its data names
// the entry in "erased_leaf", or many in "erased_leaves" as pairs of the first
// and the last of a run.
const EraseEvent = "data.erase"

// header is an export's first line; keys are in the order of encoding/json.
type header struct {
	Export   string `json:"export"`
	Instance string `json:"instance"`
	Size     int64  `json:"size"`
	Values   bool   `json:"values"`
	Verifier string `json:"verifier"`
}

// opening opens one commitment of the entry before it.
type opening struct {
	Open string  `json:"open"`
	Seq  int64   `json:"seq"`
	Salt string  `json:"salt"`
	Text *string `json:"text,omitempty"`
	Hex  *string `json:"hex,omitempty"`
}

type checkpointLine struct {
	Checkpoint string `json:"checkpoint"`
}

// Source is a stored log.
type Source interface {
	// Checkpoints calls fn for each stored checkpoint, smallest first.
	Checkpoints(ctx context.Context, fn func(size int64, note []byte) error) error
	// Entries calls fn for entries 0 to size-1 in order: the encoded entry, its
	// stored tree hash and, with values, salt and value by commitment.
	Entries(ctx context.Context, size int64, values bool, fn func(seq int64, leaf, hash []byte, opened map[string][2][]byte) error) error
}

// Export writes the log up to its newest checkpoint. With values it holds what
// agents did, in clear: whoever gets it can read it. Without, it is pseudonyms
// and commitments, enough to verify order and completeness.
func Export(ctx context.Context, w io.Writer, src Source, s *Signer, values bool) error {
	const op = "audit.export"
	type point struct {
		size int64
		note []byte
	}
	var points []point
	err := src.Checkpoints(ctx, func(size int64, note []byte) error {
		points = append(points, point{size, slices.Clone(note)})
		return nil
	})
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	var size int64
	if len(points) > 0 {
		size = points[len(points)-1].size
	}
	out := &lineWriter{w: bufio.NewWriterSize(w, 1<<16)}
	out.json(header{ExportVersion, s.Origin(), size, values, s.Verifier()})
	err = src.Entries(ctx, size, values, func(seq int64, leaf, hash []byte, opened map[string][2][]byte) error {
		out.leaf(leaf, hash)
		for _, name := range sortedNames(opened) {
			out.json(newOpening(name, seq, opened[name][0], opened[name][1]))
		}
		for len(points) > 0 && points[0].size <= seq+1 {
			out.json(checkpointLine{string(points[0].note)})
			points = points[1:]
		}
		return out.err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if len(points) > 0 {
		return fault.New(op, fault.Corrupt, "a checkpoint covers %d entries, but some of them are missing from the database", points[0].size)
	}
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return fault.Wrap(op, fault.Unavailable, out.err)
}

func sortedNames(m map[string][2][]byte) []string {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

func newOpening(name string, seq int64, salt, value []byte) opening {
	o := opening{Open: name, Seq: seq, Salt: hex.EncodeToString(salt)}
	text := string(value)
	if name == RowValue {
		o.Text = &text
	} else {
		text = hex.EncodeToString(value)
		o.Hex = &text
	}
	return o
}

// value gives the committed bytes.
func (o opening) value() ([]byte, error) {
	switch {
	case o.Open == RowValue && o.Text != nil && o.Hex == nil:
		return []byte(*o.Text), nil
	case o.Open != RowValue && o.Hex != nil && o.Text == nil:
		if b, err := hex.DecodeString(*o.Hex); err == nil && hex.EncodeToString(b) == *o.Hex {
			return b, nil
		}
	}
	return nil, fmt.Errorf("value of %.20q has the wrong form", o.Open)
}

// Lines of entries start so; the entry itself is copied byte by byte.
const (
	leafHead = `{"leaf":`
	leafMid  = `,"hash":"`
	leafTail = `"}`
)

// lineWriter writes lines; after an error it does nothing.
type lineWriter struct {
	w   *bufio.Writer
	err error
	buf []byte
}

func (l *lineWriter) json(v any) {
	b, err := encodeLine(v)
	if l.err == nil {
		l.err = err
	}
	if l.err == nil {
		_, l.err = l.w.Write(b)
	}
}

func (l *lineWriter) leaf(leaf, hash []byte) {
	b := append(append(append(l.buf[:0], leafHead...), leaf...), leafMid...)
	b = append(hex.AppendEncode(b, hash), leafTail+"\n"...)
	if l.err == nil {
		_, l.err = l.w.Write(b)
	}
	l.buf = b
}

// encodeLine is the one encoding of a line that is no entry.
func encodeLine(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return b.Bytes(), err
}

// decodeLine reads such a line into v and accepts no other encoding of it.
func decodeLine(line []byte, v any) error {
	if err := json.Unmarshal(line, v); err != nil {
		return err
	}
	again, err := encodeLine(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(bytes.TrimSuffix(again, []byte{'\n'}), line) {
		return fmt.Errorf("not in canonical form")
	}
	return nil
}
