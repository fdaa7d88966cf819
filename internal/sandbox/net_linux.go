package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// handoffWire says in what order the descriptors of a handed-over network
// travel: TCP, DNS and DNSTCP listeners, the view's /proc, and last, if there
// is one, the socket that names a connection's owner.
type handoffWire struct {
	Transparent       bool
	Ports             []uint16
	TCP, DNS, DNSTCP  int
	Proc, Diag        bool
	descriptorsInside []int // of the stage
}

// network makes what the payload's connections meet, in the still empty network
// namespace, and gives it away: afterwards no process inside holds any of it.
func (s *stage) network() error {
	s.achieved("net-namespace", "empty but for its loopback")
	if s.c.Spec.Network != NetworkHandoff {
		return nil
	}
	w := &handoffWire{}
	defer func() {
		for _, fd := range w.descriptorsInside {
			unix.Close(fd)
		}
	}()
	v6, err := everyAddressLocal()
	if err != nil {
		return step("net-namespace", err)
	}
	if err := s.listeners(w, v6); err != nil {
		return step("net-namespace", err)
	}
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return step("net-namespace", fmt.Errorf("open /proc: %w", err))
	}
	w.add(proc)
	w.Proc = true
	if diag, err := openDiag(); err != nil {
		s.notes = append(s.notes, fmt.Sprintf("Which program made a connection cannot be told: the kernel does not name the owner of a socket (%v).", err))
	} else {
		w.add(diag)
		w.Diag = true
	}
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	return sendPacket(s.ctl, event{Ev: evHandoff, Handoff: w}, w.descriptorsInside...)
}

func (w *handoffWire) add(fd int) { w.descriptorsInside = append(w.descriptorsInside, fd) }

// listeners makes all listeners of the network, with the diverting table where
// the kernel takes it and at fixed ports where it does not.
func (s *stage) listeners(w *handoffWire, v6 bool) error {
	loop := []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
	wild := []netip.Addr{netip.IPv4Unspecified()}
	if v6 {
		loop, wild = append(loop, netip.IPv6Loopback()), append(wild, netip.IPv6Unspecified())
	}
	err := errors.New("switched off")
	if !s.c.NoDivert {
		err = divert()
	}
	if err == nil {
		w.Transparent = true
		s.achieved("nft", "every TCP port is diverted to the supervisor")
	} else {
		se := asStep(step("nft", err))
		s.done = append(s.done, se.primitive())
		s.notes = append(s.notes, "Only connections to the ports 22, 80 and 443, to the proxy port and to the name server of /etc/resolv.conf arrive; other ports are refused, because the kernel takes no nftables rules here.")
		w.Ports = fixedPorts
	}
	var tcp []netip.AddrPort
	for _, a := range loop {
		tcp = append(tcp, netip.AddrPortFrom(a, ProxyPort))
	}
	for _, a := range wild {
		for _, p := range w.Ports {
			tcp = append(tcp, netip.AddrPortFrom(a, p))
		}
	}
	for _, a := range tcp {
		if err := w.listen(unix.SOCK_STREAM, a, &w.TCP); err != nil {
			return err
		}
	}
	// bound to the loopback: an answer must not leave with another source
	questions := []uint16{dnsPort}
	if w.Transparent {
		questions = append(questions, translatedPort)
	}
	for _, a := range loop {
		for _, p := range questions {
			if err := w.listen(unix.SOCK_DGRAM, netip.AddrPortFrom(a, p), &w.DNS); err != nil {
				return err
			}
		}
	}
	for _, a := range loop {
		if err := w.listen(unix.SOCK_STREAM, netip.AddrPortFrom(a, dnsPort), &w.DNSTCP); err != nil {
			return err
		}
	}
	if !w.Transparent {
		return nil
	}
	return step("nft", tryDivert(w.descriptorsInside[:w.TCP]))
}

// listen makes one socket of this kind at this address and counts it.
func (w *handoffWire) listen(kind int, at netip.AddrPort, n *int) error {
	family, sa := sockaddr(at)
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("socket for %s: %w", at, err)
	}
	w.add(fd)
	*n++
	if family == unix.AF_INET6 {
		if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
			return fmt.Errorf("socket for %s: %w", at, err)
		}
	}
	if kind == unix.SOCK_STREAM && w.Transparent {
		// a diverted connection is accepted with an address that is not bound
		level, option := unix.SOL_IP, unix.IP_TRANSPARENT
		if family == unix.AF_INET6 {
			level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return fmt.Errorf("socket for %s: %w", at, err)
		}
	}
	if err := unix.Bind(fd, sa); err != nil {
		return fmt.Errorf("bind %s: %w", at, err)
	}
	if kind == unix.SOCK_STREAM {
		if err := unix.Listen(fd, 4096); err != nil { // the kernel lowers it to net.core.somaxconn
			return fmt.Errorf("listen %s: %w", at, err)
		}
	}
	return nil
}

