package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is what could be made of the host's cgroup trees for one sandbox.
// Version 2 is used where the supervisor's own group is delegated or it is
// root; version 1 where it is root. What is missing is said in lines.
type cgroups struct {
	dirs   []string // to be removed at the end
	procs  []string // cgroup.procs files the stage is put into
	kill   string   // cgroup.kill, if any
	memory bool
	pids   bool
	cpu    bool
	why    string // why a controller is missing
}

// newCgroups makes what it can; it never fails, it reports.
func newCgroups(name string, l Limits) *cgroups {
	g := &cgroups{}
	mounts, err := cgroupMounts()
	if err != nil {
		g.why = err.Error()
		return g
	}
	own := ownCgroups()
	// the supervisor's number tells a later one that nobody will remove the group
	name = strconv.Itoa(os.Getpid()) + "-" + name
	if root, ok := mounts["v2"]; ok {
		g.makeV2(filepath.Join(root, own[""], "sallyport-"+name), l)
	}
	if path, ok := mounts["memory"]; ok && !g.memory {
		g.memory = g.makeV1(filepath.Join(path, own["memory"], "sallyport-"+name), [][2]string{
			{"memory.limit_in_bytes", strconv.FormatInt(l.Memory, 10)},
		}, [][2]string{{"memory.memsw.limit_in_bytes", strconv.FormatInt(l.Memory, 10)}})
	}
	if path, ok := mounts["pids"]; ok && !g.pids {
		g.pids = g.makeV1(filepath.Join(path, own["pids"], "sallyport-"+name), [][2]string{{"pids.max", strconv.Itoa(l.Pids + stageThreads)}}, nil)
	}
	if path, ok := mounts["cpu"]; ok && l.CPUPercent > 0 && !g.cpu {
		g.cpu = g.makeV1(filepath.Join(path, own["cpu"], "sallyport-"+name), [][2]string{
			{"cpu.cfs_period_us", strconv.Itoa(cpuPeriod)},
			{"cpu.cfs_quota_us", strconv.Itoa(l.CPUPercent * cpuPeriod / 100)},
		}, nil)
	}
	return g
}

// cpuPeriod is the time in microseconds over which a share of CPU is measured:
// the kernel's default.
const cpuPeriod = 100_000

// removeStale removes the groups of supervisors that were killed. The kernel
// refuses to remove one that still has processes.
func removeStale(parent string) {
	dirs, _ := filepath.Glob(filepath.Join(parent, "sallyport-*-*"))
	for _, d := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(d), "sallyport-"), "-")
		if pid, err := strconv.Atoi(owner); err == nil && unix.Kill(pid, 0) == unix.ESRCH {
			_ = unix.Rmdir(d)
		}
	}
}

// stageThreads is how many threads of the stage itself share the pids cgroup.
const stageThreads = 32

func (g *cgroups) fail(err error) bool {
	if g.why == "" {
		g.why = err.Error()
	}
	return false
}

func (g *cgroups) makeV2(dir string, l Limits) {
	removeStale(filepath.Dir(dir))
	if err := os.Mkdir(dir, 0o755); err != nil {
		g.fail(err)
		return
	}
	g.dirs = append(g.dirs, dir)
	g.procs = append(g.procs, filepath.Join(dir, "cgroup.procs"))
	if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err == nil {
		g.kill = filepath.Join(dir, "cgroup.kill")
	}
	set := func(file, value string) bool {
		if err := writeFile(filepath.Join(dir, file), value); err != nil {
			return g.fail(err)
		}
		return true
	}
	g.memory = set("memory.max", strconv.FormatInt(l.Memory, 10))
	if g.memory {
		_ = set("memory.swap.max", "0")
	}
	g.pids = set("pids.max", strconv.Itoa(l.Pids+stageThreads))
	if l.CPUPercent > 0 {
		g.cpu = set("cpu.max", fmt.Sprintf("%d %d", l.CPUPercent*cpuPeriod/100, cpuPeriod))
	}
}

func (g *cgroups) makeV1(dir string, must, may [][2]string) bool {
	removeStale(filepath.Dir(dir))
	if err := os.Mkdir(dir, 0o755); err != nil {
		return g.fail(err)
	}
	g.dirs = append(g.dirs, dir)
	for _, kv := range must {
		if err := writeFile(filepath.Join(dir, kv[0]), kv[1]); err != nil {
			return g.fail(err)
		}
	}
	for _, kv := range may {
		_ = writeFile(filepath.Join(dir, kv[0]), kv[1])
	}
	g.procs = append(g.procs, filepath.Join(dir, "cgroup.procs"))
	return true
}

