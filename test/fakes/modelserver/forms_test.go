package modelserver

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// datas gives the data of a stream's events.
func datas(t *testing.T, name string, r Reply) []string {
	t.Helper()
	b, err := Render(name, r, true)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		if d, ok := strings.CutPrefix(line, "data: "); ok {
			out = append(out, strings.TrimSpace(d))
		}
	}
	return out
}

// brief is what an event of any form says about calls, with their numbers.
func brief(t *testing.T, data string) string {
	t.Helper()
	var v struct {
		Type        string
		Index       int
		OutputIndex int `json:"output_index"`
		Delta       any
		Arguments   string
		Item        struct{ Arguments string }
		Block       struct {
			Input json.RawMessage
		} `json:"content_block"`
		Response struct{ Output []struct{ Arguments string } }
		Choices  []struct {
			Index int
			Delta struct {
				ToolCalls []struct {
					Index    int
					Function struct{ Arguments string }
				} `json:"tool_calls"`
			}
		}
	}
	if err := json.Unmarshal([]byte(data), &v); err != nil {
		return data
	}
	out := []string{}
	add := func(s string) { out = append(out, s) }
	for _, c := range v.Choices {
		for _, call := range c.Delta.ToolCalls {
			add(strings.Repeat("'", c.Index) + string(rune('0'+call.Index)) + call.Function.Arguments)
		}
	}
	switch s, _ := v.Delta.(string); {
	case strings.HasSuffix(v.Type, "arguments.delta"):
		add(string(rune('0'+v.OutputIndex)) + s)
	case v.Arguments != "" || v.Item.Arguments != "":
		add(strings.TrimPrefix(v.Type, "response.") + " " + string(rune('0'+v.OutputIndex)) + v.Arguments + v.Item.Arguments)
	case v.Type == "content_block_start" && v.Block.Input != nil:
		add("start " + string(rune('0'+v.Index)) + string(v.Block.Input))
	case v.Type == "content_block_stop":
		add("stop " + string(rune('0'+v.Index)))
	}
	if d, ok := v.Delta.(map[string]any); ok && d["partial_json"] != nil {
		add(string(rune('0'+v.Index)) + d["partial_json"].(string))
	}
	for _, item := range v.Response.Output {
		add("completed " + item.Arguments)
	}
	return strings.Join(out, " ")
}

func briefs(t *testing.T, name string, r Reply) string {
	t.Helper()
	var out []string
	for _, d := range datas(t, name, r) {
		if s := brief(t, d); s != "" && s != "[DONE]" {
			out = append(out, s)
		}
	}
	return strings.Join(out, "|")
}

