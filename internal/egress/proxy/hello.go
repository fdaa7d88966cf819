package proxy

import "errors"

// maxHello bounds a ClientHello with its record headers; those with
// post-quantum keys have about 2 KiB.
const maxHello = 32 << 10

// hello is what a ClientHello says in the clear.
type hello struct {
	name      string // the host of the server_name extension; empty if there is none
	encrypted bool   // carries an encrypted ClientHello, or filling in its place
}

var (
	errMore     = errors.New("more bytes are needed")
	errHello    = errors.New("no well-formed ClientHello")
	errTooLarge = errors.New("the ClientHello is too large")
)

const (
	recordHandshake = 22
	clientHello     = 1
	extServerName   = 0
	extESNI         = 0xffce // drafts before ECH
	extECH          = 0xfe0d // RFC 9849
)

// cursor reads big-endian fields; a field that is not there empties it for
// good.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *cursor) number(bytes int) int {
	n := 0
	for _, b := range c.take(bytes) {
		n = n<<8 | int(b)
	}
	return n
}

// vector reads a field with its length in front.
func (c *cursor) vector(lengthBytes int) *cursor {
	b := c.take(c.number(lengthBytes))
	return &cursor{b, c.bad}
}

func (c *cursor) empty() bool { return len(c.b) == 0 }

// parseHello reads the ClientHello with which b starts; it may be spread over
// several records. errMore asks for more of b. It accepts less than servers
// do: what it does not understand is refused, so no server can read another
// name than it did.
func parseHello(b []byte) (hello, error) {
	var msg []byte
	for {
		if len(msg) >= 4 {
			head := cursor{b: msg}
			if head.number(1) != clientHello {
				return hello{}, errHello
			}
			size := head.number(3)
			if size > maxHello {
				return hello{}, errTooLarge
			}
			if len(head.b) > size {
				return hello{}, errHello // a second message has no place here
			}
			if len(head.b) == size {
				return readHello(head.b)
			}
		}
		if len(b) < 5 {
			return hello{}, errMore
		}
		size := int(b[3])<<8 | int(b[4])
		if b[0] != recordHandshake || b[1] != 3 || b[2] > 4 || size == 0 || size > 1<<14 {
			return hello{}, errHello
		}
		if len(b) < 5+size {
			return hello{}, errMore
		}
		msg = append(msg, b[5:5+size]...)
		b = b[5+size:]
	}
}

func readHello(b []byte) (hello, error) {
	var h hello
	c := &cursor{b: b}
	c.take(2 + 32) // version, random
	c.vector(1)    // session
	c.vector(2)    // cipher suites
	c.vector(1)    // compression
	if c.bad {
		return h, errHello
	}
	if c.empty() {
		return h, nil // as before TLS 1.0's extensions
	}
	exts := c.vector(2)
	if exts.bad || !c.empty() {
		return h, errHello
	}
	seen := map[int]bool{}
	for !exts.empty() {
		kind := exts.number(2)
		body := exts.vector(2)
		if body.bad || seen[kind] {
			return h, errHello
		}
		seen[kind] = true
		switch kind {
		case extECH, extESNI:
			h.encrypted = true
		case extServerName:
			// Exactly one host name: a list would be one name for us and
			// another for the server.
			list := body.vector(2)
			if list.number(1) != 0 {
				return h, errHello
			}
			name := list.vector(2)
			if name.bad || name.empty() || !list.empty() || !body.empty() {
				return h, errHello
			}
			h.name = string(name.b)
		}
	}
	if exts.bad {
		return h, errHello
	}
	return h, nil
}
