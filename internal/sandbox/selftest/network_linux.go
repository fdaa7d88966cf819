package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// networkAttempts reach for sockets.
func networkAttempts() map[string]attempt {
	return map[string]attempt{
		"unix-stream":        func(t *target) error { return t.asks("unix", t.Stream, "") },
		"control-socket":     func(t *target) error { return t.asks("unix", t.Control, "") },
		"unix-abstract":      func(t *target) error { return t.asks("unix", "@"+t.Abstract, "") },
		"unix-datagram":      func(t *target) error { return sendDatagram(t.Datagram, false) },
		"datagram-pair":      func(t *target) error { return sendDatagram(t.Datagram, true) },
		"udp-question":       func(t *target) error { return t.asks("udp", t.UDP, "") },
		"udp-datagram":       func(t *target) error { return t.asks("udp4", t.UDP, "") },
		"tcp-direct":         func(t *target) error { return t.asks("tcp", t.TCP4, "") },
		"tcp-ipv6":           func(t *target) error { return t.asks("tcp", t.TCP6, "") },
		"tcp-mapped":         func(t *target) error { return mapped(t) },
		"tcp-unspecified":    func(t *target) error { return t.asks("tcp", "0.0.0.0"+port(t.TCP4), "") },
		"tcp-loopback-alias": func(t *target) error { return t.asks("tcp", t.Alias, "") },
		"tcp-host-address":   func(t *target) error { return t.asks("tcp", t.Host, "") },
		"http-redirect":      redirect,
		"http-fronting":      func(t *target) error { return t.asks("tcp", t.TCP4, "another.example") },
		"relay":              relay,
		"fast-open":          fastOpen,
		"mptcp":              func(*target) error { return opens(unix.AF_INET, unix.SOCK_STREAM, 262) },
		"vsock":              func(*target) error { return opens(unix.AF_VSOCK, unix.SOCK_STREAM, 0) },
		"uevent":             func(*target) error { return opens(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT) },
		"af-alg":             func(*target) error { return opens(unix.AF_ALG, unix.SOCK_SEQPACKET, 0) },
		"af-packet":          func(*target) error { return opens(unix.AF_PACKET, unix.SOCK_RAW, 0) },
	}
}

func opens(family, kind, protocol int) error {
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':'):] }

// patience bounds one connection, question and answer.
const patience = 2 * time.Second

func dial(network, addr string) (net.Conn, error) {
	if addr == "" {
		return nil, skip("this machine has no such address")
	}
	d := net.Dialer{Timeout: patience}                           //nolint:forbidigo // connecting is the attack
	c, err := d.DialContext(context.Background(), network, addr) //nolint:forbidigo // connecting is the attack
	if err != nil {
		return nil, err
	}
	limit := patience
	if strings.HasPrefix(network, "udp") {
		limit = 300 * time.Millisecond // on loopback an answer is there at once, or never
	}
	return c, c.SetDeadline(time.Now().Add(limit))
}

// asks succeeds when a planted server answers.
func (t *target) asks(network, addr, host string) error {
	c, err := dial(network, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return t.exchange(c, host)
}

func (t *target) exchange(c net.Conn, host string) error {
	if _, err := fmt.Fprintf(c, "GET / HTTP/1.0\r\nHost: %s\r\n\r\n", host); err != nil {
		return err
	}
	buf := make([]byte, 4096)
	n, err := io.ReadAtLeast(c, buf, len(t.Token))
	if !strings.Contains(string(buf[:n]), t.Token) {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		return outcome("other")
	}
	return nil
}

func mapped(t *target) error {
	addr, err := netip.ParseAddrPort(t.TCP4)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Connect(fd, &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()})
}

func redirect(t *target) error {
	c, err := dial("tcp", t.Redirect)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET /redirect HTTP/1.0\r\n\r\n"); err != nil {
		return err
	}
	b, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	_, to, ok := strings.Cut(string(b), "Location: http://")
	if !ok {
		return outcome("other")
	}
	to, _, _ = strings.Cut(to, "/")
	return t.asks("tcp", to, "")
}

// relay is two clients of one namespace: one connects for the other.
func relay(t *target) error {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	failed := make(chan error, 1)
	go func() {
		from, err := l.Accept()
		if err != nil {
			failed <- err
			return
		}
		defer from.Close()
		to, err := dial("tcp", t.TCP4)
		if err != nil {
			failed <- err
			return
		}
		defer to.Close()
		go func() { _, _ = io.Copy(to, from) }()
		_, err = io.Copy(from, to)
		failed <- err
	}()
	if err := t.asks("tcp", l.Addr().String(), ""); err == nil {
		return nil
	}
	return <-failed
}

func fastOpen(t *target) error {
	addr, err := netip.ParseAddrPort(t.TCP4)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte("GET / HTTP/1.0\r\n\r\n"), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
}

// sendDatagram sends to a socket by path: from a socket of its own, or from one
// half of a pair, which needs no connect and no bind.
func sendDatagram(path string, pair bool) error {
	to := &unix.SockaddrUnix{Name: path}
	if pair {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fds[1])
		defer unix.Close(fds[0])
		return unix.Sendto(fds[0], []byte("hello"), 0, to)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, []byte("hello"), 0, to)
}
