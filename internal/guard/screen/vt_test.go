package screen

import (
	"strings"
	"unicode/utf8"
)

// vt is a model of a terminal, just enough to see who writes where. Where
// terminals differ it can be made to behave either way.
type vt struct {
	rows, cols    int
	cell          [][]rune
	other         [][]rune // the screen not shown
	row, col      int      // from 0; col == cols: wrap pending
	top, bottom   int
	wrap, insert  bool
	saved         [2][2]int
	alt           bool
	passesMargins bool // CUU and CUD do not stop at margins
	keepsPending  bool // a pending wrap survives moves between rows
	keepsCursor   bool // margins do not move the cursor home
	ignoresWrap   bool // has no way to switch wrap off
	wide          func(r rune) int
	last          rune
	ours          bool // what is written now is by us
	trespass      string
}

func newVT(rows, cols int) *vt {
	v := &vt{rows: rows, cols: cols, bottom: rows - 1, wrap: true, wide: width, last: ' '}
	v.cell, v.other = grid(rows, cols), grid(rows, cols)
	return v
}

// resize leaves the cursor where the worst terminal would.
func (v *vt) resize(rows, cols, row int) {
	v.rows, v.cols = rows, cols
	v.cell, v.other = grid(rows, cols), grid(rows, cols)
	v.row, v.col, v.top, v.bottom = row, min(v.col, cols-1), 0, rows-1
	v.saved = [2][2]int{{rows - 1, 0}, {rows - 1, 0}}
}

func grid(rows, cols int) [][]rune {
	g := make([][]rune, rows)
	for i := range g {
		g[i] = blank(cols)
	}
	return g
}

func blank(cols int) []rune { return []rune(strings.Repeat(" ", cols)) }

func (v *vt) line(row int) string { return strings.TrimRight(string(v.cell[row]), " ") }

// touch notes a write to the last row by somebody else.
func (v *vt) touch(row int, what string) {
	if row == v.rows-1 && !v.ours && v.trespass == "" {
		v.trespass = what
	}
}

func (v *vt) write(b []byte) {
	for len(b) > 0 {
		b = b[v.one(b):]
	}
}

func (v *vt) one(b []byte) int {
	switch c := b[0]; {
	case c == esc && len(b) > 1:
		return v.escape(b)
	case c == '\n':
		v.feed()
	case c == '\r':
		v.col = 0
	case c == '\b':
		v.col = max(min(v.col, v.cols-1)-1, 0)
	case c == '\t':
		if v.col < v.cols {
			v.col = min((v.col/8+1)*8, v.cols-1)
		}
	case c < 0x20:
	default:
		r, n := utf8.DecodeRune(b)
		v.print(r)
		return n
	}
	return 1
}

func (v *vt) print(r rune) {
	w := 1
	if r >= 0x80 {
		w = v.wide(r)
	}
	if w == 0 {
		return
	}
	v.last = r
	if v.col+w > v.cols {
		if !v.wrap {
			v.col = v.cols - w
		} else {
			v.col = 0
			v.feed()
		}
	}
	v.touch(v.row, "print")
	if v.insert {
		copy(v.cell[v.row][v.col+w:], v.cell[v.row][v.col:])
	}
	for i := range w {
		v.cell[v.row][v.col+i] = r
	}
	v.col += w
}

func (v *vt) vertical() {
	if !v.keepsPending && v.col == v.cols {
		v.col--
	}
}

func (v *vt) feed() {
	v.vertical()
	if v.row == v.bottom {
		v.scroll(v.top, 1)
	} else if v.row < v.rows-1 {
		v.row++
	}
}

// scroll moves the rows from top to the bottom margin, up if n is positive.
func (v *vt) scroll(top, n int) {
	if v.bottom == v.rows-1 {
		v.touch(v.rows-1, "scroll")
	}
	part := v.cell[top : v.bottom+1]
	for ; n > 0; n-- {
		copy(part, part[1:])
		part[len(part)-1] = blank(v.cols)
	}
	for ; n < 0; n++ {
		copy(part[1:], part)
		part[0] = blank(v.cols)
	}
}

