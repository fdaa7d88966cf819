package llmproxy

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/stream"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/scan/screen"
)

// readSize is how much of a stream is read at a time.
const readSize = 4 << 10

// live is a stream on its way to the client.
type live struct {
	x       *exchange
	resp    *http.Response
	in      *source
	m       *stream.Machine
	scan    *screen.Stream
	spoken  spoken
	begun   bool // the head was sent
	dirty   bool // bytes wait to be flushed
	gone    bool // the client does not read any more
	blocked bool // a text ended the stream
	counted int  // bytes held in the machine that count against the proxy's memory
	keys    secret
	tail    []byte // the end of what was read, for keys that are split
}

// stream judges a reply while it passes.
func (x *exchange) stream(resp *http.Response, body io.Reader) *halt {
	l := &live{x: x, resp: resp, in: newSource(body, x.p.cfg.MaxBuffer, x.p.room), keys: x.keys, spoken: spoken{x: x}}
	defer l.in.close()
	l.scan = x.p.cfg.Screen.Stream()
	l.m = stream.New(stream.Options{
		API: x.route.API, Client: x.client, Array: x.route.Array,
		Out: l.write, Judge: l.judge,
		Text:       l.text,
		StripUsage: x.route.API == wire.Chat && !x.q.IncludeUsage, TextIsCall: x.textIsCall(),
		MaxHeld: x.p.cfg.MaxHeld, MaxCalls: x.p.cfg.MaxCalls,
	})
	x.letGo() // the request is on its way: a stream that idles for minutes holds none of it
	return l.pump()
}

// text judges a piece of text before it is passed on.
func (l *live) text(piece string) error {
	reason := l.x.output(l.scan.Write([]byte(piece)))
	if reason == nil {
		var err error
		if reason, err = l.spoken.add(piece); err != nil {
			return err
		}
	}
	if reason != nil {
		l.x.lastReason, l.blocked = *reason, true
		return fault.New("llmproxy.text", fault.Denied, "rule %s: %s", reason.Rule, reason.Because)
	}
	return nil
}

// pump passes the reply on until it ends.
func (l *live) pump() *halt {
	for {
		b, err := l.in.next()
		if len(b) > 0 {
			if l.leaks(b) {
				return l.stop(wire.Reason{Rule: "credential", Because: "the upstream repeated its own key in the reply"}, outcomeUpstream)
			}
			if _, e := l.m.Write(b); e != nil {
				return l.finish()
			}
			if !l.count() {
				return l.stop(wire.Reason{Rule: "memory", Because: noRoom}, outcomeError)
			}
			l.flush()
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			if reason := l.x.output(l.scan.Close()); reason != nil {
				return l.stop(*reason, outcomeDenied)
			}
			if reason, e := l.spoken.judge(); e != nil || reason != nil {
				l.x.p.cfg.Log.Warn("moderation", "name", l.x.up.Name, "error", e) // it has been said: the finding is recorded
			}
			return l.finish()
		case l.x.r.Context().Err() != nil || l.gone:
			l.finish()
			return &halt{outcome: outcomeCanceled, because: errGone.Error()}
		case l.x.p.ctx.Err() != nil:
			return l.stop(wire.Reason{Rule: "proxy.ending", Because: "the proxy is ending; send the request again", Again: true}, outcomeCanceled)
		default:
			l.x.p.cfg.Log.Warn("stream", "name", l.x.up.Name, "error", err)
			l.finish() // the machine says that the reply was cut
			return &halt{outcome: outcomeUpstream, because: "the upstream broke off"}
		}
	}
}

// countFrom is from how many bytes on what a stream keeps counts against the
// proxy's memory: ordinary streams keep less and cost no lock.
const countFrom = 64 << 10

// count has what the machine keeps count; false means that there is no room.
func (l *live) count() bool {
	more := l.m.Held() - l.counted
	switch {
	case more > countFrom:
		l.counted += more
		return l.x.hold(int64(more))
	case l.counted > 0 && l.m.Held() == 0:
		l.x.p.room.give(int64(l.counted))
		l.x.held, l.counted = l.x.held-int64(l.counted), 0
	}
	return true
}

// stop ends the stream with a reason.
func (l *live) stop(r wire.Reason, outcome string) *halt {
	_ = l.m.Fail(r)
	l.finish()
	return &halt{outcome: outcome, rule: r.Rule, because: r.Because}
}

// finish ends the machine and keeps what it counted.
func (l *live) finish() *halt {
	sum, err := l.m.Close()
	l.flush()
	o := l.x.out
	o.ended, o.stop, o.replyID, o.usage = sum.Complete, sum.Stop, sum.ID, sum.Usage
	o.output, o.replaced = o.output+sum.TextBytes, sum.Replaced
	if !l.begun && !l.gone {
		l.x.begin(l.resp, -1) // an empty reply
	}
	for k, v := range l.resp.Trailer {
		l.x.w.Header()[http.TrailerPrefix+k] = l.keys.scrubAll(v)
	}
	switch {
	case err == nil:
		return nil
	case l.gone:
		return &halt{outcome: outcomeCanceled, because: errGone.Error()}
	case l.blocked:
		return &halt{outcome: outcomeDenied, rule: l.x.lastReason.Rule, because: l.x.lastReason.Because}
	}
	return &halt{outcome: outcomeUpstream, because: fault.PublicText(err)}
}

