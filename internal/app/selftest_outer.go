package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/internal/fault"
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/changes"
	"sallyport/internal/sandbox/selftest"
)

// probePatience bounds one script of a probe, outside or inside.
const probePatience = 5 * time.Second

// outer makes the attacks that other rooms than the sandbox stop: at the commit
// of changes, at the outlet. Everything of it is planted below one directory and
// on loopback. The sandboxes are started when the first probe needs them.
type outer struct {
	tier sandbox.Tier // TierNone: the best there is
	undo []func()     // in the order of making

	commits *commits
	street  *street
}

// outsideProbes are the attacks that other rooms than the sandbox stop, by case;
// done removes what they planted.
func outsideProbes(tier sandbox.Tier) (probes map[int]func(context.Context) selftest.Result, done func()) {
	o := &outer{tier: tier}
	probes = map[int]func(context.Context) selftest.Result{
		3: o.linkAtCommit, 9: o.dotfileAtCommit, 20: o.question,
	}
	for number, a := range outletAttacks {
		probes[number] = func(ctx context.Context) selftest.Result { return o.throughOutlet(ctx, a) }
	}
	return probes, o.close
}

func (o *outer) later(f func()) { o.undo = append(o.undo, f) }

func (o *outer) close() {
	for _, f := range slices.Backward(o.undo) {
		f()
	}
	o.undo = nil
}

// scratch makes a directory that goes at the end. It lies below /var/tmp: a view
// has a /tmp of its own, which would hide everything without further help.
func (o *outer) scratch() (string, error) {
	dir, err := os.MkdirTemp("/var/tmp", "sallyport-selftest-")
	if err != nil {
		return "", err
	}
	o.later(func() { _ = os.RemoveAll(dir) })
	return filepath.EvalSymlinks(dir)
}

// notTried is a probe that could not be made, and why.
func notTried(probe, want string, err error) selftest.Result {
	r := selftest.Result{Probe: probe, Want: want, Control: "skipped:not tried", Verdict: selftest.NotShown, Detail: fault.PublicText(err)}
	if errors.Is(err, errNoOutlet) {
		r.Control, r.Verdict = "skipped:nothing to attack", selftest.Absent
	}
	return r
}

// blockedBy is an outcome other than success.
func blockedBy(what string) string { return "blocked:" + what }

// judged reads a result as the sandbox's own probes are read: it holds if the
// attack works without us, and was stopped here as it should be.
func judged(r selftest.Result) selftest.Result {
	switch {
	case r.Inside == selftest.Succeeded:
		r.Verdict, r.Detail = selftest.Fails, "the attack works"
	case r.Control != selftest.Succeeded:
		r.Verdict, r.Detail = selftest.NotShown, "the attack does not work without Sallyport either, so its failure shows nothing"
	case !strings.HasPrefix(r.Inside, "blocked:"):
		r.Verdict, r.Detail = selftest.NotShown, "the attack could not be tried"
	case r.Inside != blockedBy(r.Want):
		r.Verdict, r.Detail = selftest.Fails, "it was stopped, but not by what should have stopped it"
	default:
		r.Verdict, r.Holds = selftest.Holds, true
	}
	return r
}

// script runs a bash script outside of any sandbox: the control of an attack.
func script(ctx context.Context, dir, text string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	c := exec.CommandContext(ctx, "/bin/bash", append([]string{"-c", text, "attack"}, args...)...) //nolint:forbidigo // a control is made where no sandbox is
	c.Dir, c.Env, c.WaitDelay = dir, []string{"PATH=/usr/bin:/bin"}, time.Second
	out, err := c.Output()
	if _, ended := errors.AsType[*exec.ExitError](err); ended {
		err = nil // what it said counts
	}
	return string(out), err
}

// scriptIn runs the same inside a sandbox, in its working directory.
func scriptIn(ctx context.Context, box *sandbox.Sandbox, text string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probePatience)
	defer cancel()
	p, err := box.Exec(ctx, sandbox.Command{Argv: append([]string{"/bin/bash", "-c", text, "attack"}, args...)})
	if err != nil {
		return "", err
	}
	defer context.AfterFunc(ctx, p.Kill)()
	_ = p.Stdin.Close()
	defer func() { _, _ = p.Stdout.Close(), p.Stderr.Close() }()
	out, err := io.ReadAll(io.LimitReader(p.Stdout, 1<<20))
	_, waited := p.Wait(ctx)
	return string(out), errors.Join(err, waited)
}

