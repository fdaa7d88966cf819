package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// A payload that may make AF_UNIX sockets can connect to whatever socket file
// it sees and may write to. So it sees those of the Spec and no others: what
// lies in a directory shown directly is covered. Behind copy-on-write no cover
// is needed: the kernel finds a listener by the file itself, and what an overlay
// shows is another file.

// socketMount is one socket file of the host and where it appears.
type socketMount struct{ Host, View string }

// socketKey names a socket among the supervisor's id-mapped mounts.
func socketKey(host string) string { return "socket:" + host }

// unixSockets reports whether the payload may make AF_UNIX stream sockets. In
// a tier without mounts every socket of the host would be in sight.
func (c *stageConfig) unixSockets() bool {
	return c.Tier == TierFull && c.Spec.View == ViewWorkspace && (c.Spec.LocalSockets || len(c.Spec.Sockets) > 0)
}

// grantSockets resolves the Spec's sockets and, as root, gives their owner's
// right to connect to the payload. It also finds out what host programs listen
// at, which a search for files might not reach.
func (sb *Sandbox) grantSockets(conf *stageConfig) ([]string, error) {
	if !conf.unixSockets() {
		return nil, nil
	}
	var ids idmapper
	defer ids.close()
	var notes []string
	for _, view := range conf.Spec.Sockets {
		host, err := filepath.EvalSymlinks(view)
		if err != nil {
			return nil, refuseSocket(view, err)
		}
		conf.Sockets = append(conf.Sockets, socketMount{Host: host, View: view})
		if !conf.Root {
			continue
		}
		f, err := ids.tree(host, false)
		if err != nil {
			notes = append(notes, fmt.Sprintf("The socket %s can be used only as far as other users may, because it cannot be id-mapped (%v).", view, err))
			continue
		}
		sb.passTree(conf, socketKey(host), f)
	}
	table, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		notes = append(notes, fmt.Sprintf("Sockets that host programs listen at are found by a search for files only, because the kernel's list of them cannot be read (%v).", err))
	}
	for _, p := range listeningPaths(table) {
		if view := conf.viewOf(p); view != "" {
			conf.HostSockets = append(conf.HostSockets, view)
		}
	}
	if len(conf.directTrees()) > 0 {
		notes = append(notes, "A Unix socket that a host program makes after the start in a directory shown directly, not copy-on-write, can be connected to, and host programs can connect to sockets the payload makes there.")
	}
	return notes, nil
}

// viewOf is where a host path is shown directly, or empty.
func (c *stageConfig) viewOf(host string) string {
	if p, err := filepath.EvalSymlinks(host); err == nil {
		host = p
	}
	for _, m := range slices.Backward(c.Spec.Mounts) { // the inner ones come last
		if beneath(host, m.Host) {
			return filepath.Join(m.View, strings.TrimPrefix(host, m.Host))
		}
	}
	if underAny(host, c.Spec.writable()...) || underAny(host, systemDirs...) {
		return host
	}
	return ""
}

// directTrees are the view's paths at which the host's own files are shown,
// but for the system's directories.
func (c *stageConfig) directTrees() []string {
	var out []string
	for _, p := range c.Spec.writable() {
		if c.Spec.overlayAt(p) < 0 {
			out = append(out, p)
		}
	}
	for _, m := range c.Spec.Mounts {
		out = append(out, m.View)
	}
	return out
}

// listeningPaths reads the names of sockets in the format of /proc/net/unix:
// seven columns, then the name if there is one. Abstract names begin with @.
func listeningPaths(table []byte) []string {
	var out []string
	for line := range strings.Lines(string(table)) {
		rest, ok := strings.TrimRight(line, "\n"), true
		for range 7 {
			rest = strings.TrimLeft(rest, " ")
			if _, rest, ok = strings.Cut(rest, " "); !ok {
				break
			}
		}
		if ok && strings.HasPrefix(rest, "/") {
			out = append(out, filepath.Clean(rest))
		}
	}
	return out
}

