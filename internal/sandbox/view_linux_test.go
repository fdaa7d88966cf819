package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/internal/fault"
)

// ordinaryUID is an ordinary user for the second run of every test here.
const ordinaryUID = 64321

// TestAsOrdinaryUser runs the whole package again as a user without rights.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("this run is an ordinary user's already")
	}
	dir, err := os.MkdirTemp("/var/tmp", "sallyport-user-")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chown(dir, ordinaryUID, ordinaryUID))
	self, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	must(t, os.WriteFile(dir+"/sandbox.test", self, 0o755))
	args := []string{"-test.timeout=180s"}
	if testing.Verbose() {
		args = append(args, "-test.v")
	}
	cmd := exec.Command(dir+"/sandbox.test", args...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR=" + dir, "HOME=" + dir}
	// group 4 is adm on Debian: a supplementary group must survive
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUID, Gid: ordinaryUID, Groups: []uint32{4}}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("as uid %d: %v\n%s", ordinaryUID, err, out)
	}
	t.Logf("as uid %d:\n%s", ordinaryUID, out)
}

func TestAuditorSeesTheHost(t *testing.T) {
	x := newTarget(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, tier := range []Tier{TierFull, TierLandlock} {
		t.Run(tier.String(), func(t *testing.T) {
			sh := openShell(t, x.spec(ViewAuditor), tier)
			if r := runOK(t, sh, "ss -ltn"); !bytes.Contains(r.Head, []byte(":"+port+" ")) {
				t.Errorf("ss does not show the host's port %s:\n%s", port, r.Head)
			}
			if r := runOK(t, sh, "ps -e -o pid=,args="); !bytes.Contains(r.Head, []byte(fmt.Sprintf("%d sleep 1000", x.pid))) {
				t.Errorf("ps does not show host process %d:\n%s", x.pid, r.Head)
			}
			if r := runOK(t, sh, "ip -o addr | head -1"); r.Exit != 0 || !bytes.Contains(r.Head, []byte("127.0.0.1")) {
				t.Logf("ip addr: %s", r.Head) // iproute2 may lack ip
			}
			for _, f := range []string{"/etc/passwd", "/etc/hostname", "/proc/net/tcp", "/proc/sys/kernel/random/boot_id"} {
				want, err := os.ReadFile(f)
				must(t, err)
				r := runOK(t, sh, "cat "+f)
				if f != "/proc/net/tcp" && !bytes.Equal(r.Head, want) || len(r.Head) == 0 {
					t.Errorf("%s differs from the host's", f)
				}
			}
		})
	}
}

func TestAuditorReadsAllAsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	x := newTarget(t)
	secretive := x.dir + "/log"
	must(t, os.WriteFile(secretive, []byte("failed login\n"), 0o600))
	sh := openShell(t, x.spec(ViewAuditor), TierFull)
	r := runOK(t, sh, "cat "+secretive+"; id -u; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status")
	want := "failed login\n" + fmt.Sprint(PayloadUID)
	if !strings.HasPrefix(string(r.Head), want) {
		t.Errorf("got %s, want %s first", r.Head, want)
	}
	for _, line := range []string{"CapEff:\t0000000000000004", "CapPrm:\t0000000000000004", "CapBnd:\t0000000000000004", "NoNewPrivs:\t1", "Seccomp:\t2"} {
		if !bytes.Contains(r.Head, []byte(line)) {
			t.Errorf("no %q in:\n%s", line, r.Head)
		}
	}
	sh = openShell(t, x.spec(ViewWorkspace), TierFull)
	if r := runOK(t, sh, "id -u; grep CapEff /proc/self/status"); !bytes.Contains(r.Head, []byte("0000000000000000")) || !bytes.HasPrefix(r.Head, []byte(fmt.Sprint(PayloadUID))) {
		t.Errorf("workspace payload has rights: %s", r.Head)
	}
}

func TestMasksLookLikeTheOriginal(t *testing.T) {
	x := newTarget(t)
	env := x.dir + "/project.env"
	must(t, os.WriteFile(env, []byte("KEY=fake\n"), 0o640))
	inHome := x.home + "/.env"
	must(t, os.WriteFile(inHome, []byte("KEY=fake\n"), 0o600))
	spec := x.spec(ViewAuditor)
	spec.Masked = append(spec.Masked, env, inHome)
	sh := openShell(t, spec, TierFull)
	r := runOK(t, sh, "stat -c '%a %u %s' "+env+" "+x.state+"; cat "+env+" "+inHome+"; ls -A "+x.state+"; cd "+x.home+" && pwd")
	uid := os.Getuid()
	size := strings.Fields(string(r.Head))
	if len(size) < 6 {
		t.Fatalf("unexpected: %s", r.Head)
	}
	want := fmt.Sprintf("640 %d 0\n755 %d %s\nhome\n%s\n", uid, uid, size[5], x.home)
	if string(r.Head) != want {
		t.Errorf("got:\n%s\nwant:\n%s", r.Head, want)
	}
	if r := runOK(t, sh, "rm -f "+inHome+"; echo x > "+inHome); r.Exit == 0 {
		t.Error("a masked file in the home could be replaced")
	}
	if b, _ := os.ReadFile(inHome); string(b) != "KEY=fake\n" {
		t.Errorf("the masked file was changed on the host: %q", b)
	}
}

