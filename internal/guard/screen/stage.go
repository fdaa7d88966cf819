package screen

import "unicode"

// cursor is what is known of the terminal's cursor. Rows count from 1, columns
// from 0; a column equal to the width means that the next character wraps.
//
// How wide a character is differs between terminals, and a program that wants
// our row would choose its characters accordingly. So there are two positions:
// row and col are the likely ones, most and far are bounds that hold whatever
// the terminal thinks of width. Only the bounds decide what is safe.
type cursor struct {
	row, col int
	most     int  // the true row is at most this
	far      int  // the true column, if the true row is most, is at most this
	rowKnown bool // row is the true row
	colKnown bool // col is the true column
}

// stage keeps a program's cursor within the upper rows of a terminal.
//
// Invariants: the true row is at most low; low, the bottom margin in force in
// the terminal, is at most rows. Line feeds, wraps and whatever else moves down
// without naming a row stop at the bottom margin, so they cannot leave the
// stage; what names a row is clamped; what moves down by a number is sent only
// if it cannot pass the margin, because some terminals ignore the margin then.
// If the program's own scroll region ends higher than the row it goes to, the
// terminal's margin is widened first and narrowed when the cursor is back.
type stage struct {
	rows, cols  int
	top, bottom int // the program's scroll region
	low         int
	relative    bool // origin mode, which the terminal never gets to see
	at          cursor
	saved       [2]saved // of the main and the alternate screen
	main        cursor   // where the main screen's cursor was left
	clipped     bool     // automatic wrap is off
	stale       bool     // the terminal may have erased our row
}

// saved is a saved cursor. lost says that the terminal no longer has it.
type saved struct {
	at       cursor
	relative bool
	lost     bool
}

func newStage(rows, cols int) *stage {
	s := &stage{}
	s.resize(rows, cols)
	s.saved[0].at, s.saved[1].at = home(), home()
	return s
}

func home() cursor { return cursor{row: 1, most: 1, rowKnown: true, colKnown: true} }

// resize sets a new size; margins are those of the whole stage and the cursor
// may be anywhere on it.
func (s *stage) resize(rows, cols int) {
	s.rows, s.cols = rows, cols
	s.top, s.bottom, s.low = 1, rows, rows
	s.unknown(&s.at)
	s.unknown(&s.main)
	for i := range s.saved {
		s.unknown(&s.saved[i].at)
		s.saved[i].lost = true
	}
}

func (s *stage) unknown(c *cursor) {
	*c = cursor{row: min(max(c.row, 1), s.rows), col: min(c.col, s.cols), most: s.rows, far: s.cols}
}

// put places the cursor where the terminal is known to have it.
func (s *stage) put(row, col int) {
	s.at = cursor{row: row, col: col, most: row, far: col, rowKnown: true, colKnown: true}
}

// ascii advances over n characters of one column each.
func (s *stage) ascii(n int) {
	if s == nil {
		return
	}
	c := &s.at
	if s.clipped {
		s.clip(n)
		return
	}
	var wraps int
	wraps, c.col = s.advance(c.col, n)
	c.row = min(c.row+wraps, max(s.low, c.row))
	if c.colKnown {
		// Wraps depend on the column alone.
		c.most, c.far = min(c.most+wraps, s.low), c.col
		return
	}
	s.bound(s.advance(c.far, n))
}

// clip advances without wrap. The bounds do not rely on it.
func (s *stage) clip(n int) {
	s.doubt()
	s.at.col = min(s.at.col+n, s.cols-1)
	s.bound(s.advance(s.at.far, n))
}

// advance moves a column by n characters of one column.
func (s *stage) advance(col, n int) (wraps, now int) {
	col += n
	if col <= s.cols {
		return 0, col
	}
	wraps = (col - 1) / s.cols
	return wraps, col - wraps*s.cols
}

