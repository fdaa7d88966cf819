package clients

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// TestTransparent: the model is sent the client's own bytes, whatever the
// conversation held, and told who the client is.
func TestTransparent(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if !col.judged {
			t.Skip("what the proxy sends is held against this")
		}
		var seen [2][]modelserver.Request
		for i, open := range []func(*testing.T, *lab) (string, string){columns()[0].open, col.open} {
			l := newLab(t,
				modelserver.Reply{Text: "é \U0001f600 <&> \u2028. ", Think: "hm", Calls: []modelserver.Call{call("call_a", "printf '\\377\\303\\251'")}, Usage: usage},
				modelserver.Reply{Text: "All is done.", Usage: usage})
			base, key := open(t, l)
			if r := c.drive(t, l.dir, base, key, mode); r.Error != "" {
				t.Fatal(r.Error)
			}
			seen[i] = l.model.Requests()
		}
		if len(seen[0]) != 2 || len(seen[1]) != 2 {
			t.Fatalf("%d and %d requests", len(seen[0]), len(seen[1]))
		}
		for i, direct := range seen[0] {
			through := seen[1][i]
			if d := cmp.Diff(string(direct.Body), string(through.Body)); d != "" {
				t.Errorf("body %d (-direct +through)\n%s", i, d)
			}
			if direct.Path != through.Path || direct.Query != through.Query {
				t.Errorf("%s?%s became %s?%s", direct.Path, direct.Query, through.Path, through.Query)
			}
			for name, values := range direct.Header {
				// The proxy has a key of its own, and reads what it judges unpacked.
				if slices.Contains([]string{"Accept-Encoding", "Authorization", "X-Api-Key", "X-Goog-Api-Key", "Connection", "Keep-Alive"}, name) {
					continue
				}
				if d := cmp.Diff(values, through.Header[name]); d != "" {
					t.Errorf("header %s (-direct +through)\n%s", name, d)
				}
			}
		}
	})
}

// TestUnasked: who streams a chat without asking for its usage gets none, and it
// is counted all the same.
func TestUnasked(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if c.api != "chat" || mode != "stream" {
			t.Skip("only this API lets a client do without")
		}
		l := newLab(t, modelserver.Reply{Text: "All is done.", Usage: &scripted[3]})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, "bare")
		if d := cmp.Diff([]map[string]int64{nil}, r.Usage); d != "" || r.Error != "" {
			t.Errorf("usage (-want +got)\n%serror %q", d, r.Error)
		}
		if l.proxy != nil {
			counted(t, l.proxy, c, 1, scripted[3])
		}
	})
}

// TestFlood: a reply with more calls than anybody may make is stopped as a
// whole; without a proxy all are made.
func TestFlood(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		l := newLab(t,
			modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{{ID: "call", Name: "no-such-tool", Args: `{"command":"x"}`}}, Repeat: 10_000, Usage: usage},
			modelserver.Reply{Text: "All is done.", Usage: usage})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if !col.judged {
			// OpenAI's JavaScript SDK streams no more than 128.
			if len(r.Calls) <= 100 {
				t.Errorf("only %d calls, error %q", len(r.Calls), r.Error)
			}
			return
		}
		if len(r.Calls) > 100 || r.Requests > 2 {
			t.Errorf("%d calls were handed over in %d requests", len(r.Calls), r.Requests)
		}
	})
}

// TestCut: a reply that breaks off inside a call is an error for the client, and
// the half of a call is no call.
func TestCut(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		reply := modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", "touch one.txt")}, Usage: usage}
		b, err := modelserver.Render(c.form, reply, mode == "stream")
		if err != nil {
			t.Fatal(err)
		}
		reply.CutAfter = strings.Index(string(b), "touch") + 3
		if c.api == "gemini" || mode == "plain" || reply.CutAfter < 3 {
			reply.CutAfter = len(b) / 2
		}
		l := newLab(t, reply, reply, reply, modelserver.Reply{Status: 400, Error: &modelserver.Failure{Type: "invalid_request_error", Message: "enough"}})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if r.Error == "" || len(l.made(t)) > 0 {
			t.Errorf("error %q, effects %q", r.Error, l.made(t))
		}
	})
}

// TestAsked: what needs somebody's yes, and gets none in time, has no effect, and
// the client learns how to get it.
func TestAsked(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		l := newLab(t,
			modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", "touch denied.txt; : "+launch.Doubtful)}, Usage: usage},
			modelserver.Reply{Text: "All is done.", Usage: usage})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if done := slices.Contains(l.made(t), "denied.txt"); done == col.judged {
			t.Errorf("done: %t, error %q", done, r.Error)
		}
		if said := r.Text + r.Error + r.Detail; col.judged && (!strings.Contains(said, "approve it as") || r.Requests != 1) {
			t.Errorf("after %d requests the client says %q", r.Requests, said)
		}
	})
}

