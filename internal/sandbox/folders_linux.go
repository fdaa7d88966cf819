package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// folderFlags is what every opened folder is mounted with.
const folderFlags = roFlags | unix.MOUNT_ATTR_NOEXEC

// foldersWire says in what order the descriptors for opening folders travel:
// the user and the mount namespace, the FIFO of requests, the file of answers,
// then of each folder its place and, where Trees says so, its detached tree.
type foldersWire struct {
	Names []string
	Trees bool
}

// folders is the supervisor's end: nothing of it is in any process inside.
type folders struct {
	mu        sync.Mutex
	user, mnt *os.File
	trees     map[string]*os.File // not yet opened
	places    map[string]*os.File
	answer    *os.File
	requests  *os.File
	ended     bool

	reading sync.Mutex // of the requests
	lines   folderLines
	waiting []string
}

// detachFolders makes the trees of the folders for a supervisor that is root:
// they belong to the host's file systems, and their owner appears as the
// payload's user. An ordinary user's stage makes them.
func (sb *Sandbox) detachFolders(conf *stageConfig) ([]string, error) {
	open := conf.Spec.opens()
	if len(open) == 0 {
		return nil, nil
	}
	sb.folders = &folders{trees: map[string]*os.File{}, places: map[string]*os.File{}}
	if !conf.Root {
		return nil, nil
	}
	var ids idmapper
	defer ids.close()
	var notes []string
	for _, f := range open {
		tree, err := ids.tree(f.Host, true)
		if err != nil {
			notes = append(notes, fmt.Sprintf("In the folder %s is readable what every user may read, because it cannot be id-mapped (%v).", f.Name, err))
			fd, cerr := cloneTree(f.Host, 0)
			if cerr != nil {
				return nil, fmt.Errorf("folder %s: %w", f.Name, cerr)
			}
			tree = os.NewFile(uintptr(fd), f.Host)
		}
		sb.folders.trees[f.Name] = tree
		if err := setAttr(int(tree.Fd()), "", folderFlags, unix.AT_EMPTY_PATH|unix.AT_RECURSIVE); err != nil {
			return nil, fmt.Errorf("folder %s: %w", f.Name, err)
		}
	}
	return notes, nil
}

// collectFolders detaches the trees before the host's tree is left, where the
// supervisor could not.
func (m *mounter) collectFolders(s *sources) error {
	for _, f := range m.c.Spec.opens() {
		if m.c.Root {
			return nil
		}
		tree, err := cloneTree(f.Host, folderFlags)
		if err != nil {
			return fmt.Errorf("folder %s: %w", f.Name, err)
		}
		s.folders = append(s.folders, tree)
	}
	return nil
}

// placeFolders covers every folder wherever the view shows it, and makes the
// places at which those that can be opened will appear.
func (m *mounter) placeFolders(src *sources) error {
	for i, f := range m.c.Spec.Folders {
		blank := fmt.Sprintf("%s/folder%d", stageDir, i)
		if err := m.placeholder(blank, f); err != nil {
			return fmt.Errorf("folder %s: %w", f.Name, err)
		}
		for _, p := range m.c.Spec.covers(f) {
			if p == f.View || !exists(p) {
				continue
			}
			tree, err := cloneTree(blank, roFlags)
			if err != nil {
				return fmt.Errorf("folder %s: %w", f.Name, err)
			}
			if err := attach(tree, p); err != nil {
				return fmt.Errorf("folder %s: %w", f.Name, err)
			}
		}
		if f.View == "" {
			continue
		}
		if err := m.placeFolder(src, blank, f.View); err != nil {
			return err
		}
	}
	return m.folderPipes(src)
}

// placeFolder attaches a placeholder where a folder will appear, and keeps its
// mount: that is the place, whatever becomes of the path to it.
func (m *mounter) placeFolder(src *sources, blank, view string) error {
	tree, err := cloneTree(blank, roFlags)
	if err != nil {
		return err
	}
	place, err := unix.FcntlInt(uintptr(tree), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		unix.Close(tree)
		return err
	}
	src.places = append(src.places, place)
	if m.c.Spec.View == ViewAuditor && exists(view) {
		return attach(tree, view)
	}
	return m.show(tree, view, underAny(view, m.c.Spec.writable()...))
}

// placeholder makes the directory that stands for a closed folder.
func (m *mounter) placeholder(dir string, f Folder) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if f.View == "" || f.Notice == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(dir, closedFile), []byte(f.Notice), 0o444) //nolint:gosec // it is for everybody inside
}

// folderPipes makes what programs ask with: their ends are names in the view,
// the supervisor's are descriptors.
func (m *mounter) folderPipes(src *sources) error {
	if len(m.c.Spec.opens()) == 0 {
		return nil
	}
	requests, answer := stageDir+"/open", stageDir+"/answer"
	if err := errors.Join(unix.Mkfifo(requests, 0o622), os.WriteFile(answer, nil, 0o644)); err != nil { //nolint:gosec // to be read inside
		return fmt.Errorf("folder requests: %w", err)
	}
	for i, p := range []string{requests, answer} {
		// for reading and writing: so a FIFO's reader never sees its end
		fd, err := unix.Open(p, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return fmt.Errorf("folder requests: %w", err)
		}
		src.pipes = append(src.pipes, fd)
		tree, err := cloneTree(p, roFlags)
		if err != nil {
			return err
		}
		if err := m.place(tree, []string{FolderRequests, FolderAnswer}[i]); err != nil {
			return err
		}
	}
	return nil
}

