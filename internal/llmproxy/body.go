package llmproxy

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"sallyport/internal/fault"
)

const (
	// firstRead is how much memory a body gets before its bytes have come.
	firstRead = 4 << 10
	// mostAhead is how much it gets at once if it says how long it is.
	mostAhead = 1 << 20
)

// read takes the request's body whole: what is judged is what is sent.
func (x *exchange) read() *halt {
	_ = x.rc.SetReadDeadline(time.Now().Add(x.p.cfg.ReadTimeout)) // unsupported by recorders only
	body, err := x.slurp(x.r.Body, x.r.ContentLength, x.p.cfg.MaxBody)
	switch {
	case err == nil:
		_ = x.rc.SetReadDeadline(time.Time{})
	case errors.Is(err, errTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "body.size", "the request is larger than the proxy reads; shorten the conversation, or raise proxy.max_body")
	case errors.Is(err, errNoRoom):
		return x.unavailable(noRoom)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(http.StatusRequestTimeout, "body.slow", "the request did not arrive in time; send it within a minute")
	default:
		return &halt{outcome: outcomeCanceled, because: "the client went away", status: http.StatusBadRequest, rule: "body.broken"}
	}
	x.body, x.view, x.heard = body, body, true
	return x.decode()
}

// noRoom tells a client why it has to wait.
const noRoom = "the proxy holds as many bytes of requests and replies as it may; try again"

var (
	errTooLarge = errors.New("larger than allowed")
	errNoRoom   = errors.New("no memory left for it")
)

// slurp reads r to its end, at most most bytes. size is how many it is said to
// have, -1 = unknown. The memory is the exchange's until it ends.
func (x *exchange) slurp(r io.Reader, size, most int64) ([]byte, error) {
	if size > most {
		return nil, errTooLarge
	}
	if r == nil || r == http.NoBody {
		return nil, nil
	}
	first := int64(firstRead)
	if size >= 0 {
		first = min(size+1, mostAhead) // one more, to meet the end without growing
	}
	if !x.hold(first) {
		return nil, errNoRoom
	}
	buf := make([]byte, 0, first)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case int64(len(buf)) > most:
			return nil, errTooLarge
		case errors.Is(err, io.EOF):
			return buf, nil
		case err != nil:
			return nil, err
		}
		if len(buf) == cap(buf) {
			grown := min(2*int64(cap(buf)), most+1)
			if size >= 0 {
				grown = min(grown, size+1)
			}
			if !x.hold(grown) {
				return nil, errNoRoom
			}
			bigger := make([]byte, len(buf), max(grown, int64(len(buf))+1))
			copy(bigger, buf)
			buf = bigger
		}
	}
}

// hold counts memory against the proxy's bound until the exchange lets go.
func (x *exchange) hold(n int64) bool {
	if !x.p.room.take(n) {
		return false
	}
	x.held += n
	return true
}

// letGo gives back what the request's body held.
func (x *exchange) letGo() {
	x.p.room.give(x.held)
	x.held, x.body, x.view, x.q = 0, nil, nil, nil
}

// decode gives the view of a compressed body; the original bytes are sent on.
// Only encodings that every reader understands alike are taken: one gzip or
// zlib stream and nothing behind it.
func (x *exchange) decode() *halt {
	encodings := x.r.Header["Content-Encoding"]
	if len(encodings) == 0 {
		return nil
	}
	view, err := x.decompress(strings.Join(encodings, ","), x.body)
	switch {
	case errors.Is(err, errTooLarge):
		return refuse(http.StatusRequestEntityTooLarge, "body.size", "the decompressed request is larger than the proxy reads; shorten the conversation, or raise proxy.max_body")
	case errors.Is(err, errNoRoom):
		return x.unavailable(noRoom)
	case fault.Is(err, fault.Unsupported):
		return refuse(http.StatusUnsupportedMediaType, "body.encoding", fault.PublicText(err))
	case err != nil:
		return refuse(http.StatusBadRequest, "body.encoding", "the compressed request does not decompress to its end; send it uncompressed")
	}
	x.view = view
	return nil
}

func (x *exchange) decompress(encoding string, body []byte) ([]byte, error) {
	rest := bytes.NewReader(body) // a ByteReader: nothing is read ahead
	var r io.ReadCloser
	var err error
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "identity":
		return body, nil
	case "gzip", "x-gzip":
		var g *gzip.Reader
		if g, err = gzip.NewReader(rest); err == nil {
			g.Multistream(false)
			r = g
		}
	case "deflate":
		r, err = zlib.NewReader(rest)
	default:
		return nil, fault.New("llmproxy.decode", fault.Unsupported, "the body's encoding %s cannot be looked into; use gzip, deflate or none", plain(encoding, 64))
	}
	if err != nil {
		return nil, err
	}
	out, err := x.slurp(r, -1, x.p.cfg.MaxBody)
	if err != nil {
		return nil, err
	}
	if err := r.Close(); err != nil {
		return nil, err
	}
	if rest.Len() > 0 {
		return nil, errors.New("bytes follow the compressed stream")
	}
	return out, nil
}
