package stream

import (
	"strings"
	"testing"

	"sallyport/internal/llmproxy/wire"
)

// at puts a document at another index of the reply's content.
func at(doc, index string) string { return strings.Replace(doc, `"index":0`, `"index":`+index, 1) }

// TestCutBehindReleased: a released call arrives whole even if the reply is cut
// inside the next one, which was mixed with it.
func TestCutBehindReleased(t *testing.T) {
	in := msgStart + frames(toolStart, at(toolStart, "1"), toolArgs, at(toolArgs, "1"), toolStop)
	o := options("anthropic")
	o.Judge = func(wire.Call) Verdict { return Verdict{Release: true} }
	r := run(o, in, 4096)
	if got := read(t, "anthropic", r.Out); len(r.Calls) != 1 || len(got.calls) != 1 || !strings.Contains(got.calls[0].Args, "pwned") || !strings.Contains(r.Out, toolStop) || got.err == "" {
		t.Fatalf("%q\n%s", r.Err, r.Out)
	}
}

// TestUnknownBlocks: what has a name, or a type like a call's, is judged.
func TestUnknownBlocks(t *testing.T) {
	for _, block := range []string{`{"type":"x","name":"denied"}`, `{"type":"warp_call","x":"denied"}`} {
		r := run(Options{API: wire.Messages, Judge: func(wire.Call) Verdict { return Verdict{} }},
			msgStart+frames(`{"type":"content_block_start","index":0,"content_block":`+block+`}`, toolStop)+msgEnd, 4096)
		if len(r.Calls) != 1 || strings.Contains(r.Out, "denied") {
			t.Errorf("%s: judged %v\n%s", block, r.Calls, r.Out)
		}
	}
}

// TestResponseRepeats: the response at the end may name a judged call once; a
// second time it is judged again.
func TestResponseRepeats(t *testing.T) {
	done := `{"type":"response.output_item.done","output_index":0,"item":` + respItem + `}`
	twice := `{"type":"response.completed","response":{"status":"completed","output":[` + respItem + `,` + respItem + `]}}`
	n := 0
	o := options("responses")
	o.Judge = func(wire.Call) Verdict { n++; return Verdict{Release: n == 1} }
	if r := run(o, frames(done, twice), 4096); n != 2 || strings.Count(r.Out, "pwned") != 2 || r.Sum.Replaced != 1 {
		t.Fatalf("judged %d times\n%s", n, r.Out)
	}
}

// TestUnjudgedEvents: a released call does not carry along what was not judged.
func TestUnjudgedEvents(t *testing.T) {
	added := `{"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","call_id":"c","name":"ok","arguments":""}}`
	done := `{"type":"response.output_item.done","output_index":0,"item":{"type":"function_call","call_id":"c","name":"ok","arguments":"{}"}}`
	r := run(options("responses"), frames(added, `{"type":"response.warp.delta","output_index":0,"delta":"smuggled"}`, done)+respEnd, 4096)
	if r.Err != "" || strings.Contains(r.Out, "smuggled") || len(read(t, "responses", r.Out).calls) != 1 {
		t.Fatalf("%q\n%s", r.Err, r.Out)
	}
}

// TestSequenceOfText: text behind a notice gets numbers beyond it, each of them.
func TestSequenceOfText(t *testing.T) {
	delta := func(n string) string {
		return `{"type":"response.output_text.delta","sequence_number":` + n + `,"output_index":1,"content_index":0,"delta":"x"}`
	}
	in := frames(`{"type":"response.output_item.done","sequence_number":1,"output_index":0,"item":{"type":"function_call","call_id":"c","name":"deny","arguments":"{}"}}`,
		delta("2"), delta("3"), delta("4")) + respEnd
	r := run(options("responses"), in, 4096)
	for _, want := range []string{"7", "8", "9"} {
		if !strings.Contains(r.Out, delta(want)) {
			t.Fatalf("no number %s\n%s", want, r.Out)
		}
	}
}

// TestTextKeepsOrder: text that is held with a call is not overtaken by later
// text, whether that is parsed or taken for a repetition.
func TestTextKeepsOrder(t *testing.T) {
	say := func(s string) string { return `{"choices":[{"index":0,"delta":{"content":"` + s + `"}}]}` }
	mixed := strings.Replace(chatCall, `"delta":{`, `"delta":{"content":"one ",`, 1)
	o := options("openai")
	o.Judge = func(wire.Call) Verdict { return Verdict{Release: true} }
	if r := run(o, frames(mixed, say("two "), say("three"))+chatEnd, 4096); read(t, "openai", r.Out).text != "one two three" {
		t.Fatalf("%s", r.Out)
	}
	delta := func(s string) string {
		return `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + s + `"}}`
	}
	in := msgStart + frames(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, delta("one "),
		at(toolStart, "1"), delta("two "), delta("three "), delta("four"), toolStop, at(toolArgs, "1"), at(toolStop, "1")) + msgEnd
	o.API = wire.Messages
	if r := run(o, in, 4096); r.Err != "" || read(t, "anthropic", r.Out).text != "one two three four" {
		t.Fatalf("%q\n%s", r.Err, r.Out)
	}
}

// TestTwoTexts: an event with two texts is never taken for one with one.
func TestTwoTexts(t *testing.T) {
	two := `{"choices":[{"index":0,"delta":{"content":"a"}},{"index":1,"delta":{"content":"b"}}]}`
	if r := run(options("openai"), frames(two, two, two)+chatEnd, 4096); r.Text != "ababab" {
		t.Fatalf("text %q", r.Text)
	}
}

func TestPartialArguments(t *testing.T) {
	r := run(options("gemini"), frames(`{"candidates":[{"content":{"parts":[{"functionCall":{"name":"bash","partialArgs":[{"jsonPath":"$.c","stringValue":"x"}]}}]}}]}`), 4096)
	if !strings.Contains(r.Err, "in parts") || len(r.Calls) > 0 {
		t.Fatalf("%q %v", r.Err, r.Calls)
	}
}

// TestEarlyUsage: figures of a reply that was cut are not its last ones.
func TestEarlyUsage(t *testing.T) {
	r := run(options("gemini"), frames(`{"candidates":[{"content":{"parts":[{"text":"x"}]}}],"usageMetadata":{"promptTokenCount":5}}`), 4096)
	if r.Sum.Usage.Known || r.Sum.Usage.Input != 5 || r.Err == "" {
		t.Fatalf("%+v", r.Sum)
	}
}
