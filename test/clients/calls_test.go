package clients

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/clients/launch"
	"sallyport/test/fakes/modelserver"
)

// deny is a command that has an effect and must be denied.
func deny(file string) string { return "touch " + file + ".txt; : " + launch.Forbidden }

// TestHonestWork: what nobody forbids is done, and the model hears of it.
func TestHonestWork(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		l := newLab(t,
			modelserver.Reply{Text: "First. ", Calls: []modelserver.Call{call("call_a", "echo one-4711 | tee one.txt")}, Usage: usage},
			modelserver.Reply{Think: "hm", Calls: []modelserver.Call{call("call_b", "touch two.txt"), call("call_c", "cat one.txt; touch three.txt")}, Usage: usage},
			modelserver.Reply{Text: "All is done.", Usage: usage})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if r.Error != "" || r.Text != "First. All is done." || r.Requests != 3 || len(r.Calls) != 3 {
			t.Errorf("the client said %q after %d requests and %d calls, error %q %s", r.Text, r.Requests, len(r.Calls), r.Error, r.Detail)
		}
		if d := cmp.Diff([]string{"one.txt", "three.txt", "two.txt"}, l.made(t)); d != "" {
			t.Errorf("effects (-want +got)\n%s", d)
		}
		asked := l.model.Requests()
		if len(asked) != 3 {
			t.Fatalf("the model was asked %d times", len(asked))
		}
		for i, q := range asked {
			if q.Form != c.form || q.Key != modelKey || q.Stream != (mode == "stream") {
				t.Errorf("request %d came as %s, stream %t, with the key %q", i, q.Form, q.Stream, q.Key)
			}
			if heard := strings.Count(string(q.Body), "one-4711"); heard < i {
				t.Errorf("request %d has the first call's output %d times", i, heard)
			}
		}
	})
}

// TestForbidden: a command that the policy forbids has no effect, the client is
// told by which rule, and it does not ask again.
func TestForbidden(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		l := newLab(t,
			modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{call("call_a", deny("denied"))}, Usage: usage},
			modelserver.Reply{Text: "All is done.", Usage: usage}, modelserver.Reply{Text: "Once more.", Usage: usage})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if !col.judged {
			if d := cmp.Diff([]string{"denied.txt"}, l.made(t)); d != "" || r.Error != "" {
				t.Errorf("without a proxy the attack must work (-want +got)\n%s%s", d, r.Error)
			}
			return
		}
		l.refused(t, r)
		if r.Requests != 1 {
			t.Errorf("one block took %d requests", r.Requests)
		}
	})
}

// refused checks that nothing forbidden was done and that the rule was shown.
func (l *lab) refused(t *testing.T, r report) {
	t.Helper()
	if made := l.made(t); slices.ContainsFunc(made, func(s string) bool { return strings.HasPrefix(s, "denied") }) {
		t.Errorf("denied, but there is %q", made)
	}
	if i := slices.IndexFunc(r.commands(), func(s string) bool { return strings.Contains(s, launch.Forbidden) }); i >= 0 {
		t.Errorf("the client was handed %q", r.Calls[i].Command)
	}
	if !strings.Contains(r.Text+r.Error+r.Detail, launch.Rule) {
		t.Errorf("nothing names %s: text %q, error %q %s", launch.Rule, r.Text, r.Error, r.Detail)
	}
}

// TestOneOfSeveral: of parallel calls the forbidden one is left out, the others
// are done, and the conversation goes on.
func TestOneOfSeveral(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		l := newLab(t,
			modelserver.Reply{Text: "Look. ", Interleave: true, ArgPieces: 3, Usage: usage, Calls: []modelserver.Call{
				call("call_a", "touch one.txt"), call("call_b", deny("denied")), call("call_c", "touch two.txt"),
			}},
			modelserver.Reply{Text: "All is done.", Usage: usage})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		want := []string{"denied.txt", "one.txt", "two.txt"}
		if col.judged {
			want = want[1:]
			l.refused(t, r)
		}
		if d := cmp.Diff(want, l.made(t)); d != "" {
			t.Errorf("effects (-want +got)\n%s", d)
		}
		if r.Error != "" || !strings.HasSuffix(r.Text, "All is done.") || r.Requests != 2 {
			t.Errorf("the client said %q after %d requests, error %q %s", r.Text, r.Requests, r.Error, r.Detail)
		}
	})
}

