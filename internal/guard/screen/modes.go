package screen

import "slices"

// Private modes with a part in how the screen is kept.
const (
	modeOrigin  = 6
	modeWrap    = 7
	modeCursor  = 25
	modeAlt     = 47
	modeAltOnly = 1047
	modeSave    = 1048
	modeAltSave = 1049
	modePaste   = 2004
	modeSync    = 2026
)

// allowed lists the private modes a program may change; all are undone at the
// end. Not on it, with reason: 3 and 40 (132 columns) and 69 (side margins)
// change where rows wrap, 45 (reverse wrap) and 2027 (grapheme widths) too, 80
// belongs to sixel, 1005 and 1015 are ambiguous mouse encodings, 2048 would
// report the height of the whole terminal, and what nobody listed is unknown.
var allowed = []int{
	1,                // application cursor keys
	5,                // reverse video, as a visible bell
	modeOrigin,       // kept by the filter, never sent
	modeWrap,         // automatic wrap
	12,               // blinking cursor
	modeCursor,       // cursor shown
	modeAlt,          // alternate screen
	1000, 1002, 1003, // mouse: buttons, drag, motion
	1004,                               // focus
	1006,                               // mouse as decimal numbers
	1007,                               // wheel as arrows on the alternate screen
	modeAltOnly, modeSave, modeAltSave, // alternate screen and cursor
	modePaste, modeSync,
}

// maxKeyboard bounds the keyboard entries one screen's stack takes from the
// program: a terminal whose stack is full forgets the person's own.
const maxKeyboard = 8

// keyboardDisambiguate is the one flag of the keyboard protocol that passes.
// The others report plain keys as sequences.
const keyboardDisambiguate = 1

// modes is what a program has switched, to be undone at the end.
type modes struct {
	private   []int // modes that differ from their default
	insert    bool
	keypad    bool
	otherKeys bool
	shape     bool // of the cursor
	shifted   bool // SO is in force
	charset   [2]byte
	keyboards [2]int // entries on the keyboard stack of the main and alternate screen
	alt       bool
	// keepsPaste says that bracketed paste is on for the screen's own sake,
	// whatever the program wants, so that what is pasted is known as such.
	keepsPaste bool
	link       string // open hyperlink, as the body of its OSC
}

func onByDefault(n int) bool { return n == modeWrap || n == modeCursor }

func (m *modes) set(n int, on bool) {
	i := slices.Index(m.private, n)
	switch differs := on != onByDefault(n); {
	case differs && i < 0:
		m.private = append(m.private, n)
	case !differs && i >= 0:
		m.private = slices.Delete(m.private, i, i+1)
	}
}

// differs tells whether a private mode is not as it is by default.
func (m *modes) differs(n int) bool { return slices.Contains(m.private, n) }

func (m *modes) screen() int {
	if m.alt {
		return 1
	}
	return 0
}

// privateModes sets or resets DEC private modes, one by one.
func (f *Filter) privateModes(on bool) {
	c := f.csi
	for i := range c.n {
		n := c.params[i].n
		if !slices.Contains(allowed, n) {
			f.counts[Mode]++
			continue
		}
		f.privateMode(n, on)
	}
}

func (f *Filter) privateMode(n int, on bool) {
	switch n {
	case modeAlt, modeAltOnly, modeAltSave:
		f.alternate(on)
		return
	case modeSave:
		f.saveOrRestore(on)
		return
	case modeOrigin:
		if f.stage != nil {
			f.origin(on)
			return
		}
	case modeWrap:
		f.stage.wrap(on)
	}
	f.modes.set(n, on)
	if n == modePaste && f.modes.keepsPaste {
		return
	}
	f.out = appendMode(f.out, n, on)
}

func appendMode(dst []byte, n int, on bool) []byte {
	final := byte('l')
	if on {
		final = 'h'
	}
	return appendPrefixed(dst, '?', final, n)
}

// ansiModes passes insert mode (4) only.
func (f *Filter) ansiModes(on bool) {
	for i := range f.csi.n {
		if f.csi.params[i].n != 4 {
			f.counts[Mode]++
			continue
		}
		f.modes.insert = on
		f.sequence(f.csi.final, 4)
	}
}

// keyboard judges the keyboard protocol: query, push, pop and set. Pops stay
// within what the program pushed; a set that would change an entry of the
// person's own becomes a push.
func (f *Filter) keyboard() {
	c := &f.csi
	depth := &f.modes.keyboards[f.modes.screen()]
	flags := c.zero(0) & keyboardDisambiguate
	switch c.prefix {
	case '?':
		if c.n == 0 {
			f.pass()
			return
		}
	case '>':
		if *depth < maxKeyboard {
			*depth++
			f.prefixed('>', flags)
			return
		}
	case '<':
		if n := min(c.arg(0, 1), *depth); n > 0 {
			*depth -= n
			f.prefixed('<', n)
		}
		return
	case '=':
		mode := c.arg(1, 1)
		if mode > 3 {
			break
		}
		if *depth > 0 {
			f.prefixed('=', flags, mode)
			return
		}
		*depth++
		f.prefixed('>', flags)
		return
	}
	f.counts[Sequence]++
}

func (f *Filter) prefixed(prefix byte, numbers ...int) {
	f.out = appendPrefixed(f.out, prefix, 'u', numbers...)
}

func appendPrefixed(dst []byte, prefix, final byte, numbers ...int) []byte {
	at := len(dst) + 2
	return slices.Insert(appendCSI(dst, final, numbers...), at, prefix)
}

// popKeyboard takes the program's entries off the stack of the screen in use.
func (m *modes) popKeyboard(dst []byte) []byte {
	depth := &m.keyboards[m.screen()]
	if *depth > 0 {
		dst = appendPrefixed(dst, '<', 'u', *depth)
		*depth = 0
	}
	return dst
}

// restore undoes everything.
func (m *modes) restore(dst []byte) []byte {
	dst = m.popKeyboard(dst)
	if m.alt {
		dst = appendMode(dst, modeAltSave, false)
		m.alt = false
		dst = m.popKeyboard(dst)
	}
	dst = m.reset(dst)
	if m.keepsPaste {
		dst = appendMode(dst, modePaste, false)
	}
	if m.otherKeys {
		dst = append(dst, "\x1b[>4m"...)
	}
	if m.shape {
		dst = append(dst, "\x1b[0 q"...)
	}
	*m = modes{}
	return dst
}

// reset undoes modes, colours, charsets and an open link, not the screen and
// the keyboard.
func (m *modes) reset(dst []byte) []byte {
	for _, n := range m.private {
		if n == modePaste && m.keepsPaste {
			continue
		}
		dst = appendMode(dst, n, onByDefault(n))
	}
	m.private = m.private[:0]
	if m.insert {
		dst = append(dst, "\x1b[4l"...)
	}
	if m.keypad {
		dst = append(dst, "\x1b>"...)
	}
	dst = append(dst, "\x1b(B\x1b)B\x0f\x1b[m\x1b]8;;\x1b\\"...)
	m.insert, m.keypad, m.shifted, m.charset, m.link = false, false, false, [2]byte{}, ""
	return dst
}
