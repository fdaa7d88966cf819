package alert

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

var sample = record.Alert{
	ID: "k3x9", Rule: "denials", Severity: High, State: "open", Title: `agent "sa]rah\" was denied 5 times`, Subject: "agent=sarah", Agent: "sarah",
	Session: "s1", Opened: epoch, Updated: epoch, Count: 5, FirstEvent: 1, LastEvent: 9,
}

var detail = Detail{Message: "msg_1", Instance: "host-1", Time: epoch}

func dialer(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

func TestWebhook(t *testing.T) {
	key := []byte("0123456789abcdef0123456789abcdef")
	var status, hits int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hits++
		body, _ := io.ReadAll(r.Body)
		want := "v1," + Sign(key, r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), body)
		if got := r.Header.Get("webhook-signature"); got != want {
			t.Errorf("signature %q, want %q", got, want)
		}
		if tampered := "v1," + Sign(key, r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp"), append(body, ' ')); tampered == want {
			t.Error("the signature does not cover the body")
		}
		var m Message
		if err := json.Unmarshal(body, &m); err != nil || m.ID != sample.ID || m.Severity != "high" || m.Show != "sallyport alerts show k3x9" {
			t.Errorf("body %s: %v", body, err)
		}
		if r.Header.Get("webhook-timestamp") != strconv.FormatInt(epoch.Unix(), 10) || r.Header.Get("webhook-id") != "msg_1" || r.Method != http.MethodPost {
			t.Errorf("headers %v", r.Header)
		}
		if status/100 == 3 {
			w.Header().Set("Location", "/elsewhere")
		}
		w.WriteHeader(status)
	}))
	defer srv.Close()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	w, err := NewWebhook("hook", srv.URL, "whsec_"+base64.StdEncoding.EncodeToString(key), client)
	if err != nil {
		t.Fatal(err)
	}
	for s, kind := range map[int]fault.Kind{302: fault.Config, 400: fault.Config, 401: fault.Config, 410: fault.Config, 408: fault.Unavailable, 429: fault.Unavailable, 500: fault.Unavailable, 503: fault.Unavailable} {
		status = s
		if err := w.Send(t.Context(), sample, detail); !fault.Is(err, kind) {
			t.Errorf("status %d: %v, want kind %s", s, err, kind)
		}
	}
	status, hits = 204, 0
	if err := w.Send(t.Context(), sample, detail); err != nil || hits != 1 {
		t.Errorf("%d requests: %v", hits, err)
	}
	srv.Close()
	if err := w.Send(t.Context(), sample, detail); !fault.Is(err, fault.Unavailable) || strings.Contains(err.Error(), string(key)) {
		t.Errorf("a dead receiver: %v", err)
	}
}

func TestSignVector(t *testing.T) {
	// The example of the Standard Webhooks documents.
	key, _ := base64.StdEncoding.DecodeString("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	got := Sign(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", []byte(`{"test": 2432232314}`))
	if got != "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=" {
		t.Errorf("signature %s", got)
	}
}

