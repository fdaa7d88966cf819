package sandbox

import (
	"fmt"
	"os"
	"testing"
)

// TestMain lets the test binary be three things: a sandbox's stage, an attacker
// (the same attack outside and inside), and a supervisor to be killed.
func TestMain(m *testing.M) {
	MaybeInit()
	if len(os.Args) > 2 && os.Args[1] == "attack" {
		if err := runAttack(os.Args[2], os.Args[3:]); err != nil {
			fmt.Println("refused:", err)
			os.Exit(1)
		}
		fmt.Println("SUCCEEDED")
		os.Exit(0)
	}
	if len(os.Args) > 2 && os.Args[1] == "supervise" {
		os.Exit(supervise(os.Args[2]))
	}
	os.Exit(m.Run())
}
