package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"sallyport/internal/action"
	"sallyport/internal/label"
)

// NetRule lists one destination of a profile.
//
// Programs narrows a rule and confines nothing: whatever runs in a session can
// start a listed program and have it do its bidding.
type NetRule struct {
	Host      string      // name, *.suffix (its subdomains, not itself), address, or range in CIDR form
	Ports     []uint16    // empty: 443
	Methods   []string    // HTTP methods in capitals; empty: all
	Paths     []string    // exact, or a beginning with * at its end; empty: all
	Programs  []string    // absolute paths or base names; empty: all
	Clearance label.Label // the highest label it may receive
	Result    label.Label // of what comes back
	Origin    string      // the setting, for explanations: "profiles.node.network.allow[0]"
}

// What a destination that no rule names gets; the empty text is UnlistedDeny.
// Both are an ask that a standing grant can answer; they differ in whether
// somebody is waited for, which whoever asks people decides.
const (
	UnlistedDeny = "deny"
	UnlistedAsk  = "ask"
)

// defaultPort is where a rule without ports applies.
const defaultPort = 443

// Secret is what policy needs to know about a credential: the one place it may
// go, and who may send it there.
type Secret struct {
	Host     string // exact name or address
	Port     uint16 // 0: 443
	Profiles []string
}

// NetworkLevel tells the egress how closely to look at a connection: whether
// any rule of the profile names host, port and program, and whether one of them
// speaks of methods or paths, so that each request must be judged.
func (e *Engine) NetworkLevel(profile, host string, port uint16, program string) (listed, perRequest bool) {
	host, ok := canonicalHost(host)
	if !ok {
		return false, false
	}
	for _, r := range e.networks[profile].matching(host, port, program) {
		listed = true
		perRequest = perRequest || r.perRequest()
	}
	return listed, perRequest
}

// NameAllowed tells whether a name may be resolved at all: a rule of the
// profile could match it, or what is not listed is asked for. An address is no
// name.
func (e *Engine) NameAllowed(profile, name string) bool {
	host, ok := canonicalHost(name)
	if !ok {
		return false
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	if e.settings.Profiles[profile].Unlisted == UnlistedAsk {
		return true
	}
	return len(e.networks[profile].naming(host)) > 0
}

// network holds one profile's rules so that a host finds its own: by name, by
// the suffixes of its name, or among the ranges. The zero network has none.
type network struct {
	exact    map[string][]*NetRule
	suffix   map[string][]*NetRule // by ".example.org"
	prefixes []prefixRule          // longest first
}

type prefixRule struct {
	prefix netip.Prefix
	rule   *NetRule
}

// newNetwork indexes checked rules. Among those of one host the more
// constrained come first, then the order of the settings.
func newNetwork(rules []NetRule) *network {
	n := &network{exact: map[string][]*NetRule{}, suffix: map[string][]*NetRule{}}
	sorted := make([]*NetRule, len(rules))
	for i := range rules {
		sorted[i] = &rules[i]
	}
	slices.SortStableFunc(sorted, func(a, b *NetRule) int { return cmp.Compare(b.constraints(), a.constraints()) })
	for _, r := range sorted {
		if p, err := netip.ParsePrefix(r.Host); err == nil {
			n.prefixes = append(n.prefixes, prefixRule{p, r})
		} else if s, ok := strings.CutPrefix(r.Host, "*"); ok {
			n.suffix[s] = append(n.suffix[s], r)
		} else {
			n.exact[r.Host] = append(n.exact[r.Host], r)
		}
	}
	slices.SortStableFunc(n.prefixes, func(a, b prefixRule) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) })
	return n
}

func (r *NetRule) constraints() int {
	return min(len(r.Methods), 1) + min(len(r.Paths), 1) + min(len(r.Programs), 1)
}

func (r *NetRule) perRequest() bool { return len(r.Methods) > 0 || len(r.Paths) > 0 }

// naming gives the rules whose host covers a canonical host, the most specific
// host first.
func (n *network) naming(host string) []*NetRule {
	if n == nil {
		return nil
	}
	found := n.exact[host]
	if a, err := netip.ParseAddr(host); err == nil {
		for _, p := range n.prefixes {
			if p.prefix.Contains(a) {
				found = append(slices.Clip(found), p.rule)
			}
		}
		return found // an address has no labels to compare
	}
	for i := range len(host) {
		if host[i] == '.' {
			found = append(slices.Clip(found), n.suffix[host[i:]]...)
		}
	}
	return found
}

