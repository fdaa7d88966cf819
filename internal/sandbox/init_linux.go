package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageName is argv[0] of a re-executed stage. Anybody may start the program
// under this name; without the control socket the stage only exits.
const stageName = "sallyport-sandbox-stage"

// Descriptors of a stage.
const (
	fdControl = 3
	fdConfig  = 4
	fdMounts  = 5 // first idmapped mount
)

// MaybeInit must be the first call of main and TestMain. In a process that is
// a sandbox's inside stage it runs that stage and never returns; in any other
// it does nothing.
func MaybeInit() {
	if len(os.Args) == 0 || os.Args[0] != stageName {
		return
	}
	// at once: exit hooks of the program's own have no business in a stage
	syscall.Exit(runStage())
}

// stage is the process between supervisor and payload. In the full tier it is
// PID 1 of the sandbox's PID namespace: when it ends, everything ends.
type stage struct {
	c       *stageConfig
	conf    *os.File
	ctl     *net.UnixConn
	ruleset *ruleset
	done    []Primitive
	notes   []string
	spawns  chan spawnJob

	mu     sync.Mutex  // held over fork and over wait, so that no status is lost
	shells map[int]int // pid -> shell id
	sendMu sync.Mutex
}

func runStage() int {
	// Nothing that leaked into the supervisor may reach a payload; the stage's
	// own runtime may already use some descriptors, so they are marked, not closed.
	if err := unix.CloseRange(fdControl, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 111
	}
	ctl, err := connFromFD(fdControl, "control")
	if err != nil {
		return 112
	}
	s := &stage{ctl: ctl, spawns: make(chan spawnJob), shells: map[int]int{}}
	// caught, not ignored: an ignored signal would stay ignored in every payload
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2, unix.SIGPIPE, unix.SIGTSTP)
	if err := s.setUp(); err != nil {
		var se *stepError
		if !errors.As(err, &se) {
			se = &stepError{Primitive: "stage", Detail: err.Error()}
		}
		_ = s.send(event{Ev: evFailed, Step: se})
		return 1
	}
	if err := s.send(event{Ev: evReady, Primitives: s.done, Notes: s.notes, Pid: selfPid()}); err != nil {
		return 1
	}
	go s.reap()
	s.serve()
	s.endAll()
	return 0
}

// selfPid is this process's number in the mounted /proc, which in the auditor's
// view is the host's.
func selfPid() int {
	l, err := os.Readlink("/proc/self")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(l)
	return n
}

func (s *stage) send(e event, fds ...int) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	return sendPacket(s.ctl, e, fds...)
}

// setUp does everything up to the first payload, in this order: read the
// configuration, build the view, load the Landlock ruleset's paths, restrict
// the one thread that forks payloads, give up this process's own rights.
func (s *stage) setUp() error {
	s.conf = os.NewFile(fdConfig, "config")
	b, err := io.ReadAll(s.conf)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	s.c = new(stageConfig)
	if err := json.Unmarshal(b, s.c); err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	s.done, s.notes = s.c.Done, s.c.Notes
	if err := prctl(unix.PR_SET_DUMPABLE, 0); err != nil {
		return err
	}
	if s.c.Tier == TierFull && !s.c.Second {
		if err := s.buildView(); err != nil {
			return err
		}
		if !s.c.Root {
			return s.second()
		}
	}
	if s.c.HostPID {
		if err := prctl(unix.PR_SET_CHILD_SUBREAPER, 1); err != nil {
			return step("subreaper", err)
		}
	}
	return s.confine()
}

func (s *stage) achieved(name, detail string) {
	s.done = append(s.done, Primitive{Name: name, OK: true, Detail: detail})
}