// handFolders gives the supervisor what it opens folders with; afterwards no
// process inside holds any of it.
func (s *stage) handFolders(src *sources) error {
	if len(src.places) == 0 {
		return nil
	}
	w := &foldersWire{Trees: len(src.folders) > 0}
	var fds []int
	defer func() {
		for _, fd := range fds {
			unix.Close(fd)
		}
	}()
	for _, ns := range []string{"user", "mnt"} {
		fd, err := unix.Open("/proc/self/ns/"+ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("folders: own namespace: %w", err)
		}
		fds = append(fds, fd)
	}
	fds = append(fds, src.pipes...)
	for i, f := range s.c.Spec.opens() {
		w.Names = append(w.Names, f.Name)
		fds = append(fds, src.places[i])
		if w.Trees {
			fds = append(fds, src.folders[i])
		}
	}
	return s.send(event{Ev: evFolders, Folders: w}, fds...)
}

// takeFolders is the supervisor's side of handFolders.
func (sb *Sandbox) takeFolders(w *foldersWire, fds []int) error {
	each := 1
	if w != nil && w.Trees {
		each = 2
	}
	f := sb.folders
	if w == nil || f == nil || len(fds) != 4+each*len(w.Names) {
		closeAll(fds)
		return fmt.Errorf("hand-over of %d descriptors", len(fds))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.user, f.mnt = os.NewFile(uintptr(fds[0]), "user namespace"), os.NewFile(uintptr(fds[1]), "mount namespace")
	f.requests, f.answer = os.NewFile(uintptr(fds[2]), "folder requests"), os.NewFile(uintptr(fds[3]), "folder answer")
	for i, name := range w.Names {
		f.places[name] = os.NewFile(uintptr(fds[4+each*i]), "place of "+name)
		if w.Trees {
			f.trees[name] = os.NewFile(uintptr(fds[4+each*i+1]), "tree of "+name)
		}
	}
	return nil
}

// close gives everything up: a mount namespace that is held would hold the
// mounts of a sandbox that has ended.
func (f *folders) close() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	all := []*os.File{f.user, f.mnt, f.answer, f.requests}
	for _, t := range f.trees {
		all = append(all, t)
	}
	for _, p := range f.places {
		all = append(all, p)
	}
	for _, file := range all {
		file.Close() // closing nil does nothing
	}
}

// OpenFolder shows a folder of Spec.Folders at its place: read-only, without
// devices, set-user-id and execution, for every process of the sandbox that
// runs or will run, and for good. A process whose working directory is the
// place itself has to enter it anew. Opening an open folder does nothing.
//
// Errors: NotFound for a name that the Spec does not have; Unavailable when the
// sandbox has ended; Unsupported where the kernel refuses; Canceled.
func (sb *Sandbox) OpenFolder(ctx context.Context, name string) error {
	const op = "sandbox.folder"
	if err := ctx.Err(); err != nil {
		return fault.Wrap(op, fault.Canceled, err)
	}
	f := sb.folders
	if f == nil || f.places[name] == nil {
		return fault.New(op, fault.NotFound, "this sandbox has no folder %q; name one that it was started with", name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	tree := f.trees[name]
	switch {
	case f.ended:
		return fault.New(op, fault.Unavailable, "the sandbox has ended; start a new session")
	case tree == nil:
		return nil
	}
	e := &entry{user: int(f.user.Fd()), mnt: int(f.mnt.Fd()), tree: int(tree.Fd()), place: int(f.places[name].Fd())}
	if err := e.move(); err != nil {
		return &fault.Error{Op: op, Kind: fault.Unsupported, Err: err, Public: fmt.Sprintf(
			"the folder %s stays closed: the kernel refuses to attach it to the running sandbox (%v); run `sallyport doctor`", name, err)}
	}
	delete(f.trees, name)
	tree.Close()
	return nil
}

// FolderOpen tells whether a folder was opened.
func (sb *Sandbox) FolderOpen(name string) bool {
	f := sb.folders
	if f == nil || f.places[name] == nil {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.trees[name] == nil
}

// NextFolder waits for the next folder that a program inside asks for by
// writing its name to FolderRequests. The name is well-formed and nothing else:
// anybody inside may have written it. Errors: NotFound for a sandbox without
// folders; Canceled when ctx ends; Unavailable when the sandbox has ended.
func (sb *Sandbox) NextFolder(ctx context.Context) (string, error) {
	const op = "sandbox.folder"
	f := sb.folders
	if f == nil {
		return "", fault.New(op, fault.NotFound, "this sandbox has no folders to open")
	}
	f.reading.Lock()
	defer f.reading.Unlock()
	stop := context.AfterFunc(ctx, func() { _ = f.requests.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	_ = f.requests.SetReadDeadline(time.Time{})
	buf := make([]byte, 512)
	for len(f.waiting) == 0 {
		if err := ctx.Err(); err != nil {
			return "", fault.Wrap(op, fault.Canceled, err)
		}
		n, err := f.requests.Read(buf)
		f.lines.feed(buf[:n], func(name string) { f.waiting = append(f.waiting, name) })
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return "", fault.Wrap(op, fault.Unavailable, err)
		}
	}
	name := f.waiting[0]
	f.waiting = f.waiting[1:]
	return name, nil
}

// AnswerFolder makes line, cut at 1 KiB, the whole content of FolderAnswer.
// Errors: NotFound for a sandbox without folders; Unavailable.
func (sb *Sandbox) AnswerFolder(line string) error {
	const op = "sandbox.folder"
	f := sb.folders
	if f == nil {
		return fault.New(op, fault.NotFound, "this sandbox has no folders to open")
	}
	b := append([]byte(line[:min(len(line), maxAnswer)]), '\n')
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.answer.WriteAt(b, 0)
	return fault.Wrap(op, fault.Unavailable, errors.Join(err, f.answer.Truncate(int64(len(b)))))
}
