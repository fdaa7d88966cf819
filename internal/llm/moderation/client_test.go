package moderation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/llm"
	"sallyport/internal/scan/screen"
)

const key = "sk-moderation-7Hq2vXz9"

// seen gives the inputs of the requests so far, and forgets them.
func (s *service) seen() [][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.requests
	s.requests = nil
	return out
}

// service is a moderation API that flags texts with the word "bad".
type service struct {
	mu       sync.Mutex
	requests [][]string
	answer   func(w http.ResponseWriter, inputs []string) bool // true: it answered
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Model string
		Input []string
	}
	body, _ := io.ReadAll(r.Body)
	if json.Unmarshal(body, &in) != nil || r.URL.Path != "/v1/moderations" || r.Header.Get("Authorization") != "Bearer "+key || r.Method != http.MethodPost || in.Model != "m" {
		http.Error(w, "no", http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, in.Input)
	s.mu.Unlock()
	if s.answer != nil && s.answer(w, in.Input) {
		return
	}
	var results []map[string]any
	for _, x := range in.Input {
		bad := strings.Contains(x, "bad")
		score := map[bool]float64{true: 0.3, false: 0.01}[bad]
		results = append(results, map[string]any{"flagged": bad, "categories": map[string]any{"hate": bad, "violence": false, "illicit": nil}, "category_scores": map[string]float64{"hate": score, "violence": 0.02}})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"id": "x", "results": results})
}