// commits is a project in which two sessions worked at the same time, each with
// changes of its own that wait for review.
type commits struct {
	project, twin, outside string // twin is where a naive commit goes
	link, rest             *changes.Set
	uppers                 []string // what a naive commit copies, in its order
}

// The sessions' work. The first makes a link that leads out, the second a
// directory of the same name with a file, and files that something runs by itself.
const (
	linkWork = `ln -s "$1" sub`
	restWork = `mkdir -p sub .git/hooks; echo evil | tee sub/written .bashrc .git/hooks/pre-commit >plain`
)

// sessions has the two sessions work and end, once.
func (o *outer) sessions(ctx context.Context) (*commits, error) {
	if o.commits != nil {
		return o.commits, nil
	}
	dir, err := o.scratch()
	if err != nil {
		return nil, err
	}
	c := &commits{project: filepath.Join(dir, "project"), twin: filepath.Join(dir, "twin"), outside: filepath.Join(dir, "outside")}
	for _, d := range []string{c.project, c.twin, c.outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return nil, err
		}
	}
	if c.link, err = c.session(ctx, o.tier, dir, "link", linkWork); err != nil {
		return nil, err
	}
	if c.rest, err = c.session(ctx, o.tier, dir, "rest", restWork); err != nil {
		return nil, err
	}
	o.commits = c
	return c, nil
}

func (c *commits) session(ctx context.Context, tier sandbox.Tier, dir, name, work string) (*changes.Set, error) {
	set, err := changes.Create(filepath.Join(dir, "changes"), changes.Meta{Session: name, Agent: "selftest", Dir: c.project})
	if err != nil {
		return nil, err
	}
	spec := sandbox.Spec{
		View: sandbox.ViewWorkspace, MinTier: tier, Workdir: c.project, Env: []string{"PATH=/usr/bin:/bin"},
		Overlays: []sandbox.Overlay{{Dir: c.project, Store: set.Store()}},
	}
	box, err := startOuter(ctx, spec, tier)
	if err != nil {
		return nil, err
	}
	kept := box.Overlays()[0]
	mode := changes.ModeOverlay
	if kept.Mode != "overlay" {
		mode = changes.ModeCopy
	}
	c.uppers = append(c.uppers, kept.Upper)
	err = set.Began(mode)
	if err == nil {
		_, err = scriptIn(ctx, box, work, c.outside)
	}
	return set, errors.Join(err, box.Close(), set.End())
}

// startOuter starts a sandbox of the tier that is tested.
func startOuter(ctx context.Context, spec sandbox.Spec, tier sandbox.Tier) (*sandbox.Sandbox, error) {
	if tier == sandbox.TierNone {
		return sandbox.Start(ctx, spec)
	}
	return sandbox.StartTier(ctx, spec, tier)
}

