// Package collect gathers the facts an audit needs and a sandboxed session must
// not reach by itself: whose process owns a socket, what the firewall holds,
// which accounts have no password, where keys lie about.
//
// It runs as the supervisor, before the sandbox starts, and writes one file per
// fact into a directory that the sandbox mounts read-only. Invariants: a secret's
// value is never written, only its path and kind; every text that came from the
// host is reduced to printable ASCII without tabs, so a row stays a row; what
// could not be read is stated in coverage.tsv and its file is left out; the whole
// takes at most Options.Timeout, and no file exceeds 1 MiB.
//
// It may be imported by app and by sandbox; it imports fault and the standard
// library, and like the rest of the sandbox it may start programs.
package collect

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"sallyport/internal/fault"
)

// The states of one collector, as coverage.tsv has them.
const (
	StateOK           = "ok"            // everything was read
	StatePartial      = "partial"       // some of it was closed to this user, or too large
	StateUnreadable   = "unreadable"    // nothing was read, though it is there
	StateNotInstalled = "not-installed" // there is nothing of the kind on this host
	StatePending      = "pending"       // still being read, see Options.Late
)

// Limits that keep a hostile or huge host from growing the facts without bound.
const (
	DefaultTimeout = 10 * time.Second
	maxFile        = 1 << 20 // bytes per fact file
	maxField       = 200     // characters per field
)

// Options say what to read. The zero value reads this host.
type Options struct {
	Root    string        // directory that stands for /; default "/"; elsewhere no program is started
	Timeout time.Duration // for everything together; default and maximum DefaultTimeout
	// Late lets Collect return before the slow collectors are done: until then
	// coverage.tsv calls them pending, and Summary.Done tells when they are. The
	// caller's ctx then has to live as long.
	Late bool
}

// State is what became of one collector.
type State struct {
	Name   string // "sockets"; its file is sockets.tsv (or .txt)
	State  string // one of the State constants
	Detail string // one clause; for lists the days since the last update
}

// Summary tells what was collected, in the order of coverage.tsv.
type Summary struct {
	Collectors []State
	Elapsed    time.Duration
	Done       <-chan struct{} // closed when everything was read; closed already without Options.Late
}

// String is one line for people: how many were read, and what was not.
func (s Summary) String() string {
	ok, rest := 0, []string{}
	for _, c := range s.Collectors {
		switch c.State {
		case StateOK:
			ok++
		case StatePending:
			rest = append(rest, c.Name+" still being read")
		default:
			rest = append(rest, c.Name+" "+c.State)
		}
	}
	line := fmt.Sprintf("%d of %d collected", ok, len(s.Collectors))
	if len(rest) > 0 {
		line += " (" + strings.Join(rest, ", ") + ")"
	}
	return line
}

// host is what a collector reads from.
type host struct {
	root string
}

func (h host) path(p string) string { return filepath.Join(h.root, p) }

// live reports whether root is the running system itself.
func (h host) live() bool { return h.root == "/" }

// fact is one collector's yield: a file's rows or text, and its states.
type fact struct {
	file   string
	body   []byte
	states []State
}

// rows builds a tab-separated body whose fields cannot break out of their place.
type rows struct {
	b       strings.Builder
	cut     bool
	partial string
}

func (r *rows) add(fields ...string) {
	if r.b.Len() > maxFile-maxField*len(fields) {
		r.cut = true
		return
	}
	for i, f := range fields {
		if i > 0 {
			r.b.WriteByte('\t')
		}
		r.b.WriteString(clean(f))
	}
	r.b.WriteByte('\n')
}

// state is ok, or partial when something was closed or left out.
func (r *rows) state(name string) State {
	switch {
	case r.cut:
		return State{name, StatePartial, "more rows than fit"}
	case r.partial != "":
		return State{name, StatePartial, r.partial}
	}
	return State{name, StateOK, ""}
}

