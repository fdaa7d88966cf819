package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// maxHolderLinks bounds one search for the holders of a socket: descriptors
// looked at, over all processes of a sandbox.
const maxHolderLinks = 1 << 15

// owners answers who holds a socket inside. Both descriptors come from the
// stage: a diagnostic socket of the sandbox's network namespace, and its /proc,
// in which no other process appears.
type owners struct {
	mu   sync.Mutex // over a request and its answer
	diag *os.File
	proc *os.File
}

func (o *owners) close() {
	if o == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.diag.Close()
	o.proc.Close()
}

// ProgramOf says which program inside made the connection c, which a listener
// of Handoff.TCP accepted. It is false when that cannot be told: the connection
// or the program is gone, programs of different paths hold its socket, a
// process inside cannot be looked into, or there is too much to look at. See
// Program for what the answer is worth.
func (sb *Sandbox) ProgramOf(c net.Conn) (Program, bool) {
	p, ok := sb.Program(addrPort(c.RemoteAddr()), addrPort(c.LocalAddr()))
	// Had the connection been reset before the search, another program could
	// have made one with the same addresses since, and been found.
	if !ok || !established(c) {
		return Program{}, false
	}
	return p, true
}

// Program is ProgramOf by addresses: peer is the accepted connection's remote
// address and local its local one. It is for a connection known to be open
// after Program returns; the addresses of one that was reset may be another's.
func (sb *Sandbox) Program(peer, local netip.AddrPort) (Program, bool) {
	sb.mu.Lock()
	o := sb.owners
	sb.mu.Unlock()
	if o == nil {
		return Program{}, false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	// the payload's socket has the same two addresses, the other way round
	inode, err := o.inode(peer, local)
	if err != nil {
		return Program{}, false
	}
	p, err := o.holder(inode)
	return p, err == nil
}

// established reports whether c has not been reset. Until then its addresses
// are taken inside: no other socket can have them.
func established(c net.Conn) bool {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return false
	}
	var info *unix.TCPInfo
	cerr := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO) })
	return cerr == nil && err == nil && info.State != tcpClose
}

// tcpClose and tcpListen are states of enum tcp_state.
const (
	tcpClose  = 7
	tcpListen = 10
)

// sizes of struct inet_diag_req_v2 and inet_diag_msg
const (
	sizeDiagRequest = 56
	sizeDiagAnswer  = 72
)

// openDiag opens a socket on which the kernel names the inode of a connection
// in this network namespace, and sees that it answers.
func openDiag() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return -1, fmt.Errorf("diagnostic socket: %w", err)
	}
	nobody := netip.AddrPortFrom(resolverAddr, 1)
	answer, err := exchange(fd, diagRequest(nobody, nobody))
	if err == nil {
		_, err = netlinkBody(answer, unix.SOCK_DIAG_BY_FAMILY)
	}
	if !errors.Is(err, unix.ENOENT) { // what it says of a connection that is not there
		unix.Close(fd)
		return -1, fmt.Errorf("diagnostic socket: %w", err)
	}
	return fd, nil
}

func diagRequest(src, dst netip.AddrPort) []byte {
	msg := make([]byte, unix.SizeofNlMsghdr+sizeDiagRequest)
	r := msg[unix.SizeofNlMsghdr:]
	r[0], r[1] = unix.AF_INET, unix.IPPROTO_TCP
	if src.Addr().Is6() {
		r[0] = unix.AF_INET6
	}
	binary.NativeEndian.PutUint32(r[4:], ^uint32(0)) // in whatever state
	putID(r[8:], src, dst)
	putHeader(msg, unix.SOCK_DIAG_BY_FAMILY, unix.NLM_F_REQUEST)
	return msg
}

// putID fills struct inet_diag_sockid: ports, addresses, any interface, no cookie.
func putID(id []byte, src, dst netip.AddrPort) {
	binary.BigEndian.PutUint16(id[0:], src.Port())
	binary.BigEndian.PutUint16(id[2:], dst.Port())
	copy(id[4:20], src.Addr().AsSlice())
	copy(id[20:36], dst.Addr().AsSlice())
	binary.NativeEndian.PutUint64(id[40:], ^uint64(0))
}

