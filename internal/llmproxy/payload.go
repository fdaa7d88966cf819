package llmproxy

import (
	"errors"
	"io"
	"sync"
)

// payload is a request's body on its way. The transport keeps the request as
// long as the reply lasts, so the bytes are dropped as soon as it has begun: a
// stream that waits for minutes holds none of them.
type payload struct {
	mu sync.Mutex
	b  []byte
}

var errSent = errors.New("the request was answered already")

// open gives the body from its beginning.
func (p *payload) open() (io.ReadCloser, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.b == nil {
		return nil, errSent
	}
	return &sending{b: p.b}, nil
}

// drop forgets the bytes; what is being sent is sent.
func (p *payload) drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.b = nil
}

// sending is a reader of a payload. Closing it while it is read is safe.
type sending struct {
	mu sync.Mutex
	b  []byte // what is left
}

// take removes at most n bytes.
func (s *sending) take(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.b[:min(n, len(s.b))]
	if s.b = s.b[len(out):]; len(s.b) == 0 {
		s.b = nil
	}
	return out
}

// Read implements io.Reader.
func (s *sending) Read(p []byte) (int, error) {
	n := copy(p, s.take(len(p)))
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// WriteTo implements io.WriterTo: the bytes are not copied once more.
func (s *sending) WriteTo(w io.Writer) (int64, error) {
	const all = 1 << 62
	n, err := w.Write(s.take(all))
	return int64(n), err
}

// Close implements io.Closer.
func (s *sending) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.b = nil
	return nil
}
