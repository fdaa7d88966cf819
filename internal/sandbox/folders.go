package sandbox

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/fault"
)

// Folder is a directory of the host whose content no process of the sandbox can
// reach before OpenFolder. Until then an empty directory stands wherever the
// view would show it. It needs the full tier.
type Folder struct {
	Name   string // for OpenFolder: a lower-case letter and up to 31 of a-z, 0-9, _ and -
	Host   string // absolute host directory
	View   string // where it appears once it is open; empty: it is covered for good
	Notice string // content of the file CLOSED that stands there before; at most 4 KiB
}

// Where programs inside ask for folders, and read what came of it.
const (
	FolderRequests = "/run/sallyport/open"   // a FIFO: a folder's name and a newline
	FolderAnswer   = "/run/sallyport/answer" // the last answer, one line
)

// closedFile stands in a folder that is not open.
const closedFile = "CLOSED"

// Bounds of Spec.Folders and of what programs write about them.
const (
	maxFolders    = 16 // that can be opened: their descriptors travel in one packet
	maxCovered    = 256
	maxNotice     = 4 << 10
	maxFolderName = 32
	maxAnswer     = 1 << 10
)

// opens lists the folders that can be opened.
func (s Spec) opens() []Folder {
	return slices.DeleteFunc(slices.Clone(s.Folders), func(f Folder) bool { return f.View == "" })
}

// resolveFolders checks the folders; everything else of s is resolved.
func (s Spec) resolveFolders(op string) (Spec, error) {
	usage := func(format string, args ...any) (Spec, error) {
		return s, fault.New(op, fault.Usage, format, args...)
	}
	out := make([]Folder, 0, len(s.Folders))
	for _, f := range s.Folders {
		f, err := s.resolveFolder(op, f)
		if err != nil {
			return s, err
		}
		for _, o := range out {
			switch {
			case o.Name == f.Name:
				return usage("two folders are called %s; rename one", f.Name)
			case beneath(o.Host, f.Host) || beneath(f.Host, o.Host):
				return usage("the folders %s and %s lie one in the other, so that opening one would show the other; separate them", o.Name, f.Name)
			case o.View != "" && f.View != "" && (beneath(o.View, f.View) || beneath(f.View, o.View)):
				return usage("the folders %s and %s are to appear one in the other; give each a place of its own", o.Name, f.Name)
			}
		}
		out = append(out, f)
	}
	s.Folders = out
	if len(s.opens()) > maxFolders || len(out) > maxCovered {
		return usage("%d folders can be opened and %d are covered, at most %d and %d are possible; leave some out", len(s.opens()), len(out), maxFolders, maxCovered)
	}
	return s, nil
}

// resolveFolder checks one folder by itself.
func (s Spec) resolveFolder(op string, f Folder) (Folder, error) {
	usage := func(format string, args ...any) (Folder, error) {
		return f, fault.New(op, fault.Usage, format, args...)
	}
	if !validFolderName(f.Name) {
		return usage("%q is no name of a folder; use a lower-case letter and up to 31 of a-z, 0-9, _ and -", f.Name)
	}
	if len(f.Notice) > maxNotice {
		return usage("the notice of folder %s has %d bytes, at most 4 KiB are possible; shorten it", f.Name, len(f.Notice))
	}
	var err error
	if f.Host, err = resolveDir(op, "folder "+f.Name, f.Host); err != nil {
		return f, err
	}
	if underAny(f.Host, ours...) {
		return usage("the folder %s shows the kernel's own files of the host; name an ordinary directory", f.Name)
	}
	if f.View != "" {
		f.View = filepath.Clean(f.View)
		if err := checkView(op, "folder", f.View); err != nil {
			return f, err
		}
		if underAny(FolderRequests, f.View) || s.View == ViewAuditor && f.View != f.Host && !underAny(f.View, "/run", "/tmp") {
			return usage("the folder %s cannot appear at %q; leave its place out, so that it appears at its own path", f.Name, f.View)
		}
	}
	if shown := s.showing(f.Host); shown != "" {
		return usage("%s lies in the labelled folder %s, which a session sees only after it was opened; work elsewhere, or name that directory's label otherwise", shown, f.Name)
	}
	for _, p := range s.writable() {
		if f.View != "" && beneath(p, f.View) {
			return usage("the folder %s at %q would cover the writable directory %q; give it another place", f.Name, f.View, p)
		}
	}
	return f, nil
}

// showing names what the Spec would show of a folder from inside it, where no
// cover over the folder helps; empty if there is nothing.
func (s Spec) showing(host string) string {
	paths := append([]string{s.Home, s.Workdir, s.Facts}, s.Writable...)
	for _, m := range s.Mounts {
		paths = append(paths, m.Host)
	}
	for _, o := range s.Overlays {
		paths = append(paths, o.Dir)
	}
	for _, p := range s.Replace {
		paths = append(paths, p)
	}
	for _, p := range s.Sockets {
		if r, err := filepath.EvalSymlinks(p); err == nil {
			paths = append(paths, r)
		}
	}
	for _, p := range paths {
		if p != "" && beneath(p, host) {
			return p
		}
	}
	return ""
}

// covers lists the paths of the view at which a folder's content would show:
// its own, and the ways through mounts that appear elsewhere.
func (s Spec) covers(f Folder) []string {
	out := []string{f.Host}
	through := func(view, host string) {
		if rest, ok := strings.CutPrefix(f.Host, host); ok && beneath(f.Host, host) && view != host {
			out = append(out, filepath.Join(view, rest))
		}
	}
	for _, m := range s.Mounts {
		through(m.View, m.Host)
	}
	for view, host := range s.Replace {
		through(view, host)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func validFolderName(s string) bool {
	if s == "" || len(s) > maxFolderName || s[0] < 'a' || s[0] > 'z' {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '_' && r != '-' })
}

// folderLines reads names of folders, one a line, from bytes that anybody inside
// may have written in any pieces. What is no name is dropped with its line.
type folderLines struct {
	line []byte
	over bool // the line is longer than any name
}

// feed consumes b and calls emit for each name.
func (l *folderLines) feed(b []byte, emit func(name string)) {
	for len(b) > 0 {
		part, rest, ended := bytes.Cut(b, []byte{'\n'})
		b = rest
		if room := maxFolderName + 1 - len(l.line); len(part) > room { // one more, for a carriage return
			l.over, part = true, part[:room]
		}
		l.line = append(l.line, part...)
		if !ended {
			return
		}
		if name := string(bytes.TrimSuffix(l.line, []byte{'\r'})); !l.over && validFolderName(name) {
			emit(name)
		}
		l.line, l.over = l.line[:0], false
	}
}
