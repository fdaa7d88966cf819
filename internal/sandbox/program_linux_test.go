package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProgramOf(t *testing.T) {
	x := newTarget(t)
	for _, c := range []struct {
		name, script string
		want         string // executable; empty: it must not be told
		change       []func(*stageConfig)
	}{
		{name: "a shell", script: ask("93.184.216.34", "80"), want: "/usr/bin/bash"},
		{name: "over IPv6", script: ask("2606:2800::1", "443"), want: "/usr/bin/bash"},
		{name: "to the proxy", script: ask("127.0.0.1", "17080"), want: "/usr/bin/bash"},
		{name: "mapped address", script: "attack mapped [::ffff:93.184.216.34]:80", want: x.work + "/attacker"},
		{name: "without nftables", script: ask("93.184.216.34", "80"), want: "/usr/bin/bash", change: []func(*stageConfig){undiverted}},
		{name: "own program", script: "attack connections 93.184.216.34:80,1", want: x.work + "/attacker"},
		{name: "socket shared with another program", script: "attack shared-socket /usr/bin/sleep"},
		{name: "socket in a thread of its own", script: "attack thread-socket /usr/bin/sleep"},
		{name: "a process that hides", script: "attack hidden-socket x", want: hiddenExe(x)},
	} {
		t.Run(c.name, func(t *testing.T) {
			sb, d := handedOver(t, x.spec(ViewWorkspace), c.change...)
			script := c.script
			if strings.HasPrefix(script, "attack") {
				script = x.work + "/attacker " + script
			}
			r := runOK(t, shellOf(t, sb), script)
			if bytes.Contains(r.Head, []byte("refused")) {
				t.Fatalf("%s", r.Head)
			}
			p, ok := d.program()
			if ok != (c.want != "") || p.Exe != c.want {
				t.Errorf("%+v %v, want %q; %s", p, ok, c.want, r.Head)
			}
			if ok && (p.Pid < 2 || p.Args0 == "") {
				t.Errorf("incomplete: %+v", p)
			}
		})
	}
}

// hiddenExe is the program of a process that made itself unreadable: root may
// look into it all the same, another user must get no answer.
func hiddenExe(x *target) string {
	if os.Geteuid() == 0 {
		return x.work + "/attacker"
	}
	return ""
}

// greeted connects and waits for the desk's line, by when it has judged.
func greeted(network, addr string) (*net.TCPConn, error) {
	c, err := net.Dial(network, addr)
	if err != nil {
		return nil, err
	}
	_, err = c.Read(make([]byte, 64))
	return c.(*net.TCPConn), err
}

func mapped(addr string) error {
	ap := netip.MustParseAddrPort(addr)
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	if err := unix.Connect(fd, &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}); err != nil {
		return err
	}
	_, err = unix.Read(fd, make([]byte, 64))
	return err
}

// sharedSocket lets another program be born with the socket before connecting.
func sharedSocket(program string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	cmd := exec.Command(program, "5")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "shared")}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	return connectRead(fd)
}

func connectRead(fd int) error {
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 80, Addr: [4]byte{93, 184, 216, 34}}); err != nil {
		return err
	}
	_, err := unix.Read(fd, make([]byte, 64))
	return err
}

// threadSocket holds the socket in one thread's own table of descriptors, while
// another program visibly holds it too: whoever looks at processes only would
// name that one.
func threadSocket(program string) error {
	return onThread(func() error {
		if unix.Gettid() == os.Getpid() { // this one's table is the process's; another thread, then
			return threadSocket(program)
		}
		if err := unix.Unshare(unix.CLONE_FILES); err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		// fork from this thread: the child gets this thread's descriptors
		pid, err := syscall.ForkExec(program, []string{program, "5"}, &syscall.ProcAttr{Files: []uintptr{uintptr(fd)}})
		if err != nil {
			return err
		}
		defer func() { _ = unix.Kill(pid, unix.SIGKILL) }()
		return connectRead(fd)
	})
}