// writeFile writes to an existing control file; it creates nothing.
func writeFile(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// admit moves the stage into the groups. A group it cannot enter bounds nothing.
func (g *cgroups) admit(pid int) {
	for _, p := range g.procs {
		if err := writeFile(p, strconv.Itoa(pid)); err != nil {
			g.fail(err)
			switch {
			case strings.Contains(p, "/memory/"):
				g.memory = false
			case strings.Contains(p, "/pids/"):
				g.pids = false
			case strings.Contains(p, "/cpu/"), strings.Contains(p, "/cpu,"):
				g.cpu = false
			default:
				g.memory, g.pids, g.cpu, g.kill = false, false, false, ""
			}
		}
	}
}

// killAll ends every process of the groups: at once where the kernel can, else
// one by one until none is left, for at most half a second.
func (g *cgroups) killAll() {
	if g.kill != "" && writeFile(g.kill, "1") == nil {
		return
	}
	for range 100 {
		n := 0
		for _, p := range g.procs {
			b, _ := os.ReadFile(p)
			for f := range strings.FieldsSeq(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
					_ = unix.Kill(pid, unix.SIGKILL)
					n++
				}
			}
		}
		if n == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// remove deletes the groups once their processes are gone; the kernel may need
// a moment to see that.
func (g *cgroups) remove() error {
	var errs []error
	for _, d := range g.dirs {
		var err error
		for range 200 {
			if err = unix.Rmdir(d); err != unix.EBUSY {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if err != nil && err != unix.ENOENT {
			errs = append(errs, fmt.Errorf("remove cgroup %s: %w", d, err))
		}
	}
	return errors.Join(errs...)
}

// cgroupMounts maps a version 1 controller's name, or "v2", to its mountpoint.
func cgroupMounts() (map[string]string, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		switch r[0] {
		case "cgroup2":
			out["v2"] = l[4]
		case "cgroup":
			for o := range strings.SplitSeq(r[2], ",") {
				if o == "memory" || o == "pids" || o == "cpu" {
					out[o] = l[4]
				}
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no cgroup file system is mounted")
	}
	return out, nil
}

// ownCgroups maps a controller (empty for version 2) to this process's group.
func ownCgroups() map[string]string {
	b, _ := os.ReadFile("/proc/self/cgroup")
	out := map[string]string{}
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for c := range strings.SplitSeq(f[1], ",") {
			out[c] = f[2]
		}
	}
	return out
}

// lines says what is bounded by what, and what is not bounded.
func (g *cgroups) lines(s Spec, tier Tier) []string {
	l := s.Limits
	var out []string
	if g.memory {
		out = append(out, fmt.Sprintf("memory: %d bytes for the whole sandbox (cgroup)", l.Memory))
	} else {
		out = append(out, fmt.Sprintf("memory: NOT bounded for the whole sandbox (%s); private data of each process %d bytes (RLIMIT_DATA)", g.why, l.Memory))
	}
	by := "RLIMIT_NPROC in its user namespace"
	if g.pids {
		by = "cgroup and " + by
	}
	if tier == TierLandlock {
		by = "RLIMIT_NPROC, shared with the user's other processes"
		if g.pids {
			by = "cgroup and " + by
		}
	}
	out = append(out,
		fmt.Sprintf("processes: %d (%s)", l.Pids, by),
		fmt.Sprintf("largest file: %d bytes (RLIMIT_FSIZE)", l.FileSize),
		fmt.Sprintf("CPU time: %d s for each process (RLIMIT_CPU)", l.CPUSeconds),
		g.cpuLine(l),
		"core dumps: none (RLIMIT_CORE)",
	)
	if tier == TierFull {
		out = append(out, fmt.Sprintf("temporary files: %d bytes for each private file system", l.Tmp))
	} else {
		out = append(out, "temporary files: NOT bounded beyond the largest file, there is no private /tmp")
	}
	out = append(out, diskLines(s)...)
	if l.Wall > 0 {
		return append(out, fmt.Sprintf("life of the sandbox: %s", l.Wall))
	}
	return append(out, "life of the sandbox: NOT bounded")
}

func (g *cgroups) cpuLine(l Limits) string {
	switch {
	case l.CPUPercent == 0:
		return "CPU share: NOT bounded"
	case !g.cpu:
		return fmt.Sprintf("CPU share: NOT bounded (%s)", g.why)
	}
	return fmt.Sprintf("CPU share: %d %% of one CPU for the whole sandbox (cgroup)", l.CPUPercent)
}

// diskLines says how the disk is bounded, for copy-on-write and other
// directories.
func diskLines(s Spec) []string {
	var out []string
	free := len(s.writable()) - len(s.Overlays)
	home := s.Home != "" && s.overlayAt(s.Home) < 0 && len(s.Overlays) > 0
	if home {
		free--
	}
	if free > 0 || len(s.Overlays) == 0 {
		out = append(out, "disk used by the writable directories: NOT bounded beyond the largest file")
	}
	if len(s.Overlays) == 0 {
		return out
	}
	what := "disk used by copy-on-write directories"
	if home {
		what += " and growth of the home"
	}
	return append(out, fmt.Sprintf(what+": %d bytes and %d files together, measured every %s or more seldom (a %dth of the time is spent measuring, a half when space falls fast); "+
		"the sandbox is ended when it has passed that, by as much as it can write between two measurements; a deleted file counts while it is open", s.Limits.Disk, s.Limits.DiskFiles, watchTick, watchShare))
}

// userThreads counts the threads of a user on this host: RLIMIT_NPROC counts
// them all where there is no user namespace of the sandbox's own.
func userThreads(uid int) int {
	n := 0
	dirs, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, d := range dirs {
		b, err := os.ReadFile(d)
		if err != nil {
			continue
		}
		ours, threads := false, 0
		for line := range strings.Lines(string(b)) {
			key, value, _ := strings.Cut(line, ":")
			f := strings.Fields(value)
			switch {
			case len(f) == 0:
			case key == "Uid":
				ours = f[0] == strconv.Itoa(uid)
			case key == "Threads":
				threads, _ = strconv.Atoi(f[0])
			}
		}
		if ours {
			n += threads
		}
	}
	return n
}
