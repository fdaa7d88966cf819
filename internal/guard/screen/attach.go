//go:build unix

package screen

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"

	"sallyport/internal/fault"
)

// leastRows is the height from which a terminal has a status line.
const leastRows = 5

// Program is the master side of the terminal a program runs on. Closing it ends
// what waits in Read and Write; a Screen never closes it.
type Program interface {
	io.ReadWriter
	// Resize sets the size the program sees.
	Resize(rows, cols uint16) error
}

// Options of Attach. In and Out are required and must be a terminal.
type Options struct {
	In, Out  *os.File        // the person's terminal
	Recorder *Recorder       // takes what is shown; nil: nothing is recorded
	Status   func() string   // text of the status line; nil: empty
	Notices  <-chan struct{} // each asks for the status line to be drawn again
	Prefix   byte            // key that begins a command; 0: DefaultPrefix
	Commands func(key byte)  // a key after the prefix that Attach does not know, one at a time; nil: ignored
	Help     string          // what those keys do, for the help: "k ends the program"; "": nothing to say
	Color    bool            // the status line is in reverse video
}

// Screen joins a program to a person's terminal until Close.
type Screen struct {
	program Program
	opt     Options
	tty     *tty

	// lock is held by whoever writes to the terminal; a channel, so that
	// giving up is possible while a stalled terminal holds it.
	lock   chan struct{}
	filter Filter
	size   size // of the terminal
	text   string
	asking bool
	buf    []byte
	shut   bool

	desk    desk
	feeder  *feeder
	pastes  atomic.Bool
	redraw  chan struct{}
	presses chan byte
	modal   chan struct{} // not nil while a question holds a terminal without status line; under lock

	once sync.Once
	over chan struct{} // closed when the end began
	done chan struct{} // closed when the terminal is restored
	err  error         // why; set before over is closed
	wg   sync.WaitGroup
}

// Attach joins p to the terminal of o: what p prints is filtered and shown
// above the status line, what is typed goes to p, but for the commands that
// begin with the prefix key. It returns at once; Wait tells the end, which is
// the program's, the terminal's, ctx's or Close. Close must be called, also
// when a panic unwinds the caller; a signal that is to end the program must
// cancel ctx or call Close, or the terminal stays raw.
func Attach(ctx context.Context, p Program, o Options) (*Screen, error) {
	if o.Prefix == 0 {
		o.Prefix = DefaultPrefix
	}
	if o.In == nil || o.Out == nil || !term.IsTerminal(int(o.In.Fd())) || !term.IsTerminal(int(o.Out.Fd())) {
		return nil, fault.New("screen.attach", fault.Usage, "only a terminal can be attached to a program: input or output is none; use pipes instead")
	}
	if o.Prefix >= 0x20 || o.Prefix == esc || o.Prefix == '\r' || o.Prefix == '\n' {
		return nil, fault.New("screen.attach", fault.Usage, "the prefix key must be a control key other than escape and enter")
	}
	t, err := openTTY(o.In, o.Out)
	if err != nil {
		return nil, err
	}
	s := &Screen{
		program: p, opt: o, tty: t,
		lock: make(chan struct{}, 1), redraw: make(chan struct{}, 1), presses: make(chan byte, 16),
		over: make(chan struct{}), done: make(chan struct{}), feeder: newFeeder(p),
	}
	if o.Help != "" {
		s.desk.commands = plain(o.Help) + ", "
	}
	early, err := s.begin()
	if err != nil {
		s.finish()
		return nil, err
	}
	winch := make(chan os.Signal, 1)
	signal.Notify(winch, syscall.SIGWINCH)
	s.wg.Add(1)
	go s.guarded(func() { s.input(early) })
	go s.guarded(s.output)
	go s.guarded(s.feeder.run)
	go s.guarded(s.obey)
	go s.guarded(func() { defer signal.Stop(winch); s.draw(ctx, winch) })
	return s, nil
}

// guarded runs f and leaves the terminal usable if it panics.
func (s *Screen) guarded(f func()) {
	defer func() {
		if r := recover(); r != nil {
			s.finish()
			panic(r)
		}
	}()
	f()
}

