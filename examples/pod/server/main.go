// Command server takes a while to get ready, says so on /ready, and says goodbye
// when it is asked to on /goodbye.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	server := &http.Server{Addr: ":" + os.Getenv("CORTEX_PORT"), Handler: handler(300 * time.Millisecond), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background()) // waits for what has begun
		stop()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// handler answers requests once it has warmed up for a while.
func handler(warmUp time.Duration) http.Handler {
	var warm atomic.Bool
	time.AfterFunc(warmUp, func() { warm.Store(true) })
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !warm.Load() {
			http.Error(w, "warming up", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /goodbye", func(http.ResponseWriter, *http.Request) {
		fmt.Println("goodbye: cortex is about to stop this replica")
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "served by one container while another reports") // the caller may be gone
	})
	return mux
}
