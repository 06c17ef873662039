// Command tidemark keeps a provable history of a database and restores it as
// it was at any transaction.
//
// Each command parses, calls the library, and prints. Results go to standard
// output, as text or with --json as lines of JSON; progress, logs and errors
// go to standard error. exit.go lists the exit codes.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal ends the work in good order, a later one at once. What
	// comes within a second is the same one, sent to the process and its group.
	context.AfterFunc(ctx, func() { time.AfterFunc(time.Second, stop) })
	code := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
