package collect

import (
	"bufio"
	"context"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// listener is one socket that waits for peers.
type listener struct {
	proto, state string
	addr         netip.Addr
	port         uint16
	uid, inode   string
}

// owner is the process that holds a socket.
type owner struct{ pid, exe, name string }

const maxProcs = 20000 // processes whose descriptors are looked at

func sockets(ctx context.Context, h host) fact {
	var all []listener
	read := 0
	for _, p := range []string{"tcp", "tcp6", "udp", "udp6"} {
		f, err := os.Open(h.path("/proc/net/" + p))
		if err != nil {
			continue
		}
		read++
		all = append(all, parseNet(p, bufio.NewScanner(f))...)
		_ = f.Close() // read only
	}
	if read == 0 {
		why := "no table below /proc/net could be read"
		return fact{states: []State{{"sockets", StateUnreadable, why}, {"owners", StateUnreadable, why}}}
	}
	owners, closed := socketOwners(ctx, h)
	var r rows
	unknown := 0
	for _, l := range all {
		o := owners[l.inode]
		if o.pid == "" {
			unknown++
		}
		r.add(l.proto, l.addr.String(), strconv.Itoa(int(l.port)), l.state, l.uid, o.pid, o.exe, o.name)
	}
	own := State{"owners", StateOK, ""}
	if unknown > 0 && closed > 0 {
		own = State{"owners", StatePartial, strconv.Itoa(unknown) + " sockets belong to processes this user may not look into"}
	}
	return fact{"sockets.tsv", []byte(r.b.String()), []State{r.state("sockets"), own}}
}

// parseNet reads a /proc/net table and keeps listening TCP and unconnected UDP.
func parseNet(proto string, sc *bufio.Scanner) []listener {
	var out []listener
	for sc.Scan() && len(out) < 10000 {
		f := strings.Fields(sc.Text())
		if len(f) < 10 || f[0] == "sl" {
			continue
		}
		var state string
		switch {
		case strings.HasPrefix(proto, "tcp") && f[3] == "0A":
			state = "LISTEN"
		case strings.HasPrefix(proto, "udp") && f[3] == "07":
			state = "UNCONN"
		default:
			continue
		}
		addr, port, ok := parseAddr(f[1])
		if !ok {
			continue
		}
		out = append(out, listener{proto, state, addr, port, digits(f[7]), digits(f[9])})
	}
	return out
}

// parseAddr reads "0100007F:1F90": 32-bit words in the machine's byte order,
// which is little-endian on every architecture this runs on.
func parseAddr(s string) (netip.Addr, uint16, bool) {
	host, port, ok := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if !ok || err != nil || perr != nil || (len(raw) != 4 && len(raw) != 16) {
		return netip.Addr{}, 0, false
	}
	for i := 0; i < len(raw); i += 4 {
		raw[i], raw[i+1], raw[i+2], raw[i+3] = raw[i+3], raw[i+2], raw[i+1], raw[i]
	}
	a, ok := netip.AddrFromSlice(raw)
	return a, uint16(p), ok
}

func digits(s string) string {
	if _, err := strconv.ParseUint(s, 10, 64); err != nil {
		return ""
	}
	return s
}

// socketOwners maps socket inodes to processes, and counts the processes whose
// descriptors are closed to this user.
func socketOwners(ctx context.Context, h host) (map[string]owner, int) {
	found, closed := map[string]owner{}, 0
	dirs, err := os.ReadDir(h.path("/proc"))
	if err != nil {
		return found, 1
	}
	for i, d := range dirs {
		if digits(d.Name()) == "" || i > maxProcs || ctx.Err() != nil {
			continue
		}
		base := h.path("/proc/" + d.Name())
		fds, err := os.ReadDir(filepath.Join(base, "fd"))
		if err != nil {
			if os.IsPermission(err) {
				closed++
			}
			continue
		}
		var o owner
		for _, fd := range fds {
			link, err := os.Readlink(filepath.Join(base, "fd", fd.Name()))
			inode, isSocket := strings.CutPrefix(link, "socket:[")
			if err != nil || !isSocket {
				continue
			}
			if o.pid == "" {
				o.pid = d.Name()
				o.exe, _ = os.Readlink(filepath.Join(base, "exe")) // "" for kernel threads
				comm, _ := os.ReadFile(filepath.Join(base, "comm"))
				o.name = strings.TrimSpace(string(comm))
			}
			found[strings.TrimSuffix(inode, "]")] = o
		}
	}
	return found, closed
}

// unixSockets lists listening sockets of container engines and key agents.
func unixSockets(_ context.Context, h host) fact {
	paths := []string{"/run/docker.sock", "/var/run/docker.sock", "/run/containerd/containerd.sock", "/run/podman/podman.sock", "/run/crio/crio.sock"}
	f, err := os.Open(h.path("/proc/net/unix"))
	if err != nil {
		return fact{states: []State{{"unix", StateUnreadable, "/proc/net/unix could not be read"}}}
	}
	defer func() { _ = f.Close() }() // read only
	for sc := bufio.NewScanner(f); sc.Scan(); {
		c := strings.Fields(sc.Text())
		if len(c) >= 8 && strings.HasPrefix(c[7], "/") && c[3] == "00010000" && agentSocket(c[7]) {
			paths = append(paths, c[7])
		}
	}
	var r rows
	seen := map[string]bool{}
	for _, p := range paths {
		target, err := filepath.EvalSymlinks(h.path(p))
		if err != nil || seen[target] {
			if os.IsPermission(err) {
				r.partial = "some socket folders are closed to this user"
			}
			continue
		}
		seen[target] = true
		st, err := os.Stat(target)
		if err != nil || st.Mode()&os.ModeSocket == 0 {
			continue
		}
		u, g := ids(st)
		r.add(p, octal(st.Mode()), h.userName(u), h.groupName(g))
	}
	return fact{"unix.tsv", []byte(r.b.String()), []State{r.state("unix")}}
}

func agentSocket(p string) bool {
	for _, part := range []string{"docker", "containerd", "podman", "crio", "agent"} {
		if strings.Contains(p, part) {
			return true
		}
	}
	return false
}

func ids(st os.FileInfo) (uid, gid string) {
	if s, ok := st.Sys().(*syscall.Stat_t); ok {
		return strconv.Itoa(int(s.Uid)), strconv.Itoa(int(s.Gid))
	}
	return "", ""
}

// userName and groupName look a number up in the host's own files, so that the
// answer is the host's and not the machine's that runs this.
func (h host) userName(uid string) string  { return h.nameOf("/etc/passwd", uid) }
func (h host) groupName(gid string) string { return h.nameOf("/etc/group", gid) }

func (h host) nameOf(file, id string) string {
	b, _ := readBounded(h.path(file), maxFile) // unreadable: the number stands for itself
	for line := range strings.SplitSeq(string(b), "\n") {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == id {
			return f[0]
		}
	}
	return id
}