// clean reduces host text to printable ASCII without tabs, bounded in length.
func clean(s string) string {
	if len(s) > maxField {
		s = s[:maxField]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// collector is one source of facts and the names it answers for.
type collector struct {
	names []string
	run   func(context.Context, host) fact
	slow  bool // starts another program that takes seconds
}

// live states whether the session will see the same sockets as the collector.
func live(_ context.Context, h host) fact {
	if h.live() {
		return fact{states: []State{{"live", StateOK, ""}}}
	}
	return fact{states: []State{{"live", StateNotInstalled, "the facts describe another host"}}}
}

// Collect writes the fact files, mode 0444, into dir, which must exist. An error
// means that dir cannot be written; whatever the host refuses is no error but a
// state in the summary and in coverage.tsv.
func Collect(ctx context.Context, dir string, o Options) (Summary, error) {
	start := time.Now()
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Timeout <= 0 || o.Timeout > DefaultTimeout {
		o.Timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	c := &collection{dir: dir, start: start, all: collectors()}
	c.begin(ctx, host{root: filepath.Clean(o.Root)})
	done := make(chan struct{})
	sum, err := c.gather(ctx, func(one collector) bool { return !o.Late || !one.slow })
	sum.Done = done
	if err != nil || !o.Late {
		cancel()
		close(done)
		return sum, err
	}
	go func() {
		defer close(done)
		defer cancel()
		// A directory that went away meanwhile needs no facts any more.
		_, _ = c.gather(ctx, func(collector) bool { return true })
	}()
	return sum, nil
}

// collection is one run of all collectors.
type collection struct {
	dir     string
	start   time.Time
	all     []collector
	results []chan fact
	facts   []*fact // what has come so far
}

func (c *collection) begin(ctx context.Context, h host) {
	c.results, c.facts = make([]chan fact, len(c.all)), make([]*fact, len(c.all))
	for i := range c.all {
		// Buffered: a collector stuck in a dead file system finds a place to put
		// its answer when nobody waits any more.
		c.results[i] = make(chan fact, 1)
		go func() { c.results[i] <- c.all[i].run(ctx, h) }()
	}
}

// gather waits for the collectors that are wanted, writes their files and then
// the coverage of all.
func (c *collection) gather(ctx context.Context, wanted func(collector) bool) (Summary, error) {
	var sum Summary
	var cov rows
	for i, one := range c.all {
		if c.facts[i] == nil && wanted(one) {
			f := one.await(ctx, c.results[i])
			c.facts[i] = &f
			if f.file != "" && f.body != nil {
				if err := write(c.dir, f.file, f.body); err != nil {
					return sum, err
				}
			}
		}
		sum.Collectors = append(sum.Collectors, one.states(c.facts[i])...)
	}
	for _, s := range sum.Collectors {
		cov.add(s.Name, s.State, s.Detail)
	}
	sum.Elapsed = time.Since(c.start)
	return sum, write(c.dir, "coverage.tsv", []byte(cov.b.String()))
}

func (c collector) await(ctx context.Context, result <-chan fact) fact {
	select {
	case f := <-result:
		return f
	case <-ctx.Done():
		return fact{states: c.each(StateUnreadable, "not finished in time")}
	}
}

// states of a collector; without a fact yet it is pending.
func (c collector) states(f *fact) []State {
	if f == nil {
		return c.each(StatePending, "")
	}
	return f.states
}

func (c collector) each(state, detail string) []State {
	out := make([]State, len(c.names))
	for i, n := range c.names {
		out[i] = State{n, state, detail}
	}
	return out
}

// write puts a whole file in place, readable by every uid a sandbox may use.
func write(dir, name string, body []byte) error {
	const op = "collect.write"
	tmp, err := os.CreateTemp(dir, "."+name+"-*")
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // gone already when the rename worked
	_, err = tmp.Write(body)
	if err == nil {
		err = tmp.Chmod(0o444)
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), filepath.Join(dir, name))
	}
	return fault.Wrap(op, fault.Internal, err)
}

// sysctlKeys are the kernel settings the checks judge.
func sysctlKeys() []string {
	return []string{
		"fs.protected_fifos", "fs.protected_hardlinks", "fs.protected_regular", "fs.protected_symlinks", "fs.suid_dumpable",
		"kernel.core_pattern", "kernel.dmesg_restrict", "kernel.kptr_restrict", "kernel.modprobe", "kernel.randomize_va_space",
		"kernel.unprivileged_bpf_disabled", "kernel.yama.ptrace_scope",
		"net.ipv4.conf.all.accept_redirects", "net.ipv4.conf.all.accept_source_route", "net.ipv4.conf.all.send_redirects",
		"net.ipv4.ip_forward", "net.ipv4.tcp_syncookies", "net.ipv6.conf.all.accept_redirects",
	}
}

func sysctl(_ context.Context, h host) fact {
	var r rows
	n := 0
	for _, k := range sysctlKeys() {
		b, err := os.ReadFile(h.path("/proc/sys/" + strings.ReplaceAll(k, ".", "/")))
		switch {
		case err == nil:
			n++
			r.add(k, strings.Join(strings.Fields(string(b)), " "))
		case !os.IsNotExist(err):
			r.partial = "some keys are closed to this user"
		}
	}
	if n == 0 {
		return fact{states: []State{{"sysctl", StateUnreadable, "no key below /proc/sys could be read"}}}
	}
	return fact{"sysctl.tsv", []byte(r.b.String()), []State{r.state("sysctl")}}
}

// roots lists the directories whose file modes are worth a walk: the usual ones
// and every other local disk.
func roots(_ context.Context, h host) fact {
	list := []string{"/etc", "/usr", "/opt", "/srv", "/home", "/root", "/var", "/boot"}
	if b, err := os.ReadFile(h.path("/proc/self/mounts")); err == nil && h.live() {
		for line := range strings.SplitSeq(string(b), "\n") {
			f := strings.Fields(line)
			if len(f) > 2 && localDisk(f[2]) && f[1] != "/" && !strings.HasPrefix(f[1], "/var/lib/") && !strings.Contains(f[1], `\`) {
				list = append(list, f[1])
			}
		}
	}
	sort.Strings(list)
	var r rows
	seen := ""
	for _, d := range list {
		st, err := os.Stat(h.path(d))
		if err != nil || !st.IsDir() || d == seen {
			continue
		}
		seen = d
		r.add(d)
	}
	return fact{"roots.txt", []byte(r.b.String()), []State{r.state("roots")}}
}

func localDisk(fs string) bool {
	switch fs {
	case "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "jfs", "reiserfs", "bcachefs":
		return true
	}
	return false
}

// octal renders permission bits with set-id and sticky, as stat(1) does.
func octal(m os.FileMode) string {
	n := uint32(m.Perm())
	if m&os.ModeSetuid != 0 {
		n |= 0o4000
	}
	if m&os.ModeSetgid != 0 {
		n |= 0o2000
	}
	if m&os.ModeSticky != 0 {
		n |= 0o1000
	}
	return fmt.Sprintf("%03o", n)
}
