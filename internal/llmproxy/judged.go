package llmproxy

import (
	"encoding/json"
	"sync"

	"sallyport/internal/label"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/scan/screen"
)

const (
	// maxJudged bounds the segments whose verdict is remembered: about 8 MB,
	// or 40 MB if every one of them had the most hits.
	maxJudged = 1 << 15
	// maxLabels bounds the contexts whose label is remembered.
	maxLabels = 1 << 12
	// maxKept bounds the hits that a remembered verdict keeps.
	maxKept = 8
	// maxPaid bounds the replies that are known to be paid.
	maxPaid = 1 << 16
)

// judged remembers what segments of conversations came to, so that a history is
// judged once and not with every turn. A verdict holds for the same bytes, of
// the same caller in the same context with the same label, under the same rules
// and policy.
type judged struct {
	hash   hasher
	mu     sync.Mutex
	parts  *recent[part, *screen.Verdict] // nil = nothing was found
	labels *recent[string, label.Label]
	yes    *recent[sum, bool] // what was given to calls that people said yes to
}

// part identifies a segment under everything its verdict depends on: which of
// its strings are read, and as whose, follows from the API and from what the
// segment is for.
type part struct {
	scope, bytes sum
	size         int
	api          wire.API
	op           wire.Op
	kind         wire.SegmentKind
}

func newJudged(most int) *judged {
	return &judged{hash: newHasher(), parts: newRecent[part, *screen.Verdict](most), labels: newRecent[string, label.Label](maxLabels), yes: newRecent[sum, bool](maxYes)}
}

// maxYes is how many approved calls are remembered.
const maxYes = 1 << 14

// yesKey names what a call was given in a context, however a client writes its
// JSON when it repeats the call in its history.
func (j *judged) yesKey(who Caller, args []byte) sum {
	var v any
	if json.Unmarshal(args, &v) == nil {
		if b, err := json.Marshal(v); err == nil {
			args = b
		}
	}
	return j.hash.text(who.Key + "\x00" + who.contextOf() + "\x00" + string(args))
}

// approve notes that somebody said yes to a call: its history is not asked about
// once more in the same context.
func (j *judged) approve(who Caller, args []byte) {
	k := j.yesKey(who, args)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.yes.put(k, true)
}

// approved tells whether somebody did.
func (j *judged) approved(who Caller, args []byte) bool {
	k := j.yesKey(who, args)
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.yes.get(k)
	return ok
}

// scope is what a verdict depends on besides the bytes.
func (j *judged) scope(rules, policySet string, who Caller) sum {
	j.mu.Lock()
	l, ok := j.labels.get(who.contextOf())
	j.mu.Unlock()
	known := "unknown"
	if ok {
		known = l.String()
	}
	return j.hash.text(rules + "\x00" + policySet + "\x00" + who.Key + "\x00" + who.contextOf() + "\x00" + known)
}

func (j *judged) key(scope sum, r wire.Route, k wire.SegmentKind, b []byte) part {
	return part{scope, j.hash.bytes(b), len(b), r.API, r.Op, k}
}

// find gives what is known of segments; known[i] tells whether it is.
func (j *judged) find(keys []part) (verdicts []*screen.Verdict, known []bool) {
	verdicts, known = make([]*screen.Verdict, len(keys)), make([]bool, len(keys))
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, k := range keys {
		verdicts[i], known[i] = j.parts.get(k)
	}
	return verdicts, known
}

// keep remembers a verdict: only what still asks for something, because what
// alerted once is not alerted again.
func (j *judged) keep(k part, v screen.Verdict) {
	var small *screen.Verdict
	if v.Action >= screen.Ask {
		small = &screen.Verdict{Action: v.Action, Alert: "none"}
		for _, h := range v.Hits {
			if h.Action >= screen.Ask && len(small.Hits) < maxKept {
				small.Hits = append(small.Hits, h)
			}
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.parts.put(k, small)
}

// permitted notes that a call with these segments was let through: what was
// asked about is not asked again in this context. What blocks, blocks again.
func (j *judged) permitted(keys []part) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, k := range keys {
		if v, ok := j.parts.get(k); ok && v != nil && v.Action == screen.Ask {
			j.parts.put(k, nil)
		}
	}
}

// labelled notes a context's label. What was judged while nobody knew the label
// yet holds under the first that is known.
func (j *judged) labelled(rules, policySet string, who Caller, l label.Label, keys []part) {
	j.mu.Lock()
	old, known := j.labels.get(who.contextOf())
	if !known || old != l {
		j.labels.put(who.contextOf(), l)
	}
	j.mu.Unlock()
	if known {
		return
	}
	scope := j.scope(rules, policySet, who)
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, k := range keys {
		if v, ok := j.parts.get(k); ok {
			k.scope = scope
			j.parts.put(k, v)
		}
	}
}
