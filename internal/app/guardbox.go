package app

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/sandbox"
	"sallyport/internal/sandbox/changes"
)

// workdirOf checks the directory that a guarded agent is to work in: reading
// all of it is what the agent is given.
func (a *App) workdirOf(dir, userHome string) (string, error) {
	resolved, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return "", &fault.Error{
			Op: "app.workdir", Kind: fault.NotFound, Err: err,
			Public: fmt.Sprintf("the working directory %s does not exist; change to a project directory or name one with --workdir", dir),
		}
	}
	if resolved, err = filepath.Abs(resolved); err != nil {
		return "", fault.Wrap("app.workdir", fault.Unavailable, err)
	}
	info, err := os.Stat(resolved)
	if err != nil {
		return "", fault.Wrap("app.workdir", fault.Unavailable, err)
	}
	state := a.Paths.Home
	if r, err := filepath.EvalSymlinks(state); err == nil {
		state = r
	}
	why := systemPlace(resolved)
	switch {
	case !info.IsDir():
		why = "is no directory"
	case why != "":
	case slices.ContainsFunc(homesOf(userHome), func(home string) bool { return within(home, resolved) }):
		why = "holds your home with its keys and settings"
	case within(state, resolved):
		why = "holds Sallyport's own state"
	case within(resolved, state):
		why = "lies in Sallyport's own state"
	}
	if why != "" {
		return "", fault.New("app.workdir", fault.Denied,
			"the working directory %s %s, and an agent reads all of its working directory; change to a project directory or name one with --workdir", resolved, why)
	}
	return resolved, nil
}

// systemPlace says why a directory is the machine's and never a project; "" if
// it is not.
func systemPlace(dir string) string {
	switch dir {
	case "/":
		return "is the root of this machine"
	case "/boot", "/etc", "/run", "/var":
		return "holds this machine's settings, keys or services"
	case "/home":
		return "holds the homes of this machine's users"
	}
	for _, kernel := range []string{"/dev", "/proc", "/sys"} {
		if within(dir, kernel) {
			return "is made by the kernel and holds no files of a project"
		}
	}
	return ""
}

// homesOf gives the homes that are the operator's: the one the environment
// names and the one of the account, which differ under sudo.
func homesOf(userHome string) []string {
	all := []string{userHome}
	if u, err := user.Current(); err == nil {
		all = append(all, u.HomeDir)
	}
	var out []string
	for _, home := range all {
		if !filepath.IsAbs(home) || home == "/" || home == "/nonexistent" {
			continue
		}
		if r, err := filepath.EvalSymlinks(home); err == nil {
			home = r
		}
		out = append(out, home)
	}
	return out
}

// boxOf is what a profile gives to a session's sandbox.
type boxOf struct {
	app     *App
	profile string
	prof    config.Profile
	plan    *outletPlan // nil: no way out
	name    string      // the agent's
	home    string      // private home, writable
	dir     string      // working directory
	program program     // what is run, if it is one program
}

// show adds what the profile shows of the host, and the way out.
func (b *boxOf) show(spec *sandbox.Spec) {
	for _, m := range b.prof.Mounts {
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Host: m.Path, View: m.View, Optional: m.Optional})
	}
	for _, host := range b.program.Show {
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Host: host})
	}
	for _, s := range b.prof.Sockets {
		spec.Sockets = append(spec.Sockets, s.Path)
	}
	if b.plan != nil {
		spec.Network = sandbox.NetworkHandoff
	}
}

// box puts the sandbox of a guarded agent together from its profile.
func (g *guarded) box() (sandbox.Spec, error) {
	spec := sandbox.Spec{
		View: sandbox.ViewWorkspace, MinTier: tierOf(g.opts.RequireTier, g.prof.RequiredTier), Home: g.home, Workdir: g.dir,
		LocalSockets: g.prof.LocalSockets, ReadOnly: g.app.Config.ReadOnlyMode, Limits: limitsOf(g.prof.Limits),
		Masked: g.engine.masked(), // a mount of the profile's may hold the state directory
	}
	g.show(&spec)
	var err error
	if spec.Folders, err = g.app.foldersFor(g.name, spec.View); err != nil {
		return spec, err
	}
	switch g.prof.Workdir {
	case "cow":
		err = g.copyOnWrite(&spec)
	case "direct":
		spec.Pinned = pinnedIn(g.dir, g.prof.Pinned)
	default:
		spec.Mounts = append(spec.Mounts, sandbox.Mount{Host: g.dir})
		spec.Workdir = g.home // what is writable; the program starts in g.dir all the same
	}
	spec.Env = g.environment("SALLYPORT_SESSION=" + g.session)
	return spec, err
}

