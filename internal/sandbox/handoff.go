package sandbox

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"sallyport/internal/fault"
)

// ProxyPort is the port of 127.0.0.1 (and ::1) inside at which cooperative
// clients reach the supervisor's TCP listener. It is a constant because the
// payload's environment, which names it, is composed before the start; and
// below the ephemeral range, so that no outgoing connection takes it.
const ProxyPort = 17080

// resolverAddr is the name server of a handed-over network.
var resolverAddr = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// fixedPorts are the ports that answer where the firewall's language is refused.
var fixedPorts = []uint16{22, 80, 443}

// Handoff is what the supervisor serves on behalf of the payload: listeners
// made inside its network namespace, where every address is local and nothing
// leads out. What is not accepted here does not leave the machine. The
// listeners are closed when the sandbox ends; closing one earlier makes that
// part of the network refuse connections.
type Handoff struct {
	TCP         []net.Listener   // every TCP connection of the payload that leaves its own loopback, and those to Proxy
	DNS         []net.PacketConn // its questions over UDP
	DNSTCP      []net.Listener   // its questions over TCP
	Transparent bool             // every port arrives; otherwise Ports only, and questions at Resolver only
	Ports       []uint16         // the ports that arrive when Transparent is false
	Proxy       netip.AddrPort   // address inside at which TCP is reached by cooperative clients (HTTPS_PROXY and the like)
	Resolver    netip.Addr       // what /etc/resolv.conf inside names
}

// OriginalDst is the address the payload asked for when it made the connection
// c, which a listener of Handoff.TCP accepted. It is false for a connection to
// a loopback address: only the proxy port answers there (and, without the
// transparent mode, the fixed ports), so the client speaks a proxy's protocol
// and names its destination itself.
func OriginalDst(c net.Conn) (netip.AddrPort, bool) {
	dst := addrPort(c.LocalAddr())
	if !dst.IsValid() || dst.Addr().IsLoopback() {
		return netip.AddrPort{}, false
	}
	return dst, true
}

// addrPort is a TCP or UDP address in its short form, or the zero value.
func addrPort(a net.Addr) netip.AddrPort {
	v, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	ap := v.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// Program is what is known of the program that made a connection. It may be
// recorded and may narrow what is allowed; it must not widen it: the program at
// /usr/bin/git can be made to run anybody's code by its environment, its
// configuration or a socket it was born with.
type Program struct {
	Pid   int    // number inside the sandbox, of one of its holders
	Exe   string // path of the executable as seen inside; ends in " (deleted)" when it no longer is there
	Args0 string // the name it was called by, at most 4 KiB: its own choice, for display only
}

// checkNetwork checks what a Spec says about connections.
func (s Spec) checkNetwork(op string) (Spec, error) {
	if s.View != ViewWorkspace && (s.Network != NetworkNone || len(s.Sockets) > 0 || s.LocalSockets) {
		return s, fault.New(op, fault.Usage, "the auditor view has no connections of its own; leave out network and sockets or use the workspace view")
	}
	switch s.Network {
	case NetworkNone:
	case NetworkHandoff:
		// In a weaker tier there is no network namespace to hand over: refused
		// here, so that nobody takes silence for an outage.
		s.MinTier = TierFull
	default:
		return s, fault.New(op, fault.Usage, "the sandbox network %d does not exist; use none or hand-off", int(s.Network))
	}
	sockets := make([]string, 0, len(s.Sockets))
	for _, p := range s.Sockets {
		if !filepath.IsAbs(p) {
			return s, fault.New(op, fault.Usage, "the socket %q is not an absolute path; give the whole path", p)
		}
		p = filepath.Clean(p)
		if underAny(p, "/proc", "/sys", "/dev") {
			return s, fault.New(op, fault.Usage, "the socket %q lies in a directory the sandbox makes itself; use one elsewhere", p)
		}
		fi, err := os.Stat(p)
		if err != nil {
			return s, fault.New(op, fault.Usage, "the socket %q cannot be shown in the sandbox (%v); start its server or leave it out", p, err)
		}
		if fi.Mode()&os.ModeSocket == 0 {
			return s, fault.New(op, fault.Usage, "%q is not a socket; name a socket file or leave it out", p)
		}
		sockets = append(sockets, p)
	}
	s.Sockets = sockets
	if len(sockets) > 0 {
		s.MinTier = TierFull // where there are no mounts, all sockets would be in sight
	}
	return s, nil
}
