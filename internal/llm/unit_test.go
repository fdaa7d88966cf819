package llm

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"sallyport/internal/fault"
)

func requests() *rapid.Generator[Request] {
	texts := rapid.String().Filter(func(s string) bool { return strings.ToValidUTF8(s, "") == s })
	return rapid.Custom(func(t *rapid.T) Request {
		r := Request{
			Model:     rapid.StringMatching(`[a-zA-Z0-9][a-zA-Z0-9._:@+-]{0,40}`).Filter(func(s string) bool { return !strings.Contains(s, "..") }).Draw(t, "model"),
			System:    texts.Draw(t, "system"),
			MaxTokens: rapid.IntRange(1, MaxMaxTokens).Draw(t, "max"),
		}
		for range rapid.IntRange(1, 4).Draw(t, "messages") {
			r.Messages = append(r.Messages, Message{rapid.SampledFrom([]Role{User, Assistant}).Draw(t, "role"), texts.Draw(t, "text")})
		}
		if rapid.Bool().Draw(t, "has temperature") {
			f := rapid.Float64Range(0, 2).Draw(t, "temperature")
			r.Temperature = &f
		}
		for range rapid.IntRange(0, 3).Draw(t, "stops") {
			r.Stop = append(r.Stop, rapid.StringMatching(`[A-Z\n]{1,9}`).Draw(t, "stop"))
		}
		for i := range rapid.IntRange(0, 3).Draw(t, "tools") {
			tool := Tool{Name: "tool_" + string(rune('a'+i)), Description: texts.Draw(t, "description")}
			if rapid.Bool().Draw(t, "has schema") {
				tool.Schema = json.RawMessage(`{"type" : "object", "n": 1e400}`)
			}
			r.Tools = append(r.Tools, tool)
		}
		return r
	})
}

// onlyJSON reports the first value that is none of the allowed types.
func onlyJSON(v any) any {
	switch x := v.(type) {
	case string, bool, int64, float64:
		return nil
	case []any:
		for _, e := range x {
			if bad := onlyJSON(e); bad != nil {
				return bad
			}
		}
		return nil
	case map[string]any:
		for _, e := range x {
			if bad := onlyJSON(e); bad != nil {
				return bad
			}
		}
		return nil
	}
	return v
}

func TestArgsAreLossless(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := requests().Draw(t, "request")
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		args := r.Args()
		if bad := onlyJSON(args); bad != nil {
			t.Fatalf("%T is no JSON type", bad)
		}
		back, err := FromArgs(args)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(r, back); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
		// Also after being stored as JSON, where every number is a float64.
		stored, err := json.Marshal(args)
		if err != nil {
			t.Fatal(err)
		}
		var read map[string]any
		if err := json.Unmarshal(stored, &read); err != nil {
			t.Fatal(err)
		}
		if back, err = FromArgs(read); err != nil || cmp.Diff(r, back) != "" {
			t.Fatalf("after storing: %v %s", err, cmp.Diff(r, back))
		}
	})
}

