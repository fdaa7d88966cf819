// Package auth knows who may call Sallyport's own listeners: API keys of 256
// random bits, of which only a hash is kept.
//
// Invariants: a key's value exists at its creation and with its owner, nowhere
// else; looking one up takes the same work whether it exists or not; an
// expired, revoked or unknown key is the same answer; a revocation holds from
// the next request on, in every process.
//
// App and the driver web import it; it imports the vocabulary only.
package auth
