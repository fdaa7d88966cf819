package cli

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/internal/app"
	"sallyport/internal/sandbox"
)

// TestMain lets the scripts run the real command line as a process of its own.
func TestMain(m *testing.M) {
	app.MaybeInit()
	testscript.Main(m, map[string]func(){
		"sallyport": func() {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
			code := Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
			stop()
			os.Exit(code)
		},
		"fakerun": fakeRun,
	})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: false,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			e.Setenv("SALLYPORT_HOME", filepath.Join(e.WorkDir, "state"))
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("TZ", "UTC")
			e.Setenv("COLUMNS", "100")
			for _, name := range []string{"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GOOGLE_API_KEY", "NO_COLOR"} {
				e.Setenv(name, "")
			}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "sandbox" {
				return false, fmt.Errorf("no condition %q", cond)
			}
			return sandbox.Probe(context.Background()).Tier >= sandbox.TierFull, nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"code": exitsWith, "jsonvalid": jsonValid, "seed": seedCmd, "ask": askCmd, "await": awaitCmd, "gone": goneCmd,
		},
	})
}