// buildView makes the mounts of the full tier.
func (s *stage) buildView() error {
	m := &mounter{c: s.c}
	var err error
	unix.Umask(0)
	if s.c.Spec.View == ViewWorkspace {
		if err = loopbackUp(); err != nil {
			return step("net-namespace", err)
		}
		if err = m.workspace(); err == nil {
			err = s.network()
		}
	} else {
		err = m.auditor()
	}
	unix.Umask(0o022)
	if err == nil {
		err = s.handFolders(m.src)
	}
	if err != nil {
		return step("mount-namespace", err)
	}
	s.notes = append(s.notes, m.notes...)
	s.achieved("user-namespace", "created")
	s.achieved("mount-namespace", s.c.Spec.View+" view mounted")
	if s.c.HostPID {
		s.achieved("host-pid-namespace", "signals scoped by Landlock, orphans reaped by the stage")
	} else {
		s.achieved("pid-namespace", "the stage is its process 1")
	}
	return nil
}

// loopbackUp raises lo in the empty network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("raise lo: %w", err)
	}
	return nil
}

// second executes the same program again. For a user other than 0 that is the
// one way to take the namespace's capabilities from every thread at once.
func (s *stage) second() error {
	s.c.Second, s.c.Done, s.c.Notes = true, s.done, s.notes
	if err := writeConfig(s.conf, s.c); err != nil {
		return err
	}
	if err := prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL); err != nil {
		return err
	}
	// exec by the locked main thread; the two descriptors must survive it
	f, err := s.ctl.File()
	if err != nil {
		return err
	}
	ctl := int(f.Fd())
	if err := unix.Dup3(ctl, fdControl, 0); err != nil && ctl != fdControl {
		return err
	}
	for _, fd := range []int{fdControl, fdConfig} {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			return err
		}
	}
	return fmt.Errorf("execute second image: %w", syscall.Exec("/proc/self/exe", []string{stageName}, os.Environ())) //nolint:forbidigo // the stage was started with an environment of our own making
}

// confine prepares the ruleset and filter, starts the restricted thread and
// gives up this process's own rights.
func (s *stage) confine() error {
	abi, err := landlockABI()
	if err != nil {
		if s.c.Tier == TierLandlock {
			return &stepError{Primitive: "landlock", Detail: err.Error(), Remedy: remedyFor("landlock")}
		}
		if s.c.HostPID {
			return step("landlock", err)
		}
		s.notes = append(s.notes, "Landlock is not available: the mounts are the only layer that keeps host files read-only.")
	} else {
		if s.ruleset, err = s.rules(abi); err != nil {
			return step("landlock", err)
		}
		s.achieved("landlock", fmt.Sprintf("ABI %d", abi))
		if abi < 6 && s.c.Tier == TierLandlock {
			s.notes = append(s.notes, "Signals and abstract sockets are not scoped: Landlock ABI 6 is needed.")
		}
	}
	if s.c.Root {
		if err := syscall.Setgroups(nil); err != nil {
			return step("user-namespace", fmt.Errorf("setgroups: %w", err))
		}
		if err := syscall.Setresgid(s.c.GID, s.c.GID, s.c.GID); err != nil {
			return step("user-namespace", fmt.Errorf("setresgid: %w", err))
		}
	}
	ready := make(chan error)
	go s.spawner(ready)
	if err := <-ready; err != nil {
		return err
	}
	s.achieved("seccomp", "filter loaded")
	if s.c.Root {
		if err := dropProcess(s.c.UID); err != nil {
			return err
		}
	}
	return prctl(unix.PR_SET_DUMPABLE, 0) // a change of uid may have reset it
}

func (s *stage) rules(abi int) (*ruleset, error) {
	auditor := s.c.Spec.View == ViewAuditor
	r, err := newRuleset(abi, auditor || s.c.Tier == TierLandlock)
	if err != nil {
		return nil, err
	}
	if s.c.Tier == TierFull {
		return r, r.fullRules(s.c)
	}
	return r, s.landlockTierRules(r)
}

// serve handles requests until the supervisor closes its end, which the kernel
// does for it when it dies.
func (s *stage) serve() {
	for {
		var r request
		fds, err := recvPacket(s.ctl, &r)
		if err != nil {
			return
		}
		switch r.Op {
		case opSpawn:
			s.spawn(r, fds)
		case opSignal:
			s.signal(r, fds)
		}
		for _, fd := range fds {
			unix.Close(fd)
		}
	}
}
