package clients

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"sallyport/internal/llmproxy/stream"
	"sallyport/internal/llmproxy/wire"
	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// apis are the forms as the proxy calls them.
var apis = map[string]wire.API{"chat": wire.Chat, "responses": wire.Responses, "messages": wire.Messages, "gemini": wire.Gemini}

// reason is one for which no SDK may try again.
var reason = wire.Reason{Rule: launch.Rule, Because: "the word \"x\" was found; change it in sallyport.yaml to permit it"}

// ended gives a stream that the proxy ends: after its first n events.
func ended(t *testing.T, c client, n int) string {
	t.Helper()
	b, err := modelserver.Render(c.form, modelserver.Reply{Text: "Look. ", Model: "m", Usage: usage}, true)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	m := stream.New(stream.Options{API: apis[c.api], Client: wire.SDK, Out: func(p []byte) error { _, err := out.Write(p); return err }})
	_, err = m.Write(bytes.Join(bytes.SplitAfterN(b, []byte("\n\n"), n+1)[:n], nil))
	if err := errors.Join(err, m.Fail(reason)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestAnswers: what the proxy writes itself is understood by every SDK: the rule
// is seen, at once or wherever a stream is ended, and nobody tries again.
func TestAnswers(t *testing.T) {
	installed(t)
	for _, c := range clients() {
		for _, mode := range modes {
			t.Run(c.name()+"/"+mode, func(t *testing.T) {
				t.Parallel()
				a := wire.Refuse(apis[c.api], wire.SDK, reason)
				body := string(a.Body)
				reply := modelserver.Reply{Status: a.Status, Body: &body, Headers: map[string]string{}}
				for name := range a.Header {
					reply.Headers[name] = a.Header.Get(name)
				}
				seen(t, c, mode, reply)
				if mode == "stream" {
					for n := range 4 {
						body := ended(t, c, n)
						seen(t, c, mode, modelserver.Reply{Body: &body})
					}
				}
			})
		}
	}
}

func seen(t *testing.T, c client, mode string, reply modelserver.Reply) {
	t.Helper()
	l := newLab(t, reply, reply, reply)
	r := c.drive(t, l.dir, l.model.URL, modelKey, mode)
	if !strings.Contains(r.Text+r.Error+r.Detail, launch.Rule) || r.Requests != 1 {
		t.Errorf("after %d requests the client says %q %q %q", r.Requests, r.Text, r.Error, r.Detail)
	}
}

// TestSignsOfLife: what keeps a stream alive disturbs no SDK.
func TestSignsOfLife(t *testing.T) {
	installed(t)
	for _, c := range clients() {
		t.Run(c.name(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t,
				modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", "touch one.txt")}, Usage: usage, Between: string(wire.KeepAlive(apis[c.api]))},
				modelserver.Reply{Text: "All is done.", Usage: usage})
			r := c.drive(t, l.dir, l.model.URL, modelKey, "stream")
			if r.Error != "" || r.Text != "Look. All is done." || len(l.made(t)) != 1 {
				t.Errorf("the client says %q, %q", r.Text, r.Error)
			}
		})
	}
}
