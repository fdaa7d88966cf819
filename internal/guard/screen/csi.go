package screen

import "strconv"

const (
	maxParams = 32
	maxParam  = 9999 // a number above it means "as far as it goes" to every terminal
)

// param is one number of a control sequence and the separator before it.
type param struct {
	n   int  // -1: left out
	sep byte // ; or : or 0 for the first
}

// csi is a parsed control sequence. What is written to the terminal is made
// from it anew: no byte of a sequence is copied, so a terminal can never read
// another sequence than the one that was judged.
type csi struct {
	prefix byte // one of < = > ? or 0
	inter  byte // one intermediate or 0
	final  byte
	params [maxParams]param
	n      int
	colons bool
}

// parse reads the bytes between CSI and final; false if they have no meaning.
func (c *csi) parse(seq []byte, final byte) bool {
	c.prefix, c.inter, c.final, c.n, c.colons = 0, 0, final, 0, false
	if len(seq) >= maxSeq {
		return false
	}
	if len(seq) > 0 && seq[0] >= '<' && seq[0] <= '?' {
		c.prefix, seq = seq[0], seq[1:]
	}
	if n := len(seq); n > 0 && seq[n-1] < 0x30 {
		c.inter, seq = seq[n-1], seq[:n-1]
	}
	if len(seq) == 0 {
		return true
	}
	c.params[0], c.n = param{n: -1}, 1
	for _, b := range seq {
		p := &c.params[c.n-1]
		switch {
		case b >= '0' && b <= '9':
			p.n = min(max(p.n, 0)*10+int(b-'0'), maxParam)
		case b == ';' || b == ':':
			if c.n == maxParams {
				return false
			}
			c.params[c.n] = param{n: -1, sep: b}
			c.n++
			c.colons = c.colons || b == ':'
		default:
			return false
		}
	}
	return true
}

// arg gives parameter i, or def if it was left out or is 0.
func (c *csi) arg(i, def int) int {
	if i < c.n && c.params[i].n > 0 {
		return c.params[i].n
	}
	return def
}

// zero gives parameter i, 0 if it was left out.
func (c *csi) zero(i int) int { return c.arg(i, 0) }

// pass writes the sequence.
func (f *Filter) pass() {
	c := &f.csi
	f.out = append(f.out, esc, '[')
	if c.prefix != 0 {
		f.out = append(f.out, c.prefix)
	}
	for _, p := range c.params[:c.n] {
		if p.sep != 0 {
			f.out = append(f.out, p.sep)
		}
		if p.n >= 0 {
			f.out = strconv.AppendInt(f.out, int64(p.n), 10)
		}
	}
	if c.inter != 0 {
		f.out = append(f.out, c.inter)
	}
	f.out = append(f.out, c.final)
}

// sequence writes CSI, numbers and a final byte.
func (f *Filter) sequence(final byte, numbers ...int) {
	f.out = appendCSI(f.out, final, numbers...)
}