// copyOnWrite makes the places where the changes of the working directory, and
// of the repository it is a worktree of, are kept until somebody reviews them.
func (g *guarded) copyOnWrite(spec *sandbox.Spec) error {
	dirs := []string{g.dir}
	if common := commonGitDir(g.dir); common != "" {
		dirs = append(dirs, common)
	}
	for _, dir := range dirs {
		set, err := changes.Create(g.app.changesDir(), changes.Meta{Session: g.session, Agent: g.name, Dir: dir, Protected: g.prof.Protected})
		if err != nil {
			return err
		}
		g.sets = append(g.sets, set)
		spec.Overlays = append(spec.Overlays, sandbox.Overlay{Dir: dir, Store: set.Store()})
	}
	return nil
}

func (a *App) changesDir() string     { return filepath.Join(a.Paths.Home, "changes") }
func (a *App) transcriptsDir() string { return filepath.Join(a.Paths.Home, "transcripts") }

// tierOf is the weakest tier that is accepted: what the command says, else what
// the profile says.
func tierOf(asked, profile string) sandbox.Tier {
	if asked == "landlock" || asked == "" && profile == "landlock" {
		return sandbox.TierLandlock
	}
	return sandbox.TierFull
}

func limitsOf(l config.Limits) sandbox.Limits {
	return sandbox.Limits{
		Memory: l.Memory, Pids: l.PIDs, FileSize: l.FileSize, CPUSeconds: int64(l.CPUSeconds), CPUPercent: l.CPUPercent,
		Wall: time.Duration(l.WallSeconds) * time.Second, Disk: l.Disk, DiskFiles: l.DiskFiles, Tmp: l.Tmp,
	}
}

// pinnedIn resolves the profile's pinned paths below a directory.
func pinnedIn(dir string, patterns []string) []string {
	var out []string
	for _, p := range patterns {
		hits, err := filepath.Glob(filepath.Join(dir, p))
		if err != nil || len(hits) == 0 {
			hits = []string{filepath.Join(dir, p)}
		}
		out = append(out, hits...)
	}
	return out
}

// visible tells which host paths the view has anyway.
func (b *boxOf) visible(path string) bool {
	for _, d := range sandbox.SystemDirs() {
		if within(path, d) {
			return true
		}
	}
	for _, m := range b.prof.Mounts {
		if resolved, err := filepath.EvalSymlinks(m.Path); err == nil && (m.View == "" || m.View == m.Path) && within(path, resolved) {
			return true
		}
	}
	return within(path, b.dir)
}

// environment is the payload's whole environment: nothing of the operator's but
// what the profile names. base may be overridden by the profile.
func (b *boxOf) environment(base ...string) []string {
	path, _ := b.app.Env.Lookup("PATH")
	env := append([]string{
		"PATH=" + pathInside(path, b.visible), "HOME=" + b.home, "USER=" + b.name, "LOGNAME=" + b.name, "SHELL=/bin/bash",
	}, base...)
	run := config.Run{CA: bundlePath, Proxy: proxyURL(), Home: b.home, Workdir: b.dir}
	if b.plan != nil {
		run.Secrets = b.plan.placeholders
	}
	env = append(env, b.app.Config.Environ(b.prof, run, b.app.Env.Lookup)...)
	return last(env)
}

// last keeps the last value of each variable, in the order of first mention.
func last(env []string) []string {
	at := map[string]int{}
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if i, ok := at[name]; ok {
			out[i] = kv
			continue
		}
		at[name] = len(out)
		out = append(out, kv)
	}
	return out
}
