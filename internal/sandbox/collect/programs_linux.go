package collect

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// program finds a tool in the system's own folders; PATH is not consulted, since
// this may run as root.
func program(name string) string {
	for _, d := range []string{"/usr/sbin/", "/sbin/", "/usr/bin/", "/bin/"} {
		if st, err := os.Stat(d + name); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return d + name
		}
	}
	return ""
}

// capped keeps the first max bytes and counts on.
type capped struct {
	b   bytes.Buffer
	cut bool
}

func (c *capped) Write(p []byte) (int, error) {
	if room := maxFile - c.b.Len(); len(p) > room {
		c.cut = true
		c.b.Write(p[:max(room, 0)])
	} else {
		c.b.Write(p)
	}
	return len(p), nil
}

func run(ctx context.Context, path string, args ...string) (*capped, error) {
	var out capped
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HOME=/nonexistent", "DEBIAN_FRONTEND=noninteractive"}
	cmd.Dir = "/"
	cmd.Stdout = &out
	cmd.WaitDelay = 200 * time.Millisecond // a child that keeps the pipe open does not keep us
	err := cmd.Run()
	return &out, err
}

// firewall prints the loaded rules of nftables and iptables.
func firewall(ctx context.Context, h host) fact {
	st := func(s, d string) fact { return fact{states: []State{{"firewall", s, d}}} }
	if !h.live() {
		return st(StateNotInstalled, "no program is run for another root")
	}
	var body strings.Builder
	tools, answered, why := 0, 0, ""
	for _, c := range [][]string{{"nft", "list", "ruleset"}, {"iptables-save"}, {"ip6tables-save"}} {
		p := program(c[0])
		if p == "" {
			continue
		}
		tools++
		out, err := run(ctx, p, c[1:]...)
		if err != nil {
			why = c[0] + ": " + err.Error()
			continue
		}
		answered++
		body.WriteString("# " + c[0] + "\n")
		for line := range strings.SplitSeq(out.b.String(), "\n") {
			body.WriteString(strings.TrimRight(clean(strings.ReplaceAll(line, "\t", "  ")), " ") + "\n")
		}
	}
	switch {
	case tools == 0:
		return st(StateNotInstalled, "neither nft nor iptables-save was found")
	case answered == 0:
		return st(StateUnreadable, why)
	case answered < tools:
		return fact{"firewall.txt", []byte(body.String()), []State{{"firewall", StatePartial, why}}}
	}
	return fact{"firewall.txt", []byte(body.String()), []State{{"firewall", StateOK, ""}}}
}

// noLists is the age stated when there are no package lists at all, in days.
const noLists = 9999

// updates simulates an upgrade from the lists that are there; nothing is fetched.
func updates(ctx context.Context, h host) fact {
	both := func(s, d string) fact {
		return fact{states: []State{{"updates", s, d}, {"lists", s, d}}}
	}
	apt := program("apt-get")
	if !h.live() || apt == "" {
		return both(StateNotInstalled, "apt-get was not found")
	}
	age := listAge(h, time.Now())
	lists := State{"lists", StateOK, strconv.Itoa(age)}
	if age == noLists {
		return fact{states: []State{{"updates", StateUnreadable, "there are no package lists: run apt update"}, lists}}
	}
	out, err := run(ctx, apt, "-s", "-qq", "-o", "Debug::NoLocking=1", "dist-upgrade")
	if err != nil {
		return fact{states: []State{{"updates", StateUnreadable, "apt-get -s: " + err.Error()}, lists}}
	}
	r := parseUpdates(out.b.String())
	if out.cut {
		r.cut = true
	}
	return fact{"updates.tsv", []byte(r.b.String()), []State{r.state("updates"), lists}}
}

// instRE matches "Inst openssl [3.0.1] (3.0.2 Debian-Security:12/stable-security [amd64])".
var instRE = regexp.MustCompile(`^Inst (\S+) \[([^\]\s]+)\] \((\S+) ([^)\[]*)`)

func parseUpdates(out string) *rows {
	var r rows
	for line := range strings.SplitSeq(out, "\n") {
		m := instRE.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		security := "no"
		if o := strings.ToLower(m[4]); strings.Contains(o, "security") {
			security = "yes"
		}
		r.add(m[1], m[2], m[3], security)
	}
	return &r
}

// listAge is the number of days since package lists last changed.
func listAge(h host, now time.Time) int {
	newest := time.Time{}
	entries, _ := os.ReadDir(h.path("/var/lib/apt/lists")) // absent: no lists
	for _, e := range entries {
		if st, err := e.Info(); err == nil && st.Mode().IsRegular() && strings.Contains(e.Name(), "Release") && st.ModTime().After(newest) {
			newest = st.ModTime()
		}
	}
	if newest.IsZero() {
		return noLists
	}
	// A list keeps its publisher's date when nothing is new, so the moment of the
	// last run counts when it is known.
	for _, stamp := range []string{"/var/lib/apt/periodic/update-success-stamp", "/var/cache/apt/pkgcache.bin", "/var/lib/apt/lists"} {
		if st, err := os.Stat(h.path(stamp)); err == nil && st.ModTime().After(newest) {
			newest = st.ModTime()
		}
	}
	return max(0, int(now.Sub(newest).Hours()/24))
}
