// Command server answers every WebSocket message with the same message, counted.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coder/websocket"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	server := &http.Server{Addr: ":" + os.Getenv("CORTEX_PORT"), Handler: echo(ctx), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background()) // the echoes end by ctx
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:gocritic // the process is over: the deferred stop has nothing left to do
	}
}

// echo serves WebSockets until their callers, or ctx, end.
func echo(ctx context.Context) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		connection, err := websocket.Accept(w, r, nil)
		if err != nil {
			return // Accept has answered
		}
		defer func() { _ = connection.CloseNow() }() // closed already when all went well
		for n := 1; ; n++ {
			kind, message, err := connection.Read(ctx)
			if ctx.Err() != nil {
				_ = connection.Close(websocket.StatusGoingAway, "the server stops")
				return
			}
			if err != nil {
				return // the caller is gone
			}
			if err := connection.Write(ctx, kind, fmt.Appendf(nil, "%d: %s", n, message)); err != nil {
				return
			}
		}
	})
}
