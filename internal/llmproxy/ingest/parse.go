package ingest

import (
	"bytes"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"sallyport/internal/action"
	"sallyport/internal/record"
)

// maxDepth bounds the nesting of data.
const maxDepth = 16

var (
	name     = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,64}$`)
	levels   = []string{"debug", "info", "warning", "error"}
	alerts   = []string{"none", "suspicious", "dangerous"}
	eventKey = []string{"event_type", "data", "channel", "level"}
)

// reserved are the beginnings of names that this program writes itself; names
// of actions' events come from the table of actions.
var reserved = append([]string{
	"llm_call_", "mcp_tool_call_",
	"agent.", "alert.", "approval.", "auth.", "call.", "changes.", "config.", "disk.", "egress.", "events.", "foreign.", "gate.", "grant.", "guard.",
	"ingest.", "key.", "log.", "mcp.", "memory.", "moderation.", "operator.", "policy.", "proxy.", "report.", "retention.", "run.", "sallyport.",
	"session.", "state.", "store.", "stream.", "trust.",
}, kinds()...)

func kinds() []string {
	var out []string
	for _, row := range action.Kinds() {
		out = append(out, string(row.Kind)+".")
	}
	return out
}

// Reserved reports whether a name of an event is this program's own, in
// whatever case.
func Reserved(eventType string) bool {
	lower := strings.ToLower(eventType)
	return slices.ContainsFunc(reserved, func(p string) bool { return strings.HasPrefix(lower, p) })
}

// parse reads a whole body; an error is a *problem that names the event by its
// place, never by what it says.
func parse(body []byte, lines bool, most int, source string) ([]record.Event, error) {
	objects, err := split(body, lines, most)
	if err != nil {
		return nil, err
	}
	out := make([]record.Event, len(objects))
	for i, o := range objects {
		if out[i], err = event(o, i+1); err != nil {
			return nil, err
		}
		out[i].Data["source"] = source
	}
	return out, nil
}

// split gives the objects of a body.
func split(body []byte, lines bool, most int) ([]any, error) {
	const form = "the body must be one event, a list of events, or with application/x-ndjson one event a line, in strict JSON: no key twice, exact numbers, valid UTF-8"
	var list []any
	switch {
	case lines:
		for line := range bytes.Lines(body) {
			if line = bytes.TrimSpace(line); len(line) == 0 {
				continue
			}
			if len(list) >= most {
				return nil, tooMany(most)
			}
			o, err := action.ParseObject(line)
			if err != nil {
				return nil, bad(http.StatusBadRequest, fmt.Sprintf("event %d is no JSON object: %s", len(list)+1, form))
			}
			list = append(list, o)
		}
	case bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("[")):
		// The strict parser reads objects: the list becomes the one member of one.
		o, err := action.ParseObject(slices.Concat([]byte(`{"l":`), body, []byte(`}`)))
		var ok bool
		if list, ok = o["l"].([]any); err != nil || !ok || len(o) != 1 {
			return nil, bad(http.StatusBadRequest, form)
		}
	default:
		o, err := action.ParseObject(body)
		if err != nil {
			return nil, bad(http.StatusBadRequest, form)
		}
		list = []any{o}
	}
	switch {
	case len(list) == 0:
		return nil, bad(http.StatusBadRequest, "there is no event in the body")
	case len(list) > most:
		return nil, tooMany(most)
	}
	return list, nil
}

func tooMany(most int) error {
	return bad(http.StatusRequestEntityTooLarge, fmt.Sprintf("more than %d events; send fewer at a time", most))
}

// event checks one object and makes an event of it.
func event(v any, n int) (record.Event, error) {
	no := func(text string) (record.Event, error) {
		return record.Event{}, bad(http.StatusUnprocessableEntity, fmt.Sprintf("event %d: %s", n, text))
	}
	o, ok := v.(map[string]any)
	if !ok {
		return no("it must be an object")
	}
	for k := range o {
		if !slices.Contains(eventKey, k) {
			return no("only event_type, data, channel and level are known; put everything else into data")
		}
	}
	e := record.Event{Channel: "API", Level: "info", Alert: "none", Data: map[string]any{}}
	if e.Type, ok = o["event_type"].(string); !ok || !name.MatchString(e.Type) {
		return no("event_type must be a name of letters, digits and _.:- with at most 64 characters")
	}
	if Reserved(e.Type) {
		return no("this event_type is written by this program alone; give the event a name of its own, such as app_NAME")
	}
	if v, given := o["channel"]; given {
		if e.Channel, ok = v.(string); !ok || !name.MatchString(e.Channel) || strings.EqualFold(e.Channel, "OPERATOR") {
			return no("channel must be a name of letters, digits and _.:- with at most 64 characters, and not OPERATOR, who runs this program")
		}
	}
	if v, given := o["level"]; given {
		s, ok := v.(string)
		if e.Level = strings.ToLower(s); !ok || !slices.Contains(levels, e.Level) {
			return no("level must be debug, info, warning or error")
		}
	}
	if v, given := o["data"]; given {
		if e.Data, ok = v.(map[string]any); !ok {
			return no("data must be an object")
		}
	}
	var mistake string
	if e.Alert, mistake = alertOf(e.Data); mistake != "" {
		return no(mistake)
	}
	return e, nil
}

// alertOf checks data and gives its alert.
func alertOf(data map[string]any) (alert, mistake string) {
	if _, given := data["source"]; given {
		return "", "data.source is who sends, which the key says; name your field otherwise"
	}
	if deep(data, maxDepth) {
		return "", fmt.Sprintf("data is nested more than %d deep", maxDepth)
	}
	v, given := data["alert"]
	if !given {
		return "none", ""
	}
	alert, ok := v.(string)
	if !ok || !slices.Contains(alerts, alert) {
		return "", "data.alert must be none, suspicious or dangerous"
	}
	return alert, ""
}

// deep reports nesting beyond n.
func deep(v any, n int) bool {
	if n < 0 {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		for _, x := range v {
			if deep(x, n-1) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(v, func(x any) bool { return deep(x, n-1) })
	}
	return false
}
