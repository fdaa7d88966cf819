package selftest

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fileAttempts reach for files.
func fileAttempts() map[string]attempt {
	return map[string]attempt{
		"symlink-read":            func(t *target) error { return t.reads(t.Work + "/link") },
		"symlink-write":           func(t *target) error { return appendTo(t.Work+"/link", "\n") },
		"link-instead-of-file":    linkInstead,
		"hard-link":               func(t *target) error { return os.Link(t.Canary, t.Work+"/hard") },
		"hard-link-system":        hardLinkSystem,
		"write-hook":              func(t *target) error { return create(t.Work+"/.git/hooks/evil", "evil") },
		"append-git-config":       func(t *target) error { return appendTo(t.Work+"/.git/config", "evil") },
		"rename-git":              renameGit,
		"replace-git-config":      replaceGitConfig,
		"common-dir-hook":         func(t *target) error { return create(t.Common+"/hooks/evil", "evil") },
		"absent-dotfile":          func(t *target) error { return create(t.Cow+"/.bashrc", "evil") },
		"linked-credential":       func(t *target) error { return t.reads(t.Work + "/credential") },
		"credential-by-proc-root": func(t *target) error { return t.reads("/proc/self/root" + t.State + "/credential") },
		"stat-outside":            func(t *target) error { _, err := os.Lstat(t.Canary); return err },
		"chmod-outside":           func(t *target) error { return os.Chmod(t.Modes, 0o600) },
		"swap-check":              swapCheck,
		"edit-policy":             func(t *target) error { return appendTo(t.State+"/policy.cedar", "evil") },
		"inherited-directory":     func(t *target) error { return inherited(t.RootDev, t.RootIno) },
		"inherited-file":          func(t *target) error { return inherited(t.CanaryDev, t.CanaryIno) },
		"large-file":              func(t *target) error { return fill(t.Work+"/large", t.FileSize+1<<20) },
		"fill-tmp":                func(t *target) error { return fillMany(t.Tmp, t.TmpSize+4<<20) },
		"open-by-handle":          openByHandle,
		"dev-shm":                 func(t *target) error { return t.reads(t.ShmFile) },
		"sysv-shm":                sysvShm,
		"posix-queue":             func(t *target) error { return openQueue(t.Queue, unix.O_RDONLY, nil) },
		"proc-keys": func(*target) error {
			b, err := os.ReadFile("/proc/keys")
			if err == nil && len(b) == 0 {
				return outcome("none")
			}
			return err
		},
	}
}

// reads succeeds when path leads to planted content.
func (t *target) reads(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(b, []byte(t.Token)) {
		return outcome("other")
	}
	return nil
}

func create(path, text string) error {
	return write(path, text, os.O_CREATE|os.O_EXCL)
}

func appendTo(path, text string) error {
	return write(path, text, os.O_APPEND)
}

func write(path, text string, flags int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flags, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func linkInstead(t *target) error {
	path := t.Cow + "/file"
	if err := os.Remove(path); err != nil {
		return err
	}
	if err := os.Symlink(t.Outside+"/written", path); err != nil {
		return err
	}
	return appendTo(path, "evil")
}

func hardLinkSystem(t *target) error {
	// any file of the system will do, if it lies in the same file system outside
	if err := os.Link(t.Setuid, t.Work+"/system"); t.Setuid != "" && err != nil {
		return err
	}
	if t.Setuid == "" {
		return os.Link(t.Program, t.Work+"/system")
	}
	return nil
}

func renameGit(t *target) error {
	git := t.Work + "/.git"
	if err := os.Rename(git, git+".away"); err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(git+"/hooks", 0o755), create(git+"/config", "[core]\n"))
}

func replaceGitConfig(t *target) error {
	next := t.Work + "/.git/config.lock"
	if err := create(next, "[core]\n\thooksPath = evil\n"); err != nil {
		return err
	}
	return os.Rename(next, t.Work+"/.git/config")
}

// swapCheck reads what a view shows that was built while a directory and a
// link were exchanged.
func swapCheck(t *target) error {
	for _, git := range []string{"/.git", "/.git.link"} {
		if err := t.reads(t.Work + git + "/hooks/token"); err == nil {
			return nil
		}
	}
	return outcome("contained")
}

// inherited looks for a descriptor that nobody meant to give.
func inherited(dev, ino uint64) error {
	for fd := 3; fd < 256; fd++ {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && uint64(st.Dev) == dev && st.Ino == ino { //nolint:unconvert // narrower on some machines
			return nil
		}
	}
	return outcome("none")
}

func fill(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(path) }()
	block := make([]byte, 1<<20)
	for ; size > 0 && err == nil; size -= int64(len(block)) {
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close())
}

// fillMany stays below the largest file.
func fillMany(dir string, size int64) error {
	for i := 0; size > 0; i++ {
		if err := fillKeep(filepath.Join(dir, "fill"+string(rune('a'+i))), min(size, 4<<20)); err != nil {
			return err
		}
		size -= 4 << 20
	}
	return nil
}

func fillKeep(path string, size int64) error {
	err := os.WriteFile(path, make([]byte, size), 0o600)
	if _, full := errors.AsType[*os.PathError](err); full {
		_ = os.Remove(path)
	}
	return err
}

func openByHandle(t *target) error {
	h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, t.Work+"/own", 0)
	if err != nil {
		return skip("no file handles here: " + err.Error())
	}
	dir, err := unix.Open(t.Work, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	fd, err := unix.OpenByHandleAt(dir, h, unix.O_RDONLY|unix.O_CLOEXEC)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

func sysvShm(t *target) error {
	b, err := unix.SysvShmAttach(t.ShmID, 0, unix.SHM_RDONLY)
	if err != nil {
		return err
	}
	if !strings.Contains(string(b), t.Token) {
		return outcome("other")
	}
	return nil
}

// queueAttr is struct mq_attr.
type queueAttr struct {
	flags, maxMessages, size, now int64
	_                             [4]int64
}

func openQueue(name string, flags int, attr *queueAttr) error {
	p, err := unix.BytePtrFromString(strings.TrimPrefix(name, "/"))
	if err != nil {
		return err
	}
	fd, _, no := unix.Syscall6(unix.SYS_MQ_OPEN, uintptr(unsafe.Pointer(p)), uintptr(flags|unix.O_CLOEXEC), 0o666, uintptr(unsafe.Pointer(attr)), 0, 0)
	if no != 0 {
		return no
	}
	return unix.Close(int(fd))
}

func unlinkQueue(name string) {
	if p, err := unix.BytePtrFromString(strings.TrimPrefix(name, "/")); err == nil {
		_, _, _ = unix.Syscall(unix.SYS_MQ_UNLINK, uintptr(unsafe.Pointer(p)), 0, 0)
	}
}
