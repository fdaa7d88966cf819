package collect

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// secretKind is the shape of a kind of key.
type secretKind struct {
	kind string
	re   *regexp.Regexp
}

// secretKinds are the shapes of keys; the first that matches names the kind.
// They are made when they are asked for: few starts of the program look for keys.
var secretKinds = sync.OnceValue(func() []secretKind {
	return []secretKind{
		{"aws-access-key", regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b`)},
		{"anthropic-key", regexp.MustCompile(`\bsk-ant-[A-Za-z0-9_-]{20,}`)},
		{"openai-key", regexp.MustCompile(`\bsk-(proj-)?[A-Za-z0-9_-]{20,}`)},
		{"github-token", regexp.MustCompile(`\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})`)},
		{"gitlab-token", regexp.MustCompile(`\bglpat-[A-Za-z0-9_-]{20,}`)},
		{"slack-token", regexp.MustCompile(`\bxox[abprs]-[A-Za-z0-9-]{10,}`)},
		{"google-key", regexp.MustCompile(`\bAIza[0-9A-Za-z_-]{35}`)},
		{"stripe-key", regexp.MustCompile(`\b[rs]k_live_[0-9A-Za-z]{20,}`)},
		{"huggingface-token", regexp.MustCompile(`\bhf_[A-Za-z]{30,}`)},
		{"npm-token", regexp.MustCompile(`_authToken\s*=\s*[^\s$]{8,}`)},
		{"url-password", regexp.MustCompile(`\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@]{1,64}:[^\s:/@$]{3,128}@[A-Za-z0-9.-]+`)},
		{"netrc-password", regexp.MustCompile(`\bmachine\s+\S+\s+login\s+\S+\s+password\s+\S+`)},
		{"docker-auth", regexp.MustCompile(`"auth"\s*:\s*"[A-Za-z0-9+/=]{8,}"`)},
		{"generic-secret", regexp.MustCompile(`(?i)\b[a-z0-9_]*(api_?key|secret|token|passwd|password)[a-z0-9_]*\s*[=:]\s*["']?[A-Za-z0-9/+_.-]{16,}`)},
	}
})

const (
	maxSecretFile = 1 << 20 // bytes of one file that are looked at
	maxFolders    = 4000    // folders walked for .env files
)

// dotfiles are where keys are commonly left, below a home directory.
func dotfiles() []string {
	return []string{
		".bashrc", ".bash_profile", ".profile", ".zshrc", ".zshenv", ".env", ".netrc", ".npmrc", ".pypirc", ".git-credentials", ".gitconfig",
		".aws/credentials", ".aws/config", ".docker/config.json", ".config/gh/hosts.yml", ".kube/config", ".config/rclone/rclone.conf",
		".config/gcloud/application_default_credentials.json", ".azure/accessTokens.json", ".my.cnf", ".pgpass", ".boto", ".s3cfg",
		".bash_history", ".zsh_history", ".python_history", ".psql_history", ".mysql_history", ".node_repl_history",
	}
}

// secrets names files that hold keys: path, kind, mode, owner. Values are looked
// at in memory only.
func secrets(ctx context.Context, h host) fact {
	var r rows
	s := search{host: h, rows: &r, seen: map[string]bool{}}
	for _, home := range h.homes() {
		s.closed(home)
		for _, d := range dotfiles() {
			s.file(filepath.Join(home, d))
		}
		for _, pattern := range []string{".ssh/*", "*.pem", "*.key", "*/.env", ".config/*/.env"} {
			m, _ := filepath.Glob(h.path(filepath.Join(home, pattern))) // the pattern is well formed
			for _, p := range m {
				s.file(h.inside(p))
			}
		}
	}
	for _, top := range []string{"/srv", "/opt", "/var/www"} {
		s.walk(ctx, top)
	}
	if ctx.Err() != nil {
		r.partial = "not finished in time"
	}
	return fact{"secrets.tsv", []byte(r.b.String()), []State{r.state("secrets")}}
}

// homes lists home directories of root and of people.
func (h host) homes() []string {
	b, _ := readBounded(h.path("/etc/passwd"), maxFile) // unreadable: /root alone remains
	list := []string{"/root"}
	for line := range strings.SplitSeq(string(b), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 7 || !filepath.IsAbs(f[5]) || filepath.Clean(f[5]) == "/" {
			continue
		}
		uid, err := strconv.Atoi(f[2])
		if err == nil && uid >= 1000 && uid < 65000 && len(list) < 2000 {
			list = append(list, filepath.Clean(f[5]))
		}
	}
	return list
}

// inside turns a path below the root back into the host's own path.
func (h host) inside(p string) string {
	if h.live() {
		return p
	}
	return strings.TrimPrefix(p, h.root)
}

type search struct {
	host    host
	rows    *rows
	seen    map[string]bool
	folders int
}

// closed notes a directory that exists and may not be listed.
func (s *search) closed(dir string) {
	if _, err := os.ReadDir(s.host.path(dir)); errors.Is(err, fs.ErrPermission) {
		s.rows.partial = "some home folders are closed to this user"
	}
}