// bound moves the bounds.
func (s *stage) bound(wraps, far int) {
	c := &s.at
	if wraps > 0 && c.most < s.low { // on the margin it can only have scrolled
		c.rowKnown = false
	}
	c.most += wraps
	if c.most > s.low {
		c.most, far = s.low, s.cols
	}
	c.far = far
}

// wide advances over a rune beyond ASCII. It may be none, one or two columns
// wide, whatever we believe.
func (s *stage) wide(r rune) {
	if s == nil {
		return
	}
	s.wideRunes(width(r), 1)
}

func (s *stage) wideRunes(w, n int) {
	c := &s.at
	if c.colKnown {
		c.far, c.colKnown = c.col, false
	}
	for range n {
		if w > 0 {
			if c.col+w > s.cols && !s.clipped {
				c.row, c.col = min(c.row+1, max(s.low, c.row)), 0
			}
			c.col = min(c.col+w, s.cols)
		}
		if c.far+2 > s.cols {
			s.bound(1, min(2, s.cols))
		} else {
			c.far += 2
		}
	}
}

// repeat is n times the last character, which may have been wide.
func (s *stage) repeat(n int) {
	if s == nil {
		return
	}
	s.wideRunes(1, n)
}

func (s *stage) carriage() { s.column(1) }

// column goes to a column named from 1.
func (s *stage) column(n int) {
	if s == nil {
		return
	}
	s.at.col = min(n, s.cols) - 1
	s.at.far, s.at.colKnown = s.at.col, true
}

func (s *stage) left(n int) {
	if s == nil {
		return
	}
	c := &s.at
	if c.col == s.cols { // terminals differ on which column that is
		s.doubt()
		c.col--
	}
	c.col = max(c.col-n, 0)
	if c.colKnown {
		c.far = c.col
	} else {
		c.far = max(c.far-n, 0)
	}
}

func (s *stage) right(n int) {
	if s == nil {
		return
	}
	c := &s.at
	if c.col == s.cols {
		s.doubt()
	}
	c.col = min(c.col+n, s.cols-1)
	if c.colKnown {
		c.far = c.col
	} else {
		c.far = s.cols
	}
}

// doubt gives up on the column.
func (s *stage) doubt() { s.at.colKnown, s.at.far = false, s.cols }

func (s *stage) tab(n int) {
	if s == nil {
		return
	}
	s.doubt()
	if s.at.col < s.cols {
		s.at.col = min((s.at.col/8+min(n, s.cols))*8, s.cols-1)
	}
}

func (s *stage) backTab() {
	if s == nil {
		return
	}
	s.doubt()
	s.at.col = max(s.at.col-1, 0) / 8 * 8
}

// wrap switches automatic wrap.
func (s *stage) wrap(on bool) {
	if s == nil {
		return
	}
	s.doubt()
	s.clipped = !on
}

func (s *stage) erased() {
	if s != nil {
		s.stale = true
	}
}

// down moves the likely row and the bound down by n, at most to the margin.
func (s *stage) down(n int) {
	c := &s.at
	s.vertically()
	c.row = min(c.row+n, max(s.low, c.row))
	if c.most+n > s.low && !c.rowKnown && !c.colKnown {
		c.far = s.cols
	}
	c.most = min(c.most+n, s.low)
}

// up moves both up by n, at most to the top margin if they were below it.
func (s *stage) up(n int) {
	c := &s.at
	s.vertically()
	stop := 1
	if c.row >= s.top {
		stop = s.top
	}
	c.row = max(c.row-n, stop)
	if c.rowKnown {
		c.most = c.row
		return
	}
	if !c.colKnown {
		c.far = s.cols
	}
	c.most = max(c.most-n, min(s.top, c.most))
}

// onRow goes to a row that is named, whatever the column.
func (s *stage) onRow(row int) {
	s.vertically()
	c := &s.at
	if !c.rowKnown && !c.colKnown {
		c.far = s.cols // the bound was one for the last of several rows
	}
	c.row, c.most, c.rowKnown = row, row, true
}