func sockaddr(at netip.AddrPort) (family int, sa unix.Sockaddr) {
	if at.Addr().Is4() {
		return unix.AF_INET, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}
	}
	return unix.AF_INET6, &unix.SockaddrInet6{Port: int(at.Port()), Addr: at.Addr().As16()}
}

func addressOf(sa unix.Sockaddr) netip.AddrPort {
	switch v := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(v.Addr), uint16(v.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(v.Addr), uint16(v.Port))
	}
	return netip.AddrPort{}
}

// tryDivert makes one connection of each family to an address of the
// documentation ranges: that the kernel took the rules says less than that one
// connection arrived with the address it asked for.
func tryDivert(tcp []int) error {
	for i, dst := range []string{"192.0.2.1:9", "[2001:db8::1]:9"}[:len(tcp)] {
		if err := arrives(tcp[i], netip.MustParseAddrPort(dst)); err != nil {
			return fmt.Errorf("divert %s: %w", dst, err)
		}
	}
	return nil
}

func arrives(listener int, dst netip.AddrPort) error {
	family, sa := sockaddr(dst)
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 2}); err != nil {
		return err
	}
	err = unix.Connect(fd, sa)
	for err == unix.EINTR {
		// the runtime's own signals; with a time limit the kernel does not resume
		err = unix.Connect(fd, sa)
	}
	if err != nil {
		return err
	}
	got, _, err := unix.Accept4(listener, unix.SOCK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(got)
	at, err := unix.Getsockname(got)
	if err != nil {
		return err
	}
	if got := addressOf(at); got != dst {
		return fmt.Errorf("arrived as %s", got)
	}
	// a reset, so that nothing of it waits in the namespace
	return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// loopbackIndex is the interface number of lo in every network namespace.
const loopbackIndex = 1

// The addresses a payload connects from, which no other machine has: resolvers
// ask for a family's addresses only where an interface has one of it that is
// not a loopback address. 192.0.0.4 lies in the range of RFC 7335.
var (
	ownAddr4 = netip.AddrFrom4([4]byte{192, 0, 0, 4})
	ownAddr6 = netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x5a, 2: 0x11, 15: 4})
)

// everyAddressLocal makes every IPv4 and IPv6 address one of this machine's, as
// it looks from this network namespace. It reports whether there is IPv6.
func everyAddressLocal() (v6 bool, err error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return false, fmt.Errorf("netlink socket: %w", err)
	}
	defer unix.Close(fd)
	if err := errors.Join(ownAddress(fd, ownAddr4), localDefault(fd, ownAddr4)); err != nil {
		return false, err
	}
	probe, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, nil //nolint:nilerr // a kernel without IPv6: the payload has none either
	}
	defer unix.Close(probe)
	if err := unix.Bind(probe, &unix.SockaddrInet6{Addr: netip.IPv6Loopback().As16()}); err != nil {
		return false, nil //nolint:nilerr // IPv6 switched off: no address can be reached
	}
	return true, errors.Join(ownAddress(fd, ownAddr6), localDefault(fd, ownAddr6))
}

// ownAddress gives lo an address.
func ownAddress(fd int, a netip.Addr) error {
	msg := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfAddrmsg)
	ifa := msg[unix.SizeofNlMsghdr:]
	// not to be looked for elsewhere first: until then no route could name it
	ifa[0], ifa[1], ifa[2] = familyOf(a), uint8(a.BitLen()), unix.IFA_F_NODAD
	binary.NativeEndian.PutUint32(ifa[4:], loopbackIndex)
	msg = appendAttr(msg, unix.IFA_LOCAL, a.AsSlice())
	msg = appendAttr(msg, unix.IFA_ADDRESS, a.AsSlice())
	if err := acknowledged(fd, msg, unix.RTM_NEWADDR); err != nil {
		return fmt.Errorf("add address %s: %w", a, err)
	}
	return nil
}

