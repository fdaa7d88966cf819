// Command sallyport runs AI agents behind one guarded door.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"sallyport/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()))
}
