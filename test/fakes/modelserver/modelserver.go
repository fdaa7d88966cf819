// Package modelserver is a scripted model provider on loopback: it speaks
// OpenAI chat completions and responses, Anthropic messages and Gemini
// generateContent, whole and streamed, and answers with what a script says. It
// can cut its bytes anywhere, fail, stall, break off and send garbage, and it
// records what it was asked. A reply may ask for a shell command without knowing
// how the agent's tool is called: the request tells.
//
// It is written independently of the client under test, so that a mistake in
// one does not hide a mistake in the other. It is for tests and for processes
// that tests start; nothing in the product may import it.
package modelserver

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Usage is what a reply reports; Input excludes cached tokens, Output includes
// Reasoning. Each provider's form is derived from it.
type Usage struct {
	Input      int64 `json:"input"`
	Output     int64 `json:"output"`
	CacheRead  int64 `json:"cache_read,omitempty"`
	CacheWrite int64 `json:"cache_write,omitempty"` // Anthropic only
	Reasoning  int64 `json:"reasoning,omitempty"`
}

// Call is a tool call of a reply.
type Call struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Args string `json:"args"` // JSON text
	// Custom makes it a call of a tool that takes free text, in Args: only
	// OpenAI's responses have such tools.
	Custom bool `json:"custom,omitempty"`
	// Places has other arguments where a form says them again, or first: at
	// "added" (the event that begins the call), and of OpenAI's responses at
	// "done" (the event that ends the arguments), "item" (the one that ends the
	// item) and "completed" (the reply as a whole). A client may believe any.
	Places map[string]string `json:"places,omitempty"`
}

// at gives the arguments as a place says them.
func (c Call) at(place string) string {
	if other, ok := c.Places[place]; ok {
		return other
	}
	return c.Args
}

// Failure is an error of the provider's form.
type Failure struct {
	Type    string `json:"type"`
	Message string `json:"message"`
	Code    string `json:"code,omitempty"`
}

// Reply is one scripted answer. The zero value is an empty reply that ends
// normally.
type Reply struct {
	// Match, if set, makes the reply answer only requests whose body contains
	// it; others look further down the script.
	Match string `json:"match,omitempty"`

	Text   string `json:"text,omitempty"`
	Pieces int    `json:"pieces,omitempty"` // runes per streamed text event; default 3
	Calls  []Call `json:"calls,omitempty"`
	Shell  string `json:"shell,omitempty"`  // one more call: of the request's own shell tool, to run this
	Repeat int    `json:"repeat,omitempty"` // sends the Calls this many times, numbered; default 1
	// Interleave streams the arguments of several calls in turns.
	Interleave bool `json:"interleave,omitempty"`
	ArgPieces  int  `json:"arg_pieces,omitempty"` // runes per streamed piece of arguments; default: two halves
	// Also are further choices (chat completions) or candidates (Gemini): of
	// each only what it says, calls and stops with.
	Also  []Reply `json:"also,omitempty"`
	Model string  `json:"model,omitempty"` // default: as asked for; "" in Render leaves it out
	Stop  string  `json:"stop,omitempty"`  // the provider's own word; default: by Calls
	Usage *Usage  `json:"usage,omitempty"` // nil reports none
	Early *Usage  `json:"early,omitempty"` // what a stream's first events report instead
	// RawUsage replaces the figures that Usage gives: no honest server sends it.
	RawUsage json.RawMessage `json:"raw_usage,omitempty"`
	Think    string          `json:"think,omitempty"`  // reasoning text, where the form has one
	Status   int             `json:"status,omitempty"` // default 200
	Error    *Failure        `json:"error,omitempty"`  // with Status 200 and a stream: after the text, inside it

	Headers map[string]string `json:"headers,omitempty"`
	// Body replaces the whole body; RepeatBody sends it that many times.
	Body       *string `json:"body,omitempty"`
	RepeatBody int     `json:"repeat_body,omitempty"`

	Chunk     int      `json:"chunk,omitempty"`      // bytes per write; 0 = the script's
	CRLF      bool     `json:"crlf,omitempty"`       // line ends of a stream
	Comments  bool     `json:"comments,omitempty"`   // comments and pings between events
	Between   string   `json:"between,omitempty"`    // between the events of a stream: what keeps it alive, or what nobody knows
	Gzip      bool     `json:"gzip,omitempty"`       // compress the body, whatever the request accepts
	Pace      Duration `json:"pace,omitempty"`       // wait before every write
	CutAfter  int      `json:"cut_after,omitempty"`  // bytes of the body, then the connection is closed
	Stall     Duration `json:"stall,omitempty"`      // wait …
	StallAt   int      `json:"stall_at,omitempty"`   // … before this byte of the body; 0 = before the header
	Hangup    bool     `json:"hangup,omitempty"`     // close the connection without an answer
	EchoKey   bool     `json:"echo_key,omitempty"`   // put the caller's key into the error's message and the request id
	RequestID string   `json:"request_id,omitempty"` // default "req_<n>"
	Number    int      `json:"number,omitempty"`     // in the reply's own id; default: how many requests came so far
}

