// Package credential keeps credentials outside the sandbox: the agent holds a
// placeholder, and the proxy that terminates its TLS puts the value in where,
// and only where, a Binding says.
//
// Invariants:
//   - a value is written to its own host and port only, over TLS only, in its
//     declared places only; anywhere else the placeholder stays what it is, a
//     word without power, and Outgoing reports it;
//   - towards a host that has a secret bound, on every port whose requests come
//     by here, a request that carries a credential of somebody else is refused:
//     an account of the attacker's on an allowed host is a way out for data;
//   - every substitution is announced to the gate first, and its no refuses the
//     request;
//   - what comes back from such a host is scrubbed, headers, body and trailers,
//     whatever chunks it comes in; what cannot be read (another content coding,
//     a part of a body, a switched protocol) is refused;
//   - no error, log line, marshalled or printed form holds a value: Reveal is
//     the one way out of a Value.
//
// The scrubber finds a value as it is, percent-encoded, as JSON or C string
// escapes (any mixture of these, character by character), in hexadecimal of
// either case and in base64 of either alphabet at any alignment, with or
// without padding. It does not find transformations beyond these (wrapped,
// compressed, encrypted, reversed, UTF-16, twice-encoded text) nor pieces of a
// value: it is the second line of defence. The first is that a value goes to
// its own host alone, which knows it anyway.
//
// Signing schemes, where the secret never travels but a signature does (AWS
// SigV4, OAuth 1), are out of scope: a binding cannot express them, and their
// Authorization headers are refused towards a host that has a secret bound. Of
// a request's body only the bodies of hosts with a JSON or form place are read;
// a foreign credential in another host's body is not seen.
//
// What callers owe: Outgoing is called once for every request after it was
// judged, immediately before it is sent, and the request is sent as Outgoing
// left it; Incoming is called for its response before anything of it is
// passed on; informational responses (1xx) are not passed on; a request's
// trailers are never forwarded.
//
// It imports fault only; app builds a Set and hands it to the proxy.
package credential
