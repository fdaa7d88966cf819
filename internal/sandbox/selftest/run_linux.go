package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
	"sallyport/internal/sandbox"
)

// probeTimeout bounds one probe.
const probeTimeout = 10 * time.Second

// Run makes every probe outside and inside a sandbox, and tells what each
// showed. For its time this process has a variable and two descriptors that
// its children inherit, so nothing else should be started meanwhile. Errors:
// Unsupported when the tier cannot be had, Canceled, Internal when the targets
// cannot be planted. A probe that succeeds inside is a result, not an error.
func Run(ctx context.Context, o Options) (Summary, []Result, error) {
	const op = "selftest.run"
	p, err := plant(ctx, o)
	if err != nil {
		return Summary{}, nil, fault.Wrap(op, fault.Internal, err)
	}
	defer p.remove()
	r := &run{p: p, outside: map[string]string{}}
	r.controls(ctx)
	if err := p.files(); err != nil {
		return Summary{}, nil, fault.Wrap(op, fault.Internal, err)
	}
	if err := r.start(ctx, o.Tier); err != nil {
		return Summary{}, nil, err
	}
	defer func() { _ = r.sb.Close() }()
	results := r.cases(ctx, o.Extra)
	if ctx.Err() != nil {
		return Summary{}, nil, fault.Wrap(op, fault.Canceled, ctx.Err())
	}
	return r.sum(results), results, nil
}

// run is one Run.
type run struct {
	p       *planted
	outside map[string]string // control of each probe
	sb      *sandbox.Sandbox
	tier    sandbox.Tier
	target  target // as the view has it
}

func (t *target) encode() (string, error) {
	b, err := json.Marshal(t)
	return string(b), err
}

// spec is the sandbox under test: a working directory with protected paths, an
// overlay, a hidden state directory.
func (p *planted) spec(tier sandbox.Tier) sandbox.Spec {
	d := p.dir()
	s := sandbox.Spec{
		View: sandbox.ViewWorkspace, MinTier: tier, Home: d + "/home", Workdir: p.Work, Masked: []string{p.State},
		Pinned:   []string{p.Work + "/.git/hooks", p.Work + "/.git/config"},
		Mounts:   []sandbox.Mount{{Host: d + "/bin"}},
		Overlays: []sandbox.Overlay{{Dir: p.Cow, Store: d + "/store/cow"}},
		Env:      []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + d + "/home", "LANG=C.UTF-8"},
		Limits:   sandbox.Limits{Memory: p.Memory, Pids: p.Pids, FileSize: p.FileSize, Tmp: p.TmpSize},
	}
	switch {
	case tier != sandbox.TierLandlock:
	case p.root:
		// neither pins nor overlays: they take mounts, or a copy that the
		// payload's own user could not reach
		s.Pinned, s.Overlays, s.Writable = nil, nil, []string{p.Cow}
	default:
		// nothing can be pinned without mounts: the work is done on a copy
		s.Overlays = append(s.Overlays, sandbox.Overlay{Dir: p.Work, Store: d + "/store/work"})
	}
	return s
}

func (r *run) start(ctx context.Context, tier sandbox.Tier) error {
	var err error
	if tier == sandbox.TierNone {
		tier = sandbox.Probe(ctx).Tier
	}
	if r.sb, err = sandbox.StartTier(ctx, r.p.spec(tier), tier); err != nil {
		return err
	}
	r.tier, r.target = tier, r.p.target
	for _, s := range r.sb.Overlays() {
		for _, path := range []*string{&r.target.Work, &r.target.Cow} {
			if *path == s.Dir && tier == sandbox.TierLandlock {
				*path = s.Upper // there it is worked on at the path of its copy
			}
		}
	}
	r.target.Tmp = "/tmp"
	for _, kv := range append(r.p.spec(tier).Env, "TMPDIR=") {
		name, _, _ := strings.Cut(kv, "=")
		r.target.Env = append(r.target.Env, name)
	}
	return nil
}