// localDefault adds "local default dev lo src a" for the family of a.
func localDefault(fd int, a netip.Addr) error {
	msg := make([]byte, unix.SizeofNlMsghdr+unix.SizeofRtMsg)
	rt := msg[unix.SizeofNlMsghdr:]
	rt[0], rt[4], rt[5], rt[7] = familyOf(a), unix.RT_TABLE_LOCAL, unix.RTPROT_STATIC, unix.RTN_LOCAL
	if a.Is4() {
		rt[6] = unix.RT_SCOPE_HOST
	}
	msg = appendAttr(msg, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, loopbackIndex))
	msg = appendAttr(msg, unix.RTA_PREFSRC, a.AsSlice())
	if err := acknowledged(fd, msg, unix.RTM_NEWROUTE); err != nil {
		return fmt.Errorf("add local default route from %s: %w", a, err)
	}
	return nil
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// appendAttr adds a netlink attribute whose value fills whole words.
func appendAttr(msg []byte, kind uint16, value []byte) []byte {
	msg = binary.NativeEndian.AppendUint16(msg, uint16(unix.SizeofRtAttr+len(value)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	return append(msg, value...)
}

// acknowledged makes a request that creates something and reads its errno.
func acknowledged(fd int, msg []byte, kind uint16) error {
	putHeader(msg, kind, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	answer, err := exchange(fd, msg)
	if err != nil {
		return err
	}
	_, err = netlinkBody(answer, unix.NLMSG_ERROR)
	return err
}

func putHeader(msg []byte, kind, flags uint16) {
	binary.NativeEndian.PutUint32(msg[0:], uint32(len(msg)))
	binary.NativeEndian.PutUint16(msg[4:], kind)
	binary.NativeEndian.PutUint16(msg[6:], flags)
}

// exchange sends one netlink request and reads the answer, which the kernel has
// queued by the time the request is sent.
func exchange(fd int, msg []byte) ([]byte, error) {
	if err := unix.Sendto(fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, fmt.Errorf("netlink send: %w", err)
	}
	buf := make([]byte, 4096)
	n, from, err := unix.Recvfrom(fd, buf, unix.MSG_DONTWAIT)
	if err != nil {
		return nil, fmt.Errorf("netlink receive: %w", err)
	}
	if nl, ok := from.(*unix.SockaddrNetlink); !ok || nl.Pid != 0 {
		return nil, errors.New("netlink receive: not from the kernel")
	}
	return buf[:n], nil
}

// netlinkBody is the content of an answer of the kind wanted. An error message
// of the kernel becomes its errno; an acknowledgement has no content.
func netlinkBody(b []byte, want uint16) ([]byte, error) {
	if len(b) < unix.SizeofNlMsghdr {
		return nil, errors.New("netlink answer is too short")
	}
	n, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
	if n < unix.SizeofNlMsghdr || n > len(b) {
		return nil, fmt.Errorf("netlink answer of %d bytes says %d", len(b), n)
	}
	body := b[unix.SizeofNlMsghdr:n]
	if kind == unix.NLMSG_ERROR {
		if len(body) < 4 {
			return nil, errors.New("netlink answer is too short")
		}
		if no := int32(binary.NativeEndian.Uint32(body)); no != 0 {
			return nil, syscall.Errno(-no)
		}
		body = nil
	}
	if kind != want {
		return nil, fmt.Errorf("netlink answer is of kind %d, not %d", kind, want)
	}
	return body, nil
}

// networkFiles makes the names of a handed-over network resolve: by the name
// server that the supervisor is, and by nothing of the host's. Files that the
// Spec gives are left alone.
func (m *mounter) networkFiles() error {
	if m.c.Spec.Network != NetworkHandoff {
		return nil
	}
	nsswitch, err := os.ReadFile("/etc/nsswitch.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("name service: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "localhost"
	}
	for _, f := range []File{
		{Path: "/etc/resolv.conf", Content: []byte("nameserver " + resolverAddr.String() + "\noptions edns0\n")},
		{Path: "/etc/nsswitch.conf", Content: hostsByDNS(nsswitch)},
		{Path: "/etc/hosts", Content: []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + name + "\n")},
	} {
		if slices.ContainsFunc(m.c.Spec.Files, func(own File) bool { return own.Path == f.Path }) {
			continue
		}
		// the host's file may be mounted here; below it lies a file of the
		// view's own root
		if err := unix.Unmount(f.Path, unix.MNT_DETACH); err != nil && err != unix.EINVAL && err != unix.ENOENT {
			return fmt.Errorf("uncover %s: %w", f.Path, err)
		}
		if err := os.WriteFile(f.Path, f.Content, 0o644); err != nil { //nolint:gosec // to be read by the payload's user
			return fmt.Errorf("name service: %w", err)
		}
	}
	return nil
}

// hostsByDNS is a name service configuration whose host names come from files
// and DNS alone; everything else stays.
func hostsByDNS(b []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(b)) {
		if key, _, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && strings.TrimSpace(key) == "hosts" {
			continue
		}
		out.WriteString(strings.TrimRight(line, "\n") + "\n")
	}
	out.WriteString("hosts: files dns\n")
	return out.Bytes()
}
