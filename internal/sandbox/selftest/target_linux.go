package selftest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/sandbox"
)

// planted is the host side of one run: everything the probes reach for, and
// how to be rid of it.
type planted struct {
	target
	root    bool
	undo    []func()
	signals atomic.Int64 // that the canary has had
}

// memoryLimit is that of the sandbox under test, in bytes: enough for a probe.
var memoryLimit int64 = 192 << 20

// strangerUID owns the setuid program: neither root nor the payload.
const strangerUID = 12345

func plant(ctx context.Context, o Options) (*planted, error) {
	p := &planted{root: os.Geteuid() == 0}
	p.Token = "sallyport-" + rand.Text()
	p.Pids, p.Memory, p.FileSize, p.TmpSize = 64, memoryLimit, 64<<20, 8<<20
	for _, step := range []func() error{
		func() error { return p.directories(o) }, p.files, p.ipc,
		func() error { return p.servers(ctx) },
		func() error { return p.process(ctx) },
		p.leaks,
	} {
		if err := step(); err != nil {
			p.remove()
			return nil, fmt.Errorf("plant targets: %w", err)
		}
	}
	return p, nil
}

// remove takes everything away again, in reverse order.
func (p *planted) remove() {
	for len(p.undo) > 0 {
		last := p.undo[len(p.undo)-1]
		p.undo = p.undo[:len(p.undo)-1]
		last()
	}
}

func (p *planted) later(f func()) { p.undo = append(p.undo, f) }

func (p *planted) directories(o Options) error {
	dir := o.Dir
	if dir == "" {
		dir = "/var/tmp" // not /tmp: a view has its own, which would hide everything without further help
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if dir, err = os.MkdirTemp(dir, "sallyport-selftest-"); err != nil {
		return err
	}
	p.later(func() { _ = os.RemoveAll(dir) })
	program := o.Program
	if program == "" {
		program = "/proc/self/exe"
	}
	for path, name := range map[*string]string{
		&p.Outside: "outside", &p.Work: "work", &p.Cow: "cow", &p.Common: "common", &p.State: "state", &p.Mount: "mount", &p.Tmp: "tmp",
	} {
		*path = filepath.Join(dir, name)
	}
	for _, d := range []string{dir, p.Outside, p.Mount, p.Tmp, p.State, dir + "/bin", dir + "/home", dir + "/store"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(d, 0o755); err != nil {
			return err
		}
	}
	for _, d := range []string{"/store/work", "/store/cow"} { // private: changes may hold secrets
		if err := os.Mkdir(dir+d, 0o700); err != nil {
			return err
		}
	}
	p.Program = dir + "/bin/probe"
	if err := copyFile(p.Program, program, 0o755); err != nil {
		return err
	}
	if !p.root {
		return nil
	}
	// id prints the effective user; any static or dynamic one will do
	if err := copyFile(dir+"/bin/id", "/usr/bin/id", 0o755); err != nil {
		return nil //nolint:nilerr // without it one probe is skipped
	}
	p.Setuid = dir + "/bin/id"
	return errors.Join(os.Chown(p.Setuid, strangerUID, strangerUID), os.Chmod(p.Setuid, 0o755|os.ModeSetuid))
}

func (p *planted) dir() string { return filepath.Dir(p.Work) }

func copyFile(to, from string, mode os.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close(), os.Chmod(to, mode))
}

