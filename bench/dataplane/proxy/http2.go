package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/sidecar"
)

// serveSidecar is the product's sidecar before backend.
func serveSidecar(ctx context.Context, ln net.Listener, backend string) error {
	_, text, err := net.SplitHostPort(backend)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	s, err := sidecar.New(sidecar.Config{APIName: "api", Target: port, MaxConcurrency: 1000, MaxQueueLength: 1000, Least: time.Millisecond, Quiet: time.Millisecond})
	if err != nil {
		return err
	}
	return s.Run(ctx, ln)
}

// serveEcho says again what it hears, as it comes.
func serveEcho(ctx context.Context, ln net.Listener) error {
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Protocols: &p, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 2000}, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		flush := http.NewResponseController(w)
		for b := make([]byte, 4<<10); ; {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n]) // who has left is told by the next read
			if err != nil {
				return
			}
			_ = flush.Flush() // likewise
		}
	})}
	return serveUntil(ctx, ln, s)
}

// stream is one that rests or talks.
type stream struct {
	in  io.ReadCloser
	out *io.PipeWriter
	b   []byte
}

const message = "\x00\x00\x00\x00\x28a message of forty bytes, or a bit more.."

// open opens n streams on eight connections, and says one message on each.
func open(ctx context.Context, addr string, n int) ([]*stream, error) {
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	var clients [8]*http.Transport
	for i := range clients {
		clients[i] = &http.Transport{Protocols: &p}
	}
	all := make([]*stream, n)
	for i := range all {
		body, out := io.Pipe()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+"/api/bench.Service/Talk", body)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/grpc")
		r.Header.Set("Te", "trailers")
		go func() { _, _ = io.WriteString(out, message) }() // the answer shows it
		resp, err := clients[i%len(clients)].RoundTrip(r)   //nolint:bodyclose // they rest until the end
		if err != nil {
			return nil, err
		}
		all[i] = &stream{resp.Body, out, make([]byte, len(message))}
		if _, err := io.ReadFull(resp.Body, all[i].b); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// rest opens streams and leaves them alone.
func rest(ctx context.Context, addr string, n int) error {
	if _, err := open(ctx, addr, n); err != nil {
		return err
	}
	return restUntil(ctx)
}

func restUntil(ctx context.Context) error {
	fmt.Println("resting") // the one who started it waits for this line
	<-ctx.Done()
	return nil
}

// talk says message after message on n streams, each when the one before has come back,
// and prints how many.
func talk(ctx context.Context, addr string, n int, period time.Duration) error {
	all, err := open(ctx, addr, n)
	if err != nil {
		return err
	}
	var said atomic.Int64
	var failed atomic.Bool
	over := time.Now().Add(period)
	var talking sync.WaitGroup
	for _, s := range all {
		talking.Go(func() {
			for time.Now().Before(over) {
				if _, err := io.WriteString(s.out, message); err != nil {
					failed.Store(true)
					return
				}
				if _, err := io.ReadFull(s.in, s.b); err != nil {
					failed.Store(true)
					return
				}
				said.Add(1)
			}
		})
	}
	talking.Wait()
	if failed.Load() {
		return errors.New("a stream broke off")
	}
	fmt.Println(said.Load())
	return nil
}