func TestHomeFilesBelongToItsOwner(t *testing.T) {
	x := newTarget(t)
	must(t, os.WriteFile(x.home+"/notes", []byte("old\n"), 0o600))
	sh := openShell(t, x.spec(ViewAuditor), TierFull)
	r := runOK(t, sh, "cat ~/notes; echo new > ~/report; mkdir ~/d; chmod u+s ~/report; stat -c %u ~/notes ~/report; id -u")
	f := strings.Fields(string(r.Head))
	if len(f) != 4 || f[0] != "old" || f[1] != f[3] || f[2] != f[3] {
		t.Errorf("inside: %s", r.Head)
	}
	for _, p := range []string{"report", "d", "notes"} {
		fi, err := os.Stat(x.home + "/" + p)
		must(t, err)
		if uid := fi.Sys().(*syscall.Stat_t).Uid; int(uid) != os.Getuid() {
			t.Errorf("%s belongs to %d on the host", p, uid)
		}
	}
}

func TestReplaceAndFacts(t *testing.T) {
	x := newTarget(t)
	for _, d := range []string{"etc/ssh", "facts", "log"} {
		must(t, os.MkdirAll(filepath.Join(x.dir, d), 0o755))
	}
	must(t, os.WriteFile(x.dir+"/etc/hostname", []byte("weakhost\n"), 0o644))
	must(t, os.WriteFile(x.dir+"/etc/passwd", []byte("root:x:0:0::/root:/bin/bash\n"), 0o644))
	must(t, os.WriteFile(x.dir+"/etc/shadow", []byte("root:fake:::::::\n"), 0o644))
	must(t, os.WriteFile(x.dir+"/log/auth.log", []byte("line\n"), 0o644))
	must(t, os.WriteFile(x.dir+"/facts/sockets.json", []byte("{}\n"), 0o644))
	spec := x.spec(ViewAuditor)
	spec.Replace = map[string]string{"/etc": x.dir + "/etc", "/var/log": x.dir + "/log"}
	spec.Facts = x.dir + "/facts"
	sh := openShell(t, spec, TierFull)
	r := runOK(t, sh, "cat /etc/hostname /etc/shadow /var/log/auth.log "+FactsPath+"/sockets.json; stat -c %a /etc/shadow; touch /etc/x "+FactsPath+"/x 2>&1 | grep -c Read-only")
	if want := "weakhost\nline\n{}\n644\n2\n"; string(r.Head) != want {
		t.Errorf("got %q, want %q", r.Head, want)
	}
	// what cannot be replaced in the weaker tier is not shown from the host instead
	if _, err := Start(t.Context(), Spec{View: ViewAuditor, Replace: map[string]string{"/proc": x.dir}}); !fault.Is(err, fault.Usage) {
		t.Errorf("replacing /proc: %v", err)
	}
}

// TestSecretsAreFound shows a host full of secrets and counts which are read.
func TestSecretsAreFound(t *testing.T) {
	x := newTarget(t)
	key := "-----BEGIN OPENSSH PRIVATE KEY-----\nZmFrZQ==\n"
	hidden := []string{
		"etc/shadow", "etc/shadow-", "etc/gshadow", "etc/ssh/ssh_host_ed25519_key", "etc/ssl/private/site.key", "etc/app/server.pem",
		"etc/default/app.env", "home/eve/.ssh/id_ed25519", "home/eve/.aws/credentials", "home/eve/.env", "home/eve/app/.env.local",
		"home/eve/.git-credentials", "home/eve/work/deploy.key", "home/eve/.gnupg/private-keys-v1.d/x.key",
	}
	shown := []string{
		"etc/ssh/ssh_host_ed25519_key.pub", "etc/ssh/sshd_config", "etc/app/cert.pem", "home/eve/.ssh/authorized_keys",
		"home/eve/.ssh/id_ed25519.pub", "home/eve/app/.env.example", "etc/sudoers",
	}
	for _, f := range append(append([]string(nil), hidden...), shown...) {
		must(t, os.MkdirAll(filepath.Dir(x.dir+"/"+f), 0o755))
		text := key
		if f == "etc/app/cert.pem" {
			text = "-----BEGIN CERTIFICATE-----\n"
		}
		must(t, os.WriteFile(x.dir+"/"+f, []byte(text), 0o644))
	}
	must(t, os.Symlink("id_ed25519", x.dir+"/home/eve/.ssh/link"))
	spec := x.spec(ViewAuditor)
	spec.Replace = map[string]string{"/etc": x.dir + "/etc", "/home": x.dir + "/home"}
	sh := openShell(t, spec, TierFull)
	for _, f := range append([]string{"home/eve/.ssh/link"}, hidden...) {
		if r := runOK(t, sh, "cat /"+f); bytes.Contains(r.Head, []byte("BEGIN")) {
			t.Errorf("/%s is readable: %s", f, r.Head)
		}
	}
	for _, f := range shown {
		if r := runOK(t, sh, "cat /"+f); !bytes.Contains(r.Head, []byte("BEGIN")) {
			t.Errorf("/%s is hidden: %s", f, r.Head)
		}
	}
}