func (v *vt) escape(b []byte) int {
	switch b[1] {
	case '[':
		i := 2
		for i < len(b) && b[i] < 0x40 {
			i++
		}
		v.csi(string(b[2:i]), b[i])
		return i + 1
	case ']':
		return strings.Index(string(b), "\x1b\\") + 2
	case '(', ')':
		return 3
	case '7':
		v.saved[v.slot()] = [2]int{v.row, v.col}
	case '8':
		v.row, v.col = v.saved[v.slot()][0], v.saved[v.slot()][1]
	case 'M':
		v.vertical()
		if v.row == v.top {
			v.scroll(v.top, -1)
		} else {
			v.row = max(v.row-1, 0)
		}
	}
	return 2
}

func (v *vt) slot() int {
	if v.alt {
		return 1
	}
	return 0
}

func (v *vt) csi(seq string, final byte) {
	var c csi
	if !c.parse([]byte(seq), final) {
		panic("unreadable " + seq)
	}
	n := c.arg(0, 1)
	if c.prefix == '?' {
		v.mode(c.zero(0), final == 'h')
		return
	}
	if c.prefix != 0 || c.inter != 0 {
		return
	}
	switch final {
	case 'H', 'f':
		v.row, v.col = min(n, v.rows)-1, min(c.arg(1, 1), v.cols)-1
	case 'd':
		v.vertical()
		v.row = min(n, v.rows) - 1
	case 'A', 'F', 'B', 'E', 'e':
		v.move(final, n)
	case 'G', '`':
		v.col = min(n, v.cols) - 1
	case 'C', 'a':
		v.col = min(v.col+n, v.cols-1)
	case 'D':
		v.col = max(min(v.col, v.cols-1)-n, 0)
	case 'I', 'Z':
		v.col = min((v.col/8+n)*8, v.cols-1)
		if final == 'Z' {
			v.col = max(v.col-8*n, 0)
		}
	case 'r':
		v.top, v.bottom = n-1, min(c.arg(1, v.rows), v.rows)-1
		if !v.keepsCursor {
			v.row, v.col = 0, 0
		}
	case 'b':
		for range n {
			v.print(v.last)
		}
	case 'h', 'l':
		v.insert = final == 'h'
	default:
		v.edit(final, n, c.zero(0))
	}
}

func (v *vt) move(final byte, n int) {
	v.vertical()
	up := final == 'A' || final == 'F'
	switch {
	case up && v.row >= v.top && !v.passesMargins:
		v.row = max(v.row-n, v.top)
	case up:
		v.row = max(v.row-n, 0)
	case v.row <= v.bottom && !v.passesMargins:
		v.row = min(v.row+n, v.bottom)
	default:
		v.row = min(v.row+n, v.rows-1)
	}
	if final == 'F' || final == 'E' {
		v.col = 0
	}
}

func (v *vt) edit(final byte, n, zero int) {
	col := min(v.col, v.cols-1)
	row := v.cell[v.row]
	switch final {
	case 'J':
		if zero != 1 {
			v.erase(v.row+1, v.rows)
		}
		if zero != 0 {
			v.erase(0, v.row)
		}
		v.touch(v.row, "erase")
	case 'K', 'P', 'X', '@':
		v.touch(v.row, "edit")
		copy(row[col:], blank(v.cols))
		if zero == 2 {
			copy(row, blank(v.cols))
		}
	case 'L', 'M':
		if v.row >= v.top && v.row <= v.bottom {
			if final == 'L' {
				n = -n
			}
			v.scroll(v.row, max(min(n, v.rows), -v.rows))
		}
	case 'S':
		v.scroll(v.top, min(n, v.rows))
	case 'T':
		v.scroll(v.top, -min(n, v.rows))
	}
}

func (v *vt) erase(from, to int) {
	for i := from; i < to; i++ {
		v.cell[i] = blank(v.cols)
	}
}

// mode makes the alternate screen as unlike ours as terminals are: margins of
// its own, a cursor and a saved cursor left on the last row by somebody else.
func (v *vt) mode(n int, on bool) {
	switch n {
	case modeWrap:
		v.wrap = on || v.ignoresWrap
	case modeOrigin:
		v.trespass = "origin mode"
	case modeAltSave:
		if on && !v.alt {
			v.saved[0] = [2]int{v.row, v.col}
		}
		if on != v.alt {
			v.cell, v.other = v.other, v.cell
		}
		v.alt = on
		v.top, v.bottom = 0, v.rows-1
		if on {
			v.erase(0, v.rows)
			v.row, v.col = v.rows-1, 0
			v.saved[1] = [2]int{v.rows - 1, 0}
		} else {
			v.row, v.col = v.saved[0][0], v.saved[0][1]
			v.saved[0] = [2]int{v.rows - 1, 0}
		}
	}
}
