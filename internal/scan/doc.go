// Package scan finds in a text what must not pass unseen: secrets, personal
// identifiers, the operator's keywords, phrases that give an agent orders,
// invisible characters, terminal escapes, links that carry data away.
//
// One engine: the text is cut in windows of fixed places; each is read raw,
// then normalised (compatibility forms, case, marks, look-alikes, characters
// that nobody sees), then decoded where a run of it is base64, base32, hex,
// percent, escape or gzip, to a fixed depth. One pass over each reading finds
// literals; a compiled matcher (prefix, characters, length, entropy, checksum)
// decides around each. Regular expressions run for the operator's own rules
// only.
//
// Invariants: pure (no I/O, no clock, no goroutine); an Engine is immutable; a
// text gives the same findings in whatever pieces it arrives; spans are those
// of the original text; work is bounded by steps per byte, and what was not
// read is listed in Result.Unscanned, to be treated as untrusted and never as
// clean; a finding is a signal: none allows anything, and only those of a
// deterministic rule say that they may block; no finding repeats a secret.
//
// It imports the vocabulary only. App hands it to those who have text.
package scan
