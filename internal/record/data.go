package record

import (
	"time"

	"sallyport/internal/label"
)

// Object is what is known about a classified item without opening it.
type Object struct {
	ID      string      // the operator's name for it, or an opaque handle
	Version uint64      // moves with each change of content or label
	Label   label.Label // fixed for a version
	Made    label.Label // of the context that made it: who may know that it exists
	By      string      // who made it: an agent's username or a person
	Created time.Time
	Held    bool // under legal hold
}

// Slot is a mailbox with a fixed label: whatever is put in counts as Label, and
// so does whether anything is there (rule R5).
type Slot struct {
	To    string      // the agent that reads it
	Name  string      // the tier that writes to it
	Label label.Label // fixed
}

// Message is one message in a slot. Its text is a sealed item.
type Message struct {
	ID      string // handle of the item, m-…
	Slot    string
	From    string
	To      string
	Sent    time.Time
	Made    label.Label // of the context that sent it
	Fetched bool        // it was listed to its reader before
}

// Instruction is a signed order to an agent (kind agent.instruct): the only way
// to integrity signed.
type Instruction struct {
	ID      string
	To      string      // the agent
	Type    string      // what kind of order it is, for the quorum; "task" unless given
	Text    string      // shown to the signers and to the agent
	Label   label.Label // of the text
	Ceiling label.Label // the clearance that the user chose: bounds the context that carries it out
	Digest  string      // hex, of the action that was signed
	Created time.Time
	Expires time.Time
	Taken   time.Time // zero until a context carries it out
}

// Place is a directory that outlives sessions, with the label of what was
// written there: it only rises.
type Place struct {
	Path  string
	Label label.Label
}
