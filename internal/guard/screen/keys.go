package screen

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// DefaultPrefix is the key that begins a command of ours: Ctrl-].
const DefaultPrefix = 0x1d

// Marks that terminals put around what is pasted.
const (
	pasteBegin = "\x1b[200~"
	pasteEnd   = "\x1b[201~"
)

// maxReply bounds a sequence from the terminal, in bytes; what is longer is
// keys again.
const maxReply = 4 << 10

// keys parts what comes from a terminal into keys for the program and commands
// for us. A command is the prefix key and one key after it, both typed: bytes
// within a paste or within a terminal's reply are neither.
type keys struct {
	prefix  byte
	forward func([]byte)   // to the program
	armed   func()         // the prefix was pressed
	command func(key byte) // the key after it
	wants   func() bool    // the program wants marks around pastes
	report  bool           // one cursor report is an answer to us
	await   bool           // the prefix was pressed
	paste   bool           // inside a paste
	held    []byte         // the beginning of a sequence
	replied int            // bytes of a reply string so far, 0 outside
	escaped bool           // the last byte of a reply string was an escape, perhaps of an earlier read
	mouse   int            // bytes of an old mouse report to come
	rest    bool           // of a rune after the prefix
	out     []byte         // to be forwarded
}

// feed takes what was read.
func (k *keys) feed(b []byte) {
	for _, c := range b {
		k.byte(c)
	}
	k.flush()
}

func (k *keys) flush() {
	if len(k.out) > 0 {
		k.forward(k.out)
		k.out = nil
	}
}

// wait tells how long a held beginning may wait for its rest; 0: nothing is
// held. An escape alone is a key. A mark of a paste must not be torn.
func (k *keys) wait() time.Duration {
	switch {
	case len(k.held) == 0:
		return 0
	case len(k.held) < 3:
		return 50 * time.Millisecond
	}
	return 500 * time.Millisecond
}

// release forwards what was held for too long.
func (k *keys) release() {
	k.out = append(k.out, k.held...)
	k.held = k.held[:0]
	k.flush()
}

func (k *keys) byte(c byte) {
	switch {
	case k.paste:
		k.inPaste(c)
	case k.mouse > 0:
		k.mouse--
		k.out = append(k.out, c)
	case k.replied > 0:
		k.inReply(c)
	case len(k.held) > 0:
		k.sequence(c)
	case c == esc:
		k.held = append(k.held, c)
	default:
		k.key(c)
	}
}

// inPaste looks for the end of a paste; all else is data.
func (k *keys) inPaste(c byte) {
	if c == esc || len(k.held) > 0 && c != pasteEnd[len(k.held)] {
		k.out = append(k.out, k.held...)
		k.held = k.held[:0]
	}
	if c != pasteEnd[len(k.held)] {
		k.out = append(k.out, c)
		return
	}
	if k.held = append(k.held, c); len(k.held) == len(pasteEnd) {
		k.paste = false
		k.mark()
	}
}

// mark forwards a mark of a paste to a program that wants it.
func (k *keys) mark() {
	if k.wants() {
		k.out = append(k.out, k.held...)
	}
	k.held = k.held[:0]
}

// inReply forwards a string the terminal sends, such as a colour.
func (k *keys) inReply(c byte) {
	k.out = append(k.out, c)
	k.replied++
	if c == bel || c == '\\' && k.escaped || k.replied > maxReply {
		k.replied = 0
	}
	k.escaped = c == esc
}

// sequence takes the bytes after an escape.
func (k *keys) sequence(c byte) {
	if c == esc {
		k.out = append(k.out, k.held...)
		k.held = append(k.held[:0], c)
		return
	}
	k.held = append(k.held, c)
	switch {
	case len(k.held) == 2:
		switch {
		case c == '[' || c == 'O':
		case bytes.IndexByte([]byte("]P_^X"), c) >= 0:
			k.replied, k.escaped = 1, false
			k.drain()
		default:
			k.drain() // a key with Alt
		}
	case k.held[1] == 'O' || len(k.held) > maxSeq:
		k.drain()
	case c >= 0x40 && c <= 0x7e:
		k.control(string(k.held[2:len(k.held)-1]), c)
	}
}

func (k *keys) drain() {
	k.out = append(k.out, k.held...)
	k.held = k.held[:0]
}

// control takes a whole control sequence. Replies and mouse reports do not end
// the wait for a key after the prefix: a program could ask for them without
// end.
func (k *keys) control(params string, final byte) {
	switch {
	case string(k.held) == pasteBegin:
		k.paste = true
		k.mark()
		return
	case string(k.held) == pasteEnd:
		k.mark()
		return
	case final == 'M' && params == "":
		k.mouse = 3
	case final == 'R' && k.report && strings.Count(params, ";") == 1:
		k.report = false
		k.held = k.held[:0]
		return
	case final == 'u' || final == '~':
		if c, up, ok := encoded(params, final); ok && (c == k.prefix || k.await) {
			k.held = k.held[:0]
			if !up {
				k.key(c)
			}
			return
		}
	}
	k.drain()
}

// key takes one typed key.
func (k *keys) key(c byte) {
	switch {
	case k.rest && c >= 0x80 && c < 0xc0:
	case k.await:
		k.await = false
		k.rest = c >= 0xc0
		k.flush()
		k.command(c)
	case c == k.prefix:
		k.await = true
		k.flush()
		k.armed()
	default:
		k.rest = false
		k.out = append(k.out, c)
	}
}

// encoded reads a key that a keyboard protocol wrote as a sequence: CSI code ;
// modifiers u, or CSI 27 ; modifiers ; code ~. up says that it was let go.
func encoded(params string, final byte) (key byte, up, ok bool) {
	fields := strings.Split(params, ";")
	if final == '~' {
		if len(fields) != 3 || fields[0] != "27" {
			return 0, false, false
		}
		fields = []string{fields[2], fields[1]}
	}
	first, _, _ := strings.Cut(fields[0], ":")
	code, err := strconv.ParseUint(first, 10, 8)
	if err != nil || code > del {
		return 0, false, false
	}
	mods := uint64(1)
	if len(fields) > 1 {
		number, event, _ := strings.Cut(fields[1], ":")
		up = event == "3"
		if number != "" {
			if mods, err = strconv.ParseUint(number, 10, 16); err != nil || mods == 0 {
				return 0, false, false
			}
		}
	}
	const shift, ctrl, locks = 1, 4, 64 | 128
	switch key = byte(code); (mods - 1) &^ locks {
	case 0:
		return key, up, true
	case shift:
		return bytes.ToUpper([]byte{key})[0], up, key >= 'a' && key <= 'z'
	case ctrl, ctrl | shift:
		return key & 0x1f, up, key >= '@'
	}
	return 0, false, false
}
