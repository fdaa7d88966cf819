package clients

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// TestTextIsExecuted: NAISYS runs what a reply says. A client whose key says
// that it is NAISYS gets no text that is forbidden, and what it gets instead does
// nothing: each line is a comment, or there is an error and no text at all.
func TestTextIsExecuted(t *testing.T) {
	eachGo(t, func(t *testing.T, c client, mode string) {
		for _, word := range []string{launch.Forbidden, launch.Doubtful} {
			l := newLab(t, modelserver.Reply{Text: "ls\ntouch denied.txt; : " + word, Usage: usage}, modelserver.Reply{Text: "ls -l\n", Usage: usage})
			base, _ := openProxy(t, l)
			var v struct{ Token string }
			if err := json.Unmarshal([]byte(l.proxy.Run(t, "keys", "create", "naisys", "--agent", "coder", "--client", "naisys", "--json")), &v); err != nil {
				t.Fatal(err)
			}
			r := c.drive(t, l.dir, base, v.Token, mode)
			said := strings.Split(strings.TrimSpace(r.Text), "\n")
			if i := slices.IndexFunc(said, func(s string) bool { return s != "" && !strings.HasPrefix(s, "#") }); i >= 0 {
				t.Errorf("the client would execute %q of %q", said[i], r.Text)
			}
			if mode == "plain" && r.Text == "" && !strings.Contains(r.Error, "400") {
				t.Errorf("no text and no status 400: %q", r.Error)
			}
			if all := r.Text + r.Error + r.Detail; !strings.Contains(all, "# Blocked by Sallyport") || r.Requests != 1 {
				t.Errorf("after %d requests the client is told %q", r.Requests, all)
			}
			if r := c.drive(t, l.dir, base, v.Token, mode); r.Error != "" || r.Text != "ls -l\n" {
				t.Errorf("honest text came as %q, %q", r.Text, r.Error)
			}
		}
	})
}

// TestForbiddenText: what a model may not say is not shown, wherever in a stream
// it comes; the client is told a rule and does not ask again.
func TestForbiddenText(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		for _, text := range []string{launch.Forbidden + " is said.", "Some words before " + launch.Forbidden + " and behind."} {
			l := newLab(t, modelserver.Reply{Text: text, Pieces: 50, Usage: usage}, modelserver.Reply{Text: "Once more.", Usage: usage})
			base, key := col.open(t, l)
			r := c.drive(t, l.dir, base, key, mode)
			if shown := strings.Contains(r.Text, launch.Forbidden); shown == col.judged {
				t.Errorf("shown: %t: %q", shown, r.Text)
			}
			if told := strings.Contains(r.Text+r.Error+r.Detail, "Blocked by Sallyport (rule "); told != col.judged || r.Requests != 1 {
				t.Errorf("after %d requests the client is told %q %q %q", r.Requests, r.Text, r.Error, r.Detail)
			}
		}
	})
}
