package alert

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"net/netip"
	"net/smtp"
	"net/textproto"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Mail sends an alert as a plain e-mail.
type Mail struct {
	name, server, host string
	implicit           bool // TLS from the first byte
	local              bool // a relay on this machine, which needs no TLS
	from               mail.Address
	to                 []mail.Address
	auth               smtp.Auth
	dial               Dial
	roots              *x509.CertPool
}

// MailOptions describe where and how mail is handed over.
type MailOptions struct {
	Server         string // HOST:PORT; port 465 speaks TLS from the start, others STARTTLS
	From           string
	To             []string
	User, Password string // both or neither; sent over TLS only
	Dial           Dial
	Roots          *x509.CertPool // nil: the system's
}

// NewMail makes a mail sink.
func NewMail(name string, o MailOptions) (*Mail, error) {
	bad := func(format string, args ...any) (*Mail, error) {
		return nil, fault.New("alert.mail", fault.Config, "alert sink "+name+": "+format, args...)
	}
	host, port, err := net.SplitHostPort(o.Server)
	if err != nil || host == "" {
		return bad("the mail server %q is no HOST:PORT, such as smtp.example.org:587", o.Server)
	}
	m := &Mail{name: name, server: o.Server, host: host, implicit: port == "465", local: loopback(host), dial: o.Dial, roots: o.Roots}
	from, err := address(o.From)
	if err != nil {
		return bad("%q is no mail address to send from", o.From)
	}
	m.from = from
	if len(o.To) == 0 {
		return bad("there is nobody to send to")
	}
	for _, s := range o.To {
		to, err := address(s)
		if err != nil {
			return bad("%q is no mail address", s)
		}
		m.to = append(m.to, to)
	}
	if (o.User == "") != (o.Password == "") {
		return bad("user and password belong together; one of them is empty")
	}
	if o.User != "" {
		m.auth = smtp.PlainAuth("", o.User, o.Password, host)
	}
	return m, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() || host == "localhost"
}

// address reads one address; line breaks and other control characters have no
// place in one.
func address(s string) (mail.Address, error) {
	if s != Plain(s, 320) {
		return mail.Address{}, errors.New("control characters or too long")
	}
	a, err := mail.ParseAddress(s)
	if err != nil {
		return mail.Address{}, err
	}
	for _, r := range a.Address {
		if r <= ' ' || r > '~' {
			return mail.Address{}, errors.New("not plain")
		}
	}
	return *a, nil
}

// Name implements Sink.
func (m *Mail) Name() string { return m.name }

// Send implements Sink. What the server refuses for good (5xx) is not tried
// again.
func (m *Mail) Send(ctx context.Context, a record.Alert, d Detail) error {
	err := m.send(ctx, a, d)
	if err == nil || fault.Is(err, fault.Denied) || fault.Is(err, fault.Config) {
		return err
	}
	kind, text := fault.Unavailable, "cannot be reached; check its address under alerts.sinks and whether it runs"
	if p, ok := errors.AsType[*textproto.Error](err); ok {
		text = fmt.Sprintf("answered %d", p.Code)
		if p.Code/100 == 5 {
			kind = fault.Config
		}
	}
	return &fault.Error{Op: "alert.mail", Kind: kind, Public: "the mail server of alert sink " + m.name + " " + text, Err: err}
}

func (m *Mail) send(ctx context.Context, a record.Alert, d Detail) (err error) {
	conn, err := m.dial(ctx, "tcp", m.server)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // Quit has ended the conversation, or an error counts more
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: m.host, RootCAs: m.roots}
	if m.implicit {
		conn = tls.Client(conn, conf)
	}
	c, err := smtp.NewClient(conn, m.host)
	if err != nil {
		return err
	}
	if err := m.greet(c, conf); err != nil {
		return err
	}
	if err := m.hand(c, a, d); err != nil {
		return err
	}
	return c.Quit()
}

// greet makes the connection private and says who we are.
func (m *Mail) greet(c *smtp.Client, conf *tls.Config) error {
	if err := c.Hello("localhost"); err != nil {
		return err
	}
	if !m.implicit {
		// Whoever sits in between can hide STARTTLS; without it nothing is said.
		if ok, _ := c.Extension("STARTTLS"); ok {
			if err := c.StartTLS(conf); err != nil {
				return err
			}
		} else if !m.local || m.auth != nil {
			return fault.New("alert.mail", fault.Config,
				"the mail server of alert sink %s offers no TLS, so nothing was sent; use a server with STARTTLS or port 465", m.name)
		}
	}
	if m.auth == nil {
		return nil
	}
	if _, ok := c.TLSConnectionState(); !ok {
		return fault.New("alert.mail", fault.Config, "the mail server of alert sink %s has no TLS, so the password was not sent", m.name)
	}
	return c.Auth(m.auth)
}

func (m *Mail) hand(c *smtp.Client, a record.Alert, d Detail) error {
	if err := c.Mail(m.from.Address); err != nil {
		return err
	}
	for _, to := range m.to {
		if err := c.Rcpt(to.Address); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	msg, err := m.format(a, d)
	if err != nil {
		return errors.Join(err, w.Close())
	}
	if _, err := w.Write(msg); err != nil {
		return errors.Join(err, w.Close())
	}
	return w.Close()
}

// format renders the message; everything variable is bounded, encoded and
// cannot end a line.
func (m *Mail) format(a record.Alert, d Detail) ([]byte, error) {
	var b bytes.Buffer
	header := func(name, value string) { fmt.Fprintf(&b, "%s: %s\r\n", name, value) }
	to := make([]string, len(m.to))
	for i := range m.to {
		to[i] = m.to[i].String()
	}
	subject := fmt.Sprintf("[sallyport] %s: %s", SeverityName(a.Severity), a.Title)
	if d.More > 0 {
		subject = fmt.Sprintf("%s, and %d more", Plain(subject, 160), d.More)
	}
	_, domain, _ := strings.Cut(m.from.Address, "@")
	id := sha256.Sum256([]byte(d.Message))
	header("From", m.from.String())
	header("To", strings.Join(to, ", "))
	header("Subject", strings.ReplaceAll(mime.QEncoding.Encode("utf-8", Plain(subject, 180)), "?= =?", "?=\r\n =?"))
	header("Date", d.Time.UTC().Format(time.RFC1123Z))
	header("Message-ID", "<"+hex.EncodeToString(id[:12])+"@"+domain+">")
	header("Auto-Submitted", "auto-generated")
	header("MIME-Version", "1.0")
	header("Content-Type", "text/plain; charset=utf-8")
	header("Content-Transfer-Encoding", "quoted-printable")
	b.WriteString("\r\n")
	q := quotedprintable.NewWriter(&b)
	if _, err := q.Write([]byte(strings.ReplaceAll(text(a, d), "\n", "\r\n"))); err != nil {
		return nil, err
	}
	if err := q.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
