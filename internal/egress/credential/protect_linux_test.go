package credential

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestMain lets the test binary be a process that holds a secret.
func TestMain(m *testing.M) {
	mode := os.Getenv("CREDENTIAL_TEST_HOLDER")
	if mode == "" {
		os.Exit(m.Run())
	}
	if mode == "protected" {
		if err := ProtectProcess(false); err != nil {
			fmt.Println(err)
		}
	}
	limits, _ := os.ReadFile("/proc/self/limits")
	for line := range strings.Lines(string(limits)) {
		if strings.HasPrefix(line, "Max core file size") {
			fmt.Println(strings.Join(strings.Fields(line), " "))
		}
	}
	// What ProtectProcess says about user namespaces.
	child := exec.Command("true")
	child.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
	}
	fmt.Println("namespace:", child.Run() == nil)
	fmt.Println("ready")
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

var nobody = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}

// holder starts such a process as an ordinary user; it gives its number and
// what it said.
func holder(t *testing.T, mode string) (pid int, said string) {
	t.Helper()
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "credential")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/holder", exe, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir + "/holder")
	cmd.Env = []string{"CREDENTIAL_TEST_HOLDER=" + mode, "CANARY=" + token, "PATH=/usr/bin:/bin"}
	cmd.SysProcAttr = nobody
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "ready"; {
		said += lines.Text() + "\n"
	}
	return cmd.Process.Pid, said
}

// TestProtectProcess: another process of the same user reads environment and
// memory of one that holds secrets, unless it is protected.
func TestProtectProcess(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to start processes of another user")
	}
	spy := func(pid int) (string, error) {
		cmd := exec.Command("cat", fmt.Sprintf("/proc/%d/environ", pid))
		cmd.SysProcAttr = nobody
		out, err := cmd.Output()
		return string(out), err
	}
	open, saidOpen := holder(t, "open")
	if got, err := spy(open); err != nil || !strings.Contains(got, token) {
		t.Fatalf("the attack does not work without us: %v, %q", err, got)
	}
	shut, said := holder(t, "protected")
	if got, err := spy(shut); err == nil || strings.Contains(got, token) {
		t.Errorf("the environment can be read: %q", got)
	}
	if !strings.Contains(said, "Max core file size 0 0") {
		t.Errorf("core dumps are possible: %s", said)
	}
	t.Logf("open: %s; protected: %s", saidOpen, said)
	if strings.Contains(saidOpen, "namespace: true") && !strings.Contains(said, "namespace: false") {
		t.Errorf("the documentation says that namespaces cannot be started: %s", said)
	}
}