func TestNewRefuses(t *testing.T) {
	tests := map[string]func() error{
		"hook, no address": func() error { _, err := NewWebhook("x", "ftp://h/", strings.Repeat("k", 32), nil); return err },
		"hook, password":   func() error { _, err := NewWebhook("x", "https://u:p@h/", strings.Repeat("k", 32), nil); return err },
		"hook, short key":  func() error { _, err := NewWebhook("x", "https://h/", "short", nil); return err },
		"hook, no base64":  func() error { _, err := NewWebhook("x", "https://h/", "whsec_%%%", nil); return err },
		"syslog, network":  func() error { _, err := NewSyslog("x", SyslogOptions{Network: "ip", Address: "h:1"}); return err },
		"syslog, address":  func() error { _, err := NewSyslog("x", SyslogOptions{Network: "udp", Address: "h"}); return err },
		"syslog, socket":   func() error { _, err := NewSyslog("x", SyslogOptions{Network: "unix", Address: "h"}); return err },
		"syslog, facility": func() error {
			_, err := NewSyslog("x", SyslogOptions{Network: "udp", Address: "h:1", Facility: "f"})
			return err
		},
		"mail, server": func() error {
			_, err := NewMail("x", MailOptions{Server: "h", From: "a@b", To: []string{"a@b"}})
			return err
		},
		"mail, nobody": func() error { _, err := NewMail("x", MailOptions{Server: "h:25", From: "a@b"}); return err },
		"mail, half a login": func() error {
			_, err := NewMail("x", MailOptions{Server: "h:25", From: "a@b", To: []string{"a@b"}, User: "u"})
			return err
		},
		"mail, injected header": func() error {
			_, err := NewMail("x", MailOptions{Server: "h:25", From: "a@b\r\nBcc: c@d", To: []string{"a@b"}})
			return err
		},
		"mail, injected to": func() error {
			_, err := NewMail("x", MailOptions{Server: "h:25", From: "a@b", To: []string{"a@b>\r\nDATA"}})
			return err
		},
		"command, no path": func() error { _, err := NewCommand("x", []string{"sh"}, nil); return err },
		"command, empty":   func() error { _, err := NewCommand("x", nil, nil); return err },
	}
	for name, make := range tests {
		if err := make(); !fault.Is(err, fault.Config) {
			t.Errorf("%s: %v, want a configuration error", name, err)
		}
	}
}

// parse5424 is a small strict reader of RFC 5424.
func parse5424(s string) (pri int, fields []string, params map[string]string, msg string, err error) {
	rest, ok := strings.CutPrefix(s, "<")
	num, rest, ok2 := strings.Cut(rest, ">1 ")
	if pri, err = strconv.Atoi(num); err != nil || !ok || !ok2 || pri > 191 {
		return 0, nil, nil, "", fmt.Errorf("bad PRI or version in %q", s)
	}
	for range 5 {
		f, after, ok := strings.Cut(rest, " ")
		if !ok || f == "" {
			return 0, nil, nil, "", fmt.Errorf("bad header in %q", s)
		}
		fields, rest = append(fields, f), after
	}
	if rest, ok = strings.CutPrefix(rest, "[sallyport@32473"); !ok {
		return 0, nil, nil, "", fmt.Errorf("no structured data in %q", s)
	}
	params = map[string]string{}
	for !strings.HasPrefix(rest, "]") {
		name, after, ok := strings.Cut(strings.TrimPrefix(rest, " "), `="`)
		if !ok || strings.ContainsAny(name, ` "]=`) {
			return 0, nil, nil, "", fmt.Errorf("bad parameter in %q", s)
		}
		var b strings.Builder
		i := 0
		for ; i < len(after) && after[i] != '"'; i++ {
			if after[i] == ']' {
				return 0, nil, nil, "", fmt.Errorf("bare ] in %q", s)
			}
			if after[i] == '\\' {
				i++
			}
			if i < len(after) {
				b.WriteByte(after[i])
			}
		}
		if i >= len(after) {
			return 0, nil, nil, "", fmt.Errorf("unended parameter in %q", s)
		}
		params[name], rest = b.String(), after[i+1:]
	}
	msg, ok = strings.CutPrefix(rest, "] \uFEFF")
	if !ok {
		return 0, nil, nil, "", fmt.Errorf("no message in %q", s)
	}
	return pri, fields, params, msg, nil
}

func check5424(t *testing.T, s string) {
	t.Helper()
	pri, fields, params, msg, err := parse5424(s)
	if err != nil {
		t.Fatal(err)
	}
	if pri != 16*8+3 || fields[0] != "2026-11-21T12:00:00.000000Z" || fields[2] != "sallyport" || fields[4] != "denials" {
		t.Errorf("header %d %q", pri, fields)
	}
	want := map[string]string{"id": "k3x9", "message": "msg_1", "severity": "high", "subject": `a"b\c]d`, "agent": "sarah", "session": "s1", "count": "5", "instance": "host-1"}
	if d := cmp.Diff(want, params); d != "" {
		t.Error(d)
	}
	if !strings.HasPrefix(msg, `[high] agent "sa]rah\" was denied 5 times (5 events)`) || strings.ContainsAny(msg, "\r\n") {
		t.Errorf("message %q", msg)
	}
}

