// Package audit defines the evidence: the entries of the log, the Merkle tree
// over them, its signed checkpoints, the export format, the offline verifier
// and the anchors that keep checkpoints outside this machine.
//
// Invariants: an entry holds nothing that identifies a person or tells a value,
// only pseudonyms and salted commitments, so values can be erased while every
// proof stays valid; an entry, and every line of an export, has exactly one
// encoding, so no bit of it can change unnoticed; Verify needs the export and a
// public key, never a store.
//
// Formats: tree hashes are RFC 6962's as golang.org/x/mod/sumdb/tlog computes
// them, checkpoints are signed notes in C2SP tlog-checkpoint form (origin, size,
// root), entries are RFC 8785 canonical JSON.
//
// It imports the vocabulary only. app wires it into store; cli may import it
// for verification. git is started here and nowhere else outside sandbox,
// because an anchor that lives in a repository has to be committed by git
// itself; see GitAnchor.
package audit
