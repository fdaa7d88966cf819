// Package agent runs one configured agent: it alternates between the operator's
// debug prompt and the model, turns a model's reply into commands, and sends
// every effect (a context, a session, a model call, a command) through the
// gate.
//
// How a run goes. agent.spawn makes a context with a label and a ceiling,
// session.start opens the shell's session, then turns follow: the transcript
// and a prompt go to the model, its reply is split, built-ins are carried out
// here and everything else is one exec on the session. `endsession` saves a
// note and starts the next context in the same session.
//
// An agent of an organisation (Spec.House) also reads and keeps classified
// items, writes to other agents, makes children that work for it and, if it is
// of the first tier, works by signed instructions. Each step is an action; what
// happens here is only that words become one.
//
// Invariants:
//   - nothing the model writes is expanded by a shell, except the script that
//     passes the gate as an exec;
//   - a failed model call leaves the transcript as it was;
//   - a reply that may not be whole (cut at its output limit, filtered, broken
//     off) is not run, for half a command can mean the opposite of the whole;
//   - a line of what an action brought never looks like the prompt, the
//     operator's message, a signed instruction, an order or the session note:
//     such lines are indented by one blank;
//   - what a context is shown depends on nothing above the label that it is
//     born with, until it reads: memory has a fixed label that is joined whether
//     or not a note is there, a shell that was used above is not used again
//     below, and bits to extract are taken over only within;
//   - the operator's debug input and its output never enter the transcript,
//     except what `talk` says;
//   - a context whose transcript has reached the token limit gets no more model
//     calls;
//   - whatever was started is settled, also after Ctrl-C.
//
// It imports the vocabulary, the llm wire types and policy's schema of answers; the gate, like everything else,
// is handed in by app, which alone imports it.
package agent