func client(t *testing.T, s *service, o Options) *Client {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	hc := srv.Client()
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c, err := New(llm.Endpoint{Provider: "test", BaseURL: srv.URL + "/v1/", Model: "m", Key: func() string { return key }}, hc, o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheck(t *testing.T) {
	s := &service{}
	c := client(t, s, Options{Batch: 2})
	r, err := c.Check(t.Context(), []string{"fine", "a bad one", "", "fine", "more", "and more"})
	if err != nil {
		t.Fatal(err)
	}
	// The service's own flag counts as the default threshold.
	if diff := cmp.Diff(Result{true, map[string]float64{"hate": screen.DefaultThreshold, "violence": 0.02}}, r); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([][]string{{"fine", "a bad one"}, {"more", "and more"}}, s.seen()); diff != "" {
		t.Error(diff)
	}
	if v := screen.FromModeration(r.Categories, nil, screen.Block); v.Action != screen.Block || v.Hits[0].Rule != "moderation.hate" {
		t.Errorf("%+v", v)
	}
	// What was judged is not sent again, and not judged milder.
	r, err = c.Check(t.Context(), []string{"a bad one"})
	if err != nil || !r.Flagged || len(s.seen()) > 0 {
		t.Errorf("%v %v, or it is asked again", r, err)
	}
	if r, err = c.Check(t.Context(), nil); err != nil || r.Flagged || len(s.seen()) > 0 {
		t.Errorf("nothing: %v %v", r, err)
	}
	r.Categories = map[string]float64{}
	r.join(Result{Categories: map[string]float64{"x": 0.4}})
	r.join(Result{Categories: map[string]float64{"x": 0.2}})
	if r.Categories["x"] != 0.4 {
		t.Errorf("joined: %v", r)
	}
}

// TestNoPartUnjudged: whatever stands where in a long text is sent.
func TestNoPartUnjudged(t *testing.T) {
	s := &service{}
	c := client(t, s, Options{Piece: 1024, Batch: 3, Cache: -1})
	filler := strings.Repeat("w\u00f6rter ", 800)
	for at := 0; at < len(filler); at += 211 {
		head := strings.ToValidUTF8(filler[:at], "")
		if r, err := c.Check(t.Context(), []string{head + " a bad word " + filler}); err != nil || !r.Flagged {
			t.Fatalf("at %d: %v %v", at, r, err)
		}
	}
	for at := 1000; at < 1040; at++ {
		if r, err := c.Check(t.Context(), []string{strings.Repeat("x", at) + " bad " + filler}); err != nil || !r.Flagged {
			t.Fatalf("at %d: %v %v", at, r, err)
		}
	}
	for _, batch := range s.seen() {
		for _, x := range batch {
			if len(x) > 1024 || strings.ContainsRune(x, '\ufffd') {
				t.Fatalf("%d bytes: %.40q", len(x), x)
			}
		}
	}
	for _, text := range []string{"\xff" + strings.Repeat("\x80", 5000), strings.Repeat("\U0001F600", 700)} {
		if got := strings.Join(pieces(text, 1024), ""); len(got) < len(text) {
			t.Errorf("%d of %d bytes", len(got), len(text))
		}
	}
	var e *fault.Error
	if _, err := c.Check(t.Context(), []string{strings.Repeat("x", 3<<20), strings.Repeat("y", 2<<20)}); !errors.As(err, &e) || e.Kind != fault.Budget {
		t.Errorf("too much: %v", err)
	}
}

// TestAnswersThatDoNotJudge are errors, and none holds the key or a text.
func TestAnswersThatDoNotJudge(t *testing.T) {
	say := func(status int, body string) func(http.ResponseWriter, []string) bool {
		return func(w http.ResponseWriter, _ []string) bool {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
			return true
		}
	}
	good := `{"flagged":false,"categories":{"hate":false},"category_scores":{"hate":0.1}}`
	for name, c := range map[string]struct {
		answer   func(http.ResponseWriter, []string) bool
		requests int
	}{
		"refused":      {say(401, "the key "+key+" is wrong"), 1},
		"busy":         {say(503, key), 2},
		"limited":      {say(429, key), 2},
		"moved":        {say(302, key), 1},
		"nothing":      {say(200, ""), 1},
		"page":         {say(200, "<html>"+key), 1},
		"other API":    {say(200, `{"choices":[]}`), 1},
		"too few":      {say(200, `{"results":[`+good+`]}`), 1},
		"too many":     {say(200, `{"results":[`+good+","+good+","+good+`]}`), 1},
		"empty result": {say(200, `{"results":[`+good+`,{}]}`), 1},
		"no scores":    {say(200, `{"results":[`+good+`,{"flagged":false}]}`), 1},
		"no flag":      {say(200, `{"results":[`+good+`,{"category_scores":{"hate":0.1}}]}`), 1},
		"score":        {say(200, `{"results":[`+good+`,{"flagged":false,"category_scores":{"hate":-1}}]}`), 1},
		"text":         {say(200, `{"results":[`+good+`,{"flagged":"no","category_scores":{"hate":0}}]}`), 1},
		"huge":         {say(200, `{"results":[`+strings.Repeat(" ", maxAnswer)+`]}`), 1},
		"torn": {func(w http.ResponseWriter, _ []string) bool {
			w.Header().Set("Content-Length", "500")
			_, _ = io.WriteString(w, `{"results":[`)
			panic(http.ErrAbortHandler)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := &service{answer: c.answer}
			cl := client(t, s, Options{})
			for range 2 { // and an error is not remembered as a result
				r, err := cl.Check(t.Context(), []string{"private text", "another"})
				if n := len(s.seen()); fault.KindOf(err) != fault.Unavailable || r.Flagged || n != c.requests {
					t.Errorf("%v %v, %d requests", r, err, n)
				}
				if text := fmt.Sprint(err); strings.Contains(text, key) || strings.Contains(text, "private") {
					t.Errorf("the error tells too much: %s", text)
				}
			}
		})
	}
}

func TestBusyThenFine(t *testing.T) {
	n := 0
	s := &service{}
	s.answer = func(w http.ResponseWriter, _ []string) bool {
		n++
		if n == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return n == 1
	}
	if r, err := client(t, s, Options{}).Check(t.Context(), []string{"bad"}); err != nil || !r.Flagged {
		t.Errorf("%v %v", r, err)
	}
}

func TestFlaggedWithoutCategory(t *testing.T) {
	s := &service{answer: func(w http.ResponseWriter, _ []string) bool {
		_, _ = io.WriteString(w, `{"results":[{"flagged":true,"category_scores":{"hate":0.1}}]}`)
		return true
	}}
	r, err := client(t, s, Options{}).Check(t.Context(), []string{"x"})
	if err != nil || !r.Flagged || r.Categories["flagged"] != 1 {
		t.Errorf("%v %v", r, err)
	}
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	s := &service{answer: func(http.ResponseWriter, []string) bool { <-release; return true }}
	c := client(t, s, Options{Timeout: 30 * time.Millisecond})
	t.Cleanup(func() { close(release) }) // before the server is closed
	if _, err := c.Check(t.Context(), []string{"x"}); fault.KindOf(err) != fault.Unavailable || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// leaky is a doer whose errors hold the request's key.
type leaky struct{}

func (leaky) Do(r *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("cannot send %v", r.Header)
}

func TestKey(t *testing.T) {
	ep := func(base, k string) llm.Endpoint {
		return llm.Endpoint{BaseURL: base, Key: func() string { return k }, KeyName: "MOD_KEY"}
	}
	for _, bad := range []string{"ftp://x", "https://u:p@x", "https://x?y", "https://", "::"} {
		if _, err := New(ep(bad, key), leaky{}, Options{}); fault.KindOf(err) != fault.Config {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := New(ep("http://moderation.example/v1", key), leaky{}, Options{}); fault.KindOf(err) != fault.Config || strings.Contains(err.Error(), key) {
		t.Errorf("in clear: %v", err)
	}
	for _, k := range []string{"", "with space", "line\n", "\u00e9"} {
		c, err := New(ep("https://moderation.example/v1", k), leaky{}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Check(t.Context(), []string{"x"}); fault.KindOf(err) != fault.Config || k != "" && strings.Contains(err.Error(), k) {
			t.Errorf("%q: %v", k, err)
		}
	}
	c, err := New(ep("http://127.0.0.1:1/v1", key), leaky{}, Options{Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Check(t.Context(), []string{"x"}); err == nil || strings.Contains(err.Error(), key) || !strings.Contains(err.Error(), "[key]") {
		t.Errorf("the key is in %v", err)
	}
}

func TestCache(t *testing.T) {
	c := newCache(2)
	var a, b, d sum
	a[0], b[0], d[0] = 1, 2, 3
	c.put(a, Result{Flagged: true})
	c.put(b, Result{})
	c.get(a)
	c.put(d, Result{})
	c.put(a, Result{})
	_, hasB := c.get(b)
	r, hasA := c.get(a)
	if hasB || !hasA || !r.Flagged || len(c.by) != 2 || c.used.Len() != 2 {
		t.Errorf("%v %v %v %d", hasA, hasB, r, len(c.by))
	}
}

// TestTogether is for the race detector.
func TestTogether(t *testing.T) {
	c := client(t, &service{}, Options{Cache: 8})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 10 {
				if r, err := c.Check(t.Context(), []string{fmt.Sprintf("bad %d", (g+i)%12), "fine"}); err != nil || !r.Flagged {
					t.Errorf("%v %v", r, err)
				}
			}
		})
	}
	all.Wait()
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"results":[{"flagged":true,"categories":{"hate":true},"category_scores":{"hate":0.9,"x/y":1e-9}}]}`))
	f.Add([]byte(`{"results":[{"flagged":false,"categories":{"hate":null},"category_scores":{"hate":0.9}}]}`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		out, err := parse(answer, 1)
		if err != nil {
			return
		}
		for name, score := range out[0].Categories {
			if score < 0 || score > 1 || len(name) > maxName {
				t.Fatalf("%q %v", name, score)
			}
		}
		if len(out) != 1 || len(out[0].Categories) == 0 {
			t.Fatalf("%q: %v", answer, out)
		}
		if v := screen.FromModeration(out[0].Categories, nil, screen.Block); out[0].Flagged && v.Action != screen.Block {
			t.Fatalf("%q is flagged and passes: %+v", answer, out)
		}
	})
}
