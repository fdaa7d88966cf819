package egress

import "net/netip"

// Class says what kind of address something is.
type Class uint8

// The classes. Everything but Public is refused without a rule.
const (
	Public      Class = iota
	Loopback          // this machine
	Private           // RFC 1918, unique local (RFC 4193), site-local
	Shared            // carrier-grade NAT, RFC 6598
	LinkLocal         // 169.254/16, fe80::/10
	Metadata          // a cloud's metadata or host service
	Embedded          // IPv6 that carries an IPv4 address: mapped by a gateway we do not see
	Reserved          // documentation, benchmarking, future use, not global unicast
	Multicast         // several receivers, broadcast included
	Unspecified       // 0.0.0.0/8, ::
)

var classNames = [...]string{
	"public", "loopback", "private", "shared (CGNAT)", "link-local", "cloud metadata",
	"embedded-IPv4", "reserved", "multicast or broadcast", "unspecified",
}

// String names the class for messages.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown"
}

// row is one special range; the first that contains an address decides.
type row struct {
	net   netip.Prefix
	class Class
}

// special is written narrow before wide. Sources: the IANA special-purpose
// registries (RFC 6890 and successors) and the clouds' documents for the
// metadata addresses.
var special = table(
	Metadata, "169.254.169.254/32", // AWS, Google, Azure and most others
	Metadata, "169.254.170.2/32", // AWS container credentials
	Metadata, "169.254.170.23/32", // AWS pod identity
	Metadata, "100.100.100.200/32", // Alibaba
	Metadata, "168.63.129.16/32", // Azure host service; a public range otherwise
	Metadata, "192.0.0.192/32", // Oracle
	Metadata, "fd00:ec2::254/128", // AWS
	Metadata, "fd00:ec2::23/128", // AWS pod identity
	Metadata, "fd20:ce::254/128", // Google
	Unspecified, "0.0.0.0/8",
	Private, "10.0.0.0/8",
	Shared, "100.64.0.0/10",
	Loopback, "127.0.0.0/8",
	LinkLocal, "169.254.0.0/16",
	Private, "172.16.0.0/12",
	Reserved, "192.0.0.0/24",
	Reserved, "192.0.2.0/24",
	Embedded, "192.88.99.0/24", // 6to4 relays
	Private, "192.168.0.0/16",
	Reserved, "198.18.0.0/15",
	Reserved, "198.51.100.0/24",
	Reserved, "203.0.113.0/24",
	Multicast, "224.0.0.0/4",
	Multicast, "255.255.255.255/32",
	Reserved, "240.0.0.0/4",
	Unspecified, "::/128",
	Loopback, "::1/128",
	Embedded, "::ffff:0:0:0/96", // translated, RFC 2765
	Embedded, "::/96", // compatible
	Embedded, "64:ff9b::/96", // NAT64
	Embedded, "64:ff9b:1::/48", // NAT64, local use
	Embedded, "2001::/32", // Teredo
	Embedded, "2002::/16", // 6to4
	Reserved, "2001:db8::/32",
	Reserved, "2001::/23", // protocol assignments
	Reserved, "3fff::/20",
	Private, "fc00::/7",
	LinkLocal, "fe80::/10",
	Private, "fec0::/10",
	Multicast, "ff00::/8",
)

// globalUnicast is the only IPv6 range that is handed out for the internet.
var globalUnicast = netip.MustParsePrefix("2000::/3")

func table(cells ...any) []row {
	out := make([]row, 0, len(cells)/2)
	for i := 0; i < len(cells); i += 2 {
		out = append(out, row{netip.MustParsePrefix(cells[i+1].(string)), cells[i].(Class)})
	}
	return out
}

// Classify tells the class of an address. An IPv4-mapped IPv6 address is what
// the kernel makes of it, the IPv4 address; every other form that carries an
// IPv4 address is Embedded whatever it carries, since a gateway elsewhere
// decides where it leads.
func Classify(a netip.Addr) Class {
	if !a.IsValid() {
		return Unspecified
	}
	a = a.Unmap().WithZone("")
	for _, r := range special {
		if r.net.Contains(a) {
			return r.class
		}
	}
	if a.Is6() && !globalUnicast.Contains(a) {
		return Reserved
	}
	if a.Is6() && isatap(a) {
		return Embedded
	}
	return Public
}

// isatap recognises the interface identifier of RFC 5214, ::0:5efe:a.b.c.d
// with or without the universal bit.
func isatap(a netip.Addr) bool {
	b := a.As16()
	return (b[8] == 0 || b[8] == 2) && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// carried gives the IPv4 address that an Embedded address leads to.
func carried(a netip.Addr) netip.Addr {
	if a.Is4() {
		return a
	}
	b := a.As16()
	v4 := [4]byte(b[12:16])
	switch {
	case b[0] == 0x20 && b[1] == 0x02: // 6to4
		v4 = [4]byte(b[2:6])
	case b[0] == 0x20 && b[1] == 0x01: // Teredo stores it inverted
		for i := range v4 {
			v4[i] = ^v4[i]
		}
	}
	return netip.AddrFrom4(v4)
}
