// Package ingest takes events of other programs over HTTP: POST /v1/events with
// one object, a list, or lines of {event_type, data, channel, level}, the form
// in which Cylestio Monitor 0.1 logged.
//
// Invariants:
//   - who sends is known from the header before a byte of the body is read;
//   - a foreign event never looks like one of ours: names that this program
//     writes itself are refused, and data.source says who sent it;
//   - a request is recorded whole or refused whole, unless the log fails in the
//     middle, which the answer then says;
//   - bytes, events, depth, names and events per minute are bounded;
//   - what a client reads says what it did wrong, and nothing of ours.
//
// It imports the vocabulary only; app mounts it.
package ingest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Path is where the handler is mounted.
const Path = "/v1/events"

// Journal records an event durably and gives its entry's place in the log.
type Journal interface {
	Append(ctx context.Context, e record.Event) (int64, error)
}

// Auth tells from a request's header who sends, which becomes data.source. An
// error of kind fault.Denied is answered 401, fault.Budget 429, any other 503.
// It must not read the body.
type Auth func(*http.Request) (source string, err error)

// Options bound what is taken; zero fields have defaults.
type Options struct {
	MaxBody   int64            // bytes of a request; default 1 MiB
	MaxEvents int              // of a request; default 1,000
	PerMinute int              // events of one source; default 6,000
	Patience  time.Duration    // for the body; default 30 s
	Now       func() time.Time // default time.Now
}

// Handler takes events.
func Handler(auth Auth, journal Journal, o Options) http.Handler {
	o.MaxBody, o.MaxEvents = cmp.Or(o.MaxBody, 1<<20), cmp.Or(o.MaxEvents, 1000)
	o.PerMinute, o.Patience = cmp.Or(o.PerMinute, 6000), cmp.Or(o.Patience, 30*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	return &handler{auth: auth, journal: journal, opt: o, pace: newPace(o.PerMinute, o.Now)}
}

type handler struct {
	auth    Auth
	journal Journal
	opt     Options
	pace    *pace
}

// problem is an answer that refuses: the client's mistake in one sentence.
type problem struct {
	status int
	text   string
	wait   time.Duration
	taken  int
}

func (p *problem) Error() string { return p.text }

func bad(status int, text string) *problem { return &problem{status: status, text: text} }

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	taken, err := h.take(w, r)
	if err == nil {
		answer(w, http.StatusAccepted, map[string]any{"accepted": taken})
		return
	}
	p, ok := errors.AsType[*problem](err)
	if !ok {
		p = bad(http.StatusServiceUnavailable, "the events could not be recorded; try again later")
	}
	// What was not read must not be taken for the next request.
	w.Header().Set("Connection", "close")
	switch p.status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", "Bearer")
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(p.wait.Seconds())))))
	}
	answer(w, p.status, map[string]any{"error": p.text, "accepted": p.taken})
}

func answer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // nobody is left to tell
}

// take is the way of a request: who, what, how much, then the log.
func (h *handler) take(w http.ResponseWriter, r *http.Request) (int, error) {
	if r.Method != http.MethodPost {
		return 0, bad(http.StatusMethodNotAllowed, "events are sent with POST")
	}
	source, err := h.auth(r)
	if err != nil {
		return 0, refused(err)
	}
	lines, err := form(r)
	if err != nil {
		return 0, err
	}
	body, err := h.read(w, r)
	if err != nil {
		return 0, err
	}
	events, err := parse(body, lines, h.opt.MaxEvents, source)
	if err != nil {
		return 0, err
	}
	if wait := h.pace.take(source, len(events)); wait > 0 {
		return 0, &problem{status: http.StatusTooManyRequests, text: "too many events; slow down", wait: wait}
	}
	for i, e := range events {
		if _, err := h.journal.Append(r.Context(), e); err != nil {
			return i, &problem{status: http.StatusServiceUnavailable, text: "the events could not all be recorded; accepted says how many were", taken: i}
		}
	}
	return len(events), nil
}

func refused(err error) *problem {
	switch fault.KindOf(err) { //nolint:exhaustive // every other failure is ours
	case fault.Denied, fault.NeedsAsk:
		return bad(http.StatusUnauthorized, "no valid key for sending events; make one with `sallyport keys create NAME --role ingest` and send it as Authorization: Bearer KEY")
	case fault.Budget:
		return &problem{status: http.StatusTooManyRequests, text: "too many requests; slow down", wait: time.Minute}
	}
	return bad(http.StatusServiceUnavailable, "keys cannot be checked now; try again later")
}

// form reads the header that says how the body is written.
func form(r *http.Request) (lines bool, err error) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return false, bad(http.StatusUnsupportedMediaType, "the body must not be compressed")
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if charset := params["charset"]; err != nil || charset != "" && charset != "utf-8" && charset != "UTF-8" {
		kind = ""
	}
	switch kind {
	case "application/json":
		return false, nil
	case "application/x-ndjson", "application/ndjson", "application/jsonl":
		return true, nil
	}
	return false, bad(http.StatusUnsupportedMediaType, "the body must be application/json or application/x-ndjson in UTF-8")
}

func (h *handler) read(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	large := bad(http.StatusRequestEntityTooLarge, "the body is larger than "+strconv.FormatInt(h.opt.MaxBody, 10)+" bytes; send fewer events at a time")
	if r.ContentLength > h.opt.MaxBody {
		return nil, large
	}
	// A writer that cannot bound the time (a test's) has a server that does.
	_ = http.NewResponseController(w).SetReadDeadline(h.opt.Now().Add(h.opt.Patience))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.opt.MaxBody))
	if err == nil {
		return body, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, large
	}
	return nil, bad(http.StatusRequestTimeout, "the body did not arrive whole and in time")
}
