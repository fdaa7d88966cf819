package screen

import (
	"io"
	"sync"
)

// maxTyped bounds what was typed and not yet read by the program, in bytes. A
// program that does not read must not stop us from reading commands, so what
// is typed beyond it is lost.
const maxTyped = 1 << 20

// feeder writes to a program that may not read.
type feeder struct {
	w     io.Writer
	mu    sync.Mutex
	more  *sync.Cond
	queue []byte
	ended bool
}

func newFeeder(w io.Writer) *feeder {
	f := &feeder{w: w}
	f.more = sync.NewCond(&f.mu)
	return f
}

// add queues bytes, as many as there is room for.
func (f *feeder) add(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.queue = append(f.queue, b[:min(len(b), maxTyped-len(f.queue))]...)
	f.more.Signal()
}

// run writes until stop or an error, which the reader of the program sees too.
func (f *feeder) run() {
	for {
		f.mu.Lock()
		for len(f.queue) == 0 && !f.ended {
			f.more.Wait()
		}
		if f.ended {
			f.mu.Unlock()
			return
		}
		n := min(len(f.queue), 4<<10)
		piece := append([]byte(nil), f.queue[:n]...)
		f.queue = append(f.queue[:0], f.queue[n:]...)
		f.mu.Unlock()
		if _, err := f.w.Write(piece); err != nil {
			return
		}
	}
}

func (f *feeder) stop() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.more.Signal()
}
