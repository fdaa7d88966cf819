package app

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/action"
	"sallyport/internal/alert"
	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
	"sallyport/internal/record"
	"sallyport/internal/store"
)

const hookSecret = "0123456789abcdef0123456789abcdef"

// receiver is a webhook that checks signatures and hands messages over.
func receiver(t *testing.T) (url string, got <-chan alert.Message) {
	t.Helper()
	out := make(chan alert.Message, 100)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var m alert.Message
		sig := "v1," + alert.Sign([]byte(hookSecret), r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
		if err := json.Unmarshal(body, &m); err != nil || sig != r.Header.Get("Webhook-Signature") {
			t.Errorf("message %s with signature %q: %v", body, r.Header.Get("Webhook-Signature"), err)
		}
		out <- m
	}))
	t.Cleanup(srv.Close)
	return srv.URL, out
}

// watchApp opens an installation whose one sink is a webhook.
func watchApp(t *testing.T, home, url, more string) (*App, *store.Store) {
	t.Helper()
	if err := os.MkdirAll(home, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("alerts:\n  sinks:\n    - {name: hook, webhook: {url: %q, secret_env: HOOK}}\n%s", url, more)
	if err := os.WriteFile(filepath.Join(home, "sallyport.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Open(t.Context(), Options{Home: home, Environ: []string{"HOME=" + t.TempDir(), "HOOK=" + hookSecret}, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	st, err := a.Store(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return a, st
}

func denials(t *testing.T, st *store.Store, agent string, n int) {
	t.Helper()
	for range n {
		if _, err := st.Append(t.Context(), record.Event{Type: "exec.blocked", Agent: agent, Session: "s1", Channel: "SHELL", Level: "warning", Alert: "none"}); err != nil {
			t.Fatal(err)
		}
	}
}

func next(t *testing.T, got <-chan alert.Message) alert.Message {
	t.Helper()
	select {
	case m := <-got:
		return m
	case <-time.After(20 * time.Second):
		t.Fatal("no message came")
	}
	return alert.Message{}
}

func nothing(t *testing.T, got <-chan alert.Message) {
	t.Helper()
	select {
	case m := <-got:
		t.Fatalf("a message came: %+v", m)
	default:
	}
}

// TestWatch: five denials are one alert and one signed message; the sixth
// counts and tells nobody; after its end the next is a new one.
func TestWatch(t *testing.T) {
	url, got := receiver(t)
	a, st := watchApp(t, filepath.Join(t.TempDir(), "state"), url, "")
	stop, err := a.watch(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	denials(t, st, "sarah", 4)
	denials(t, st, "bob", 4)
	denials(t, st, "sarah", 1)
	m := next(t, got)
	if m.Rule != "denials" || m.Agent != "sarah" || m.Count != 5 || m.Severity != "high" || !strings.Contains(m.Instance, "sallyport-") {
		t.Errorf("message %+v", m)
	}
	denials(t, st, "sarah", 1)
	stop() // ends after all that was recorded
	nothing(t, got)
	list, err := a.Alerts(t.Context(), AlertFilter{})
	if err != nil || len(list) != 1 || list[0].Count != 6 || list[0].ID != m.ID {
		t.Fatalf("%+v: %v", list, err)
	}
	if one, err := a.Alert(t.Context(), m.ID); err != nil || len(one.Deliveries) != 1 || one.Deliveries[0].State != record.DeliveryDone {
		t.Errorf("%+v: %v", one, err)
	}
	if _, err := a.SetAlert(t.Context(), m.ID, record.AlertResolved, "", "me"); err != nil {
		t.Fatal(err)
	}
	if stop, err = a.watch(t.Context(), st); err != nil {
		t.Fatal(err)
	}
	denials(t, st, "sarah", 1)
	if again := next(t, got); again.ID == m.ID || again.Rule != "denials" {
		t.Errorf("message %+v", again)
	}
	stop()
	nothing(t, got)
}

// TestWatchTakesOver: of two watchers one works; when it ends the other goes on
// where it was.
func TestWatchTakesOver(t *testing.T) {
	url, got := receiver(t)
	home := filepath.Join(t.TempDir(), "state")
	a, st := watchApp(t, home, url, "")
	b, st2 := watchApp(t, home, url, "")
	stopA, err := a.watch(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	stopB, err := b.watch(t.Context(), st2)
	if err != nil {
		t.Fatal(err)
	}
	denials(t, st, "sarah", 5)
	next(t, got)
	denials(t, st, "bob", 3)
	stopA()
	denials(t, st2, "bob", 2)
	if m := next(t, got); m.Agent != "bob" || m.Count != 5 {
		t.Errorf("message %+v", m)
	}
	stopB()
	nothing(t, got)
}

// TestWatchCrash: a watcher that dies between raising an alert and saving how
// far it was neither loses nor doubles anything.
func TestWatchCrash(t *testing.T) {
	url, got := receiver(t)
	a, st := watchApp(t, filepath.Join(t.TempDir(), "state"), url, "")
	begin := func() *watcher {
		w, err := a.newWatcher(st)
		if err == nil {
			err = w.resume(t.Context())
		}
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	first := begin()
	denials(t, st, "sarah", 3)
	first.pass(t.Context())
	first.save(t.Context())
	denials(t, st, "sarah", 3)
	first.pass(t.Context()) // and dies here
	second := begin()
	denials(t, st, "sarah", 1)
	second.pass(t.Context())
	second.deliver(t.Context())
	second.disp.Wait()
	list, err := a.Alerts(t.Context(), AlertFilter{})
	if err != nil || len(list) != 1 || list[0].Count != 7 {
		t.Errorf("%+v: %v", list, err)
	}
	next(t, got)
	nothing(t, got)
	if n := second.engine.Observe(alert.Event{ID: 1 << 40, Time: time.Now().Add(time.Hour), Type: "exec.blocked", Agent: "sarah"}); len(n) != 0 {
		t.Errorf("after an hour: %+v", n)
	}
}

func ask(t *testing.T, a *App) string {
	t.Helper()
	svc, _, err := a.People(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	act := action.Action{Kind: action.Exec, Target: "s1", Args: map[string]any{"script": "ls"}, Agent: "sarah", Session: "s1", Context: "c1", Principal: principal.ForAgent("sarah")}
	l := label.New(label.Internal, label.Foreign, 0)
	digest, err := act.Digest(l, "set")
	if err != nil {
		t.Fatal(err)
	}
	_, err = svc.Await(t.Context(), record.ApprovalRequest{Action: act, Digest: digest, Context: l, PolicySet: "set", Needs: []record.Need{{Count: 1, Group: "owner"}}, Because: "x"})
	if !fault.Is(err, fault.NeedsAsk) {
		t.Fatal(err)
	}
	asks, err := a.Asks(t.Context(), false)
	if err != nil || len(asks) != 1 {
		t.Fatalf("%v: %v", asks, err)
	}
	return asks[0].ID
}

// TestChecks: what makes no event by itself is looked at, told once, and told
// again only when it ends and comes back or an hour passes.
func TestChecks(t *testing.T) {
	url, got := receiver(t)
	a, st := watchApp(t, filepath.Join(t.TempDir(), "state"), url, "")
	if err := os.MkdirAll(a.Paths.Reports, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"2026-11-21-level4-host.txt", "2026-11-21-level2-host.txt"} {
		if err := os.WriteFile(filepath.Join(a.Paths.Reports, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	id := ask(t, a)
	now := time.Now()
	disk, memory := space{5 << 30, 10 << 30}, space{4 << 30, 8 << 30}
	w, err := a.newWatcher(st)
	if err != nil {
		t.Fatal(err)
	}
	tune := func(w *watcher) {
		w.now = func() time.Time { return now }
		w.checks.disk, w.checks.memory = func(string) space { return disk }, func() space { return memory }
		if err := w.resume(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	tune(w)
	round := func(w *watcher) []string {
		var out []string
		now = now.Add(watchCheck)
		w.check(t.Context())
		w.pass(t.Context())
		w.deliver(t.Context())
		w.disp.Wait()
		for len(got) > 0 {
			out = append(out, (<-got).Rule)
		}
		return out
	}
	want := func(step string, w *watcher, rules ...string) {
		t.Helper()
		if d := cmp.Diff(rules, round(w)); d != "" {
			t.Errorf("%s: %s", step, d)
		}
	}
	want("a report is there", w, "report")
	want("nothing new", w)
	now = now.Add(askPatience)
	want("a question waits", w, "approval")
	want("it waits on", w)
	disk.free = 1<<30 - 1
	memory.free = memory.total / 25
	want("both run out", w, "disk", "memory")
	want("still", w)
	rows, err := st.Events(t.Context(), store.Filter{Types: []string{alert.EventDiskLow}})
	if err != nil || len(rows) != 1 || !strings.Contains(string(rows[0].Data), `"free_mib":1023`) {
		t.Errorf("%+v: %v", rows, err)
	}
	w.save(t.Context())
	second, err := a.newWatcher(st)
	if err != nil {
		t.Fatal(err)
	}
	tune(second)
	disk.free, memory.free = 5<<30, 4<<30
	want("after a new start", second)
	if list, err := a.Alerts(t.Context(), AlertFilter{Rule: "approval"}); err != nil || len(list) != 1 || !strings.Contains(list[0].Title, id) {
		t.Errorf("%+v: %v", list, err)
	}
}

func TestSpace(t *testing.T) {
	const gib = 1 << 30
	for _, tt := range []struct {
		s    space
		want bool
	}{
		{space{}, false},
		{space{2 * gib, 10 * gib}, false},
		{space{gib - 1, 10 * gib}, true},
		{space{49 * gib, 1000 * gib}, true},
		{space{51 * gib, 1000 * gib}, false},
	} {
		if got := tt.s.below(5, gib); got != tt.want {
			t.Errorf("%+v: %v", tt.s, got)
		}
	}
	if d, m := diskOf(t.TempDir()), memoryOf(); d.total == 0 || d.free > d.total || m.total == 0 || m.free > m.total {
		t.Errorf("disk %+v, memory %+v", d, m)
	}
}

// TestDamagedLog: a log that does not verify is an alert, once a day; a
// verification that was cut short is none.
func TestDamagedLog(t *testing.T) {
	url, got := receiver(t)
	a, st := watchApp(t, filepath.Join(t.TempDir(), "state"), url, "")
	w, err := a.newWatcher(st)
	if err == nil {
		err = w.resume(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	denials(t, st, "x", 1)
	w.once(t.Context(), verifyCursor, w.verify) // the log as it is
	now := time.Now().Add(daily + time.Minute)
	w.now = func() time.Time { return now }
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	w.checks.verified = func(context.Context) error { return fault.New("x", fault.Corrupt, "cut short") }
	if err := w.verify(ended); !fault.Is(err, fault.Corrupt) {
		t.Error(err)
	}
	runs := 0
	w.checks.verified = func(context.Context) error { runs++; return fault.New("x", fault.Corrupt, "entry 3 was changed") }
	w.once(t.Context(), verifyCursor, w.verify)
	w.once(t.Context(), verifyCursor, w.verify)
	w.pass(t.Context())
	w.deliver(t.Context())
	w.disp.Wait()
	if m := next(t, got); m.Rule != "log" || m.Severity != "critical" || runs != 1 {
		t.Errorf("%d runs, message %+v", runs, m)
	}
	nothing(t, got)
}

// TestRetention: what is older than was configured goes, once a day, and the
// log still verifies.
func TestRetention(t *testing.T) {
	a, st := watchApp(t, filepath.Join(t.TempDir(), "state"), "http://127.0.0.1:1/", "compliance: {retention_days: 7}\n")
	w, err := a.newWatcher(st)
	if err != nil {
		t.Fatal(err)
	}
	denials(t, st, "x", 3)
	count := func() int {
		rows, err := st.Events(t.Context(), store.Filter{Types: []string{"exec.blocked"}})
		if err != nil {
			t.Fatal(err)
		}
		return len(rows)
	}
	for _, tt := range []struct{ days, left int }{{6, 3}, {8, 0}} {
		now := time.Now().AddDate(0, 0, tt.days)
		w.now = func() time.Time { return now }
		w.once(t.Context(), retainCursor, w.retain)
		if n := count(); n != tt.left {
			t.Errorf("after %d days %d events are left, want %d", tt.days, n, tt.left)
		}
	}
	if res, err := a.VerifyLog(t.Context(), VerifyOptions{}); err != nil || !res.OK {
		t.Errorf("%+v: %v", res, err)
	}
}

// TestTroubleIsTold: when nothing can be recorded any more, sinks hear of it
// directly, and not again and again.
func TestTroubleIsTold(t *testing.T) {
	url, got := receiver(t)
	a, st := watchApp(t, filepath.Join(t.TempDir(), "state"), url, "")
	w, err := a.newWatcher(st)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	w.checks.disk, w.checks.memory = func(string) space { return space{0, 1 << 40} }, func() space { return space{} }
	w.check(t.Context())
	w.pass(t.Context())
	w.save(t.Context())
	var rules []string
	for range 2 {
		rules = append(rules, next(t, got).Rule)
	}
	if d := cmp.Diff([]string{"watcher", alert.EventDiskLow}, rules); d != "" {
		t.Error(d)
	}
	nothing(t, got)
}

func TestWatchRefuses(t *testing.T) {
	for name, tt := range map[string]struct{ more, says string }{
		"no secret":       {"    - {name: b, webhook: {url: \"http://127.0.0.1:1/\", secret_env: NO_SUCH}}\n", "NO_SUCH"},
		"twice":           {"    - {name: hook, command: [/bin/true]}\n", "two alert sinks"},
		"no path":         {"    - {name: b, command: [\"true\"]}\n", "absolute path"},
		"no such rule":    {"  off: [dnials]\n", "no shipped rule"},
		"rule of nothing": {"  rules: [{name: x, severity: low}]\n", "no condition"},
		"count alone":     {"  rules: [{name: x, event: y, count: 3, severity: low}]\n", "needs within"},
	} {
		a, st := watchApp(t, filepath.Join(t.TempDir(), "state"), "http://127.0.0.1:1/", tt.more)
		if _, err := a.watch(t.Context(), st); !fault.Is(err, fault.Config) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v, want a configuration error about %q", name, err, tt.says)
		}
	}
}

func TestAlertRules(t *testing.T) {
	names := func(more string) []string {
		a, _ := watchApp(t, filepath.Join(t.TempDir(), "state"), "http://127.0.0.1:1/", more)
		rules, err := a.alertRules()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range rules {
			out = append(out, fmt.Sprintf("%s/%d/%s/%s", r.Name, r.Severity, r.Within, r.Cooldown))
		}
		return out
	}
	all := names("")
	own := names("  off: [memory, disk, logins, sink, log, report, unjudged, approval, dangerous]\n  rules: [{name: denials, event: x, severity: low, count: 2, within: 10m, cooldown: 10m}]\nmonitoring: {alert_levels: [error]}\n")
	if len(all) != len(alert.Shipped()) {
		t.Errorf("in force are %v", all)
	}
	if d := cmp.Diff([]string{"authentication/4/5m0s/5m0s", "error/3/0s/0s", "denials/2/10m0s/10m0s"}, own); d != "" {
		t.Error(d)
	}
}

// TestCommandSink: a program gets the alert and nothing of ours, and it ends
// with all that it started when its time is over.
func TestCommandSink(t *testing.T) {
	t.Setenv("SECRET_OF_OURS", "x")
	out := filepath.Join(t.TempDir(), "out")
	script := filepath.Join(t.TempDir(), "sink")
	if err := os.WriteFile(script, []byte("#!/bin/sh\n(cat; echo; env; pwd) > \"$1\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := runCommand(t.Context(), []string{script, out}, []byte(`{"id":"k3x"}`)); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil || !strings.HasPrefix(string(b), `{"id":"k3x"}`) || strings.Contains(string(b), "SECRET") || strings.Contains(string(b), "HOME=") || !strings.HasSuffix(string(b), "\n/\n") {
		t.Errorf("%s: %v", b, err)
	}
	if err := runCommand(t.Context(), []string{"/bin/false"}, nil); err == nil {
		t.Error("a program that fails is taken as done")
	}
	if err := os.WriteFile(script, []byte("#!/bin/sh\nsleep 1000 &\necho $! > \"$1\"\nmv \"$1\" \"$1.ready\"\nwait\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- runCommand(ctx, []string{script, out}, nil) }()
	var pid []byte
	for end := time.Now().Add(20 * time.Second); pid == nil && time.Now().Before(end); {
		pid, _ = os.ReadFile(out + ".ready")
	}
	cancel()
	if err := <-ended; err == nil {
		t.Error("a program that was killed is taken as done")
	}
	stat := func() string {
		b, _ := os.ReadFile("/proc/" + strings.TrimSpace(string(pid)) + "/stat")
		return string(b)
	}
	for end := time.Now().Add(20 * time.Second); stat() != "" && !strings.Contains(stat(), ") Z "); {
		if time.Now().After(end) {
			t.Fatal("what the program started is still there")
		}
	}
}