// awkward has what structured data must escape.
func awkward() record.Alert {
	a := sample
	a.Subject = `a"b\c]d`
	return a
}

func TestSyslogDatagrams(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "log")
	for _, tt := range []struct{ network, listen, address string }{{"udp", "udp", "127.0.0.1:0"}, {"unix", "unixgram", sock}} {
		conn, err := (&net.ListenConfig{}).ListenPacket(t.Context(), tt.listen, tt.address)
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewSyslog("log", SyslogOptions{Network: tt.network, Address: conn.LocalAddr().String(), Dial: dialer})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), awkward(), detail); err != nil {
			t.Fatal(err)
		}
		big := awkward()
		big.Title = strings.Repeat("é", 10_000)
		if err := s.Send(t.Context(), big, detail); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 64<<10)
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		check5424(t, string(buf[:n]))
		if n, _, err = conn.ReadFrom(buf); err != nil || n > maxDatagram {
			t.Errorf("%s: a datagram of %d bytes: %v", tt.network, n, err)
		} else if _, _, _, _, err := parse5424(string(buf[:n])); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
}

// frames serves octet-counted syslog and hands over the first message of each
// connection.
func frames(l net.Listener) <-chan string {
	out := make(chan string, 4)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			size, err := r.ReadString(' ')
			n, _ := strconv.Atoi(strings.TrimSuffix(size, " "))
			if err != nil || n <= 0 || n > maxFrame {
				out <- "bad frame " + size
				conn.Close()
				continue
			}
			b := make([]byte, n)
			_, _ = io.ReadFull(r, b)
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
				b = append(b, "bytes behind the frame"...)
			}
			conn.Close()
			out <- string(b)
		}
	}()
	return out
}

// certificate gives a server's configuration for 127.0.0.1 and the roots that
// trust it.
func certificate() (*tls.Config, *x509.CertPool) {
	srv := httptest.NewUnstartedServer(nil)
	srv.StartTLS()
	defer srv.Close()
	pool := x509.NewCertPool()
	pool.AddCert(srv.Certificate())
	return &tls.Config{Certificates: srv.TLS.Certificates}, pool
}

func TestSyslogStreams(t *testing.T) {
	conf, roots := certificate()
	listen := func(network, address string) net.Listener {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	for name, l := range map[string]net.Listener{
		"tcp": listen("tcp", "127.0.0.1:0"), "tls": tls.NewListener(listen("tcp", "127.0.0.1:0"), conf),
		"unix": listen("unix", filepath.Join(t.TempDir(), "s")),
	} {
		got := frames(l)
		s, err := NewSyslog("log", SyslogOptions{Network: name, Address: l.Addr().String(), Dial: dialer, Roots: roots})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Send(t.Context(), awkward(), detail); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		check5424(t, <-got)
		big := awkward()
		big.Title, big.Subject = strings.Repeat("é", 10_000), strings.Repeat("]", 10_000)
		if out := s.format(big, detail, maxFrame); len(out) > maxFrame {
			t.Errorf("%s: a frame of %d bytes", name, len(out))
		}
		l.Close()
		if err := s.Send(t.Context(), awkward(), detail); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: a dead receiver: %v", name, err)
		}
	}
	// A certificate that nobody vouches for ends it before anything is said.
	l := tls.NewListener(listen("tcp", "127.0.0.1:0"), conf)
	got := frames(l)
	s, _ := NewSyslog("log", SyslogOptions{Network: "tls", Address: l.Addr().String(), Dial: dialer, Roots: x509.NewCertPool()})
	if err := s.Send(t.Context(), awkward(), detail); !fault.Is(err, fault.Unavailable) {
		t.Errorf("an unknown certificate: %v", err)
	}
	select {
	case m := <-got:
		if strings.Contains(m, "sarah") {
			t.Errorf("sent to a stranger: %q", m)
		}
	default:
	}
}

