package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// maxString is the longest string of an event's data, in bytes.
const maxString = 64 << 10

// maxData is the most bytes the data of one event may have; beyond it the
// arguments and the executor's detail are left out and said to be.
const maxData = 1 << 20

// Severities of findings at which an event becomes suspicious or dangerous.
const (
	suspicious = 1
	dangerous  = 4
)

// eventType names the event about an action; see the package documentation.
func eventType(kind action.Kind, phase string) string {
	if kind == action.ModelCall {
		return "LLM_call_" + phase
	}
	if kind == action.ToolCall {
		return "MCP_tool_call_" + phase
	}
	return string(kind) + "." + phase
}

// Channel names the channel of an action's events.
func Channel(kind action.Kind, agent string) string {
	switch kind { //nolint:exhaustive // what has no channel of its own is the operator's or the system's
	case action.ModelCall:
		return "LLM"
	case action.ToolCall:
		return "MCP"
	case action.SessionStart, action.Exec:
		return "SHELL"
	case action.NetConnect, action.HTTPRequest, action.SecretUse:
		return "API"
	case action.MessageSend:
		return "MAIL"
	}
	if agent == "" {
		return "OPERATOR"
	}
	return "SYSTEM"
}

// alertOf gives the alert that findings raise.
func alertOf(alert string, findings ...[]record.Finding) string {
	for _, fs := range findings {
		for _, f := range fs {
			switch {
			case f.Severity >= dangerous:
				return "dangerous"
			case f.Severity >= suspicious && alert != "dangerous":
				alert = "suspicious"
			}
		}
	}
	return validAlert(alert)
}

func validAlert(s string) string {
	if s == "suspicious" || s == "dangerous" {
		return s
	}
	return "none"
}

// clip cuts a text to n bytes at a character's start.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// maskSlack is how much more than maxString, in bytes, the mask is shown of a
// string: what would be cut in two is recognised whole.
const maskSlack = 4 << 10

// trimmer copies values for an event's data: valid UTF-8, strings bounded, and
// what was cut noted.
type trimmer struct {
	mask func(any) any // Options.Mask, nil for none
	cut  map[string]any
	// own are fields whose texts are all this program's words and numbers:
	// verdicts, labels, digests. Of a small event they are most of what there
	// would be to mask.
	own map[string]any
}

// limit is the longest string: with a mask, until it was applied.
func (t *trimmer) limit() int {
	if t.mask != nil {
		return maxString + maskSlack
	}
	return maxString
}

func (t *trimmer) text(path, s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if len(s) <= t.limit() {
		return s
	}
	if t.cut == nil {
		t.cut = map[string]any{}
	}
	if _, ok := t.cut[path]; !ok { // the first time it had its true length
		t.cut[path] = len(s)
	}
	return clip(s, t.limit())
}

// masked applies the mask to all of the data and bounds what it gives. A mask
// that does not keep the shape leaves nothing but the alert.
func (t *trimmer) masked(data map[string]any) map[string]any {
	if t.mask == nil {
		return data
	}
	alert := data["alert"]
	out, ok := t.mask(data).(map[string]any)
	if ok {
		again := &trimmer{cut: t.cut}
		bounded := make(map[string]any, len(out))
		for k, v := range out {
			k = valid(k)
			bounded[k] = again.value(k, v, 0)
		}
		out, t.cut = bounded, again.cut
	} else {
		out = map[string]any{"omitted": "masking did not keep the data's shape"}
	}
	out["alert"] = alert
	return out
}

// text makes a text fit to be stored outside of an event: masked and bounded.
func (s *Store) text(name, text string) string {
	t := &trimmer{mask: s.opt.Mask}
	out, _ := t.masked(map[string]any{name: t.text(name, text)})[name].(string)
	return out
}

