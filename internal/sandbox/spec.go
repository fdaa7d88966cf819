package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sallyport/internal/fault"
)

// Tier is how much of the kernel's machinery holds a payload.
type Tier int

// The tiers, weakest first. Nothing ever runs in TierNone: it only says that
// this machine offers no tier at all.
const (
	TierNone     Tier = iota // no confinement possible; Start refuses
	TierLandlock             // Landlock and seccomp, no namespaces; see Report.NotPromised
	TierFull                 // namespaces, mounts, Landlock, seccomp, limits
)

// String gives the tier's stable name: none, landlock or full.
func (t Tier) String() string {
	switch t {
	case TierNone:
		return "none"
	case TierLandlock:
		return "landlock"
	case TierFull:
		return "full"
	}
	return fmt.Sprintf("tier(%d)", int(t))
}

// The views a payload can be given.
const (
	// ViewAuditor shows the whole host read-only, host processes and sockets
	// included, with secrets masked and no way to connect anywhere.
	ViewAuditor = "auditor"
	// ViewWorkspace shows one writable project directory, a home of its own and
	// a minimal read-only system, in an empty network namespace.
	ViewWorkspace = "workspace"
)

// Primitive is one kernel mechanism that was tried.
type Primitive struct {
	Name   string // stable name: "user-namespace", "landlock", "seccomp" ...
	OK     bool
	Detail string // what was found, or the errno and the step that failed
	Remedy string // what an administrator can do about it; empty if OK
}

// Report says what a sandbox (or this machine) provides.
type Report struct {
	Tier        Tier
	Primitives  []Primitive
	NotPromised []string // one sentence per thing this tier or machine does not give
}

// Limits bounds what a payload may use up. A zero field means its default.
type Limits struct {
	Memory     int64         // bytes, whole sandbox where a cgroup can be made; default 2 GiB, at least 16 MiB
	Pids       int           // processes and threads at one time; default 256, at least 8
	FileSize   int64         // bytes, largest single file; default 1 GiB
	CPUSeconds int64         // CPU time of one process; default 3600
	CPUPercent int           // share of one CPU, in percent, whole sandbox where a cgroup can be made; 0: not bounded
	Disk       int64         // bytes all overlays may take; default 4 GiB; see Sandbox.Limits for how it is kept
	DiskFiles  int           // files and directories all overlays may take; default 500,000
	Wall       time.Duration // life of the whole sandbox; default unlimited
	Tmp        int64         // bytes of each private temporary file system; default 256 MiB
}

// The defaults of Limits: enough for audits, package builds and test suites on
// a small machine, too little to take that machine down.
const (
	DefaultMemory     = 2 << 30
	DefaultPids       = 256
	DefaultFileSize   = 1 << 30
	DefaultCPUSeconds = 3600
	DefaultTmp        = 256 << 20
	DefaultDisk       = 4 << 30
	DefaultDiskFiles  = 500_000
)

func (l Limits) withDefaults() Limits {
	if l.Memory == 0 {
		l.Memory = DefaultMemory
	}
	if l.Pids == 0 {
		l.Pids = DefaultPids
	}
	if l.FileSize == 0 {
		l.FileSize = DefaultFileSize
	}
	if l.CPUSeconds == 0 {
		l.CPUSeconds = DefaultCPUSeconds
	}
	if l.Tmp == 0 {
		l.Tmp = DefaultTmp
	}
	if l.Disk == 0 {
		l.Disk = DefaultDisk
	}
	if l.DiskFiles == 0 {
		l.DiskFiles = DefaultDiskFiles
	}
	return l
}

func (l Limits) validate() error {
	switch {
	case l.Memory < 16<<20:
		return fmt.Errorf("limits: memory %d is below 16 MiB", l.Memory)
	case l.Pids < 8:
		return fmt.Errorf("limits: pids %d is below 8", l.Pids)
	case l.FileSize < 0, l.CPUSeconds < 0, l.Wall < 0, l.Tmp < 0, l.CPUPercent < 0, l.Disk < 0, l.DiskFiles < 0:
		return errors.New("limits: a limit is negative")
	}
	return nil
}