// Duration is a time.Duration that JSON writes as text, "1.5s".
type Duration time.Duration

// UnmarshalText reads the text form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	*d = Duration(v)
	return err
}

// MarshalText writes the text form.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Script is what a server says, in order.
type Script struct {
	Replies []Reply `json:"replies"`
	Chunk   int     `json:"chunk,omitempty"` // bytes per write for replies that do not say; default 4096
	Loop    bool    `json:"loop,omitempty"`  // start again at the end; otherwise the end is status 500
	Key     string  `json:"key,omitempty"`   // if set, any other key gets 401
	// Aside, if set, answers requests that offer no shell tool, without using
	// a reply up: agents ask for titles and summaries between their turns.
	Aside *Reply `json:"aside,omitempty"`
}

// Load reads a script as JSON; unknown fields are errors.
func Load(r io.Reader) (Script, error) {
	var s Script
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		return Script{}, fmt.Errorf("modelserver: script: %w", err)
	}
	return s, nil
}

// Request is what the server was asked.
type Request struct {
	Method, Path, Query string
	Header              http.Header
	Body                []byte
	Form                string // "openai", "responses", "anthropic" or "gemini"; "" for a path without a form
	Stream              bool
	Key                 string
	Model               string // "" where neither body nor path name one
}

// JSON decodes the body, or gives nil.
func (r Request) JSON() map[string]any {
	var v map[string]any
	if json.Unmarshal(r.Body, &v) != nil {
		return nil
	}
	return v
}

// Fake answers requests from a script. It is safe for concurrent use.
type Fake struct {
	mu     sync.Mutex
	script Script
	used   []bool
	count  int
	seen   []Request
	others []Request
	closed chan struct{}
	once   sync.Once
}

// Handler makes the HTTP side of a script.
func Handler(s Script) *Fake {
	return &Fake{script: s, used: make([]bool, len(s.Replies)), closed: make(chan struct{})}
}

// Say adds a reply to the end of the script.
func (f *Fake) Say(r Reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script.Replies, f.used = append(slices.Clip(f.script.Replies), r), append(f.used, false)
}

// Requests gives what was asked so far, in order of arrival.
func (f *Fake) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// Others gives the requests that no reply was used for: lists of models, counts
// of tokens, and paths that are not known and got status 404.
func (f *Fake) Others() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.others)
}

// Close ends every stalled reply.
func (f *Fake) Close() { f.once.Do(func() { close(f.closed) }) }

// next picks the first unused reply that matches.
func (f *Fake) next(r Request) (Reply, int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, r)
	f.count++
	if _, turn := r.Shell(""); f.script.Aside != nil && !turn {
		return *f.script.Aside, f.count, true
	}
	for range 2 {
		for i, reply := range f.script.Replies {
			if !f.used[i] && strings.Contains(string(r.Body), reply.Match) {
				f.used[i] = true
				return reply, f.count, true
			}
		}
		if !f.script.Loop {
			break
		}
		clear(f.used)
	}
	return Reply{}, f.count, false
}

// ServeHTTP implements http.Handler.
func (f *Fake) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(io.LimitReader(hr.Body, 64<<20))
	if err != nil {
		return
	}
	r := Request{Method: hr.Method, Path: hr.URL.Path, Query: hr.URL.RawQuery, Header: hr.Header.Clone(), Body: body}
	form := detect(&r)
	if form == nil || hr.Method != http.MethodPost {
		f.other(w, r)
		return
	}
	reply, n, ok := f.next(r)
	if !ok {
		reply = Reply{
			Status: 500, Error: &Failure{Type: "script_end", Message: "the script has no further reply"},
			Headers: map[string]string{"X-Should-Retry": "false"},
		}
	}
	if reply.Shell != "" {
		if call, ok := r.Shell(reply.Shell); ok {
			call.ID = fmt.Sprintf("call_%d", n)
			reply.Calls = append(slices.Clip(reply.Calls), call)
		} else {
			reply = Reply{Status: 400, Error: &Failure{Type: "invalid_request_error", Message: "the request offers no shell tool"}}
		}
	}
	if f.script.Key != "" && r.Key != f.script.Key {
		reply = Reply{Status: 401, Error: &Failure{Type: "authentication_error", Message: "invalid key"}}
	}
	if reply.Number == 0 {
		reply.Number = n
	}
	if reply.Model == "" {
		reply.Model = r.Model
	}
	if reply.RequestID == "" {
		reply.RequestID = fmt.Sprintf("req_%d", n)
	}
	if reply.EchoKey {
		reply.RequestID += "-" + r.Key
		e := Failure{Type: "authentication_error"}
		if reply.Error != nil {
			e = *reply.Error
		}
		e.Message += " you sent " + r.Key
		reply.Error = &e
	}
	f.answer(w, r, form, reply)
}

