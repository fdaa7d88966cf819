package approval

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"sallyport/internal/action"
	"sallyport/internal/fault"
	"sallyport/internal/record"
)

func TestApproveFromElsewhere(t *testing.T) {
	l := newLab(t, nil)
	req := request(t, "ls")
	row := l.published(t, req)
	if got := l.found(t, req.Digest); got != nil {
		t.Fatalf("approvals before anybody answered: %v", got)
	}
	if err := l.Approve(t.Context(), row.ID, l.owner); err != nil {
		t.Fatal(err)
	}
	got := l.found(t, req.Digest)
	if len(got) != 1 || got[0].Person != "ann" || got[0].Nonce != row.Nonce || !got[0].Expires.Equal(row.Expires) {
		t.Fatalf("approvals %+v", got)
	}
	if got, err := l.Await(t.Context(), req); err != nil || len(got) != 1 {
		t.Fatalf("await with an answer: %v, %v", got, err)
	}
	if other := l.found(t, request(t, "rm x").Digest); other != nil {
		t.Errorf("another argument is approved: %v", other)
	}
	l.book.used[row.Nonce] = true // the intent consumed it
	if got := l.found(t, req.Digest); got != nil {
		t.Errorf("a used approval counts again: %v", got)
	}
	if err := l.Approve(t.Context(), row.ID, l.owner); !fault.Is(err, fault.Conflict) {
		t.Errorf("approving a used ask: %v", err)
	}
	if again := l.published(t, req); again.ID == row.ID || again.Nonce == row.Nonce {
		t.Error("the used ask was asked again")
	}
}

// TestRefusals changes one thing each; nothing may count.
func TestRefusals(t *testing.T) {
	swap := func(old, new string) func(*lab, *record.AskRow) {
		return func(_ *lab, row *record.AskRow) {
			row.Payload = bytes.Replace(row.Payload, []byte(old), []byte(new), 1)
		}
	}
	tests := map[string]func(*lab, *record.AskRow){
		"expired":                 func(l *lab, row *record.AskRow) { l.now = row.Expires },
		"future-dated":            func(l *lab, _ *record.AskRow) { l.now = l.now.Add(-time.Second) },
		"clock behind the log":    func(l *lab, _ *record.AskRow) { l.last = l.now.Add(2*time.Minute + time.Second) },
		"denied state":            func(_ *lab, row *record.AskRow) { row.State = record.AskDenied },
		"withdrawn":               func(_ *lab, row *record.AskRow) { row.State = record.AskWithdrawn },
		"another nonce":           func(_ *lab, row *record.AskRow) { row.Nonce = strings.Repeat("0", 32) },
		"another expiry":          func(_ *lab, row *record.AskRow) { row.Expires = row.Expires.Add(time.Hour) },
		"another digest":          func(_ *lab, row *record.AskRow) { row.Digest[0]++ },
		"changed argument":        swap(`"script":"ls"`, `"script":"rm"`),
		"field shifted":           swap(`"agent":"night"`, `"agent":"nigh"`),
		"added field":             swap(`"uses":1`, `"uses":1,"z":1`),
		"more uses":               swap(`"uses":1`, `"uses":2`),
		"other predicate":         swap(PredicateType, "urn:sallyport:approval:v2"),
		"other instance":          swap("test-instance", "prod-instance"),
		"smaller quorum":          swap(`"count":1`, `"count":0`),
		"not canonical":           swap(`"uses":1`, `"uses": 1`),
		"duplicate key":           swap(`"uses":1`, `"uses":1,"uses":1`),
		"no payload":              func(_ *lab, row *record.AskRow) { row.Payload = nil },
		"the instance's own name": func(l *lab, _ *record.AskRow) { l.cfg.Instance = "other" },
		"key no longer trusted": func(l *lab, _ *record.AskRow) {
			l.trust.People[0].Keys = l.trust.People[0].Keys[1:]
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, nil)
			req := request(t, "ls")
			row := l.published(t, req)
			if err := l.Approve(t.Context(), row.ID, l.owner); err != nil {
				t.Fatal(err)
			}
			if len(l.found(t, req.Digest)) != 1 {
				t.Fatal("the approval does not count unchanged")
			}
			change(l, l.book.find(row.ID))
			if got := l.found(t, req.Digest); got != nil {
				t.Errorf("counts: %+v", got)
			}
		})
	}
}

