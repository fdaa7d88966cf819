package screen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"

	"sallyport/internal/fault"
)

// DefaultRecording is how large a recording grows if nothing else is said, in
// bytes.
const DefaultRecording = 64 << 20

const (
	eventBytes = 4 << 10                // a piece of output without a line end is written at this size
	eventAge   = 250 * time.Millisecond // and at this age
	overlap    = 256                    // of which this much waits, for a secret that is not whole yet
	maxEvent   = 32 << 10               // bytes of one event, so that every reader takes it
	closing    = 256                    // kept free for the closing notice
)

// size is that of a screen.
type size struct{ rows, cols int }

// RecorderOptions describe a recording.
type RecorderOptions struct {
	Title string // what was run; "" for none
	// MaxBytes bounds the recording; 0 or less: DefaultRecording. What comes
	// after is not recorded, and a last event says so.
	MaxBytes int64
	// Scrub takes what must not be recorded out of a piece of output. It sees
	// whole lines where a program prints lines. nil: nothing is taken out.
	Scrub func([]byte) []byte
	now   func() time.Time
}

// Recorder writes what was shown as asciicast version 2. Each event is one
// write of one line, so a recording is valid whenever its writer dies. Only
// output and sizes are recorded, never what was typed. It may be used by
// several goroutines.
type Recorder struct {
	mu      sync.Mutex
	w       io.Writer
	opt     RecorderOptions
	began   time.Time
	written int64
	header  bool
	full    bool
	size    size
	pending []byte
	since   time.Duration // when pending began
	timer   *time.Timer
	err     error
}

// NewRecorder makes a recorder that writes to w, best a file opened for
// appending. The header is written with the first size or output.
func NewRecorder(w io.Writer, o RecorderOptions) *Recorder {
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultRecording
	}
	if o.now == nil {
		o.now = time.Now
	}
	return &Recorder{w: w, opt: o, began: o.now(), size: size{24, 80}}
}

// Output records what was shown.
func (r *Recorder) Output(b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full || r.err != nil || len(b) == 0 {
		return
	}
	now := r.opt.now().Sub(r.began)
	if len(r.pending) == 0 {
		r.since = now
	} else if now-r.since > eventAge {
		r.flush(len(r.pending))
		r.since = now
	}
	r.pending = append(r.pending, b...)
	switch line := bytes.LastIndexByte(r.pending, '\n') + 1; {
	case line > 0:
		r.flush(line)
	case len(r.pending) >= eventBytes:
		r.flush(len(r.pending) - overlap)
	}
	if len(r.pending) > 0 && r.timer == nil {
		r.timer = time.AfterFunc(eventAge, r.late)
	}
}

// late writes what has waited long enough.
func (r *Recorder) late() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timer = nil
	r.flush(len(r.pending))
}

// flush writes the first n bytes that wait, cut at a rune.
func (r *Recorder) flush(n int) {
	for n > maxEvent {
		r.flush(maxEvent)
		n -= maxEvent - utf8.UTFMax
	}
	n = min(n, len(r.pending))
	for n > 0 && n < len(r.pending) && !utf8.RuneStart(r.pending[n]) {
		n--
	}
	if n == 0 {
		return
	}
	text := bytes.Clone(r.pending[:n])
	if r.opt.Scrub != nil {
		text = r.opt.Scrub(text)
	}
	r.event(r.since, "o", string(text))
	r.pending = append(r.pending[:0], r.pending[n:]...)
	r.since = r.opt.now().Sub(r.began)
}

// Resize records the size of the program's screen. The first is the header's.
func (r *Recorder) Resize(rows, cols int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.header {
		r.size = size{rows, cols}
		r.head()
		return
	}
	r.flush(len(r.pending))
	r.event(r.opt.now().Sub(r.began), "r", fmt.Sprintf("%dx%d", cols, rows))
}

// End writes what is pending and a notice; nothing is recorded after it.
func (r *Recorder) End(notice string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return
	}
	r.flush(len(r.pending))
	r.event(r.opt.now().Sub(r.began), "o", "\r\n\x1b[m["+plain(notice)+"]\r\n")
	r.full, r.pending = true, nil
}

// Close writes what is pending and gives the first error of the recording. The
// writer is the caller's to close.
func (r *Recorder) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.header {
		r.head()
	}
	r.flush(len(r.pending))
	r.full = true
	if r.timer != nil {
		r.timer.Stop()
	}
	return fault.Wrap("screen.record", fault.Unavailable, r.err)
}

type header struct {
	Version   int    `json:"version"`
	Width     int    `json:"width"`
	Height    int    `json:"height"`
	Timestamp int64  `json:"timestamp,omitempty"`
	Title     string `json:"title,omitempty"`
}

func (r *Recorder) head() {
	r.header = true
	line, err := json.Marshal(header{2, r.size.cols, r.size.rows, r.began.Unix(), plain(r.opt.Title)})
	if err != nil {
		r.err = err
		return
	}
	r.line(line)
}

// event writes one event, or the notice that there is no room for it.
func (r *Recorder) event(at time.Duration, kind, text string) {
	if !r.header {
		r.head()
	}
	if r.full || r.err != nil {
		return
	}
	line, err := eventLine(at, kind, text)
	if err == nil && r.written+int64(len(line)) > r.opt.MaxBytes-closing {
		r.full = true
		line, err = eventLine(at, "o", "\r\n\x1b[m[the recording ends here: it has reached its largest size]\r\n")
	}
	if err != nil {
		r.err = err
		return
	}
	r.line(line)
}

func eventLine(at time.Duration, kind, text string) ([]byte, error) {
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	line := strconv.AppendFloat([]byte{'['}, at.Seconds(), 'f', 6, 64)
	line = append(line, ", \""+kind+"\", "...)
	return append(append(line, quoted...), ']'), nil
}

func (r *Recorder) line(b []byte) {
	n, err := r.w.Write(append(b, '\n'))
	r.written += int64(n)
	if err != nil {
		r.err = err
	}
}