// controls makes every probe outside. Probes that change planted files find
// them as they were.
func (r *run) controls(ctx context.Context) {
	for _, c := range Cases() {
		for _, probe := range c.Probes {
			if probe.Absent != "" || ctx.Err() != nil {
				continue
			}
			r.outside[probe.Name] = r.control(ctx, probe.Name)
			if changes[probe.Name] != nil {
				_ = r.p.files()
			}
		}
	}
}

func (r *run) control(ctx context.Context, name string) string {
	t := r.p.target
	t.Listener = name == "notify-listener"
	switch name {
	case "swap-during-start":
		if err := r.p.plantSwap(); err != nil {
			return "skipped:" + err.Error()
		}
		t.Work, name = r.p.dir()+"/swap", "swap-check"
	case "daemon":
		defer r.endDaemon()
	}
	b, err := t.encode()
	if err != nil {
		return "skipped:" + err.Error()
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	c := exec.CommandContext(ctx, r.p.Program)
	c.Args, c.Dir = []string{r.p.Program, probeName, name, b}, "/"
	c.SysProcAttr = controlAttr(name, r.p.root)
	c.WaitDelay = time.Second
	out, err := c.Output()
	if text, ok := resultOf(string(out)); ok {
		return r.p.confirm(name, text)
	}
	if ee, ok := errors.AsType[*exec.ExitError](err); ok {
		if ws, ok := ee.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return "blocked:" + unix.SignalName(ws.Signal())
		}
	}
	return "skipped:no answer"
}

// controlAttr gives the controls that would change the machine namespaces of
// their own, and takes root from the one about setuid.
func controlAttr(name string, root bool) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	switch name {
	case "mount", "fsopen", "umount", "chroot", "setns", "af-packet":
		a.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWNET
		a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	case "setuid":
		if root {
			a.Credential = &syscall.Credential{Uid: sandbox.PayloadUID, Gid: sandbox.PayloadUID}
		}
	}
	return a
}

// resultOf finds what a probe said.
func resultOf(out string) (string, bool) {
	_, text, ok := strings.Cut(strings.ReplaceAll(out, "\r\n", "\n"), "\n"+resultPrefix)
	text, _, _ = strings.Cut(text, "\n")
	return text, ok
}

// inside makes one probe in the running sandbox.
func (r *run) inside(ctx context.Context, name string) string {
	b, err := r.target.encode()
	if err != nil {
		return "skipped:" + err.Error()
	}
	text := execute(ctx, r.sb, sandbox.Command{Argv: []string{r.p.Program, probeName, name, b}, TTY: terminalFor(name)})
	return r.p.confirm(name, text)
}

func terminalFor(name string) *sandbox.WinSize {
	if strings.HasPrefix(name, "tioc") {
		return &sandbox.WinSize{Rows: 24, Cols: 80}
	}
	return nil
}

// execute runs a probe and reads its answer.
func execute(ctx context.Context, sb *sandbox.Sandbox, c sandbox.Command) string {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	p, err := sb.Exec(ctx, c)
	if err != nil {
		return "skipped:" + fault.PublicText(err)
	}
	stop := context.AfterFunc(ctx, p.Kill)
	defer stop()
	var from io.Reader = p.Terminal
	if p.Terminal != nil {
		defer p.Terminal.Close()
	} else {
		p.Stdin.Close()
		defer p.Stdout.Close()
		defer p.Stderr.Close()
		from = p.Stdout
	}
	out, _ := io.ReadAll(io.LimitReader(from, 1<<20)) // a terminal's end is an error
	status, err := p.Wait(ctx)
	if text, ok := resultOf(string(out)); ok {
		return text
	}
	if err == nil && status.Signal != "" {
		return "blocked:" + status.Signal
	}
	return "skipped:no answer"
}

