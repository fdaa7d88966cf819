package config

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"
)

// The checks of single values of profiles, network rules and secrets.

// secretLooking tells variables that usually hold a credential, or the way to
// one; wider than secretName, because here nothing needs them.
var secretLooking = regexp.MustCompile(`(?i)(^|_)(API_?KEY|KEYS?|TOKENS?|SECRETS?|PASSWORD|PASSWD|PASS|PASSPHRASE|CREDENTIALS?|CREDS|AUTH|COOKIE|PAT|DSN)(_|$)|^DATABASE_URL$`)

// secretPlace tells paths of homes that hold credentials.
var secretPlace = regexp.MustCompile(`(?i)(^|/)(\.ssh|\.gnupg|\.aws|\.azure|\.kube|\.docker|\.password-store|\.netrc|_netrc|\.npmrc|\.yarnrc|\.pypirc|\.git-credentials|\.pgpass|\.env(\.[^/]*)?|\.sallyport|gcloud|keyrings|id_(rsa|dsa|ecdsa|ed25519)[^/]*|[^/]*\.(pem|key|p12|pfx|kdbx|jks)|[^/]*(credential|secret|passw|oauth)[^/]*|[^/]*token(s)?(\.[a-z]+)?|auth\.json)(/|$)`)

const (
	labelPart = `[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?`
	nameRE    = `^` + labelPart + `(\.` + labelPart + `)*$`
)

var hostName = regexp.MustCompile(nameRE)

// numericHost finds names that some resolvers read as an address: 127.1,
// 0x7f000001, 2130706433.
var numericHost = regexp.MustCompile(`(^|\.)(0x[0-9a-f]*|[0-9]+)$`)

func hostPath(n *node) (problem, remedy string) {
	if problem, remedy = anyHostPath(n); problem != "" {
		return problem, remedy
	}
	if secretPlace.MatchString(n.text) {
		return "looks like a place of credentials", "leave it out; bind a credential under secrets: instead"
	}
	return "", ""
}

// anyHostPath checks ~/x, ${env.X}/x and /x.
func anyHostPath(n *node) (problem, remedy string) {
	p := n.text
	switch rest, ok := strings.CutPrefix(p, "~/"); {
	case ok:
		p = "/" + rest
	case strings.HasPrefix(p, "${env."):
		name, rest, closed := strings.Cut(p[len("${env."):], "}")
		if !closed || !envName.MatchString(name) || rest != "" && rest[0] != '/' {
			return "is not ${env.NAME} with a path after it", "write ${env.NAME}/path"
		}
		if secretLooking.MatchString(name) {
			return "names a variable that looks like a secret", "use a variable that holds a directory"
		}
		p = "/x" + rest
	}
	switch {
	case !path.IsAbs(p):
		return "must be an absolute path", "start it with /, ~/ or ${env.NAME}"
	case p == "/":
		return "is the whole disk or the whole home", "name the directory that is needed"
	case path.Clean(p) != p:
		return "is not a clean path", "write it without .., ., // and a / at the end"
	case strings.ContainsAny(p, "*?${"):
		return "must name a file or a directory, not a pattern", "write the path itself"
	}
	return "", ""
}

func homePath(n *node) (problem, remedy string) {
	switch p := n.text; {
	case path.IsAbs(p) || strings.HasPrefix(p, "~") || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../"):
		return "must be a clean path relative to the home", "write .gitconfig, not ~/.gitconfig or /home/…"
	case strings.ContainsAny(p, "*?${"):
		return "must name a file, not a pattern", "write the path itself"
	case secretPlace.MatchString(p):
		return "looks like a place of credentials, which never enter a session", "leave it out; bind the credential under secrets: instead"
	}
	return "", ""
}

func insidePath(n *node) (problem, remedy string) {
	p := strings.TrimSuffix(n.text, "/")
	if p == "" || path.IsAbs(p) || path.Clean(p) != p || p == "." || p == ".." || strings.HasPrefix(p, "../") {
		return "must be a clean path or glob below the working directory", "write it relative, without .., such as .git/hooks"
	}
	if _, err := path.Match(p, ""); err != nil {
		return "is not a glob", "close the [ or escape it with \\"
	}
	return "", ""
}

func passName(n *node) (problem, remedy string) {
	switch {
	case !envName.MatchString(n.text):
		return "is not a variable's name", "use letters, digits and _, not starting with a digit"
	case secretLooking.MatchString(n.text):
		return "looks like a secret, which must not enter a session", "use secrets: to bind it to its one host; the session then sees a placeholder"
	}
	return "", ""
}

func noSecret(n *node) (problem, remedy string) {
	switch {
	case secretWord.MatchString(n.text):
		return "looks like a credential", "put it into the environment or a file and bind it under secrets:"
	case len(n.text) > 64<<10:
		return "is longer than 64 KiB", "show a file of the host with mounts: instead"
	}
	return "", ""
}

var envTemplate = regexp.MustCompile(`\$\{([^}]*)(\}?)`)

// runNames are what ${run.X} may name in env.
var runNames = map[string]bool{"ca": true, "proxy": true, "home": true, "workdir": true}

func envValue(n *node) (problem, remedy string) {
	if problem, remedy = noSecret(n); problem != "" {
		return problem, remedy
	}
	for _, m := range envTemplate.FindAllStringSubmatch(n.text, -1) {
		kind, name, _ := strings.Cut(m[1], ".")
		if m[2] == "" || kind != "secret" && (kind != "run" || !runNames[name]) {
			return fmt.Sprintf("%q is no known template", short(m[0])), "use ${run.ca}, ${run.proxy}, ${run.home}, ${run.workdir} or ${secret.NAME}"
		}
	}
	return "", ""
}

