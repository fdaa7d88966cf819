package sandbox

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// Sandbox is one running confinement. Its methods may be called concurrently.
type Sandbox struct {
	spec   Spec
	report Report
	limits []string

	overlays []OverlayState

	cg    *cgroups
	ctl   *net.UnixConn
	proc  *os.Process // the stage
	files []*os.File

	handoff       *Handoff
	owners        *owners
	networkClosed bool
	folders       *folders // nil: none can be opened

	hostPID bool
	userNS  string // identity of the sandbox's user namespace, in the full tier

	done     chan struct{}
	killOnce sync.Once

	inside Spec          // as the payload has it: a copy may stand for a directory
	heard  chan struct{} // closed when no event can come any more

	mu     sync.Mutex
	wall   *time.Timer
	ended  error // the limit that ended it
	shells map[int]chan event
	nextID int
}

// startTimeout bounds how long a stage may take to build its view.
const startTimeout = 20 * time.Second

// Start confines nothing yet but a waiting stage; payloads come with Shell.
// It tries the full tier, then the landlock tier if spec.MinTier allows it, and
// says in the report which it became. Errors: Usage for a spec that makes no
// sense, Unsupported for a tier this machine cannot give, Canceled.
func Start(ctx context.Context, spec Spec) (*Sandbox, error) {
	spec, err := spec.normalise()
	if err != nil {
		return nil, err
	}
	return start(ctx, spec)
}

// start starts a checked Spec in the best tier.
func start(ctx context.Context, spec Spec) (*Sandbox, error) {
	sb, err := startTier(ctx, spec, TierFull)
	if err == nil {
		return sb, nil
	}
	if gone := spec.vanished(); gone != nil {
		return nil, gone
	}
	full := asStep(err)
	if !full.Fallback {
		return nil, asFault(err, full)
	}
	if spec.MinTier >= TierFull {
		return nil, refusal(spec.MinTier, full)
	}
	if spec.needsMounts() {
		return nil, refusal(TierFull, full)
	}
	sb, err = startTier(ctx, spec, TierLandlock)
	if err != nil {
		if se := asStep(err); se.Primitive != "stage" && se.Usage == "" {
			return nil, refusal(TierLandlock, se)
		}
		return nil, asFault(err, asStep(err))
	}
	sb.report.Primitives = append([]Primitive{full.primitive()}, sb.report.Primitives...)
	return sb, nil
}

// StartTier is Start in exactly this tier, never another: for showing what each
// tier holds. Errors: as Start, and Unsupported for TierNone.
func StartTier(ctx context.Context, spec Spec, tier Tier) (*Sandbox, error) {
	const op = "sandbox.start"
	if tier != TierFull && tier != TierLandlock {
		return nil, fault.New(op, fault.Unsupported, "nothing can run in the sandbox tier %s; use full or landlock", tier)
	}
	spec, err := spec.normalise()
	if err != nil {
		return nil, err
	}
	if tier == TierLandlock && spec.needsMounts() {
		return nil, fault.New(op, fault.Unsupported, "this view hides or holds a path inside what it grants, which takes mounts; the sandbox tier full is required")
	}
	sb, err := startTier(ctx, spec, tier)
	if err != nil {
		if se := asStep(err); se.Primitive != "stage" && se.Usage == "" {
			return nil, refusal(tier, se)
		}
		return nil, asFault(err, asStep(err))
	}
	return sb, nil
}

// asFault gives an error that no weaker tier would avoid its kind.
func asFault(err error, se *stepError) error {
	if se.Usage != "" {
		return &fault.Error{Op: "sandbox.start", Kind: fault.Usage, Public: se.Usage, Err: err}
	}
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	return fault.Wrap("sandbox.start", fault.Internal, err)
}

func asStep(err error) *stepError {
	if se, ok := errors.AsType[*stepError](err); ok {
		return se
	}
	return &stepError{Primitive: "stage", Detail: err.Error()}
}