func TestWorkspaceView(t *testing.T) {
	x := newTarget(t)
	sh := openShell(t, x.spec(ViewWorkspace), TierFull)
	r := runOK(t, sh, "pwd; echo hi > f; cat f; ls /root /home /var/log "+x.state+" 2>&1 | grep -v home; ls -A /proc | grep -c '^[0-9]'; cat /proc/sys/kernel/keys/maxkeys >/dev/null; bash -c 'echo > /dev/tcp/127.0.0.1/"+strings.Split(x.tcp, ":")[1]+"' 2>&1 | grep -o refused; touch /usr/x 2>&1 | grep -o Read-only; echo $$")
	for _, want := range []string{x.work + "\nhi\n", "No such file", "refused", "Read-only"} {
		if !bytes.Contains(r.Head, []byte(want)) {
			t.Errorf("no %q in:\n%s", want, r.Head)
		}
	}
	if b, err := os.ReadFile(x.work + "/f"); err != nil || string(b) != "hi\n" {
		t.Errorf("the file did not reach the host: %q, %v", b, err)
	}
}

func TestReadOnlyMode(t *testing.T) {
	x := newTarget(t)
	spec := x.spec(ViewAuditor)
	spec.ReadOnly = true
	for _, tier := range []Tier{TierFull, TierLandlock} {
		sb := open(t, spec, tier)
		if _, err := sb.Shell(t.Context(), ShellOptions{}); !fault.Is(err, fault.Denied) {
			t.Errorf("shell in read-only mode: %v", err)
		}
		// the kernel's side: the refusal above is lifted, the limits are not
		sb.spec.ReadOnly = false
		sh, err := sb.Shell(t.Context(), ShellOptions{})
		must(t, err)
		r := runOK(t, sh, "touch "+x.home+"/x; echo $?; cat "+x.home+"/attacker | wc -c")
		if _, err := os.Stat(x.home + "/x"); err == nil || !bytes.Contains(r.Head, []byte("\n1\n")) {
			t.Errorf("%s: a write was possible: %s", tier, r.Head)
		}
	}
}

// TestNothingLeaks plants an environment variable, a directory descriptor and a
// descriptor without close-on-exec in the supervisor and looks for them inside.
func TestNothingLeaks(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "sk-fake-0123456789")
	fd, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(fd)
	x := newTarget(t)
	for _, view := range []string{ViewAuditor, ViewWorkspace} {
		for _, tier := range []Tier{TierFull, TierLandlock} {
			sh := openShell(t, x.spec(view), tier)
			r := runOK(t, sh, "env; for f in /proc/[0-9]*/environ; do [ -r $f ] && tr '\\0' '\\n' <$f; done 2>/dev/null | grep -a OPENAI; cat /proc/self/environ | tr '\\0' '\\n'; set | grep OPENAI")
			if bytes.Contains(r.Head, []byte("OPENAI")) || bytes.Contains(r.Head, []byte("sk-fake")) {
				t.Errorf("%s/%s: the key is visible:\n%s", view, tier, r.Head)
			}
			r = runOK(t, sh, "bash -c 'ls -l /proc/self/fd' | sed 's/.* \\([0-9]* ->\\)/\\1/'")
			for line := range strings.Lines(string(r.Head)) {
				num, to, ok := strings.Cut(strings.TrimSpace(line), " -> ")
				known := map[string]bool{"0": true, "1": true, "2": true, "3": true, "9": true, "198": true, "199": true}[num]
				if ok && (!known || !strings.HasPrefix(to, "pipe:") && to != "/dev/null" && !strings.HasPrefix(to, "/proc/")) {
					t.Errorf("%s/%s: descriptor %s is open on %s", view, tier, num, to)
				}
			}
		}
	}
}

