// Package launch builds and starts sallyport proxy as its operator would, for
// tests with real clients, and reads back what its log says.
//
// It starts processes and writes below the directory that it is given; it ends
// them with the test. Only tests may import it.
package launch

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
)

// The words that Settings lists, and the policy's name for the first.
const (
	Forbidden = "sesame-1f7c" // dangerous: blocked
	Rule      = "security.dangerous_keywords"
	Doubtful  = "barley-9d2e" // suspicious: the owner is asked
)

// Proxy is a running sallyport proxy with a state directory of its own.
type Proxy struct {
	name string // the program
	Base string // the URL of its listener
	Key  string // a key of its clients
	env  []string
	cmd  *exec.Cmd
	said *transcript
	// Ended is closed when the process has ended.
	Ended chan struct{}
	once  *sync.Once // of ending it
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

// Clean removes what was built; for TestMain.
func Clean() {
	if dir := binaries.Load(); dir != nil {
		_ = os.RemoveAll(*dir)
	}
}

// Start makes a state directory below dir with settings, a key for the agent
// "coder", and runs the proxy until the test ends. upstreamKey is what its
// environment holds as MODEL_KEY.
func Start(t *testing.T, dir, upstreamKey string, settings []byte) *Proxy {
	t.Helper()
	name, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if exec.Command(name, "keys", "--help").Run() != nil {
		t.Skip("SKIPPED, NO PROXY WAS TRIED: this sallyport has none")
	}
	state := filepath.Join(dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(state, "sallyport.yaml"), settings, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &Proxy{name: name}
	p.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SALLYPORT_HOME=" + state, "LANG=C.UTF-8", "MODEL_KEY=" + upstreamKey}
	out := p.Run(t, "keys", "create", "lab", "--agent", "coder", "--json")
	if p.Key = token.FindString(out); p.Key == "" {
		t.Fatalf("no key in %q", out)
	}
	p.Start(t)
	return p
}

// token is the form of an API key.
var token = regexp.MustCompile(`sallyport_[a-z2-7]{59}`)

// Settings write a configuration: the model is every vendor's, and one word is
// forbidden.
func Settings(t *testing.T, model string, more map[string]any) []byte {
	t.Helper()
	type object = map[string]any
	upstreams, endpoints := object{}, object{}
	for _, vendor := range []string{"openai", "anthropic", "gemini"} {
		upstreams[vendor] = object{"base_url": model, "key_env": "MODEL_KEY"}
		endpoints[vendor] = object{"clearance": "internal"}
	}
	proxy := object{"listen": "127.0.0.1:0", "upstreams": upstreams, "approval_wait_seconds": 1, "max_calls": 100}
	all := object{
		"security":  object{"dangerous_keywords": []string{Forbidden}, "suspicious_keywords": []string{Doubtful}, "suspicious_action": "ask"},
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

// Run runs a command of sallyport beside the proxy and gives what it prints.
func (p *Proxy) Run(t *testing.T, args ...string) string {
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

// Start runs the proxy, again if it ended, until the test ends.
func (p *Proxy) Start(t *testing.T) {
	t.Helper()
	p.said, p.Ended, p.once = &transcript{listen: make(chan string, 1)}, make(chan struct{}), &sync.Once{}
	p.cmd = exec.Command(p.name, "proxy")
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended, cmd := p.Ended, p.cmd
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		p.Stop(t)
		if t.Failed() {
			t.Logf("the proxy said:\n%s", p.said)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	select {
	case at := <-p.said.listen:
		p.Base = "http://" + at
	case <-p.Ended:
		t.Fatalf("sallyport proxy ended with %s:\n%s", p.cmd.ProcessState, p.said)
	case <-ctx.Done():
		t.Fatalf("sallyport proxy does not tell where it listens:\n%s", p.said)
	}
}

// Stop ends the proxy as its operator would. What it had in work is settled
// then.
func (p *Proxy) Stop(t *testing.T) {
	t.Helper()
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
		defer late.Stop()
		<-p.Ended
		if p.cmd.ProcessState.ExitCode() < 0 {
			t.Errorf("the proxy ended by a signal: %s", p.cmd.ProcessState)
		}
	})
}

// Event is what a test reads of one.
type Event struct {
	Type string `json:"type"`
	Data struct {
		Kind     string   `json:"kind"`
		Status   string   `json:"status"` // of an action that ended
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

// Events gives the whole log.
func (p *Proxy) Events(t *testing.T) []Event {
	t.Helper()
	out := p.Run(t, "events", "--json", "--limit", "0")
	var all []Event
	d := json.NewDecoder(strings.NewReader(out))
	for d.More() {
		var one struct {
			Event
			Events []Event `json:"events"`
		}
		if err := d.Decode(&one); err != nil {
			t.Fatalf("events: %v\n%s", err, out)
		}
		all = append(append(all, one.Events...), one.Event)
	}
	return all
}

// Kill ends the proxy as a crash would.
func (p *Proxy) Kill() {
	p.once.Do(func() { _ = p.cmd.Process.Kill() })
}
