package credential

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"sallyport/internal/fault"
)

const opIn = "credential.incoming"

// Incoming scrubs a response of host:port before anything of it is passed on:
// every value of the set, in every form that the package documentation lists,
// becomes its placeholder in the status text, the header, the body while it is
// read, and the trailers when it was read to its end. Responses of hosts
// without a bound secret stay as they are, on their way and unread.
//
// A body in gzip or deflate is decoded and stays so. An error, fault.Denied,
// means that the response cannot be scrubbed (another coding, a part of a body,
// a change of protocol); its body was closed and nothing of it may be passed
// on. A body that breaks off gives its error from Read.
func (s *Set) Incoming(host string, port uint16, resp *http.Response) error {
	host = canonicalHost(host)
	if s.hosts[host] == nil {
		return nil
	}
	refuse := func(format string, args ...any) error {
		if resp.Body != nil {
			_ = resp.Body.Close() // it is not used
		}
		return fault.New(opIn, fault.Denied, "the answer of %s:%d %s", host, port, fmt.Sprintf(format, args...))
	}
	switch resp.StatusCode {
	case http.StatusSwitchingProtocols:
		return refuse("changes the protocol, and behind that its secrets could not be watched; use plain HTTP requests")
	case http.StatusPartialContent:
		return refuse("is a part of a body, in which a secret could not be recognised; ask for the whole")
	}
	coding, ok := contentCoding(resp.Header)
	if !ok {
		return refuse("is encoded in a way other than gzip or deflate and cannot be searched for secrets; leave Accept-Encoding to Sallyport")
	}
	resp.Status = s.scrubText(resp.Status)
	s.scrubHeader(resp.Header)
	s.scrubHeader(resp.Trailer)
	if resp.Body == nil || resp.Body == http.NoBody || noBody(resp) {
		return nil
	}
	for _, name := range []string{"Content-Encoding", "Content-Length", "Accept-Ranges"} {
		resp.Header.Del(name)
	}
	resp.ContentLength = -1
	resp.Body = &body{
		reader: reader{m: s.values, src: decoder(coding, resp.Body)},
		closer: resp.Body,
		end:    func() { s.scrubHeader(resp.Trailer) },
	}
	return nil
}

// noBody tells the answers whose header may speak of a body that is not there.
func noBody(resp *http.Response) bool {
	return resp.Request != nil && resp.Request.Method == http.MethodHead ||
		resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
}

// contentCoding gives the one coding of a body, "" for none.
func contentCoding(h http.Header) (string, bool) {
	coding := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ",")))
	switch coding {
	case "", "identity":
		return "", true
	case "gzip", "x-gzip", "deflate":
		return strings.TrimPrefix(coding, "x-"), true
	}
	return "", false
}

// scrubHeader scrubs names and values. A name that holds a value is dropped:
// a placeholder need not be a name.
func (s *Set) scrubHeader(h http.Header) {
	for name, values := range h {
		if s.scrubText(name) != name {
			delete(h, name)
			continue
		}
		for i, v := range values {
			values[i] = s.scrubText(v)
		}
	}
}

// body is a response's body that is scrubbed while it is read.
type body struct {
	reader
	closer io.Closer
	end    func() // when all was read: the trailers are there
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.reader.Read(p)
	if err != nil {
		b.end()
	}
	return n, err
}

// Close closes the source.
func (b *body) Close() error { return b.closer.Close() }

// decoder undoes a coding, beginning with the first Read.
func decoder(coding string, src io.Reader) io.Reader {
	if coding == "" {
		return src
	}
	return &lazy{src: src, gzip: coding == "gzip"}
}

type lazy struct {
	src  io.Reader
	gzip bool
	r    io.Reader
}

// Read implements io.Reader.
func (l *lazy) Read(p []byte) (int, error) {
	if l.r == nil {
		if err := l.open(); err != nil {
			return 0, err
		}
	}
	n, err := l.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: the body's coding: %w", opIn, err)
	} else if err == io.EOF { //nolint:errorlint // as it is
		// What a decoder leaves unread could be read by another client, and
		// the connection's trailers come behind it.
		if left, _ := io.Copy(io.Discard, l.src); left > 0 {
			err = fmt.Errorf("%s: the body goes on behind the end of its coding", opIn)
		}
	}
	return n, err
}

func (l *lazy) open() error {
	src := bufio.NewReader(l.src)
	l.src = src
	head, err := src.Peek(2)
	if len(head) == 0 {
		return err // an empty body, whatever its header says
	}
	switch {
	case l.gzip:
		l.r, err = gzip.NewReader(src)
	case len(head) == 2 && head[0]&15 == 8 && (uint(head[0])<<8|uint(head[1]))%31 == 0:
		// "deflate" means zlib's form; some servers leave its frame out.
		l.r, err = zlib.NewReader(src)
	default:
		l.r, err = flate.NewReader(src), nil
	}
	if err != nil {
		return fmt.Errorf("%s: the body's coding: %w", opIn, err)
	}
	return nil
}
