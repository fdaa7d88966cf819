package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// service is a TLS server on loopback with a certificate of its own authority,
// which remembers the credentials it was shown and says them back.
type service struct {
	port  string
	roots string // PEM file
	mu    sync.Mutex
	seen  []string // "host path credential"
}

func newService(t *testing.T, names ...string) *service {
	t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("SKIPPED, NOT PASSED: curl is not installed; test/setup.sh installs it")
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: names, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{roots: filepath.Join(t.TempDir(), "roots.pem")}
	if err := os.WriteFile(s.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(http.HandlerFunc(s.answer))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, s.port, err = net.SplitHostPort(srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *service) answer(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	shown := r.Header.Get("X-Token")
	s.mu.Lock()
	s.seen = append(s.seen, r.Host+" "+r.URL.Path+" "+shown)
	s.mu.Unlock()
	w.Header().Set("X-Echo", shown)
	fmt.Fprintf(w, "you are %s, in base64 %s, body %q\n", shown, base64.StdEncoding.EncodeToString([]byte(shown)), body)
}

func (s *service) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.seen...)
}

// workdir makes the directory that a guarded program works in.
func (l *lab) workdir() string {
	l.t.Helper()
	dir := filepath.Join(l.dir, "work")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		l.t.Fatal(err)
	}
	return dir
}

// guard starts a program under guard.
func (l *lab) guard(args ...string) *proc {
	l.t.Helper()
	return l.start(append([]string{"guard", "--config", l.file("sallyport.yaml"), "--workdir", l.workdir()}, args...)...)
}

// forms are the ways in which a value may be written down.
func forms(value string) map[string][]byte {
	return map[string][]byte{
		"plain": []byte(value), "base64": []byte(base64.StdEncoding.EncodeToString([]byte(value))),
		"base64url": []byte(base64.RawURLEncoding.EncodeToString([]byte(value))), "hex": []byte(hex.EncodeToString([]byte(value))),
		"reversed": []byte(strings.ToUpper(hex.EncodeToString([]byte(value)))),
	}
}

