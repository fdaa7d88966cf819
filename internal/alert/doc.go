// Package alert turns events into alerts and alerts into messages: rules over
// what was recorded, and sinks that tell somebody.
//
// Invariants:
//   - an Engine is a function of the events it saw, in their order and with
//     their own times: it reads no clock, so a replay gives the same alerts;
//   - its memory is bounded per rule; what had to be forgotten is counted;
//   - events about alerts (alert.*) match only a rule that names them, so an
//     alert cannot feed itself;
//   - a message carries what names an alert and where to look, never the data of
//     an event: an agent chooses that data, and a sink is outside;
//   - texts that came from outside are bounded and free of control characters
//     before they reach a header, a line or a command;
//   - a sink that is slow or dead delays nobody but itself.
//
// Sinks connect and start programs only through what app hands them. The
// package imports the vocabulary only; drivers must not import it.
package alert
