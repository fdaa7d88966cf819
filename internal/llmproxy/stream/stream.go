// Package stream stands between a model server's streamed reply and the client
// that would act on it: text passes at once and byte for byte, a tool call is
// held from its first event until it was judged, and is then released as it
// came or replaced by one line of text at its place.
//
// Invariants: no byte of a call reaches the client before the call is whole and
// was released; nothing that was not understood reaches it; what the bytes of
// the upstream are cut into changes neither a decision nor a byte; whatever
// waits behind a held call keeps its order; every buffer is bounded. Bytes that
// need no change are the original ones. When the stream must end, the client is
// told so in its own form of a permanent error.
//
// llmproxy may import it.
package stream

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
)

// Defaults of Options.
const (
	DefaultMaxHeld  = 8 << 20
	DefaultMaxCalls = 1024
	DefaultMaxEvent = 16 << 20
)

// Verdict is the answer to one call.
type Verdict struct {
	Release bool   // the call goes to the client as it came
	Notice  string // one line that stands in place of a call that is not released
}

// Options says how a reply is treated. API, Out and Judge are needed.
type Options struct {
	API    wire.API
	Client wire.Client
	Array  bool // Gemini without alt=sse: a JSON array of chunks
	// Out takes bytes for the client, whole events each time. It is called from
	// Write, Close and Fail only and must not keep p. Its error ends the stream.
	Out func(p []byte) error
	// Judge decides a whole call before a byte of it was passed on, in the order
	// of the reply. It may take minutes; everything before the call was handed to
	// Out by then. A call with type "server" was already performed by the
	// provider: it is reported, the verdict changes nothing.
	Judge func(c wire.Call) Verdict
	// Text, if set, sees each piece of text, refusal or reasoning before it is
	// passed on. An error ends the stream; the client is told its public text.
	Text       func(piece string) error
	StripUsage bool // Chat: the client did not ask for usage, the proxy did
	TextIsCall bool // the client executes reply text: it is held and judged whole, as a call of type "text"
	MaxHeld    int  // bytes held at one time: a call and what waits behind it; default 8 MiB
	MaxCalls   int  // calls of a reply; default 1024
	MaxEvent   int  // bytes of one event; default 16 MiB
}

// Summary tells what a reply was. ID, Model and Stop are the server's words and
// not trusted; Stop is as the client saw it.
type Summary struct {
	Usage                     wire.Usage
	Stop, Model, ID           string
	Calls, Released, Replaced int   // judged calls; those of type server count as released
	TextBytes                 int64 // of text, refusal and reasoning
	Complete                  bool  // the reply reached its regular end
}

// Machine treats one reply. It is for one goroutine.
type Machine struct {
	o      Options
	f      framer
	doc    doc
	api    form
	sum    Summary
	err    error
	ended  bool // the reply's last event was seen: an end, or the server's own error
	opened int  // calls
	liar   bool // the usage figures are not plausible
	left   int  // released calls that are the client's to perform
	gone   int  // replaced ones

	queue []event // what is held, in order
	held  int     // its bytes

	fast   template
	says   int // pieces of text of the event
	spoken int // where the last one stands, if it is a whole string

	run    []byte // bytes for Out
	gather []byte // where run lies, if it is not one piece of the upstream's bytes
	edits  []edit
	any    bool       // a byte was handed to Out
	at     wire.Place // where the client is
}

// form is what one API adds.
type form interface {
	// read takes an event whose document was parsed. It hands text on, opens and
	// fills calls and has those judged that became whole.
	read(e *event) error
	// pass hands an event on whose calls were all decided. Its document is parsed.
	pass(e *event) error
	// end is called when the upstream has ended; it tells whether it did so
	// properly.
	end() (bool, error)
	// drop forgets the calls that will never be whole.
	drop()
	// repeat takes a text event that differs from the one before only in its
	// text and its number; false has it read in full.
	repeat(text string) bool
}

// state of a call.
type state uint8

const (
	open state = iota
	released
	replaced
	dropped // the reply broke off before it was whole
)

// call is a tool call that is collected or was judged.
type call struct {
	wire.Call
	args   []byte // the inside of the JSON strings that came so far
	state  state
	notice string
	told   bool // the notice was handed on
	out    int  // Chat: its number among the released ones
}

// New makes a machine. It panics if Out is nil or the API is unknown: both are
// a defect of the caller.
func New(o Options) *Machine {
	if o.MaxHeld <= 0 {
		o.MaxHeld = DefaultMaxHeld
	}
	if o.MaxCalls <= 0 {
		o.MaxCalls = DefaultMaxCalls
	}
	if o.MaxEvent <= 0 {
		o.MaxEvent = DefaultMaxEvent
	}
	if o.Out == nil {
		panic("stream: Out is nil")
	}
	m := &Machine{o: o}
	m.f.array = o.Array && o.API == wire.Gemini
	switch o.API {
	case wire.Chat:
		m.api = &chat{Machine: m}
	case wire.Responses:
		m.api = &responses{Machine: m, last: -1}
	case wire.Messages:
		m.api = &messages{Machine: m, last: -1}
	case wire.Gemini:
		m.api = &gemini{Machine: m}
	default:
		panic("stream: no stream of the API " + o.API.String())
	}
	return m
}

