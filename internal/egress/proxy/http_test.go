package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

// TestRequests: whatever way a program takes, the request is judged and
// arrives as it was written.
func TestRequests(t *testing.T) {
	w := newWorld(t, nil)
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(rw, "%s %s %s %s", r.Method, r.Host, r.RequestURI, r.Header.Get("X-Forwarded-For"))
	}, "good.test:80", "good.test:8080", "9.9.9.9:80")
	for _, tt := range []struct{ goal, send, want, asked string }{
		{"198.18.0.1:80", "GET /a%2Fb?x=1;y HTTP/1.1\r\nHost: good.test\r\n", "GET good.test /a%2Fb?x=1;y ", "GET http://good.test/a%2Fb?x=1;y"},
		{"198.18.0.1:80", "GET / HTTP/1.1\r\nHost: GOOD.test.:80\r\nX-Forwarded-For: me\r\n", "GET good.test / me", "GET http://good.test/"},
		{"198.18.0.1:80", "GET / HTTP/1.0\r\n", "GET good.test / ", "GET http://good.test/"},
		{"198.18.0.1:80", "GET http://good.test/abs HTTP/1.1\r\nHost: good.test\r\n", "GET good.test /abs ", "GET http://good.test/abs"},
		{"198.18.0.1:80", "OPTIONS * HTTP/1.1\r\nHost: good.test\r\n", "", "OPTIONS http://good.test*"},
		{"198.18.0.1:8080", "GET //x/../y HTTP/1.1\r\nHost: good.test:8080\r\n", "GET good.test:8080 //x/../y ", "GET http://good.test:8080//x/../y"},
		{"[fd00:5a11::1]:80", "GET /6 HTTP/1.1\r\nHost: good.test\r\n", "GET good.test /6 ", "GET http://good.test/6"},
		{"9.9.9.9:80", "GET / HTTP/1.1\r\nHost: 9.9.9.9\r\n", "GET 9.9.9.9 / ", "GET http://9.9.9.9/"},
		{"", "GET http://good.test/p HTTP/1.1\r\nHost: good.test\r\n", "GET good.test /p ", "GET http://good.test/p"},
		{"", "GET http://good.test:8080 HTTP/1.1\r\nHost: x\r\n", "GET good.test:8080 / ", "GET http://good.test:8080/"},
		{"", "GET http://198.18.0.1/fake HTTP/1.1\r\nHost: 198.18.0.1\r\n", "GET good.test /fake ", "GET http://good.test/fake"},
	} {
		before := len(w.judge.questions())
		out := say(t, w.dial(tt.goal), tt.send+"Connection: close\r\n\r\n")
		if _, body, _ := strings.Cut(out, "\r\n\r\n"); body != tt.want {
			t.Errorf("%q: %q, want %q (%s)", tt.send, out, tt.want, w.refusals())
		}
		if diff := cmp.Diff([]string{tt.asked}, w.judge.questions()[before:]); diff != "" {
			t.Errorf("%q judged (-want +got)\n%s", tt.send, diff)
		}
	}
}

// TestKeepAlive: each request of a connection is a decision of its own.
func TestKeepAlive(t *testing.T) {
	w := newWorld(t, nil)
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(rw, r.URL.Path)
	}, "good.test:80")
	w.judge.deny = func(_ Dest, r *RequestInfo) error {
		if strings.HasPrefix(r.Path, "/secret") {
			return errRule
		}
		return nil
	}
	c := w.dial("198.18.0.1:80")
	r := bufio.NewReader(c)
	for _, path := range []string{"/1", "/secret", "/2", "/secret/x", "/3"} {
		got := exchangeOn(t, c, r, "POST "+path+" HTTP/1.1\r\nHost: good.test\r\nContent-Length: 3\r\n\r\nabc")
		want := path
		if strings.HasPrefix(path, "/secret") {
			want = "sallyport: the rule forbids it; ask the owner\n"
			if got.code != 403 || got.header.Get(DeniedHeader) != "test.rule" || !strings.HasPrefix(got.header.Get("Content-Type"), "text/plain") {
				t.Errorf("%s: %+v", path, got)
			}
		}
		if got.body != want {
			t.Errorf("%s: %q", path, got.body)
		}
	}
	if n := len(w.judge.questions()); n != 5 {
		t.Errorf("%d decisions", n)
	}
	for i, s := range w.judge.end(3) {
		if s.Up != 3 || s.Down != 2 || s.Status != 200 || s.Addr == "" || s.Err != nil {
			t.Errorf("passage %d: %+v", i, s)
		}
	}
}