// TestUpstreamKey: an upstream that tells its key to the client is not passed on
// as it is.
func TestUpstreamKey(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		l := newLab(t, modelserver.Reply{Status: 401, EchoKey: true})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		said := r.Text + r.Error + r.Detail
		// OpenAI's Go SDK shows no message at all; what it holds besides does.
		if leaked := strings.Contains(said, modelKey); r.Error == "" || leaked == col.judged {
			t.Errorf("leaked: %t: %q", leaked, said)
		}
	})
}

// TestLyingUsage: figures that cannot be are not counted as they are, and do not
// disturb the client more than without a proxy.
func TestLyingUsage(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if !col.judged {
			t.Skip("nobody counts")
		}
		long := strings.Repeat("a long answer ", 1000)
		lie := map[string]string{
			"chat":      `{"prompt_tokens":-5,"completion_tokens":-7,"total_tokens":-12}`,
			"responses": `{"input_tokens":-5,"output_tokens":-7,"total_tokens":-12}`,
			"messages":  `{"input_tokens":-5,"output_tokens":-7}`,
			"gemini":    `{"promptTokenCount":-5,"candidatesTokenCount":-7,"totalTokenCount":-12}`,
		}[c.api]
		l := newLab(t, modelserver.Reply{Text: long, Pieces: 500, Usage: &modelserver.Usage{Input: 1}, RawUsage: json.RawMessage(lie)})
		base, key := col.open(t, l)
		if r := c.drive(t, l.dir, base, key, mode); r.Error != "" || r.Text != long {
			t.Errorf("%d bytes of text, error %q", len(r.Text), r.Error)
		}
		l.proxy.Stop(t)
		ends := 0
		for _, e := range l.proxy.Events(t) {
			if e.Data.Kind != "model.call" || e.Data.Status == "" {
				continue
			}
			ends++
			if u := e.Data.Result.Usage; u.Input <= 0 || u.Output < 1000 {
				t.Errorf("%d bytes of text are counted as %+v", len(long), u)
			}
		}
		if ends != 1 {
			t.Errorf("the log tells of %d ends", ends)
		}
	})
}

// TestKilled: a proxy that dies while a call is held leaves the client with an
// error and without the call; the log is whole afterwards and tells of it.
func TestKilled(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if !col.judged || mode == "plain" {
			t.Skip("about the proxy's streams")
		}
		stalled := modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", "touch denied.txt")}, Usage: usage}
		b, err := modelserver.Render(c.form, stalled, true)
		if err != nil {
			t.Fatal(err)
		}
		stalled.Stall, stalled.StallAt = modelserver.Duration(time.Minute), strings.Index(string(b), "touch")
		l := newLab(t, stalled)
		base, key := col.open(t, l)
		killed := make(chan struct{})
		go func() {
			defer close(killed)
			for len(l.model.Requests()) == 0 && t.Context().Err() == nil {
				time.Sleep(time.Millisecond) // the fake has no event for it
			}
			l.proxy.Kill()
		}()
		r := c.drive(t, l.dir, base, key, mode)
		<-killed
		<-l.proxy.Ended
		if r.Error == "" || len(l.made(t)) > 0 || len(r.Calls) > 0 {
			t.Errorf("error %q, calls %q, effects %q", r.Error, r.commands(), l.made(t))
		}
		l.proxy.Start(t)
		l.proxy.Stop(t)
		l.proxy.Run(t, "verify")
		if !slices.ContainsFunc(l.proxy.Events(t), func(e launch.Event) bool { return e.Data.Kind == "model.call" && e.Data.Status == "unknown" }) {
			t.Errorf("the log does not tell that the call's end is unknown: %v", l.proxy.Events(t))
		}
	})
}

// TestStrangers: who has no key, an old key or the wrong protocol gets a clear
// answer, and the model hears nothing.
func TestStrangers(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if !col.judged {
			t.Skip("about the proxy")
		}
		l := newLab(t)
		base, _ := col.open(t, l)
		r := c.drive(t, l.dir, base, "sallyport_nobody", mode)
		if r.Error == "" || r.Requests != 1 || len(l.model.Requests()) > 0 {
			t.Errorf("after %d requests, %d of them forwarded: %q", r.Requests, len(l.model.Requests()), r.Error)
		}
	})
}

// TestUpgrade: a WebSocket is answered so that clients fall back to HTTP, and
// what is no known API is not forwarded.
func TestUpgrade(t *testing.T) {
	installed(t)
	l := newLab(t)
	base, key := openProxy(t, l)
	for path, want := range map[string]int{"/v1/responses": http.StatusUpgradeRequired, "/v1/realtime": http.StatusUpgradeRequired} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{
			"Authorization": "Bearer " + key, "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
		} {
			q.Header.Set(k, v)
		}
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s %s", path, resp.Status, b)
		}
	}
	if others := l.model.Others(); len(others) > 0 {
		t.Errorf("the model was asked %s %s", others[0].Method, others[0].Path)
	}
}
