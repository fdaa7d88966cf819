package audit

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"sallyport/internal/fault"
)

// VerifyOptions say what an export is held against.
type VerifyOptions struct {
	// Verifier is the public key kept outside, one line as in keys/log.pub. If
	// it is empty the export's own is used, which proves only that the export
	// agrees with itself; Report.Pinned says so.
	Verifier string
	// Anchors are signed checkpoints kept outside. Each must be of this log: a
	// log that was cut off or rewritten since then does not have their root.
	Anchors [][]byte
	// Tolerance is how far an entry's time may be before that of the one before
	// it; a store writes times that never decrease, so zero is right.
	Tolerance time.Duration
}

// Problem is the first thing wrong with an export.
type Problem struct {
	Line int64  // line of the export, from 1; 0 if it is no line's
	From int64  // first entry that may be affected
	To   int64  // last one; From-1 if none is
	What string // one sentence
}

func (p *Problem) String() string {
	where := ""
	switch {
	case p.From == p.To:
		where = fmt.Sprintf("entry %d: ", p.From)
	case p.From < p.To:
		where = fmt.Sprintf("entries %d to %d: ", p.From, p.To)
	}
	if p.Line > 0 {
		where = fmt.Sprintf("line %d: ", p.Line) + where
	}
	return where + p.What
}

// Report is what a verification found.
type Report struct {
	Instance    string
	Size        int64 // entries that were verified
	Root        Hash  // over them
	Checkpoints int   // signed checkpoints found right
	Anchors     int   // anchors found right
	Opened      int64 // commitments that were compared with their values
	Erased      int64 // entries whose values were erased, each with a record of it
	Values      bool  // the export has values
	Pinned      bool  // the public key was not the export's own
	First, Last time.Time
	Bad         *Problem // nil if everything is right
}

// Verify reads an export and proves that it is complete and unchanged: every
// entry hashes into the tree of every signed checkpoint and anchor, sequence
// and times are in order, and every exported value matches its commitment. The
// error is fault.Corrupt with the first problem, which is also in the report,
// or tells that the input could not be read.
func Verify(r io.Reader, o VerifyOptions) (Report, error) {
	const op = "audit.verify"
	v := &verifier{opt: o}
	err := v.run(r)
	var p *Problem
	if stop, ok := errors.AsType[problemError](err); ok {
		p, err = stop.p, nil
	}
	v.report.Size, v.report.Bad = v.size, p
	if v.size > 0 {
		v.report.Root = v.root()
	}
	if err != nil {
		return v.report, fault.Wrap(op, fault.Unavailable, err)
	}
	if p != nil {
		return v.report, fault.New(op, fault.Corrupt, "the log does not verify: %s", p)
	}
	return v.report, nil
}

type problemError struct{ p *Problem }

func (e problemError) Error() string { return e.p.String() }

func bad(line, from, to int64, format string, args ...any) error {
	return problemError{&Problem{line, from, to, fmt.Sprintf(format, args...)}}
}

// verifier puts the pieces together in order; it is used by one goroutine.
type verifier struct {
	opt      VerifyOptions
	report   Report
	head     header
	key      note.Verifier
	anchors  []Checkpoint // smallest first
	size     int64
	peaks    []tlog.Hash
	covered  int64 // entries under the last good checkpoint
	last     int64 // microseconds
	unopened []int64
	erased   []span
}

func (v *verifier) run(r io.Reader) error {
	in := newChunker(r)
	if err := v.start(in); err != nil {
		return err
	}
	quit := make(chan struct{})
	defer close(quit)
	chunks := make(chan chan parsed, 2*runtime.GOMAXPROCS(0))
	var readErr error
	go func() {
		defer close(chunks)
		for {
			c, err := in.next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					readErr = err
				}
				return
			}
			out := make(chan parsed, 1)
			select {
			case chunks <- out:
			case <-quit:
				return
			}
			go func() {
				out <- parse(c, v.key, v.head.Values)
				in.free(c)
			}()
		}
	}()
	for c := range chunks {
		p := <-c
		for i := range p.items {
			if err := v.item(&p.items[i]); err != nil {
				return err
			}
		}
		if p.err != nil {
			return p.err
		}
		v.report.Opened += p.opened
	}
	if readErr != nil {
		return readErr
	}
	return v.finish()
}