func TestDeniedForms(t *testing.T) {
	w := newWorld(t, nil)
	w.judge.deny = func(d Dest, _ *RequestInfo) error {
		switch d.Host {
		case "evil.test":
			return errors.New("a defect with /state/dir inside")
		case "9.9.9.9":
			return nil
		}
		return errRule
	}
	c := w.dial("198.18.0.1:80")
	got := exchangeOn(t, c, bufio.NewReader(c), "GET / HTTP/1.1\r\nHost: good.test\r\nAccept: application/json, */*\r\n\r\n")
	var said struct {
		Error struct{ Type, Rule, Message string }
	}
	if err := json.Unmarshal([]byte(got.body), &said); err != nil || got.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%+v: %v", got, err)
	}
	if said.Error.Type != "denied" || said.Error.Rule != "test.rule" || !strings.Contains(said.Error.Message, "ask the owner") {
		t.Errorf("%+v", said)
	}
	if out := say(t, w.dial("198.18.0.2:80"), "GET / HTTP/1.1\r\nHost: evil.test\r\nConnection: close\r\n\r\n"); !strings.Contains(out, " 502 ") || strings.Contains(out, "/state") || !strings.Contains(out, "an internal error occurred") {
		t.Errorf("a defect tells %q", out)
	}
	if out := say(t, w.dial(""), "CONNECT good.test:443 HTTP/1.1\r\nHost: good.test:443\r\nConnection: close\r\n\r\n"); !strings.Contains(out, " 403 ") || !strings.Contains(out, "ask the owner") {
		t.Errorf("CONNECT: %q", out)
	}
	if out := say(t, w.dial(""), "\x05\x01\x00\x05\x01\x00\x03\x09good.test\x00\x50"); out != "\x05\x00\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00" {
		t.Errorf("SOCKS: %q", out)
	}
	// Judged and not reachable: a documentation address, which the dialer
	// refuses, and one where nobody listens.
	w.hosts.Store("9.9.9.9:80", "127.0.0.1:1")
	if out := say(t, w.dial("9.9.9.9:80"), "GET / HTTP/1.1\r\nHost: 9.9.9.9\r\nConnection: close\r\n\r\n"); !strings.Contains(out, " 502 ") {
		t.Errorf("unreachable: %q", out)
	}
	if s := w.judge.end(1); s[0].Err == nil || s[0].Addr != "" {
		t.Errorf("stats %+v", s)
	}
}

// TestHTTPForms: what HTTP/1.1 knows passes unharmed.
func TestHTTPForms(t *testing.T) {
	w := newWorld(t, nil)
	big := strings.Repeat("0123456789abcdef", 1<<18) // 4 MiB
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/echo":
			rw.Header().Set("Trailer", "X-Sum")
			n, _ := io.Copy(rw, r.Body)
			rw.Header().Set("X-Sum", fmt.Sprint(n, r.Trailer.Get("X-Up")))
		case "/early":
			rw.Header().Set("Link", "</a>; rel=preload")
			rw.WriteHeader(http.StatusEarlyHints)
			rw.WriteHeader(http.StatusNoContent)
		case "/bare":
			rw.Header()["Content-Type"] = nil
			io.WriteString(rw, "<html>")
		case "/head":
			rw.Header().Set("Content-Length", "12345")
		case "/redirect":
			http.Redirect(rw, r, "http://169.254.169.254/latest", http.StatusFound)
		}
	}, "good.test:80")
	cl := w.client("198.18.0.1:80", nil)
	req, _ := http.NewRequest("POST", "http://good.test/echo", struct{ io.Reader }{strings.NewReader(big)})
	req.Trailer = http.Header{"X-Up": {"-up"}}
	req.Header.Set("Expect", "100-continue")
	resp, err := cl.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || string(b) != big || resp.Trailer.Get("X-Sum") != fmt.Sprint(len(big), "-up") {
		t.Errorf("echo: %d bytes, trailer %v, %v", len(b), resp.Trailer, err)
	}
	if s := w.judge.end(1)[0]; s.Up != int64(len(big)) || s.Down != int64(len(big)) || s.Err != nil {
		t.Errorf("stats %+v", s)
	}
	hints := 0
	req, _ = http.NewRequest("GET", "http://good.test/early", nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			if code == 103 && h.Get("Link") != "" {
				hints++
			}
			return nil
		},
	}))
	if a, err := do(t, cl, req); err != nil || a.code != 204 || hints != 1 {
		t.Errorf("early hints: %v %v, %d", a, err, hints)
	}
	req, _ = http.NewRequest("HEAD", "http://good.test/head", nil)
	if a, err := do(t, cl, req); err != nil || a.header.Get("Content-Length") != "12345" {
		t.Errorf("HEAD: %v %v", a, err)
	}
	if a, err := get(t, cl, "http://good.test/bare"); err != nil || a.body != "<html>" || len(a.header["Content-Type"]) > 0 {
		t.Errorf("a type was made up: %+v %v", a, err)
	}
	if a, err := get(t, cl, "http://good.test/redirect"); err != nil || a.code != 302 || a.header.Get("Location") != "http://169.254.169.254/latest" {
		t.Errorf("a redirect is the program's to follow: %v %v", a, err)
	}
}