func appendCSI(dst []byte, final byte, numbers ...int) []byte {
	dst = append(dst, esc, '[')
	for i, n := range numbers {
		if i > 0 {
			dst = append(dst, ';')
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
	}
	return append(dst, final)
}

// dispatch judges a whole control sequence.
func (f *Filter) dispatch(final byte) {
	c := &f.csi
	if !c.parse(f.seq[:f.n], final) || c.colons && final != 'm' {
		f.counts[Sequence]++
		return
	}
	switch {
	case c.prefix == 0 && c.inter == 0:
		f.plain()
	case c.prefix == '?' && c.inter == 0 && (final == 'h' || final == 'l'):
		f.privateModes(final == 'h')
	case final == 'u' && c.inter == 0:
		f.keyboard()
	case c.inter == ' ' && final == 'q' && c.prefix == 0 && c.zero(0) <= 6: // DECSCUSR
		f.modes.shape = true
		f.pass()
	case c.inter == '$' && final == 'p' && (c.prefix == 0 || c.prefix == '?') && c.n == 1: // DECRQM
		f.pass()
	case c.inter == '!' && final == 'p' && c.prefix == 0: // DECSTR
		f.softReset()
	case c.prefix == '>' && c.inter == 0 && final == 'c' && c.zero(0) == 0: // DA2
		f.pass()
	case c.prefix == '>' && c.inter == 0 && final == 'm' && c.zero(0) == 4 && c.n <= 2 && c.zero(1) <= 2: // modifyOtherKeys
		f.modes.otherKeys = c.zero(1) > 0
		f.pass()
	case c.inter == 0 && final == 'i':
		f.counts[Printer]++
	default:
		f.counts[Sequence]++
	}
}

// plain judges a sequence without prefix and intermediate.
func (f *Filter) plain() {
	c := &f.csi
	switch c.final {
	case 'm', 'K', 'L', 'M', 'P', 'X', '@': // SGR, erase and edit within rows the cursor may be on
		f.pass()
	case 'A', 'F', 'B', 'e', 'E', 'H', 'f', 'd', 'r':
		f.vertical()
	case 'C', 'a', 'D', 'G', '`', 'I', 'Z':
		f.horizontal()
	case 'J':
		f.eraseDisplay()
	case 'S', 'T': // with more parameters T is mouse highlighting
		if c.n > 1 {
			f.counts[Sequence]++
			return
		}
		f.pass()
	case 'b':
		f.repeat()
	case 'c', 'n':
		f.query()
	case 's', 'u':
		if c.n > 0 {
			f.counts[Sequence]++
			return
		}
		f.saveOrRestore(c.final == 's')
	case 'h', 'l':
		f.ansiModes(c.final == 'h')
	case 't':
		f.counts[Window]++
	case 'i':
		f.counts[Printer]++
	default:
		f.counts[Sequence]++
	}
}

// query lets pass what a terminal answers in a fixed form: DA1, DSR, CPR.
func (f *Filter) query() {
	c := &f.csi
	n := c.zero(0)
	if c.n > 1 || c.final == 'c' && n != 0 || c.final == 'n' && n != 5 && n != 6 {
		f.counts[Sequence]++
		return
	}
	f.pass()
}

// horizontal moves the cursor within its row.
func (f *Filter) horizontal() {
	n := f.csi.arg(0, 1)
	switch f.csi.final {
	case 'C', 'a':
		f.stage.right(n)
	case 'D':
		f.stage.left(n)
	case 'I':
		f.stage.tab(n)
	case 'Z':
		f.stage.backTab()
	default:
		f.stage.column(n)
	}
	f.pass()
}

// eraseDisplay passes what erases the screen. Erasing the scrollback (3) is
// not the program's right: what is in it was there before the program.
func (f *Filter) eraseDisplay() {
	switch n := f.csi.zero(0); n {
	case 0, 1, 2:
		f.pass()
		f.stage.erased()
	default:
		f.counts[Sequence]++
	}
}

// maxRepeat bounds REP, which programs use within a row.
const maxRepeat = 500

// repeat writes the last character again (REP).
func (f *Filter) repeat() {
	n := min(f.csi.arg(0, 1), maxRepeat)
	f.sequence('b', n)
	f.stage.repeat(n)
}

// simple judges a two-byte escape sequence.
func (f *Filter) simple(c byte) {
	switch c {
	case '7', '8':
		f.saveOrRestore(c == '7')
	case 'c':
		f.fullReset()
	case 'D':
		f.lineFeed()
	case 'E':
		f.c0('\r')
		f.lineFeed()
	case 'M':
		f.reverseFeed()
	case '=', '>':
		f.modes.keypad = c == '='
		f.out = append(f.out, esc, c)
	case '\\': // an ST that ends nothing
	default:
		f.counts[Sequence]++
	}
}

// designate lets a program choose ASCII, line drawing or the British set as G0
// or G1. Everything else with an intermediate is dropped: leaving UTF-8, 8-bit
// controls, double-sized rows (their columns count twice) and DECALN.
func (f *Filter) designate(c byte) {
	if f.n != 1 || f.seq[0] != '(' && f.seq[0] != ')' || c != '0' && c != 'A' && c != 'B' {
		f.counts[Sequence]++
		return
	}
	f.modes.charset[f.seq[0]-'('] = c
	f.out = append(f.out, esc, f.seq[0], c)
}