func (t *trimmer) value(path string, v any, depth int) any {
	if depth > 32 {
		return "nested too deeply to record"
	}
	switch v := v.(type) {
	case string:
		return t.text(path, v)
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = t.text(path+"."+strconv.Itoa(i), s)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = t.value(path+"."+strconv.Itoa(i), e, depth+1)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			k = strings.ToValidUTF8(k, "\uFFFD")
			out[k] = t.value(path+"."+k, e, depth+1)
		}
		return out
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) { // JSON has no such numbers
			return fmt.Sprint(v)
		}
		return v
	case nil, bool, int, int64:
		return v
	}
	// A type of the executor's own: what JSON makes of it.
	b, err := json.Marshal(v)
	if err != nil {
		return t.text(path, fmt.Sprint(v))
	}
	var plain any
	if json.Unmarshal(b, &plain) != nil {
		return t.text(path, string(b))
	}
	return t.value(path, plain, depth+1)
}

// args copies an action's arguments. The history in a model's request was
// recorded when it happened, so only its last message is kept.
func (t *trimmer) args(a action.Action) map[string]any {
	if a.Kind != action.ModelCall {
		m, _ := t.value("args", a.Args, 0).(map[string]any)
		return m
	}
	args := maps.Clone(a.Args)
	msgs, ok := args["messages"].([]any)
	if ok {
		delete(args, "messages")
		size := 0
		if b, err := json.Marshal(msgs); err == nil {
			size = len(b)
		}
		args["messages_count"], args["messages_bytes"] = len(msgs), size
		if len(msgs) > 0 {
			args["last_message"] = msgs[len(msgs)-1]
		}
	}
	m, _ := t.value("args", args, 0).(map[string]any)
	return m
}

// encode renders data; what cannot be recorded is replaced by a sentence rather
// than lost, because an event must not fail on its decoration.
func encode(data map[string]any, t *trimmer, optional ...string) []byte {
	data["alert"] = validAlert(fmt.Sprint(data["alert"]))
	data = t.masked(data)
	maps.Copy(data, t.own)
	if len(t.cut) > 0 {
		data["truncated"] = t.cut
	}
	alert, _ := data["alert"].(string)
	delete(data, "alert")
	b, err := marshal(data)
	for _, key := range optional {
		if err == nil && len(b) <= maxData {
			break
		}
		if _, ok := data[key]; ok {
			data[key] = map[string]any{"omitted": "too large or not JSON"}
			b, err = marshal(data)
		}
	}
	if err != nil || len(b) > maxData {
		b, _ = marshal(map[string]any{"omitted": "too large or not JSON"})
	}
	return alertFirst(alert, b)
}

// alertFirst puts the alert, which needs no escapes, before an object's other
// fields: the index of alerts looks no further where there is none.
func alertFirst(alert string, object []byte) []byte {
	out := make([]byte, 0, len(object)+32)
	out = append(append(append(out, `{"alert":"`...), alert...), '"')
	if len(object) > 2 {
		out = append(out, ',')
	}
	return append(out, object[1:]...)
}

// marshal is encoding/json without HTML's escapes, which only hide text.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{'\n'}), nil
}

// with adds fields that are known only inside the transaction to an object.
func with(data []byte, fields map[string]any) ([]byte, error) {
	more, err := marshal(fields)
	if err != nil || len(fields) == 0 {
		return data, err
	}
	out := append([]byte{}, data[:len(data)-1]...)
	if len(data) > 2 {
		out = append(out, ',')
	}
	return append(out, more[1:]...), nil
}

