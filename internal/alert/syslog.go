package alert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Syslog sends RFC 5424 messages: datagrams over udp and unix, octet-counted
// (RFC 6587) over tcp and tls.
type Syslog struct {
	name, network, address string
	facility               int
	host                   string
	dial                   Dial
	roots                  *x509.CertPool
}

// SyslogOptions describe a syslog receiver.
type SyslogOptions struct {
	Network  string         // udp, tcp, tls or unix
	Address  string         // host:port, or a socket's path
	Facility string         // kern … local7; "" is local0
	Dial     Dial           // for all but tls' handshake, which is ours
	Roots    *x509.CertPool // for tls; nil: the system's
}

var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	"ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
}

// Lengths in bytes: what every receiver must take as a datagram is 480, what it
// should is 2,048; over streams 8,192 is common.
const (
	maxDatagram = 2048
	maxFrame    = 8192
)

// closeWait is how long a receiver may take to close a stream after the last
// byte. It has no other way to say that it was there.
const closeWait = time.Second

// NewSyslog makes a syslog sink.
func NewSyslog(name string, o SyslogOptions) (*Syslog, error) {
	const op = "alert.syslog"
	if o.Facility == "" {
		o.Facility = "local0"
	}
	facility := slices.Index(facilities, o.Facility)
	if facility < 0 {
		return nil, fault.New(op, fault.Config, "the facility %q of alert sink %q is unknown; write one such as local0, auth or daemon", o.Facility, name)
	}
	switch o.Network {
	case "udp", "tcp", "tls":
		if _, _, err := net.SplitHostPort(o.Address); err != nil {
			return nil, fault.New(op, fault.Config, "the address %q of alert sink %q is no HOST:PORT", o.Address, name)
		}
	case "unix":
		if !strings.HasPrefix(o.Address, "/") {
			return nil, fault.New(op, fault.Config, "the address %q of alert sink %q is no path of a socket, such as /dev/log", o.Address, name)
		}
	default:
		return nil, fault.New(op, fault.Config, "the network %q of alert sink %q is unknown; write udp, tcp, tls or unix", o.Network, name)
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	return &Syslog{name: name, network: o.Network, address: o.Address, facility: facility, host: host, dial: o.Dial, roots: o.Roots}, nil
}

// Name implements Sink.
func (s *Syslog) Name() string { return s.name }

// Send implements Sink. Over udp nobody says whether a message arrived.
func (s *Syslog) Send(ctx context.Context, a record.Alert, d Detail) error {
	conn, stream, err := s.connect(ctx)
	if err == nil {
		err = s.write(ctx, conn, stream, a, d)
	}
	if err == nil || fault.Is(err, fault.Denied) {
		return err
	}
	return &fault.Error{Op: "alert.syslog", Kind: fault.Unavailable, Public: "the syslog receiver of alert sink " + s.name + " cannot be reached; check its address under alerts.sinks and whether it runs", Err: err}
}

func (s *Syslog) connect(ctx context.Context) (conn net.Conn, stream bool, err error) {
	switch s.network {
	case "udp":
		conn, err = s.dial(ctx, "udp", s.address)
		return conn, false, err
	case "unix":
		if conn, err = s.dial(ctx, "unixgram", s.address); err == nil {
			return conn, false, nil
		}
		conn, err = s.dial(ctx, "unix", s.address)
		return conn, true, err
	}
	if conn, err = s.dial(ctx, "tcp", s.address); err != nil || s.network == "tcp" {
		return conn, true, err
	}
	host, _, _ := net.SplitHostPort(s.address) // checked when it was made
	t := tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: s.roots})
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, true, errors.Join(err, conn.Close())
	}
	return t, true, nil
}

func (s *Syslog) write(ctx context.Context, conn net.Conn, stream bool, a record.Alert, d Detail) error {
	defer conn.Close() //nolint:errcheck // what counts was written and answered
	if end, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(end); err != nil {
			return err
		}
	}
	limit := maxDatagram
	if stream {
		limit = maxFrame
	}
	msg := s.format(a, d, limit)
	if stream {
		msg = strconv.Itoa(len(msg)) + " " + msg
	}
	if _, err := io.WriteString(conn, msg); err != nil || !stream {
		return err
	}
	// A receiver that is gone resets the connection; one that is there reads to
	// the end and closes, or keeps it open.
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		if err := half.CloseWrite(); err != nil {
			return err
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(closeWait)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return err
}

// syslogSeverity maps ours: info 6, low 5 (notice), medium 4 (warning), high 3
// (error), critical 2.
func syslogSeverity(n int) int { return 7 - min(max(n, Info), Critical) }

// enterprise is the number that RFC 5612 sets aside for use without a
// registration.
const enterprise = "32473"

// format renders a message of at most limit bytes.
func (s *Syslog) format(a record.Alert, d Detail, limit int) string {
	head := fmt.Sprintf("<%d>1 %s %s sallyport %d %s ", s.facility*8+syslogSeverity(a.Severity),
		d.Time.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), token(s.host, 255), os.Getpid(), token(a.Rule, 32))
	var sd strings.Builder
	sd.WriteString("[sallyport@" + enterprise)
	param := func(name, value string) {
		if value = Plain(value, maxText); value != "" {
			fmt.Fprintf(&sd, ` %s="%s"`, name, escapeParam(value))
		}
	}
	param("id", a.ID)
	param("message", d.Message)
	param("severity", SeverityName(a.Severity))
	param("subject", a.Subject)
	param("agent", a.Agent)
	param("session", a.Session)
	param("count", strconv.Itoa(a.Count))
	param("instance", d.Instance)
	if d.More > 0 {
		param("more", strconv.Itoa(d.More))
	}
	sd.WriteString("] \uFEFF")
	return head + sd.String() + Plain(line(a, d), max(limit-len(head)-sd.Len(), 0))
}

// token makes a header field: printable ASCII without spaces, bounded.
func token(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r < 33 || r > 126 {
			return -1
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), n)]
}

var paramEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `]`, `\]`)

// escapeParam escapes a value of structured data.
func escapeParam(s string) string { return paramEscapes.Replace(s) }
