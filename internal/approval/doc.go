// Package approval asks people and verifies what they signed.
//
// An approval is a DSSE envelope over an in-toto Statement about one action's
// exact digest, signed with an SSH key (SSHSIG, namespace approve@sallyport):
// single use, expiring, bound to this instance and to the nonce of a published
// ask. `ssh-keygen -Y verify` accepts the exported signature over the exported
// bytes, so evidence can be checked without Sallyport.
//
// Invariants: an envelope counts only if it is byte for byte the one that the
// stored ask demands, and it is verified each time it is read; distinct people
// are counted, not keys; one verified deny ends an ask; a hardware key must
// have seen presence and verified its user; who counts is asked at each
// decision, and must be cleared for what they sign; where two or more are
// needed, who asks is none of them; while the clock is behind the log, no
// approval counts. No answer is a no.
//
// Trust is a version of the trust file: signed by the threshold of the owners
// before it and of its own, accepted in one form only.
//
// It imports the vocabulary only. The store implements Book; app wires; gate
// uses Service as its Approver.
package approval
