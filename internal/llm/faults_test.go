package llm_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"sallyport/internal/egress"
	"sallyport/internal/fault"
	"sallyport/internal/llm"
	"sallyport/test/fakes/modelserver"
)

// complete runs one call of each provider and mode against a fresh script.
//
//go:fix inline
func complete(t *testing.T, script []modelserver.Reply, o llm.Options, check func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error)) {
	t.Helper()
	for _, p := range providers {
		for _, plain := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/plain=%v", p.name, plain), func(t *testing.T) {
				s := modelserver.New(t, script...)
				o := o
				o.Plain = plain
				r, err := connect(t, p, s, o).Complete(context.Background(), ask(), nil)
				check(t, p, s, r, err)
			})
		}
	}
}

func TestRetries(t *testing.T) {
	overloaded := modelserver.Reply{Status: 529, Error: &modelserver.Failure{Type: "overloaded_error", Message: "busy"}}
	script := []modelserver.Reply{
		overloaded,
		{Status: 429, Error: &modelserver.Failure{Type: "rate_limit_error", Message: "slow"}},
		{Hangup: true},
		{Status: 503},
		{Text: "at last"},
	}
	complete(t, script, llm.Options{}, func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error) {
		if err != nil || r.Text != "at last" || r.Attempts != 5 || r.RequestID != "req_5" {
			t.Fatalf("%+v %v", r, err)
		}
		// Only the connection that was cut may have been charged.
		if r.Unsettled != 1 {
			t.Fatalf("unsettled %d", r.Unsettled)
		}
		a := s.Requests()
		for _, b := range a[1:] {
			if !bytes.Equal(a[0].Body, b.Body) {
				t.Fatal("a repetition differs from what was first sent")
			}
		}
	})
}

func TestNoRetryOfWhatMayBeCharged(t *testing.T) {
	script := []modelserver.Reply{{Hangup: true}, {Text: "twice"}}
	complete(t, script, llm.Options{NoRetryUnsettled: true}, func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error) {
		if !fault.Is(err, fault.Unavailable) || r.Unsettled != 1 || len(s.Requests()) != 1 {
			t.Fatalf("%+v %v", r, err)
		}
	})
}

// TestAnswersThatAreNotRepeated: kind, sentence and number of requests.
func TestAnswersThatAreNotRepeated(t *testing.T) {
	fail := func(status int, typ, code string) modelserver.Reply {
		return modelserver.Reply{Status: status, Error: &modelserver.Failure{Type: typ, Code: code, Message: "the words"}}
	}
	noRetry := fail(503, "UNAVAILABLE", "")
	noRetry.Headers = map[string]string{"x-should-retry": "false"}
	tests := map[string]struct {
		reply modelserver.Reply
		kind  fault.Kind
		says  string
	}{
		"400":         {fail(400, "invalid_request_error", ""), fault.Config, "did not accept the request"},
		"401":         {fail(401, "authentication_error", ""), fault.Config, "check TEST_KEY"},
		"403":         {fail(403, "PERMISSION_DENIED", ""), fault.Config, "check TEST_KEY"},
		"404":         {fail(404, "not_found_error", ""), fault.Config, `check the model name "test-model"`},
		"402":         {fail(402, "billing_error", ""), fault.Budget, "used up"},
		"redirect":    {modelserver.Reply{Status: 307, Headers: map[string]string{"Location": "http://127.0.0.1:1/"}}, fault.Config, "a redirect, which is not followed"},
		"no retry":    {noRetry, fault.Unavailable, "try again later"},
		"long wait":   {modelserver.Reply{Status: 429, Headers: map[string]string{"Retry-After": "3600"}}, fault.Unavailable, "asks to wait 1h0m0s"},
		"not an API":  {modelserver.Reply{Status: 418, Body: new("<html>teapot")}, fault.Config, "418"},
		"empty error": {modelserver.Reply{Status: 400, Body: new("")}, fault.Config, "400"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			complete(t, []modelserver.Reply{tt.reply, {Text: "should not be asked for"}}, llm.Options{},
				func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error) {
					if !fault.Is(err, tt.kind) || !strings.Contains(fault.PublicText(err), tt.says) {
						t.Errorf("kind %v: %v", fault.KindOf(err), err)
					}
					if len(s.Requests()) != 1 {
						t.Errorf("%d requests", len(s.Requests()))
					}
					var pe *llm.ProviderError
					if !errors.As(err, &pe) || pe.Provider != p.name || pe.Status != tt.reply.Status || pe.RequestID != "req_1" {
						t.Errorf("detail %+v", pe)
					}
				})
		})
	}
	t.Run("quota", func(t *testing.T) {
		s := modelserver.New(t, fail(429, "insufficient_quota", "insufficient_quota"))
		_, err := connect(t, providers[0], s, llm.Options{}).Complete(context.Background(), ask(), nil)
		if !fault.Is(err, fault.Budget) || len(s.Requests()) != 1 {
			t.Errorf("%v", err)
		}
	})
}