// matching gives the rules for a canonical host, a port and a program.
func (n *network) matching(host string, port uint16, program string) []*NetRule {
	return slices.DeleteFunc(slices.Clone(n.naming(host)), func(r *NetRule) bool { return !r.onPort(port) || !r.forProgram(program) })
}

func (r *NetRule) onPort(port uint16) bool {
	if len(r.Ports) == 0 {
		return port == defaultPort
	}
	return slices.Contains(r.Ports, port)
}

// forProgram compares the whole path, or the base name where the rule gives
// only that. A program that is not known matches no rule that names some.
func (r *NetRule) forProgram(program string) bool {
	return len(r.Programs) == 0 || program != "" &&
		(slices.Contains(r.Programs, program) || slices.Contains(r.Programs, path.Base(program)))
}

func (r *NetRule) forRequest(method, rawPath string) bool {
	if len(r.Methods) > 0 && !slices.Contains(r.Methods, method) {
		return false
	}
	if len(r.Paths) == 0 {
		return true
	}
	clean, ok := cleanPath(rawPath)
	return ok && slices.ContainsFunc(r.Paths, func(pattern string) bool {
		if prefix, wild := strings.CutSuffix(pattern, "*"); wild {
			return strings.HasPrefix(clean, prefix)
		}
		return clean == pattern
	})
}

// destination is where a connection or request goes, as its arguments say.
type destination struct {
	ok      bool // the target says the same, in the one form that grants compare
	host    string
	port    uint16
	program string
	rule    *NetRule // nil: not listed
}

// authority gives the host as it stands before a colon and a port.
func (d *destination) authority() string {
	if strings.Contains(d.host, ":") {
		return "[" + d.host + "]"
	}
	return d.host
}

// where gives host:port.
func (d *destination) where() string { return d.authority() + ":" + strconv.Itoa(int(d.port)) }

// destinationOf reads a net.connect or http.request. The executor takes host,
// port and path from the arguments while grants and people look at the target,
// so a target that says anything else than the arguments is refused.
func (e *Engine) destinationOf(a *action.Action, profile string) destination {
	d := destination{program: a.Arg("program")}
	host, okHost := canonicalHost(a.Arg("host"))
	port, okPort := portOf(a.Args["port"])
	d.host, d.port = host, port
	if !okHost || !okPort || host != a.Arg("host") {
		return d
	}
	if a.Kind == action.NetConnect {
		d.ok = a.Target == d.where()
		// A connection is a tunnel nobody looks into: a rule that speaks of
		// methods or paths says nothing about it.
		for _, r := range e.networks[profile].matching(host, port, d.program) {
			if !r.perRequest() {
				d.rule = r
				break
			}
		}
		return d
	}
	method, raw := a.Arg("method"), a.Arg("path")
	for _, r := range e.networks[profile].matching(host, port, d.program) {
		if r.forRequest(method, raw) {
			d.rule = r
			break
		}
	}
	_, plain := cleanPath(raw)
	// A path that servers read in two ways may pass where every path does, but
	// no grant for a beginning of paths may be stretched with it.
	d.ok = method != "" && requestTarget(a.Target, &d, raw) && (plain || d.rule != nil)
	return d
}

// requestTarget compares scheme://host[:port]path with the arguments.
func requestTarget(target string, d *destination, raw string) bool {
	if !strings.HasPrefix(raw, "/") || strings.ContainsAny(raw, "?#") {
		return false
	}
	scheme, rest, ok := strings.Cut(target, "://")
	usual := uint16(443)
	if scheme == "http" {
		usual = 80
	}
	if !ok || scheme != "http" && scheme != "https" || !strings.HasSuffix(rest, raw) {
		return false
	}
	authority := strings.TrimSuffix(rest, raw)
	if authority == d.where() {
		return true
	}
	return d.port == usual && authority == d.authority()
}

// portOf reads a port as text or number.
func portOf(v any) (uint16, bool) {
	text := ""
	switch v := v.(type) {
	case string:
		text = v
	case int:
		text = strconv.Itoa(v)
	case int64:
		text = strconv.FormatInt(v, 10)
	case float64:
		text = strconv.FormatFloat(v, 'f', -1, 64)
	}
	p, err := strconv.ParseUint(text, 10, 16)
	return uint16(p), err == nil && p > 0 && strconv.FormatUint(p, 10) == text
}