func TestFromArgsRefuses(t *testing.T) {
	good := func() map[string]any {
		return map[string]any{"model": "m", "max_tokens": int64(5), "messages": []any{map[string]any{"role": "user", "text": "t"}}}
	}
	if _, err := FromArgs(good()); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(map[string]any){
		"unknown key":     func(a map[string]any) { a["top_p"] = 1.0 },
		"no model":        func(a map[string]any) { delete(a, "model") },
		"path as model":   func(a map[string]any) { a["model"] = "../../v1/files" },
		"query as model":  func(a map[string]any) { a["model"] = "m?key=1" },
		"number as model": func(a map[string]any) { a["model"] = int64(1) },
		"no messages":     func(a map[string]any) { a["messages"] = []any{} },
		"null message":    func(a map[string]any) { a["messages"] = []any{nil} },
		"extra field":     func(a map[string]any) { a["messages"].([]any)[0].(map[string]any)["name"] = "x" },
		"unknown role":    func(a map[string]any) { a["messages"].([]any)[0].(map[string]any)["role"] = "system" },
		"invalid UTF-8":   func(a map[string]any) { a["messages"].([]any)[0].(map[string]any)["text"] = "\xff" },
		"fraction":        func(a map[string]any) { a["max_tokens"] = 1.5 },
		"no bound":        func(a map[string]any) { delete(a, "max_tokens") },
		"zero bound":      func(a map[string]any) { a["max_tokens"] = int64(0) },
		"huge bound":      func(a map[string]any) { a["max_tokens"] = int64(math.MaxInt64) },
		"NaN temperature": func(a map[string]any) { a["temperature"] = math.NaN() },
		"hot":             func(a map[string]any) { a["temperature"] = 2.1 },
		"empty stop":      func(a map[string]any) { a["stop"] = []any{""} },
		"many stops":      func(a map[string]any) { a["stop"] = make([]any, 17) },
		"tool without name": func(a map[string]any) {
			a["tools"] = []any{map[string]any{"name": "", "description": "", "schema": ""}}
		},
		"schema no object": func(a map[string]any) {
			a["tools"] = []any{map[string]any{"name": "n", "description": "", "schema": "[1]"}}
		},
		"schema no JSON": func(a map[string]any) {
			a["tools"] = []any{map[string]any{"name": "n", "description": "", "schema": "{"}}
		},
		"tool twice": func(a map[string]any) {
			n := map[string]any{"name": "n", "description": "", "schema": ""}
			a["tools"] = []any{n, n}
		},
	} {
		a := good()
		change(a)
		if r, err := FromArgs(a); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: %+v %v", name, r, err)
		}
	}
}

func TestScrub(t *testing.T) {
	const key = "sk-fake-0123456789abcdef"
	for in, want := range map[string]string{
		"":                           "",
		"nothing here":               "nothing here",
		key:                          "[key]",
		"a " + key + " b " + key:     "a [key] b [key]",
		"prefix sk-fake-0… is cut":   "prefix [key]… is cut",
		"SK-FAKE-0123456789ABCDEF":   "[key]",
		"sk-fak is too short":        "sk-fak is too short",
		"tail 89abcdef, middle 3456": "tail [key], middle 3456",
	} {
		if got := scrub(in, key); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
	if got := scrub("short abc!", "abc"); got != "short [key]!" {
		t.Errorf("a short key: %q", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.StringMatching(`[ -~]{8,40}`).Draw(t, "key")
		s := rapid.String().Draw(t, "before") + k + rapid.String().Draw(t, "after")
		if out := scrub(s, k); strings.Contains(out, k) && !strings.Contains("[key]", k) {
			t.Fatalf("%q still holds %q", out, k)
		}
	})
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Duration{
		"": 0, "0": 0, "-5": 0, "7": 7 * time.Second, " 1.5 ": 1500 * time.Millisecond, "soon": 0, "NaN": 0, "1e300": time.Duration(1e8) * time.Second,
		"Sun, 01 Mar 2026 12:00:30 GMT": 30 * time.Second, "Sun, 01 Mar 2026 11:00:00 GMT": 0,
	} {
		if got := retryAfter(in, now); got != want {
			t.Errorf("%q is %v, want %v", in, got, want)
		}
	}
}

// canned is a provider without a network, for tests under a fake clock.
type canned func(n int, r *http.Request) (*http.Response, error)

type doer struct {
	n    int
	at   []time.Duration
	born time.Time
	f    canned
}

func (d *doer) Do(r *http.Request) (*http.Response, error) {
	d.n++
	d.at = append(d.at, time.Since(d.born))
	return d.f(d.n, r)
}

// bare is the smallest codec: an event is text, "end" ends.
type bare struct{}

func (bare) Encode(Endpoint, Request, bool, string) (Call, error) { return Call{Path: "/x"}, nil }
func (bare) Decoder() Decoder                                     { return bare{} }
func (bare) Problem([]byte) Problem                               { return Problem{} }
func (bare) DefaultBase() string                                  { return "https://bare.test" }
func (bare) RequestIDHeaders() []string                           { return []string{"X-Id"} }
func (bare) Event(_ string, data []byte, b *Builder) (bool, error) {
	if string(data) == "end" {
		b.Stop(StopEnd)
		return true, nil
	}
	return false, b.Text(string(data))
}
func (bare) Plain(body []byte, b *Builder) error { b.Stop(StopEnd); return b.Text(string(body)) }
func (bare) End(*Builder) error                  { return errors.New("no end") }

func answer(status int, header map[string]string, body io.Reader) *http.Response {
	h := http.Header{"Content-Type": {"text/event-stream"}}
	for k, v := range header {
		h.Set(k, v)
	}
	return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(body)}
}

