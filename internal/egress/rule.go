package egress

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Rule lists a destination: a name, an address or a range, and a port.
type Rule struct {
	Name string       // a host name in lower case, or "*." and one: names below it; empty if Net is set
	Net  netip.Prefix // an address (full length) or a range
	Port uint16       // 0 = every port
}

// ParseRule reads "name", "name:port", "address", "address:port",
// "[address]:port", "range/bits" or "[range/bits]:port". A name may start with
// "*.": then every name below it is meant, at any depth, and not the name
// itself. There is no other wildcard.
func ParseRule(s string) (Rule, error) {
	if r, ok := parseNet(s); ok {
		return r, nil
	}
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		host, portText = s, ""
	}
	r, ok := parseNet(host)
	if !ok {
		r = Rule{Name: canonicalName(host)}
		if !validName(strings.TrimPrefix(r.Name, "*.")) {
			return Rule{}, fmt.Errorf("egress: the rule %q is no name, address or range with an optional port", s)
		}
	}
	if portText != "" {
		p, err := strconv.ParseUint(portText, 10, 16)
		if err != nil || p == 0 {
			return Rule{}, fmt.Errorf("egress: the port of the rule %q is not in 1..65535", s)
		}
		r.Port = uint16(p)
	}
	return r, nil
}

func parseNet(s string) (Rule, bool) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return Rule{Net: netip.PrefixFrom(a, a.BitLen())}, true
	}
	if p, err := netip.ParsePrefix(s); err == nil && !p.Addr().Is4In6() {
		return Rule{Net: p.Masked()}, true
	}
	return Rule{}, false
}

// String writes what ParseRule reads.
func (r Rule) String() string {
	host := r.Name
	if host == "" {
		if host = r.Net.String(); r.single() {
			host = r.Net.Addr().String()
		}
	}
	if r.Port == 0 {
		return host
	}
	return net.JoinHostPort(host, strconv.Itoa(int(r.Port)))
}

func (r Rule) single() bool { return r.Net.IsValid() && r.Net.Bits() == r.Net.Addr().BitLen() }

// names tells whether the rule is about this name, given in canonical form.
func (r Rule) names(host string) bool {
	if below, ok := strings.CutPrefix(r.Name, "*"); ok {
		// below starts with its dot, so neither the name itself nor one that
		// merely ends alike is meant.
		return strings.HasSuffix(host, below)
	}
	return r.Name != "" && r.Name == host
}

func (r Rule) port(p uint16) bool { return r.Port == 0 || r.Port == p }

// excepted tells whether a rule allows a special address.
//
// A name may lead to loopback, private and shared addresses only: an answer of
// the resolver must not open link-local or metadata addresses, whatever name
// was allowed. A range opens what lies in it, but a metadata address must be
// listed by itself: nobody who writes 10.0.0.0/8 or 169.254.0.0/16 thinks of
// handing out the machine's cloud credentials. The same holds for an address
// that carries an IPv4 address which is not public. Multicast and unspecified
// addresses are never opened.
func (d *Dialer) excepted(host string, port uint16, a netip.Addr, class Class) bool {
	if class == Multicast || class == Unspecified || a.Zone() != "" {
		return false
	}
	for _, r := range d.cfg.Allow {
		if !r.port(port) {
			continue
		}
		if r.Name != "" {
			if r.names(host) && (class == Loopback || class == Private || class == Shared) {
				return true
			}
			continue
		}
		if r.Net.Contains(a.Unmap()) && (r.single() || !byItself(a, class)) {
			return true
		}
	}
	return false
}

// byItself tells which addresses no range opens.
func byItself(a netip.Addr, class Class) bool {
	return class == Metadata || class == Embedded && Classify(carried(a)) != Public
}

// listed tells whether the restriction to Only lets a destination through. An
// address rule counts for an address that was asked for by itself; a name's
// addresses are not known yet.
func (d *Dialer) listed(host string, port uint16) bool {
	addr, err := netip.ParseAddr(host)
	for _, rules := range [][]Rule{d.cfg.Only, d.cfg.Allow} {
		for _, r := range rules {
			if !r.port(port) {
				continue
			}
			if r.names(host) || err == nil && r.Name == "" && r.Net.Contains(addr.Unmap()) {
				return true
			}
		}
	}
	return false
}

// remedy names the narrowest rule that would help.
func remedy(host string, port uint16, a netip.Addr, class Class) string {
	p := strconv.Itoa(int(port))
	switch class {
	case Multicast, Unspecified:
		return "nothing (such an address is never dialled)"
	case Loopback, Private, Shared:
		return net.JoinHostPort(host, p)
	default:
		return net.JoinHostPort(a.String(), p)
	}
}
