package modelserver

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestShell: each agent's own tool is found and called in its own shape.
func TestShell(t *testing.T) {
	const quoted = `echo "a" && id`
	for name, c := range map[string]struct {
		body string
		want Call
		ok   bool
	}{
		"anthropic": {
			`{"tools":[{"name":"Read","input_schema":{}},{"name":"Bash","input_schema":{"type":"object","properties":{"command":{"type":"string"},"timeout":{"type":"number"}},"required":["command"]}}]}`,
			Call{Name: "Bash", Args: `{"command":"echo \"a\" \u0026\u0026 id"}`},
			true,
		},
		"gemini": {
			`{"tools":[{"functionDeclarations":[{"name":"read_file"},{"name":"run_shell_command","parametersJsonSchema":{"properties":{"command":{"type":"string"},"why":{"type":"string"},"bg":{"type":"boolean"}},"required":["command","why","bg"]}}]}]}`,
			Call{Name: "run_shell_command", Args: `{"bg":false,"command":"echo \"a\" \u0026\u0026 id","why":"run the command"}`},
			true,
		},
		"chat": {
			`{"tools":[{"type":"function","function":{"name":"shell","parameters":{"properties":{"command":{"type":"array"}}}}}]}`,
			Call{Name: "shell", Args: `{"command":["bash","-c","echo \"a\" \u0026\u0026 id"]}`},
			true,
		},
		"responses": {
			`{"input":"text","tools":[{"type":"web_search"},{"type":"function","name":"exec_command","parameters":{"properties":{"cmd":{"type":"string"}}}}]}`,
			Call{Name: "exec_command", Args: `{"cmd":"echo \"a\" \u0026\u0026 id"}`},
			true,
		},
		"a program": {
			`{"input":[{"type":"message"},{"type":"additional_tools","tools":[{"type":"namespace","name":"functions","tools":[{"type":"custom","name":"exec","description":"… tools.exec_command(…)"}]}]}]}`,
			Call{Name: "exec", Args: `text(await tools.exec_command({cmd: "echo \"a\" \u0026\u0026 id"}))`, Custom: true},
			true,
		},
		"none":      {`{"tools":[{"name":"Read","input_schema":{}}]}`, Call{}, false},
		"no schema": {`{"tools":[{"name":"Bash"}]}`, Call{}, false},
		"no JSON":   {`{`, Call{}, false},
	} {
		got, ok := Request{Body: []byte(c.body)}.Shell(quoted)
		if diff := cmp.Diff(c.want, got); diff != "" || ok != c.ok {
			t.Errorf("%s: %t (-want +got)\n%s", name, ok, diff)
		}
	}
}

// TestSteps: requests without a shell tool do not use a step up, and a step for
// a request that cannot take it is an error, not a silence.
func TestSteps(t *testing.T) {
	s := NewScript(t, Script{Aside: &Reply{Text: "a title"}, Replies: []Reply{{Shell: "id"}, {Text: "the end"}}})
	turn := `{"tools":[{"name":"Bash","input_schema":{"properties":{"command":{}}}}]}`
	for _, c := range []struct{ body, want string }{
		{`{}`, "a title"}, {turn, `"command":"id"`}, {`{}`, "a title"}, {turn, "the end"}, {turn, "no further reply"},
	} {
		if _, _, body, _ := post(t, s.URL+"/v1/messages", c.body); !strings.Contains(body, c.want) {
			t.Errorf("%s got %s, want %s", c.body, body, c.want)
		}
	}
	s = New(t, Reply{Shell: "id"})
	if code, _, body, _ := post(t, s.URL+"/v1/messages", `{}`); code != 400 || !strings.Contains(body, "no shell tool") {
		t.Errorf("got %d, %s", code, body)
	}
}

// TestResponses pins the stream's order and that its pieces make its whole.
func TestResponses(t *testing.T) {
	s := New(t, Reply{Think: "hm", Text: "hello", Usage: &Usage{Input: 3, Output: 2}, Calls: []Call{
		{ID: "c1", Name: "exec_command", Args: `{"cmd":"id"}`}, {ID: "c2", Name: "exec", Args: "text(1)", Custom: true},
	}}, Reply{Error: &Failure{Type: "server_error", Message: "broken"}}, Reply{Text: "whole"})
	_, _, body, err := post(t, s.URL+"/v1/responses", `{"stream":true}`, "Authorization", "Bearer k")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	deltas := map[string]string{}
	for block := range strings.SplitSeq(strings.TrimSpace(body), "\n\n") {
		var v struct {
			Type, Delta string
			Item        struct{ Type string }
		}
		_, data, _ := strings.Cut(block, "data: ")
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatal(err)
		}
		if v.Delta == "" {
			names = append(names, strings.TrimSpace(strings.TrimPrefix(v.Type, "response.")+" "+v.Item.Type))
		}
		deltas[v.Type] += v.Delta
	}
	want := []string{
		"created", "output_item.added reasoning", "output_item.done reasoning",
		"output_item.added message", "content_part.added", "output_text.done", "content_part.done", "output_item.done message",
		"output_item.added function_call", "function_call_arguments.done", "output_item.done function_call",
		"output_item.added custom_tool_call", "custom_tool_call_input.done", "output_item.done custom_tool_call", "completed",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("events (-want +got)\n%s", diff)
	}
	for name, want := range map[string]string{"output_text": "hello", "function_call_arguments": `{"cmd":"id"}`, "custom_tool_call_input": "text(1)"} {
		if got := deltas["response."+name+".delta"]; got != want {
			t.Errorf("%s adds up to %q", name, got)
		}
	}
	if _, _, body, _ = post(t, s.URL+"/v1/responses", `{"stream":true}`); !strings.Contains(body, "event: response.failed") || strings.Contains(body, "completed") {
		t.Errorf("a failure: %s", body)
	}
	if _, _, body, _ = post(t, s.URL+"/v1/responses", `{}`); !strings.Contains(body, `"status":"completed"`) || !strings.Contains(body, "whole") {
		t.Errorf("without a stream: %s", body)
	}
	if r := s.Requests()[0]; r.Form != "responses" || r.Key != "k" {
		t.Errorf("recorded %s %s", r.Form, r.Key)
	}
}

// TestOthers: what agents ask besides is answered without a reply and recorded.
func TestOthers(t *testing.T) {
	s := New(t)
	get := func(path string, header ...string) (int, string) {
		r, err := http.NewRequest(http.MethodGet, s.URL+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	for path, want := range map[string]string{"/v1/models": `"id":"fake"`, "/v1beta/models": `"name":"models/fake"`} {
		if code, body := get(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	for path, want := range map[string]string{"/v1/messages/count_tokens": `{"input_tokens":100}`, "/v1beta/models/fake:countTokens": `{"totalTokens":100}`} {
		if code, _, body, _ := post(t, s.URL+path, "{}"); code != 200 || body != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if code, _ := get("/v1/responses", "Connection", "Upgrade", "Upgrade", "websocket"); code != http.StatusUpgradeRequired {
		t.Errorf("a WebSocket got %d", code)
	}
	if code, _ := get("/elsewhere"); code != 404 {
		t.Errorf("an unknown path got %d", code)
	}
	if len(s.Others()) != 6 || len(s.Requests()) != 0 {
		t.Errorf("recorded %d and %d", len(s.Others()), len(s.Requests()))
	}
}
