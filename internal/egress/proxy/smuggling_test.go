package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// generous reads requests as careless servers do: bare line feeds, the first
// or the last of contradicting fields, blanks before a colon. length prefers
// Content-Length over chunks.
func generous(b []byte, length bool) []string {
	var out []string
	for {
		b = bytes.TrimLeft(b, "\r\n \t")
		end := bytes.Index(b, []byte("\n\r\n"))
		skip := 3
		if i := bytes.Index(b, []byte("\n\n")); end < 0 || i >= 0 && i < end {
			end, skip = i, 2
		}
		if end < 0 {
			return out
		}
		lines := strings.Split(string(b[:end]), "\n")
		b = b[end+skip:]
		fields := strings.Fields(lines[0])
		if len(fields) < 2 {
			return out
		}
		out = append(out, fields[0]+" "+fields[1])
		n, chunked := -1, false
		for _, l := range lines[1:] {
			k, v, _ := strings.Cut(l, ":")
			switch k, v = strings.ToLower(strings.TrimSpace(k)), strings.ToLower(strings.TrimSpace(v)); k {
			case "content-length":
				n, _ = strconv.Atoi(strings.TrimLeft(v, "+ "))
			case "transfer-encoding":
				chunked = strings.Contains(v, "chunked")
			}
		}
		if chunked && (!length || n < 0) {
			b = unchunk(b)
		} else if n > 0 {
			b = b[min(n, len(b)):]
		}
	}
}

// unchunk skips a chunked body.
func unchunk(b []byte) []byte {
	for {
		line, rest, ok := bytes.Cut(b, []byte("\n"))
		if !ok {
			return nil
		}
		size, _, _ := strings.Cut(strings.TrimSpace(string(line)), ";")
		n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(size), "0x"), 16, 31)
		if err != nil {
			return rest
		}
		if n == 0 {
			_, rest, _ = bytes.Cut(rest, []byte("\n"))
			return rest
		}
		b = rest[min(int(n), len(rest)):]
		b = bytes.TrimLeft(b, "\r\n")
	}
}

const smuggled = "GET /smuggled HTTP/1.1\r\nHost: good.test\r\nX: "

// corpus is what has been used to make two readers see different requests.
var corpus = []string{
	"POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 90\r\n\r\n1\r\nZ\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 0, 44\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: +0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length : 44\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: xchunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: identity\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nX: y\rTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nX: y\n Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\nHost: good.test\nContent-Length: 44\n\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n1\nZ\n0\n\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\nZ\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n1;a\nb\r\nZ\r\n0\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 44\r\n\r\n" + smuggled,
	"GET / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 44\r\n\r\n" + smuggled,
	"GET / HTTP/1.1\r\nHost: good.test\r\nConnection: Content-Length\r\nContent-Length: 44\r\n\r\n" + smuggled,
	"POST / HTTP/1.1\r\nHost: good.test\r\nConnection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled,
	"GET /a HTTP/1.1\r\nHost: good.test\r\nX: a\x00b\r\n\r\n" + smuggled,
	"GET /a\x0bb HTTP/1.1\r\nHost: good.test\r\n\r\n" + smuggled,
	"GET / HTTP/1.1 \r\nHost: good.test\r\n\r\n" + smuggled,
	"GET / HTTP/1.1\r\nHost: good.test\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n" + smuggled,
	"HEAD / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 44\r\n\r\n" + smuggled,
	"GET / HTTP/0.9\r\nHost: good.test\r\n\r\n" + smuggled,
	"POST / HTTP/1.0\r\nHost: good.test\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + smuggled,
	"GET / HTTP/1.1\r\nHost: good.test\r\nExpect: 100-continue\r\nContent-Length: 44\r\n\r\n" + smuggled,
}

// TestSmuggling: however carelessly a server reads what it gets, it finds the
// requests that were judged and no other.
func TestSmuggling(t *testing.T) {
	apart, sent := 0, 0
	for i, text := range corpus {
		text += "y\r\n\r\n"
		if !cmp.Equal(generous([]byte(text), true), generous([]byte(text), false)) || strings.Contains(strings.Join(generous([]byte(text), true), " "), "/smuggled") {
			apart++
		}
		w := newWorld(t, func(c *Config) { c.HeadTimeout = 50 * time.Millisecond })
		var mu sync.Mutex
		var got bytes.Buffer
		w.raw(func(c *net.TCPConn) {
			r := bufio.NewReader(io.TeeReader(c, writer(func(b []byte) { mu.Lock(); got.Write(b); mu.Unlock() })))
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				io.Copy(io.Discard, req.Body)
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			}
		}, "good.test:80")
		c := w.dial("198.18.0.1:80")
		io.WriteString(c, text)
		r := bufio.NewReader(c)
		if _, err := r.ReadString('\n'); err == nil { // the first answer begins
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, r)
		}
		w.cut()
		<-w.gone
		w.gone <- nil
		var judged []string
		for _, q := range w.judge.questions() {
			judged = append(judged, strings.Replace(q, "http://good.test", "", 1))
		}
		mu.Lock()
		for _, length := range []bool{true, false} {
			read := generous(got.Bytes(), length)
			sent += len(read)
			if !within(read, judged) {
				t.Errorf("%d %q: judged %q, read %q (length first: %v)\nsent %q", i, text, judged, read, length, got.String())
			}
		}
		mu.Unlock()
	}
	// The corpus is worth something: passed on as they are, most of these
	// reach a careless server as a request nobody judged.
	if apart < len(corpus)*2/3 || sent == 0 {
		t.Errorf("only %d of %d are read differently, %d requests were sent", apart, len(corpus), sent)
	}
	t.Logf("%d of %d read differently, %d requests sent", apart, len(corpus), sent/2)
}

// within tells whether a is b with some left out: a judged request whose
// program ended is not sent.
func within(a, b []string) bool {
	for _, s := range b {
		if len(a) > 0 && a[0] == s {
			a = a[1:]
		}
	}
	return len(a) == 0
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// TestOversized: heads are bounded.
func TestOversized(t *testing.T) {
	w := newWorld(t, nil)
	w.web(func(http.ResponseWriter, *http.Request) { t.Error("reached") }, "good.test:80", "good.test:443")
	long := strings.Repeat("a", 2*maxHeader)
	for name, text := range map[string]string{
		"header": "GET / HTTP/1.1\r\nHost: good.test\r\nX: " + long + "\r\n\r\n",
		"target": "GET /" + long + " HTTP/1.1\r\nHost: good.test\r\n\r\n",
		"count":  "GET / HTTP/1.1\r\nHost: good.test\r\n" + strings.Repeat("A: b\r\n", maxHeader/4) + "\r\n",
	} {
		if out := say(t, w.dial("198.18.0.1:80"), text); !strings.HasPrefix(out, "HTTP/1.1 431 ") && !strings.Contains(out, "reset") {
			t.Errorf("%s: %.100q", name, out)
		}
	}
	c := w.dial("198.18.0.1:443")
	for range maxHello/100 + 2 {
		fmt.Fprintf(c, "\x16\x03\x01\x00\x64\x01\x00\x7f\xff%s", strings.Repeat("x", 96))
	}
	io.ReadAll(c)
	if !strings.HasPrefix(w.refusals(), "tls-hello good.test") {
		t.Errorf("a ClientHello without end: %s", w.refusals())
	}
}
