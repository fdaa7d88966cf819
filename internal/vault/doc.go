// Package vault keeps classified data at rest: every item is an envelope that
// opens under exactly one instance, id, label and version.
//
// The hierarchy of keys, each wrapped by the one above it with
// XChaCha20-Poly1305:
//
//	root key                     32 random bytes: a 0600 file, the keyring, or sealed by a passphrase
//	└ key-encryption key (KEK)   random, one per level × set of compartments × epoch
//	  └ record key               random, one per version of an item
//	    └ body
//
// Bodies and record keys are bound, as associated data, to the instance, the
// item's id, its whole label and its version, in the one encoding of binding.go;
// the wrapping of a record key is bound to its epoch as well. So an envelope
// that was changed, cut, extended, moved to another record, given another label
// or another version does not open. ADR 0013 has the formats and what they do
// not promise.
//
// Invariants:
//   - A record key exists in memory only inside broker.release, after the
//     injected Check said yes, and is wiped when it returns. No record key or KEK
//     leaves the package.
//   - A wrong key, an altered byte and a missing row are errors; no error is
//     answered with empty data, and no error text holds a key or data.
//   - A label changes only by Relabel, which seals the item afresh with a new
//     record key and a new version.
//   - Epochs only grow; what was sealed in a retired epoch opens nowhere.
//   - Keys are wiped as well as a collected language can (wipe.go). Keeping the
//     process out of core dumps is the composition root's doing, at its start.
//
// The application's wiring imports it; it imports the vocabulary only. Rows are
// kept by a Book, whose contract says what erasing means.
package vault
