package screen

// This file has the sequences that move between rows. With a stage each is
// rewritten so that the cursor stays on it; without one they pass.

// vertical judges a control sequence that names rows.
func (f *Filter) vertical() {
	c, s := &f.csi, f.stage
	if s == nil {
		f.pass()
		return
	}
	switch n := c.arg(0, 1); c.final {
	case 'A', 'F':
		f.cursorUp(n)
	case 'B', 'e', 'E':
		f.cursorDown(n)
	case 'd':
		f.toRow(f.rowOf(n), -1)
	case 'r':
		f.margins(n, c.arg(1, s.rows))
	default:
		f.toRow(f.rowOf(n), min(c.arg(1, 1), s.cols)-1)
	}
	if c.final == 'E' || c.final == 'F' {
		f.c0('\r')
	}
}

// rowOf gives the row of the stage a program means.
func (f *Filter) rowOf(n int) int {
	s := f.stage
	if s.relative {
		return min(s.top+n-1, s.bottom)
	}
	return min(n, s.rows)
}

// toRow goes to a row and a column; -1 keeps the column.
func (f *Filter) toRow(row, col int) {
	s := f.stage
	fits := row <= s.low && (row > s.bottom || s.low == s.bottom)
	if col < 0 && fits {
		f.sequence('d', row)
		s.onRow(row)
		return
	}
	if col < 0 {
		col = min(s.at.col, s.cols-1)
	}
	if !fits {
		f.setMargins(row > s.bottom)
	}
	f.sequence('H', row, col+1)
	s.put(row, col)
}

// setMargins puts the program's margins in force, or those of the whole stage.
// It moves the cursor home: the caller places it.
func (f *Filter) setMargins(whole bool) {
	s := f.stage
	if whole {
		s.low = s.rows
		f.sequence('r', 1, s.rows)
		return
	}
	s.low = s.bottom
	f.sequence('r', s.top, s.bottom)
}

// margins is DECSTBM.
func (f *Filter) margins(top, bottom int) {
	s := f.stage
	bottom = min(bottom, s.rows)
	if top >= bottom {
		return // as every terminal does
	}
	s.top, s.bottom = top, bottom
	f.setMargins(false)
	f.goHome()
}

// goHome places the cursor at the program's origin.
func (f *Filter) goHome() { f.toRow(f.rowOf(1), 0) }

// settle narrows the margins again when the cursor has come back above the
// program's bottom margin.
func (f *Filter) settle() {
	if s := f.stage; s.low != s.bottom && s.at.row <= s.bottom {
		f.toRow(s.at.row, -1)
	}
}

func (f *Filter) cursorUp(n int) {
	s := f.stage
	was := s.at.row
	s.up(n)
	if s.at.rowKnown {
		n = was - s.at.row // some terminals pass the top margin
	}
	if n > 0 {
		f.sequence('A', n)
	}
	f.settle()
}

func (f *Filter) cursorDown(n int) {
	s := f.stage
	if s.at.most+n <= s.low {
		s.down(n)
		f.sequence('B', n)
		return
	}
	target := min(s.at.row+n, s.low)
	if s.at.rowKnown {
		if n = target - s.at.row; n > 0 {
			s.down(n)
			f.sequence('B', n)
		}
		return
	}
	f.toRow(target, -1)
}

// lineFeed moves down or scrolls.
func (f *Filter) lineFeed() {
	s := f.stage
	if s != nil {
		if s.low != s.bottom && s.at.row == s.rows {
			return // below its region a program cannot scroll
		}
		s.down(1)
	}
	f.out = append(f.out, '\n')
}

// reverseFeed moves up or scrolls back.
func (f *Filter) reverseFeed() {
	f.out = append(f.out, esc, 'M')
	if f.stage != nil {
		f.stage.up(1)
		f.settle()
	}
}

