package llmproxy

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/gate"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
)

// The outcomes of a request, as an Observer counts them.
const (
	outcomeDone     = "done"
	outcomeDenied   = "denied"         // by the gate
	outcomeRefused  = "refused"        // before anything was judged
	outcomeLimited  = "limited"        // too fast
	outcomeUpstream = "upstream_error" // the upstream did not answer, or with an error
	outcomeCanceled = "canceled"       // the client went away
	outcomeError    = "error"          // something here failed
)

// halt ends a request before its upstream is asked, or instead of a reply. A
// halt without an answer has nothing left to say: the client has what there is,
// or is gone.
type halt struct {
	outcome string
	rule    string
	because string
	status  int          // of a refusal in the API's form; 0 = answer says
	answer  *wire.Answer // ready made
}

func refuse(status int, rule, because string) *halt {
	return &halt{outcome: outcomeRefused, rule: rule, because: because, status: status}
}

const ruleUnauthenticated = "unauthenticated"

func unauthenticated(api wire.API, because string) *halt {
	a := wire.Refuse(api, "", wire.Reason{Rule: "key", Because: because, Login: true})
	return &halt{outcome: outcomeRefused, rule: ruleUnauthenticated, because: because, answer: &a}
}

// unavailable is a failure of ours or of the upstream's, which trying again may
// mend.
func unavailable(api wire.API, c wire.Client, status int, because string) *halt {
	a := wire.Unavailable(api, c, status, because)
	return &halt{outcome: outcomeError, rule: "unavailable", because: because, answer: &a}
}

func (x *exchange) unavailable(because string) *halt {
	return unavailable(x.route.API, x.client, http.StatusServiceUnavailable, because)
}

// denied turns what the gate said into what the client is told.
func (x *exchange) denied(err error) *halt {
	if x.ctx.Err() != nil {
		return &halt{outcome: outcomeCanceled, because: "the client went away"}
	}
	reason, ok := x.p.reasonOf(err)
	if !ok {
		x.p.cfg.Log.Error("gate", "error", err)
		return x.unavailable(reason.Because)
	}
	a := wire.Refuse(x.route.API, x.client, reason)
	return &halt{outcome: outcomeDenied, rule: reason.Rule, because: reason.Because, answer: &a}
}

// reasonOf gives why an action was not permitted, as its client is told. It is
// false for an error that is no judgement: then the judgement could not be
// written down.
func (p *Proxy) reasonOf(err error) (wire.Reason, bool) {
	r, judged := why(err)
	if p.cfg.Terse && judged {
		r.Because = "" // the log knows
	}
	return r, judged
}

func why(err error) (wire.Reason, bool) {
	if r, ok := errors.AsType[*gate.Refusal](err); ok {
		return wire.Reason{Rule: r.Rule(), Because: r.Decision.Because, Approval: approvalOf(r.Decision)}, true
	}
	switch fault.KindOf(err) {
	case fault.Budget:
		return wire.Reason{Rule: "budget", Because: fault.PublicText(err)}, true
	case fault.Denied, fault.NeedsAsk:
		return wire.Reason{Rule: "gate", Because: fault.PublicText(err)}, true
	default:
		return wire.Reason{Rule: "evidence", Because: fault.PublicText(err)}, false
	}
}

// approvalOf gives the id under which an unanswered question may still be
// answered: the sentence names the command.
func approvalOf(d record.Decision) string {
	if len(d.Rules) == 0 || d.Rules[len(d.Rules)-1] != "ask.unanswered" {
		return ""
	}
	_, rest, ok := strings.Cut(d.Because, "`sallyport approve ")
	id, _, closed := strings.Cut(rest, "`")
	if !ok || !closed || strings.ContainsAny(id, " \n") {
		return ""
	}
	return id
}

// say sends a halt's answer and gives its status.
func (p *Proxy) say(w http.ResponseWriter, api wire.API, h *halt) int {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(p.cfg.WriteTimeout)) // unsupported by recorders only
	if w.Header().Get("Connection") == "close" {
		// The server reads what is left of a body before it closes: not for long.
		_ = rc.SetReadDeadline(time.Now().Add(linger))
	}
	a := h.answer
	if a == nil {
		if h.status == 0 {
			return 0
		}
		a = plainError(api, h.status, "Refused by Sallyport (rule "+h.rule+"): "+h.because)
	}
	maps.Copy(w.Header(), a.Header)
	w.Header().Set("Content-Length", strconv.Itoa(len(a.Body)))
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) //nolint:gosec // JSON by its content type, and never sniffed
	return a.Status
}

// plainError is an error of the client's own making, in the API's form.
func plainError(api wire.API, status int, message string) *wire.Answer {
	kind, code := "invalid_request_error", "invalid_request"
	switch status {
	case http.StatusNotFound:
		kind, code = "not_found_error", "not_found"
	case http.StatusRequestEntityTooLarge:
		kind, code = "request_too_large", "request_too_large"
	case http.StatusForbidden:
		kind, code = "permission_error", "permission_denied"
	}
	var body any
	switch api {
	case wire.Messages:
		body = map[string]any{"type": "error", "error": map[string]any{"type": kind, "message": message}}
	case wire.Gemini:
		body = map[string]any{"error": map[string]any{"code": status, "message": message, "status": "INVALID_ARGUMENT"}}
	default:
		body = map[string]any{"error": map[string]any{"message": message, "type": kind, "param": nil, "code": code}}
	}
	b, _ := json.Marshal(body) // strings and numbers only
	h := http.Header{"Content-Type": {"application/json"}, "X-Should-Retry": {"false"}, "X-Content-Type-Options": {"nosniff"}}
	return &wire.Answer{Status: status, Header: h, Body: b}
}

// decline ends a request that never became an action, and writes it down.
func (p *Proxy) decline(w http.ResponseWriter, r *http.Request, api wire.API, h *halt) {
	w.Header().Set("Connection", "close")
	status := p.say(w, api, h)
	p.note(r.Context(), Caller{}, h, map[string]any{"method": plain(r.Method, 16), "path": plain(r.URL.Path, 256), "status": int64(status), "host": plain(r.Host, 256)})
	p.cfg.Observe.Request(api, "", "", h.outcome, status)
}

// note writes a refusal down, within bounds: a request that is refused costs its
// sender nothing.
func (p *Proxy) note(ctx context.Context, who Caller, h *halt, data map[string]any) {
	ok, missed := p.quiet.now(p.cfg.Now())
	if !ok {
		return
	}
	data["rule"], data["because"] = h.rule, h.because
	if missed > 0 {
		data["missed"] = int64(missed)
	}
	if who.Key != "" {
		data["key"] = who.Key
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	kind := "proxy.denied"
	if h.rule == ruleUnauthenticated {
		kind = "auth.failed"
	}
	e := record.Event{Type: kind, Agent: who.Agent, Session: who.Session, Channel: "LLM", Level: "warning", Alert: "none", Data: data}
	if _, err := p.cfg.Journal.Append(ctx, e); err != nil {
		p.cfg.Log.Error("journal", "error", err)
	}
}

// linger is how long the rest of a refused request is listened to, so that its
// client gets to read the answer.
const linger = 500 * time.Millisecond

// noteTimeout bounds how long an answer waits for what is written about it.
const noteTimeout = 10 * time.Second