// TestStreams: each piece arrives when it was sent, not when the answer ends.
func TestStreams(t *testing.T) {
	w := newWorld(t, nil)
	next := make(chan bool)
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(rw, "data: %d\n", i)
			rw.(http.Flusher).Flush()
			<-next
		}
	}, "good.test:80")
	resp, err := w.client("198.18.0.1:80", nil).Get("http://good.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sc := bufio.NewScanner(resp.Body)
	for i := range 3 {
		if !sc.Scan() || sc.Text() != fmt.Sprintf("data: %d", i) {
			t.Fatalf("piece %d: %q", i, sc.Text())
		}
		next <- true
	}
}

// TestWebSocket: judged as a request, then bytes both ways, all counted.
func TestWebSocket(t *testing.T) {
	w := newWorld(t, nil)
	w.web(func(rw http.ResponseWriter, r *http.Request) {
		c, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		io.Copy(c, buf)
	}, "good.test:80")
	c := w.dial("198.18.0.1:80")
	r := bufio.NewReader(c)
	fmt.Fprint(c, "GET /ws HTTP/1.1\r\nHost: good.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(r, nil) //nolint:bodyclose // the connection is what follows
	if err != nil || resp.StatusCode != 101 {
		t.Fatalf("%v %v", resp, err)
	}
	for range 3 {
		fmt.Fprint(c, "ping\n")
		if line, err := r.ReadString('\n'); line != "ping\n" {
			t.Fatalf("%q %v", line, err)
		}
	}
	c.Close()
	s := w.judge.end(1)[0]
	if s.Up != 15 || s.Down != 15 || s.Status != 101 {
		t.Errorf("stats %+v", s)
	}
	if diff := cmp.Diff([]string{"GET http://good.test/ws"}, w.judge.questions()); diff != "" {
		t.Error(diff)
	}
}

// TestOtherUpgrades: no other protocol is entered, asked for or not.
func TestOtherUpgrades(t *testing.T) {
	w := newWorld(t, nil)
	w.raw(func(c *net.TCPConn) {
		req, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		io.Copy(io.Discard, req.Body)
		if req.Header.Get("Upgrade") != "" || req.Header.Get("Http2-Settings") != "" || req.URL.Path == "/unasked" {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nopen")
			return
		}
		if req.URL.Path == "/bare" { // names no protocol, so none differs
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\n\r\nopen")
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nplain")
	}, "good.test:80")
	for send, want := range map[string]string{
		"GET / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n": " 200 ",
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket, h2c\r\n":                                  " 200 ",
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n":                       " 200 ",
		"GET / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n":                                             " 200 ",
		"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\nx":            " 200 ",
		"GET /bare HTTP/1.1\r\n":                                               " 502 ",
		"GET /unasked HTTP/1.1\r\n":                                            " 502 ",
		"GET /unasked HTTP/1.1\r\nConnection: Upgrade\r\n":                     " 502 ",
		"GET /wrong HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n": " 502 ",
	} {
		head, body, _ := strings.Cut(send, "\r\n\r\n")
		head = strings.TrimSuffix(head, "\r\n")
		out := say(t, w.dial("198.18.0.1:80"), head+"\r\nHost: good.test\r\nConnection: close\r\n\r\n"+body)
		if line, _, _ := strings.Cut(out, "\n"); !strings.Contains(line, want) || strings.Contains(out, "open") {
			t.Errorf("%q: %q, want %q", send, out, want)
		}
	}
}

func TestKinds(t *testing.T) {
	for kind, want := range map[fault.Kind]int{fault.Denied: 403, fault.NeedsAsk: 403, fault.Budget: 403, fault.Unavailable: 502, fault.Internal: 502} {
		if got := statusOf(fault.New("x", kind, "x")); got != want {
			t.Errorf("%s: %d", kind, got)
		}
	}
	if got := clip("a\r\nb\x00" + strings.Repeat("x", 300)); bytes.ContainsAny([]byte(got), "\r\n\x00") || len(got) > 230 {
		t.Errorf("%q", got)
	}
}
