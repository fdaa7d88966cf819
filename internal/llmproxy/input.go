package llmproxy

import (
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/record"
	"sallyport/internal/scan/screen"
)

const (
	// maxHits and maxFindings bound what of a verdict is handed on.
	maxHits     = 32
	maxFindings = 256
	// maxLast bounds the evidence of what a call is about.
	maxLast = 4 << 10
)

// screened is what the input of an exchange came to.
type screened struct {
	scope   sum
	keys    []part
	verdict screen.Verdict // of everything: what was known and what is new
	fresh   screen.Verdict // of what is new
}

// add joins a verdict within the bounds.
func add(v *screen.Verdict, w screen.Verdict) {
	*v = v.Join(w)
	if len(v.Hits) > 1 {
		slices.SortStableFunc(v.Hits, func(a, b screen.Hit) int { return int(b.Action) - int(a.Action) })
	}
	v.Hits = v.Hits[:min(len(v.Hits), maxHits)]
	v.Findings = v.Findings[:min(len(v.Findings), maxFindings)]
}

// screen judges the segments that were not judged before.
func (x *exchange) screen() *halt {
	j, q := x.p.judged, x.q
	in := &x.in
	in.verdict.Alert, in.fresh.Alert = "none", "none"
	in.scope = j.scope(x.p.cfg.Screen.Digest(), x.p.cfg.PolicySet(), x.who)
	in.keys = make([]part, len(q.Segments))
	for i, s := range q.Segments {
		in.keys[i] = j.key(in.scope, x.route, s.Kind, s.Span.Of(x.view))
	}
	old, known := j.find(in.keys)
	for _, v := range old {
		if v != nil {
			add(&in.verdict, *v)
		}
	}
	news, err := x.news(known)
	if err != nil {
		return x.unavailable(fault.PublicText(err))
	}
	for i, v := range news {
		if i == len(known) || !known[i] {
			add(&in.fresh, v)
		}
	}
	add(&in.verdict, in.fresh)
	x.out.verdict = screen.Verdict{Alert: in.fresh.Alert, Findings: in.fresh.Findings}
	x.p.observed(in.fresh)
	if h := x.warn(); h != nil {
		return h
	}
	for i, k := range in.keys { // once the warning is written: else it is given again
		if !known[i] {
			j.keep(k, news[i])
		}
	}
	return nil
}

// news scans what is new. Its last verdict is of texts that are in no segment.
func (x *exchange) news(known []bool) ([]screen.Verdict, error) {
	out := make([]screen.Verdict, len(known)+1)
	for i := range out {
		out[i].Alert = "none"
	}
	var buf []byte
	var border border
	var texts []string // to be moderated, with their segments
	var of []int
	read, yes := -1, -1 // the calls of the history whose arguments were just read, and just found approved
	for i, t := range x.q.Texts {
		s := t.Segment
		if s < 0 || s >= len(known) {
			s = len(known)
		} else if known[s] {
			continue
		}
		buf = x.q.Text(x.view, i, buf)
		c, given := x.q.Given(i)
		if given && c != read && x.approved(c) {
			yes = c
		}
		switch {
		case given && c == yes: // read when somebody said yes to it, and not in pieces now
			continue
		case given && c == read: // with the call's other strings
		case given && x.arguments(c, &out[s]):
			read = c
		default:
			add(&out[s], x.p.cfg.Screen.Text(buf))
		}
		if across := border.next(t, buf); across != nil {
			add(&out[s], x.p.cfg.Screen.Text(across))
		}
		if x.p.cfg.Moderate != nil && (t.Role == "user" || t.Role == "tool") {
			texts, of = append(texts, string(buf)), append(of, s)
		}
	}
	return out, x.moderate(texts, of, out)
}

// arguments judges what a call of the history was given as that of a call in a
// reply is; false if it is no object or list, and so a text.
func (x *exchange) arguments(call int, out *screen.Verdict) bool {
	b := []byte(strings.TrimSpace(x.q.Argument(x.view, call)))
	if len(b) == 0 || b[0] != '{' && b[0] != '[' || !json.Valid(b) {
		return false
	}
	add(out, x.p.cfg.Screen.Arguments(b))
	return true
}

// approved tells whether a call of the history is one that somebody said yes to
// in this context, and that nothing but a question stood against.
func (x *exchange) approved(call int) bool {
	b := []byte(strings.TrimSpace(x.q.Argument(x.view, call)))
	return x.p.judged.approved(x.who, b) && x.p.cfg.Screen.Arguments(b).Action == screen.Ask
}