func TestAttemptsAreBounded(t *testing.T) {
	complete(t, []modelserver.Reply{{Status: 500}, {Status: 500}, {Status: 500}}, llm.Options{Attempts: 2},
		func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error) {
			if !fault.Is(err, fault.Unavailable) || len(s.Requests()) != 2 || !strings.Contains(err.Error(), "after 2 attempts") {
				t.Fatalf("%d requests: %v", len(s.Requests()), err)
			}
		})
}

// TestBrokenReplies: whatever comes with status 200, the answer is one clear
// error that names the provider and the request, and the call is not repeated.
func TestBrokenReplies(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	tests := map[string]struct {
		reply modelserver.Reply
		says  string // for streams and whole replies alike
	}{
		"garbage":          {modelserver.Reply{Body: new("data: <html>oops</html>\n\n")}, "not the JSON"},
		"html":             {modelserver.Reply{Body: new("<html>oops</html>\n\n")}, ""},
		"wrong types":      {modelserver.Reply{Body: new("data: [1,2]\n\n")}, "not the JSON"},
		"invalid UTF-8":    {modelserver.Reply{Body: new("data: {\"a\":\"\xff\xfe\"}\n\n")}, "not valid UTF-8"},
		"half":             {modelserver.Reply{Text: strings.Repeat("half a reply ", 50), CutAfter: 300}, ""},
		"no end":           {modelserver.Reply{Body: new("data: {}\n\n")}, ""},
		"10000 tool calls": {modelserver.Reply{Calls: []modelserver.Call{{ID: "c", Name: "look", Args: "{}"}}, Repeat: 10000}, "more than 128 tool calls"},
		"giant body":       {modelserver.Reply{Body: new(": " + long + "\n"), RepeatBody: 20}, "exceeds"},
		"giant text":       {modelserver.Reply{Text: strings.Repeat("y", 3000), Pieces: 1000}, "the text exceeds 2000 bytes"},
		"giant arguments":  {modelserver.Reply{Calls: []modelserver.Call{{ID: "c", Name: "look", Args: `{"a":"` + strings.Repeat("z", 4000) + `"}`}}}, "the tool calls exceed 3000 bytes"},
		"mad usage":        {modelserver.Reply{Text: "t", Usage: &modelserver.Usage{Input: -5, Output: 1}}, "not plausible"},
		"huge usage":       {modelserver.Reply{Text: "t", Usage: &modelserver.Usage{Input: 1 << 50, Output: 1}}, "not plausible"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := llm.Options{Limits: llm.Limits{Body: 900 << 10, Text: 2000, Arguments: 3000, Event: 512 << 10}}
			if name == "10000 tool calls" {
				o.Limits = llm.Limits{} // the defaults hold
			}
			complete(t, []modelserver.Reply{tt.reply, {Text: "again"}}, o,
				func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error) {
					if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.PublicText(err), p.name+" (request req_1)") {
						t.Fatalf("%v", err)
					}
					if !strings.Contains(err.Error(), tt.says) && !strings.HasPrefix(*bodyOf(tt.reply), "data:") {
						t.Errorf("%v, want %q", err, tt.says)
					}
					if len(s.Requests()) != 1 {
						t.Errorf("%d requests", len(s.Requests()))
					}
					if len(err.Error()) > 700 || strings.Contains(err.Error(), "oops") {
						t.Errorf("the error repeats the reply: %v", err)
					}
				})
		})
	}
}

