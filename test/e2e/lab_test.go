// Package e2e runs the whole program as a process against faults: a scripted
// provider on loopback, a real shell in the kernel sandbox, a real database.
// Nothing is mocked but the provider. Each test has its own state directory.
// What needs root or the full sandbox is skipped loudly.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/internal/app"
	"sallyport/internal/cli"
	"sallyport/internal/sandbox"
	"sallyport/test/fakes/modelserver"
)

// asProgram makes the test binary be the program.
const asProgram = "SALLYPORT_E2E"

func TestMain(m *testing.M) {
	app.MaybeInit()
	if os.Getenv(asProgram) == "1" {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
		code := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// The exit codes of docs/exit-codes.md that are met here.
const (
	codeOK          = 0
	codeConfig      = 3
	codeDenied      = 4
	codeBudget      = 5
	codeUnavailable = 6
	codeInterrupted = 130
)

const patience = 60 * time.Second // for a whole run on a loaded machine

// lab is one installation with one agent.
type lab struct {
	t      *testing.T
	dir    string // agent files and the configuration
	home   string // SALLYPORT_HOME
	key    string // the provider's key, an obvious fake
	server *modelserver.Server

	provider   string // openai (default), anthropic or gemini
	clearance  string // of the endpoint; default internal
	noPrice    bool
	noExec     bool
	profile    string   // default workspace
	pause      string   // debugPauseSeconds; default 0.01
	limit      string   // spendLimitDollars; default 1.00
	protection string   // commandProtection of the agent file
	extra      []string // further lines of sallyport.yaml
	tools      string   // the tools: section's lines
	bounds     string   // limits: of the profile, in flow style
	started    bool
}

func needsSandbox(t *testing.T) {
	t.Helper()
	if r := sandbox.Probe(t.Context()); r.Tier < sandbox.TierFull {
		t.Skipf("SKIPPED, NOT PASSED: needs the sandbox's tier full, here is %v", r.Tier)
	}
}

func newLab(t *testing.T, replies ...modelserver.Reply) *lab {
	t.Helper()
	needsSandbox(t)
	dir := t.TempDir()
	l := &lab{
		t: t, dir: filepath.Join(dir, "agents"), home: filepath.Join(dir, "state"),
		key:    fmt.Sprintf("fake-key-canary-%x", time.Now().UnixNano()),
		server: modelserver.New(t, replies...), provider: "openai", clearance: "internal", profile: "workspace", limit: "1.00", pause: "0.01",
	}
	for d, mode := range map[string]os.FileMode{l.dir: 0o755, l.home: 0o700} {
		if err := os.Mkdir(d, mode); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// say is a reply that costs something.
func say(text string) modelserver.Reply {
	return modelserver.Reply{Text: text, Pieces: 40, Usage: &modelserver.Usage{Input: 100, Output: 20}}
}

// base is the provider's base address, in the provider's own form.
func (l *lab) base() string {
	switch l.provider {
	case "anthropic":
		return l.server.URL
	case "gemini":
		return l.server.URL + "/v1beta"
	}
	return l.server.URL + "/v1"
}

func (l *lab) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "models:\n  thinker:\n    provider: %s\n    model: scripted\n    base_url: %s\n    key_env: FAKE_PROVIDER_KEY\n", l.provider, l.base())
	if !l.noPrice {
		b.WriteString("    price: {input: 1.0, output: 2.0}\n")
	}
	fmt.Fprintf(&b, "endpoints:\n  \"%s\": {clearance: %s}\n", l.server.Addr(), l.clearance)
	fmt.Fprintf(&b, "agents:\n  ada: {profile: %s, clearance: internal}\n  bob: {profile: %s, clearance: internal}\n", l.profile, l.profile)
	if !l.noExec || l.bounds != "" {
		fmt.Fprintf(&b, "profiles:\n  %s:\n", l.profile)
		if !l.noExec {
			b.WriteString("    enable_command_execution: true\n")
		}
		if l.bounds != "" {
			fmt.Fprintf(&b, "    limits: %s\n", l.bounds)
		}
	}
	if l.tools != "" {
		fmt.Fprintf(&b, "tools: %s\n", l.tools)
	}
	for _, line := range l.extra {
		b.WriteString(line + "\n")
	}
	return b.String()
}

func (l *lab) agent(name string) string {
	s := "username: " + name + "\ntitle: Tester\nshellModel: thinker\nwebModel: thinker\ntokenMax: 20000\n" +
		"debugPauseSeconds: " + l.pause + "\nspendLimitDollars: " + l.limit + "\nagentPrompt: |\n  You are ${agent.username}.\n"
	if l.protection != "" {
		s += "commandProtection: " + l.protection + "\n"
	}
	return s
}

func (l *lab) file(name string) string { return filepath.Join(l.dir, name) }

func (l *lab) write(name, text string) {
	l.t.Helper()
	if err := os.WriteFile(l.file(name), []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) prepare() {
	if l.started {
		return
	}
	l.started = true
	l.write("sallyport.yaml", l.config())
	l.write("ada.yaml", l.agent("ada"))
}

// result is how a process ended.
type result struct {
	code     int
	out, err string
	took     time.Duration
}

func (r result) text() string { return r.out + r.err }

// proc is a running sallyport.
type proc struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err *buffer
	done     chan struct{}
	began    time.Time
}

// buffer collects output while it may be read.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// command makes the process of sallyport with these words.
func (l *lab) command(args ...string) *proc {
	l.t.Helper()
	self, err := os.Executable()
	if err != nil {
		l.t.Fatal(err)
	}
	p := &proc{t: l.t, cmd: exec.Command(self, args...), out: &buffer{}, err: &buffer{}, done: make(chan struct{}), began: time.Now()}
	p.cmd.Env = []string{
		asProgram + "=1", "SALLYPORT_HOME=" + l.home, "FAKE_PROVIDER_KEY=" + l.key,
		"HOME=" + l.dir, "PATH=" + os.Getenv("PATH"), "TZ=UTC", "NO_COLOR=1", "COLUMNS=200", "TERM=xterm",
	}
	return p
}

// start starts sallyport with these words in a process group of its own.
func (l *lab) start(args ...string) *proc {
	l.t.Helper()
	l.prepare()
	p := l.command(args...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 2 * time.Second // a sandbox that outlives the program must not hang the test
	if err := p.cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	l.watch(p)
	return p
}

// watch waits for a started process and ends it with the test.
func (l *lab) watch(p *proc) {
	go func() { _ = p.cmd.Wait(); close(p.done) }() // the code is read from ProcessState
	l.t.Cleanup(func() {
		select {
		case <-p.done:
		default:
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
}

func (p *proc) wait(limit time.Duration) result {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(limit):
		_ = p.cmd.Process.Kill()
		<-p.done
		p.t.Fatalf("%q did not end within %v\n%s\n%s", p.cmd.Args[1:], limit, tail(p.out.String()), tail(p.err.String()))
	}
	return result{p.cmd.ProcessState.ExitCode(), p.out.String(), p.err.String(), time.Since(p.began)}
}

func (p *proc) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

func tail(s string) string {
	if len(s) > 6000 {
		return "…" + s[len(s)-6000:]
	}
	return s
}

// call runs a command to its end.
func (l *lab) call(args ...string) result {
	l.t.Helper()
	return l.start(args...).wait(patience)
}

// ok runs a command that must succeed.
func (l *lab) ok(args ...string) result {
	l.t.Helper()
	return l.ends(codeOK, args...)
}

// ends runs a command that must end with the code.
func (l *lab) ends(code int, args ...string) result {
	l.t.Helper()
	r := l.call(args...)
	if r.code != code {
		l.t.Fatalf("sallyport %s: exit %d, want %d\n%s\n%s\n%s", strings.Join(args, " "), r.code, code, tail(r.out), tail(r.err), l.asked())
	}
	return r
}

// patrol is `run --once` of the agent, which must end with the code.
func (l *lab) patrol(code int, args ...string) result {
	l.t.Helper()
	return l.ends(code, append([]string{"run", l.file("ada.yaml"), "--once", "--unattended"}, args...)...)
}

// verify proves the log.
func (l *lab) verify() {
	l.t.Helper()
	l.ok("verify")
}

// body gives the text of the n-th request, from 0, with JSON's escapes undone.
func (l *lab) body(n int) string {
	l.t.Helper()
	all := l.server.Requests()
	if n >= len(all) {
		l.t.Fatalf("the provider was asked %d times, want more than %d", len(all), n)
	}
	return flat(all[n])
}

func flat(r modelserver.Request) string {
	var out []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			for _, key := range []string{"system", "systemInstruction", "messages", "contents", "content", "parts", "text"} {
				walk(v[key])
			}
		}
	}
	walk(map[string]any(r.JSON()))
	return strings.Join(out, "\n")
}

// asked shows what the provider saw, for a failed test.
func (l *lab) asked() string {
	var b strings.Builder
	for i, r := range l.server.Requests() {
		_, text, _ := strings.Cut(flat(r), "say what you need in your note.")
		fmt.Fprintf(&b, "--- request %d\n%s\n", i, tail(text))
	}
	return b.String()
}

func (l *lab) has(where, text string, wants ...string) {
	l.t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			l.t.Errorf("%s does not hold %q:\n%s", where, want, tail(text))
		}
	}
}

func (l *lab) lacks(where, text string, bans ...string) {
	l.t.Helper()
	for _, ban := range bans {
		if strings.Contains(text, ban) {
			l.t.Errorf("%s holds %q:\n%s", where, ban, tail(text))
		}
	}
}

// eventLines gives the events as JSON lines.
func (l *lab) eventLines() []string {
	l.t.Helper()
	out := strings.TrimSpace(l.ok("events", "--json", "--limit", "100000").out)
	if out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// into decodes a command's JSON.
func (l *lab) into(v any, args ...string) {
	l.t.Helper()
	r := l.ok(append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.out), v); err != nil {
		l.t.Fatalf("%q: %v\n%s", args, err, tail(r.out))
	}
}

// until waits for something to become true.
func until(t *testing.T, limit time.Duration, what string, is func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !is() {
		if time.Since(began) > limit {
			t.Fatalf("within %v it did not happen that %s", limit, what)
		}
		time.Sleep(10 * time.Millisecond) // /proc and other processes have no event to wait for
	}
	return time.Since(began)
}

// processes lists the ids of processes with the marker among their arguments.
func processes(marker string) []string {
	var out []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			continue // it ended meanwhile
		}
		for arg := range bytes.SplitSeq(b, []byte{0}) {
			if string(arg) == marker {
				out = append(out, filepath.Base(filepath.Dir(f)))
			}
		}
	}
	return out
}

// reply answers only requests that hold a text.
func reply(match, text string) modelserver.Reply {
	r := say(text)
	r.Match = match
	return r
}

// newLoop says the same for ever.
func newLoop(t *testing.T, texts ...string) *modelserver.Server {
	t.Helper()
	s := modelserver.Script{Loop: true}
	for _, text := range texts {
		s.Replies = append(s.Replies, say(text))
	}
	return modelserver.NewScript(t, s)
}