// files plants the trees that probes change; it is called again after the
// controls. Everything is open to everybody, so that nothing but the sandbox
// stands between a payload and it.
func (p *planted) files() error {
	p.Canary, p.Modes = p.Outside+"/secret", p.Outside+"/modes"
	for _, d := range []string{p.Work, p.Cow, p.Common} {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	for _, d := range []string{p.Work + "/.git/hooks", p.Cow, p.Common + "/hooks"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	for path, text := range map[string]string{
		p.Canary: p.Token, p.Modes: "", p.Outside + "/written": "",
		p.State + "/credential": p.Token, p.State + "/policy.cedar": "", p.Work + "/own": "", p.Work + "/lock": "",
		p.Work + "/.git/config": "[core]\n", p.Cow + "/file": "",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if err := os.Chmod(path, 0o666); err != nil {
			return err
		}
	}
	return errors.Join(os.Symlink(p.Canary, p.Work+"/link"), os.Symlink(p.State+"/credential", p.Work+"/credential"))
}

func (p *planted) ipc() error {
	p.ShmFile = "/dev/shm/" + p.Token
	if err := os.WriteFile(p.ShmFile, []byte(p.Token), 0o600); err == nil {
		_ = os.Chmod(p.ShmFile, 0o666)
		p.later(func() { _ = os.Remove(p.ShmFile) })
	}
	var err error
	if p.ShmID, err = unix.SysvShmGet(unix.IPC_PRIVATE, 4096, 0o666|unix.IPC_CREAT); err == nil {
		p.later(func() { _, _ = unix.SysvShmCtl(p.ShmID, unix.IPC_RMID, nil) })
		if b, err := unix.SysvShmAttach(p.ShmID, 0, 0); err == nil {
			copy(b, p.Token)
			_ = unix.SysvShmDetach(b)
		}
	}
	p.Queue = p.Token
	if openQueue(p.Queue, unix.O_CREAT|unix.O_RDWR, &queueAttr{maxMessages: 1, size: 8}) == nil {
		p.later(func() { unlinkQueue(p.Queue) })
	}
	return nil // what could not be planted fails in its control
}

// servers plants listeners that answer with the token.
func (p *planted) servers(ctx context.Context) error {
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, "http://"+p.TCP4+"/", http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, p.Token)
	})}
	p.later(func() { _ = srv.Close() })
	p.Stream, p.Control, p.Abstract = p.Outside+"/stream", p.State+"/control", p.Token
	for _, l := range []struct {
		network, addr string
		bound         *string
	}{
		{"tcp4", "127.0.0.1:0", &p.TCP4},
		{"tcp4", "127.0.0.1:0", &p.Redirect},
		{"tcp6", "[::1]:0", &p.TCP6},
		{"tcp4", "127.1.2.3:0", &p.Alias},
		{"tcp4", outsideAddress(), &p.Host},
		{"unix", p.Stream, nil},
		{"unix", p.Control, nil},
		{"unix", "@" + p.Abstract, nil},
	} {
		if l.addr == "" {
			continue
		}
		listener, err := (&net.ListenConfig{}).Listen(ctx, l.network, l.addr)
		if err != nil {
			continue // the probe's control says so
		}
		if l.bound != nil {
			*l.bound = listener.Addr().String()
		} else if !strings.HasPrefix(l.addr, "@") {
			_ = os.Chmod(l.addr, 0o777)
		}
		go func() { _ = srv.Serve(listener) }()
	}
	p.Datagram = p.Outside + "/datagram"
	for _, a := range [][2]string{{"udp4", "127.0.0.1:0"}, {"unixgram", p.Datagram}} {
		c, err := (&net.ListenConfig{}).ListenPacket(ctx, a[0], a[1])
		if err != nil {
			continue
		}
		p.later(func() { c.Close() })
		if a[0] == "udp4" {
			p.UDP = c.LocalAddr().String()
		}
		go echo(c, p.Token)
	}
	_ = os.Chmod(p.Datagram, 0o777)
	return nil
}

func echo(c net.PacketConn, text string) {
	buf := make([]byte, 512)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if from != nil {
			_, _ = c.WriteTo([]byte(text), from)
		}
	}
}

// outsideAddress is one of the machine's own that is not loopback.
func outsideAddress() string {
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() && !n.IP.IsLinkLocalUnicast() {
			return n.IP.String() + ":0"
		}
	}
	return ""
}

// process plants a process of the payload's own user, so that no owner stands
// between them.
func (p *planted) process(ctx context.Context) error {
	b, err := p.encode()
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, p.Program)
	c.Args, c.Env, c.Dir = []string{p.Program, probeName, "canary", b}, []string{"SALLYPORT_SELFTEST_SECRET=" + p.Token}, "/"
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: 0}
	if p.root {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: sandbox.PayloadUID, Gid: sandbox.PayloadUID}
	}
	in, err := c.StdinPipe()
	if err != nil {
		return err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	p.later(func() { in.Close(); _ = c.Process.Kill(); _ = c.Wait() })
	p.Pid = c.Process.Pid
	ready := make(chan struct{})
	go p.watch(out, ready)
	return wait(ctx, ready)
}

// watch counts the signals that the planted process says it had.
func (p *planted) watch(out io.Reader, ready chan<- struct{}) {
	var seen []byte
	buf := make([]byte, 64)
	for up := false; ; {
		n, err := out.Read(buf)
		if err != nil {
			return
		}
		if up {
			p.signals.Add(int64(bytes.Count(buf[:n], []byte("U"))))
			continue
		}
		if seen = append(seen, buf[:n]...); bytes.Contains(seen, []byte("ready\n")) {
			up = true
			close(ready)
		}
	}
}

func wait(ctx context.Context, ready <-chan struct{}) error {
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(10 * time.Second):
		return errors.New("a planted process did not start")
	}
}

// leaks plants what a careless supervisor would pass on: descriptors without
// close-on-exec and a variable of its environment.
func (p *planted) leaks() error {
	for _, l := range []struct {
		path     string
		flags    int
		dev, ino *uint64
	}{{"/", unix.O_PATH | unix.O_DIRECTORY, &p.RootDev, &p.RootIno}, {p.Canary, unix.O_RDONLY, &p.CanaryDev, &p.CanaryIno}} {
		fd, err := unix.Open(l.path, l.flags, 0)
		if err != nil {
			return err
		}
		p.later(func() { unix.Close(fd) })
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		*l.dev, *l.ino = uint64(st.Dev), st.Ino //nolint:unconvert // narrower on some machines
	}
	p.later(func() { _ = os.Unsetenv(leakName) })
	return os.Setenv(leakName, p.Token)
}

const leakName = "SALLYPORT_SELFTEST_LEAK"