// startTier starts a stage in exactly this tier, its configuration changed as a
// test wants it. Where overlayfs is refused a copy takes its place, and the
// attempt is made again.
func startTier(ctx context.Context, spec Spec, tier Tier, change ...func(*stageConfig)) (*Sandbox, error) {
	plans := spec.planOverlays(tier)
	var refused []Primitive
	for {
		sb, err := startPlanned(ctx, spec, tier, plans, change...)
		if err == nil {
			sb.report.Primitives = append(refused, sb.report.Primitives...)
			return sb, nil
		}
		se := asStep(err)
		if se.Primitive != "overlay" || plans[se.Overlay].mode == modeCopy {
			return nil, err
		}
		plans[se.Overlay] = plan{modeCopy, se.Detail}
		refused = append(refused, se.primitive())
	}
}

func startPlanned(ctx context.Context, spec Spec, tier Tier, plans []plan, change ...func(*stageConfig)) (*Sandbox, error) {
	id := make([]byte, 6)
	_, _ = rand.Read(id) // never fails
	sb := &Sandbox{spec: spec, done: make(chan struct{}), heard: make(chan struct{}), shells: map[int]chan event{}, report: Report{Tier: tier}}
	conf := &stageConfig{Spec: spec, Tier: tier, UID: os.Getuid(), GID: os.Getgid(), Mounts: map[string]int{}, NProc: spec.Limits.Pids}
	conf.Root = os.Geteuid() == 0
	if conf.Root {
		conf.UID, conf.GID = PayloadUID, PayloadUID
		if err := payloadMapped(); err != nil {
			return nil, err
		}
	}
	// Host numbers make ps true, but are safe only where Landlock scopes signals.
	abi, _ := landlockABI()
	conf.HostPID = tier == TierLandlock || spec.View == ViewAuditor && abi >= 6
	sb.hostPID = conf.HostPID
	for _, f := range change {
		f(conf)
	}
	notes, err := sb.prepare(ctx, conf, plans)
	defer sb.closeFiles()
	if err != nil {
		return nil, err
	}
	more, err := sb.grantSockets(conf)
	if err != nil {
		return nil, err
	}
	notes = append(notes, more...)
	if more, err = sb.detachFolders(conf); err != nil {
		sb.folders.close()
		return nil, err
	}
	notes = append(notes, more...)
	if tier == TierLandlock {
		conf.NProc += userThreads(conf.UID)
		conf.Spec.Env = withTmp(conf.Spec.Env, conf.Spec.Home, conf.Spec.Workdir)
	}
	sb.inside = conf.Spec
	sb.cg = newCgroups(hex.EncodeToString(id), spec.Limits)
	if err := sb.launch(conf); err != nil {
		sb.folders.close()
		return nil, errors.Join(err, sb.cg.remove())
	}
	ready, err := sb.await(ctx)
	if err != nil {
		sb.Kill()
		<-sb.done
		sb.ctl.Close()
		return nil, err
	}
	sb.report.Primitives = ready.Primitives
	sb.report.NotPromised = append(append(notes, ready.Notes...), notPromised(spec, tier, sb.hostPID, sb.cg)...)
	sb.limits = sb.cg.lines(spec, tier)
	sb.watch()
	go sb.listen()
	return sb, nil
}

// withTmp points temporary files to a writable place where no private /tmp is.
func withTmp(env []string, dirs ...string) []string {
	for _, d := range dirs {
		if d != "" {
			return append([]string{"TMPDIR=" + d}, env...)
		}
	}
	return env
}

func (sb *Sandbox) closeFiles() {
	for _, f := range sb.files {
		f.Close()
	}
	sb.files = nil
}

// controlPair makes the connection between supervisor and stage.
func controlPair() (fds [2]int, err error) {
	fds, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if errors.Is(err, unix.EPERM) {
		return fds, fault.New("sandbox.start", fault.Unsupported,
			"no sandbox can be made inside a sandbox: this process may make no socket pair (EPERM), as everything that Sallyport confines; run it outside")
	}
	if err != nil {
		return fds, fmt.Errorf("socketpair: %w", err)
	}
	return fds, nil
}