// leaks looks for the upstream's key, also across two pieces.
func (l *live) leaks(b []byte) bool {
	if len(l.keys) == 0 {
		return false
	}
	keep := l.keys.longest() - 1
	edge := append(l.tail, b[:min(len(b), keep)]...)
	for _, k := range l.keys {
		if bytes.Contains(b, k) || bytes.Contains(edge, k) {
			return true
		}
	}
	if len(b) >= keep {
		edge = append(l.tail[:0], b[len(b)-keep:]...)
	} else if n := len(edge) - keep; n > 0 {
		edge = append(edge[:0], edge[n:]...)
	}
	l.tail = edge
	return false
}

// write hands bytes to the client. Somebody may be keeping it alive meanwhile.
func (l *live) write(p []byte) error {
	l.x.wmu.Lock()
	defer l.x.wmu.Unlock()
	return l.writeLocked(p)
}

func (l *live) writeLocked(p []byte) error {
	if !l.begun {
		l.begun = true
		l.x.begin(l.resp, -1)
	}
	l.x.deadline()
	if _, err := l.x.w.Write(p); err != nil {
		l.gone = true
		l.x.cancel()
		return errGone
	}
	l.dirty = true
	return nil
}

// flush has what was written leave.
func (l *live) flush() {
	l.x.wmu.Lock()
	defer l.x.wmu.Unlock()
	l.flushLocked()
}

func (l *live) flushLocked() {
	if !l.dirty {
		return
	}
	l.dirty = false
	if err := l.x.rc.Flush(); err != nil && !errors.Is(err, http.ErrNotSupported) {
		l.gone = true
		l.x.cancel()
	}
}

// judge holds the stream while a call is judged: the upstream is drained into a
// buffer, and the client is told that there is somebody.
func (l *live) judge(c wire.Call) stream.Verdict {
	l.flush()
	l.in.drain()
	alive := l.keepAlive()
	defer alive()
	return l.x.judge(c)
}

// keepAlive sends a sign of life again and again until it is stopped.
func (l *live) keepAlive() (stop func()) {
	sign := wire.KeepAlive(l.x.route.API)
	var t *time.Timer
	stopped := false
	l.x.wmu.Lock()
	defer l.x.wmu.Unlock()
	t = time.AfterFunc(l.x.p.cfg.KeepAlive, func() {
		l.x.wmu.Lock()
		defer l.x.wmu.Unlock()
		if stopped || l.writeLocked(sign) != nil {
			return
		}
		l.flushLocked()
		t.Reset(l.x.p.cfg.KeepAlive)
	})
	return func() {
		t.Stop()
		l.x.wmu.Lock()
		defer l.x.wmu.Unlock()
		stopped = true
	}
}

// deadline bounds the next write to the client.
func (x *exchange) deadline() {
	_ = x.rc.SetWriteDeadline(time.Now().Add(x.p.cfg.WriteTimeout)) // unsupported by recorders only
}

// source gives the pieces of a stream: straight from the upstream, and, once a
// call was held, through a buffer that is filled meanwhile. A full buffer holds
// the upstream back.
type source struct {
	r    io.Reader
	most int
	room *room
	buf  []byte // of the direct way

	mu     sync.Mutex
	cond   *sync.Cond
	drains bool
	wait   []byte
	spare  []byte
	held   int64 // of wait, counted against the proxy's memory
	err    error
	done   bool
}

func newSource(r io.Reader, most int, in *room) *source {
	s := &source{r: r, most: most, room: in, buf: make([]byte, readSize)}
	s.cond = sync.NewCond(&s.mu)
	return s
}

// next gives what came; it is valid until the next call.
func (s *source) next() ([]byte, error) {
	if !s.drains {
		n, err := s.r.Read(s.buf)
		return s.buf[:n], err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.wait) == 0 && s.err == nil {
		s.cond.Wait()
	}
	if len(s.wait) == 0 {
		return nil, s.err
	}
	out := s.wait
	s.wait, s.spare = s.spare[:0], nil
	s.give()
	if cap(out) <= 1<<16 {
		s.spare = out[:0:cap(out)]
	}
	s.cond.Broadcast()
	return out, nil
}

// drain begins to fill the buffer. It is for the goroutine that calls next.
func (s *source) drain() {
	if s.drains {
		return
	}
	s.drains = true
	go s.fill()
}

func (s *source) fill() {
	buf := make([]byte, readSize)
	for {
		n, err := s.r.Read(buf)
		s.mu.Lock()
		s.wait = append(s.wait, buf[:n]...)
		s.err = err
		s.cond.Broadcast()
		for !s.done && (len(s.wait) >= s.most || !s.fits()) {
			s.cond.Wait()
		}
		end := err != nil || s.done
		s.mu.Unlock()
		if end {
			return
		}
	}
}

// fits has what waits count; without room the upstream is held back until it was
// taken.
func (s *source) fits() bool {
	more := int64(cap(s.wait)) - s.held
	if more <= countFrom {
		return true
	}
	if !s.room.take(more) {
		return false
	}
	s.held += more
	return true
}

func (s *source) give() {
	s.room.give(s.held)
	s.held = 0
}

// close ends the filling; the reader's own end is its owner's matter.
func (s *source) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = true
	s.give()
	s.cond.Broadcast()
}