// collectSockets opens the Spec's sockets before the host's tree is left.
func (m *mounter) collectSockets(s *sources) error {
	for _, sm := range m.c.Sockets {
		tree, ok := m.c.Mounts[socketKey(sm.Host)]
		if !ok {
			var err error
			if tree, err = cloneTree(sm.Host, rwFlags); err != nil {
				return refuseSocket(sm.View, err)
			}
		}
		var st unix.Stat_t
		if err := unix.Fstat(tree, &st); err != nil {
			return refuseSocket(sm.View, err)
		}
		if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
			return refuseSocket(sm.View, errors.New("it is no socket any more"))
		}
		s.sockets = append(s.sockets, tree)
	}
	return nil
}

// placeSockets shows the Spec's sockets and covers all others.
func (m *mounter) placeSockets(src *sources) error {
	if !m.c.unixSockets() {
		return nil
	}
	listed := map[string]bool{}
	for i, sm := range m.c.Sockets {
		at := resolveInView(sm.View)
		if fi, err := os.Lstat(at); err == nil && fi.Mode()&os.ModeSymlink != 0 {
			at = sm.Host // a link whose target is not in the view yet
		}
		_, err := os.Lstat(at)
		switch {
		case err == nil:
			err = attach(src.sockets[i], at)
		case underAny(at, m.c.directTrees()...):
			// nothing is made on the host
		default:
			err = m.place(src.sockets[i], at)
		}
		if err != nil {
			return refuseSocket(sm.View, err)
		}
		listed[at] = true
	}
	found := append([]string(nil), m.c.HostSockets...)
	budget := socketSearchEntries
	for _, dir := range m.c.directTrees() {
		found = append(found, findSockets(dir, &budget)...)
	}
	if budget <= 0 {
		m.notes = append(m.notes, fmt.Sprintf("The search for Unix sockets of host programs ended after %d files: one beyond that, whose program was not listening at the start, is not covered.", socketSearchEntries))
	}
	for _, p := range found {
		if listed[p] {
			continue
		}
		if err := m.coverSocket(p); err != nil {
			return fmt.Errorf("cover socket %s: %w", p, err)
		}
	}
	return nil
}

// socketSearchEntries bounds the search for socket files: directory entries of
// all trees together, about a tenth of a second.
const socketSearchEntries = 200000

// findSockets lists the socket files at and beneath path, without following links.
func findSockets(path string, budget *int) []string {
	fi, err := os.Lstat(path)
	if err != nil {
		return nil
	}
	if fi.Mode()&os.ModeSocket != 0 {
		return []string{path}
	}
	if !fi.IsDir() {
		return nil
	}
	var found []string
	dirs := []string{path}
	for len(dirs) > 0 && *budget > 0 {
		dir := dirs[len(dirs)-1]
		dirs = dirs[:len(dirs)-1]
		f, err := os.Open(dir)
		if err != nil {
			continue // not for this user; what listens there is known otherwise
		}
		entries, _ := f.ReadDir(-1)
		f.Close()
		*budget -= len(entries)
		for _, e := range entries {
			switch {
			case e.IsDir():
				dirs = append(dirs, filepath.Join(dir, e.Name()))
			case e.Type()&os.ModeSocket != 0:
				found = append(found, filepath.Join(dir, e.Name()))
			}
		}
	}
	return found
}

// coverSocket puts an empty file nobody may open over a socket.
func (m *mounter) coverSocket(path string) error {
	fd, err := openPath(path)
	if err != nil {
		return nil //nolint:nilerr // gone, or behind a link that is not in the view
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return err
	}
	m.seq++
	blank := fmt.Sprintf("%s/socket%d", stageDir, m.seq)
	if err := os.WriteFile(blank, nil, 0); err != nil {
		return err
	}
	tree, err := cloneTree(blank, roFlags)
	if err != nil {
		return err
	}
	return attach(tree, path)
}

func refuseSocket(view string, err error) error {
	return &stepError{Primitive: "sockets", Detail: err.Error(), Usage: fmt.Sprintf(
		"the socket %s cannot be shown in the sandbox (%v); start its server, or leave it out", view, err)}
}