func bodyOf(r modelserver.Reply) *string {
	if r.Body != nil {
		return r.Body
	}
	return new("")
}

// TestErrorInsideAReply: repeated while nothing was handed on, final after.
func TestErrorInsideAReply(t *testing.T) {
	for _, p := range providers {
		broke := &modelserver.Failure{Type: map[string]string{"openai": "server_error", "anthropic": "overloaded_error", "google": "UNAVAILABLE"}[p.name], Message: "busy"}
		s := modelserver.New(t, modelserver.Reply{Error: broke}, modelserver.Reply{Text: "fine"})
		r, err := connect(t, p, s, llm.Options{}).Complete(context.Background(), ask(), nil)
		if err != nil || r.Text != "fine" || r.Attempts != 2 {
			t.Errorf("%s before text: %+v %v", p.name, r, err)
		}
		s = modelserver.New(t, modelserver.Reply{Text: "partial", Error: broke}, modelserver.Reply{Text: "again"})
		r, err = connect(t, p, s, llm.Options{}).Complete(context.Background(), ask(), nil)
		if !fault.Is(err, fault.Unavailable) || r.Text != "partial" || len(s.Requests()) != 1 || r.Unsettled != 1 || !strings.Contains(err.Error(), "busy") {
			t.Errorf("%s after text: %+v %v", p.name, r, err)
		}
	}
}

// TestNoKeyInErrors: whatever the provider repeats, in whatever form.
func TestNoKeyInErrors(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString([]byte(fakeKey))
	for name, reply := range map[string]modelserver.Reply{
		"message":  {Status: 401, EchoKey: true},
		"no json":  {Status: 401, Body: new("bad key " + fakeKey)},
		"escaped":  {Status: 400, Error: &modelserver.Failure{Type: fakeKey, Code: fakeKey, Message: "u=" + url.QueryEscape(fakeKey) + " b=" + b64 + " part=" + fakeKey[5:20] + " up=" + strings.ToUpper(fakeKey)}},
		"at a cut": {Status: 400, Error: &modelserver.Failure{Type: "t", Message: strings.Repeat("m", 290) + fakeKey}},
		"header":   {Status: 500, Headers: map[string]string{"X-Request-Id": fakeKey, "Request-Id": fakeKey, "X-Goog-Request-Id": fakeKey}},
		"redirect": {Status: 302, Headers: map[string]string{"Location": "http://x.test/?key=" + fakeKey}},
		"stream":   {EchoKey: true, Text: "text"},
	} {
		t.Run(name, func(t *testing.T) {
			complete(t, []modelserver.Reply{reply}, llm.Options{Attempts: 1}, func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error) {
				if err == nil {
					t.Fatal("no error")
				}
				all := fmt.Sprintf("%v %+v %#v %s %+v", err, err, errors.Unwrap(err), fault.PublicText(err), r.RequestID)
				for i := 0; i+8 <= len(fakeKey); i++ {
					if strings.Contains(strings.ToLower(all), strings.ToLower(fakeKey[i:i+8])) {
						t.Fatalf("a part of the key is in %q", all)
					}
				}
				if strings.Contains(all, b64[:12]) {
					t.Fatalf("the encoded key is in %q", all)
				}
			})
		})
	}
}

func TestTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name  string
		reply modelserver.Reply
		o     llm.Options
		says  string
	}{
		{"header", modelserver.Reply{Stall: modelserver.Duration(time.Minute)}, llm.Options{FirstByte: 50 * time.Millisecond, Attempts: 1}, "sent nothing for 50ms"},
		{"idle", modelserver.Reply{Text: "abcdefghi", Stall: modelserver.Duration(time.Minute), StallAt: 60}, llm.Options{Idle: 50 * time.Millisecond}, "in the middle of a reply for 50ms"},
		{"total", modelserver.Reply{Stall: modelserver.Duration(time.Minute)}, llm.Options{Total: 50 * time.Millisecond}, "within the allowed time"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			complete(t, []modelserver.Reply{tt.reply}, tt.o, func(t *testing.T, p provider, s *modelserver.Server, r llm.Response, err error) {
				if !fault.Is(err, fault.Unavailable) || !strings.Contains(fault.PublicText(err), tt.says) || tt.name == "idle" && r.Unsettled != 1 {
					t.Fatalf("%+v %v", r, err)
				}
			})
		})
	}
}

func TestCancelEndsTheCall(t *testing.T) {
	for _, p := range providers {
		s := modelserver.New(t, modelserver.Reply{Text: strings.Repeat("word ", 100), Stall: modelserver.Duration(time.Hour), StallAt: 2000})
		ctx, cancel := context.WithCancel(context.Background())
		r, err := connect(t, p, s, llm.Options{}).Complete(ctx, ask(), func(string) { cancel() })
		if !fault.Is(err, fault.Canceled) || !errors.Is(err, context.Canceled) || !strings.HasPrefix(r.Text, "wor") {
			t.Errorf("%s: %+v %v", p.name, r, err)
		}
	}
}

// TestUnreachable: a refusal by the dialer is a decision and is not repeated;
// a closed port is.
func TestUnreachable(t *testing.T) {
	s := modelserver.New(t)
	url := s.URL
	_ = s.Close()
	doer := egress.New(egress.Config{}).Client(egress.ClientOptions{})
	c, err := providers[0].make(llm.Endpoint{BaseURL: url + "/v1", Key: func() string { return fakeKey }}, doer, quick(llm.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Complete(context.Background(), ask(), nil); !fault.Is(err, fault.Denied) || r.Attempts != 1 || r.Unsettled != 0 {
		t.Errorf("not allowed: %+v %v", r, err)
	}
	if r, err := connect(t, providers[0], s, llm.Options{Attempts: 3}).Complete(context.Background(), ask(), nil); !fault.Is(err, fault.Unavailable) || r.Attempts != 3 || r.Unsettled != 0 {
		t.Errorf("closed: %+v %v", r, err)
	}
}

func TestEndpointsThatAreRefused(t *testing.T) {
	key := func() string { return fakeKey }
	for name, ep := range map[string]llm.Endpoint{
		"clear key":  {BaseURL: "http://10.0.0.5:8000/v1", Key: key},
		"no scheme":  {BaseURL: "api.example.com"},
		"file":       {BaseURL: "file:///etc/passwd"},
		"user":       {BaseURL: "https://u:p@h.test"},
		"query":      {BaseURL: "https://h.test/?key=1"},
		"unreadable": {BaseURL: "http://[::1"},
	} {
		for _, p := range providers {
			if _, err := p.make(ep, nil, llm.Options{}); !fault.Is(err, fault.Config) {
				t.Errorf("%s %s: %v", p.name, name, err)
			}
		}
	}
	if _, err := providers[0].make(llm.Endpoint{BaseURL: "http://10.0.0.5:8000/v1", Key: key, KeyInClear: true}, nil, llm.Options{}); err != nil {
		t.Errorf("allowed explicitly: %v", err)
	}
	c, err := providers[0].make(llm.Endpoint{Model: "only-this", KeyOptional: true}, nil, llm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Complete(context.Background(), ask(), nil); !fault.Is(err, fault.Config) || !strings.Contains(err.Error(), "only-this") {
		t.Errorf("another model: %v", err)
	}
}