func hiddenSocket(string) error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return err
	}
	c, err := greeted("tcp", "93.184.216.34:80")
	if err == nil {
		c.Close()
	}
	return err
}

// TestProgramNeedsTheConnection: a reset connection names nobody, though the
// same addresses belong to a socket again.
func TestProgramNeedsTheConnection(t *testing.T) {
	x := newTarget(t)
	spec := x.spec(ViewWorkspace)
	spec.Network = NetworkHandoff
	sb := open(t, spec, TierFull)
	accepted := make(chan net.Conn, 2)
	go func() {
		for range 2 {
			c, err := sb.Handoff().TCP[0].Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("hello"))
			accepted <- c
		}
	}()
	runOK(t, shellOf(t, sb), "setsid "+x.work+"/attacker attack twice x </dev/null >/dev/null 2>&1 &")
	first, second := <-accepted, <-accepted
	defer first.Close()
	defer second.Close()
	if first.RemoteAddr().String() != second.RemoteAddr().String() {
		t.Fatalf("%s is not %s", first.RemoteAddr(), second.RemoteAddr())
	}
	if p, ok := sb.Program(addrPort(first.RemoteAddr()), addrPort(first.LocalAddr())); !ok {
		t.Fatalf("the control found nobody: %+v", p)
	}
	if p, ok := sb.ProgramOf(first); ok {
		t.Errorf("a dead connection is said to be of %+v", p)
	}
	if p, ok := sb.ProgramOf(second); !ok || p.Exe != x.work+"/attacker" {
		t.Errorf("the live one: %+v %v", p, ok)
	}
}

// twice makes two connections with the same four numbers, the first one reset.
func twice(string) error {
	for i := range 2 {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err != nil {
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err := unix.Bind(fd, &unix.SockaddrInet4{Port: 40404, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
			return err
		}
		if err := connectRead(fd); err != nil {
			return err
		}
		if i == 1 {
			time.Sleep(time.Minute) // the test ends it
		}
		_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
		unix.Close(fd)
	}
	return nil
}

func TestHolderSearchIsBounded(t *testing.T) {
	dir, err := os.Open("/proc")
	must(t, err)
	defer dir.Close()
	links := 1
	_, err = holdsLink(int(dir.Fd()), fmt.Sprintf("%d/fd", os.Getpid()), "socket:[1]", &links)
	if err == nil || !strings.Contains(err.Error(), "too many") {
		t.Errorf("%v", err)
	}
}

func FuzzParseDiag(f *testing.F) {
	src, dst := netip.MustParseAddrPort("192.0.0.4:40000"), netip.MustParseAddrPort("93.184.216.34:80")
	good := make([]byte, unix.SizeofNlMsghdr+sizeDiagAnswer)
	putHeader(good, unix.SOCK_DIAG_BY_FAMILY, 0)
	putID(good[unix.SizeofNlMsghdr+4:], src, dst)
	binary.NativeEndian.PutUint32(good[unix.SizeofNlMsghdr+68:], 4711)
	if n, err := parseDiag(good, src, dst); n != 4711 || err != nil {
		f.Fatalf("%d %v", n, err)
	}
	if n, err := parseDiag(good, dst, src); err == nil {
		f.Fatalf("the other direction: %d", n)
	}
	refused := make([]byte, unix.SizeofNlMsghdr+4)
	putHeader(refused, unix.NLMSG_ERROR, 0)
	errnoENOENT := int32(unix.ENOENT)
	binary.NativeEndian.PutUint32(refused[unix.SizeofNlMsghdr:], uint32(-errnoENOENT))
	if _, err := parseDiag(refused, src, dst); !errors.Is(err, unix.ENOENT) {
		f.Fatalf("%v", err)
	}
	f.Add(good)
	f.Add(refused)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 20, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := parseDiag(b, src, dst)
		if err == nil && (n == 0 || len(b) < unix.SizeofNlMsghdr+sizeDiagAnswer) {
			t.Errorf("inode %d of %d bytes", n, len(b))
		}
	})
}