// envEntry refuses a variable that looks like a secret with a value of its own.
func envEntry(e entry) (problem, remedy string) {
	if secretLooking.MatchString(e.key) && e.val.text != "" && !strings.Contains(e.val.text, "${secret.") {
		return "looks like a secret and is written out", "bind it under secrets: and set it to ${secret.NAME}"
	}
	return "", ""
}

// hostPattern checks the host of a network rule.
func hostPattern(n *node) (problem, remedy string) {
	h := n.text
	if p, err := netip.ParsePrefix(h); err == nil {
		if p != p.Masked() {
			return "has bits beyond its length", "write " + p.Masked().String()
		}
		if p.Addr().Is4In6() || p.Bits() == 0 {
			return "is the whole internet or a mapped range", "name the range that is meant"
		}
		return "", ""
	}
	suffix, wild := strings.CutPrefix(h, "*.")
	switch {
	case h == "*" || wild && !strings.Contains(suffix, "."):
		return "allows any host of the internet", "name the hosts, or *.name.tld for the subdomains of one name"
	case wild && (!hostName.MatchString(suffix) || numericHost.MatchString(suffix)):
		return "is not *. with a name after it", "write *.example.org in lower case; * stands for whole labels at the front only"
	case wild:
		return "", ""
	}
	return exactHost(n)
}

// exactHost takes a name or an address in its usual form.
func exactHost(n *node) (problem, remedy string) {
	h := n.text
	if a, err := netip.ParseAddr(h); err == nil {
		if a.String() != h || a.Zone() != "" || a.Is4In6() {
			return "is not an address in its usual form", "write " + a.WithZone("").Unmap().String()
		}
		return "", ""
	}
	switch {
	case strings.Contains(h, "*"):
		return "is a pattern where one exact host is due", "name the host"
	case !hostName.MatchString(h) || len(h) > 253:
		return "is not a host name in lower case", "write the name alone, without scheme, port, path and a dot at the end; use the xn-- form of other scripts"
	case numericHost.MatchString(h):
		return "can be read as an address in an odd form", "write the address in its usual form"
	}
	return "", ""
}

func plainAddress(n *node) (problem, remedy string) {
	if a, err := netip.ParseAddr(n.text); err != nil || a.String() != n.text || a.Zone() != "" || a.Is4In6() {
		return "is not an address in its usual form", "write it as 192.0.2.1 or 2001:db8::1"
	}
	return "", ""
}

// urlPath checks a pattern that policy compares with cleaned paths: anything a
// server could read in two ways would never match.
func urlPath(n *node) (problem, remedy string) {
	p := strings.TrimSuffix(n.text, "*")
	switch {
	case !strings.HasPrefix(p, "/"):
		return "must start with /", "write the path without scheme and host, such as /v1/*"
	case strings.ContainsAny(p, "*?#%\\ ;"), strings.Contains(p, "//"), strings.Contains(p+"/", "/./"), strings.Contains(p+"/", "/../"), !ascii(p):
		return "is not a plain path", "write it without %, ?, #, \\, ;, //, . and ..; one * may stand at its end"
	}
	return "", ""
}

func ascii(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// privateRule compares private with the host.
func privateRule(n *node) (key, problem, remedy string) {
	host := n.get("host").val.text
	e := n.get("private")
	private := e != nil && e.val.b
	if strings.HasPrefix(host, "*.") && private {
		return "private", "lets any subdomain lead into a private network", "name each private host exactly, or its range"
	}
	p, err := netip.ParsePrefix(host)
	if err != nil {
		a, aerr := netip.ParseAddr(host)
		if aerr != nil {
			return "", "", "" // a name: where it leads is known only when it is resolved
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	a := p.Addr()
	inside := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast()
	switch {
	case inside && !private:
		return "host", "is a private address, which is refused unless the rule says so", "add private: true if it is meant"
	case private && !inside:
		return "private", "has no meaning for a public address", "remove it"
	}
	return "", "", ""
}

// offRules refuses a list that would have no effect.
func offRules(n *node) (key, problem, remedy string) {
	off, allow := n.get("off"), n.get("allow")
	if off != nil && off.val.b && allow != nil && len(allow.val.items) > 0 {
		return "allow", "has no effect with off: true", "remove one of the two"
	}
	return "", "", ""
}

func exactlyOne(names ...string) func(n *node) (key, problem, remedy string) {
	return func(n *node) (key, problem, remedy string) {
		set := 0
		for _, name := range names {
			if n.get(name) != nil {
				set++
			}
		}
		if set != 1 {
			return "", "must name exactly one of " + strings.Join(names, ", "), "keep one"
		}
		return "", "", ""
	}
}

func onePlace(n *node) (key, problem, remedy string) {
	if key, problem, remedy = exactlyOne("header", "query", "json", "form", "basic")(n); problem != "" {
		return key, problem, remedy
	}
	if n.get("template") != nil && n.get("header") == nil {
		return "template", "has a meaning for a header only", "remove it"
	}
	return "", "", ""
}

func holdsOnce(part string) func(n *node) (problem, remedy string) {
	return func(n *node) (problem, remedy string) {
		if strings.Count(n.text, part) != 1 || !ascii(n.text) {
			return "must hold " + part + " exactly once, in plain characters", "write " + part + " where it belongs"
		}
		return "", ""
	}
}
