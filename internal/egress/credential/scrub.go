package credential

import "io"

// Scrub gives b with every value, in every form the package documentation
// lists, replaced by its placeholder in the same form. A b that holds none is
// given back as it is, without a copy; b itself is never changed.
func (s *Set) Scrub(b []byte) []byte {
	out, _ := s.values.replace(b, true)
	return out
}

func (s *Set) scrubText(text string) string {
	return string(s.Scrub([]byte(text)))
}

// replace gives b without words and how many bytes at its end must wait for
// more text. Without a find the result is a part of b.
func (m *matcher) replace(b []byte, eof bool) (out []byte, held int) {
	begin, end, f := m.find(b, 0, eof)
	if f == nil {
		return b[:begin:begin], len(b) - begin
	}
	out = make([]byte, 0, len(b)+len(f.instead))
	for done := 0; ; {
		out = append(out, b[done:begin]...)
		if f == nil {
			return out, len(b) - begin
		}
		out = append(out, f.replacement(b[begin:end])...)
		done = end
		begin, end, f = m.find(b, done, eof)
	}
}

// Writer gives a writer that scrubs what is written to it, across the borders
// of writes, and passes it on to w: for transcripts and logs. What might be the
// beginning of a value waits for the next Write or for Close, which does not
// close w. It is not safe for concurrent use.
func (s *Set) Writer(w io.Writer) io.WriteCloser {
	return &writer{m: s.values, w: w}
}

type writer struct {
	m      *matcher
	w      io.Writer
	held   []byte // the beginning of a word, perhaps
	err    error  // the first; it stays
	closed bool
}

// Write implements io.Writer.
func (w *writer) Write(p []byte) (int, error) {
	if w.closed {
		return 0, io.ErrClosedPipe
	}
	if w.pass(p, false); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// Close writes what waited. A second Close does nothing.
func (w *writer) Close() error {
	if !w.closed {
		w.closed = true
		w.pass(nil, true)
	}
	return w.err
}

func (w *writer) pass(p []byte, eof bool) {
	if w.err != nil {
		return
	}
	if len(w.held) > 0 {
		w.held = append(w.held, p...)
		p = w.held
	}
	out, held := w.m.replace(p, eof)
	if len(out) > 0 {
		_, w.err = w.w.Write(out)
	}
	w.held = append(w.held[:0], p[len(p)-held:]...)
}

// reader scrubs a stream that is read.
type reader struct {
	m    *matcher
	src  io.Reader
	buf  []byte
	held int    // bytes of buf, from its beginning after the next move, that wait
	end  int    // of what buf holds
	out  []byte // ready to be given
	err  error
}

const readSize = 32 << 10 // bytes; what io.Copy reads at once

// Read implements io.Reader. It gives what it has as soon as it cannot be the
// beginning of a value. When the source breaks off, what waited is dropped: it
// may be most of a value.
func (r *reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.out) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.fill()
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// fill reads once. All of out was given, so buf may be written again.
func (r *reader) fill() {
	waits := r.buf[r.end-r.held : r.end]
	if len(r.buf) < r.held+readSize/2 {
		r.buf = make([]byte, 2*r.held+readSize)
	}
	r.end = copy(r.buf, waits)
	n, err := r.src.Read(r.buf[r.end:])
	r.end, r.err = r.end+n, err
	r.out, r.held = r.m.replace(r.buf[:r.end], err == io.EOF)
}