// canonicalHost gives a host in the one form that rules are compared in: lower
// case, without a dot at the end, an address in its usual form. ok is false for
// what is neither.
func canonicalHost(h string) (string, bool) {
	if a, err := netip.ParseAddr(h); err == nil {
		return a.Unmap().WithZone("").String(), a.Zone() == ""
	}
	if len(h) > 254 {
		return "", false
	}
	h = strings.TrimSuffix(lowerASCII(h), ".")
	return h, len(h) <= 253 && validName(h)
}

// validName tells a host name from anything else, without the cost of a
// regular expression for each decision.
func validName(h string) bool {
	last := h
	for part := range strings.SplitSeq(h, ".") {
		if part == "" || len(part) > 63 || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
		for i := range len(part) {
			if c := part[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
		last = part
	}
	return !numeric(last)
}

// numeric tells a last label that some resolvers read as a part of an address:
// 127.1, 0x7f000001, 2130706433.
func numeric(s string) bool {
	digits := "0123456789"
	if rest, ok := strings.CutPrefix(s, "0x"); ok {
		s, digits = rest, "0123456789abcdef"
	}
	return strings.Trim(s, digits) == ""
}

// lowerASCII leaves other scripts alone: a Kelvin sign is no k.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// lookalikes are what some servers take for dots and slashes: leaders, the
// fraction and division slash, full-width forms.
const lookalikes = "\u2024\u2025\u2026\u2044\u2215\uff0e\uff0f\uff3c"

// cleanPath gives the path that rules are compared with: percent-encoded
// letters decoded. ok is false for a path that servers read in two ways:
// encoded dots, slashes, backslashes and percent signs, empty segments and those
// of dots (parameters after them or not), control characters, look-alikes, text
// that is not UTF-8.
func cleanPath(raw string) (string, bool) {
	if !strings.HasPrefix(raw, "/") {
		return "", false
	}
	decoded := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if c == '%' {
			if i+2 >= len(raw) {
				return "", false
			}
			v, err := strconv.ParseUint(raw[i+1:i+3], 16, 8)
			c = byte(v)
			if err != nil || c == '.' || c == '/' || c == '\\' || c == '%' || c == ';' || c == '?' || c == '#' {
				return "", false
			}
			i += 2
		} else if c >= utf8.RuneSelf || c == '\\' || c == '?' || c == '#' {
			return "", false
		}
		if c < ' ' || c == 0x7f {
			return "", false
		}
		decoded = append(decoded, c)
	}
	p := string(decoded)
	if !utf8.ValidString(p) || strings.Contains(p, "//") || strings.ContainsAny(p, lookalikes) {
		return "", false
	}
	for segment := range strings.SplitSeq(p, "/") {
		if s, _, params := strings.Cut(segment, ";"); (s != "" || params) && strings.Trim(s, ". ") == "" {
			return "", false
		}
	}
	return p, true
}

var methodName = regexp.MustCompile(`^[A-Z]{1,20}$`)

// check refuses a rule that could match more, or less, than it says.
func (r *NetRule) check() error {
	if err := checkRuleHost(r.Host); err != nil {
		return err
	}
	if slices.Contains(r.Ports, 0) {
		return fmt.Errorf("port 0 is no port")
	}
	for _, m := range r.Methods {
		if !methodName.MatchString(m) {
			return fmt.Errorf("method %q is not in capitals", m)
		}
	}
	for _, p := range r.Paths {
		prefix := strings.TrimSuffix(p, "*")
		if clean, ok := cleanPath(prefix); !ok || clean != prefix || strings.Contains(prefix, "*") {
			return fmt.Errorf("path %q is not plain", p)
		}
	}
	if slices.Contains(r.Programs, "") {
		return fmt.Errorf("a program has no name")
	}
	if !r.Clearance.Valid() || !r.Result.Valid() {
		return fmt.Errorf("clearance or result label is out of range")
	}
	return nil
}

func checkRuleHost(h string) error {
	if p, err := netip.ParsePrefix(h); err == nil {
		if p != p.Masked() || p.Addr().Is4In6() || p.Bits() == 0 {
			return fmt.Errorf("range %q is mapped, unmasked or everything", h)
		}
		return nil
	}
	name, wild := strings.CutPrefix(h, "*.")
	if wild && !strings.Contains(name, ".") {
		return fmt.Errorf("host %q allows any host", h)
	}
	_, addrErr := netip.ParseAddr(name)
	if c, ok := canonicalHost(name); !ok || c != name || wild && addrErr == nil {
		return fmt.Errorf("host %q is not a name in lower case, *. and a name, an address or a range", h)
	}
	return nil
}