// launch re-executes this program as the stage.
func (sb *Sandbox) launch(conf *stageConfig) error {
	pair, err := controlPair()
	if err != nil {
		return err
	}
	theirs := os.NewFile(uintptr(pair[1]), "stage control")
	defer theirs.Close()
	if sb.ctl, err = connFromFD(pair[0], "control"); err != nil {
		return err
	}
	mem, err := memFile(conf)
	if err != nil {
		sb.ctl.Close()
		return err
	}
	defer mem.Close()
	cmd := &exec.Cmd{
		Path: "/proc/self/exe", Args: []string{stageName}, Dir: "/",
		// nothing of the supervisor's environment: what the stage holds, the
		// payload might find a way to read
		Env:         []string{"GOMAXPROCS=2", "GOGC=50"},
		ExtraFiles:  append([]*os.File{theirs, mem}, sb.files...),
		SysProcAttr: stageAttr(conf),
	}
	started := make(chan error)
	go func() {
		// The thread that forks is the one whose end kills the stage, so this
		// goroutine keeps it until the stage has ended.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			sb.proc = cmd.Process
			sb.cg.admit(sb.proc.Pid)
			if conf.Tier == TierFull {
				sb.userNS, _ = os.Readlink(fmt.Sprintf("/proc/%d/ns/user", sb.proc.Pid))
			}
		}
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait()
		sb.buried()
	}()
	if err := <-started; err != nil {
		sb.ctl.Close()
		return step("user-namespace", fmt.Errorf("start stage: %w", err))
	}
	return nil
}

// buried clears away what is left of a sandbox whose stage has ended.
func (sb *Sandbox) buried() {
	sb.folders.close() // they would hold the mounts
	sb.cg.killAll()
	if sb.hostPID && sb.userNS != "" {
		sweep(sb.userNS)
	}
	_ = sb.cg.remove()
	for _, o := range sb.overlays {
		settleStore(o.Store)
	}
	sb.closeNetwork()
	close(sb.done)
}

func stageAttr(conf *stageConfig) *syscall.SysProcAttr {
	a := &syscall.SysProcAttr{Setsid: true}
	if !conf.HostPID {
		// else it has to live long enough to end the others
		a.Pdeathsig = unix.SIGKILL
		a.Cloneflags = unix.CLONE_NEWPID
	}
	if conf.Tier != TierFull {
		return a
	}
	a.Cloneflags |= unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	if conf.Spec.View == ViewWorkspace {
		a.Cloneflags |= unix.CLONE_NEWNET
	}
	if conf.Root {
		// identity, so that owners on the host mean what they say inside
		all := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1<<31 - 1}}
		a.UidMappings, a.GidMappings, a.GidMappingsEnableSetgroups = all, all, true
		return a
	}
	// one id, no setgroups: the groups the user has stay effective
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: conf.UID, HostID: conf.UID, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: conf.GID, HostID: conf.GID, Size: 1}}
	a.AmbientCaps = stageCaps
	return a
}