// absent fails if a value is in any file below dirs or in the texts.
func absent(t *testing.T, value string, texts map[string]string, dirs ...string) {
	t.Helper()
	look := func(where string, b []byte) {
		for form, text := range forms(value) {
			if bytes.Contains(b, text) {
				t.Errorf("the secret is in %s (%s)", where, form)
			}
		}
	}
	for where, text := range texts {
		look(where, []byte(text))
	}
	files := 0
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			b, err := os.ReadFile(p)
			files++
			look(p, b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 5 {
		t.Errorf("only %d files were looked at", files)
	}
}

// TestCredentialStaysOutside: the program gets its work done with a credential
// that it never holds, and nothing that the run leaves behind holds it either.
func TestCredentialStaysOutside(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	canary := "canary-" + hex.EncodeToString([]byte(l.key))
	s, second := newService(t, "api.test", "other.test"), newService(t, "api.test")
	l.extra = append(l.extra, fmt.Sprintf(`network:
  roots: %[1]s
  hosts: {api.test: ["127.0.0.1"], other.test: ["127.0.0.1"]}
  allow:
    - {host: api.test, ports: [%[2]s, %[3]s], private: true}
    - {host: other.test, ports: [%[2]s], private: true, methods: [GET, POST]}
secrets:
  token: {from: {env: REAL_TOKEN}, host: api.test, port: %[2]s, inject: [{header: X-Token}], placeholder: "tok-{random}", env: TOKEN}
profiles:
  tester: {extends: shell, secrets: [token]}`, s.roots, s.port, second.port))
	l.noExec = true
	l.prepare()
	script := `set -u
env > env.txt; cat /proc/self/environ /proc/*/environ > environ.txt 2>/dev/null
echo "TOKEN=$TOKEN"
curl -sS -D head.txt -H "X-Token: $TOKEN" https://api.test:PORT/real | tee answer.txt
curl -sS -H "X-Token: $TOKEN" https://other.test:PORT/elsewhere
curl -sS -o refused.txt -w 'own account: %{http_code}\n' -H "X-Token: attacker-account" https://api.test:PORT/exfil
curl -sS -o refused2.txt -w 'bearer: %{http_code}\n' -H "Authorization: Bearer attacker" https://api.test:PORT/exfil2
curl -sS -m 5 -H "X-Token: $TOKEN" http://api.test:PORT/plain
curl -sS -o /dev/null -w 'other port: %{http_code}\n' -H "X-Token: attacker" https://api.test:OTHER/exfil3
curl -sS --data "$TOKEN" -H "X-Token: $TOKEN" https://api.test:PORT/body
`
	p := l.command("guard", "--config", l.file("sallyport.yaml"), "--profile", "tester", "--workdir", l.workdir(), "--", "bash", "-c", strings.NewReplacer("PORT", s.port, "OTHER", second.port).Replace(script))
	p.cmd.Env = append(p.cmd.Env, "REAL_TOKEN="+canary)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l.watch(p)
	r := p.wait(patience)
	seen := s.requests()
	if len(seen) != 3 || seen[0] != "api.test:"+s.port+" /real "+canary || seen[2] != "api.test:"+s.port+" /body "+canary {
		t.Fatalf("the service saw %q\n%s\n%s", seen, r.out, r.err)
	}
	if got := second.requests(); len(got) > 0 {
		t.Errorf("another port of the bound host was reached: %q", got)
	}
	if strings.Contains(seen[1], canary) || !strings.Contains(seen[1], "tok-") {
		t.Errorf("another host was shown %q", seen[1])
	}
	for _, want := range []string{"TOKEN=tok-", "you are tok-", "own account: 403", "bearer: 403"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("the output lacks %q:\n%s\n%s", want, r.out, r.err)
		}
	}
	events := l.ok("events", "--json", "--limit", "500")
	for _, want := range []string{"secret.use", "http.request"} {
		if !strings.Contains(events.out, want) {
			t.Errorf("no %s in the events", want)
		}
	}
	for _, kind := range []string{"http.request", "secret.use"} {
		count := func(phase string) int { return strings.Count(events.out, `"`+kind+phase+`"`) }
		if begun, done := count(".start"), count(".finish")+count(".error"); begun != done || begun == 0 {
			t.Errorf("%s: %d began, %d are settled", kind, begun, done)
		}
	}
	l.verify()
	absent(t, canary, map[string]string{"stdout": r.out, "stderr": r.err, "events": events.out}, l.home, l.dir)
}

// TestGuardKilled: kill -9 of the supervisor takes everything along, a daemon
// too, and the changes so far are there to be reviewed.
func TestGuardKilled(t *testing.T) {
	t.Parallel()
	m := marker(40)
	l := newLab(t)
	p := l.guard("--", "bash", "-c", "echo kept > kept.txt; (setsid sleep "+m+" &); sleep "+m)
	until(t, 20*time.Second, "the program runs", func() bool { return len(processes(m)) == 2 })
	p.signal(syscall.SIGKILL)
	p.wait(patience)
	l.gone(m, 5*time.Second)
	if got := l.ok("changes", "diff"); !strings.Contains(got.out, "+kept") {
		t.Errorf("the changes are lost:\n%s", got.text())
	}
	if entries, err := os.ReadDir(l.workdir()); err != nil || len(entries) > 0 {
		t.Errorf("the host changed: %v, %v", entries, err)
	}
	l.ok("changes", "commit", "--all")
	if b, err := os.ReadFile(filepath.Join(l.workdir(), "kept.txt")); err != nil || string(b) != "kept\n" {
		t.Errorf("after the commit: %q, %v", b, err)
	}
	l.verify()
}