// tongues are the places of a stream where an SDK believes what a reply says
// about a call, besides the pieces of its arguments. Arguments that come with the
// first event are believed only if no others follow.
func (c client) tongues() []string {
	switch c.name() {
	case "js/responses", "go/responses":
		return []string{"done", "item", "completed"}
	case "js/chat", "go/chat", "js/messages", "go/messages":
		return []string{"added"}
	}
	return nil
}

// TestTwoTongues: a reply that says a call's arguments differently at different
// places cannot smuggle one of them past the judge.
func TestTwoTongues(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if mode == "plain" || c.tongues() == nil {
			t.Skip("this API says a call once")
		}
		for _, place := range c.tongues() {
			says := call("call_a", "touch one.txt")
			says.Places = map[string]string{place: call("call_a", deny("denied")).Args}
			if place == "added" {
				says.Args = ""
			}
			l := newLab(t, modelserver.Reply{Text: "Look. ", Calls: []modelserver.Call{says}, Usage: usage}, modelserver.Reply{Text: "All is done.", Usage: usage})
			base, key := col.open(t, l)
			r := c.drive(t, l.dir, base, key, mode)
			if done := slices.Contains(l.made(t), "denied.txt"); done == col.judged {
				t.Errorf("said only at %q, it was done: %t; commands %q, error %q", place, done, r.commands(), r.Error)
			}
		}
	})
}

// TestOtherChoices: a call in a choice or candidate that is not the first is a
// call like any other.
func TestOtherChoices(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if c.api != "chat" && c.api != "gemini" {
			t.Skip("this API has one choice")
		}
		l := newLab(t,
			modelserver.Reply{Text: "Look. ", Usage: usage, Also: []modelserver.Reply{{Text: "Or so. ", Calls: []modelserver.Call{call("call_b", deny("denied"))}}}},
			modelserver.Reply{Text: "All is done.", Usage: usage})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if done := slices.Contains(l.made(t), "denied.txt"); done == col.judged {
			t.Errorf("the command was done: %t; commands %q, error %q", done, r.commands(), r.Error)
		}
	})
}

// between are texts that must not disturb the readers of an API's streams. A
// comment ends those of Gemini's Go SDK, and an event of an unknown name those of
// OpenAI's JavaScript SDK.
func between(api string) []string {
	const comment, future = ": still here\n\n", "id: 7\nretry: 1000\nevent: future\ndata: {\"type\":\"future\",\ndata: \"n\":1}\n\n"
	switch api {
	case "chat", "responses":
		return []string{comment, "\n\n"}
	case "messages":
		return []string{comment, "\n\n", future, "event: ping\ndata: {\"type\":\"ping\"}\n\n"}
	}
	return []string{"\n\n"}
}

// TestShapes: however a server writes, cuts and compresses a reply, the client
// understands the same.
func TestShapes(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		shapes := []modelserver.Reply{
			{Chunk: 1}, {Chunk: 2, CRLF: true}, {Chunk: 7, ArgPieces: 1}, {Chunk: 11, Gzip: true}, {Pieces: 1000, ArgPieces: 1000},
		}
		for _, b := range between(c.api) {
			shapes = append(shapes, modelserver.Reply{Chunk: 3, Between: b})
		}
		var replies []modelserver.Reply
		var want []string
		said := ""
		for i, s := range shapes {
			file := string(rune('a'+i)) + ".txt"
			s.Text, s.Usage, s.Think = "Größe \U0001f600 \"q\" \\ "+file+". ", usage, "hm"
			s.Calls = []modelserver.Call{call("call_"+file[:1], "echo '\u00e9\U0001f600\"' > "+file)}
			replies, want, said = append(replies, s), append(want, file), said+s.Text
		}
		l := newLab(t, append(replies, modelserver.Reply{Text: "All is done.", Usage: usage})...)
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if d := cmp.Diff(want, l.made(t)); d != "" {
			t.Errorf("effects (-want +got)\n%s", d)
		}
		if d := cmp.Diff(said+"All is done.", r.Text); d != "" || r.Error != "" || r.Requests != len(shapes)+1 {
			t.Errorf("text (-want +got)\n%s%d requests, error %q %s", d, r.Requests, r.Error, r.Detail)
		}
	})
}
