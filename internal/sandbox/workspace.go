package sandbox

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/fault"
)

// PayloadUID is the user and group id a payload runs as when the supervisor is
// root. It lies in a range no distribution, container manager or systemd
// allocates from (1879048192-2147483647), so no host file belongs to it.
const PayloadUID = 1900000001

// Bounds of Spec.Files.
const (
	maxFiles    = 64
	maxFileSize = 1 << 20
)

// ours are the parts of every view that the sandbox makes itself.
var ours = []string{"/proc", "/sys", "/dev", "/run/.stage"}

// resolveWorkspace checks what concerns the workspace view alone.
func (s Spec) resolveWorkspace(op string) (Spec, error) {
	if s.View != ViewWorkspace {
		if len(s.Mounts)+len(s.Files)+len(s.Overlays)+len(s.Pinned) > 0 {
			return s, fault.New(op, fault.Usage, "mounts, files, copy-on-write directories and protected paths belong to the workspace view; leave them out, or use that view")
		}
		return s, nil
	}
	for _, step := range []func(string) (Spec, error){
		func(op string) (Spec, error) { return s.resolveOverlays(op) },
		func(op string) (Spec, error) { return s.resolveMounts(op) },
		func(op string) (Spec, error) { return s.resolveFiles(op) },
		func(op string) (Spec, error) { return s.resolvePinned(op) },
	} {
		var err error
		if s, err = step(op); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (s Spec) resolveOverlays(op string) (Spec, error) {
	out := make([]Overlay, 0, len(s.Overlays))
	for _, o := range s.Overlays {
		dir, err := resolveDir(op, "copy-on-write directory", o.Dir)
		if err != nil {
			return s, err
		}
		store, err := resolveDir(op, "store of a copy-on-write directory", o.Store)
		if err != nil {
			return s, err
		}
		if fi, err := os.Stat(store); err != nil {
			return s, err
		} else if fi.Mode().Perm()&0o077 != 0 {
			return s, fault.New(op, fault.Usage, "the store %q is open to other users (mode %#o); make it private with mode 0700", store, fi.Mode().Perm())
		}
		for _, other := range out {
			if dir == other.Dir || beneath(store, other.Store) || beneath(other.Store, store) {
				return s, fault.New(op, fault.Usage, "two copy-on-write directories share a directory or a store (%q, %q); give each its own", dir, store)
			}
		}
		out = append(out, Overlay{Dir: dir, Store: store})
	}
	s.Overlays = out
	for _, o := range s.Overlays {
		for _, w := range s.writable() {
			if beneath(o.Store, w) || beneath(w, o.Store) {
				return s, fault.New(op, fault.Usage, "the store %q and the writable directory %q lie one in the other, so the sandbox could change its own record; move the store, or name a narrower directory", o.Store, w)
			}
		}
	}
	return s, nil
}

func (s Spec) resolveMounts(op string) (Spec, error) {
	out := make([]Mount, 0, len(s.Mounts))
	for _, m := range s.Mounts {
		host, err := resolve(op, "mount", m.Host)
		if m.Optional && fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return s, err
		}
		if underAny(host, "/proc", "/sys", "/dev") {
			return s, fault.New(op, fault.Usage, "the mount %q shows the kernel's own files of the host; name an ordinary directory", m.Host)
		}
		view := filepath.Clean(m.View)
		if m.View == "" {
			view = filepath.Clean(m.Host)
		}
		if err := checkView(op, "mount", view); err != nil {
			return s, err
		}
		if slices.ContainsFunc(out, func(o Mount) bool { return o.View == view }) {
			return s, fault.New(op, fault.Usage, "two mounts are to appear at %q; leave one out", view)
		}
		out = append(out, Mount{Host: host, View: view})
	}
	// outermost first, so that the inner one lies over the outer one
	slices.SortFunc(out, func(a, b Mount) int { return strings.Compare(a.View, b.View) })
	s.Mounts = out
	return s, nil
}

func checkView(op, what, view string) error {
	if !filepath.IsAbs(view) || view == "/" || underAny(view, ours...) || strings.ContainsRune(view, 0) {
		return fault.New(op, fault.Usage, "the %s %q cannot appear there; name an absolute path outside /proc, /sys and /dev", what, view)
	}
	return nil
}

func (s Spec) resolveFiles(op string) (Spec, error) {
	if len(s.Files) > maxFiles {
		return s, fault.New(op, fault.Usage, "%d files are to be made for the sandbox, at most %d are possible; put them into a directory and mount it", len(s.Files), maxFiles)
	}
	out := make([]File, 0, len(s.Files))
	for _, f := range s.Files {
		f.Path = filepath.Clean(f.Path)
		if err := checkView(op, "file", f.Path); err != nil {
			return s, err
		}
		if len(f.Content) > maxFileSize {
			return s, fault.New(op, fault.Usage, "the file %q has %d bytes, at most 1 MiB is possible; mount it instead", f.Path, len(f.Content))
		}
		if f.Mode == 0 {
			f.Mode = 0o444
		}
		if f.Mode&^0o777 != 0 {
			return s, fault.New(op, fault.Usage, "the file %q has the mode %#o; use permission bits only", f.Path, f.Mode)
		}
		if slices.ContainsFunc(out, func(o File) bool { return beneath(o.Path, f.Path) || beneath(f.Path, o.Path) }) {
			return s, fault.New(op, fault.Usage, "the file %q is named twice, or lies beneath another file; leave one out", f.Path)
		}
		out = append(out, f)
	}
	s.Files = out
	return s, nil
}

// resolvePinned makes pinned paths match the resolved writable directories:
// their own links, if any, are found by the stage, which cannot be fooled.
func (s Spec) resolvePinned(op string) (Spec, error) {
	out := make([]string, 0, len(s.Pinned))
	for _, p := range s.Pinned {
		if !filepath.IsAbs(p) {
			return s, fault.New(op, fault.Usage, "the protected path %q is not absolute; give the whole path", p)
		}
		p = filepath.Clean(p)
		p = s.fromWritable(p)
		if slices.Contains(s.writable(), p) {
			return s, fault.New(op, fault.Usage, "the protected path %q is a writable directory itself; leave it out of one of the two", p)
		}
		out = append(out, p)
	}
	slices.Sort(out)
	s.Pinned = slices.Compact(out)
	return s, nil
}

// fromWritable writes path as a writable directory and what follows it. Links
// on the way to that directory are the operator's and resolved; a link inside
// it may be the agent's and must not decide what is protected.
func (s Spec) fromWritable(path string) string {
	roots := s.writable()
	for p, rest := path, ""; p != "/"; p, rest = filepath.Dir(p), filepath.Join(filepath.Base(p), rest) {
		if target, err := filepath.EvalSymlinks(p); err == nil && slices.Contains(roots, target) {
			return filepath.Join(target, rest)
		}
	}
	return path
}

// writable lists the directories that stay writable, outermost first. One that
// lies in another is left out unless one of the two is copy-on-write.
func (s Spec) writable() []string {
	var direct []string
	for _, p := range append([]string{s.Home, s.Workdir}, s.Writable...) {
		if p != "" && (p != s.Workdir || s.View == ViewWorkspace) && s.overlayAt(p) < 0 {
			direct = append(direct, p)
		}
	}
	all := make([]string, 0, len(s.Overlays)+len(direct))
	for _, o := range s.Overlays {
		all = append(all, o.Dir)
	}
	slices.Sort(direct)
	for _, p := range direct {
		if in := innermost(p, all); in == "" || s.overlayAt(in) >= 0 {
			all = append(all, p)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// overlayAt gives the number of the overlay whose directory is dir, else -1.
func (s Spec) overlayAt(dir string) int {
	return slices.IndexFunc(s.Overlays, func(o Overlay) bool { return o.Dir == dir })
}

// innermost gives the deepest of dirs that path is or lies beneath, "" if none.
func innermost(path string, dirs []string) string {
	best := ""
	for _, d := range dirs {
		if beneath(path, d) && len(d) > len(best) {
			best = d
		}
	}
	return best
}

// vanished names a writable directory that is there no more: the likeliest
// cause of a start that failed for no reason of the kernel's.
func (s Spec) vanished() error {
	for _, d := range s.writable() {
		if fi, err := os.Lstat(d); err != nil || !fi.IsDir() {
			return fault.New("sandbox.start", fault.NotFound, "the directory %q vanished while the sandbox was being started; make it again, or name another", d)
		}
	}
	return nil
}

// needsMounts reports whether a tier without mounts would break a promise.
func (s Spec) needsMounts() bool {
	if len(s.Replace) > 0 || len(s.Folders) > 0 {
		return true
	}
	granted := s.writable()
	for _, m := range s.Mounts {
		granted = append(granted, m.Host)
	}
	// Landlock denies nothing inside what it grants.
	if slices.ContainsFunc(s.Masked, func(p string) bool { return innermost(p, granted) != "" && !slices.Contains(granted, p) }) {
		return true
	}
	return slices.ContainsFunc(s.Pinned, func(p string) bool {
		root := innermost(p, s.writable())
		return root != "" && s.overlayAt(root) < 0
	})
}

// withoutMounts says what of the Spec a tier without mounts leaves undone.
func withoutMounts(s Spec) []string {
	var out []string
	for _, m := range s.Mounts {
		if m.View != m.Host {
			out = append(out, m.Host+" is readable under its own name, not at "+m.View+": that takes a mount.")
		}
	}
	for _, f := range s.Files {
		out = append(out, f.Path+" is not shown: a file that exists only inside takes a mount.")
	}
	return out
}
