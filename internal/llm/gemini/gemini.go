// Package gemini speaks generateContent and streamGenerateContent of the
// Gemini API.
//
// Invariants: the key travels in a header, never in the URL; only the first
// candidate is read; a stream counts as whole only after a finish reason;
// thoughts are not part of the text but of Usage.Output. It imports llm only;
// app and tests may import it.
package gemini

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"sallyport/internal/llm"
)

// KeyName is the variable that holds the key by convention.
const KeyName = "GOOGLE_API_KEY"

// New makes a client; see llm.New for its errors. A base URL without a path
// gets the version "/v1beta".
func New(ep llm.Endpoint, doer llm.Doer, opt llm.Options) (llm.Client, error) {
	if ep.Provider == "" {
		ep.Provider = "google"
	}
	if ep.KeyName == "" {
		ep.KeyName = KeyName
	}
	if u, err := url.Parse(ep.BaseURL); err == nil && ep.BaseURL != "" && strings.Trim(u.Path, "/") == "" {
		ep.BaseURL = strings.TrimRight(ep.BaseURL, "/") + "/v1beta"
	}
	return llm.New(Codec{}, ep, doer, opt)
}

// Codec is the generateContent form.
type Codec struct{}

var _ llm.Codec = Codec{}

// DefaultBase is Google's public address.
func (Codec) DefaultBase() string { return "https://generativelanguage.googleapis.com/v1beta" }

// RequestIDHeaders is where the id of a call is found; the API gives none of
// its own, gateways do.
func (Codec) RequestIDHeaders() []string {
	return []string{"x-goog-request-id", "x-request-id", "x-cloud-trace-context"}
}

type part struct {
	Text    string        `json:"text"`
	Thought bool          `json:"thought,omitempty"`
	Call    *functionCall `json:"functionCall,omitempty"`
}

type functionCall struct {
	ID   string          `json:"id"`
	Name string          `json:"name"`
	Args json.RawMessage `json:"args"`
}

type textPart struct {
	Text string `json:"text"`
}

type content struct {
	Role  string     `json:"role,omitempty"`
	Parts []textPart `json:"parts"`
}

type declaration struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Schema      json.RawMessage `json:"parametersJsonSchema,omitempty"`
}

type tools struct {
	Declarations []declaration `json:"functionDeclarations"`
}

type generation struct {
	MaxTokens   int      `json:"maxOutputTokens"`
	Temperature *float64 `json:"temperature,omitempty"`
	Stop        []string `json:"stopSequences,omitempty"`
}

type body struct {
	System   *content   `json:"systemInstruction,omitempty"`
	Contents []content  `json:"contents"`
	Config   generation `json:"generationConfig"`
	Tools    []tools    `json:"tools,omitempty"`
}

// Encode gives the call.
func (Codec) Encode(_ llm.Endpoint, r llm.Request, stream bool, key string) (llm.Call, error) {
	b := body{Config: generation{r.MaxTokens, r.Temperature, r.Stop}}
	if r.System != "" {
		b.System = &content{Parts: []textPart{{r.System}}}
	}
	for _, m := range r.Messages {
		role := "user"
		if m.Role == llm.Assistant {
			role = "model"
		}
		b.Contents = append(b.Contents, content{role, []textPart{{m.Text}}})
	}
	if len(r.Tools) > 0 {
		var t tools
		for _, f := range r.Tools {
			t.Declarations = append(t.Declarations, declaration{f.Name, f.Description, f.Schema})
		}
		b.Tools = []tools{t}
	}
	data, err := json.Marshal(b)
	if err != nil {
		return llm.Call{}, fmt.Errorf("gemini: encode: %w", err)
	}
	call := llm.Call{Path: path(r.Model, stream), Body: data, Header: map[string]string{}}
	if key != "" {
		call.Header["x-goog-api-key"] = key
	}
	return call, nil
}

// path escapes the model's name: a colon in it would name another method.
func path(model string, stream bool) string {
	segments := strings.Split(model, "/")
	for i, s := range segments {
		segments[i] = strings.ReplaceAll(url.PathEscape(s), ":", "%3A")
	}
	name := strings.Join(segments, "/")
	if len(segments) == 1 {
		name = "models/" + name
	}
	if stream {
		return "/" + name + ":streamGenerateContent?alt=sse"
	}
	return "/" + name + ":generateContent"
}

type apiError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
	Status  string `json:"status"`
}

