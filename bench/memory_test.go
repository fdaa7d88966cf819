package bench

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"sallyport/test/fakes/modelserver"
)

// BenchmarkMemory is the memory of the built binary and all its children, as
// PSS, with so many agents in one process. Each agent has had one turn, has a
// bash that lives in a sandbox of its own, and waits for its model.
func BenchmarkMemory(b *testing.B) {
	bin := binary(b)
	counts := os.Getenv("BENCH_AGENTS")
	if counts == "" {
		counts = "1,10,100"
	}
	for text := range strings.SplitSeq(counts, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			b.Fatalf("BENCH_AGENTS has %q, not a number above 0", text)
		}
		b.Run(fmt.Sprintf("agents=%d", n), func(b *testing.B) {
			var m usage
			for b.Loop() {
				m = crew(b, bin, n)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(m.all)/1e6, "MB")
			b.ReportMetric(float64(m.supervisor)/1e6, "MB-supervisor")
			b.ReportMetric(float64(m.processes), "processes")
			if m.closed > 0 {
				b.Logf("%d of %d processes could not be read and are not counted; run as root", m.closed, m.processes)
			}
		})
	}
}

// perHost is how many agents share a model's host: a process keeps at most 32
// connections to one, and here every agent waits for its reply at once.
const perHost = 25

// crew runs n agents until each waits for its second reply.
func crew(b *testing.B, bin string, n int) usage {
	b.Helper()
	first, err := modelserver.Render("openai", modelserver.Reply{Text: "ls -ld /etc", Usage: &modelserver.Usage{}}, true)
	if err != nil {
		b.Fatal(err)
	}
	var waiting atomic.Int64
	end := make(chan struct{})
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		if !bytes.Contains(body.Bytes(), []byte(`"assistant"`)) {
			w.Header().Set("Content-Type", "text/event-stream")
			_, _ = w.Write(first)
			return
		}
		waiting.Add(1)
		select {
		case <-end:
		case <-r.Context().Done():
		}
	})
	var hosts []string
	for range (n + perHost - 1) / perHost {
		srv := httptest.NewServer(answer)
		defer srv.Close()
		hosts = append(hosts, srv.Listener.Addr().String())
	}
	defer close(end)
	dir := b.TempDir()
	agents(b, dir, hosts, n)
	c := exec.Command(bin, "run", dir)
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "SALLYPORT_HOME=" + filepath.Join(dir, "state")}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	late := time.After(time.Minute)
	for waiting.Load() < int64(n) {
		select {
		case <-late:
			_ = c.Process.Signal(syscall.SIGQUIT) // its stacks say why
			<-ended
			b.Fatalf("only %d of %d agents are at work after a minute\n%s", waiting.Load(), n, tail(out.String()))
		case err := <-ended:
			b.Fatalf("the run ended with %d of %d agents at work: %v\n%s", waiting.Load(), n, err, tail(out.String()))
		case <-time.After(50 * time.Millisecond):
		}
	}
	m := measure(b, c.Process.Pid)
	_ = c.Process.Kill()
	<-ended
	return m
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

// agents writes the files of n agents and their settings.
func agents(b *testing.B, dir string, hosts []string, n int) {
	b.Helper()
	var models, ends, set strings.Builder
	for i, h := range hosts {
		fmt.Fprintf(&models, "  bench%[1]d: {provider: openai, model: bench%[1]d, base_url: \"http://%[2]s/v1\", price: {input: 0, output: 0}}\n", i, h)
		fmt.Fprintf(&ends, "  %q: {clearance: internal, allow_private: [%q]}\n", h, h)
	}
	fmt.Fprintf(&set, "models:\n%sendpoints:\n%sprofiles:\n  workspace: {enable_command_execution: true}\nagents:\n", &models, &ends)
	for i := range n {
		name := fmt.Sprintf("agent%04d", i)
		fmt.Fprintf(&set, "  %s: {profile: workspace, clearance: internal}\n", name)
		model := fmt.Sprintf("bench%d", i/perHost)
		text := "username: " + name + "\ntitle: Worker\nshellModel: " + model + "\nwebModel: " + model + "\nagentPrompt: Look around.\ntokenMax: 6000\ndebugPauseSeconds: 5\nspendLimitDollars: 1\n"
		if err := os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sallyport.yaml"), []byte(set.String()), 0o600); err != nil {
		b.Fatal(err)
	}
}

// usage is the memory of a process and all its descendants.
type usage struct {
	all, supervisor   int64 // bytes, proportional set size
	processes, closed int   // closed ones may not be read
}

func measure(b *testing.B, root int) (m usage) {
	b.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		b.Fatal(err)
	}
	children := map[int][]int{}
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it ended meanwhile
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// The name stands in parentheses and may hold anything.
		f := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(f) > 1 {
			parent, _ := strconv.Atoi(f[1])
			children[parent] = append(children[parent], pid)
		}
	}
	for todo := []int{root}; len(todo) > 0; todo = todo[1:] {
		pid := todo[0]
		todo = append(todo, children[pid]...)
		m.processes++
		p, ok := pss(pid)
		if !ok {
			m.closed++
		}
		m.all += p
		if pid == root {
			m.supervisor = p
		}
	}
	return m
}

// pss reads a process' proportional set size in bytes.
func pss(pid int) (int64, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err == nil
		}
	}
	return 0, false
}
