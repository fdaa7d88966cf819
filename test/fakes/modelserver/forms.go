package modelserver

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"
)

// object keeps the literals short.
type object = map[string]any

// sse is one event of a stream.
type sse struct {
	name string
	data string
}

// form is one provider's way of writing a reply.
type form interface {
	requestIDHeader() string
	plain(Reply) object
	events(Reply) []sse
	failure(Reply) object
}

// detect finds the form by the path and fills what the request says about it.
func detect(r *Request) form {
	var b struct {
		Stream bool   `json:"stream"`
		Model  string `json:"model"`
	}
	_ = json.Unmarshal(r.Body, &b)
	r.Stream, r.Model = b.Stream, b.Model
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case strings.HasSuffix(r.Path, "/chat/completions"):
		r.Form, r.Key = "openai", bearer
		return openAI{usage: bytes.Contains(r.Body, []byte(`"include_usage":true`))}
	case strings.HasSuffix(r.Path, "/responses"):
		r.Form, r.Key = "responses", bearer
		return responses{}
	case strings.HasSuffix(r.Path, "/v1/messages"):
		r.Form, r.Key = "anthropic", cmp.Or(r.Header.Get("X-Api-Key"), bearer)
		return anthropic{}
	case strings.HasSuffix(r.Path, ":generateContent"), strings.HasSuffix(r.Path, ":streamGenerateContent"):
		r.Form, r.Key = "gemini", r.Header.Get("X-Goog-Api-Key")
		r.Stream = strings.HasSuffix(r.Path, ":streamGenerateContent")
		r.Model, _, _ = strings.Cut(r.Path[strings.LastIndex(r.Path, "/")+1:], ":")
		return gemini{array: !strings.Contains(r.Query, "alt=sse")}
	}
	return nil
}

// arrays tells whether a form streams the pieces of a JSON array, not events.
func arrays(f form) bool {
	g, ok := f.(gemini)
	return ok && g.array
}

// render gives the whole body of a reply.
func render(f form, r Reply, stream bool) []byte {
	switch {
	case r.Body != nil:
		return []byte(*r.Body)
	case stream && arrays(f):
		return array(f.events(r))
	case stream:
		return frame(f.events(r), r)
	case r.Error != nil:
		return encode(f.failure(r))
	case r.Status >= 400:
		return []byte(http.StatusText(r.Status))
	}
	return encode(f.plain(r))
}

func frame(events []sse, r Reply) []byte {
	var b bytes.Buffer
	for i, e := range events {
		if r.Comments {
			fmt.Fprintf(&b, ": keep-alive %d\n\n", i)
		}
		if i > 0 {
			b.WriteString(r.Between)
		}
		if e.name != "" {
			fmt.Fprintf(&b, "event: %s\n", e.name)
		}
		fmt.Fprintf(&b, "data: %s\n\n", e.data)
	}
	if r.CRLF {
		return bytes.ReplaceAll(b.Bytes(), []byte("\n"), []byte("\r\n"))
	}
	return b.Bytes()
}

// array writes events as the pieces of a JSON array.
func array(events []sse) []byte {
	var b bytes.Buffer
	for i, e := range events {
		b.WriteString([]string{"[", ",\r\n"}[min(i, 1)])
		b.WriteString(e.data)
	}
	b.WriteString("]")
	return b.Bytes()
}

// squeeze compresses a body.
func squeeze(body []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(body) // a buffer takes everything
	_ = z.Close()
	return b.Bytes()
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		// Only a script with a Call whose Args are no JSON gets here.
		return []byte(fmt.Sprintf(`{"modelserver":%q}`, err.Error()))
	}
	return b
}

func text(v any) string { return string(encode(v)) }

// calls gives the tool calls, repeated as asked.
func (r Reply) calls() []Call {
	if r.Repeat <= 1 {
		return r.Calls
	}
	out := make([]Call, 0, len(r.Calls)*r.Repeat)
	for i := range r.Repeat {
		for _, c := range r.Calls {
			c.ID = fmt.Sprintf("%s_%d", c.ID, i)
			out = append(out, c)
		}
	}
	return out
}

func (r Reply) stop(end, tools string) string {
	switch {
	case r.Stop != "":
		return r.Stop
	case len(r.Calls) > 0:
		return tools
	}
	return end
}

// choices gives the reply and what it offers besides.
func (r Reply) choices() []Reply { return append([]Reply{r}, r.Also...) }

// id is what the reply calls itself.
func (r Reply) id(prefix string) string { return prefix + strconv.Itoa(max(1, r.Number)) }

// use gives the figures as a form writes them, or what the script says instead.
func (r Reply) use(figures func(*Usage) object) any {
	if r.RawUsage != nil {
		return r.RawUsage
	}
	return figures(r.Usage)
}

// says tells whether the reply reports its usage.
func (r Reply) says() bool { return r.Usage != nil || r.RawUsage != nil }

// named adds the model's name, where it is known.
func (r Reply) named(field string, v object) object {
	if r.Model != "" {
		v[field] = r.Model
	}
	return v
}

// pieces splits the text for streaming.
func (r Reply) pieces() []string {
	n := r.Pieces
	if n <= 0 {
		n = 3
	}
	return split(r.Text, n)
}

// split cuts a text into pieces of n runes.
func split(s string, n int) []string {
	runes := []rune(s)
	var out []string
	for len(runes) > 0 {
		k := min(n, len(runes))
		out = append(out, string(runes[:k]))
		runes = runes[k:]
	}
	return out
}

// arguments splits a call's arguments, as providers stream them: in two unless
// the script says in pieces of how many runes.
func (r Reply) arguments(s string) []string {
	if r.ArgPieces > 0 {
		return split(s, r.ArgPieces)
	}
	half := len(s) / 2
	for half > 0 && !utf8.RuneStart(s[half]) {
		half--
	}
	return []string{s[:half], s[half:]}
}

// turns gives the order in which the pieces of several calls are sent: one call
// after the other, or in turns. Each element is the call's number.
func (r Reply) turns(calls []Call) []int {
	var out []int
	if !r.Interleave {
		for i, c := range calls {
			for range r.arguments(c.Args) {
				out = append(out, i)
			}
		}
		return out
	}
	for round, more := 0, true; more; round++ {
		more = false
		for i, c := range calls {
			if round < len(r.arguments(c.Args)) {
				out, more = append(out, i), true
			}
		}
	}
	return out
}

// Render gives the bytes of a reply in the form "openai", "responses",
// "anthropic", "gemini" or, a stream as a JSON array, "gemini.array": for fuzz
// corpora and golden files.
func Render(name string, r Reply, stream bool) ([]byte, error) {
	f, ok := map[string]form{
		"openai": openAI{usage: true}, "responses": responses{}, "anthropic": anthropic{}, "gemini": gemini{}, "gemini.array": gemini{array: true},
	}[name]
	if !ok {
		return nil, fmt.Errorf("modelserver: the form %q is unknown", name)
	}
	return render(f, r, stream), nil
}
