// Package fakedns answers a sandbox's DNS questions without asking anybody.
//
// A name that some rule may allow gets addresses of its own out of
// 198.18.0.0/15 (RFC 2544, routed nowhere) and a unique local IPv6 prefix; a
// connection to such an address is a connection to that name. The real
// addresses are looked up outside, once per connection, by the dialer.
//
// Invariants:
//   - no byte of a question leaves: there is no upstream and no resolver here,
//     so names and record types are no channel out;
//   - a name keeps its addresses for the run, an address never changes its name;
//   - the table is bounded; when it is full, new names fail and old ones stay;
//   - only A and AAAA questions get data. HTTPS and SVCB get none, so no client
//     learns a key for an encrypted ClientHello here;
//   - a denied name does not exist (NXDOMAIN), which ends getaddrinfo at once;
//     a refusal would make it ask again and report a passing fault.
//
// Knowing a name's fake address permits nothing: the connection is judged on
// its own, whatever was answered here.
//
// It imports egress for the spelling of names; app wires it to the sandbox's
// listeners.
package fakedns
