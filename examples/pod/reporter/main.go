// Command reporter stands beside the server in the same pod and reports now and
// then, as a shipper of logs or metrics would.
package main

import (
	"context"
	"flag"
	"fmt"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	every := flag.Duration("every", time.Minute, "how often it reports")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ticker := time.NewTicker(*every)
	defer ticker.Stop()
	for n := 1; ; n++ {
		fmt.Println("report", n)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