// saveOrRestore is DECSC and DECRC, also in their other spellings.
func (f *Filter) saveOrRestore(save bool) {
	s := f.stage
	if s == nil {
		f.out = append(f.out, esc, restoreByte(save))
		return
	}
	slot := &s.saved[f.modes.screen()]
	if save {
		*slot = saved{at: s.at, relative: s.relative}
		f.out = append(f.out, esc, '7')
		return
	}
	s.relative = slot.relative
	if slot.lost {
		f.toRow(min(slot.at.row, s.rows), min(slot.at.col, s.cols-1))
		return
	}
	if slot.at.most > s.low {
		f.setMargins(true)
	}
	f.out = append(f.out, esc, '8')
	s.at = slot.at
	if s.at.rowKnown && s.at.colKnown {
		f.settle()
	}
}

func restoreByte(save bool) byte {
	if save {
		return '7'
	}
	return '8'
}

// origin is DECOM.
func (f *Filter) origin(on bool) {
	f.stage.relative = on
	f.goHome()
}

// alternate switches between the main and the alternate screen. All ways to do
// it become one, 1049, and only real changes are sent: leaving a screen one is
// not on would move the cursor to a place saved by somebody else.
func (f *Filter) alternate(on bool) {
	if on == f.modes.alt {
		return
	}
	if !on {
		f.out = f.modes.popKeyboard(f.out) // the terminal keeps a stack per screen
		f.out = appendMode(f.out, modeAltSave, false)
		f.modes.alt = false
		f.mainAgain()
		return
	}
	f.out = appendMode(f.out, modeAltSave, true)
	f.modes.alt = true
	if s := f.stage; s != nil {
		s.main = s.at
		s.saved[1] = saved{at: home(), lost: true}
		s.saved[0].lost = true
		f.whole()
	}
}

// whole puts the margins of the whole stage in force and the cursor back.
func (f *Filter) whole() {
	s := f.stage
	row, col := s.at.row, min(s.at.col, s.cols-1)
	s.top, s.bottom, s.stale = 1, s.rows, true
	f.setMargins(true)
	f.sequence('H', row, col+1)
	s.put(row, col)
}

// mainAgain takes the main screen over after the alternate one.
func (f *Filter) mainAgain() {
	s := f.stage
	if s == nil {
		return
	}
	s.at = s.main
	s.vertically()
	f.out = appendReserve(f.out, s.rows)
	s.top, s.bottom, s.low, s.stale = 1, s.rows, s.rows, true
	s.saved[0].lost = true
}

// resize takes a new size of the terminal over, after which the cursor may be
// anywhere and the margins are gone.
func (f *Filter) resize(dst []byte, rows, cols int) []byte {
	f.stage.resize(rows, cols)
	f.stage.stale = true
	return appendReserve(dst, rows)
}

// appendReserve makes room for a row below the stage, wherever the cursor is,
// and keeps the cursor where it is relative to the text: if it was on the last
// row the text moves up by one. Its save and restore lose what was saved.
func appendReserve(dst []byte, rows int) []byte {
	dst = append(dst, "\x1b7\x1b[r\x1b8\n\x1b[A\x1b7"...)
	dst = appendCSI(dst, 'r', 1, rows)
	return append(dst, "\x1b8"...)
}

// softReset is DECSTR.
func (f *Filter) softReset() {
	f.out = f.modes.reset(f.out)
	s := f.stage
	if s == nil {
		f.out = append(f.out, "\x1b7\x1b[r\x1b8"...)
		return
	}
	s.relative, s.clipped = false, false
	s.doubt()
	f.whole()
}

// fullReset is RIS: a soft reset on a clear main screen. The real one would
// also clear what the person had before.
func (f *Filter) fullReset() {
	f.alternate(false)
	f.out = f.modes.popKeyboard(f.out)
	f.softReset()
	if f.stage != nil {
		f.goHome()
	} else {
		f.sequence('H')
	}
	f.sequence('J', 2)
	f.stage.erased()
}
