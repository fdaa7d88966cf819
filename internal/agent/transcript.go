package agent

import (
	"slices"
	"strings"

	"sallyport/internal/llm"
)

// transcript is what the model is shown: messages that alternate between user
// and assistant, the first being the user's, and text that waits for the next
// user message.
type transcript struct {
	system  string
	msgs    []llm.Message
	pending strings.Builder
	count   func(string) int // estimates the tokens of a text

	settled int // estimated tokens of system and msgs
	drift   int // what the provider counted more than we estimated
}

// perMessage is what the wire form of a message costs beside its text.
const perMessage = 4

func newTranscript(system string, count func(string) int) *transcript {
	return &transcript{system: system, count: count, settled: count(system)}
}

// say adds a line of text to the next user message.
func (t *transcript) say(text string) {
	if text == "" {
		return
	}
	t.pending.WriteString(text)
	if !strings.HasSuffix(text, "\n") {
		t.pending.WriteByte('\n')
	}
}

// tokens estimates the transcript's size with the pending text.
func (t *transcript) tokens() int {
	n := t.settled + t.drift
	if t.pending.Len() > 0 {
		n += perMessage + t.count(t.pending.String())
	}
	return n
}

// with gives the messages of a call whose user message ends with prompt. The
// transcript does not change until commit, so a failed call leaves no residue.
func (t *transcript) with(prompt string) []llm.Message {
	user := llm.Message{Role: llm.User, Text: t.pending.String() + prompt}
	return append(slices.Clip(t.msgs), user)
}

// commit makes the pending text, the prompt and the model's words part of the
// transcript.
func (t *transcript) commit(prompt, reply string) {
	user := t.pending.String() + prompt
	t.pending.Reset()
	t.msgs = append(t.msgs, llm.Message{Role: llm.User, Text: user}, llm.Message{Role: llm.Assistant, Text: reply})
	t.settled += 2*perMessage + t.count(user) + t.count(reply)
}

// learn corrects the estimate by what the provider counted for a call whose
// input we estimated. A figure beyond reason is ignored: an endpoint must not
// be able to end sessions at will.
func (t *transcript) learn(estimated int, u llm.Usage) {
	counted := int(u.Input + u.CacheRead + u.CacheWrite)
	if counted <= 0 || counted > 3*estimated+500 || counted < estimated/3 {
		return
	}
	t.drift += counted - estimated
}
