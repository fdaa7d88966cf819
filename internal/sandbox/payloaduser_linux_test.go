package sandbox

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestInIDMap(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":  true,
		"0 1000 1\n":                          false,
		"0 1000 1\n1 100000 65536\n":          false,
		"0 1000 1\n1900000001 1900000001 1\n": true,
		"1900000000 7 1\n":                    false,
		"1900000002 7 9\n":                    false,
		"":                                    false,
		"nonsense\n0 x 4294967295\n":          false,
	} {
		if got := inIDMap(strings.NewReader(text), PayloadUID); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// TestRootOfANamespace: root of a namespace without the payload's number is
// told so. The process itself is not in one, so a child looks.
func TestRootOfANamespace(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "cat", "/proc/self/uid_map")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: syscall.Getuid(), Size: 1}},
	}
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("no user namespace here: %v", err)
	}
	if inIDMap(strings.NewReader(string(out)), PayloadUID) {
		t.Errorf("%q has the payload's number", out)
	}
	if err := payloadMapped(); err != nil && syscall.Getuid() == 0 {
		t.Errorf("outside of it: %v", err)
	}
}
