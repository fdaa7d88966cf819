package changes

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
)

// The kinds of Change.
const (
	KindDeleted  = "deleted"  // gone, with everything beneath it
	KindModified = "modified" // the content differs, perhaps the mode too
	KindAdded    = "added"    // nothing of this name is on the host
	KindMode     = "mode"     // the permission bits alone differ
	KindReplaced = "replaced" // another type of entry stands on the host
)

// The types of an entry.
const (
	TypeFile  = "file"
	TypeDir   = "dir"
	TypeLink  = "link"
	TypeOther = "other" // device, pipe, socket: never committed
)

// GroupGit is the Group of git's own bookkeeping: objects, refs, index, logs.
const GroupGit = "git"

// Change is one difference between what the session left and the host. It is
// comparable: two equal Changes describe the same step from the same start.
type Change struct {
	Path    string      // relative to Dir, slash form; a name that is not plain text is quoted as in Go
	Kind    string      // one of the Kind constants
	Type    string      // type of what is new; of what is lost if Kind is deleted
	OldType string      // type of what stands on the host, "" if nothing does
	Mode    fs.FileMode // permission bits wanted; 0 for links and deletions
	OldMode fs.FileMode // permission bits on the host; 0 if nothing or a link stands there
	Size    int64       // bytes of the new content
	OldSize int64       // bytes of the host's file
	Target  string      // where a new link points
	SHA256  string      // hex digest of a new file's content
	Lost    int         // files and links lost beneath a directory that goes
	Group   string      // GroupGit, or "" for changes shown one by one
	Note    string      // advice for the reader, "" if none; never a reason by itself

	Protected string // the glob that protects it and why: needs an explicit yes; "" if none
	Refused   string // one sentence why it can never be committed; "" if it can
	Conflict  string // one sentence: the host changed since the session began; "" if it did not

	// Host is a fingerprint of what stood on the host when this was listed, ""
	// for nothing. Commit refuses when it is no longer the same.
	Host string
}

// String is one line for logs: kind and path, safe for a terminal.
func (c Change) String() string {
	s := c.Kind + " " + c.Path
	if c.Lost > 0 {
		s += fmt.Sprintf(" (%d files)", c.Lost)
	}
	return s
}

// DiffOptions tunes Diff.
type DiffOptions struct {
	Color    bool  // mark lines with ANSI colours
	Context  int   // unchanged lines around a change; default 3, at most 1000
	MaxBytes int64 // larger files are shown by size and digest only; default 256 KiB, at most 4 MiB
}

// CommitOptions says what a commit may do beyond the ordinary, and who watches.
type CommitOptions struct {
	AllowProtected []string // Change.Path of each protected change that was confirmed
	AllowConflict  []string // Change.Path of each conflict that was confirmed
	// Before is called before the host changes for a Change; an error skips it.
	Before func(Change) error
	// After is called once for every Change that Before let pass: nil if it was
	// carried out and is durable, else why not.
	After func(Change, error)
}

// Skip is a Change that was not committed.
type Skip struct {
	Path   string
	Reason string // one sentence: rule, cause and remedy
}

// Result is what one Commit did. Every Change given to it is counted once.
type Result struct {
	Committed []string // paths carried out now, or found carried out already
	Skipped   []Skip
}

// Groups says in one line per group what its members are, so that hundreds of
// git objects need not be read one by one: "git: 12 objects, refs/heads/main moved".
func Groups(list []Change) []string {
	objects, lines := 0, []string{}
	for _, c := range list {
		if c.Group != GroupGit || c.Type == TypeDir {
			continue
		}
		if strings.Contains("/"+c.Path, "/objects/") {
			objects++
			continue
		}
		verb := map[string]string{KindAdded: "new", KindDeleted: "removed"}[c.Kind]
		if verb == "" {
			verb = "moved"
		}
		_, name, ok := strings.Cut(c.Path, ".git/")
		if !ok { // the Set is the repository itself
			name = c.Path
		}
		lines = append(lines, name+" "+verb)
	}
	if objects > 0 {
		lines = slices.Insert(lines, 0, fmt.Sprintf("%d objects", objects))
	}
	if len(lines) == 0 {
		return nil
	}
	const most = 12
	if n := len(lines); n > most {
		lines = append(lines[:most], fmt.Sprintf("%d more", n-most))
	}
	return []string{GroupGit + ": " + strings.Join(lines, ", ")}
}