// Write takes upstream bytes in any pieces. Its error is Out's, or a fault whose
// public text the client was told; every later Write gives it again.
func (m *Machine) Write(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n := len(p)
	own := len(m.f.buf) > 0
	if own {
		m.f.buf = append(m.f.buf, p...)
		p = m.f.buf
	}
	for len(p) > 0 {
		if k, err := m.again(p, m.f.seen); err != nil {
			return 0, m.stop(err)
		} else if k > 0 {
			p = p[k:]
			continue
		}
		k := m.f.next(p)
		if k < 0 {
			return 0, m.stop(refuse("json", "the array of chunks is malformed"))
		}
		if k > m.o.MaxEvent || k == 0 && len(p) > m.o.MaxEvent {
			return 0, m.stop(refuse("event-size", "an event of the reply exceeds %d bytes", m.o.MaxEvent))
		}
		if k == 0 {
			break
		}
		if err := m.event(m.f.cut(p[:k])); err != nil {
			return 0, m.stop(err)
		}
		p = p[k:]
	}
	if err := m.flush(); err != nil {
		return 0, m.stop(err)
	}
	m.doc.b = nil // the bytes are the caller's
	switch {
	case len(p) > 0:
		m.f.buf = append(m.f.buf[:0], p...)
	case cap(m.f.buf) > 8192:
		m.f.buf = nil // an idle stream keeps no large buffer
	default:
		m.f.buf = m.f.buf[:0]
	}
	return n, nil
}

// Close is called when the upstream ended. A reply that was cut is ended with an
// error in the client's form, an unfinished call never reaches it. The error is
// that of Write, or of Out.
func (m *Machine) Close() (Summary, error) {
	if m.err == nil {
		if err := m.close(); err != nil {
			_ = m.stop(err)
		}
	}
	if m.liar {
		m.sum.Usage = wire.Usage{}
	}
	m.f.buf, m.queue = nil, nil
	err := m.err
	if err == nil {
		m.err = fault.New("llmproxy.stream", fault.Conflict, "the stream is closed")
	}
	return m.sum, err
}

func (m *Machine) close() error {
	// A last event whose blank line is missing is dispatched by some clients. If
	// it is no whole event, the reply was cut in it.
	if rest := m.f.buf; len(rest) > 0 && !m.f.array {
		e := m.f.cut(append(slices.Clip(rest), "\n\n"...))
		if e.data && m.doc.parse(e.raw[e.d0:e.d1]) || m.isEnd(&e) {
			if err := m.event(e); err != nil {
				return err
			}
		}
	}
	complete, err := m.api.end()
	if err != nil {
		return err
	}
	if err := m.drain(); err != nil {
		return err
	}
	if len(m.queue) > 0 || !complete && !m.ended || m.f.array && m.f.open && !m.f.closed && !m.ended {
		m.at.Cut = true
		return refuse("reply-cut", "the model server's reply ended before it was whole")
	}
	m.sum.Complete = complete
	return m.flush()
}

// Fail ends the stream now: what is held is dropped and the client is told why.
// The error is Out's.
func (m *Machine) Fail(r wire.Reason) error {
	if m.err != nil {
		return nil
	}
	m.err = fault.New("llmproxy.stream", fault.Denied, "%s", r.Because)
	return m.tell(r)
}

// refuse makes the error that ends a stream: rule and because are told to the
// client.
func refuse(rule, format string, args ...any) error {
	return fault.New("stream."+rule, fault.Denied, format, args...)
}

// outError is an error of Out: nothing more can be told to the client.
type outError struct{ error }

func (e outError) Unwrap() error { return e.error }

// stop ends the stream with err, which it returns.
func (m *Machine) stop(err error) error {
	if m.err != nil {
		return m.err // Fail was called by what we called
	}
	m.err = err
	if o, ok := err.(outError); ok { //nolint:errorlint // never wrapped: it comes from here
		m.err = o.error
		return m.err
	}
	r := wire.Reason{Rule: "stream.text", Because: fault.PublicText(err)}
	if f, ok := err.(*fault.Error); ok && strings.HasPrefix(f.Op, "stream.") { //nolint:errorlint // refuse's own, not what a caller's error wraps
		r.Rule = f.Op
	}
	// What waited for calls that will never be whole was judged as well; a
	// released call must not end in its middle.
	m.api.drop()
	if e := m.drain(); e != nil {
		return m.err
	}
	if e := m.tell(r); e != nil {
		m.err = fmt.Errorf("llmproxy.stream: %w", e)
	}
	return m.err
}

// tell ends what was sent with the native permanent error.
func (m *Machine) tell(r wire.Reason) error {
	m.queue, m.held = nil, 0
	b := wire.StreamError(m.o.API, m.o.Client, r, m.at)
	if m.f.array {
		b = m.arrayError(wire.ErrorBody(m.o.Client, r, m.at))
	}
	m.put(b)
	if err := m.flush(); err != nil {
		return err.(outError).error //nolint:errorlint,forcetypeassert // flush gives no other
	}
	return nil
}

