package proxy

import (
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"slices"

	"sallyport/internal/egress"
)

// SOCKS version 5, RFC 1928: no authentication, CONNECT only.
const (
	socksVersion     = 5
	socksOK          = 0
	socksFailure     = 1
	socksNotAllowed  = 2
	socksUnreachable = 4
	socksNoCommand   = 7
	socksNoAddress   = 8
)

var errSOCKS = errors.New("no SOCKS version 5 request")

// socksError is an answer to a request that is understood and not served.
type socksError byte

// Error says it in words.
func (e socksError) Error() string {
	if e == socksNoCommand {
		return "of SOCKS only CONNECT is served"
	}
	return "the SOCKS address is no host"
}

// readSOCKS does the greeting and reads the request: a host in its one
// spelling and a port.
func readSOCKS(rw io.ReadWriter) (string, uint16, error) {
	var b [256]byte
	if _, err := io.ReadFull(rw, b[:2]); err != nil {
		return "", 0, err
	}
	if b[0] != socksVersion {
		return "", 0, errSOCKS
	}
	offers := b[:b[1]]
	if _, err := io.ReadFull(rw, offers); err != nil {
		return "", 0, err
	}
	if !slices.Contains(offers, 0) {
		_, _ = rw.Write([]byte{socksVersion, 0xff}) // it ends here either way
		return "", 0, errSOCKS
	}
	if _, err := rw.Write([]byte{socksVersion, 0}); err != nil {
		return "", 0, err
	}
	if _, err := io.ReadFull(rw, b[:4]); err != nil {
		return "", 0, err
	}
	if b[0] != socksVersion || b[2] != 0 {
		return "", 0, errSOCKS
	}
	command := b[1]
	host, err := readSOCKSAddress(rw, b[3])
	if err != nil {
		return "", 0, err
	}
	if _, err := io.ReadFull(rw, b[:2]); err != nil {
		return "", 0, err
	}
	port := binary.BigEndian.Uint16(b[:2])
	if command != 1 {
		return "", 0, socksError(socksNoCommand)
	}
	host, ok := egress.CanonicalHost(host)
	if !ok || port == 0 {
		return "", 0, socksError(socksNoAddress)
	}
	return host, port, nil
}

func readSOCKSAddress(r io.Reader, kind byte) (string, error) {
	var b [256]byte
	switch kind {
	case 1:
		_, err := io.ReadFull(r, b[:4])
		return netip.AddrFrom4([4]byte(b[:4])).String(), err
	case 4:
		_, err := io.ReadFull(r, b[:16])
		return netip.AddrFrom16([16]byte(b[:16])).String(), err
	case 3:
		if _, err := io.ReadFull(r, b[:1]); err != nil {
			return "", err
		}
		name := b[:b[0]]
		_, err := io.ReadFull(r, name)
		return string(name), err
	}
	return "", socksError(socksNoAddress)
}

// replySOCKS ends the negotiation; the bound address is nobody's business.
func replySOCKS(w io.Writer, code byte) error {
	_, err := w.Write([]byte{socksVersion, code, 0, 1, 0, 0, 0, 0, 0, 0})
	return err
}