func TestCallsInTurns(t *testing.T) {
	r := Reply{Interleave: true, ArgPieces: 2, Calls: []Call{{ID: "a", Name: "f", Args: `{"x":1}`}, {ID: "b", Name: "g", Args: `{}`}}}
	for name, want := range map[string]string{
		"openai":    `0|0{"|1|1{}|0x"|0:1|0}`,
		"responses": `0{"|1{}|function_call_arguments.done 1{}|output_item.done 1{}|0x"|0:1|0}|function_call_arguments.done 0{"x":1}|output_item.done 0{"x":1}|completed {"x":1} completed {}`,
		"anthropic": `start 0{}|0{"|start 1{}|1{}|stop 1|0x"|0:1|0}|stop 0`,
	} {
		if d := cmp.Diff(want, briefs(t, name, r)); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
}

func TestPlaces(t *testing.T) {
	r := Reply{Calls: []Call{{ID: "a", Name: "f", Args: `{"x":1}`, Places: map[string]string{"added": `{"a":0}`, "done": `{"d":0}`, "item": `{"i":0}`, "completed": `{"c":0}`}}}}
	for name, want := range map[string]string{
		"openai":    `0{"a":0}|0{"x|0":1}`,
		"responses": `output_item.added 0{"a":0}|0{"x|0":1}|function_call_arguments.done 0{"d":0}|output_item.done 0{"i":0}|completed {"c":0}`,
		"anthropic": `start 0{"a":0}|0{"x|0":1}|stop 0`,
	} {
		if d := cmp.Diff(want, briefs(t, name, r)); d != "" {
			t.Errorf("%s (-want +got)\n%s", name, d)
		}
	}
	if got := briefs(t, "anthropic", Reply{Calls: []Call{{ID: "a", Places: map[string]string{"added": "{}"}}}}); got != "start 0{}|stop 0" {
		t.Errorf("a call that is whole at once: %s", got)
	}
}

var reasons = regexp.MustCompile(`"finish_?[rR]eason":"(\w+)"`)

func TestSeveralChoices(t *testing.T) {
	r := Reply{Text: "one", Also: []Reply{{Text: "two", Calls: []Call{{ID: "a", Name: "f", Args: "{}"}}, Stop: ""}}}
	for name, stops := range map[string]string{"openai": "stop tool_calls", "gemini": "STOP STOP"} {
		for _, stream := range []bool{false, true} {
			b, err := Render(name, r, stream)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, m := range reasons.FindAllSubmatch(b, -1) {
				found = append(found, string(m[1]))
			}
			if got := strings.Join(found, " "); got != stops || !bytes.Contains(b, []byte(`"index":1`)) {
				t.Errorf("%s, stream %t: stops %q in %s", name, stream, got, b)
			}
		}
	}
}

func TestGeminiArray(t *testing.T) {
	s := New(t, Reply{Text: "hello", Usage: &Usage{Input: 1, Output: 2}})
	_, h, body, err := post(t, s.URL+"/v1beta/models/some-model:streamGenerateContent", `{}`)
	if err != nil || h.Get("Content-Type") != "application/json" {
		t.Fatalf("%v %s", err, h.Get("Content-Type"))
	}
	var pieces []struct{ ModelVersion string }
	if err := json.Unmarshal([]byte(body), &pieces); err != nil || len(pieces) != 3 || pieces[0].ModelVersion != "some-model" {
		t.Errorf("%d pieces, %v: %s", len(pieces), err, body)
	}
	if r := s.Requests()[0]; !r.Stream || r.Model != "some-model" {
		t.Errorf("stream %t, model %q", r.Stream, r.Model)
	}
}

func TestLyingUsage(t *testing.T) {
	r := Reply{Text: "x", Usage: &Usage{Input: 3, Output: 4}, Early: &Usage{Input: 900, Output: 901}}
	for _, name := range []string{"openai", "responses", "anthropic", "gemini"} {
		all := strings.Join(datas(t, name, r), "\n")
		early, late := strings.Index(all, "901"), strings.LastIndex(all, ":4")
		if early < 0 || late < early {
			t.Errorf("%s: the early figures are at %d, the late ones at %d: %s", name, early, late, all)
		}
		for _, stream := range []bool{false, true} {
			b, err := Render(name, Reply{RawUsage: json.RawMessage(`{"any":-1}`)}, stream)
			if err != nil || !bytes.Contains(b, []byte(`{"any":-1}`)) {
				t.Errorf("%s, stream %t: raw figures are not in %s", name, stream, b)
			}
		}
	}
}

func TestBetweenAndGzip(t *testing.T) {
	s := New(t, Reply{Text: "hello", Between: ": alive\n\n", Gzip: true, Chunk: 5}, Reply{Text: "hello", Pace: Duration(5 * time.Millisecond), Chunk: 40})
	_, _, body, err := post(t, s.URL+"/v1/messages", `{"stream":true}`)
	// The client unpacks what it did not ask for by itself.
	if err != nil || strings.Count(body, ": alive\n\n") != strings.Count(body, "event: ")-1 {
		t.Errorf("%v: %q", err, body)
	}
	begin := time.Now()
	_, _, body, err = post(t, s.URL+"/v1/messages", `{}`)
	if least := time.Duration(len(body)/40) * 5 * time.Millisecond; err != nil || time.Since(begin) < least {
		t.Errorf("%d bytes took %s: %v", len(body), time.Since(begin), err)
	}
	if _, h, body, _ := post(t, New(t, Reply{Text: "hi", Gzip: true}).URL+"/v1/messages", `{}`, "Accept-Encoding", "identity"); h.Get("Content-Encoding") != "gzip" || strings.Contains(body, "hi") {
		t.Errorf("%v %q", h, body)
	}
}

func TestIdsAndModels(t *testing.T) {
	s := NewScript(t, Script{Loop: true, Replies: []Reply{{Text: "a"}}})
	seen := map[string]bool{}
	for _, path := range []string{"/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/responses"} {
		_, _, body, _ := post(t, s.URL+path, `{"model":"m-7"}`)
		var v struct{ ID, Model string }
		if err := json.NewDecoder(strings.NewReader(body)).Decode(&v); err != nil && err != io.EOF || v.Model != "m-7" || v.ID == "" || seen[v.ID] {
			t.Errorf("%s: id %q, model %q, %v", path, v.ID, v.Model, err)
		}
		seen[v.ID] = true
	}
	for _, path := range []string{"/v1/embeddings", "/v1beta/models/m:embedContent", "/v1beta/models/m:batchEmbedContents", "/v1beta/models/m:countTokens", "/v1/messages/count_tokens"} {
		if code, _, body, _ := post(t, s.URL+path, `{}`); code != 200 || !json.Valid([]byte(body)) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}
