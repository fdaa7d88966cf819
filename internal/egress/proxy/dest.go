package proxy

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"sallyport/internal/egress"
	"sallyport/internal/fault"
)

// refusal is a denial by the proxy's own rules.
type refusal struct {
	rule string
	err  *fault.Error
}

// Error implements error.
func (r *refusal) Error() string { return r.err.Error() }

// Unwrap keeps the kind and the public text readable.
func (r *refusal) Unwrap() error { return r.err }

// Rule implements Ruled.
func (r *refusal) Rule() string { return r.rule }

func refuse(rule, format string, args ...any) error {
	return &refusal{rule, fault.New("proxy", fault.Denied, format, args...)}
}

// split reads "host:port", "[host]:port" or, if port is not 0, "host". The
// host is given in its one spelling.
func split(authority string, port uint16) (string, uint16, bool) {
	host := authority
	if i := strings.LastIndexByte(authority, ':'); i >= 0 && !strings.HasSuffix(authority, "]") && (authority[0] == '[' || strings.IndexByte(authority, ':') == i) {
		p, err := strconv.ParseUint(authority[i+1:], 10, 16)
		if err != nil || strings.ContainsAny(authority[i+1:], "+-_") {
			return "", 0, false
		}
		host, port = authority[:i], uint16(p)
	}
	inside, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		if host, bracketed = strings.CutSuffix(inside, "]"); !bracketed {
			return "", 0, false
		}
	}
	canonical, ok := egress.CanonicalHost(host)
	if !ok || bracketed != strings.Contains(host, ":") {
		return "", 0, false
	}
	return canonical, port, port != 0
}

// dest makes a destination of a host in its one spelling. An address that
// stands for a name is that name.
func (s *Server) dest(host string, port uint16, program string) Dest {
	d := Dest{Host: host, Port: port, Program: program}
	if a, err := netip.ParseAddr(host); err == nil {
		d.Addr = netip.AddrPortFrom(a, port)
		if s.cfg.Names != nil {
			if name, ok := s.cfg.Names.Name(a); ok {
				d.Host = name
			}
		}
	}
	return d
}

// level never lets a host with a credential of ours pass unseen.
func (s *Server) level(d Dest) Level {
	if s.cfg.Credentials != nil && s.cfg.Credentials.Bound(d.Host, d.Port) {
		return LevelRequest
	}
	return s.cfg.Level(d)
}

// hostport is the form that is dialled.
func (d Dest) hostport() string { return net.JoinHostPort(d.Host, strconv.Itoa(int(d.Port))) }

// authority is the form of a URL and a Host field: without the scheme's own
// port.
func (d Dest) authority(scheme string) string {
	if d.Port == schemePort(scheme) {
		if strings.Contains(d.Host, ":") {
			return "[" + d.Host + "]"
		}
		return d.Host
	}
	return d.hostport()
}

func schemePort(scheme string) uint16 {
	if scheme == "https" {
		return 443
	}
	return 80
}

// meant tells whether an authority in a request is this destination. A port
// that is left out is the connection's.
func (d Dest) meant(authority string) bool {
	host, port, ok := split(authority, d.Port)
	return ok && host == d.Host && port == d.Port
}

// literal tells a destination that is an address and no name.
func (d Dest) literal() bool {
	_, err := netip.ParseAddr(d.Host)
	return err == nil
}

// web tells the ports on which nothing but HTTP and TLS is carried: there a
// server that reads more generously than the sniffer would make bytes that
// were taken for another protocol a request nobody judged.
func (d Dest) web() bool {
	switch d.Port {
	case 80, 443, 8000, 8008, 8080, 8443, 8888:
		return true
	}
	return false
}

// checkName compares a ClientHello with the destination.
func (d Dest) checkName(h hello) error {
	if h.name == "" {
		if !d.literal() {
			return refuse("tls-name", "a TLS connection to %s must name it (SNI); this one names no host", d.Host)
		}
		return nil
	}
	name, ok := egress.CanonicalHost(h.name)
	if !ok || name != d.Host {
		return refuse("tls-name", "the TLS connection to %s names the host %q; both must be the same (connect by name to what is meant)", d.Host, h.name)
	}
	return nil
}