// TestForeignEnvelopes submits well-signed envelopes that answer something
// else.
func TestForeignEnvelopes(t *testing.T) {
	l := newLab(t, nil)
	req := request(t, "ls")
	row := l.published(t, req)
	other := l.published(t, request(t, "rm x"))
	sign := func(payload []byte, signer ssh.Signer) []byte {
		e, err := Sign(payload, signer)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	signIn := func(namespace string, hash sshsig.HashAlgorithm, message []byte) []byte {
		sig, err := sshsig.Sign(bytes.NewReader(message), l.owner, hash, namespace)
		if err != nil {
			t.Fatal(err)
		}
		e, err := wrap(row.Payload, sig)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	stranger := newLab(t, func(c *Config) { c.Instance = "elsewhere" })
	elsewhere := stranger.published(t, req)
	good := sign(row.Payload, l.owner)
	for name, envelope := range map[string][]byte{
		"another ask":                    sign(other.Payload, l.owner),
		"another instance":               sign(elsewhere.Payload, l.owner),
		"a stranger's key":               sign(row.Payload, l.eve),
		"wrong namespace":                signIn("file", sshsig.HashSHA512, PAE(row.Payload)),
		"weaker hash":                    signIn(Namespace, sshsig.HashSHA256, PAE(row.Payload)),
		"no pre-authentication encoding": signIn(Namespace, sshsig.HashSHA512, row.Payload),
		"key id of another":              bytes.Replace(good, []byte(ssh.FingerprintSHA256(l.owner.PublicKey())), []byte(ssh.FingerprintSHA256(l.bob.PublicKey())), 1),
		"two signatures":                 bytes.Replace(good, []byte(`"signatures":[`), []byte(`"signatures":[{"keyid":"","sig":""},`), 1),
		"white space":                    append(bytes.Clone(good), '\n'),
		"another key order":              append([]byte(`{"signatures":[],`), good[1:]...),
		"empty":                          nil,
	} {
		if err := l.Submit(t.Context(), row.ID, envelope); !fault.Is(err, fault.Denied) {
			t.Errorf("%s: %v", name, err)
		}
		// A book that was tampered with does not make it count either.
		l.book.statements[req.Digest] = []record.Statement{{Kind: record.StatementApprove, Envelope: envelope}}
		if got := l.found(t, req.Digest); got != nil {
			t.Errorf("%s: counts: %+v", name, got)
		}
	}
	l.book.statements[req.Digest] = nil
	if err := l.Submit(t.Context(), row.ID, good); err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestQuorumCountsPeople(t *testing.T) {
	l := newLab(t, nil)
	req := request(t, "ls", record.Need{Count: 2, Group: "owner"}, record.Need{Count: 1, Group: "finance"})
	row := l.published(t, req)
	await := func() error { _, err := l.Await(t.Context(), req); return err }
	for _, k := range []ssh.Signer{l.owner, l.spare} { // two keys, one person
		if err := l.Approve(t.Context(), row.ID, k); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.found(t, req.Digest); len(got) != 1 {
		t.Errorf("one person counts as %d", len(got))
	}
	if err := await(); !fault.Is(err, fault.NeedsAsk) {
		t.Errorf("half a quorum: %v", err)
	}
	if err := l.Approve(t.Context(), row.ID, l.bob); err != nil {
		t.Fatal(err)
	}
	if err := await(); err != nil {
		t.Errorf("complete: %v", err)
	}
	if r, _ := l.book.Ask(t.Context(), row.ID); r.State != record.AskApproved {
		t.Errorf("state %s", r.State)
	}
	if err := l.Deny(t.Context(), row.ID, l.bob); err != nil { // bob has second thoughts
		t.Fatal(err)
	}
	if got := l.found(t, req.Digest); got != nil {
		t.Errorf("a deny left %v", got)
	}
}

func TestDenyEndsTheAsk(t *testing.T) {
	l := newLab(t, nil)
	req := request(t, "ls")
	row := l.published(t, req)
	if err := l.Deny(t.Context(), row.ID, l.bob); err != nil {
		t.Fatal(err)
	}
	if err := l.Approve(t.Context(), row.ID, l.owner); !fault.Is(err, fault.Conflict) {
		t.Errorf("approving a denied ask: %v", err)
	}
	if got := l.found(t, req.Digest); got != nil {
		t.Errorf("approvals %v", got)
	}
}

func FuzzEnvelope(f *testing.F) {
	l := newLab(f, nil)
	req := request(f, "ls")
	from := stampOf(l.now)
	payload, err := payloadFor(req, l.cfg.Instance, strings.Repeat("ab", 16), from, from.Add(time.Minute))
	if err != nil {
		f.Fatal(err)
	}
	row := record.AskRow{Digest: req.Digest, Nonce: strings.Repeat("ab", 16), Expires: from.Add(time.Minute), State: record.AskOpen, Payload: payload}
	terms, err := readAsk(row, l.cfg.Instance)
	if err != nil {
		f.Fatal(err)
	}
	good, err := Sign(payload, l.eve) // signed by nobody who counts
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Fuzz(func(t *testing.T, envelope []byte) {
		if _, _, err := l.checked(t, row, terms, envelope); err == nil {
			t.Errorf("accepted: %s", envelope)
		}
	})
}

func FuzzAsk(f *testing.F) {
	req := request(f, "ls")
	payload, err := payloadFor(req, "i", strings.Repeat("ab", 16), epoch, epoch.Add(time.Minute))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(payload)
	f.Fuzz(func(t *testing.T, payload []byte) {
		row := record.AskRow{Digest: req.Digest, Nonce: strings.Repeat("ab", 16), Expires: epoch.Add(time.Minute), Payload: payload}
		terms, err := readAsk(row, "i")
		if err == nil && terms.digest != req.Digest {
			t.Error("another action under the same digest")
		}
	})
}

// console answers once it is told to.
type console struct {
	answer  chan bool
	renders []string
	err     error
}

func (c *console) Ask(ctx context.Context, _ record.AskRow, render string) (bool, bool, error) {
	c.renders = append(c.renders, render)
	if c.err != nil {
		return false, false, c.err
	}
	select {
	case yes := <-c.answer:
		return yes, true, nil
	case <-ctx.Done():
		return false, false, nil
	}
}

func TestTerminal(t *testing.T) {
	for name, tt := range map[string]struct {
		yes  bool
		kind fault.Kind
	}{"yes": {true, 255}, "no": {false, fault.Denied}} {
		t.Run(name, func(t *testing.T) {
			c := &console{answer: make(chan bool, 1)}
			l := newLab(t, func(cfg *Config) { cfg.Asker = c })
			c.answer <- tt.yes
			req := request(t, "ls")
			got, err := l.Await(t.Context(), req)
			if tt.yes != (err == nil) || err != nil && fault.KindOf(err) != tt.kind {
				t.Fatalf("%v, %v", got, err)
			}
			if tt.yes && (len(got) != 1 || len(l.book.statements[req.Digest]) != 1) {
				t.Errorf("no signed statement is kept: %v", got)
			}
			if len(c.renders) != 1 || !strings.Contains(c.renders[0], Words(req.Digest)) {
				t.Errorf("rendered %q", c.renders)
			}
		})
	}
	c := &console{err: errors.New("input closed")}
	l := newLab(t, func(cfg *Config) { cfg.Asker = c })
	if _, err := l.Await(t.Context(), request(t, "ls")); !fault.Is(err, fault.NeedsAsk) {
		t.Errorf("a broken terminal: %v", err)
	}
}

// TestAnswerFromElsewhereEndsThePrompt: while the terminal waits, another
// process approves.
func TestAnswerFromElsewhereEndsThePrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &console{answer: make(chan bool)}
		l := newLab(t, func(cfg *Config) { cfg.Asker, cfg.Now = c, time.Now })
		req := request(t, "ls")
		go func() {
			time.Sleep(3 * time.Second)
			asks, _ := l.book.Asks(t.Context(), true)
			if err := l.Approve(t.Context(), asks[0].ID, l.bob); err != nil {
				t.Error(err)
			}
		}()
		got, err := l.Await(t.Context(), req)
		if err != nil || len(got) != 1 || got[0].Person != "bob" {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t, func(cfg *Config) { cfg.Now, cfg.Wait = time.Now, time.Minute })
		start := time.Now()
		if _, err := l.Await(t.Context(), request(t, "ls")); !fault.Is(err, fault.NeedsAsk) || time.Since(start) != time.Minute {
			t.Errorf("nobody: %v after %v", err, time.Since(start))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := l.Await(ctx, request(t, "ls")); !fault.Is(err, fault.NeedsAsk) || !strings.Contains(fault.PublicText(err), "nobody answered in time") {
			t.Errorf("the asker's time is up: %v", err)
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if _, err := l.Await(gone, request(t, "ls")); !fault.Is(err, fault.NeedsAsk) || !strings.Contains(fault.PublicText(err), "cut short") {
			t.Errorf("cut short: %v", err)
		}
		if n := len(l.book.asks); n != 1 {
			t.Errorf("the same question was published %d times", n)
		}
	})
}

func TestUnattendedSaysHow(t *testing.T) {
	l := newLab(t, nil)
	_, err := l.Await(t.Context(), request(t, "ls"))
	if !strings.Contains(fault.PublicText(err), "sallyport approve ask1") {
		t.Errorf("%v", err)
	}
	l.last = l.now.Add(time.Hour)
	if _, err := l.Await(t.Context(), request(t, "ls")); !strings.Contains(fault.PublicText(err), "paused") {
		t.Errorf("clock: %v", err)
	}
	req := request(t, "ls")
	l.last = time.Time{}
	req.Action.Args["script"] = "rm"
	if _, err := l.Await(t.Context(), req); err == nil || fault.Is(err, fault.NeedsAsk) {
		t.Errorf("an action that is not the digest's was published: %v", err)
	}
}

func TestRenderHidesNothing(t *testing.T) {
	l := newLab(t, nil)
	evil := "ls \x1b[2J\r\u202e\u200b\u00ad\x07\u0085\U000e0041 # harmless\nrm \\x"
	row := l.published(t, request(t, evil))
	out, err := l.Render(row, []record.Finding{{Rule: "x", Detail: "y\x1b"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range out {
		if r != '\n' && (r < 0x20 || r > 0x7e) {
			t.Errorf("%U reaches the terminal", r)
		}
	}
	for _, want := range []string{`\u{1b}[2J`, `\u{202e}`, `\u{200b}`, `\u{e0041}`, `rm \\x`, "agent night", row.ID, "1 of owner"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	row.Payload = bytes.Replace(row.Payload, []byte("night"), []byte("light"), 1)
	if _, err := l.Render(row, nil); err == nil {
		t.Error("a row that does not verify is shown")
	}
}

func TestWords(t *testing.T) {
	if got := Words(action.Digest{127, 0, 0, 1, 63, 84, 220, 193}); got != "lusab-babad-gutih-tugad" {
		t.Errorf("%s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		var a, b action.Digest
		copy(a[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "a"))
		copy(b[:], rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "b"))
		if (a == b) != (Words(a) == Words(b)) {
			t.Errorf("%v %v", a, b)
		}
	})
}

// TestPayloadIsInToto checks the shape that other tools read.
func TestPayloadIsInToto(t *testing.T) {
	l := newLab(t, nil)
	req := request(t, "ls")
	row := l.published(t, req)
	var s struct {
		Type      string `json:"_type"`
		Subject   []struct{ Digest map[string]string }
		Predicate struct {
			Action json.RawMessage
			Nonce  string
		}
	}
	if err := json.Unmarshal(row.Payload, &s); err != nil {
		t.Fatal(err)
	}
	sum := action.Digest(sha256.Sum256(s.Predicate.Action))
	if s.Type != StatementType || len(s.Subject) != 1 || s.Subject[0].Digest["sha256"] != req.Digest.String() || sum != req.Digest || len(s.Predicate.Nonce) != 32 {
		t.Errorf("%s", row.Payload)
	}
}
