package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// A mask is an empty file or directory with the mode and owner of what it
// hides, so that checks of modes and owners stay true while no content shows.

// openStage mounts the tmpfs the masks are made in.
func (m *mounter) openStage() error {
	if err := os.Mkdir(stageDir, 0o700); err != nil {
		return err
	}
	size := int64(16 << 20)
	for _, f := range m.c.Spec.Files {
		size += int64(len(f.Content)) + 4096
	}
	return mountTmp(stageDir, size, "0700", 0)
}

// closeStage detaches it; masks keep their own reference.
func (m *mounter) closeStage() error {
	if err := unix.Unmount(stageDir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the staging area: %w", err)
	}
	if err := os.Remove(stageDir); err != nil {
		return err
	}
	return setAttr(unix.AT_FDCWD, "/run", roFlags, 0)
}

// maskAll hides what the configuration and the search for secrets name,
// attaches the writable directories, then hides what lies beneath those.
func (m *mounter) maskAll(src *sources) error {
	writable := m.c.Spec.writable()
	masked := append([]string(nil), m.c.Spec.Masked...)
	masked = append(masked, procMasks...)
	if m.c.Spec.View == ViewAuditor {
		masked = append(masked, findSecrets("/")...)
	}
	sort.Strings(masked)
	var done, later []string
	for _, p := range masked {
		switch {
		case underAny(p, done...) && !underAny(p, writable...):
		case underAny(p, writable...):
			later = append(later, p)
		default:
			if err := m.mask(p, writable); err != nil {
				return err
			}
			done = append(done, p)
		}
	}
	for _, p := range writable {
		if err := m.attachWritable(src, p); err != nil {
			return err
		}
	}
	if err := m.placeMounts(src, true); err != nil {
		return err
	}
	for _, p := range later {
		// Masking a whole writable directory would be a contradiction; the
		// grant of the narrower thing wins.
		if contains(writable, p) {
			continue
		}
		if err := m.mask(p, nil); err != nil {
			return err
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	return slices.Contains(list, s)
}

// attachWritable puts a writable tree at its own path, which may lie in a
// private tmpfs where it has to be made first.
func (m *mounter) attachWritable(src *sources, path string) error {
	tree, ok := src.writable[path]
	if !ok {
		var err error
		if tree, err = m.overlay(src, m.c.Spec.overlayAt(path)); err != nil {
			return err
		}
	}
	if _, err := os.Stat(path); err != nil {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return fmt.Errorf("mountpoint %s: %w", path, err)
		}
	}
	return attach(tree, path)
}

// procMasks are files of /proc that concern the host as a whole.
var procMasks = []string{
	"/proc/kcore", "/proc/keys", "/proc/key-users", "/proc/sysrq-trigger", "/proc/timer_list", "/proc/sched_debug",
	"/proc/latency_stats", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/vmallocinfo",
	"/sys/kernel/debug", "/sys/kernel/tracing", "/sys/firmware/efi/efivars", "/sys/fs/pstore",
}

// mask covers path. Directories among keep that lie beneath it get mountpoints.
func (m *mounter) mask(path string, keep []string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil // nothing there in this view
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFLNK {
		return nil // the target is masked under its own name
	}
	if !m.c.Root && unix.Access(path, unix.R_OK) != nil {
		return nil // unreadable for this user anyway; a mask could only show a wrong owner
	}
	m.seq++
	blank := filepath.Join(stageDir, fmt.Sprint(m.seq))
	if kind == unix.S_IFDIR {
		if err := m.blankDir(blank, path, st, keep); err != nil {
			return fmt.Errorf("mask %s: %w", path, err)
		}
	} else {
		if err := os.WriteFile(blank, nil, 0o600); err != nil {
			return fmt.Errorf("mask %s: %w", path, err)
		}
		m.likeness(blank, path, st)
	}
	tree, err := cloneTree(blank, roFlags)
	if err != nil {
		return fmt.Errorf("mask %s: %w", path, err)
	}
	if err := attach(tree, path); err != nil {
		return fmt.Errorf("mask %s: %w", path, err)
	}
	return nil
}

func (m *mounter) blankDir(blank, path string, st unix.Stat_t, keep []string) error {
	if err := os.Mkdir(blank, 0o700); err != nil {
		return err
	}
	for _, k := range keep {
		if k == path || !beneath(k, path) {
			continue
		}
		rel := strings.TrimPrefix(k, path+"/")
		if err := os.MkdirAll(filepath.Join(blank, rel), 0o755); err != nil {
			return err
		}
		// the directories on the way keep their looks too
		for d := filepath.Dir(rel); d != "."; d = filepath.Dir(d) {
			var ds unix.Stat_t
			if unix.Stat(filepath.Join(path, d), &ds) == nil {
				m.likeness(filepath.Join(blank, d), filepath.Join(path, d), ds)
			}
		}
	}
	m.likeness(blank, path, st)
	return nil
}

// likeness gives a blank the owner and mode of the original, as far as the
// user namespace can express the owner.
func (m *mounter) likeness(blank, path string, st unix.Stat_t) {
	if err := unix.Lchown(blank, int(st.Uid), int(st.Gid)); err != nil && (m.c.Root || int(st.Uid) != m.c.UID) {
		m.notes = append(m.notes, "The masked path "+path+" shows your own user as its owner.")
	}
	mode := uint32(st.Mode & 0o7777)
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && !m.c.Root {
		mode |= 0o500 // the way to a home beneath it must stay open to its own user
	}
	_ = unix.Chmod(blank, mode)
}

// secretGlobs are the places where private keys and credentials usually lie.
var secretGlobs = []string{
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd", "/etc/krb5.keytab",
	"/var/backups/shadow.bak", "/var/backups/gshadow.bak", "/etc/ssh/ssh_host_*_key", "/etc/ssl/private/*",
	"/etc/wireguard/*", "/etc/NetworkManager/system-connections/*", "/etc/ppp/*-secrets", "/etc/letsencrypt/archive/*/privkey*",
	"/etc/letsencrypt/keys/*", "/etc/letsencrypt/accounts", "/etc/kubernetes/pki", "/etc/kubernetes/*.conf",
	"/etc/rancher/*/*.yaml", "/var/lib/rancher", "/etc/openvpn/*.key", "/etc/openvpn/*/*.key", "/etc/mysql/debian.cnf",
	"/etc/ipsec.secrets", "/etc/swanctl/private", "/var/lib/kubelet/pki", "/var/lib/samba/private",
	"/var/lib/NetworkManager/secret_key", "/var/lib/systemd/credential.secret", "/etc/credstore", "/etc/credstore.encrypted",
}

// homeSecrets are such places below a home directory.
var homeSecrets = []string{
	".ssh/id_*", ".ssh/*.pem", ".ssh/*.key", ".gnupg/private-keys-v1.d", ".gnupg/secring.gpg", ".aws/credentials", ".aws/sso/cache",
	".azure", ".config/gcloud", ".config/gh/hosts.yml", ".config/hub", ".config/rclone/rclone.conf", ".kube/config",
	".docker/config.json", ".netrc", ".git-credentials", ".pgpass", ".my.cnf", ".npmrc", ".pypirc", ".vault-token",
	".terraform.d/credentials.tfrc.json", ".cargo/credentials*", ".claude/.credentials.json", ".claude.json",
	".codex/auth.json", ".gemini/oauth_creds.json", ".password-store", ".local/share/keyrings", ".mozilla", ".config/google-chrome",
	".config/chromium", ".env", ".env.*",
}

// searchRoots are walked for .env files and keys by content, within bounds.
var searchRoots = []string{"/root", "/home", "/srv", "/opt", "/var/www", "/etc"}

const (
	searchEntries = 20000 // directory entries looked at in one search
	searchDepth   = 5
)

// findSecrets lists files and directories below root whose content is secret
// by name or by its first bytes. It is a bounded search at the start of a
// session, so it is a layer, not a promise.
func findSecrets(root string) []string {
	var found []string
	globs := append([]string(nil), secretGlobs...)
	homes, _ := filepath.Glob(filepath.Join(root, "home/*"))
	for _, h := range append(homes, filepath.Join(root, "root")) {
		for _, s := range homeSecrets {
			globs = append(globs, strings.TrimPrefix(filepath.Join(h, s), strings.TrimSuffix(root, "/")))
		}
	}
	for _, g := range globs {
		hits, _ := filepath.Glob(filepath.Join(root, g))
		for _, h := range hits {
			if !strings.HasSuffix(h, ".pub") {
				found = append(found, realPath(h))
			}
		}
	}
	budget := searchEntries
	for _, r := range searchRoots {
		found = append(found, searchDir(filepath.Join(root, r), searchDepth, &budget)...)
	}
	return found
}

func realPath(p string) string {
	if r, err := filepath.EvalSymlinks(p); err == nil {
		return r
	}
	return p
}

var skipDirs = map[string]bool{"node_modules": true, ".git": true, ".cache": true, "site-packages": true, "pkg": true, "vendor": true}

func searchDir(dir string, depth int, budget *int) []string {
	if depth == 0 || *budget <= 0 {
		return nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var found, dirs []string
	for _, e := range entries {
		if *budget--; *budget <= 0 {
			return found
		}
		name, path := e.Name(), filepath.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if !skipDirs[name] {
				dirs = append(dirs, path)
			}
		case e.Type().IsRegular() && secretFile(name, path):
			found = append(found, path)
		}
	}
	for _, d := range dirs {
		found = append(found, searchDir(d, depth-1, budget)...)
	}
	return found
}

func secretFile(name, path string) bool {
	if name == ".env" || strings.HasPrefix(name, ".env.") || strings.HasSuffix(name, ".env") {
		return !strings.HasSuffix(name, ".example") && !strings.HasSuffix(name, ".sample")
	}
	switch filepath.Ext(name) {
	case ".key", ".pem", ".p12", ".pfx", ".jks", ".keystore", ".ppk", ".kdbx":
		return holdsKey(path)
	}
	return strings.HasPrefix(name, "id_") && !strings.HasSuffix(name, ".pub") && holdsKey(path)
}

// holdsKey reports whether a file's first kilobyte names a private key, or is
// no text at all (a key store).
func holdsKey(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	buf := make([]byte, 1024)
	n, _ := f.Read(buf)
	buf = buf[:n]
	return bytes.Contains(buf, []byte("PRIVATE KEY")) || bytes.IndexByte(buf, 0) >= 0 || bytes.HasPrefix(buf, []byte("PuTTY-User-Key"))
}