// intentData is the data of an intent's event, without the intent's id. v says
// which texts may be in it; ours says that the decision's sentence is the
// store's own.
func (s *Store) intentData(in record.Intent, v *view, target string, ours bool) []byte {
	a, d := v.arguments(in.Action), in.Decision
	if !ours {
		d.Because = v.text(d.Because)
	}
	d.Advice = v.findings(d.Advice)
	args, result := in.Args.String(), d.ResultLabel.String()
	t := &trimmer{mask: s.opt.Mask, own: map[string]any{
		"decision": d.Verdict.String(), "context_label": in.Context.String(), "args_label": args,
		"labels": map[string]any{"args": args, "result": result},
	}}
	data := map[string]any{
		"alert": alertOf("none", d.Advice), "kind": string(a.Kind), "target": t.text("target", target),
		"principal": t.text("principal", a.Principal.String()),
	}
	if named := t.args(a); len(named) > 0 {
		data["args"] = named
	}
	for name, text := range map[string]string{
		"context": a.Context, "because": d.Because, "key": in.Reserve.Key, "grant": in.Grant,
	} {
		if text != "" {
			data[name] = t.text(name, text)
		}
	}
	if len(d.Rules) > 0 {
		data["rules"] = t.value("rules", d.Rules, 0)
	}
	if len(d.Advice) > 0 {
		data["advice"] = t.value("advice", d.Advice, 0)
	}
	if owed := v.obligations(d.Obligations); len(owed) > 0 {
		data["obligations"] = t.value("obligations", owed, 0)
	}
	if in.Reserve.Micros > 0 {
		data["reserved_micros"] = int64(in.Reserve.Micros)
	}
	if in.Bits > 0 {
		data["bits"] = in.Bits
	}
	if in.PolicySet != "" {
		t.own["policy"] = in.PolicySet
	}
	if d := v.digest(in); d != nil {
		t.own["digest"] = d.String()
	}
	evidence(data, in, t)
	if target != "" {
		genAI(data, a.Kind, target)
	}
	v.mark(data)
	return encode(data, t, "args", "advice")
}

// evidence adds who approved what, by which a decision can be explained and its
// signatures be found.
func evidence(data map[string]any, in record.Intent, t *trimmer) {
	if len(in.Decision.Needs) > 0 {
		needs := make([]any, len(in.Decision.Needs))
		for i, n := range in.Decision.Needs {
			needs[i] = map[string]any{"count": n.Count, "group": t.text("needs", n.Group)}
		}
		data["needs"] = needs
	}
	if len(in.Approvals) == 0 {
		return
	}
	approvals := make([]any, len(in.Approvals))
	for i, p := range in.Approvals {
		approvals[i] = map[string]any{
			"person": t.text("approvals", p.Person), "fingerprint": t.text("approvals", p.KeyID), "nonce": t.text("approvals", p.Nonce),
			"groups": t.value("approvals", p.Groups, 0),
		}
	}
	data["approvals"] = approvals
}

func genAI(data map[string]any, kind action.Kind, target string) {
	if kind == action.ModelCall {
		data["gen_ai.operation.name"] = "chat"
		data["gen_ai.request.model"] = strings.ToValidUTF8(target, "\uFFFD")
	}
}

// outcomeData is the data of an outcome's event, without what the intent knows.
func (s *Store) outcomeData(out record.Outcome) []byte {
	alert, _ := out.Result.Data["alert"].(string)
	v := &view{}
	if !s.Clears(out.Result.Label) {
		out, v = s.withhold(out)
	}
	r := out.Result
	t := &trimmer{mask: s.opt.Mask, own: map[string]any{"status": string(out.Status), "label": r.Label.String()}}
	data := map[string]any{
		"alert": alertOf(alert, r.Findings), "cost_micros": int64(max(r.Cost, 0)), "seconds": out.Elapsed.Seconds(),
	}
	if r.Output != "" {
		data["output"] = t.text("output", r.Output)
	}
	if out.Err != "" {
		data["error"] = t.text("error", out.Err)
	}
	if len(r.Findings) > 0 {
		data["findings"] = t.value("findings", r.Findings, 0)
	}
	if len(r.Data) > 0 {
		data["result"] = t.value("result", r.Data, 0)
	}
	v.mark(data)
	return encode(data, t, "result", "findings")
}
