package sandbox

import (
	"fmt"
	"os"
	"syscall"
	"testing"
)

// TestMain lets the test binary be three things: a sandbox's stage, an attacker
// (the same attack outside and inside), and a supervisor to be killed.
func TestMain(m *testing.M) {
	MaybeInit()
	if len(os.Args) > 2 && os.Args[1] == "attack" {
		// pairs of attack and argument, one process for all of them: with the
		// race detector each start takes long
		for i := 2; i+1 < len(os.Args); i += 2 {
			if err := runAttack(os.Args[i], os.Args[i+1]); err != nil {
				fmt.Println("refused:", err)
			} else {
				fmt.Println("SUCCEEDED")
			}
		}
		syscall.Exit(0) // without the race detector's second of waiting
	}
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		syscall.Exit(supervise(os.Args[2]))
	}
	if len(os.Args) > 2 && os.Args[1] == "no-namespaces" {
		syscall.Exit(noNamespaces(os.Args[2]))
	}
	if len(os.Args) > 2 && os.Args[1] == "masked-proc" {
		syscall.Exit(maskedProc(os.Args[2]))
	}
	os.Exit(m.Run())
}