// Spec describes one sandbox. All paths are absolute host paths.
type Spec struct {
	View     string            // ViewAuditor or ViewWorkspace
	MinTier  Tier              // refuse below this; TierNone means TierLandlock
	Home     string            // the agent's home: writable, same path inside
	Workdir  string            // workspace view: the writable project directory and first cwd
	Writable []string          // further writable directories, same path inside
	Masked   []string          // files and directories to hide; absent ones are ignored
	Replace  map[string]string // auditor view: path in the view -> host path shown there read-only
	Facts    string            // directory shown read-only at FactsPath; empty for none
	Env      []string          // the payload's whole environment, "NAME=value"; nothing is inherited
	ReadOnly bool              // no writable path but private temporary ones, and no shell
	Folders  []Folder          // directories that are covered, or closed until OpenFolder
	Limits   Limits

	// The rest concerns the workspace view alone.

	Network      Network   // what the payload's connections meet; default: nothing
	Mounts       []Mount   // host paths shown read-only besides the system's
	Files        []File    // files made for this sandbox, read-only
	Overlays     []Overlay // directories written copy-on-write; Workdir may be one
	Pinned       []string  // paths beneath writable directories that stay as they are, with all their ancestors
	Sockets      []string  // host socket files (AF_UNIX) that may be connected to, same path inside; needs the full tier
	LocalSockets bool      // the payload may make AF_UNIX stream sockets of its own; refused in the landlock tier

	forceCopy bool // take the way of a machine that refuses overlayfs; for tests
}

// Network says what the connections of a payload meet.
type Network int

// The networks of the workspace view. The auditor has the host's, without the
// means to connect.
const (
	NetworkNone    Network = iota // loopback among the sandbox's own processes, nothing else
	NetworkHandoff                // listeners that the supervisor serves; see Sandbox.Handoff. It needs the full tier
)

// Mount shows a host file or directory read-only.
type Mount struct {
	Host     string // absolute host path; symbolic links are resolved at the start
	View     string // path inside; empty: the same
	Optional bool   // absent on the host: left out instead of refused
}

// File is a small file that exists only in the view: a bundle of certificates,
// a hosts file.
type File struct {
	Path    string // absolute path inside
	Content []byte // at most 1 MiB
	Mode    uint32 // permission bits; 0 means 0444
}

// Overlay is a directory whose changes land elsewhere until somebody commits
// them.
type Overlay struct {
	Dir   string // host directory, shown at the same path inside; never written
	Store string // private host directory that takes the changes; made by the caller, empty or of an earlier run
}

// systemDirs are shown read-only in every workspace view.
var systemDirs = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt"}

// SystemDirs lists the host directories that every workspace view shows
// read-only, the part of /etc that programs need left aside.
func SystemDirs() []string { return slices.Clone(systemDirs) }

// FactsPath is where Spec.Facts appears in the view.
const FactsPath = "/run/sallyport/host"

// normalise checks s and returns it with defaults filled in and every path
// cleaned and resolved, so that the stage inside meets no symbolic link.
func (s Spec) normalise() (Spec, error) {
	const op = "sandbox.start"
	usage := func(format string, args ...any) (Spec, error) {
		return s, fault.New(op, fault.Usage, format, args...)
	}
	if s.View != ViewAuditor && s.View != ViewWorkspace {
		return usage("the sandbox view %q does not exist; use auditor or workspace", s.View)
	}
	if s.MinTier == TierNone {
		s.MinTier = TierLandlock
	}
	if s.View == ViewWorkspace && s.Workdir == "" {
		return usage("the workspace view needs a working directory; name one")
	}
	if s.View == ViewWorkspace && len(s.Replace) > 0 {
		return usage("replacing host paths is possible in the auditor view only; remove the replacements")
	}
	s.Limits = s.Limits.withDefaults()
	if err := s.Limits.validate(); err != nil {
		return usage("%v; raise it or leave it out", err)
	}
	if err := checkEnv(s.Env); err != nil {
		return usage("%v; correct it", err)
	}
	s, err := s.checkNetwork(op)
	if err != nil {
		return s, err
	}
	return s.resolvePaths(op)
}

func checkEnv(env []string) error {
	for _, kv := range env {
		if name, _, ok := strings.Cut(kv, "="); !ok || name == "" || strings.ContainsRune(kv, 0) {
			return errors.New("an environment entry is not NAME=value")
		}
	}
	return nil
}