// other answers a request that no reply of the script is for.
func (f *Fake) other(w http.ResponseWriter, r Request) {
	f.mu.Lock()
	f.others = append(f.others, r)
	f.mu.Unlock()
	if r.Header.Get("Upgrade") != "" {
		// Codex falls back to plain requests.
		http.Error(w, "modelserver: no WebSocket here", http.StatusUpgradeRequired)
		return
	}
	if v, ok := listing(r.Method, r.Path); ok {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(encode(v))
		return
	}
	http.Error(w, "modelserver: no such path "+r.Path, http.StatusNotFound)
}

func (f *Fake) answer(w http.ResponseWriter, r Request, form form, reply Reply) {
	if reply.Hangup {
		panic(http.ErrAbortHandler)
	}
	stream := r.Stream && (reply.Status == 0 || reply.Status == http.StatusOK)
	w.Header().Set("Content-Type", "application/json")
	if stream && !arrays(form) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	}
	w.Header().Set(form.requestIDHeader(), reply.RequestID)
	for k, v := range reply.Headers {
		w.Header().Set(k, v)
	}
	body := render(form, reply, stream)
	if reply.Gzip {
		body = squeeze(body)
		w.Header().Set("Content-Encoding", "gzip")
	}
	if reply.Chunk == 0 {
		reply.Chunk = f.script.Chunk
	}
	if reply.Chunk <= 0 {
		reply.Chunk = 4096
	}
	if reply.StallAt == 0 && !f.wait(reply.Stall) {
		return
	}
	if reply.Status != 0 {
		w.WriteHeader(reply.Status)
	}
	for range max(1, reply.RepeatBody) {
		if !f.send(w, body, reply) {
			return
		}
	}
}

// send writes body in chunks; false means that the client or the server went
// away.
func (f *Fake) send(w http.ResponseWriter, body []byte, reply Reply) bool {
	flush := http.NewResponseController(w).Flush
	for at := 0; at < len(body); {
		end := min(at+reply.Chunk, len(body))
		for _, edge := range []int{reply.CutAfter, reply.StallAt} {
			if edge > at && edge < end {
				end = edge
			}
		}
		if !f.wait(reply.Pace) {
			return false
		}
		if _, err := w.Write(body[at:end]); err != nil || flush() != nil {
			return false
		}
		at = end
		if at == reply.CutAfter {
			panic(http.ErrAbortHandler)
		}
		if at == reply.StallAt && !f.wait(reply.Stall) {
			return false
		}
	}
	return true
}

// wait sleeps, or returns false when the server is closed.
func (f *Fake) wait(d Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(time.Duration(d))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-f.closed:
		return false
	}
}

// Server is a Fake that listens on loopback.
type Server struct {
	*Fake
	URL string // "http://127.0.0.1:port"
	srv *http.Server
}

// Start listens on addr ("127.0.0.1:0" for any port).
func Start(addr string, s Script) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("modelserver: %w", err)
	}
	f := Handler(s)
	srv := &http.Server{Handler: f, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(l) }()
	return &Server{Fake: f, URL: "http://" + l.Addr().String(), srv: srv}, nil
}

// Addr is "127.0.0.1:port".
func (s *Server) Addr() string { return strings.TrimPrefix(s.URL, "http://") }

// Close stops the server at once.
func (s *Server) Close() error {
	s.Fake.Close()
	return s.srv.Close()
}

// TB is the part of testing.TB that New needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(string, ...any)
}

// New starts a server for a test.
func New(t TB, script ...Reply) *Server {
	t.Helper()
	return NewScript(t, Script{Replies: script})
}

// NewScript starts a server with a whole script for a test.
func NewScript(t TB, script Script) *Server {
	t.Helper()
	s, err := Start("127.0.0.1:0", script)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