func (s *search) file(p string) {
	if s.seen[p] {
		return
	}
	s.seen[p] = true
	b, st, err := readRegular(s.host.path(p))
	if errors.Is(err, fs.ErrPermission) {
		s.rows.partial = "some files are closed to this user"
	}
	if err != nil {
		return
	}
	if kind := kindOf(b); kind != "" {
		uid, _ := ids(st)
		s.rows.add(p, kind, octal(st.Mode()), s.host.userName(uid))
	}
}

// walk looks for .env files below top, three levels deep and bounded in number.
func (s *search) walk(ctx context.Context, top string) {
	root := s.host.path(top)
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return fs.SkipAll
		case err != nil:
			if errors.Is(err, fs.ErrPermission) {
				s.rows.partial = "some folders are closed to this user"
			}
			return fs.SkipDir
		case d.IsDir():
			s.folders++
			if s.folders > maxFolders {
				s.rows.partial = "more folders than are walked"
				return fs.SkipAll
			}
			if rel, _ := filepath.Rel(root, p); strings.Count(rel, "/") >= 3 || d.Name() == "node_modules" {
				return fs.SkipDir
			}
		case d.Name() == ".env" || strings.HasPrefix(d.Name(), ".env.") || d.Name() == "credentials.json":
			s.file(s.host.inside(p))
		}
		return nil
	})
	if err != nil {
		return // top does not exist: the callback has said the rest
	}
}

// kindOf names what a file holds: a private key, or the first key shape in it.
func kindOf(b []byte) string {
	if i := bytes.Index(b, []byte("-----BEGIN ")); i >= 0 {
		head, _, _ := bytes.Cut(b[i+11:], []byte("-----"))
		if bytes.HasSuffix(head, []byte("PRIVATE KEY")) {
			if encrypted(head, b[i:]) {
				return "encrypted-key"
			}
			return "private-key"
		}
	}
	for _, k := range secretKinds() {
		if k.re.Match(b) {
			return k.kind
		}
	}
	return ""
}

// encrypted tells whether a PEM private key needs a passphrase.
func encrypted(head, b []byte) bool {
	if bytes.HasPrefix(head, []byte("ENCRYPTED")) || bytes.Contains(b[:min(len(b), 400)], []byte("Proc-Type: 4,ENCRYPTED")) {
		return true
	}
	if !bytes.HasPrefix(head, []byte("OPENSSH")) {
		return false
	}
	_, rest, _ := bytes.Cut(b, []byte("-----\n"))
	body := bytes.ReplaceAll(rest[:min(len(rest), 120)], []byte("\n"), nil)
	body = body[:len(body)/4*4]
	raw := make([]byte, base64.StdEncoding.DecodedLen(len(body)))
	n, _ := base64.StdEncoding.Decode(raw, body) // what could be decoded is enough
	raw, ok := bytes.CutPrefix(raw[:n], []byte("openssh-key-v1\x00\x00\x00\x00"))
	return ok && !bytes.HasPrefix(raw, []byte("\x04none"))
}

// readRegular reads a regular file without following a link in its last part and
// without ever blocking on a pipe or device that lies where a dotfile should.
func readRegular(p string) ([]byte, os.FileInfo, error) {
	f, err := os.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = f.Close() }() // read only
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return nil, nil, errors.Join(err, fs.ErrInvalid)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile))
	return b, st, err
}

func readBounded(p string, n int64) ([]byte, error) {
	f, err := os.Open(p)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // read only
	return io.ReadAll(io.LimitReader(f, n))
}

// accounts states for every account whether it has a password and how it is
// stored; the hash itself is not written.
func accounts(_ context.Context, h host) fact {
	b, err := readBounded(h.path("/etc/shadow"), maxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return fact{states: []State{{"accounts", StateNotInstalled, "there is no /etc/shadow"}}}
	}
	if err != nil {
		return fact{states: []State{{"accounts", StateUnreadable, "/etc/shadow is closed to this user"}}}
	}
	var r rows
	for line := range strings.SplitSeq(string(b), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 2 || f[0] == "" || strings.HasPrefix(f[0], "#") {
			continue
		}
		state, kind := passwordState(f[1])
		r.add(f[0], state, kind)
	}
	return fact{"accounts.tsv", []byte(r.b.String()), []State{r.state("accounts")}}
}

func passwordState(h string) (state, kind string) {
	switch {
	case h == "":
		return "empty", "none"
	case h[0] == '!' || h[0] == '*':
		return "locked", "none"
	}
	for _, p := range [][2]string{{"$y$", "yescrypt"}, {"$gy$", "yescrypt"}, {"$7$", "scrypt"}, {"$6$", "sha512"}, {"$5$", "sha256"}, {"$2", "bcrypt"}, {"$1$", "md5"}, {"$3$", "nt"}} {
		if strings.HasPrefix(h, p[0]) {
			return "set", p[1]
		}
	}
	if len(h) == 13 || h[0] == '_' {
		return "set", "des"
	}
	return "set", "unknown"
}
