package clients

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/fakes/modelserver"
)

// scripted are the figures of a conversation's replies: plain, with a cache,
// with reasoning, with both.
var scripted = []modelserver.Usage{
	{Input: 11, Output: 7},
	{Input: 13, Output: 5, CacheRead: 1000, CacheWrite: 300},
	{Input: 17, Output: 90, Reasoning: 70},
	{Input: 19, Output: 95, CacheRead: 2000, Reasoning: 80},
}

// reported is what an SDK makes of scripted figures, by the API's own names.
func reported(api string, u modelserver.Usage) map[string]int64 {
	in := u.Input + u.CacheRead
	switch api {
	case "chat":
		return map[string]int64{"prompt_tokens": in, "completion_tokens": u.Output, "total_tokens": in + u.Output, "cached_tokens": u.CacheRead, "reasoning_tokens": u.Reasoning}
	case "responses":
		return map[string]int64{"input_tokens": in, "output_tokens": u.Output, "total_tokens": in + u.Output, "cached_tokens": u.CacheRead, "reasoning_tokens": u.Reasoning}
	case "messages":
		return map[string]int64{"input_tokens": u.Input, "output_tokens": u.Output, "cache_read_input_tokens": u.CacheRead, "cache_creation_input_tokens": u.CacheWrite, "thinking_tokens": u.Reasoning}
	}
	return map[string]int64{"promptTokenCount": in, "candidatesTokenCount": u.Output - u.Reasoning, "totalTokenCount": in + u.Output, "cachedContentTokenCount": u.CacheRead, "thoughtsTokenCount": u.Reasoning}
}

// TestUsage: what an SDK reports is what the model's server said, and what the
// proxy counts is the same.
func TestUsage(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		var replies []modelserver.Reply
		var want []map[string]int64
		for i, u := range scripted {
			r := modelserver.Reply{Text: "So. ", Usage: &u}
			if i < len(scripted)-1 {
				r.Calls = []modelserver.Call{call("call_"+string(rune('a'+i)), "true")}
			}
			replies, want = append(replies, r), append(want, reported(c.api, u))
		}
		l := newLab(t, replies...)
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if d := cmp.Diff(want, r.Usage); d != "" || r.Error != "" {
			t.Errorf("usage (-want +got)\n%serror %q", d, r.Error)
		}
		if l.proxy != nil {
			counted(t, l.proxy, c, len(scripted), scripted...)
		}
	})
}

// TestRetriesCountOnce: a reply that a client asked for twice, because the first
// time failed, is counted once.
func TestRetriesCountOnce(t *testing.T) {
	each(t, func(t *testing.T, c client, mode string, col column) {
		if c.api == "gemini" {
			t.Skip("its SDKs do not try again")
		}
		busy := modelserver.Reply{Status: 503, Error: &modelserver.Failure{Type: "overloaded_error", Message: "busy"}, Headers: map[string]string{"Retry-After-Ms": "10"}}
		l := newLab(t, busy, busy, modelserver.Reply{Text: "All is done.", Usage: &scripted[1]})
		base, key := col.open(t, l)
		r := c.drive(t, l.dir, base, key, mode)
		if r.Error != "" || r.Text != "All is done." || r.Requests != 3 || len(l.model.Requests()) != 3 {
			t.Errorf("the client said %q after %d requests, the model heard %d, error %q", r.Text, r.Requests, len(l.model.Requests()), r.Error)
		}
		if d := cmp.Diff([]map[string]int64{reported(c.api, scripted[1])}, r.Usage); d != "" {
			t.Errorf("usage (-want +got)\n%s", d)
		}
		if l.proxy != nil {
			counted(t, l.proxy, c, 1, scripted[1])
		}
	})
}