// moderate judges new texts in one go, and each alone only if something is found.
func (x *exchange) moderate(texts []string, of []int, out []screen.Verdict) error {
	if len(texts) == 0 {
		return nil
	}
	v, err := x.p.cfg.Moderate(x.ctx, x.who, texts)
	if err != nil || v.Action == screen.Pass {
		return err
	}
	if len(texts) == 1 {
		add(&out[of[0]], v)
		return nil
	}
	for i, t := range texts {
		one, err := x.p.cfg.Moderate(x.ctx, x.who, []string{t})
		if err != nil {
			return err
		}
		add(&out[of[i]], one)
	}
	return nil
}

// warn writes down what alerts, before the call is judged. Without the warning
// there is no call.
func (x *exchange) warn() *halt {
	v := x.in.verdict
	if x.in.fresh.Alert == "none" && v.Action < screen.Block {
		return nil
	}
	alert := x.in.fresh.Alert
	if alert == "none" {
		alert = "dangerous" // it blocked before
	}
	e := record.Event{
		Type: "LLM_call_start", Agent: x.who.Agent, Session: x.who.Session, Channel: "LLM", Level: "warning", Alert: alert,
		Data: map[string]any{
			"model": x.target, "api": x.route.API.String(), "client": string(x.client), "key": x.who.Key,
			"hits": hitsOf(v), "findings": findingsOf(x.in.fresh), "last_message": x.last(),
		},
	}
	if _, err := x.p.cfg.Journal.Append(x.ctx, e); err != nil {
		x.p.cfg.Log.Error("journal", "error", err)
		return x.unavailable(fault.PublicText(err))
	}
	return nil
}

func (x *exchange) last() string { return x.q.Last(x.view, maxLast) }

// hitsOf renders the hits of a verdict as JSON values.
func hitsOf(v screen.Verdict) []any {
	out := make([]any, 0, len(v.Hits))
	for _, h := range v.Hits {
		out = append(out, map[string]any{"source": h.Source, "action": h.Action.String(), "rule": h.Rule, "detail": h.Detail})
	}
	return out
}

func findingsOf(v screen.Verdict) []any {
	out := make([]any, 0, len(v.Findings))
	for _, f := range v.Findings {
		out = append(out, map[string]any{"rule": f.Rule, "severity": int64(f.Severity), "confidence": f.Confidence, "detail": f.Detail})
	}
	return out
}

// items renders a verdict for policy.
func items(v screen.Verdict) []any {
	out := []any{}
	for _, s := range v.Items() {
		out = append(out, s)
	}
	return out
}

// because says in one sentence what asks for an answer or blocks; "" if nothing
// does.
func because(v screen.Verdict) string {
	var parts []string
	for _, h := range v.Hits {
		if h.Action < screen.Ask || len(parts) == 3 {
			break
		}
		// Never the word itself: the sentence stands in the client's transcript,
		// comes back with the next request and would be found there again.
		s := h.Source + " (" + h.Rule + ")"
		if !slices.Contains(parts, s) {
			parts = append(parts, s)
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return plain("found by "+strings.Join(parts, "; "), 512)
}

// most is how many tokens all replies together may have; -1 = not said.
func (x *exchange) most() int64 {
	if x.q.MaxOutput <= 0 || x.q.Choices <= 1 {
		return x.q.MaxOutput
	}
	if x.q.MaxOutput > maxExact/x.q.Choices {
		return maxExact
	}
	return x.q.MaxOutput * x.q.Choices
}

// maxExact is the largest figure that an action can carry.
const maxExact = 1 << 53

// args are the arguments of model.call. They are the same for the same request,
// so that an approval of it is found again.
func (x *exchange) args() map[string]any {
	content := x.digest()
	return map[string]any{
		"api": x.route.API.String(), "op": x.route.Op.String(), "model": x.model, "stream": x.q.Stream,
		"max_output": x.most(), "choices": x.q.Choices, "history": x.history, "input_bytes": x.size, "content": hex.EncodeToString(content[:]),
		"tools": int64(len(x.q.Tools)), "client": string(x.client), "key": x.who.Key, "last_message": x.last(),
		"screen": items(x.in.verdict), "screen_because": because(x.in.verdict),
	}
}

// observed counts findings.
func (p *Proxy) observed(v screen.Verdict) {
	for _, h := range v.Hits {
		p.cfg.Observe.Findings(h.Source, h.Action.String())
	}
}

// output screens a text of a reply; nil means that it may pass.
func (x *exchange) output(v screen.Verdict) *wire.Reason {
	if v.Action == screen.Pass {
		return nil
	}
	add(&x.out.verdict, screen.Verdict{Alert: v.Alert, Findings: v.Findings})
	x.p.observed(v)
	if v.Action < screen.Ask {
		return nil
	}
	rule := "output"
	if list := v.Items(); len(list) > 0 {
		rule = list[0]
	}
	out := &wire.Reason{Rule: rule, Because: "the model's text was held back: " + because(v)}
	if x.p.cfg.Terse {
		out.Because = ""
	}
	return out
}
