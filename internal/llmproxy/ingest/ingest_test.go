package ingest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

type book struct {
	mu     sync.Mutex
	events []record.Event
	full   int // refuses when it has so many
}

func (b *book) Append(_ context.Context, e record.Event) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.full > 0 && len(b.events) >= b.full {
		return 0, errors.New("database /secret/state.db is full")
	}
	b.events = append(b.events, e)
	return int64(len(b.events)), nil
}

func bearer(r *http.Request) (string, error) {
	switch r.Header.Get("Authorization") {
	case "Bearer good":
		return "key:k1", nil
	case "Bearer slow":
		return "", fault.New("x", fault.Budget, "too fast")
	case "Bearer broken":
		return "", errors.New("database /secret/state.db is locked")
	}
	return "", fault.New("x", fault.Denied, "key k9 was revoked by root")
}

func post(h http.Handler, kind, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, Path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer good")
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const jsonType = "application/json"

// TestExamples: the events of the seed's own pages are taken as they are sent.
func TestExamples(t *testing.T) {
	src := func(m map[string]any) map[string]any { m["source"] = "key:k1"; return m }
	one := `{"event_type":"ai_error","data":{"error_type":"ValueError","error_message":"boom"},"channel":"LLM","level":"error"}`
	two := `{"event_type":"content_moderation","data":{"content":"x","decision":"blocked","reason":"harmful content","alert":"dangerous"},"channel":"SECURITY","level":"warning"}`
	three := `{"event_type":"user_authentication","data":{"username":"bob","success":false},"channel":"SECURITY","level":"WARNING"}`
	want := []record.Event{
		{Type: "ai_error", Channel: "LLM", Level: "error", Alert: "none", Data: src(map[string]any{"error_type": "ValueError", "error_message": "boom"})},
		{Type: "content_moderation", Channel: "SECURITY", Level: "warning", Alert: "dangerous", Data: src(map[string]any{"content": "x", "decision": "blocked", "reason": "harmful content", "alert": "dangerous"})},
		{Type: "user_authentication", Channel: "SECURITY", Level: "warning", Alert: "none", Data: src(map[string]any{"username": "bob", "success": false})},
	}
	for name, tt := range map[string]struct {
		kind, body string
		want       []record.Event
	}{
		"one":         {jsonType, one, want[:1]},
		"a list":      {jsonType + "; charset=utf-8", " [" + one + "," + two + ",\n" + three + "] ", want},
		"lines":       {"application/x-ndjson", one + "\n\n" + two + "\r\n" + three, want},
		"only a name": {jsonType, `{"event_type":"a.b:c-d_E1"}`, []record.Event{{Type: "a.b:c-d_E1", Channel: "API", Level: "info", Alert: "none", Data: map[string]any{"source": "key:k1"}}}},
	} {
		b := &book{}
		w := post(Handler(bearer, b, Options{}), tt.kind, tt.body)
		if w.Code != http.StatusAccepted || strings.TrimSpace(w.Body.String()) != fmt.Sprintf(`{"accepted":%d}`, len(tt.want)) {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
		if d := cmp.Diff(tt.want, b.events); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRefused(t *testing.T) {
	e := func(s string) string { return `{"event_type":"x",` + s + `}` }
	tests := map[string]struct {
		kind, body string
		status     int
		says       string
	}{
		"empty":                {jsonType, ``, 400, "must be one event"},
		"empty list":           {jsonType, `[]`, 400, "no event"},
		"no lines":             {"application/x-ndjson", "\n\n", 400, "no event"},
		"cut off":              {jsonType, `{"event_type":"x"`, 400, "strict JSON"},
		"a number":             {jsonType, `1`, 400, "strict JSON"},
		"two objects":          {jsonType, `{"event_type":"x"}{"event_type":"x"}`, 400, "strict JSON"},
		"list and more":        {jsonType, `[{"event_type":"x"}] 1`, 400, "strict JSON"},
		"list that escapes":    {jsonType, `[{"event_type":"x"}],"m":[1]`, 400, "strict JSON"},
		"list closed twice":    {jsonType, `[]}{"l":[{"event_type":"x"}]`, 400, "strict JSON"},
		"key twice":            {jsonType, e(`"event_type":"y"`), 400, "strict JSON"},
		"key twice, hidden":    {jsonType, e(`"\u0065vent_type":"y"`), 400, "strict JSON"},
		"key twice in data":    {jsonType, e(`"data":{"alert":"none","alert":"dangerous"}`), 400, "strict JSON"},
		"invalid UTF-8":        {jsonType, e(`"data":{"x":"` + "\xff" + `"}`), 400, "strict JSON"},
		"inexact number":       {jsonType, e(`"data":{"x":12345678901234567890}`), 400, "strict JSON"},
		"bad second line":      {"application/x-ndjson", `{"event_type":"x"}` + "\nfoo", 400, "event 2"},
		"a list as line":       {"application/x-ndjson", `[{"event_type":"x"}]`, 400, "event 1"},
		"no name":              {jsonType, `{"data":{}}`, 422, "event_type"},
		"name with space":      {jsonType, `{"event_type":"a b"}`, 422, "event_type"},
		"name with line break": {jsonType, `{"event_type":"a\n"}`, 422, "event_type"},
		"name too long":        {jsonType, `{"event_type":"` + strings.Repeat("a", 65) + `"}`, 422, "event_type"},
		"name is a number":     {jsonType, `{"event_type":1}`, 422, "event_type"},
		"unknown key":          {jsonType, e(`"agent_id":"sarah"`), 422, "only event_type"},
		"positional list":      {jsonType, `[["x",{},"LLM","error"]]`, 422, "must be an object"},
		"channel is null":      {jsonType, e(`"channel":null`), 422, "channel"},
		"channel is ours":      {jsonType, e(`"channel":"operator"`), 422, "not OPERATOR"},
		"channel with space":   {jsonType, e(`"channel":"a b"`), 422, "channel"},
		"level unknown":        {jsonType, e(`"level":"loud"`), 422, "level"},
		"level is a number":    {jsonType, e(`"level":1`), 422, "level"},
		"data is a list":       {jsonType, e(`"data":[]`), 422, "data"},
		"alert unknown":        {jsonType, e(`"data":{"alert":"critical"}`), 422, "data.alert"},
		"alert is a list":      {jsonType, e(`"data":{"alert":["none"]}`), 422, "data.alert"},
		"source is ours":       {jsonType, e(`"data":{"source":"key:other"}`), 422, "data.source"},
		"deep":                 {jsonType, e(`"data":{"x":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`), 422, "deep"},
		"second is bad":        {jsonType, `[{"event_type":"x"},{"event_type":"session.end"}]`, 422, "event 2"},
		"compressed kind":      {"application/gzip", ``, 415, "application/json"},
		"no kind":              {"", `{"event_type":"x"}`, 415, "application/json"},
		"other charset":        {"application/json; charset=utf-16", `{"event_type":"x"}`, 415, "UTF-8"},
		"too many":             {jsonType, `[` + strings.Repeat(`{"event_type":"x"},`, 10) + `{"event_type":"x"}]`, 413, "more than 10"},
		"too many lines":       {"application/x-ndjson", strings.Repeat(`{"event_type":"x"}`+"\n", 11), 413, "more than 10"},
		"too large":            {jsonType, e(`"data":{"x":"` + strings.Repeat("a", 8<<10) + `"}`), 413, "larger than"},
	}
	for name, tt := range tests {
		b := &book{}
		w := post(Handler(bearer, b, Options{MaxEvents: 10, MaxBody: 8 << 10}), tt.kind, tt.body)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s, want %d with %q", name, w.Code, w.Body, tt.status, tt.says)
		}
		if len(b.events) != 0 {
			t.Errorf("%s: %d events of a refused request were recorded", name, len(b.events))
		}
	}
}

func TestHeaderRefused(t *testing.T) {
	h := Handler(bearer, &book{}, Options{})
	for name, tt := range map[string]struct {
		method, auth, encoding string
		status                 int
		header                 string
	}{
		"no key":     {"POST", "", "", 401, "Www-Authenticate"},
		"bad key":    {"POST", "Bearer bad", "", 401, "Www-Authenticate"},
		"too fast":   {"POST", "Bearer slow", "", 429, "Retry-After"},
		"broken":     {"POST", "Bearer broken", "", 503, "Connection"},
		"GET":        {"GET", "Bearer good", "", 405, "Allow"},
		"compressed": {"POST", "Bearer good", "gzip", 415, "Connection"},
	} {
		r := httptest.NewRequest(tt.method, Path, strings.NewReader(`{"event_type":"x"}`))
		r.Header.Set("Authorization", tt.auth)
		r.Header.Set("Content-Type", jsonType)
		if tt.encoding != "" {
			r.Header.Set("Content-Encoding", tt.encoding)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || w.Header().Get(tt.header) == "" {
			t.Errorf("%s: %d %v, want %d and %s", name, w.Code, w.Header(), tt.status, tt.header)
		}
		for _, secret := range []string{"/secret", "revoked", "root", "k9"} {
			if strings.Contains(w.Body.String(), secret) {
				t.Errorf("%s: the answer tells %q: %s", name, secret, w.Body)
			}
		}
	}
}

// TestAuthBeforeBody: a client without a key is answered though its body never
// comes, over a real connection.
func TestAuthBeforeBody(t *testing.T) {
	srv := httptest.NewServer(Handler(bearer, &book{}, Options{}))
	defer srv.Close()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n", Path)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !resp.Close {
		t.Fatalf("%v: %v", resp, err)
	}
	resp.Body.Close()
}

// TestSlowBody: a body that does not come is given up.
func TestSlowBody(t *testing.T) {
	srv := httptest.NewServer(Handler(bearer, &book{}, Options{Patience: 50 * time.Millisecond}))
	defer srv.Close()
	r, w := io.Pipe()
	defer w.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+Path, r)
	req.Header.Set("Authorization", "Bearer good")
	req.Header.Set("Content-Type", jsonType)
	resp, err := srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("status %d, want 408", resp.StatusCode)
	}
}

// TestLengthUnknown: a body that does not say how long it is is bounded too.
func TestLengthUnknown(t *testing.T) {
	b := &book{}
	body := io.MultiReader(strings.NewReader(`{"event_type":"x","data":{"x":"`), strings.NewReader(strings.Repeat("a", 8<<10)+`"}}`))
	r := httptest.NewRequest(http.MethodPost, Path, body)
	r.ContentLength = -1
	r.Header.Set("Authorization", "Bearer good")
	r.Header.Set("Content-Type", jsonType)
	w := httptest.NewRecorder()
	Handler(bearer, b, Options{MaxBody: 8 << 10}).ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge || len(b.events) != 0 {
		t.Errorf("%d %s, %d events", w.Code, w.Body, len(b.events))
	}
}

func TestFullLog(t *testing.T) {
	b := &book{full: 2}
	w := post(Handler(bearer, b, Options{}), jsonType, `[{"event_type":"x"},{"event_type":"x"},{"event_type":"x"}]`)
	if w.Code != 503 || !strings.Contains(w.Body.String(), `"accepted":2`) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestPace(t *testing.T) {
	now := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	b := &book{}
	h := Handler(bearer, b, Options{PerMinute: 60, Now: func() time.Time { return now }})
	three := `[{"event_type":"x"},{"event_type":"x"},{"event_type":"x"}]`
	for i := range 20 {
		if w := post(h, jsonType, three); w.Code != 202 {
			t.Fatalf("request %d: %d", i, w.Code)
		}
	}
	w := post(h, jsonType, three)
	if w.Code != 429 || w.Header().Get("Retry-After") != "3" || len(b.events) != 60 {
		t.Errorf("%d, wait %s, %d events", w.Code, w.Header().Get("Retry-After"), len(b.events))
	}
	now = now.Add(2900 * time.Millisecond)
	if w := post(h, jsonType, three); w.Code != 429 {
		t.Errorf("too early: %d", w.Code)
	}
	now = now.Add(200 * time.Millisecond)
	if w := post(h, jsonType, three); w.Code != 202 {
		t.Errorf("after the wait: %d", w.Code)
	}
	p := newPace(10, func() time.Time { return now })
	for i := range 2 * maxSources {
		p.take(fmt.Sprint(i), 1)
	}
	if len(p.seen) > maxSources {
		t.Errorf("%d sources are remembered", len(p.seen))
	}
}

// TestReserved: every name of an event that this program's sources write is
// refused from others, in any case.
func TestReserved(t *testing.T) {
	for _, own := range []string{"LLM_call_start", "llm_CALL_blocked", "MCP_tool_call_finish", "Session.End", "alert.raised"} {
		if !Reserved(own) {
			t.Errorf("%s is not reserved", own)
		}
	}
	for _, row := range action.Kinds() {
		if !Reserved(string(row.Kind) + ".blocked") {
			t.Errorf("%s.blocked is not reserved", row.Kind)
		}
	}
	for _, free := range []string{"ai_error", "content_moderation", "user_authentication", "app.session", "LLM_patch", "monitoring_enabled", "anthropic_request"} {
		if Reserved(free) {
			t.Errorf("%s is reserved", free)
		}
	}
	literal := regexp.MustCompile(`(?:Type:\s*|typ = |journal\(ctx, |Event\w+\s+= )"([a-z_]+\.[a-z_.]+)"`)
	found := 0
	err := filepath.WalkDir("../..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		src, err := os.ReadFile(path)
		for _, m := range literal.FindAllSubmatch(src, -1) {
			found++
			if !Reserved(string(m[1])) {
				t.Errorf("%s writes %s, which is not reserved", path, m[1])
			}
		}
		return err
	})
	if err != nil || found < 20 {
		t.Errorf("%d names were found: %v", found, err)
	}
}

func FuzzIngest(f *testing.F) {
	for _, s := range []string{
		`{"event_type":"ai_error","data":{"alert":"none"},"level":"error"}`, `[{"event_type":"x"}]`, `[1],"l":[2]`, "{}\n{}", `[]}{"l":[]`, `{"event_type":"alert.x"}`,
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, body []byte, lines bool) {
		events, err := parse(body, lines, 100, "key:k1")
		if err != nil {
			p, ok := errors.AsType[*problem](err)
			if !ok || p.status < 400 || p.status > 499 {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(events) == 0 || len(events) > 100 {
			t.Fatalf("%d events", len(events))
		}
		if !lines && !json.Valid(body) {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
		for _, e := range events {
			if !name.MatchString(e.Type) || Reserved(e.Type) || e.Data["source"] != "key:k1" || e.Agent != "" || e.Session != "" || !name.MatchString(e.Channel) {
				t.Fatalf("accepted %+v", e)
			}
			if a, given := e.Data["alert"]; given && a != e.Alert {
				t.Fatalf("alert %v is recorded as %s", a, e.Alert)
			}
		}
	})
}