// TestGuardTerminated: a polite end is the same end, and it is said.
func TestGuardTerminated(t *testing.T) {
	t.Parallel()
	m := marker(41)
	l := newLab(t)
	p := l.guard("--", "bash", "-c", "trap '' TERM INT; (setsid sleep "+m+" &); sleep "+m)
	until(t, 20*time.Second, "the program runs", func() bool { return len(processes(m)) == 2 })
	p.signal(syscall.SIGTERM)
	if r := p.wait(patience); r.code != codeInterrupted {
		t.Errorf("exit %d\n%s", r.code, r.text())
	}
	l.gone(m, 5*time.Second)
	l.verify()
}

// TestGuardLimits: what grows without end is ended with a sentence that names
// the limit, and what it wrote is kept.
func TestGuardLimits(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ limits, script, says string }{
		"disk": {"{disk: 8388608}", "i=0; while :; do head -c 1048576 /dev/zero > f$i || exit 9; i=$((i+1)); done", "disk"},
		"fork": {"{pids: 32, wall_seconds: 3}", "echo x > f; bomb() { bomb | bomb & }; bomb 2>/dev/null; while :; do :; done", "wall"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.noExec = true
			l.extra = append(l.extra, "profiles:\n  small: {extends: offline, limits: "+tt.limits+"}")
			r := l.guard("--profile", "small", "--", "bash", "-c", tt.script).wait(patience)
			if r.code == codeOK || !strings.Contains(r.err, tt.says) {
				t.Errorf("exit %d after %v\n%s", r.code, r.took, tail(r.text()))
			}
			if got := l.ok("changes"); !strings.Contains(got.out, "small") {
				t.Errorf("the changes are lost:\n%s\n%s", got.text(), tail(r.text()))
			}
		})
	}
}

// TestGuardWorkdirVanishes: a directory that is gone at the commit is said, and
// nothing is made in its place.
func TestGuardWorkdirVanishes(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.guard("--", "sh", "-c", "echo x > x.txt").wait(patience)
	if err := os.Rename(l.workdir(), l.dir+"/moved"); err != nil {
		t.Fatal(err)
	}
	r := l.call("changes", "commit", "--all")
	if r.code == codeOK || !strings.Contains(r.err, "work") {
		t.Errorf("exit %d\n%s", r.code, r.text())
	}
	if _, err := os.Stat(l.dir + "/work"); err == nil {
		t.Error("the directory was made anew")
	}
}

// TestGuardStopped: `sallyport stop` ends a guarded program too, politely.
func TestGuardStopped(t *testing.T) {
	t.Parallel()
	m := marker(44)
	l := newLab(t)
	p := l.guard("--as", "worker", "--", "bash", "-c", "echo kept > kept.txt; sleep "+m)
	until(t, 20*time.Second, "the program runs", func() bool { return len(processes(m)) == 1 })
	if r := l.ok("stop", "worker"); !strings.Contains(r.out, "ended by itself") {
		t.Errorf("the stop had to kill:\n%s", r.out)
	}
	if r := p.wait(patience); r.code != codeDenied || !strings.Contains(r.err, "stopped by the operator") {
		t.Errorf("exit %d\n%s", r.code, r.text())
	}
	l.gone(m, 5*time.Second)
	if got := l.ok("changes"); !strings.Contains(got.out, "worker") {
		t.Errorf("the changes are lost:\n%s", got.text())
	}
	l.verify()
}

// TestGuardEndsDaemons: what a program leaves behind ends with it, though it
// holds the program's output open.
func TestGuardEndsDaemons(t *testing.T) {
	t.Parallel()
	m := marker(45)
	l := newLab(t)
	r := l.guard("--", "bash", "-c", "(setsid sleep "+m+" &); echo left").wait(patience)
	if r.code != codeOK || !strings.Contains(r.out, "left") || r.took > 20*time.Second {
		t.Errorf("exit %d after %v\n%s", r.code, r.took, r.text())
	}
	l.gone(m, time.Second)
}
