package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// serial numbers requests: no two are the same, so nothing that was judged
// before is asked for again by accident.
var serial atomic.Int64

// serialMark stands in a request's body where its number goes.
const serialMark = "#000000000000#"

// request is an HTTP request that is ready to be written.
type request struct {
	bytes []byte
	at    int    // where the number stands
	end   string // how the body of a whole reply ends
}

// post makes a request. Its body has a place for the number.
func post(host, path, token, body, end string) request {
	all := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nUser-Agent: bench\r\nContent-Length: %d\r\n\r\n%s",
		path, host, token, len(body), body)
	return request{bytes: all, at: bytes.LastIndex(all, []byte(serialMark)), end: end}
}

// caller is one client with a connection that it keeps. It makes one call after
// another and does as little as it can, so that the servers have the processor.
type caller struct {
	addr string
	conn net.Conn
	in   *bufio.Reader
	req  request
	body []byte
}

func dial(addr string, req request) (*caller, error) {
	req.bytes = bytes.Clone(req.bytes)
	c := &caller{addr: addr, req: req}
	return c, c.connect()
}

// connect makes the caller's connection, anew if it has one.
func (c *caller) connect() (err error) {
	if c.conn != nil {
		c.conn.Close()
	}
	if c.conn, err = net.Dial("tcp", c.addr); err == nil {
		c.in = bufio.NewReaderSize(c.conn, 16<<10)
	}
	return err
}

// errCut is a reply that did not come to its end.
var errCut = errors.New("the reply is truncated")

// do makes one call: the time to the first byte of the reply's body and to its
// last.
func (c *caller) do() (first, whole time.Duration, err error) {
	copy(c.req.bytes[c.req.at+1:], fmt.Sprintf("%012d", serial.Add(1)))
	start := time.Now()
	if _, err := c.conn.Write(c.req.bytes); err != nil {
		return 0, 0, err
	}
	length, err := c.head()
	if err != nil {
		return 0, 0, err
	}
	if _, err := c.in.Peek(1); err != nil {
		return 0, 0, errCut
	}
	first = time.Since(start)
	if err := c.read(length); err != nil {
		return 0, 0, err
	}
	if !bytes.HasSuffix(bytes.TrimSpace(c.body), []byte(c.req.end)) {
		return 0, 0, errCut
	}
	return first, time.Since(start), nil
}

// head reads the head of a reply and gives the body's length, -1 for chunks.
func (c *caller) head() (length int, err error) {
	length = -1
	for n := 0; ; n++ {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, errCut
		}
		line = bytes.TrimSpace(line)
		switch name, value, _ := bytes.Cut(line, []byte(":")); {
		case n == 0 && !bytes.Contains(line, []byte(" 200")):
			rest, _ := c.in.Peek(c.in.Buffered())
			return 0, fmt.Errorf("%s: %s", line, rest)
		case len(line) == 0:
			return length, nil
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, err
			}
		}
	}
}

// read reads the body.
func (c *caller) read(length int) error {
	c.body = c.body[:0]
	if length >= 0 {
		return c.take(length)
	}
	for {
		size, err := c.chunk()
		if err != nil || size == 0 {
			return err
		}
	}
}

// chunk reads one chunk of the body, and the end behind the last one.
func (c *caller) chunk() (int, error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, errCut
	}
	size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
	if err != nil {
		return 0, err
	}
	if err := c.take(int(size)); err != nil {
		return 0, err
	}
	if _, err := c.in.Discard(2); err != nil {
		return 0, errCut
	}
	return int(size), nil
}

func (c *caller) take(n int) error {
	from := len(c.body)
	c.body = append(c.body, make([]byte, n)...)
	if _, err := io.ReadFull(c.in, c.body[from:]); err != nil {
		return errCut
	}
	return nil
}

// tally is what a load came to.
type tally struct {
	rate         float64       // whole replies per second
	cpu          time.Duration // of this process for one of them, clients and model included
	first, whole samples
	replies      int // in all turns
	cut          int // of them truncated
}

// crowd is a number of clients of one server.
type crowd struct {
	b       *testing.B
	callers []*caller
}

// gather connects clients, and lets each make a call that does not count.
func gather(b *testing.B, addr string, req request, n int) *crowd {
	b.Helper()
	w := &crowd{b: b}
	for range n {
		c, err := dial(addr, req)
		if err != nil {
			b.Fatal(err)
		}
		w.callers = append(w.callers, c)
		b.Cleanup(func() { c.conn.Close() })
		_, _, err = c.do()
		for try := 0; errors.Is(err, errCut) && try < 10; try++ { // a bare ReverseProxy does that
			if err = c.connect(); err == nil {
				_, _, err = c.do()
			}
		}
		if err != nil {
			b.Fatalf("%s: %v", addr, err)
		}
	}
	return w
}

// run has every client make one call after another for a while.
func (w *crowd) run(d time.Duration) tally {
	w.b.Helper()
	var mu sync.Mutex
	var t tally
	var all sync.WaitGroup
	before, start := processorTime(), time.Now()
	for _, c := range w.callers {
		all.Go(func() {
			var first, whole samples
			var err error
			cut := 0
			for err == nil && time.Since(start) < d {
				var f, l time.Duration
				if f, l, err = c.do(); err == nil {
					first, whole = append(first, f), append(whole, l)
				} else if errors.Is(err, errCut) {
					cut++
					err = c.connect()
				}
			}
			mu.Lock()
			defer mu.Unlock()
			t.first, t.whole, t.cut = append(t.first, first...), append(t.whole, whole...), t.cut+cut
			if err != nil {
				w.b.Error(err)
			}
		})
	}
	all.Wait()
	t.rate, t.replies = float64(len(t.whole))/time.Since(start).Seconds(), len(t.whole)+t.cut
	t.cpu = (processorTime() - before) / time.Duration(max(1, len(t.whole)))
	return t
}

// processorTime is what this process has used of the processor so far: on a busy
// machine it says more than the clock.
func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
