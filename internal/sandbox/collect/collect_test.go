package collect

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tree writes files below a temporary root; modes default to 0644.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for p, body := range files {
		full := filepath.Join(root, p)
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func collected(t *testing.T, root string) (string, Summary) {
	t.Helper()
	dir := t.TempDir()
	sum, err := Collect(context.Background(), dir, Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return dir, sum
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fake builds a key-shaped text that is obviously not one.
func fake(prefix string, n int) string { return prefix + strings.Repeat("X", n) }

func TestSecretsNameKindsNeverValues(t *testing.T) {
	values := []string{fake("sk-ant-", 30), fake("AKIA", 16), fake("ghp_", 36), "hunter2hunter2hunter2"}
	root := tree(t, map[string]string{
		"etc/passwd":                  "root:x:0:0::/root:/bin/bash\nann:x:1000:1000::/home/ann:/bin/bash\n",
		"root/.env":                   "ANTHROPIC_API_KEY=" + values[0] + "\n",
		"home/ann/.aws/credentials":   "aws_access_key_id = " + values[1] + "\n",
		"home/ann/.bash_history":      "export GH=" + values[2] + "\n",
		"home/ann/.bashrc":            "alias ll='ls -l'\n",
		"home/ann/.ssh/id_rsa":        "-----BEGIN RSA PRIVATE KEY-----\nAAAA\n-----END RSA PRIVATE KEY-----\n",
		"home/ann/.ssh/id_enc":        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n",
		"srv/app/.env":                "DB_PASSWORD=" + values[3] + "\n",
		"srv/app/a/b/c/d/e/f/.env":    "DB_PASSWORD=" + values[3] + "\n",
		"srv/app/node_modules/x/.env": "DB_PASSWORD=" + values[3] + "\n",
	})
	if err := os.Chmod(filepath.Join(root, "srv/app/.env"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir, _ := collected(t, root)
	var got []string
	all := read(t, dir, "secrets.tsv")
	for line := range strings.SplitSeq(strings.TrimSpace(all), "\n") {
		f := strings.Split(line, "\t")
		got = append(got, strings.Join(f[:3], " "))
	}
	want := []string{
		"/root/.env anthropic-key 600", "/home/ann/.aws/credentials aws-access-key 600", "/home/ann/.bash_history github-token 600",
		"/home/ann/.ssh/id_enc encrypted-key 600", "/home/ann/.ssh/id_rsa private-key 600", "/srv/app/.env generic-secret 644",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, name := range []string{"secrets.tsv", "coverage.tsv"} {
		for _, v := range values {
			if strings.Contains(read(t, dir, name), v) {
				t.Errorf("%s holds the value of a secret", name)
			}
		}
	}
}

func TestHostileFilesNeitherBlockNorBreakRows(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/passwd":          "root:x:0:0::/root:/bin/bash\n",
		"srv/a\tb\nc/.env":    "TOKEN=" + fake("ghp_", 36),
		"etc/shadow":          "evil\tname\x1b[31m::1:\nbob:$y$j9T$x:1:\nold:abcdefghijklm:1:\nmd:$1$x$y:1\nlock:!$6$x:1\nnone:*:1\n\xff\xfe:zz\n",
		"proc/sys/kernel/kp":  "1",
		"outside-secret-file": "TOKEN=" + fake("ghp_", 36),
	})
	if err := os.MkdirAll(filepath.Join(root, "root"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "outside-secret-file"), filepath.Join(root, "root/.env")); err != nil {
		t.Fatal(err)
	}
	mkfifo(t, filepath.Join(root, "root/.bashrc"))
	start := time.Now()
	dir, _ := collected(t, root)
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("a pipe in place of a dotfile held the collector for %v", took)
	}
	s := read(t, dir, "secrets.tsv")
	if strings.Count(s, "\n") != 1 || strings.Count(s, "\t") != 3 || strings.Contains(s, "/root/.env") {
		t.Errorf("secrets.tsv: %q", s)
	}
	want := "evil?name?[31m\tempty\tnone\nbob\tset\tyescrypt\nold\tset\tdes\nmd\tset\tmd5\nlock\tlocked\tnone\nnone\tlocked\tnone\n??\tset\tunknown\n"
	if d := cmp.Diff(want, read(t, dir, "accounts.tsv")); d != "" {
		t.Error(d)
	}
}

func TestEveryNameHasAStateAndFilesAreReadOnly(t *testing.T) {
	dir, sum := collected(t, tree(t, map[string]string{"etc/hostname": "x"}))
	states := map[string]string{}
	for _, s := range sum.Collectors {
		states[s.Name] = s.State
	}
	want := map[string]string{
		"sockets": StateUnreadable, "owners": StateUnreadable, "unix": StateUnreadable, "firewall": StateNotInstalled, "secrets": StateOK,
		"accounts": StateNotInstalled, "updates": StateNotInstalled, "lists": StateNotInstalled, "sysctl": StateUnreadable, "roots": StateOK, "live": StateNotInstalled,
	}
	if d := cmp.Diff(want, states); d != "" {
		t.Error(d)
	}
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if st, _ := e.Info(); st.Mode() != 0o444 {
			t.Errorf("%s has mode %v", e.Name(), st.Mode())
		}
	}
}

func TestThisHostsListenerIsSeenWithItsProcess(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	dir := t.TempDir()
	sum, err := Collect(context.Background(), dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", sum)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	want := fmt.Sprintf("tcp\t127.0.0.1\t%s\tLISTEN\t%d\t%d\t", port, os.Getuid(), os.Getpid())
	if s := read(t, dir, "sockets.tsv"); !strings.Contains(s, want) {
		t.Errorf("sockets.tsv lacks %q:\n%s", want, s)
	}
	if sum.Elapsed > 11*time.Second {
		t.Errorf("it took %v", sum.Elapsed)
	}
}

func TestAnExpiredContextIsStatedNotSilent(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dir := t.TempDir()
	sum, err := Collect(ctx, dir, Options{Root: tree(t, map[string]string{"srv/x/.env": "A"})})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sum.Collectors {
		if s.Name == "secrets" && s.State == StateOK {
			t.Errorf("a search that was cut short counts as %v", s)
		}
	}
}

func TestParseUpdates(t *testing.T) {
	r := parseUpdates("Inst openssl [3.0.1-1] (3.0.2-1 Debian-Security:12/stable-security [amd64])\nInst vim [1] (2 Debian:12.1/stable [amd64]) []\nInst new (1 Debian:12/stable [amd64])\nConf openssl\n")
	if d := cmp.Diff("openssl\t3.0.1-1\t3.0.2-1\tyes\nvim\t1\t2\tno\n", r.b.String()); d != "" {
		t.Error(d)
	}
}

func FuzzParseAddr(f *testing.F) {
	f.Add("0100007F:1F90")
	f.Add("00000000000000000000000001000000:0016")
	f.Fuzz(func(t *testing.T, s string) {
		if a, _, ok := parseAddr(s); ok && !a.IsValid() {
			t.Errorf("%q gave an invalid address", s)
		}
	})
}

func FuzzKindOf(f *testing.F) {
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU="))
	f.Add([]byte("-----BEGIN "))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = kindOf(b) })
}

func FuzzParseUpdates(f *testing.F) {
	f.Add("Inst a [1] (2 x [y])")
	f.Fuzz(func(t *testing.T, s string) {
		for line := range strings.SplitSeq(strings.TrimSuffix(parseUpdates(s).b.String(), "\n"), "\n") {
			if line != "" && strings.Count(line, "\t") != 3 {
				t.Errorf("row %q", line)
			}
		}
	})
}