func run(t *testing.T, ctx context.Context, o Options, f canned) (*doer, Response, error) {
	t.Helper()
	d := &doer{born: time.Now(), f: f}
	c, err := New(bare{}, Endpoint{Provider: "bare", KeyOptional: true}, d, o)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Complete(ctx, Request{Model: "m", MaxTokens: 1, Messages: []Message{{User, "x"}}}, nil)
	return d, r, err
}

// TestBackoff: exact waits under a fake clock.
func TestBackoff(t *testing.T) {
	const s = time.Second
	for name, tt := range map[string]struct {
		o      Options
		header []string // Retry-After of each refusal
		want   []time.Duration
		ok     bool
	}{
		"doubles to the cap":     {Options{Attempts: 6, Backoff: s, BackoffMax: 4 * s, Random: func() float64 { return 0 }}, nil, []time.Duration{0, s / 2, 3 * s / 2, 7 * s / 2, 11 * s / 2, 15 * s / 2}, false},
		"jitter":                 {Options{Attempts: 2, Backoff: s, Random: func() float64 { return 0.5 }}, nil, []time.Duration{0, 3 * s / 4}, false},
		"retry-after is a floor": {Options{Attempts: 3, Backoff: s, Random: func() float64 { return 0 }}, []string{"20", "0"}, []time.Duration{0, 20 * s, 21 * s}, false},
		"date":                   {Options{Attempts: 2, Backoff: s}, []string{"Sat, 01 Jan 2000 00:00:10 GMT"}, []time.Duration{0, 10 * s}, false},
		"too long":               {Options{Attempts: 9, RetryAfterMax: 5 * s}, []string{"6"}, []time.Duration{0}, false},
		"would outlive total":    {Options{Attempts: 9, Total: 5 * s}, []string{"6"}, []time.Duration{0}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d, r, err := run(t, t.Context(), tt.o, func(n int, _ *http.Request) (*http.Response, error) {
					h := map[string]string{}
					if n <= len(tt.header) {
						h["Retry-After"] = tt.header[n-1]
					}
					return answer(429, h, strings.NewReader("")), nil
				})
				if d := cmp.Diff(tt.want, d.at); d != "" {
					t.Fatalf("(-want +got)\n%s", d)
				}
				if !fault.Is(err, fault.Unavailable) || r.Attempts != len(tt.want) {
					t.Fatalf("%+v %v", r, err)
				}
			})
		})
	}
}

func TestCancelDuringTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(3*time.Second, cancel)
		start := time.Now()
		_, _, err := run(t, ctx, Options{Backoff: time.Minute, BackoffMax: time.Minute, Random: func() float64 { return 0 }},
			func(int, *http.Request) (*http.Response, error) { return answer(500, nil, strings.NewReader("")), nil })
		if !fault.Is(err, fault.Canceled) || !errors.Is(err, context.Canceled) || time.Since(start) != 3*time.Second {
			t.Fatalf("after %v: %v", time.Since(start), err)
		}
	})
}

// slow gives a piece at every interval until ctx ends.
type slow struct {
	ctx    context.Context
	every  time.Duration
	pieces []string
}