func TestSetuidGainsNothing(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to plant a setuid program")
	}
	x := newTarget(t)
	id, err := os.ReadFile("/usr/bin/id")
	must(t, err)
	must(t, os.WriteFile(x.dir+"/id", id, 0o755))
	must(t, os.Chmod(x.dir+"/id", 0o755|os.ModeSetuid))
	cmd := exec.Command(x.dir+"/id", "-u")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: ordinaryUID, Gid: ordinaryUID}}
	if out, err := cmd.Output(); err != nil || string(out) != "0\n" {
		t.Fatalf("control: setuid does not work here: %s %v", out, err)
	}
	for _, tier := range []Tier{TierFull, TierLandlock} {
		r := runOK(t, openShell(t, x.spec(ViewAuditor), tier), x.dir+"/id -u")
		if string(r.Head) != fmt.Sprintln(PayloadUID) {
			t.Errorf("%s: a setuid program ran as %s", tier, r.Head)
		}
	}
}

func TestMinTierRefuses(t *testing.T) {
	cause, _ := errors.AsType[*stepError](step("user-namespace", unix.EPERM))
	err := refusal(TierFull, cause)
	if !fault.Is(err, fault.Unsupported) {
		t.Errorf("kind %v", fault.KindOf(err))
	}
	for _, want := range []string{"tier full", "user-namespace", "EPERM"} {
		if !strings.Contains(fault.PublicText(err), want) {
			t.Errorf("no %q in %q", want, fault.PublicText(err))
		}
	}
}

func TestProbe(t *testing.T) {
	r := Probe(t.Context())
	if r.Tier < TierLandlock || len(r.Primitives) == 0 || len(r.NotPromised) == 0 {
		t.Errorf("probe: %+v", r)
	}
	t.Logf("%+v", r)
}

// TestWithoutNamespaces takes user namespaces away, as Ubuntu 24.04 and many
// containers do, and asks for either tier.
func TestWithoutNamespaces(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("made by the ordinary user's run")
	}
	x := newTarget(t)
	cmd := exec.Command("/proc/self/exe", "no-namespaces", x.home)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getuid(), HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: os.Getgid(), HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_RESOURCE},
	}
	out, err := cmd.CombinedOutput()
	must(t, err)
	for _, want := range []string{"unsupported: the sandbox tier full is required and user-namespace is not available here (ENOSPC); raise user.max_user_namespaces", "landlock\nuser-namespace false\n", "inside\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func noNamespaces(home string) int {
	if err := os.WriteFile("/proc/sys/user/max_user_namespaces", []byte("0"), 0); err != nil {
		fmt.Println(err)
		return 1
	}
	spec := Spec{View: ViewAuditor, Home: home, MinTier: TierFull, Env: []string{"PATH=/usr/bin:/bin"}}
	_, err := Start(context.Background(), spec)
	fmt.Printf("%s: %s\n", fault.KindOf(err), fault.PublicText(err))
	spec.MinTier = TierLandlock
	sb, err := Start(context.Background(), spec)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer sb.Close()
	fmt.Println(sb.Report().Tier)
	fmt.Println(sb.Report().Primitives[0].Name, sb.Report().Primitives[0].OK)
	sh, err := sb.Shell(context.Background(), ShellOptions{})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r, err := sh.Run(context.Background(), "echo inside; grep Cap /proc/self/status", time.Minute)
	fmt.Printf("%s%v\n", r.Head, err)
	return 0
}

// TestWithMaskedProc covers a file of /proc, as containers do: the kernel then
// refuses a fresh one, and the full tier says what helps.
func TestWithMaskedProc(t *testing.T) {
	x := newTarget(t)
	cmd := exec.Command("/proc/self/exe", "masked-proc", x.home)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: ordinaryUID, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: ordinaryUID, HostID: os.Getgid(), Size: 1}},
		AmbientCaps: []uintptr{unix.CAP_SYS_ADMIN},
	}
	out, err := cmd.CombinedOutput()
	must(t, err)
	for _, want := range []string{"unsupported: the sandbox tier full is required and proc-mount is not available here (EPERM); a container that masks", "systempaths=unconfined", "landlock inside\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func maskedProc(dir string) int {
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("/dev/null", "/proc/keys", "", unix.MS_BIND, "")); err != nil {
		fmt.Println(err)
		return 1
	}
	spec := Spec{View: ViewWorkspace, Workdir: dir, MinTier: TierFull, Env: []string{"PATH=/usr/bin:/bin"}}
	_, err := Start(context.Background(), spec)
	fmt.Printf("%s: %s\n", fault.KindOf(err), fault.PublicText(err))
	spec.MinTier = TierLandlock
	sb, err := Start(context.Background(), spec)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	defer sb.Close()
	p, err := sb.Exec(context.Background(), Command{Argv: []string{"echo", sb.Report().Tier.String(), "inside"}})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	_, _ = io.Copy(os.Stdout, p.Stdout)
	return 0
}