// vertically notes that some terminals keep a pending wrap across rows and
// some do not.
func (s *stage) vertically() {
	if s.at.col == s.cols {
		s.doubt()
	}
}

// Widths of runes as most terminals have them: East Asian wide and emoji.
var wideRunes = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1},
		{0x231a, 0x231b, 1},
		{0x2329, 0x232a, 1},
		{0x23e9, 0x23ec, 1},
		{0x23f0, 0x23f3, 3},
		{0x25fd, 0x25fe, 1},
		{0x2614, 0x2615, 1},
		{0x2648, 0x2653, 1},
		{0x267f, 0x2693, 20},
		{0x26a1, 0x26a1, 1},
		{0x26aa, 0x26ab, 1},
		{0x26bd, 0x26be, 1},
		{0x26c4, 0x26c5, 1},
		{0x26ce, 0x26d4, 6},
		{0x26ea, 0x26ea, 1},
		{0x26f2, 0x26f3, 1},
		{0x26f5, 0x26fa, 5},
		{0x26fd, 0x2705, 8},
		{0x270a, 0x270b, 1},
		{0x2728, 0x2728, 1},
		{0x274c, 0x274e, 2},
		{0x2753, 0x2755, 1},
		{0x2757, 0x2757, 1},
		{0x2795, 0x2797, 1},
		{0x27b0, 0x27bf, 15},
		{0x2b1b, 0x2b1c, 1},
		{0x2b50, 0x2b55, 5},
		{0x2e80, 0x303e, 1},
		{0x3041, 0xa4cf, 1},
		{0xa960, 0xa97c, 1},
		{0xac00, 0xd7a3, 1},
		{0xf900, 0xfaff, 1},
		{0xfe10, 0xfe19, 1},
		{0xfe30, 0xfe6b, 1},
		{0xff01, 0xff60, 1},
		{0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{
		{0x16fe0, 0x18cff, 1},
		{0x1aff0, 0x1b2fb, 1},
		{0x1f004, 0x1f004, 1},
		{0x1f0cf, 0x1f0cf, 1},
		{0x1f18e, 0x1f18e, 1},
		{0x1f191, 0x1f19a, 1},
		{0x1f200, 0x1f320, 1},
		{0x1f32d, 0x1f335, 1},
		{0x1f337, 0x1f37c, 1},
		{0x1f37e, 0x1f393, 1},
		{0x1f3a0, 0x1f3ca, 1},
		{0x1f3cf, 0x1f3d3, 1},
		{0x1f3e0, 0x1f3f0, 1},
		{0x1f3f4, 0x1f3f4, 1},
		{0x1f3f8, 0x1f43e, 1},
		{0x1f440, 0x1f440, 1},
		{0x1f442, 0x1f4fc, 1},
		{0x1f4ff, 0x1f53d, 1},
		{0x1f54b, 0x1f54e, 1},
		{0x1f550, 0x1f567, 1},
		{0x1f57a, 0x1f57a, 1},
		{0x1f595, 0x1f596, 1},
		{0x1f5a4, 0x1f5a4, 1},
		{0x1f5fb, 0x1f64f, 1},
		{0x1f680, 0x1f6c5, 1},
		{0x1f6cc, 0x1f6cc, 1},
		{0x1f6d0, 0x1f6df, 1},
		{0x1f6eb, 0x1f6ec, 1},
		{0x1f6f4, 0x1f6fc, 1},
		{0x1f7e0, 0x1f7f0, 1},
		{0x1f90c, 0x1f9ff, 1},
		{0x1fa70, 0x1faff, 1},
		{0x20000, 0x3fffd, 1},
	},
}

// width guesses the columns of a rune. It decides where the cursor goes back to
// after rare sequences, never what is safe.
func width(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wideRunes, r):
		return 2
	}
	return 1
}