func (s *slow) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	select {
	case <-time.After(s.every):
	case <-s.ctx.Done():
		return 0, s.ctx.Err()
	}
	n := copy(p, s.pieces[0])
	s.pieces = s.pieces[1:]
	return n, nil
}

// TestIdleIsBetweenPieces: a reply that takes long in all, but never pauses,
// is no timeout; one longer pause is, and so is a total.
func TestIdleIsBetweenPieces(t *testing.T) {
	for name, tt := range map[string]struct {
		every time.Duration
		total time.Duration
		says  string
		after time.Duration
	}{
		"steady": {9 * time.Second, time.Hour, "", 45 * time.Second},
		"pauses": {11 * time.Second, time.Hour, "in the middle of a reply for 10s", 21 * time.Second},
		"late":   {13 * time.Second, time.Hour, "sent nothing for 12s", 12 * time.Second},
		"total":  {9 * time.Second, 20 * time.Second, "within the allowed time", 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				_, r, err := run(t, t.Context(), Options{Attempts: 1, FirstByte: 12 * time.Second, Idle: 10 * time.Second, Total: tt.total},
					func(_ int, r *http.Request) (*http.Response, error) {
						return answer(200, nil, &slow{r.Context(), tt.every, []string{"data: a\n", "\ndata: ", "b\n\n", "data: en", "d\n\n"}}), nil
					})
				if tt.says == "" && (err != nil || r.Text != "ab") || tt.says != "" && !strings.Contains(fault.PublicText(err), tt.says) {
					t.Fatalf("%+v %v", r, err)
				}
				if got := time.Since(start); got != tt.after {
					t.Fatalf("ended after %v, want %v", got, tt.after)
				}
			})
		})
	}
}

// TestNothingAfterDelivery: text that was handed on is never asked for again.
func TestNothingAfterDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, r, err := run(t, t.Context(), Options{}, func(int, *http.Request) (*http.Response, error) {
			return answer(200, map[string]string{"X-Id": "abc"}, strings.NewReader("data: part\n\ndata: lost")), nil
		})
		if err == nil || d.n != 1 || r.Text != "part" || r.Unsettled != 1 || !strings.Contains(err.Error(), "abc") {
			t.Fatalf("%d %+v %v", d.n, r, err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d, r, err := run(t, t.Context(), Options{}, func(n int, _ *http.Request) (*http.Response, error) {
			if n == 1 {
				return answer(200, nil, strings.NewReader("")), nil
			}
			return answer(200, nil, strings.NewReader("data: all\n\ndata: end\n\n")), nil
		})
		if err != nil || d.n != 2 || r.Text != "all" || r.Unsettled != 1 {
			t.Fatalf("%d %+v %v", d.n, r, err)
		}
	})
}

// TestKeyThatAppearsLater: an optional key must not start to travel in clear.
func TestKeyThatAppearsLater(t *testing.T) {
	key := ""
	d := &doer{f: func(int, *http.Request) (*http.Response, error) {
		return answer(200, nil, strings.NewReader("data: ok\n\ndata: end\n\n")), nil
	}}
	c, err := New(bare{}, Endpoint{Provider: "bare", BaseURL: "http://10.0.0.5:8000", KeyOptional: true, Key: func() string { return key }}, d, Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := Request{Model: "m", MaxTokens: 1, Messages: []Message{{User, "x"}}}
	if _, err := c.Complete(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	key = "fake-key-appeared"
	if _, err := c.Complete(t.Context(), r, nil); !fault.Is(err, fault.Config) || d.n != 1 || strings.Contains(err.Error(), key) {
		t.Fatalf("%d requests: %v", d.n, err)
	}
	for _, bad := range []string{"two\nlines", "a b", "schlüssel"} {
		c, err := New(bare{}, Endpoint{Provider: "bare", Key: func() string { return bad }}, d, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Complete(t.Context(), r, nil); !fault.Is(err, fault.Config) || strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
