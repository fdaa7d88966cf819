package clients

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// send makes a request without an SDK.
func send(t *testing.T, method, url, body string, header map[string]string) (status int, reply string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		q.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// TestOtherPaths: lists, counts and vectors pass as the model's server gives
// them, under its own key and in its vendor's form, and what may not leave does
// not leave this way either.
func TestOtherPaths(t *testing.T) {
	installed(t)
	l := newLab(t)
	base, key := openProxy(t, l)
	openAI, anthropic, google := "Authorization", "X-Api-Key", "X-Goog-Api-Key"
	cases := []struct{ method, path, header, body string }{
		{"GET", "/v1/models", openAI, ""},
		{"GET", "/v1/models", anthropic, ""},
		{"GET", "/v1beta/models", google, ""},
		{"POST", "/v1/messages/count_tokens", anthropic, `{"model":"claude-test","messages":[{"role":"user","content":"WORD"}]}`},
		{"POST", "/v1beta/models/gemini-test:countTokens", google, `{"contents":[{"parts":[{"text":"WORD"}]}]}`},
		{"POST", "/v1/embeddings", openAI, `{"model":"vec-test","input":["WORD","two"]}`},
		{"POST", "/v1beta/models/vec-test:embedContent", google, `{"content":{"parts":[{"text":"WORD"}]}}`},
	}
	for _, c := range cases {
		for _, word := range []string{"harmless", launch.Forbidden} {
			if c.body == "" && word == launch.Forbidden {
				continue
			}
			before := len(l.model.Others())
			body := strings.ReplaceAll(c.body, "WORD", word)
			header := func(key string) map[string]string {
				h := map[string]string{c.header: key, "Content-Type": "application/json"}
				if c.header == openAI {
					h[c.header] = "Bearer " + key
				}
				if c.header == anthropic {
					h["Anthropic-Version"] = "2023-06-01"
				}
				return h
			}
			status, got := send(t, c.method, base+c.path, body, header(key))
			asked := l.model.Others()[before:]
			if word == launch.Forbidden {
				if status/100 != 4 || len(asked) > 0 || !strings.Contains(got, launch.Rule) {
					t.Errorf("%s: %d %s, the model was asked %d times", c.path, status, got, len(asked))
				}
				continue
			}
			if len(asked) != 1 || asked[0].Path != c.path || string(asked[0].Body) != body {
				t.Errorf("%s: %d %s, the model was asked %+v", c.path, status, got, asked)
				continue
			}
			if v := strings.TrimPrefix(asked[0].Header.Get(c.header), "Bearer "); v != modelKey {
				t.Errorf("%s: the model was sent the key %q in %s", c.path, v, c.header)
			}
			if _, want := send(t, c.method, l.model.URL+c.path, body, header(modelKey)); status != 200 || got != want {
				t.Errorf("%s: %d (-want +got)\n%s", c.path, status, cmp.Diff(want, got))
			}
		}
	}
	embedded(t, l.proxy)
}

// embedded checks that vectors are counted: as their server says, or else by
// what was sent.
func embedded(t *testing.T, p *launch.Proxy) {
	t.Helper()
	p.Stop(t)
	var input []int64
	for _, e := range p.Events(t) {
		if u := e.Data.Result.Usage; e.Data.Kind == "model.call" && e.Data.Status != "" && strings.HasSuffix(e.Data.Target, "/vec-test") && u.Input > 0 {
			input = append(input, u.Input)
		}
	}
	if len(input) != 2 || input[0] != 7 {
		t.Errorf("vectors took %d", input)
	}
}

// TestArrayStream: Gemini's stream without events is a JSON array; it stays one
// whatever is held, replaced or ended in it.
func TestArrayStream(t *testing.T) {
	installed(t)
	for name, c := range map[string]struct {
		reply modelserver.Reply
		calls []string
		told  bool
	}{
		"honest":     {modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", "ls")}, Usage: usage}, []string{"ls"}, false},
		"one of two": {modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", deny("denied")), call("call_b", "ls")}, Usage: usage}, []string{"ls"}, true},
		"asked":      {modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", "ls "+launch.Doubtful)}, Usage: usage}, nil, false},
		"a text":     {modelserver.Reply{Text: "Look at " + launch.Forbidden + " and on.", Pieces: 40, Usage: usage}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.reply.Chunk = 7
			l := newLab(t, c.reply)
			base, key := openProxy(t, l)
			status, got := send(t, "POST", base+"/v1beta/models/gemini-test:streamGenerateContent", `{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}`, map[string]string{"X-Goog-Api-Key": key, "Content-Type": "application/json"})
			var chunks []struct {
				Candidates []struct {
					Content struct {
						Parts []struct {
							Text string
							Call *struct{ Args struct{ Command string } } `json:"functionCall"`
						}
					}
				}
			}
			if err := json.Unmarshal([]byte(got), &chunks); err != nil || status != 200 || !l.model.Requests()[0].Stream {
				t.Fatalf("%d, %v\n%s", status, err, got)
			}
			var calls []string
			for _, chunk := range chunks {
				for _, candidate := range chunk.Candidates {
					for _, p := range candidate.Content.Parts {
						if p.Call != nil {
							calls = append(calls, p.Call.Args.Command)
						}
					}
				}
			}
			if d := cmp.Diff(c.calls, calls); d != "" || strings.Contains(got, "Blocked by Sallyport (rule ") != (c.told || name == "asked") || strings.Contains(got, "approve it as") != (name == "asked") || strings.Contains(got, launch.Forbidden) {
				t.Errorf("calls (-want +got)\n%s%s", d, got)
			}
		})
	}
}
