// Command rewind is a shopping list on a web page whose database can be wound
// back: every change is archived as it happens, the history page lists what
// was done, and a click brings the list back as it was just before.
//
//	go run ./examples/rewind -data ./list
//
// It shows what a program needs of Tidemark: tidemark.Protect while it runs,
// history.Find to look back, tidemark.Restore to go back. After a rewind the
// program goes on with the restored database, which becomes a timeline of its
// own: what was undone stays in the archive, and can be brought back as well.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	data := flag.String("data", "list", "directory of the program's data")
	addr := flag.String("addr", "127.0.0.1:8090", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *data, *addr); err != nil {
		log.Fatal("rewind: ", err)
	}
}

func run(ctx context.Context, data, addr string) (err error) {
	l, err := open(ctx, data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	fmt.Printf("the list is at http://%s/\n", listener.Addr())
	server := &http.Server{Handler: pages(l), ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() {
		// Requests under way may end; the list is closed after that.
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(last)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