func FuzzSyslog(f *testing.F) {
	f.Add("title", "s\"]\\u", "rule", uint8(3))
	f.Add("\r\n<0>1 fake", "\x00", "r r", uint8(0))
	s := &Syslog{host: "h", facility: 16}
	f.Fuzz(func(t *testing.T, title, subject, rule string, severity uint8) {
		a := record.Alert{ID: subject, Rule: rule, Title: title, Subject: subject, Severity: int(severity)}
		out := s.format(a, detail, maxDatagram)
		if _, _, _, _, err := parse5424(out); err != nil || len(out) > maxDatagram || strings.ContainsAny(out, "\r\n\x00") {
			t.Errorf("%q: %v", out, err)
		}
	})
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	run := func(ctx context.Context, argv []string, stdin []byte) error {
		cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
		cmd.Stdin, cmd.Env = bytes.NewReader(stdin), []string{}
		return cmd.Run()
	}
	cat, err := exec.LookPath("tee")
	if err != nil {
		t.Skip("tee is missing")
	}
	c, err := NewCommand("cmd", []string{cat, filepath.Join(dir, "$(touch x);out")}, run)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(t.Context(), sample, detail); err != nil {
		t.Fatal(err)
	}
	var m Message
	b, err := os.ReadFile(filepath.Join(dir, "$(touch x);out"))
	if err != nil || json.Unmarshal(b, &m) != nil || m.ID != "k3x9" {
		t.Errorf("%s: %v", b, err)
	}
	fails, _ := NewCommand("cmd", []string{"/nonexistent"}, run)
	if err := fails.Send(t.Context(), sample, detail); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a program that is missing: %v", err)
	}
}

func TestMailFormat(t *testing.T) {
	m, err := NewMail("mail", MailOptions{Server: "127.0.0.1:25", From: "Sallyport <alerts@example.org>", To: []string{"ops@example.org"}})
	if err != nil {
		t.Fatal(err)
	}
	a := sample
	a.Title = "döwn\r\nBcc: evil@example.org\r\n\r\n.\r\nMAIL FROM:<x>" + strings.Repeat("é", 300)
	b, err := m.format(a, Detail{Message: "m", Time: epoch, More: 37, IDs: []string{"a"}})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	if len(msg.Header) != 9 || msg.Header.Get("Bcc") != "" {
		t.Errorf("headers %v", msg.Header)
	}
	subject, err := (&mime.WordDecoder{}).DecodeHeader(msg.Header.Get("Subject"))
	if err != nil || !strings.HasPrefix(subject, "[sallyport] high: döwn  Bcc: evil@example.org") || !strings.HasSuffix(subject, "and 37 more") {
		t.Errorf("subject %q: %v", subject, err)
	}
	if len(subject) > 230 {
		t.Errorf("a subject of %d bytes", len(subject))
	}
	for l := range strings.SplitSeq(string(b), "\r\n") {
		if len(l) > 998 || strings.ContainsAny(l, "\r\n") || strings.HasPrefix(l, "MAIL") {
			t.Errorf("line %q", l)
		}
	}
	if when, err := msg.Header.Date(); err != nil || !when.Equal(epoch) {
		t.Errorf("date %v: %v", when, err)
	}
}

func FuzzMail(f *testing.F) {
	m, err := NewMail("mail", MailOptions{Server: "127.0.0.1:25", From: "a@example.org", To: []string{"b@example.org"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("t\r\nBcc: x", "s")
	f.Fuzz(func(t *testing.T, title, subject string) {
		b, err := m.format(record.Alert{Title: title, Subject: subject, ID: subject}, detail)
		if err != nil {
			t.Fatal(err)
		}
		msg, err := mail.ReadMessage(bytes.NewReader(b))
		if err != nil || len(msg.Header) != 9 {
			t.Errorf("%q: %v", b, err)
		}
	})
}