// arrayError makes the array's last element of an error.
func (m *Machine) arrayError(b []byte) []byte {
	if m.f.closed {
		return nil
	}
	sep := "["
	if m.any || len(m.run) > 0 {
		sep = ","
	}
	return append(append([]byte(sep), b...), "]\n"...)
}

// event takes the next event of the upstream.
func (m *Machine) event(e event) error {
	m.fast.n, m.says, m.spoken = 0, 0, 0
	switch {
	case e.last:
		if _, err := m.api.end(); err != nil {
			return err
		}
		return m.place(&e)
	case !e.data:
		m.put(e.raw) // comments and the like belong to nothing
		return nil
	case m.isEnd(&e):
		if err := m.api.read(&e); err != nil {
			return err
		}
		return m.place(&e)
	}
	if !m.doc.parse(e.raw[e.d0:e.d1]) {
		return refuse("json", "an event of the reply is not the strict JSON that every reader understands alike")
	}
	if m.doc.breaks {
		e = rewritten(nil, e.name, escapeBreaks(e.raw[e.d0:e.d1]))
		m.doc.parse(e.raw[e.d0:e.d1])
	}
	if err := m.api.read(&e); err != nil {
		return err
	}
	if m.doc.odd {
		return refuse("json", "a name in an event of the reply differs from a known one in upper and lower case only")
	}
	if m.doc.stray() {
		return refuse("hidden-call", "an event of the reply carries a tool call where none belongs")
	}
	m.learn(&e)
	return m.place(&e)
}

// isEnd tells whether e is Chat's end mark.
func (m *Machine) isEnd(e *event) bool {
	return m.o.API == wire.Chat && e.data && e.d1-e.d0 <= 16 && strings.TrimSpace(string(e.raw[e.d0:e.d1])) == "[DONE]"
}

// place passes e on or puts it behind what is held.
func (m *Machine) place(e *event) error {
	if e.ready() && (e.ahead || len(m.queue) == 0) {
		if err := m.api.pass(e); err != nil {
			return err
		}
		return m.drain()
	}
	e.raw = append([]byte(nil), e.raw...)
	m.queue = append(m.queue, *e)
	if err := m.hold(len(e.raw) + 128); err != nil {
		return err
	}
	return m.drain()
}

// hold counts n more held bytes.
func (m *Machine) hold(n int) error {
	if m.held += n; m.held > m.o.MaxHeld {
		return refuse("held-size", "tool calls of the reply exceed %d bytes before they are whole", m.o.MaxHeld)
	}
	return nil
}

// drain passes on what waits for nothing.
func (m *Machine) drain() error {
	n := 0
	for ; n < len(m.queue) && m.queue[n].ready(); n++ {
		e := &m.queue[n]
		if e.data && !m.isEnd(e) {
			m.doc.parse(e.raw[e.d0:e.d1])
		}
		if err := m.api.pass(e); err != nil {
			return err
		}
	}
	if n == 0 {
		return nil
	}
	if m.queue = m.queue[n:]; len(m.queue) == 0 {
		m.queue, m.held = nil, 0
	}
	return nil
}

// ready tells that every call of the event was decided.
func (e *event) ready() bool {
	for _, c := range e.calls {
		if c.state == open {
			return false
		}
	}
	return true
}

// newCall makes the reply's next call.
func (m *Machine) newCall(typ, id, name string) (*call, error) {
	if m.opened++; m.opened > m.o.MaxCalls {
		return nil, refuse("call-count", "the reply has more than %d tool calls", m.o.MaxCalls)
	}
	return &call{Call: wire.Call{Type: typ, ID: id, Name: name}}, nil
}

// judge has a whole call decided. What the call's arguments are is set before.
func (m *Machine) judge(c *call) error {
	if c.state != open {
		return nil
	}
	if err := m.flush(); err != nil {
		return err
	}
	c.Index = m.sum.Calls
	m.sum.Calls++
	var v Verdict
	if m.o.Judge != nil {
		v = m.o.Judge(c.Call)
	}
	if m.err != nil {
		return m.err
	}
	if v.Release || c.Type == "server" {
		c.state = released
		m.sum.Released++
		if c.Type != "server" && c.Type != "text" {
			m.left++
		}
		return nil
	}
	c.state = replaced
	m.sum.Replaced++
	if c.Type != "text" {
		m.gone++
	}
	c.notice = strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == 0x2028 || r == 0x2029 {
			return ' '
		}
		return r
	}, v.Notice))
	if c.notice == "" {
		c.notice = "# Blocked by Sallyport: this tool call was not released."
	}
	return nil
}

// say hands text to Text.
func (m *Machine) say(s string) error {
	if s == "" {
		return nil
	}
	m.says++
	m.sum.TextBytes += int64(len(s))
	if m.o.Text == nil {
		return nil
	}
	if err := m.o.Text(s); err != nil {
		return err
	}
	return nil
}
