package agent

import (
	"context"
	"time"

	"sallyport/internal/record"
)

// Answer says how a prompt ended.
type Answer uint8

// The answers.
const (
	Line      Answer = iota // Enter was pressed; the line may be empty
	Timeout                 // the wait was over and nothing had been typed
	Wake                    // a message arrived
	EOF                     // the input is closed
	Interrupt               // Ctrl-C on an empty line
)

// Voice says whose text is printed.
type Voice uint8

// The voices.
const (
	FromSystem  Voice = iota // Sallyport itself
	FromPrompt               // a prompt
	FromModel                // what the model wrote
	FromCommand              // what a command printed
	FromError                // something went wrong
)

// Phase says what a run is doing.
type Phase uint8

// The phases.
const (
	Idle     Phase = iota // nothing is in flight
	Thinking              // waiting for the model
	Running               // a command runs
	Waiting               // a pause
)

// Status is the progress of a run at the moment its phase changed.
type Status struct {
	Agent    string
	Phase    Phase
	Detail   string // the model, or the first line of the command
	Turn     int    // model turns so far
	Tokens   int    // in the transcript
	TokenMax int
	Cost     record.Micros // of this run
	Took     time.Duration // set with Idle: how long the phase before lasted
}

// Console is where the operator reads and writes. Texts given to Print may
// hold anything a model or a command wrote: an implementation must make
// control sequences harmless. Its methods are called from one goroutine at a
// time.
type Console interface {
	// Prompt shows text and waits for a line. With a timeout the wait ends
	// unless something was typed; after the first key only Enter ends it. A
	// value on wake ends it too, under the same condition. A cancelled ctx is
	// an error.
	Prompt(ctx context.Context, text string, timeout *time.Duration, wake <-chan struct{}) (string, Answer, error)
	Print(v Voice, text string)
	Status(s Status)
}
