package scan

import (
	"slices"
	"strings"
)

// address judges a string that is an address as a whole: what a request to it
// would give away. The host's labels, the path's pieces and the values of the
// query are also put together, since a secret may be spread over them.
func (e *Engine) address(sc *Scanner, text string) []Finding {
	scheme, rest, ok := strings.Cut(text, "://")
	if !ok || !e.on["exfil"] || len(scheme) > 12 || len(text) > 8192 || strings.ContainsAny(text, " \t\r\n\"<>") || rest == "" {
		return nil
	}
	for i := range len(scheme) {
		if !isAlnum(scheme[i]) && scheme[i] != '+' {
			return nil
		}
	}
	var out []Finding
	whole := func(id, detail string) { out = append(out, e.parsed(id, 0, len(text), detail)) }
	if strings.Contains(text, "%2525") {
		whole("exfil.encoded", "")
	}
	host, path := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if i := strings.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if why := inward(host); why != "" {
		whole("exfil.inward", why)
	}
	path, query, _ := strings.Cut(path, "?")
	labels := strings.Split(host, ".")
	if part := loadedHost(labels); part != "" {
		whole("exfil.address", part)
	} else if loadedPath(path) {
		whole("exfil.address", "a piece of the path looks drawn by lot")
	}
	for _, pieces := range [][]string{labels[:max(0, len(labels)-2)], strings.Split(path, "/"), valuesOf(query)} {
		if title := e.inPieces(sc, pieces, text); title != "" {
			whole("exfil.split", title)
			break
		}
	}
	return out
}

// metadataHosts answer with a machine's credentials.
var metadataHosts = []string{"169.254.169.254", "169.254.170.2", "100.100.100.200", "metadata.google.internal", "metadata.goog", "[fd00:ec2::254]", "instance-data.ec2.internal"}

// rebinders are services whose names are addresses of the asker's choice.
var rebinders = []string{"nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "rbndr.us", "1u.ms", "nip.direct", "traefik.me"}

// inward tells what about a host looks like a way inside that hides. What an
// address is in the end, the dialer decides.
func inward(host string) string {
	if !strings.HasPrefix(host, "[") {
		host, _, _ = strings.Cut(host, ":")
	} else if i := strings.IndexByte(host, ']'); i > 0 {
		host = host[:i+1]
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	switch {
	case slices.Contains(metadataHosts, host):
		return "a cloud's metadata service"
	case slices.ContainsFunc(rebinders, func(r string) bool { return host == r || strings.HasSuffix(host, "."+r) }):
		return "a name that leads to an address written in it"
	case strings.HasPrefix(host, "[::ffff:"), strings.HasPrefix(host, "[64:ff9b:"):
		return "an address of IPv4 inside one of IPv6"
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	plain := len(labels) == 4
	for _, l := range labels {
		plain = plain && len(l) <= 3 && strings.Trim(l, "0123456789") == "" && (len(l) < 2 || l[0] != '0')
	}
	if digits := strings.TrimPrefix(last, "0x"); last != "" && strings.Trim(digits, "0123456789abcdef") == "" && (last[0]-'0' < 10) && !plain {
		return "an address in another spelling than four numbers"
	}
	return ""
}

// loadedHost tells what about a host looks like data rather than a name.
func loadedHost(labels []string) string {
	same := 1
	for i, l := range labels {
		b := []byte(l)
		if len(b) >= 24 && kindsOf(b).hex && hasBoth(b) || len(b) >= 32 && drawn(b, true, false) {
			return "a label of the host looks drawn by lot"
		}
		if i > 0 && len(l) >= 6 && len(l) == len(labels[i-1]) {
			if same++; same == 4 {
				return "four labels of one length, as of something cut in pieces"
			}
		} else {
			same = 1
		}
	}
	return ""
}

// loadedPath tells whether a piece of a path looks drawn by lot. Hexadecimal
// ones are the names of commits, files and rows.
func loadedPath(path string) bool {
	for piece := range strings.SplitSeq(path, "/") {
		b := []byte(piece)
		k := kindsOf(b)
		if len(b) >= 24 && k.upper && k.lower && k.digit && !k.other && entropy(b) >= 4 && drawn(b, true, false) {
			return true
		}
	}
	return false
}

func valuesOf(query string) []string {
	var out []string
	for pair := range strings.SplitSeq(query, "&") {
		_, value, _ := strings.Cut(pair, "=")
		out = append(out, value)
	}
	return out
}

// maxPieces bounds how many parts of an address are put together.
const maxPieces = 64

// inPieces names the rule of a secret that parts of an address, put together,
// make and none of them is alone.
func (e *Engine) inPieces(sc *Scanner, pieces []string, text string) string {
	pieces = slices.DeleteFunc(pieces, func(p string) bool { return p == "" })
	if len(pieces) < 2 || len(pieces) > maxPieces {
		return ""
	}
	var b strings.Builder
	for n := 2; n <= min(4, len(pieces)); n++ {
		for i := range len(pieces) - n + 1 {
			b.WriteString(strings.Join(pieces[i:i+n], ""))
			b.WriteByte('\n')
		}
	}
	b.WriteString(strings.Join(pieces, ""))
	joined := b.String()
	for _, f := range sc.Scan([]byte(joined)).Findings {
		rule := &e.rules[e.byID[f.Rule]]
		exact := rule.Block && classOf(f.Rule) == "secret" || f.Rule == "pii.card" || f.Rule == "pii.iban"
		if exact && !strings.Contains(text, joined[f.Start:f.End]) {
			return rule.Title
		}
	}
	return ""
}
