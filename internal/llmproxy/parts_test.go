package llmproxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"sallyport/internal/gate"
	"sallyport/internal/label"
	"sallyport/internal/llmproxy/wire"
	"sallyport/internal/scan/screen"
)

func TestRecentForgetsTheOldest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 5).Draw(t, "most")
		r := newRecent[int, int](most)
		var order []int // used last is last
		use := func(k int) {
			order = slices.DeleteFunc(order, func(o int) bool { return o == k })
			order = append(order, k)
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			k := rapid.IntRange(0, 9).Draw(t, "key")
			switch rapid.IntRange(0, 2).Draw(t, "what") {
			case 0:
				v, ok := r.get(k)
				if ok != slices.Contains(order, k) || ok && v != k*10 {
					t.Fatalf("get %d = %d, %v with %v", k, v, ok, order)
				}
				if ok {
					use(k)
				}
			case 1:
				use(k)
				gone, dropped := r.put(k, k*10)
				if dropped != (len(order) > most) {
					t.Fatalf("dropped %v with %v", dropped, order)
				}
				if dropped {
					if gone != order[0]*10 {
						t.Fatalf("dropped %d of %v", gone, order)
					}
					order = order[1:]
				}
			default:
				r.drop(k)
				order = slices.DeleteFunc(order, func(o int) bool { return o == k })
			}
			if len(r.items) != len(order) || r.order.Len() != len(order) {
				t.Fatalf("%d items, want %d", len(r.items), len(order))
			}
		}
	})
}

func TestLimits(t *testing.T) {
	start := time.Unix(1000, 0)
	who := Caller{Key: "k", RequestsPerMinute: 2, TokensPerMinute: 1000}
	body := func(n byte) func() [32]byte { return func() [32]byte { return [32]byte{n} } }
	l := newLimits()
	step := func(what string, n byte, repeated bool, tokens int64, at time.Duration, want string) {
		t.Helper()
		wait, rule := l.admit(who, body(n), repeated, tokens, start.Add(at))
		if rule != want || (wait > 0) != (want != "") {
			t.Errorf("%s: wait %v for %q, want %q", what, wait, rule, want)
		}
	}
	step("first", 1, false, 10, 0, "")
	step("second", 2, false, 10, 0, "")
	step("third", 3, false, 10, 0, "rate.requests")
	step("a repetition nobody owes is one more", 2, true, 10, 0, "rate.requests")
	l.unanswered(who, body(2), start)
	step("the same body, not said to be a repetition", 2, false, 10, 0, "rate.requests")
	step("a repetition of what got no answer is free", 2, true, 10, 0, "")
	step("once", 2, true, 10, 0, "rate.requests")
	step("half a minute brings one", 4, false, 10, 30*time.Second, "")
	step("and no more", 5, false, 10, 30*time.Second, "rate.requests")
	step("tokens", 6, false, 990, 60*time.Second, "")
	step("tokens are used up", 7, false, 990, 91*time.Second, "rate.tokens")
	l.used(who, -990)
	step("what was not used comes back", 7, false, 600, 91*time.Second, "")
	l.unanswered(who, body(9), start.Add(2*time.Minute))
	step("an old debt", 8, false, 1, 10*time.Minute, "")
	step("is", 8, false, 1, 10*time.Minute, "")
	step("forgotten", 9, true, 1, 13*time.Minute, "")
	if _, rule := l.admit(Caller{Key: "other"}, body(1), false, 1<<40, start); rule != "" {
		t.Errorf("no limits: %q", rule)
	}
	if wait, _ := l.admit(Caller{Key: "big", TokensPerMinute: 10}, body(1), false, 1<<40, start); wait != 0 {
		t.Error("a request larger than a minute's tokens never passes")
	}
	if wait, _ := l.admit(Caller{Key: "big", TokensPerMinute: 10}, body(1), false, 1, start.Add(time.Minute)); wait <= 0 || wait > maxDebt*time.Minute {
		t.Error("and leaves no debt")
	}
}

func TestPaceCountsWhatItHides(t *testing.T) {
	p, now := newPace(), time.Unix(0, 1)
	for range noted {
		if ok, _ := p.now(now); !ok {
			t.Fatal("hidden too early")
		}
	}
	for range 7 {
		if ok, _ := p.now(now); ok {
			t.Fatal("not hidden")
		}
	}
	if ok, missed := p.now(now.Add(time.Second)); !ok || missed != 7 {
		t.Errorf("%v, %d missed, want 7", ok, missed)
	}
}