// await reads the stage's first packet.
func (sb *Sandbox) await(ctx context.Context) (event, error) {
	stop := context.AfterFunc(ctx, func() { _ = sb.ctl.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = sb.ctl.SetReadDeadline(time.Now().Add(startTimeout))
	var e event
	for {
		e = event{}
		fds, err := recvPacket(sb.ctl, &e)
		if err != nil {
			if ctx.Err() != nil {
				return e, fault.Wrap("sandbox.start", fault.Canceled, ctx.Err())
			}
			return e, fmt.Errorf("stage ended before it was ready: %w", err)
		}
		switch e.Ev {
		case evHandoff:
			if err := sb.takeHandoff(e.Handoff, fds); err != nil {
				return e, step("net-namespace", err)
			}
			continue
		case evFolders:
			if err := sb.takeFolders(e.Folders, fds); err != nil {
				return e, step("mount-namespace", err)
			}
			continue
		}
		break
	}
	_ = sb.ctl.SetReadDeadline(time.Time{})
	if e.Ev != evReady {
		if e.Step != nil {
			return e, e.Step
		}
		return e, fmt.Errorf("stage answered %q", e.Ev)
	}
	return e, nil
}

// listen hands the stage's events to the shells they concern.
func (sb *Sandbox) listen() {
	defer close(sb.heard)
	defer sb.ctl.Close()
	for {
		var e event
		var err error
		if e.fds, err = recvPacket(sb.ctl, &e); err != nil {
			return
		}
		sb.mu.Lock() // so that nothing arrives for who has been forgotten
		select {
		case sb.shells[e.ID] <- e:
		default: // nobody waits; a shell has two events in its life and room for more
			closeAll(e.fds)
		}
		sb.mu.Unlock()
	}
}

// notPromised lists what the tier does not give, one sentence each.
func notPromised(spec Spec, tier Tier, hostPID bool, cg *cgroups) []string {
	out := []string{"A flaw in the kernel itself is not contained."}
	if spec.View == ViewAuditor {
		out = append(out,
			"Private keys in unusual places are found by a bounded search at the start; one created later or hidden elsewhere is readable.",
			"Command lines of host processes are visible, and with them any secret put there.")
		if tier == TierFull && !hostPID {
			out = append(out, "ps may fail or show itself under another number: without Landlock ABI 6 the payload is kept in a PID namespace of its own.")
		}
	}
	if !cg.memory {
		out = append(out, "Memory of the whole sandbox is not bounded: no memory cgroup could be made.")
	}
	if tier == TierFull {
		return out
	}
	out = append(out,
		"There are no namespaces: the numbers and command lines of host processes, and what else /proc says of the machine, are readable.",
		"Names, sizes, owners and times of host files are visible: Landlock covers opening a file, not asking about it.",
		"There is no private /tmp, /dev or /run.",
		"There is no network at all, not even among the sandbox's own processes.",
		"Hidden files are hidden by not granting them; a file created later beside one is unreadable too.",
		"Masked files are refused when opened instead of appearing empty.",
		"The terminal of a program is one of the host's, which other programs of its user can open; programs inside can make none.",
		"The number of processes is shared with all other programs of the payload's user.")
	if os.Geteuid() != 0 {
		out = append(out, "Modes, owners, times and extended attributes of every file of this user can be changed: Landlock does not cover them, and the payload has no user of its own.")
	}
	out = append(out, withoutMounts(spec)...)
	if spec.LocalSockets {
		out = append(out, "Unix sockets of the payload's own are refused: the host's would be in sight too.")
	}
	if len(cg.procs) == 0 {
		out = append(out, "If the stage process itself is killed from outside, what it started lives on.")
	}
	return out
}

// Report says which tier was reached, by what, and what is not promised.
func (sb *Sandbox) Report() Report { return sb.report }

// Limits says what is bounded by what, and what is not bounded, one line each.
func (sb *Sandbox) Limits() []string { return append([]string(nil), sb.limits...) }

// Done is closed when every process of the sandbox has ended.
func (sb *Sandbox) Done() <-chan struct{} { return sb.done }

// Kill ends every process of the sandbox, daemons included. It returns at once;
// Done tells when it has happened, within about a second.
func (sb *Sandbox) Kill() {
	sb.killOnce.Do(func() {
		sb.mu.Lock()
		if sb.wall != nil {
			sb.wall.Stop()
		}
		sb.mu.Unlock()
		if !sb.hostPID {
			// the stage is process 1 of its namespace: the kernel ends the rest
			_ = sb.proc.Kill()
			return
		}
		// the stage ends its descendants when it sees this, then itself
		_ = sb.ctl.CloseWrite()
		time.AfterFunc(900*time.Millisecond, func() {
			select {
			case <-sb.done:
			default:
				_ = sb.proc.Kill()
			}
		})
	})
}

// Close ends the sandbox and waits until nothing of it is left.
func (sb *Sandbox) Close() error {
	sb.Kill()
	<-sb.done
	return nil
}
