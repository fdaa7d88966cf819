package sandbox

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// reap collects every process that ends, orphans of the payload included.
func (s *stage) reap() {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, unix.SIGCHLD)
	for {
		s.mu.Lock()
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
		id, shell := s.shells[pid]
		if pid > 0 {
			delete(s.shells, pid)
		}
		s.mu.Unlock()
		if shell {
			_ = s.send(event{Ev: evExit, ID: id, Status: int(ws)})
		}
		if err == nil && pid > 0 || err == unix.EINTR {
			continue
		}
		<-ch
	}
}

// signal delivers one signal and says when it has: the supervisor must not
// begin another command that a late signal would hit.
func (s *stage) signal(r request, fds []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sig := syscall.Signal(r.Sig)
	for pid, id := range s.shells {
		if id != r.ID {
			continue
		}
		switch r.Scope {
		case scopeGroup:
			_ = syscall.Kill(-pid, sig)
		case scopeFront:
			// a terminal's foreground group is of its session, so of this sandbox
			if group := foreground(fds); group > 0 {
				pid = group
			}
			_ = syscall.Kill(-pid, sig)
		case scopeBelow:
			s.killBelow(pid, sig)
		case scopeHold, scopeShell:
			// A stopped shell cannot go on with its script when a child of its
			// ends, nor die and make its children somebody else's.
			_ = syscall.Kill(pid, syscall.SIGSTOP)
			awaitStop(pid)
			s.killBelow(pid, sig)
			if r.Scope == scopeShell {
				_ = syscall.Kill(pid, sig)
			}
		}
	}
	_ = s.send(event{Ev: evSent, ID: r.ID, Seq: r.Seq})
}

// awaitStop waits until a child that was told to stop has: until then it may
// finish a fork whose child nobody would count. The state is left to be reaped.
func awaitStop(pid int) {
	for deadline := time.Now().Add(200 * time.Millisecond); time.Now().Before(deadline); time.Sleep(50 * time.Microsecond) {
		var si unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &si, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT|unix.WNOHANG, nil)
		if err != nil && err != unix.EINTR || si.Signo != 0 {
			return
		}
	}
}

// killBelow signals every descendant of shell. Orphans of the shell belong to
// the stage; when there is one shell only they are meant too.
func (s *stage) killBelow(shell int, sig syscall.Signal) {
	deadline := time.Now().Add(500 * time.Millisecond)
	for {
		pids := descendants(shell, len(s.shells) == 1)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, sig)
		}
		// only a kill is repeated, to catch what was forked meanwhile
		if sig != unix.SIGKILL || time.Now().After(deadline) {
			return
		}
		for {
			var ws unix.WaitStatus
			if pid, _ := unix.Wait4(-1, &ws, unix.WNOHANG, nil); pid <= 0 {
				break
			} else if id, ok := s.shells[pid]; ok {
				delete(s.shells, pid)
				_ = s.send(event{Ev: evExit, ID: id, Status: int(ws)})
			}
		}
		time.Sleep(time.Millisecond)
	}
}

// endAll ends every process below the stage. In a PID namespace the kernel
// does that at exit anyway. Without one the stage is the reaper of all orphans
// below it, so that the process table shows every one of them.
func (s *stage) endAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.c.HostPID {
		_ = syscall.Kill(-1, unix.SIGKILL) // everything in the namespace, and nothing else
		return
	}
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		pids := descendants(os.Getpid(), false)
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			_ = syscall.Kill(pid, unix.SIGKILL)
		}
		var ws unix.WaitStatus
		for {
			if pid, _ := unix.Wait4(-1, &ws, unix.WNOHANG, nil); pid <= 0 {
				break
			}
		}
	}
}
