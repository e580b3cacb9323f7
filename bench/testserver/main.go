// Command testserver is the server behind the APIs of the benchmark: it starts at
// once, answers every request with a small JSON document and dies at the first
// signal without a word, so that whatever is not lost is the product's merit.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

func main() {
	wait := flag.Duration("start", 0, "time before the port is opened")
	work := flag.Duration("work", 0, "time one request takes")
	slow := flag.Duration("slow", 0, "time every tenth request takes")
	clock := flag.Bool("clock", false, "answer with the time at which the request came, in nanoseconds")
	echo := flag.Bool("echo", false, "answer with the body of the request")
	hold := flag.Bool("hold", false, `answer nothing until whoever asks is gone; but with the time of that, in nanoseconds, to who says "when"`)
	flag.Parse()
	time.Sleep(*wait)
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", os.Getenv("CORTEX_PORT")))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	host, err := os.Hostname() // of a pod, its name
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	answer := fmt.Appendf(nil, `{"version":%q,"host":%q,"pid":%d}`, os.Getenv("VERSION"), host, os.Getpid())
	var count, left atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now()
		if *echo {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = io.Copy(w, r.Body)
			return
		}
		if *hold {
			body, _ := io.ReadAll(r.Body) // else nobody is missed
			if string(body) != "when" {
				<-r.Context().Done()
				left.Store(time.Now().UnixNano())
				return
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"at":%d}`, left.Load())
			return
		}
		takes := *work
		if count.Add(1)%10 == 0 {
			takes = max(takes, *slow)
		}
		time.Sleep(takes)
		w.Header().Set("Content-Type", "application/json")
		if *clock {
			fmt.Fprintf(w, `{"at":%d}`, now.UnixNano())
			return
		}
		_, _ = w.Write(answer)
	})
	fmt.Fprintln(os.Stderr, http.Serve(ln, handler))
	os.Exit(1)
}
