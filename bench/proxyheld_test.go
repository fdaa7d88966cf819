package bench

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// message writes an event of an Anthropic stream, which leaves at once.
func message(w http.ResponseWriter, event, data string) {
	fmt.Fprintf(w, "event: %s\ndata: {\"type\":%q%s}\n\n", event, event, data)
	_ = http.NewResponseController(w).Flush()
}

const asked = `{"model":"claude-sonnet-4-5","max_tokens":500,"stream":true,"messages":[{"role":"user","content":"Which boats came home? ` + serialMark + `"}]}`

// toolCall is a stream with one tool call, after whose end nothing comes until
// go is closed or the client is gone. ended hears when the call was complete.
func toolCall(ended chan<- time.Time, on <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		message(w, "message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"usage":{"input_tokens":20,"output_tokens":1}}`)
		message(w, "content_block_start", fmt.Sprintf(`,"index":0,"content_block":{"type":"tool_use","id":"toolu_%d","name":"list_boats","input":{}}`, serial.Add(1)))
		for _, piece := range []string{`{\"har`, `bour\":`, `\"north\"}`} {
			message(w, "content_block_delta", `,"index":0,"delta":{"type":"input_json_delta","partial_json":"`+piece+`"}`)
		}
		at := time.Now()
		message(w, "content_block_stop", `,"index":0`)
		ended <- at
		select {
		case <-on:
		case <-r.Context().Done():
			return
		}
		message(w, "message_delta", `,"delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":20}`)
		message(w, "message_stop", "")
	}
}

// BenchmarkProxyToolCall is how long after the model's last event of a tool call
// its client has that event, when the policy allows the call: the intent of
// tool.call is durable by then. In turns with no proxy.
func BenchmarkProxyToolCall(b *testing.B) {
	ended, on := make(chan time.Time, 1), make(chan struct{})
	r := build(b, toolCall(ended, on))
	held := func(way string, s *samples) {
		c, err := dial(r.addr[way], post(r.addr[way], "/v1/messages", r.token, asked, ""))
		if err != nil {
			b.Fatal(err)
		}
		defer c.conn.Close()
		got, err := c.until("content_block_stop", time.Minute)
		if err != nil {
			b.Fatal(err)
		}
		*s = append(*s, got.Sub(<-ended))
		on <- struct{}{}
		if _, err := c.until("message_stop", time.Minute); err != nil {
			b.Fatal(err)
		}
	}
	var direct, through samples
	for b.Loop() {
		for range 200 {
			held("direct", &direct)
			held("sallyport", &through)
		}
	}
	through.report(b, "", time.Microsecond)
	direct.report(b, "direct-", time.Microsecond)
}

// until reads until a line has a word, and says when. The first time it sends
// the request.
func (c *caller) until(word string, patience time.Duration) (time.Time, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	if c.req.bytes != nil {
		if _, err := c.conn.Write(c.req.bytes); err != nil {
			return time.Time{}, err
		}
		c.req.bytes = nil
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return time.Time{}, fmt.Errorf("before %s: %w", word, err)
		}
		if strings.Contains(line, word) {
			return time.Now(), nil
		}
	}
}

// silent is a model that begins to reply and then says nothing: text came, and
// the first half of a tool call, if half is set.
func silent(half bool, end <-chan struct{}) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/event-stream")
		message(w, "message_start", `,"message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-4-5","content":[],"stop_reason":null,"usage":{"input_tokens":20,"output_tokens":1}}`)
		message(w, "content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`)
		message(w, "content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"The boats came home."}`)
		message(w, "content_block_stop", `,"index":0`)
		if half {
			message(w, "content_block_start", `,"index":1,"content_block":{"type":"tool_use","id":"toolu_1","name":"list_boats","input":{}}`)
			message(w, "content_block_delta", `,"index":1,"delta":{"type":"input_json_delta","partial_json":"{\"har"}`)
		}
		select {
		case <-end:
		case <-r.Context().Done():
		}
	}
}

// streams is how many streams are held at once.
const streams = 1000

// BenchmarkProxyMemory is the memory of `sallyport proxy`, the built binary, as
// PSS: after its start, after a hundred calls, with 1,000 streams that say
// nothing, with the same ones BENCH_HOLD later, and when they have ended.
func BenchmarkProxyMemory(b *testing.B) {
	patience, err := time.ParseDuration(cmp.Or(os.Getenv("BENCH_HOLD"), "10s"))
	if err != nil {
		b.Fatalf("BENCH_HOLD: %v", err)
	}
	for _, held := range []string{"text", "half-a-call"} {
		b.Run("held="+held, func(b *testing.B) {
			for b.Loop() {
				memory(b, held != "text", patience)
			}
		})
	}
}

func memory(b *testing.B, half bool, patience time.Duration) {
	end := make(chan struct{})
	model := httptest.NewServer(silent(half, end))
	defer model.Close()
	home := settings(b, model.URL)
	a, token := office(b, home)
	if err := a.Close(); err != nil {
		b.Fatal(err)
	}
	pid, addr, stop := start(b, home)
	defer stop()
	mb := func(name string) int64 {
		time.Sleep(time.Second) // for what is settled behind the calls
		n, ok := pss(pid)
		if !ok {
			b.Skip("SKIPPED: the memory of a child cannot be read here")
		}
		b.ReportMetric(float64(n)/1e6, name)
		return n
	}
	mb("MB-started")
	hold := func(n int) (done func()) {
		var all []*caller
		var wait sync.WaitGroup
		for range n {
			c, err := dial(addr, post(addr, "/v1/messages", token, asked, ""))
			if err != nil {
				b.Fatal(err)
			}
			all = append(all, c)
			wait.Go(func() {
				if _, err := c.until("content_block_stop", time.Minute); err != nil {
					b.Error(err)
				}
			})
		}
		wait.Wait()
		return func() {
			for _, c := range all {
				c.conn.Close()
			}
		}
	}
	hold(100)()
	idle := mb("MB-idle")
	done := hold(streams)
	full := mb("MB-held")
	b.ReportMetric(float64(full-idle)/streams/1e3, "KB-per-stream")
	time.Sleep(patience)
	later := mb("MB-held-later")
	b.ReportMetric(float64(later-idle)/streams/1e3, "KB-per-stream-later")
	close(end)
	done()
	mb("MB-after")
	b.ReportMetric(0, "ns/op")
}

// start runs the built binary's proxy until stop.
func start(b *testing.B, home string) (pid int, addr string, stop func()) {
	b.Helper()
	c := exec.Command(binary(b), "proxy")
	c.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "SALLYPORT_HOME=" + home, "UP_KEY=" + providerKey}
	c.Dir = filepath.Dir(home)
	out, err := c.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	c.Stderr = c.Stdout
	if err := c.Start(); err != nil {
		b.Fatal(err)
	}
	said := bufio.NewScanner(out)
	var all []string
	for addr == "" && said.Scan() {
		all = append(all, said.Text())
		if _, rest, ok := strings.Cut(said.Text(), "model proxy on http://"); ok {
			addr = strings.TrimSpace(rest)
		}
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		_ = c.Process.Kill()
		_ = c.Wait()
		b.Fatalf("the proxy did not start: %s", strings.Join(all, "\n"))
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return c.Process.Pid, addr, func() {
		_ = c.Process.Signal(os.Interrupt)
		_ = c.Wait()
	}
}
