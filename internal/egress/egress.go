// Package egress is the only code that connects to anything: one dialer that
// decides by address, and HTTP clients that can do nothing but use it.
//
// Invariants:
//   - a name is resolved once per connection, every address is checked, and
//     exactly the checked address is dialled: a second answer of the resolver
//     cannot matter;
//   - loopback, private, link-local, metadata and other special addresses are
//     refused unless a Rule lists them; multicast and unspecified addresses
//     are always refused;
//   - proxies named by the environment are ignored, redirects are not followed
//     unless asked for, and then each hop is a connection like any other;
//   - every attempt is reported to the hook, refused ones too.
//
// It imports fault only; app builds it and hands its clients to the services
// that need one.
package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"sallyport/internal/fault"
)

// Resolver turns a name into addresses; *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Hook hears of every attempt: what was asked for ("host:port"), the address
// that was chosen ("ip:port", empty if none was), and the error, nil for an
// established connection. It must not block.
type Hook func(host, addr string, err error)

// Config describes what may be reached.
type Config struct {
	// Allow lists special addresses, and names that may lead to private ones,
	// which are refused otherwise.
	Allow []Rule
	// Only, if not empty, restricts every connection to what it or Allow
	// lists.
	Only []Rule
	// Hosts is the operator's own mapping of names to addresses. A name in it is
	// not looked up elsewhere; its addresses are checked like any other.
	Hosts map[string][]netip.Addr
	// Resolver defaults to the system's.
	Resolver Resolver
	// OnConnect may be nil.
	OnConnect Hook
	// RootCAs defaults to the system's.
	RootCAs *x509.CertPool
	// DialTimeout bounds the resolving and the dialling of one connection,
	// all its addresses together; default 15 s.
	DialTimeout time.Duration
}

// Dialer is the one outbound dialer. It is safe for concurrent use.
type Dialer struct {
	cfg Config
}

// New makes a dialer.
func New(cfg Config) *Dialer {
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	if cfg.DialTimeout <= 0 {
		cfg.DialTimeout = 15 * time.Second
	}
	hosts := make(map[string][]netip.Addr, len(cfg.Hosts))
	for name, addrs := range cfg.Hosts {
		hosts[canonicalName(name)] = slices.Clone(addrs)
	}
	cfg.Hosts = hosts
	return &Dialer{cfg: cfg}
}

// maxAddrs bounds how many addresses of one name are tried.
const maxAddrs = 8

// DialContext connects to "host:port" over TCP. A refusal is fault.Denied and
// names the address, its class and the rule to add; a connection that cannot
// be made is fault.Unavailable.
func (d *Dialer) DialContext(ctx context.Context, network, hostport string) (net.Conn, error) {
	conn, addr, err := d.dial(ctx, network, hostport)
	if d.cfg.OnConnect != nil {
		s := ""
		if addr.IsValid() {
			s = addr.String()
		}
		d.cfg.OnConnect(hostport, s, err)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

func (d *Dialer) dial(ctx context.Context, network, hostport string) (net.Conn, netip.AddrPort, error) {
	var none netip.AddrPort
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, none, fault.New("egress.dial", fault.Denied, "only TCP connections are made, not %q", network)
	}
	host, port, err := split(hostport)
	if err != nil {
		return nil, none, fault.New("egress.dial", fault.Denied, "the destination %q is no host and port: %v", hostport, err)
	}
	if len(d.cfg.Only) > 0 && !d.listed(host, port) {
		return nil, none, fault.New("egress.dial", fault.Denied,
			"%s is not on the list of allowed destinations; add it there if it should be reached", hostport)
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.DialTimeout)
	defer cancel()
	addrs, err := d.resolve(ctx, network, host)
	if err != nil {
		return nil, none, err
	}
	// From here on only addresses count; the name is not looked up again.
	allowed, refusal := d.check(host, port, addrs)
	if len(allowed) == 0 {
		return nil, none, refusal
	}
	var errs []error
	last := none
	for i, addr := range allowed {
		conn, err := dialOne(ctx, addr, len(allowed)-i)
		if err == nil {
			return conn, addr, nil
		}
		errs = append(errs, err)
		last = addr
	}
	return nil, last, &fault.Error{
		Op: "egress.dial", Kind: fault.Unavailable,
		Public: fmt.Sprintf("no connection to %s could be made; check the address and the network", hostport), Err: errors.Join(errs...),
	}
}

func split(hostport string) (string, uint16, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return "", 0, errors.New("the form is host:port")
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return "", 0, errors.New("the port is not in 1..65535")
	}
	if host == "" {
		return "", 0, errors.New("the host is empty")
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host, uint16(port), nil
	}
	host = canonicalName(host)
	if !validName(host) {
		return "", 0, errors.New("the host is no name and no address")
	}
	return host, uint16(port), nil
}

// resolve gives the addresses of a host, once. The name localhost and names
// below it never leave this machine (RFC 6761).
func (d *Dialer) resolve(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()}, nil
	}
	addrs, mapped := d.cfg.Hosts[host]
	var err error
	if !mapped {
		addrs, err = d.cfg.Resolver.LookupNetIP(ctx, strings.Replace(network, "tcp", "ip", 1), host)
	}
	if err == nil && len(addrs) == 0 {
		err = errors.New("no address")
	}
	if err != nil {
		return nil, &fault.Error{
			Op: "egress.resolve", Kind: fault.Unavailable,
			Public: fmt.Sprintf("the name %s could not be resolved; check the name and the network", host), Err: err,
		}
	}
	return addrs, nil
}

// check keeps the addresses that may be dialled. The error tells about the
// first refused one.
func (d *Dialer) check(host string, port uint16, addrs []netip.Addr) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	var refusal error
	for _, a := range addrs {
		class := Classify(a)
		if class != Public && !d.excepted(host, port, a, class) {
			if refusal == nil {
				refusal = fault.New("egress.dial", fault.Denied,
					"%s leads to %s, a %s address, which is refused; list %s to allow it",
					net.JoinHostPort(host, strconv.Itoa(int(port))), a, class, remedy(host, port, a, class))
			}
			continue
		}
		if len(out) < maxAddrs {
			out = append(out, netip.AddrPortFrom(a.Unmap(), port))
		}
	}
	return out, refusal
}

// dialOne connects to one address; left tells how many addresses share the
// remaining time.
func dialOne(ctx context.Context, addr netip.AddrPort, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(time.Until(end)/time.Duration(left), time.Second))
		defer cancel()
	}
	dialer := net.Dialer{KeepAlive: 30 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		// The last line: the socket is about to connect to exactly this.
		got, err := netip.ParseAddrPort(address)
		if err != nil || got != addr {
			return fmt.Errorf("the socket would connect to %s instead of %s", address, addr)
		}
		return nil
	}}
	return dialer.DialContext(ctx, "tcp", addr.String())
}
