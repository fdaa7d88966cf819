package proxy

import "bytes"

// proto is what a connection's first bytes are.
type proto int

const (
	protoMore  proto = iota // cannot be told yet
	protoTLS                // a TLS record
	protoHTTP               // a request, or what a generous server may take for one
	protoSOCKS              // SOCKS version 5
	protoOther              // neither, for certain
)

// maxLine bounds the first line that is looked at; a longer one is HTTP if
// anything.
const maxLine = 16 << 10

// maxToken bounds a method; the longest one registered has 17 characters.
const maxToken = 64

// methods that may stand before a path without a version behind it (HTTP/0.9).
var methods = map[string]bool{
	"GET": true, "HEAD": true, "POST": true, "PUT": true, "DELETE": true, "OPTIONS": true,
	"TRACE": true, "PATCH": true, "CONNECT": true, "PRI": true,
}

// sniff tells what b starts. Doubtful text is HTTP, whose parser then refuses
// it: the reverse would hand an unjudged request to a server that reads more
// generously. While it cannot be told, protoMore; a connection that stops
// there is not passed on.
func sniff(b []byte) proto {
	if len(b) == 0 {
		return protoMore
	}
	switch b[0] {
	case recordHandshake:
		if len(b) == 1 {
			return protoMore
		}
		if b[1] == 3 {
			return protoTLS
		}
		return protoOther
	case 5:
		return protoSOCKS
	}
	// Servers skip empty lines, some blanks too, before a request.
	line := bytes.TrimLeft(b, "\r\n\t ")
	if skipped := len(b) - len(line); skipped > maxLine {
		return protoHTTP
	}
	if len(line) == 0 {
		return protoMore
	}
	token := bytes.IndexFunc(line, func(c rune) bool { return !tokenRune(c) })
	switch {
	case token < 0 && len(line) <= maxToken:
		return protoMore
	case token <= 0, token > maxToken, !bytes.ContainsRune([]byte(" \t\r\n"), rune(line[token])):
		return protoOther
	}
	end := bytes.IndexByte(line[:min(len(line), maxLine)], '\n')
	switch {
	case end >= 0:
		return request(line[:token], bytes.ToUpper(line[token:end]))
	case len(line) > maxLine:
		return protoHTTP
	default:
		return protoMore
	}
}

// request tells whether a first line may be a request's.
func request(token, rest []byte) proto {
	if bytes.Contains(rest, []byte("HTTP/")) {
		return protoHTTP
	}
	rest = bytes.TrimLeft(rest, " \t")
	if methods[string(bytes.ToUpper(token))] && (bytes.HasPrefix(rest, []byte("/")) || bytes.Contains(rest, []byte("://"))) {
		return protoHTTP
	}
	return protoOther
}

func tokenRune(c rune) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c < 0x80 && bytes.ContainsRune([]byte("!#$%&'*+-.^_`|~"), c)
}