func (e *apiError) problem() llm.Problem {
	if e == nil {
		return llm.Problem{}
	}
	p := llm.Problem{Type: e.Status, Message: e.Message}
	if e.Status == "" && e.Code != 0 {
		p.Code = strconv.Itoa(e.Code)
	}
	p.Retry = e.Status == "UNAVAILABLE" || e.Status == "RESOURCE_EXHAUSTED" || e.Status == "INTERNAL" || e.Status == "DEADLINE_EXCEEDED"
	return p
}

// Problem reads an error body: an object, or a list of one when a stream was
// asked for.
func (Codec) Problem(data []byte) llm.Problem {
	type wrapped struct {
		Error *apiError `json:"error"`
	}
	var one wrapped
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
		var list []wrapped
		if llm.Unmarshal(data, &list) != nil || len(list) == 0 {
			return llm.Problem{}
		}
		one = list[0]
	} else if llm.Unmarshal(data, &one) != nil {
		return llm.Problem{}
	}
	return one.Error.problem()
}

type reply struct {
	Candidates []struct {
		Index   int `json:"index"`
		Content struct {
			Parts []part `json:"parts"`
		} `json:"content"`
		Finish string `json:"finishReason"`
	} `json:"candidates"`
	Feedback *struct {
		Block string `json:"blockReason"`
	} `json:"promptFeedback"`
	Usage *struct {
		Prompt     int64 `json:"promptTokenCount"`
		Tool       int64 `json:"toolUsePromptTokenCount"`
		Cached     int64 `json:"cachedContentTokenCount"`
		Candidates int64 `json:"candidatesTokenCount"`
		Thoughts   int64 `json:"thoughtsTokenCount"`
	} `json:"usageMetadata"`
	Error *apiError `json:"error"`
}

type decoder struct{ calls int }

// Decoder makes a decoder for one reply.
func (Codec) Decoder() llm.Decoder { return &decoder{} }

// Event reads one chunk; there is no end mark.
func (d *decoder) Event(_ string, data []byte, b *llm.Builder) (bool, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return false, nil
	}
	return false, d.read(data, b)
}

// Plain reads a whole reply.
func (d *decoder) Plain(data []byte, b *llm.Builder) error {
	if err := d.read(data, b); err != nil {
		return err
	}
	return d.End(b)
}

// End accepts a stream that gave a finish reason.
func (d *decoder) End(b *llm.Builder) error {
	if !b.Stopped() {
		return fmt.Errorf("the reply has no finish reason")
	}
	return nil
}

func (d *decoder) read(data []byte, b *llm.Builder) error {
	var r reply
	if err := llm.Unmarshal(data, &r); err != nil {
		return err
	}
	if r.Error != nil {
		return &llm.StreamError{Problem: r.Error.problem()}
	}
	for _, c := range r.Candidates {
		if c.Index != 0 {
			continue
		}
		for _, p := range c.Content.Parts {
			if err := d.part(p, b); err != nil {
				return err
			}
		}
		if c.Finish != "" {
			b.Stop(d.stop(c.Finish))
		}
	}
	if r.Feedback != nil && r.Feedback.Block != "" {
		b.Stop(llm.StopFiltered)
	}
	if u := r.Usage; u != nil {
		// The figures are cumulative; those of the last chunk count, which is
		// the one with the finish reason.
		v := llm.Usage{
			Input: u.Prompt + u.Tool - u.Cached, CacheRead: u.Cached,
			Output: u.Candidates + u.Thoughts, Reasoning: u.Thoughts,
		}
		for _, n := range []int64{u.Prompt, u.Tool, u.Cached, u.Candidates, u.Thoughts} {
			if n < 0 || n > llm.MaxFigure {
				return fmt.Errorf("the usage figure %d is not plausible", n)
			}
		}
		return b.Usage(v, b.Stopped())
	}
	return nil
}

func (d *decoder) part(p part, b *llm.Builder) error {
	if p.Call != nil {
		d.calls++
		args := string(p.Call.Args)
		if args == "" {
			args = "{}"
		}
		return b.Call(d.calls-1, p.Call.ID, p.Call.Name, args)
	}
	if p.Thought {
		return nil
	}
	return b.Text(p.Text)
}

// stop also looks at the calls: the API says STOP for them as well.
func (d *decoder) stop(reason string) string {
	switch reason {
	case "STOP":
		if d.calls > 0 {
			return llm.StopTools
		}
		return llm.StopEnd
	case "MAX_TOKENS":
		return llm.StopLength
	case "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE":
		return llm.StopFiltered
	}
	return llm.StopOther
}
