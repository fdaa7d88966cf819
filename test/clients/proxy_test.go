package clients

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sallyport/test/fakes/modelserver"
)

// proxy is a running sallyport proxy with a state directory of its own.
type proxy struct {
	name      string // the program
	base, key string
	env       []string
	cmd       *exec.Cmd
	said      *transcript
	ended     chan struct{}
	once      *sync.Once // of ending it
}

// transcript keeps what a process says and tells of its first lines.
type transcript struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	once   sync.Once
	listen chan string // the address, once it is told
}

var address = regexp.MustCompile(`https?://(127\.0\.0\.1:\d+)`)

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buf.Write(b)
	if m := address.FindSubmatch(s.buf.Bytes()); m != nil && bytes.HasSuffix(b, []byte("\n")) {
		s.once.Do(func() { s.listen <- string(m[1]) })
	}
	return len(b), nil
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// binaries is where the program was built.
var binaries atomic.Pointer[string]

// program is the sallyport under test, built once.
var program = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("/var/tmp", "clients-bin-")
	if err != nil {
		return "", err
	}
	binaries.Store(&dir)
	name := filepath.Join(dir, "sallyport")
	if out, err := exec.Command("go", "build", "-o", name, "sallyport/cmd/sallyport").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return name, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir := binaries.Load(); dir != nil {
		_ = os.RemoveAll(*dir)
	}
	os.Exit(code)
}

// openProxy starts a proxy in front of the lab's model.
func openProxy(t *testing.T, l *lab) (base, key string) {
	t.Helper()
	return openWith(t, l, nil)
}

// openWith starts one with more settings.
func openWith(t *testing.T, l *lab, more map[string]any) (base, key string) {
	t.Helper()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(l.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "sallyport.yaml"), settings(t, l.model.URL, more), 0o600); err != nil {
		t.Fatal(err)
	}
	if exec.Command(name, "keys", "--help").Run() != nil {
		t.Skip("SKIPPED, NO PROXY WAS TRIED: this sallyport has none")
	}
	p := &proxy{name: name}
	p.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + l.dir, "SALLYPORT_HOME=" + state, "LANG=C.UTF-8", "MODEL_KEY=" + modelKey}
	out := p.run(t, "keys", "create", "lab", "--agent", "coder", "--json")
	if p.key = token.FindString(out); p.key == "" {
		t.Fatalf("no key in %q", out)
	}
	p.start(t)
	l.proxy = p
	return p.base, p.key
}

// token is the form of an API key.
var token = regexp.MustCompile(`sallyport_[a-z2-7]{59}`)

// settings write the configuration: the model is every vendor's, and one word is
// forbidden.
func settings(t *testing.T, model string, more map[string]any) []byte {
	t.Helper()
	type object = map[string]any
	upstreams, endpoints := object{}, object{}
	for _, vendor := range []string{"openai", "anthropic", "gemini"} {
		upstreams[vendor] = object{"base_url": model, "key_env": "MODEL_KEY"}
		endpoints[vendor] = object{"clearance": "internal"}
	}
	proxy := object{"listen": "127.0.0.1:0", "upstreams": upstreams, "approval_wait_seconds": 1, "max_calls": 100}
	all := object{
		"security":  object{"dangerous_keywords": []string{forbidden}, "suspicious_keywords": []string{doubtful}, "suspicious_action": "ask"},
		"agents":    object{"coder": object{"clearance": "internal"}},
		"endpoints": endpoints, "proxy": proxy,
	}
	maps.Copy(proxy, more)
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a command of sallyport beside the proxy and gives what it prints.
func (p *proxy) run(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), p.name, args...)
	cmd.Env = p.env
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("sallyport %q: %v\n%s%s", args, err, out, complaints.Bytes())
	}
	return string(out)
}

// start runs the proxy until the test ends.
func (p *proxy) start(t *testing.T) {
	t.Helper()
	p.said, p.ended, p.once = &transcript{listen: make(chan string, 1)}, make(chan struct{}), &sync.Once{}
	p.cmd = exec.Command(p.name, "proxy")
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, cmd := p.ended, p.cmd
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Logf("the proxy said:\n%s", p.said)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case at := <-p.said.listen:
		p.base = "http://" + at
	case <-p.ended:
		t.Fatalf("sallyport proxy ended with %s:\n%s", p.cmd.ProcessState, p.said)
	case <-ctx.Done():
		t.Fatalf("sallyport proxy does not tell where it listens:\n%s", p.said)
	}
}

// stop ends the proxy as its operator would. What it had in work is settled
// then.
func (p *proxy) stop(t *testing.T) {
	t.Helper()
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		<-p.ended
		if p.cmd.ProcessState.ExitCode() < 0 {
			t.Errorf("the proxy ended by a signal: %s", p.cmd.ProcessState)
		}
	})
}

// counted ends the proxy and checks what the log says of the model calls that
// used something: how many, and the figures of all together.
func (p *proxy) counted(t *testing.T, c client, calls int, want ...modelserver.Usage) {
	t.Helper()
	p.stop(t)
	var sum, got modelserver.Usage
	add := func(to *modelserver.Usage, u modelserver.Usage) {
		to.Input += u.Input
		to.Output += u.Output
		to.CacheRead += u.CacheRead
		to.CacheWrite += u.CacheWrite
		to.Reasoning += u.Reasoning
	}
	for _, u := range want {
		if c.api != "messages" {
			u.CacheWrite = 0 // no other API has it
		}
		add(&sum, u)
	}
	n := 0
	for _, e := range p.events(t) {
		u := e.Data.Result.Usage
		if !strings.HasPrefix(e.Type, "model.call.") || u.Input+u.Output == 0 || e.Data.Result.Before {
			continue
		}
		n++
		add(&got, modelserver.Usage(u))
	}
	if d := cmp.Diff(sum, got); d != "" || n != calls {
		t.Errorf("counted in %d calls, not %d (-want +got)\n%s", n, calls, d)
	}
}

// event is what a test reads of one.
type event struct {
	Type string `json:"type"`
	Data struct {
		Decision string   `json:"decision"`
		Target   string   `json:"target"`
		Rules    []string `json:"rules"`
		Result   struct {
			Before bool `json:"paid_before"`
			Usage  struct {
				Input      int64 `json:"input_tokens"`
				Output     int64 `json:"output_tokens"`
				CacheRead  int64 `json:"cache_read_tokens"`
				CacheWrite int64 `json:"cache_write_tokens"`
				Reasoning  int64 `json:"reasoning_tokens"`
			} `json:"usage"`
		} `json:"result"`
	} `json:"data"`
}

// events gives the whole log.
func (p *proxy) events(t *testing.T) []event {
	t.Helper()
	out := p.run(t, "events", "--json", "--limit", "0")
	var all []event
	d := json.NewDecoder(strings.NewReader(out))
	for d.More() {
		var one struct {
			event
			Events []event `json:"events"`
		}
		if err := d.Decode(&one); err != nil {
			t.Fatalf("events: %v\n%s", err, out)
		}
		all = append(append(all, one.Events...), one.event)
	}
	return all
}
