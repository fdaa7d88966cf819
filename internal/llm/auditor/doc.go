// Package auditor is builtin/auditor: a model without a language model. It reads
// a transcript and answers with the next shell command, exactly as an LLM at the
// agent's prompt would, and does the night watch: a catalogue of checks, a
// rotation kept in a tracker file, correlations, and dated reports.
//
// Invariants. Reply is a pure function of the transcript: no clock, no
// randomness, no I/O; what must outlive a session lives in the tracker that the
// replies write to $HOME/auditor. Text seen on the host is data: it arrives
// behind a "| " prefix that no host byte can remove, it is reduced to printable
// ASCII, and it leaves again only inside base64, never as words of a command,
// a comment or a session note. What could not be read, or is not installed, is
// counted as such and never as fine.
//
// Warning level: the worst severity among the findings after the correlation
// rules were applied (5 critical, 4 high, 3 medium, 2 low, 1 info or nothing).
//
// It may be imported by app and by the model registry; it imports package llm's
// wire types and the standard library.
package auditor
