package stream

import (
	"encoding/json"
	"strings"
	"testing"

	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
	"sallyport/test/fakes/modelserver"
)

// TestEndAnywhere: wherever a response is ended by us, its events are numbered
// without a gap, begin with a response and end with the failure of the same.
func TestEndAnywhere(t *testing.T) {
	in := render(t, "responses", modelserver.Reply{
		Text: "some text in pieces", Calls: []modelserver.Call{{ID: "c1", Name: "deny", Args: `{"x":1}`}, {ID: "c2", Name: "bash", Args: `{"y":2}`}},
		Usage: &modelserver.Usage{Input: 1, Output: 2}, Number: 7,
	})
	for at := 0; at < len(in); at++ {
		out := ""
		o := options("responses")
		o.Out, o.Judge = func(p []byte) error { out += string(p); return nil }, honest
		m := New(o)
		if _, err := m.Write([]byte(in[:at])); err != nil {
			t.Fatal(err)
		}
		if err := m.Fail(wire.Reason{Rule: "r9"}); err != nil {
			t.Fatal(err)
		}
		id, numbers := endedAs(t, out)
		if want := map[bool]string{true: "resp_7", false: "resp_sallyport"}[at > strings.Index(in, "\n\n")+1]; id != want {
			t.Fatalf("at %d the response is %q, not %q\n%s", at, id, want, out)
		}
		for i, n := range numbers {
			if n != int64(i) {
				t.Fatalf("at %d the numbers are %v\n%s", at, numbers, out)
			}
		}
	}
}

// endedAs gives the one id of a response that failed and its events' numbers.
func endedAs(t *testing.T, out string) (id string, numbers []int64) {
	t.Helper()
	types := []string{}
	for ev := range strings.SplitSeq(strings.TrimSuffix(out, "\n\n"), "\n\n") {
		var v struct {
			Type     string `json:"type"`
			Number   int64  `json:"sequence_number"`
			Response struct {
				ID string `json:"id"`
			} `json:"response"`
		}
		_, data, _ := strings.Cut(ev, "data: ")
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			t.Fatalf("%v: %q", err, ev)
		}
		if v.Response.ID != "" {
			if id != "" && id != v.Response.ID {
				t.Fatalf("the response is %q and %q\n%s", id, v.Response.ID, out)
			}
			id = v.Response.ID
		}
		types, numbers = append(types, v.Type), append(numbers, v.Number)
	}
	if types[0] != "response.created" || types[len(types)-1] != "response.failed" {
		t.Fatalf("events %q", types)
	}
	return id, numbers
}

// TestBlockedText: text that may not be said ends a response at the number that
// its event would have had, also where events are not parsed again.
func TestBlockedText(t *testing.T) {
	in := render(t, "responses", modelserver.Reply{Text: "aaabbbcccdddbad", Pieces: 3})
	o := options("responses")
	o.Text = func(s string) error {
		if strings.Contains(s, "bad") {
			return fault.New("x", fault.Denied, "a word")
		}
		return nil
	}
	for _, n := range []int{1, 50, len(in)} {
		_, numbers := endedAs(t, run(o, in, n).Out)
		for i, got := range numbers {
			if got != int64(i) {
				t.Errorf("in pieces of %d the numbers are %v", n, numbers)
				break
			}
		}
	}
}

// TestCutIsNoEnd: a reply of Gemini's that broke off is an error for the client;
// nothing may take what came for the whole.
func TestCutIsNoEnd(t *testing.T) {
	for _, form := range []string{"gemini", "gemini.array"} {
		in := render(t, form, modelserver.Reply{Text: "some text"})
		for at := range len(in) - 1 {
			r := run(options(form), in[:at], 4096)
			if got := read(t, form, r.Out); got.err == "" || got.stop == "PROHIBITED_CONTENT" {
				if strings.Contains(in[:at], "STOP") && got.stop == "STOP" {
					continue // only white space and brackets are missing
				}
				t.Fatalf("cut at %d: stop %q, error %q\n%s", at, got.stop, got.err, r.Out)
			}
		}
	}
}
