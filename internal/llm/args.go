package llm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"sallyport/internal/fault"
)

// Bounds of a request.
const (
	MaxMaxTokens = 4 << 20
	MaxStops     = 16
	MaxTools     = 128
	MaxMessages  = 100_000
	MaxModelID   = 200
)

// Validate says what is wrong with a request: texts must be valid UTF-8, since
// anything else would be sent differently from what was digested.
func (r Request) Validate() error {
	switch {
	case !validModel(r.Model):
		return invalid("the model id %q is not 1 to %d letters, digits or . _ : / @ + -", clip(r.Model, 60), MaxModelID)
	case len(r.Messages) == 0:
		return invalid("there is no message")
	case len(r.Messages) > MaxMessages:
		return invalid("%d messages exceed %d", len(r.Messages), MaxMessages)
	case r.MaxTokens < 1 || r.MaxTokens > MaxMaxTokens:
		return invalid("max tokens %d is not in 1..%d", r.MaxTokens, MaxMaxTokens)
	case len(r.Stop) > MaxStops:
		return invalid("%d stop texts exceed %d", len(r.Stop), MaxStops)
	case len(r.Tools) > MaxTools:
		return invalid("%d tools exceed %d", len(r.Tools), MaxTools)
	case !utf8.ValidString(r.System):
		return invalid("the system text is not valid UTF-8")
	}
	if t := r.Temperature; t != nil && !(*t >= 0 && *t <= 2) {
		return invalid("temperature %v is not in 0..2", *t)
	}
	for i, m := range r.Messages {
		if m.Role != User && m.Role != Assistant {
			return invalid("message %d has the unknown role %q", i+1, clip(string(m.Role), 30))
		}
		if !utf8.ValidString(m.Text) {
			return invalid("message %d is not valid UTF-8", i+1)
		}
	}
	for _, s := range r.Stop {
		if s == "" || !utf8.ValidString(s) {
			return invalid("the stop text %q is empty or not valid UTF-8", clip(s, 30))
		}
	}
	return validTools(r.Tools)
}

func validTools(tools []Tool) error {
	seen := make(map[string]bool, len(tools))
	for _, t := range tools {
		if !validToolName(t.Name) {
			return invalid("the tool name %q is not 1 to 64 letters, digits, _ or -", clip(t.Name, 80))
		}
		if seen[t.Name] {
			return invalid("the tool %q is listed twice", t.Name)
		}
		seen[t.Name] = true
		if !utf8.ValidString(t.Description) || !utf8.Valid(t.Schema) {
			return invalid("the tool %q is not valid UTF-8", t.Name)
		}
		if s := bytes.TrimSpace(t.Schema); len(s) > 0 && (s[0] != '{' || !json.Valid(s)) {
			return invalid("the schema of the tool %q is no JSON object", t.Name)
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return fault.New("llm.request", fault.Usage, format, args...)
}

func validModel(s string) bool {
	if s == "" || len(s) > MaxModelID || strings.Contains(s, "..") || strings.HasPrefix(s, "/") {
		return false
	}
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !alnum(c) && !strings.ContainsRune("._:/@+-", c)
	})
}

func validToolName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(c rune) bool {
		return !alnum(c) && c != '_' && c != '-'
	})
}

func alnum(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// Args gives the request as the arguments of an action: only string, int64,
// float64, []any and map[string]any. Absent parts are absent keys, so that
// FromArgs(r.Args()) equals r. A tool's schema travels as its exact text.
func (r Request) Args() map[string]any {
	messages := make([]any, len(r.Messages))
	for i, m := range r.Messages {
		messages[i] = map[string]any{"role": string(m.Role), "text": m.Text}
	}
	a := map[string]any{"model": r.Model, "messages": messages, "max_tokens": int64(r.MaxTokens)}
	if r.System != "" {
		a["system"] = r.System
	}
	if r.Temperature != nil {
		a["temperature"] = *r.Temperature
	}
	if len(r.Stop) > 0 {
		stop := make([]any, len(r.Stop))
		for i, s := range r.Stop {
			stop[i] = s
		}
		a["stop"] = stop
	}
	if len(r.Tools) > 0 {
		tools := make([]any, len(r.Tools))
		for i, t := range r.Tools {
			tools[i] = map[string]any{"name": t.Name, "description": t.Description, "schema": string(t.Schema)}
		}
		a["tools"] = tools
	}
	return a
}

// FromArgs reads what Args wrote. An unknown key, a wrong type or a request
// that does not Validate is an error: nothing is sent that was not understood.
func FromArgs(args map[string]any) (Request, error) {
	d := argReader{}
	r := Request{}
	for name, v := range args {
		switch name {
		case "model":
			r.Model = d.text(name, v)
		case "system":
			r.System = d.text(name, v)
		case "max_tokens":
			r.MaxTokens = d.integer(name, v)
		case "temperature":
			f := d.number(name, v)
			r.Temperature = &f
		case "messages":
			for i, m := range d.list(name, v) {
				f := d.texts(fmt.Sprintf("messages[%d]", i), m, "role", "text")
				r.Messages = append(r.Messages, Message{Role: Role(f["role"]), Text: f["text"]})
			}
		case "stop":
			for _, s := range d.list(name, v) {
				r.Stop = append(r.Stop, d.text(name, s))
			}
		case "tools":
			for i, t := range d.list(name, v) {
				f := d.texts(fmt.Sprintf("tools[%d]", i), t, "name", "description", "schema")
				tool := Tool{Name: f["name"], Description: f["description"]}
				if f["schema"] != "" {
					tool.Schema = json.RawMessage(f["schema"])
				}
				r.Tools = append(r.Tools, tool)
			}
		default:
			d.fail("the key %q is unknown", clip(name, 60))
		}
	}
	if d.err != nil {
		return Request{}, d.err
	}
	if err := r.Validate(); err != nil {
		return Request{}, err
	}
	return r, nil
}

// argReader keeps the first error of a conversion.
type argReader struct{ err error }

func (d *argReader) fail(format string, args ...any) {
	if d.err == nil {
		d.err = fault.New("llm.args", fault.Usage, format, args...)
	}
}

func (d *argReader) text(name string, v any) string {
	s, ok := v.(string)
	if !ok {
		d.fail("%s is no text", name)
	}
	return s
}

func (d *argReader) list(name string, v any) []any {
	l, ok := v.([]any)
	if !ok {
		d.fail("%s is no list", name)
	}
	return l
}

func (d *argReader) integer(name string, v any) int {
	f := d.number(name, v)
	if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		d.fail("%s is no whole number", name)
		return 0
	}
	return int(f)
}

func (d *argReader) number(name string, v any) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case int:
		return float64(n)
	case float64:
		return n
	}
	d.fail("%s is no number", name)
	return 0
}

// texts reads an object that has exactly the given text fields.
func (d *argReader) texts(name string, v any, fields ...string) map[string]string {
	m, ok := v.(map[string]any)
	if !ok || len(m) != len(fields) {
		d.fail("%s is no object with the fields %s", name, strings.Join(fields, ", "))
		return nil
	}
	out := make(map[string]string, len(fields))
	for _, f := range fields {
		out[f] = d.text(name+"."+f, m[f])
	}
	return out
}