// parseDiag gives the inode in an answer about the connection from src to dst.
func parseDiag(b []byte, src, dst netip.AddrPort) (uint32, error) {
	body, err := netlinkBody(b, unix.SOCK_DIAG_BY_FAMILY)
	if err != nil {
		return 0, err
	}
	if len(body) < sizeDiagAnswer {
		return 0, errors.New("diagnostic answer is too short")
	}
	if body[0] == unix.AF_INET6 && src.Addr().Is4() {
		// a socket of IPv6 speaking IPv4 is described by its mapped addresses
		src, dst = mappedAddr(src), mappedAddr(dst)
	}
	var id [48]byte
	putID(id[:], src, dst)
	// Without such a connection the kernel answers with a listener of the port.
	if body[1] == tcpListen || string(body[4:40]) != string(id[:36]) {
		return 0, errors.New("no such connection")
	}
	inode := binary.NativeEndian.Uint32(body[68:])
	if inode == 0 {
		return 0, errors.New("nobody holds the socket any more")
	}
	return inode, nil
}

func mappedAddr(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
}

func (o *owners) inode(src, dst netip.AddrPort) (uint32, error) {
	if src.Addr().Is4() != dst.Addr().Is4() || !src.IsValid() || !dst.IsValid() {
		return 0, errors.New("not the addresses of one connection")
	}
	var answer []byte
	raw, err := o.diag.SyscallConn()
	if err != nil {
		return 0, err
	}
	cerr := raw.Control(func(fd uintptr) { answer, err = exchange(int(fd), diagRequest(src, dst)) })
	if err := errors.Join(cerr, err); err != nil {
		return 0, err
	}
	return parseDiag(answer, src, dst)
}

var errManyHolders = errors.New("programs of different paths hold the socket")

// holder finds the one program whose processes hold a socket. Threads are asked
// one by one, because a thread may have descriptors of its own.
func (o *owners) holder(inode uint32) (Program, error) {
	want := "socket:[" + strconv.FormatUint(uint64(inode), 10) + "]"
	proc := int(o.proc.Fd())
	tasks, err := tasks(proc)
	if err != nil {
		return Program{}, err
	}
	var found Program
	links := maxHolderLinks
	for _, t := range tasks {
		holds, err := holdsLink(proc, t.dir+"/fd", want, &links)
		if hasEnded(err) || err == nil && !holds {
			continue
		}
		if err != nil {
			return Program{}, err
		}
		exe, err := readlinkAt(proc, t.dir+"/exe")
		if err != nil {
			return Program{}, err
		}
		if found.Pid == 0 {
			found = Program{Pid: t.pid, Exe: exe, Args0: args0(proc, t.dir)}
		}
		if found.Exe != exe {
			return Program{}, errManyHolders
		}
	}
	if found.Pid == 0 {
		return found, errors.New("nobody inside holds the socket")
	}
	return found, nil
}

// task is one thread inside.
type task struct {
	pid int
	dir string // of it, beneath /proc
}

func tasks(proc int) ([]task, error) {
	pids, err := numbers(proc, ".")
	if err != nil {
		return nil, err
	}
	var out []task
	for _, pid := range pids {
		n, err := strconv.Atoi(pid)
		if err != nil || n == 1 {
			continue // 1 is the stage, which no payload can be or give a descriptor to
		}
		tids, err := numbers(proc, pid+"/task")
		if err != nil && !hasEnded(err) {
			return nil, err
		}
		for _, tid := range tids {
			out = append(out, task{n, pid + "/task/" + tid})
		}
	}
	return out, nil
}

// hasEnded reports whether a process or thread ended while it was looked at.
func hasEnded(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) }

func holdsLink(proc int, dir, want string, links *int) (bool, error) {
	fd, err := openDir(proc, dir)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	names, err := numbersIn(fd)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if *links--; *links < 0 {
			return false, errors.New("too many descriptors to look at")
		}
		if l, err := readlinkAt(fd, n); err == nil && l == want {
			return true, nil
		} else if err != nil && !hasEnded(err) {
			return false, err
		}
	}
	return false, nil
}

func openDir(at int, dir string) (int, error) {
	return unix.Openat(at, dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// numbers lists the entries of a directory of /proc whose names are numbers.
func numbers(proc int, dir string) ([]string, error) {
	fd, err := openDir(proc, dir)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return numbersIn(fd)
}

func numbersIn(fd int) ([]string, error) {
	var names []string
	buf := make([]byte, 8<<10)
	for {
		n, err := unix.ReadDirent(fd, buf)
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		_, _, names = unix.ParseDirent(buf[:n], -1, names)
	}
	return slices.DeleteFunc(names, func(n string) bool { return n[0] < '0' || n[0] > '9' }), nil
}

func readlinkAt(dir int, path string) (string, error) {
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(dir, path, buf[:])
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func args0(proc int, task string) string {
	fd, err := unix.Openat(proc, task+"/cmdline", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	buf := make([]byte, 4096)
	n, err := unix.Read(fd, buf)
	if err != nil || n <= 0 {
		return ""
	}
	first, _, _ := strings.Cut(string(buf[:n]), "\x00")
	return first
}
