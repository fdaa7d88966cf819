package app

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/internal/fault"
)

// program is what a command's first word means on this machine.
type program struct {
	Path string   // where the view has it: links resolved, so that what is shown is what runs
	Show []string // host paths that the view must show besides its own for it to start
}

// maxInterpreters bounds a chain of #! lines; the kernel follows five.
const maxInterpreters = 4

// maxLinks bounds a chain of links, as the kernel does.
const maxLinks = 40

// locate finds a program as a shell of the operator's would, and what it needs
// to be shown. visible tells which host paths the view has anyway. Whoever
// writes dir, an agent in an earlier run too, does not choose by a link or a #!
// line which file of the host is shown. Errors: fault.NotFound with where was
// looked, fault.Denied for what cannot be run.
func locate(name, path, dir string, visible func(string) bool) (program, error) {
	var p program
	file, err := lookPath(name, path, dir)
	if err != nil {
		return p, err
	}
	agents, named := false, true // dir led here; by a bare name, looked up on the operator's PATH
	for i := range maxInterpreters {
		resolved, through, err := follow(file, dir)
		if err != nil {
			return p, fault.Wrap("app.program", fault.NotFound, err)
		}
		next := interpreter(resolved)
		harmless := named && !through && next == "" && packageOf(resolved) == resolved
		if agents = agents || through; agents && !harmless && !visible(resolved) && !within(resolved, dir) {
			return p, fault.New("app.program", fault.Denied,
				"%s lies in the working directory and leads to %s, and what an agent can write does not choose what it is shown; name %s itself, or list it under mounts: of the profile", name, resolved, resolved)
		}
		if i == 0 {
			p.Path = resolved
		}
		if !visible(resolved) && !slices.ContainsFunc(p.Show, func(s string) bool { return within(resolved, s) }) {
			p.Show = append(p.Show, packageOf(resolved))
		}
		if next == "" {
			return p, nil
		}
		named = !strings.ContainsRune(next, '/')
		if file, err = lookPath(next, path, dir); err != nil {
			return p, err
		}
	}
	return p, fault.New("app.program", fault.Denied, "%s is a script of a script of a script; name the program itself", name)
}

// follow resolves every link of a path and tells whether one of its steps lies
// in dir, which is clean and without links.
func follow(file, dir string) (resolved string, through bool, err error) {
	for range maxLinks {
		through = through || within(filepath.Clean(file), dir)
		parent, err := filepath.EvalSymlinks(filepath.Dir(file))
		if err != nil {
			return "", through, err
		}
		file = filepath.Join(parent, filepath.Base(file))
		through = through || within(file, dir)
		target, err := os.Readlink(file)
		if err != nil {
			return file, through, nil //nolint:nilerr // no link: the end
		}
		if file = target; !filepath.IsAbs(target) {
			file = filepath.Join(parent, target)
		}
	}
	return "", through, fault.New("app.program", fault.Denied, "%s is a link without end; name the program itself", file)
}

// lookPath resolves a name by PATH. Entries that are not absolute are left
// out: what lies in the working directory is the agent's, not the operator's.
func lookPath(name, path, dir string) (string, error) {
	if name == "" {
		return "", fault.New("app.program", fault.Usage, "the program has no name; write one behind --, as in `sallyport guard -- bash`")
	}
	if strings.ContainsRune(name, '/') {
		if !filepath.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, executable(name)
	}
	var denied error
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			continue
		}
		file := filepath.Join(d, name)
		err := executable(file)
		if err == nil {
			return file, nil
		}
		// What this user cannot look at is not there, as for a shell; nor is a
		// directory of that name.
		if info, serr := os.Stat(file); serr == nil && !info.IsDir() && denied == nil {
			denied = err
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", fault.New("app.program", fault.NotFound, "there is no program %s on your PATH (%s); install it or write its whole path", name, path)
}

func executable(file string) error {
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.New("app.program", fault.NotFound, "there is no program %s; check the path", file)
	case err != nil:
		return &fault.Error{
			Op: "app.program", Kind: fault.Denied, Err: err,
			Public: fmt.Sprintf("the program %s cannot be looked at by this user; check the path and its permissions", file),
		}
	case info.IsDir() || info.Mode().Perm()&0o111 == 0:
		return fault.New("app.program", fault.Denied, "%s is no executable file; name a program", file)
	}
	return nil
}

// packageOf gives what of the host must be shown for a file to find its parts:
// the whole tree of packages for a program out of node_modules, else the file
// alone, because whatever else lies beside it was not given to the agent.
func packageOf(file string) string {
	const modules = "/node_modules"
	if i := strings.Index(file, modules+"/"); i >= 0 {
		return file[:i+len(modules)]
	}
	return file
}

// interpreter reads a script's #! line; "" for anything else. `env` stands for
// the program it looks up.
func interpreter(file string) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // only read
	head := make([]byte, 256)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || !bytes.HasPrefix(head, []byte("#!")) {
		return ""
	}
	line, _, _ := strings.Cut(string(head[2:n]), "\n")
	words := strings.Fields(line)
	if len(words) == 0 {
		return ""
	}
	if filepath.Base(words[0]) != "env" {
		return words[0]
	}
	for _, w := range words[1:] {
		if !strings.HasPrefix(w, "-") && !strings.Contains(w, "=") {
			return w
		}
	}
	return ""
}

// within reports whether path is dir or lies below it; both are clean.
func within(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// pathInside keeps of the operator's PATH what the view shows.
func pathInside(path string, visible func(string) bool) string {
	out := []string{"/usr/local/bin", "/usr/bin", "/bin"}
	var first []string
	for _, d := range filepath.SplitList(path) {
		resolved, err := filepath.EvalSymlinks(d)
		if err != nil || !filepath.IsAbs(d) || slices.Contains(out, d) || slices.Contains(first, resolved) || !visible(resolved) {
			continue
		}
		first = append(first, resolved)
	}
	return strings.Join(append(first, out...), ":")
}
