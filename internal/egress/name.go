package egress

import (
	"net/netip"
	"strings"
)

// CanonicalHost gives the one spelling of a host: an address as netip writes
// it (IPv4-mapped ones as IPv4), a name in lower case without its final dot.
// It is false for what is neither: names with other characters than letters,
// digits, hyphens, underscores and dots, empty or too long labels, addresses
// with a zone, and the old numeric spellings of addresses ("0x7f.1",
// "2130706433", "127.1"), which some resolvers read as addresses and others as
// names.
func CanonicalHost(s string) (string, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().String(), a.Zone() == ""
	}
	s = canonicalName(s)
	return s, validName(s)
}

// canonicalName lowers ASCII letters only: strings.ToLower would make a k of
// the Kelvin sign, and two names of one.
func canonicalName(host string) string {
	return strings.TrimSuffix(strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, host), ".")
}

func validName(s string) bool {
	if s == "" || len(s) > 253 {
		return false
	}
	last := ""
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		last = label
	}
	return !numeric(last) && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != '_'
	})
}

// numeric tells a final label that makes readers take a name for an address:
// decimal, octal or hexadecimal digits. No top-level domain is one.
func numeric(label string) bool {
	digits, set := label, "0123456789"
	if rest, ok := strings.CutPrefix(label, "0x"); ok {
		digits, set = rest, set+"abcdef"
	}
	return strings.Trim(digits, set) == ""
}