func TestQueueKeepsOrderAndEnds(t *testing.T) {
	q := newQueue()
	var mu sync.Mutex
	got := map[int64][]int{}
	var wg sync.WaitGroup
	for n := range int64(50) {
		wg.Go(func() {
			for i := range 100 {
				q.add(n, func() {
					mu.Lock()
					defer mu.Unlock()
					got[n] = append(got[n], i)
				})
			}
		})
	}
	wg.Wait()
	q.close()
	late := false
	q.add(1, func() { late = true })
	if !late {
		t.Error("what comes after the end is dropped")
	}
	for n := range int64(50) {
		if len(got[n]) != 100 || !slices.IsSorted(got[n]) {
			t.Errorf("lane of %d: %v", n, got[n])
		}
	}
}

func TestHanded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type gone struct {
			p       *gate.Permit
			because string
		}
		var lost []gone
		h := newHanded(time.Hour, time.Now, func(ps []*gate.Permit, because string) {
			for _, p := range ps {
				lost = append(lost, gone{p, because})
			}
		})
		a, b, c, d := &gate.Permit{}, &gate.Permit{}, &gate.Permit{}, &gate.Permit{}
		take := func(id, name string, want []*gate.Permit, known bool) {
			t.Helper()
			ps, k := h.result("ctx", id, name)
			if !slices.Equal(ps, want) || k != known {
				t.Errorf("%s %s: %v, known %v", id, name, ps, k)
			}
		}
		h.put("ctx", "1", "ls", []*gate.Permit{a})
		take("2", "ls", nil, false)
		take("2", "ls", nil, true)
		if ps, known := h.result("other", "1", "ls"); known || ps != nil {
			t.Error("a call of another context was settled")
		}
		take("1", "ls", []*gate.Permit{a}, true)
		take("1", "ls", nil, true)
		// Without ids: by name, the oldest first.
		h.put("ctx", "", "cat", []*gate.Permit{a})
		h.put("ctx", "", "cat", []*gate.Permit{b})
		take("", "cat", []*gate.Permit{a}, true)
		take("", "cat", []*gate.Permit{b}, true)
		take("", "cat", nil, true)
		// An upstream that repeats an id.
		h.put("ctx", "3", "x", []*gate.Permit{a})
		h.put("ctx", "3", "y", []*gate.Permit{b})
		take("3", "x", []*gate.Permit{a, b}, true)
		// Time.
		h.put("ctx", "4", "x", []*gate.Permit{c})
		time.Sleep(30 * time.Minute)
		h.put("ctx", "5", "x", []*gate.Permit{d})
		time.Sleep(31 * time.Minute)
		synctest.Wait()
		if len(lost) != 1 || lost[0].p != c || lost[0].because != becauseLate {
			t.Errorf("lost %v", lost)
		}
		take("4", "x", nil, true) // late, but not unjudged
		h.close()
		if len(lost) != 2 || lost[1].p != d || lost[1].because != becauseEnd {
			t.Errorf("lost %v", lost)
		}
		h.put("ctx", "6", "x", []*gate.Permit{a})
		if len(lost) != 3 {
			t.Error("what is given after the end is kept for nobody")
		}
	})
}

func TestHandedIsBounded(t *testing.T) {
	var lost atomic.Int32
	h := newHanded(time.Hour, time.Now, func([]*gate.Permit, string) { lost.Add(1) })
	for i := range maxHanded + 10 {
		h.put("c", fmt.Sprint(i), "", []*gate.Permit{{}})
	}
	if len(h.calls.items) != maxHanded || lost.Load() != 10 {
		t.Errorf("%d kept, %d lost", len(h.calls.items), lost.Load())
	}
	h.close()
}

func TestSourceDrainsWithinItsBound(t *testing.T) {
	r, w := io.Pipe()
	s := newSource(r, 64, newRoom(1<<20))
	defer s.close()
	go w.Write([]byte("direct"))
	if b, err := s.next(); err != nil || string(b) != "direct" {
		t.Fatalf("%q, %v", b, err)
	}
	s.drain()
	s.drain()
	var written atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 100 {
			n, _ := fmt.Fprintf(w, "%010d", i)
			written.Add(int64(n))
		}
		w.CloseWithError(io.ErrUnexpectedEOF)
	}()
	var all []byte
	for {
		b, err := s.next()
		if len(b) > 64+10 {
			t.Errorf("%d bytes buffered", len(b))
		}
		all = append(all, b...)
		if err != nil {
			if !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Error(err)
			}
			break
		}
	}
	<-done
	want := ""
	for i := range 100 {
		want += fmt.Sprintf("%010d", i)
	}
	if string(all) != want {
		t.Errorf("got %q", all)
	}
}

// TestSourceHoldsBack: a full buffer stops the reading.
func TestSourceHoldsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		s := newSource(r, 64, newRoom(1<<20))
		s.drain()
		n := 0
		go func() {
			for {
				if _, err := w.Write(make([]byte, 16)); err != nil {
					return
				}
				n += 16
			}
		}()
		synctest.Wait()
		if n != 64 {
			t.Errorf("%d bytes were read ahead, want 64", n)
		}
		s.close()
		w.Close()
		r.Close()
	})
}

