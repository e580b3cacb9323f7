// Command server writes a text word by word, as a language model does: each word
// is one server-sent event, on its way as soon as it is written.
//
//	GET /?words=5
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const text = "The iris takes its name from the Greek word for a rainbow, which is also the name of the goddess who carried messages"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	server := &http.Server{Addr: ":" + os.Getenv("CORTEX_PORT"), Handler: http.HandlerFunc(stream), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Shutdown(context.Background()) // waits for the streams that have begun
		stop()
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func stream(w http.ResponseWriter, r *http.Request) {
	words := strings.Fields(text)
	if n, err := strconv.Atoi(r.URL.Query().Get("words")); err == nil && n >= 0 && n < len(words) {
		words = words[:n]
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	out := http.NewResponseController(w)
	for i, word := range words {
		_, _ = fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i, word)
		if out.Flush() != nil {
			return // the reader is gone
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
			return // so is the work of a model that nobody listens to
		}
	}
}
