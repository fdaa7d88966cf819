package alert

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
)

// post is a mail server for one conversation.
type post struct {
	tls      *tls.Config
	implicit bool
	starttls bool   // offers it
	login    string // the one that is right; "": none is offered
	refuse   string // command that is answered 550
	busy     bool   // answers 450 to DATA
}

// heard is what a conversation came to.
type heard struct {
	lines   []string // commands, each with "tls " in front when they came so
	message string
}

// serve answers one conversation and hands over what it heard.
func (p post) serve(t *testing.T) (address string, done <-chan heard) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan heard, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			out <- heard{}
			return
		}
		defer conn.Close()
		if p.implicit {
			conn = tls.Server(conn, p.tls)
		}
		out <- p.talk(conn)
	}()
	return l.Addr().String(), out
}

func (p post) talk(conn net.Conn) (h heard) {
	r := bufio.NewReader(conn)
	say := func(s string) { fmt.Fprintf(conn, "%s\r\n", s) }
	mark := map[bool]string{true: "tls "}
	secure := p.implicit
	say("220 ready")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return h
		}
		line = strings.TrimRight(line, "\r\n")
		h.lines = append(h.lines, mark[secure]+line)
		verb, _, _ := strings.Cut(line, " ")
		switch {
		case p.refuse != "" && strings.HasPrefix(line, p.refuse):
			say("550 no")
		case verb == "EHLO":
			say("250-example.org")
			if p.starttls && !secure {
				say("250-STARTTLS")
			}
			if p.login != "" {
				say("250-AUTH PLAIN")
			}
			say("250 SIZE 100000")
		case verb == "STARTTLS":
			say("220 go")
			conn = tls.Server(conn, p.tls)
			r, secure = bufio.NewReader(conn), true
		case verb == "AUTH":
			if strings.HasSuffix(line, base64.StdEncoding.EncodeToString([]byte(p.login))) {
				say("235 ok")
			} else {
				say("535 wrong")
			}
		case verb == "DATA" && p.busy:
			say("450 later")
		case verb == "DATA":
			say("354 go on")
			for {
				line, err := r.ReadString('\n')
				if err != nil || line == ".\r\n" {
					break
				}
				h.message += line
			}
			say("250 taken")
		case verb == "QUIT":
			say("221 bye")
			return h
		default:
			say("250 ok")
		}
	}
}

func sendMail(t *testing.T, p post, server string, o MailOptions) (heard, error) {
	t.Helper()
	conf, roots := certificate()
	p.tls = conf
	address, done := p.serve(t)
	o.Server, o.Roots, o.From, o.To = server, roots, "alerts@example.org", []string{"Ops <ops@example.org>", "root@example.org"}
	o.Dial = func(ctx context.Context, network, host string) (net.Conn, error) {
		if host != server {
			t.Errorf("dialled %s", host)
		}
		return dialer(ctx, network, address)
	}
	m, err := NewMail("mail", o)
	if err != nil {
		t.Fatal(err)
	}
	err = m.Send(t.Context(), sample, detail)
	return <-done, err
}

func TestMail(t *testing.T) {
	login := MailOptions{User: "bob", Password: "geheim"}
	const right = "\x00bob\x00geheim"
	const plain = "AUTH PLAIN "
	auth := plain + base64.StdEncoding.EncodeToString([]byte(right))
	envelope := []string{"tls MAIL FROM:<alerts@example.org>", "tls RCPT TO:<ops@example.org>", "tls RCPT TO:<root@example.org>", "tls DATA", "tls QUIT"}
	tests := map[string]struct {
		server post
		addr   string
		opt    MailOptions
		lines  []string
		kind   fault.Kind // of the error; Internal: none
	}{
		"starttls and login": {
			post{starttls: true, login: right},
			"example.com:587", login,
			append([]string{"EHLO localhost", "STARTTLS", "tls EHLO localhost", "tls " + auth}, envelope...), fault.Internal,
		},
		"tls from the start": {
			post{implicit: true, login: right},
			"example.com:465", login,
			append([]string{"tls EHLO localhost", "tls " + auth}, envelope...), fault.Internal,
		},
		"relay on this machine": {
			post{},
			"127.0.0.1:25",
			MailOptions{},
			[]string{"EHLO localhost", "MAIL FROM:<alerts@example.org>", "RCPT TO:<ops@example.org>", "RCPT TO:<root@example.org>", "DATA", "QUIT"},
			fault.Internal,
		},
		"somebody hides starttls": {post{login: right}, "example.com:587", login, []string{"EHLO localhost"}, fault.Config},
		"no tls, no login":        {post{}, "example.com:25", MailOptions{}, []string{"EHLO localhost"}, fault.Config},
		"no tls here, login":      {post{login: right}, "127.0.0.1:25", login, []string{"EHLO localhost"}, fault.Config},
		"another's certificate":   {post{starttls: true, login: right}, "mail.example.org:587", login, []string{"EHLO localhost", "STARTTLS"}, fault.Unavailable},
		"wrong password":          {post{starttls: true, login: "\x00bob\x00other"}, "example.com:587", login, []string{"EHLO localhost", "STARTTLS", "tls EHLO localhost", "tls " + auth}, fault.Config},
		"receiver refused":        {post{refuse: "RCPT TO:<root"}, "127.0.0.1:25", MailOptions{}, []string{"EHLO localhost", "MAIL FROM:<alerts@example.org>", "RCPT TO:<ops@example.org>", "RCPT TO:<root@example.org>"}, fault.Config},
		"busy":                    {post{busy: true}, "127.0.0.1:25", MailOptions{}, []string{"EHLO localhost", "MAIL FROM:<alerts@example.org>", "RCPT TO:<ops@example.org>", "RCPT TO:<root@example.org>", "DATA"}, fault.Unavailable},
	}
	for name, tt := range tests {
		got, err := sendMail(t, tt.server, tt.addr, tt.opt)
		if tt.kind == fault.Internal && err != nil || tt.kind != fault.Internal && !fault.Is(err, tt.kind) {
			t.Errorf("%s: %v, want kind %s", name, err, tt.kind)
		}
		// After a refusal a client may say that it gives up.
		for n := len(got.lines) - 1; tt.kind != fault.Internal && n >= 0 && (strings.HasSuffix(got.lines[n], "*") || strings.HasSuffix(got.lines[n], "QUIT")); n-- {
			got.lines = got.lines[:n]
		}
		if d := cmp.Diff(tt.lines, got.lines); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if taken := strings.Contains(got.message, "Subject: [sallyport] high: agent"); taken != (tt.kind == fault.Internal) {
			t.Errorf("%s: message %q", name, got.message)
		}
	}
}
