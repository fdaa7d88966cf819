package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// systemEtc is the part of /etc in the workspace view's read-only system.
var systemEtc = []string{
	"alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "passwd", "group", "nsswitch.conf", "hosts",
	"host.conf", "hostname", "localtime", "timezone", "ssl/certs", "ssl/openssl.cnf", "ca-certificates",
	"ca-certificates.conf", "pki", "crypto-policies", "os-release", "debian_version", "lsb-release", "profile", "profile.d",
	"bash.bashrc", "inputrc", "protocols", "services", "mime.types", "magic", "terminfo", "gitconfig", "locale.alias",
	"locale.conf", "default/locale", "java-11-openjdk", "java-17-openjdk", "java-21-openjdk", "python3", "perl", "fonts",
	"vim", "manpath.config", "login.defs", "shells", "environment", "gai.conf", "rpc", "networks", "ethertypes",
}

// workspace builds a new root from a few read-only system trees and moves to it.
func (m *mounter) workspace() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	src, err := m.collect()
	if err != nil {
		return err
	}
	if err := m.collectSockets(src); err != nil {
		return err
	}
	links, err := collectSystem(src)
	if err != nil {
		return err
	}
	const root = "/tmp" // covered by the new root until pivot_root makes it the root
	if err := mountTmp(root, 16<<20, "0755", 0); err != nil {
		return err
	}
	for _, dir := range []string{"/proc", "/dev", "/run", "/tmp", "/var/tmp", "/etc", "/sys"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			return fmt.Errorf("new root: %w", err)
		}
	}
	for view, target := range links {
		if err := os.Symlink(target, root+view); err != nil {
			return fmt.Errorf("new root: %w", err)
		}
	}
	if err := unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return step("proc-mount", fmt.Errorf("mount proc: %w", err))
	}
	if err := unix.Chdir(root); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("pivot_root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	return m.furnish(src)
}

// furnish fills the workspace's new root after pivot_root, when no path can
// lead to the host any more.
func (m *mounter) furnish(src *sources) error {
	if err := mountTmp("/run", 16<<20, "0755", 0); err != nil {
		return err
	}
	for _, view := range src.order {
		if err := m.place(src.readonly[view], view); err != nil {
			return err
		}
	}
	if err := m.devices(src); err != nil {
		return err
	}
	tmp := m.c.Spec.Limits.Tmp
	if err := errors.Join(mountTmp("/tmp", tmp, "1777", 0), mountTmp("/var/tmp", tmp, "1777", 0)); err != nil {
		return err
	}
	if err := m.openStage(); err != nil {
		return err
	}
	if err := m.placeMounts(src, false); err != nil {
		return err
	}
	if err := m.maskAll(src); err != nil {
		return err
	}
	if err := m.placeFiles(); err != nil {
		return err
	}
	if err := m.pinAll(); err != nil {
		return err
	}
	// after everything that copies mounts: a place must be the one that shows
	if err := m.placeFolders(src); err != nil {
		return err
	}
	m.src = src
	if err := m.placeSockets(src); err != nil {
		return err
	}
	if err := m.closeStage(); err != nil {
		return err
	}
	if err := m.networkFiles(); err != nil {
		return err
	}
	return setAttr(unix.AT_FDCWD, "/", roFlags, 0)
}

// collectSystem copies the system trees; merged-usr links are returned to be
// made again as links.
func collectSystem(src *sources) (map[string]string, error) {
	links := map[string]string{}
	for _, d := range systemDirs {
		fi, err := os.Lstat(d)
		if err != nil {
			continue
		}
		if fi.Mode()&os.ModeSymlink != 0 {
			if links[d], err = os.Readlink(d); err != nil {
				return nil, err
			}
			continue
		}
		if err := src.readOnly(d, d); err != nil {
			return nil, err
		}
	}
	for _, name := range systemEtc {
		path := "/etc/" + name
		target, err := filepath.EvalSymlinks(path)
		if err != nil {
			continue
		}
		if err := src.readOnly(path, target); err != nil && !errors.Is(err, unix.EACCES) {
			return nil, err
		}
	}
	return links, nil
}
