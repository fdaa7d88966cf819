// Package proxy serves the TCP connections of a sandbox: it finds out what
// each one is for, has that judged, and only then connects.
//
// The sandbox hands over listeners made inside its empty network namespace.
// What arrives there is either transparent (a program connected to an address,
// Config.Original tells which) or spoken to the proxy itself (HTTP proxy
// requests, CONNECT, SOCKS5). Whatever the way, the destination is one host and
// one port, and everything that names it must agree.
//
// Invariants:
//   - nothing is dialled before the Judge returned a Passage, and a Passage is
//     ended exactly once;
//   - a connection's host is fixed before its content is looked at; the name in
//     a ClientHello, the Host of every request and the target of CONNECT must be
//     that host, in any spelling of it, or the connection is refused;
//   - HTTP is parsed by net/http and written anew: the bytes of a request's
//     head never pass, so two readers cannot see two requests;
//   - what cannot be judged at the level a rule asks for does not pass.
//
// The two levels. LevelConnect lets a TLS connection through after its first
// ClientHello was checked; inside it is opaque: which host a server answers for
// in there is the server's choice. A second name hidden in an encrypted
// ClientHello is therefore refused at this level, and so is the random filling
// that some browsers send in its place, since nobody can tell them apart.
// LevelRequest opens TLS with a certificate of the run's own Authority and has
// every request judged; the server's certificate is verified for the same host.
// Plain HTTP is judged by request at either level.
//
// Carried: HTTP/1.0 and 1.1 with keep-alive, trailers, informational answers
// and WebSocket; HTTP/2 inside TLS that is opened here, gRPC with it; other
// protocols as bytes at LevelConnect, except on the ports of the web. Not
// carried: HTTP/2 without TLS, upgrades to anything but WebSocket, CONNECT
// through a further proxy, UDP. A WebSocket is bytes after its first request.
// A program that closes its sending side has, in HTTP, given up.
//
// It imports egress for the spelling of hosts and fault; app wires it.
package proxy