// changes look up on the host what a probe claims to have done.
var changes = map[string]func(*planted) bool{
	"write-hook":           func(p *planted) bool { return exists(p.Work + "/.git/hooks/evil") },
	"append-git-config":    func(p *planted) bool { return holds(p.Work+"/.git/config", "evil") },
	"rename-git":           func(p *planted) bool { return exists(p.Work + "/.git.away") },
	"replace-git-config":   func(p *planted) bool { return holds(p.Work+"/.git/config", "evil") },
	"absent-dotfile":       func(p *planted) bool { return exists(p.Cow + "/.bashrc") },
	"link-instead-of-file": func(p *planted) bool { return holds(p.Outside+"/written", "evil") },
	"edit-policy":          func(p *planted) bool { return holds(p.State+"/policy.cedar", "evil") },
	"common-dir-hook":      func(p *planted) bool { return exists(p.Common + "/hooks/evil") },
	"symlink-write":        func(p *planted) bool { return holds(p.Canary, "\n") },
	"hard-link":            func(p *planted) bool { return exists(p.Work + "/hard") },
	"hard-link-system":     func(p *planted) bool { return exists(p.Work + "/system") },
	"chmod-outside": func(p *planted) bool {
		fi, err := os.Stat(p.Modes)
		return err == nil && fi.Mode().Perm() == 0o600
	},
	"signal": func(p *planted) bool {
		// the process tells of it on its own time
		for range 100 {
			if p.signals.Swap(0) > 0 {
				return true
			}
			time.Sleep(time.Millisecond)
		}
		return false
	},
}

// confirm turns a success that changed nothing on the host into what it is.
func (p *planted) confirm(name, text string) string {
	look := changes[name]
	if text != Succeeded || look == nil || look(p) {
		return text
	}
	if name == "signal" {
		return "blocked:other"
	}
	return "blocked:contained"
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func holds(path, text string) bool {
	b, err := os.ReadFile(path)
	return err == nil && strings.Contains(string(b), text)
}

// cases makes every probe inside and judges it. The daemon's ends the sandbox,
// so it comes last.
func (r *run) cases(ctx context.Context, extra map[int]func(context.Context) Result) []Result {
	var out []Result
	misses := r.misses()
	daemon := -1
	for _, c := range Cases() {
		for _, probe := range c.Probes {
			res := Result{Case: c.Number, Probe: probe.Name, Control: r.outside[probe.Name], Want: probe.Want}
			switch {
			case probe.Absent != "":
				res.Control = "skipped:nothing to attack"
			case probe.Name == "swap-during-start":
				res.Inside = r.swapped(ctx)
			case probe.Name == "daemon":
				daemon = len(out)
			default:
				res.Inside = r.inside(ctx, probe.Name)
			}
			judge(probe, &res, misses)
			out = append(out, res)
		}
		if f := extra[c.Number]; f != nil {
			res := f(ctx)
			res.Case = c.Number
			out = append(out, res)
		}
	}
	if daemon >= 0 {
		out[daemon].Inside = r.daemon(ctx)
		judge(Probe{Name: "daemon", Want: out[daemon].Want}, &out[daemon], misses)
	}
	return out
}

func (r *run) misses() []Miss {
	bounded := false
	for _, l := range r.sb.Limits() {
		bounded = bounded || strings.HasPrefix(l, "memory: ") && !strings.Contains(l, "NOT bounded")
	}
	return Misses(r.tier, bounded, r.p.root)
}

func (r *run) sum(results []Result) Summary {
	s := Summary{Tier: r.tier}
	seen := map[string]string{}
	for _, res := range results {
		s.add(res)
		seen[res.Probe] = res.Verdict
	}
	for _, m := range r.misses() {
		if v := seen[m.Probe]; v != NotPromised && v != NotShown && !m.May {
			s.Unmet = append(s.Unmet, m.Probe)
		}
	}
	return s
}

// daemon leaves one inside, ends the sandbox, and looks whether its lock is free.
func (r *run) daemon(ctx context.Context) string {
	text := r.inside(ctx, "daemon")
	if text != Succeeded {
		return "skipped:" + text
	}
	if !r.locked(r.target.Work) {
		return "skipped:the daemon holds no lock"
	}
	_ = r.sb.Close()
	if r.locked(r.target.Work) {
		r.endDaemon()
		return Succeeded
	}
	return "blocked:ended"
}

func (r *run) locked(work string) bool {
	f, err := os.Open(work + "/lock")
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// endDaemon ends the control's daemon, which wrote its number into the lock
// that it still holds.
func (r *run) endDaemon() {
	b, err := os.ReadFile(r.p.Work + "/lock")
	if err != nil || !r.locked(r.p.Work) {
		return
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && pid > 1 {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}