// start reads the header and the anchors.
func (v *verifier) start(in *chunker) error {
	line, err := in.line()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := decodeLine(line, &v.head); err != nil || v.head.Export != ExportVersion || v.head.Size < 0 {
		return bad(1, 0, -1, "this is no export of a log (%s)", ExportVersion)
	}
	v.report.Instance, v.report.Values = v.head.Instance, v.head.Values
	key := v.head.Verifier
	if pinned := strings.TrimSpace(v.opt.Verifier); pinned != "" {
		if key != pinned {
			return bad(1, 0, -1, "the export names another public key than the one kept outside")
		}
		v.report.Pinned = true
	}
	if v.key, err = note.NewVerifier(key); err != nil || v.key.Name() != v.head.Instance {
		return bad(1, 0, -1, "the export's public key is not one of instance %.60q", v.head.Instance)
	}
	for _, a := range v.opt.Anchors {
		c, err := openCheckpoint(a, v.key)
		if err != nil {
			return bad(0, 0, -1, "an anchor is no checkpoint signed by this log's key")
		}
		if c.Size > v.head.Size {
			return bad(0, v.head.Size, c.Size-1, "an anchor covers %d entries and the export has %d: its end was cut off", c.Size, v.head.Size)
		}
		v.anchors = append(v.anchors, c)
	}
	slices.SortFunc(v.anchors, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return v.meetAnchors()
}

// meetAnchors compares the anchors of the present size.
func (v *verifier) meetAnchors() error {
	for len(v.anchors) > 0 && v.anchors[0].Size == v.size {
		if v.anchors[0].Root != v.root() {
			return bad(0, 0, v.size-1, "the tree of these entries is not the one that was anchored: history was rewritten")
		}
		v.anchors = v.anchors[1:]
		v.report.Anchors++
	}
	return nil
}

func (v *verifier) root() Hash { return Root(fromHashes(v.peaks)) }

func (v *verifier) item(it *item) error {
	if it.bad != "" {
		return bad(it.line, v.size, v.size-1+it.leaf(), "%s", it.bad)
	}
	if it.point != nil {
		return v.checkpoint(it)
	}
	for _, e := range it.erases {
		if e.last < it.seq { // what comes later cannot be erased yet
			v.erased = append(v.erased, e)
		}
	}
	if it.seq != v.size {
		return bad(it.line, v.size, v.size, "entry number %d stands in its place: entries are missing, doubled or out of order", it.seq)
	}
	if v.size >= v.head.Size {
		return bad(it.line, v.size, v.size, "the header says there are %d entries", v.head.Size)
	}
	if v.size > 0 && it.micros < v.last-v.opt.Tolerance.Microseconds() {
		return bad(it.line, v.size, v.size, "its time is before that of the entry before it")
	}
	if v.size == 0 {
		v.report.First = time.UnixMicro(it.micros).UTC()
	}
	v.last = it.micros
	if it.unopened {
		v.unopened = append(v.unopened, it.seq)
	}
	h := it.hash
	for n := v.size; n&1 == 1; n >>= 1 {
		h = tlog.NodeHash(v.peaks[len(v.peaks)-1], h)
		v.peaks = v.peaks[:len(v.peaks)-1]
	}
	v.peaks = append(v.peaks, h)
	v.size++
	return v.meetAnchors()
}

func (v *verifier) checkpoint(it *item) error {
	if it.point.Size != v.size {
		return bad(it.line, v.covered, v.size-1, "a checkpoint over %d entries stands after %d: entries are missing or were added", it.point.Size, v.size)
	}
	if it.point.Root != v.root() {
		return bad(it.line, v.covered, v.size-1, "they are not the entries that were signed: one of them was changed")
	}
	v.covered = v.size
	v.report.Checkpoints++
	return nil
}

func (v *verifier) finish() error {
	v.report.Last = time.UnixMicro(v.last).UTC()
	if v.size == 0 {
		v.report.Last = time.Time{}
	}
	if v.size != v.head.Size {
		return bad(0, v.size, v.head.Size-1, "they are missing: the header says there are %d entries", v.head.Size)
	}
	if v.covered != v.size {
		return bad(0, v.covered, v.size-1, "no signed checkpoint covers them")
	}
	return v.excused()
}

// excused holds the entries without values against the records of erasures.
func (v *verifier) excused() error {
	slices.SortFunc(v.erased, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	next, last := 0, int64(-1) // spans that begin so far, and where the longest ends
	for _, seq := range v.unopened {
		for ; next < len(v.erased) && v.erased[next].first <= seq; next++ {
			last = max(last, v.erased[next].last)
		}
		if seq > last {
			return bad(0, seq, seq, "its values are missing and no erasure of them is recorded")
		}
		v.report.Erased++
	}
	return nil
}

// leaf is 1 for an entry and 0 for a line that is none.
func (it *item) leaf() int64 {
	if it.isLeaf {
		return 1
	}
	return 0
}

// item is a parsed line, or an entry with its openings.
type item struct {
	line     int64
	seq      int64
	micros   int64
	erases   []span // entries whose erasure this one records
	hash     tlog.Hash
	isLeaf   bool
	unopened bool
	point    *Checkpoint
	bad      string
}

type parsed struct {
	items  []item
	opened int64
	err    error
}

// parse checks the lines of a chunk, all that can be checked without the ones
// before it.
func parse(c chunk, key note.Verifier, values bool) parsed {
	out := parsed{items: make([]item, 0, bytes.Count(c.data, []byte{'\n'})+1)}
	var cur Leaf
	open, name := 0, "" // commitments of cur that were opened, the last one's name
	closeLeaf := func() {
		if n := len(out.items); values && n > 0 && out.items[n-1].isLeaf && out.items[n-1].bad == "" {
			switch open {
			case len(cur.Commit):
			case 0:
				out.items[n-1].unopened = true
			default:
				out.items[n-1].bad = "one of its values is missing"
			}
		}
	}
	no := c.line
	for line := range bytes.SplitSeq(bytes.TrimSuffix(c.data, []byte{'\n'}), []byte{'\n'}) {
		it := item{line: no}
		no++
		switch {
		case bytes.HasPrefix(line, []byte(leafHead)):
			closeLeaf()
			cur, open, name = parseLeafLine(line, &it, !values), 0, ""
		case bytes.HasPrefix(line, []byte(`{"open":`)) && len(out.items) > 0 && out.items[len(out.items)-1].isLeaf:
			what, opened, erases := checkOpening(line, cur, values)
			if what == "" && opened <= name {
				what = "its values are out of order"
			}
			name = opened
			last := &out.items[len(out.items)-1]
			if what != "" && last.bad == "" {
				last.line, last.bad = it.line, what
			}
			last.erases = append(last.erases, erases...)
			out.opened++
			open++
			continue
		case bytes.HasPrefix(line, []byte(`{"checkpoint":`)):
			closeLeaf()
			var l checkpointLine
			err := decodeLine(line, &l)
			if err == nil {
				var p Checkpoint
				p, err = openCheckpoint([]byte(l.Checkpoint), key)
				it.point = &p
			}
			if err != nil {
				it.point, it.bad = nil, "the checkpoint is not signed by this log's key"
			}
		default:
			it.bad = "this line is no entry, value or checkpoint in its place"
		}
		out.items = append(out.items, it)
	}
	closeLeaf()
	return out
}

func parseLeafLine(line []byte, it *item, skim bool) Leaf {
	it.isLeaf = true
	const tail = len(leafMid) + 2*HashSize + len(leafTail)
	body := line[len(leafHead):]
	if len(body) < tail || !bytes.HasPrefix(body[len(body)-tail:], []byte(leafMid)) {
		it.bad = "the line is damaged"
		return Leaf{}
	}
	leaf := body[:len(body)-tail]
	r := reader{rest: body[len(leaf)+len(leafMid):]}
	stated, ok := r.hash()
	if !ok || string(r.rest) != "}" {
		it.bad = "the line is damaged"
		return Leaf{}
	}
	l, err := parseLeaf(leaf, skim)
	if err != nil {
		it.bad = "it cannot be read"
		return Leaf{}
	}
	it.hash, it.seq, it.micros = recordHash(leaf), l.Seq, l.Time.UnixMicro()
	if it.hash != tlog.Hash(stated) {
		it.bad = "it was changed: it does not have the hash that was stored with it"
	}
	return l
}