func (s Spec) resolvePaths(op string) (Spec, error) {
	var err error
	for _, f := range []struct {
		what string
		path *string
	}{{"home", &s.Home}, {"working directory", &s.Workdir}, {"facts directory", &s.Facts}} {
		if *f.path == "" {
			continue
		}
		if *f.path, err = resolveDir(op, f.what, *f.path); err != nil {
			return s, err
		}
	}
	writable := make([]string, 0, len(s.Writable))
	for _, w := range s.Writable {
		p, err := resolveDir(op, "writable directory", w)
		if err != nil {
			return s, err
		}
		writable = append(writable, p)
	}
	s.Writable = writable
	masked := make([]string, 0, len(s.Masked))
	for _, m := range s.Masked {
		if !filepath.IsAbs(m) {
			return s, fault.New(op, fault.Usage, "the masked path %q is not absolute; give the whole path", m)
		}
		// A path that does not exist cannot be read; one that appears later
		// under a masked directory is covered by that directory.
		if p, err := filepath.EvalSymlinks(m); err == nil {
			masked = append(masked, p)
		}
	}
	s.Masked = masked
	if s, err = s.resolveReplace(op); err != nil {
		return s, err
	}
	if s, err = s.resolveWorkspace(op); err != nil {
		return s, err
	}
	return s.resolveFolders(op)
}

// resolve gives the real path of something on the host that must exist.
func resolve(op, what, path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", fault.New(op, fault.Usage, "the sandbox's %s %q is not an absolute path; give the whole path", what, path)
	}
	p, err := filepath.EvalSymlinks(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", fault.New(op, fault.NotFound, "the sandbox's %s %q does not exist; make it first, or name another", what, path)
	case err != nil:
		return "", fmt.Errorf("%s: %s: %w", op, what, err)
	case p == "/":
		return "", fault.New(op, fault.Usage, "the sandbox's %s is the root directory; name a directory below it", what)
	}
	return p, nil
}

func resolveDir(op, what, path string) (string, error) {
	p, err := resolve(op, what, path)
	if err != nil {
		return "", err
	}
	if fi, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("%s: %s: %w", op, what, err)
	} else if !fi.IsDir() {
		return "", fault.New(op, fault.Usage, "the sandbox's %s %q is not a directory; name the directory it lies in", what, path)
	}
	return p, nil
}

func (s Spec) resolveReplace(op string) (Spec, error) {
	replace := make(map[string]string, len(s.Replace))
	for view, host := range s.Replace {
		p, err := resolve(op, "replacement for "+view, host)
		if err != nil {
			return s, err
		}
		v := filepath.Clean(view)
		if !filepath.IsAbs(v) || v == "/" || underAny(v, "/proc", "/dev", "/run", "/tmp") {
			return s, fault.New(op, fault.Usage, "the view path %q cannot be replaced; replace directories such as /etc or /var/log", view)
		}
		replace[v] = p
	}
	s.Replace = replace
	return s, nil
}

// beneath reports whether path is dir or lies below it; both are clean.
func beneath(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

func underAny(path string, dirs ...string) bool {
	for _, d := range dirs {
		if beneath(path, d) {
			return true
		}
	}
	return false
}

// ShellOptions tunes a Shell.
type ShellOptions struct {
	// OutputBytes is how much of one command's output is kept in memory, half
	// for its beginning and half for its end. Default 256 KiB, least 1 KiB.
	OutputBytes int
	// Timeout bounds a Run whose own timeout is zero. Default 10 s.
	Timeout time.Duration
	// Grace is how long each step of ending a command (interrupt, terminate,
	// kill) may take before the next. Default 300 ms.
	Grace time.Duration
}

func (o ShellOptions) withDefaults() ShellOptions {
	if o.OutputBytes == 0 {
		o.OutputBytes = 256 << 10
	}
	o.OutputBytes = max(o.OutputBytes, 1<<10)
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 300 * time.Millisecond
	}
	return o
}

// MaxScript is the largest script Run accepts, in bytes.
const MaxScript = 1 << 20

// Result is what one Run did. When DroppedBytes is zero, Head followed by Tail
// is the whole output, standard output and standard error interleaved as written.
type Result struct {
	Head, Tail   []byte
	TotalBytes   int64  // bytes the command wrote
	DroppedBytes int64  // of these, how many are in neither Head nor Tail
	TotalLines   int64  // newlines written
	Exit         int    // 0-255 as the shell says; -1 when no status is known
	Signal       string // "SIGKILL" ... when Exit is above 128 by the shell's convention
	FailedLine   int    // line of the script whose command failed last; 0 when none did
	Cwd          string // working directory after the command
	TimedOut     bool
	ShellDied    bool   // the bash process was replaced
	Notice       string // one sentence when state was lost or output cannot be complete
	Elapsed      time.Duration
}
