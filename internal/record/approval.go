package record

import (
	"time"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

// The states of an ask. Only an open ask can be answered; one whose Expires has
// passed is expired whatever its row says.
const (
	AskOpen      = "open"
	AskApproved  = "approved" // enough verified statements exist
	AskDenied    = "denied"   // one verified deny exists
	AskExpired   = "expired"
	AskWithdrawn = "withdrawn" // who asked no longer waits and the question is moot
)

// The kinds of signed statements.
const (
	StatementApprove = "approve"
	StatementDeny    = "deny"
	StatementGrant   = "grant"
)

// AskRow is one published question to people: may exactly this action happen,
// once? It is stored before anybody is asked, so that every process that shares
// the state directory sees it. Payload is what counts: it is verified each time
// the row is read, and the other columns must agree with it.
type AskRow struct {
	ID      string // short, for a person to type; chosen by the store if empty
	Digest  action.Digest
	Created time.Time // set by the store
	Expires time.Time // 15 min after creation unless configured, at most 24 h
	State   string    // AskOpen …
	Agent   string
	Session string
	Kind    action.Kind
	Target  string
	Because string // the deciding rule's sentence
	Nonce   string // 128 random bits, hex; every answer carries it, one intent consumes it
	Payload []byte // the statement to sign in order to approve, canonical JSON
	// Seen is the label of what Payload says; only for who stores it.
	Seen label.Label
}

// Statement is one signed answer as it was stored. Whether it counts is decided
// by verifying Envelope, each time.
type Statement struct {
	ID       int64
	Kind     string // StatementApprove or StatementDeny
	Created  time.Time
	Envelope []byte // DSSE, canonical JSON
}