func TestJudgedKeys(t *testing.T) {
	j := newJudged(100)
	who := Caller{Agent: "a", Session: "s", Context: "c", Key: "k"}
	seg, chat := []byte("some text"), wire.Route{API: wire.Chat}
	key := func(scope sum, b []byte) part { return j.key(scope, chat, wire.Item, b) }
	base := key(j.scope("rules", "set", who), seg)
	others := map[string]part{
		"rules": key(j.scope("rules2", "set", who), seg), "set": key(j.scope("rules", "set2", who), seg),
		"key":     key(j.scope("rules", "set", Caller{Agent: "a", Session: "s", Context: "c", Key: "k2"}), seg),
		"context": key(j.scope("rules", "set", Caller{Agent: "a", Session: "s", Context: "c2", Key: "k"}), seg),
		"bytes":   key(j.scope("rules", "set", who), []byte("some texs")),
		"API":     j.key(base.scope, wire.Route{API: wire.Responses}, wire.Item, seg),
		"op":      j.key(base.scope, wire.Route{API: wire.Chat, Op: wire.Embed}, wire.Item, seg),
		"kind":    j.key(base.scope, chat, wire.Head, seg),
	}
	ask := screen.Verdict{Action: screen.Ask, Alert: "suspicious", Hits: []screen.Hit{{Source: "s", Action: screen.Ask}, {Action: screen.Log}}}
	j.keep(base, ask)
	for name, k := range others {
		if k == base {
			t.Errorf("%s is not part of the key", name)
		}
	}
	find := func(k part) (*screen.Verdict, bool) { v, ok := j.find([]part{k}); return v[0], ok[0] }
	if v, ok := find(base); !ok || v == nil || len(v.Hits) != 1 || v.Alert != "none" {
		t.Errorf("kept %+v, %v", v, ok)
	}
	// The first label that is known does not forget what was judged before it.
	j.labelled("rules", "set", who, label.Bottom, []part{base})
	under := key(j.scope("rules", "set", who), seg)
	if v, ok := find(under); under == base || !ok || v == nil {
		t.Errorf("the label is no part of the key, or what was judged is forgotten: %v %v", v, ok)
	}
	j.permitted([]part{under})
	if v, ok := find(under); !ok || v != nil {
		t.Error("what was permitted is asked again")
	}
	j.labelled("rules", "set", who, label.Unlabelled, []part{under})
	if _, ok := find(key(j.scope("rules", "set", who), seg)); ok {
		t.Error("an answer given under a lower label holds for a higher one")
	}
	j.keep(base, screen.Verdict{Action: screen.Block, Hits: []screen.Hit{{Action: screen.Block}}})
	j.permitted([]part{base})
	if v, _ := find(base); v == nil {
		t.Error("what blocks is let through once it was let through by a rule")
	}
}

// TestSourceCounts: what waits counts against the memory of all, and is given
// back.
func TestSourceCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		all := newRoom(512 << 10)
		s := newSource(r, 8<<20, all)
		s.drain()
		go func() {
			for {
				if _, err := w.Write(make([]byte, readSize)); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		if n := len(s.wait); n > 700<<10 || n < 128<<10 || all.left == 512<<10 {
			t.Errorf("%d bytes wait, %d are left", n, all.left)
		}
		for range 3 { // the reading goes on when they were taken
			if b, err := s.next(); err != nil || len(b) == 0 {
				t.Errorf("%d bytes, %v", len(b), err)
			}
			synctest.Wait()
		}
		s.close()
		w.Close()
		r.Close()
		if all.left != 512<<10 {
			t.Errorf("%d bytes were not given back", 512<<10-all.left)
		}
	})
}

func TestSecretsDoNotComeBack(t *testing.T) {
	keys := secretsOf(http.Header{"Authorization": {"Bearer " + upstreamKey}, "X-Short": {"abc"}})
	if len(keys) != 1 {
		t.Fatalf("%d secrets", len(keys))
	}
	if got := keys.scrub([]byte("you sent " + upstreamKey + "!")); string(got) != "you sent [removed]!" {
		t.Errorf("%s", got)
	}
	if got := keys.scrubAll([]string{"a", upstreamKey}); got[1] != removed {
		t.Errorf("%v", got)
	}
	text := "some text before " + upstreamKey + " and after"
	for size := 1; size <= len(text); size++ {
		l, found := &live{keys: keys}, false
		for i := 0; i < len(text); i += size {
			found = found || l.leaks([]byte(text[i:min(i+size, len(text))]))
		}
		if !found {
			t.Errorf("not seen in pieces of %d bytes", size)
		}
	}
	l := &live{keys: keys}
	for i := range 1000 {
		if l.leaks([]byte(text[:i%len(text)/3])) {
			t.Fatal("seen where it is not")
		}
	}
}
