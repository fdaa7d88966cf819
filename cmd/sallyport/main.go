// Command sallyport runs AI agents behind one guarded door.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"sallyport/internal/app"
	"sallyport/internal/cli"
)

// version is set by the build: -ldflags "-X main.version=…".
var version string

func main() {
	app.MaybeInit() // a sandbox's stage is this program run again; it never returns from here
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	code := cli.Run(cli.WithVersion(ctx, version), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ())
	stop()
	os.Exit(code)
}