// naiveCommit copies what sessions left into a directory, as a tool does that
// believes paths.
func naiveCommit(to string, uppers []string) error {
	for _, from := range uppers {
		err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
			rel, relErr := filepath.Rel(from, path)
			if err != nil || relErr != nil || rel == "." {
				return errors.Join(err, relErr)
			}
			at := filepath.Join(to, rel)
			switch {
			case d.IsDir():
				return os.MkdirAll(at, 0o755)
			case d.Type() == fs.ModeSymlink:
				target, err := os.Readlink(path)
				return errors.Join(err, os.Symlink(target, at)) //nolint:gosec // as a naive tool does
			case d.Type().IsRegular():
				data, err := os.ReadFile(path)                         //nolint:gosec // as a naive tool does
				return errors.Join(err, os.WriteFile(at, data, 0o644)) //nolint:gosec // the same
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func there(path string) bool { _, err := os.Lstat(path); return err == nil }

// linkAtCommit is case 3: the operator says yes to everything, first to the
// link, then to the file below the name that the link has. The link is made even
// though its commit is refused: another tool may have made it.
func (o *outer) linkAtCommit(ctx context.Context) selftest.Result {
	const probe, want = "commit-through-link", "contained"
	c, err := o.sessions(ctx)
	if err != nil {
		return notTried(probe, want, err)
	}
	r := selftest.Result{Probe: probe, Want: want}
	written := filepath.Join(c.outside, "written")
	r.Control = blockedBy("contained")
	if err := naiveCommit(c.twin, c.uppers); err != nil {
		r.Control = "skipped:" + err.Error()
	} else if there(written) {
		r.Control = selftest.Succeeded
	}
	if err := os.RemoveAll(written); err != nil {
		return notTried(probe, want, err)
	}
	outcome, err := c.commitThrough(ctx)
	switch {
	case there(written):
		r.Inside = selftest.Succeeded
	case err != nil:
		r.Inside = "skipped:" + err.Error()
	default:
		r.Inside = blockedBy(outcome)
	}
	return judged(r)
}

// commitThrough commits the link, then what lies below its name: what was listed
// before the link was there, and listed again. The outcome is "contained" if
// each commit refused, or put the session's directory in place of the link.
func (c *commits) commitThrough(ctx context.Context) (outcome string, err error) {
	below := func(ch changes.Change) bool { return ch.Path == "sub" || ch.Path == "sub/written" }
	link, err := listed(ctx, c.link, func(changes.Change) bool { return true })
	if err != nil {
		return "", err
	}
	before, err := listed(ctx, c.rest, below)
	if err != nil {
		return "", err
	}
	if res, err := commitAll(ctx, c.link, link); err != nil || len(res.Skipped) == 0 {
		return "the link was committed", err
	}
	sub := filepath.Join(c.project, "sub")
	if err := os.Symlink(c.outside, sub); err != nil {
		return "", err
	}
	if res, err := commitAll(ctx, c.rest, before); err != nil || len(res.Skipped) == 0 {
		return "an old list was committed", err
	}
	after, err := listed(ctx, c.rest, below)
	if err != nil {
		return "", err
	}
	res, err := commitAll(ctx, c.rest, after)
	if info, statErr := os.Lstat(sub); err == nil && len(res.Skipped) == 0 && (statErr != nil || !info.IsDir()) {
		return "the link was kept", nil
	}
	return "contained", err
}

// listed gives those of a set's changes that match.
func listed(ctx context.Context, set *changes.Set, match func(changes.Change) bool) ([]changes.Change, error) {
	list, err := set.List(ctx)
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(c changes.Change) bool { return !match(c) })
	if len(list) == 0 {
		return nil, errors.New("the session left nothing to commit")
	}
	return list, nil
}

// commitAll commits changes and confirms everything that can be confirmed.
func commitAll(ctx context.Context, set *changes.Set, list []changes.Change) (changes.Result, error) {
	var yes []string
	for _, c := range list {
		yes = append(yes, c.Path)
	}
	return set.Commit(ctx, list, changes.CommitOptions{AllowProtected: yes, AllowConflict: yes})
}

// dotfileAtCommit is case 9: files that a shell and git run by themselves, where
// there were none, committed among others without having been looked at.
func (o *outer) dotfileAtCommit(ctx context.Context) selftest.Result {
	const probe, want = "commit-absent-dotfile", "unconfirmed"
	c, err := o.sessions(ctx)
	if err != nil {
		return notTried(probe, want, err)
	}
	r := selftest.Result{Probe: probe, Want: want, Control: blockedBy("contained")}
	armed := func(dir string) bool {
		return there(filepath.Join(dir, ".bashrc")) || there(filepath.Join(dir, ".git/hooks/pre-commit"))
	}
	twin := c.twin + "-dotfiles"
	if err := errors.Join(os.Mkdir(twin, 0o755), naiveCommit(twin, c.uppers[1:])); err != nil {
		r.Control = "skipped:" + err.Error()
	} else if armed(twin) {
		r.Control = selftest.Succeeded
	}
	list, err := c.rest.List(ctx)
	var res changes.Result
	if err == nil {
		res, err = c.rest.Commit(ctx, list, changes.CommitOptions{})
	}
	switch {
	case err != nil:
		r.Inside = "skipped:" + err.Error()
	case armed(c.project):
		r.Inside = selftest.Succeeded
	case !slices.Contains(res.Committed, "plain"):
		r.Inside = fmt.Sprintf("skipped:not even a plain file was committed: %v", res.Skipped)
	default:
		r.Inside = blockedBy(want)
	}
	return judged(r)
}
