//go:build unix

package screen

import (
	"context"
	"os"
	"time"

	"sallyport/internal/fault"
)

// wakeDrawer asks for the status line to be drawn.
func (s *Screen) wakeDrawer() {
	select {
	case s.redraw <- struct{}{}:
	default:
	}
}

// draw keeps the status line and the size until the end, and then restores the
// terminal.
func (s *Screen) draw(ctx context.Context, winch <-chan os.Signal) {
	defer func() {
		s.finish()
		s.wg.Wait() // nobody reads the terminal any more
		_ = s.tty.wakeR.Close()
		close(s.done)
	}()
	notices := s.opt.Notices
	for {
		s.refresh()
		select {
		case <-s.over:
			return
		case <-ctx.Done():
			s.end(fault.Wrap("screen", fault.Canceled, context.Cause(ctx)))
			return
		case <-winch:
			s.resize()
		case _, open := <-notices:
			if !open {
				notices = nil
			}
		case <-s.redraw:
		}
	}
}

// refresh draws the status line, or without one asks in the program's place.
func (s *Screen) refresh() {
	status := ""
	if s.opt.Status != nil {
		status = s.opt.Status()
	}
	if !s.take() {
		return
	}
	defer s.give()
	name := "^" + string(rune(s.opt.Prefix|0x40))
	width := s.size.cols - 1
	if s.filter.stage == nil {
		width += s.size.cols * max(s.size.rows-2, 0) // the question has the screen
	}
	text, asking := s.desk.line(status, name, width)
	f := &s.filter
	if f.stage == nil {
		s.ask(text, asking)
		return
	}
	if s.modal != nil {
		close(s.modal)
		s.modal = nil
	}
	if text == s.text && asking == s.asking && !f.stage.stale {
		return
	}
	s.text, s.asking = text, asking
	s.buf = f.paint(s.buf[:0], text, s.opt.Color || asking)
	s.put()
}

// ask shows a question on a terminal that is too small for a status line: the
// program's output waits until it is answered, and then the program is made to
// draw itself again.
func (s *Screen) ask(text string, asking bool) {
	switch {
	case asking && (s.modal == nil || text != s.text):
		if s.modal == nil {
			s.modal = make(chan struct{})
		}
		s.text = text
		s.buf = append(s.buf[:0], "\x1b[?2026l\x1b]8;;\x1b\\\x1b[m\x1b(B\x0f\r\n\x1b[J\x1b[7m"...)
		s.buf = append(append(s.buf, plain(text)...), "\x1b[m\r\n"...)
		s.put()
	case !asking && s.modal != nil:
		close(s.modal)
		s.modal, s.text = nil, ""
		s.tell(s.size.rows+1, s.size.cols)
		s.tell(s.size.rows, s.size.cols)
	}
}

func (s *Screen) put() {
	if err := s.tty.write(s.buf); err != nil {
		s.end(err)
	}
}

func (s *Screen) tell(rows, cols int) {
	if err := s.program.Resize(dim(rows), dim(cols)); err != nil {
		s.end(programEnd(err))
	}
}

// resize takes the terminal's new size over.
func (s *Screen) resize() {
	rows, cols, err := s.tty.size()
	if err != nil {
		s.end(err)
		return
	}
	if !s.take() {
		return
	}
	defer s.give()
	s.size = size{rows, cols}
	f := &s.filter
	s.buf = s.buf[:0]
	switch {
	case rows < leastRows:
		if f.stage != nil {
			s.buf = append(s.buf, "\x1b7\x1b[r\x1b8"...)
		}
		f.stage = nil
	case f.stage == nil:
		f.stage = newStage(rows-1, cols)
		fallthrough
	default:
		rows--
		s.buf = f.resize(s.buf, rows, cols)
	}
	s.put()
	if s.opt.Recorder != nil {
		s.opt.Recorder.Resize(rows, cols)
	}
	s.tell(rows, cols)
}

// input reads the person's keys until the end.
func (s *Screen) input(early []byte) {
	defer s.wg.Done()
	k := &keys{
		prefix:  s.opt.Prefix,
		forward: s.feeder.add,
		armed:   func() { s.desk.armed(); s.wakeDrawer() },
		command: s.press,
		wants:   s.pastes.Load,
		report:  s.tty.owes,
	}
	k.feed(early)
	buf := make([]byte, 4<<10)
	for {
		n, err := s.tty.read(buf, k.wait(), s.over)
		switch {
		case err != nil:
			s.end(err)
			return
		case n == 0:
			k.release()
		default:
			k.feed(buf[:n])
		}
		select {
		case <-s.over:
			return
		default:
		}
	}
}

// press obeys the key after the prefix.
func (s *Screen) press(key byte) {
	defer s.wakeDrawer()
	if key == s.opt.Prefix {
		s.desk.press(0)
		s.feeder.add([]byte{key})
		return
	}
	if s.desk.press(key) || s.opt.Commands == nil {
		return
	}
	select {
	case s.presses <- key:
	default: // sixteen commands wait already
	}
}

// obey hands keys we do not know to the owner, one at a time.
func (s *Screen) obey() {
	for {
		select {
		case key := <-s.presses:
			s.opt.Commands(key)
		case <-s.over:
			return
		}
	}
}

// pastes tells whether the program wants to know what is pasted.
func (m *modes) pastes() bool { return m.differs(modePaste) }

// graceful bounds how long the last words to a terminal may take.
const graceful = time.Second