// begin takes the terminal over: raw mode, title kept, pastes marked, a row
// reserved and the cursor's place learned. early is what was typed meanwhile.
func (s *Screen) begin() (early []byte, err error) {
	rows, cols, err := s.tty.size()
	if err != nil {
		return nil, err
	}
	s.size = size{rows, cols}
	s.filter.modes.keepsPaste = true
	out := []byte("\x1b[22;2t\x1b[?2004h")
	if rows >= leastRows {
		rows--
		s.filter.stage = newStage(rows, cols)
		out = append(appendReserve(out, rows), "\x1b[6n"...)
	}
	if err := s.program.Resize(dim(rows), dim(cols)); err != nil {
		return nil, fault.Wrap("screen.attach", fault.Unavailable, err)
	}
	if err := s.tty.write(out); err != nil {
		return nil, err
	}
	if g := s.filter.stage; g != nil {
		var row, col int
		row, col, early = s.tty.cursor(200 * time.Millisecond)
		if row < 1 || row > g.rows || col < 1 || col > g.cols {
			row, col = g.rows, 1
			err = s.tty.write(appendCSI(nil, 'H', row, col))
		}
		g.put(row, col-1)
	}
	if s.opt.Recorder != nil {
		s.opt.Recorder.Resize(rows, cols)
	}
	return early, err
}

// dim bounds a size for the kernel.
func dim(n int) uint16 { return uint16(min(max(n, 1), 1<<15)) }

// take gets the terminal, unless the end has begun.
func (s *Screen) take() bool {
	select {
	case s.lock <- struct{}{}:
	case <-s.over:
		return false
	}
	if s.shut {
		<-s.lock
		return false
	}
	return true
}

func (s *Screen) give() { <-s.lock }

// output shows what the program prints. The next piece is read when the one
// before is on the terminal, so a program that prints without end waits.
func (s *Screen) output() {
	buf := make([]byte, 16<<10)
	for {
		n, err := s.program.Read(buf)
		if n > 0 && !s.show(buf[:n]) {
			return
		}
		if err != nil {
			s.end(programEnd(err))
			return
		}
	}
}

// programEnd tells the end of a program from a failure: a terminal whose last
// user is gone says EIO.
func programEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO) || errors.Is(err, os.ErrClosed) {
		return nil
	}
	return fault.Wrap("screen.output", fault.Unavailable, err)
}

func (s *Screen) show(b []byte) bool {
	if !s.take() {
		return false
	}
	for s.modal != nil {
		closed := s.modal
		s.give()
		select {
		case <-closed:
		case <-s.over:
			return false
		}
		if !s.take() {
			return false
		}
	}
	defer s.give()
	f := &s.filter
	s.buf = f.Append(s.buf[:0], b)
	s.pastes.Store(f.modes.pastes())
	if s.opt.Recorder != nil {
		s.opt.Recorder.Output(s.buf)
	}
	if f.stage != nil && f.stage.stale {
		if f.modes.sync() && !s.asking {
			time.AfterFunc(syncPatience, s.wakeDrawer)
		} else {
			s.buf = f.paint(s.buf, s.text, s.opt.Color)
		}
	}
	if err := s.tty.write(s.buf); err != nil {
		s.end(err)
		return false
	}
	return true
}

// syncPatience is how long a program's synchronised update may hide that our
// row was erased.
const syncPatience = 250 * time.Millisecond

// Wait waits for the end: nil when the program ended or Close was called,
// Canceled when ctx ended, Unavailable when the terminal or the program's side
// failed. The terminal is restored when it returns.
func (s *Screen) Wait() error {
	<-s.done
	return s.err
}

// Counts tells what the filter has held back so far.
func (s *Screen) Counts() Counts {
	s.lock <- struct{}{}
	defer s.give()
	return s.filter.Counts()
}

// end begins the end; the first reason counts.
func (s *Screen) end(why error) {
	s.once.Do(func() {
		s.err = why
		close(s.over)
	})
}

// Close gives the terminal back as it was: main screen, mouse and paste off,
// cursor shown, colours, keyboard and title restored, raw mode off. It may be
// called more than once and by anybody.
func (s *Screen) Close() error {
	s.end(nil)
	<-s.done
	return nil
}

// finish restores the terminal, once.
func (s *Screen) finish() {
	s.end(nil)
	locked := false
	select {
	case s.lock <- struct{}{}:
		locked = true
	case <-time.After(time.Second): // the terminal stalls; its mode can be restored
	}
	if locked && !s.shut {
		s.shut = true
		s.tty.writeSoon(s.farewell())
	}
	s.tty.restore()
	if locked {
		s.give()
	}
	s.feeder.stop()
}

// farewell is what the terminal needs to be as it was.
func (s *Screen) farewell() []byte {
	g := s.filter.stage
	out := s.filter.Restore(nil)
	if g != nil {
		out = append(out, "\x1b7\x1b[r"...)
		out = appendCSI(out, 'H', g.rows+1, 1)
		out = append(out, "\x1b[2K\x1b8"...)
	}
	return append(out, "\x1b[?2004l\x1b[?25h\x1b[23;2t"...)
}
