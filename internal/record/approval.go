package record

import (
	"time"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

// AskStatus is where an ask stands.
type AskStatus string

// The states of an ask. Only an open ask can be answered; an ask whose Expires
// has passed is expired whatever its row says.
const (
	AskOpen     AskStatus = "open"
	AskApproved AskStatus = "approved" // enough verified statements exist
	AskDenied   AskStatus = "denied"   // one verified deny exists
	AskUsed     AskStatus = "used"     // its nonce was consumed with an intent
	AskExpired  AskStatus = "expired"
)

// AskRow is one published question to people: may exactly this action happen,
// once? It is written before anybody is asked, so that it is visible to every
// process that shares the state directory.
type AskRow struct {
	ID           string        // 12 lower-case hex digits; what a person types
	Digest       action.Digest // SHA-256 of Action
	Nonce        string        // 128 random bits, hex; every answer to this ask carries it, one intent consumes it
	Created      time.Time
	Expires      time.Time // Created + 15 min unless configured, at most + 24 h
	Status       AskStatus
	Agent        string
	Session      string
	Kind         action.Kind
	Target       string
	Because      string // the deciding rule's sentence
	Needs        []Need
	Action       []byte      // canonical JSON of the whole action: the very bytes that were digested
	ContextLabel label.Label // of the arguments joined with the context
	PolicySet    string
	Advice       []Finding // what detectors saw; shown, never deciding
}

// StatementRow is one signed answer to an ask. The envelope is what counts:
// whoever reads a row verifies the envelope again and ignores the other
// columns when they disagree.
type StatementRow struct {
	Ask      string        // AskRow.ID; empty for a grant
	Digest   action.Digest // subject of the statement
	Nonce    string        // the ask's; shared by all answers to one ask
	Kind     string        // approve, deny, grant
	Person   string
	KeyID    string // SHA256:… fingerprint of the signing key
	Envelope []byte // DSSE envelope, JSON
	Time     time.Time
	Used     bool // the nonce was consumed with an intent: no longer an approval
}
