package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"cortex.dev/cortex/bench/load"
	"cortex.dev/cortex/bench/row"
)

// thinks is how long a slow server takes for a request.
const thinks = 10 * time.Millisecond

// serveSlowly answers each request after a while, however many there are.
func serveSlowly(ctx context.Context, ln net.Listener) error {
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // who has left is told by the answer
		time.Sleep(thinks)
		_, _ = io.WriteString(w, "done\n") // likewise
	})}
	return serveUntil(ctx, ln, s)
}

// pressed is what came of the requests of a client that does not wait for answers.
type pressed struct {
	mu       sync.Mutex
	answered int
	refused  []time.Duration
	err      error
}

// press sends so many requests a second for a period, over n connections, whatever becomes of
// them, or each when the one before was answered if the rate is 0. It prints how many were
// answered, how many refused, and within how many microseconds 99 of 100 refusals came.
func press(ctx context.Context, addr string, n, rate int, period time.Duration) error {
	free := make(chan *load.Wire, n)
	for range n {
		w, err := load.Dial(ctx, addr)
		if err != nil {
			return err
		}
		defer w.Close()
		free <- w
	}
	var p pressed
	var under sync.WaitGroup
	begin := time.Now()
	for sent := 0; time.Since(begin) < period; sent++ {
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(sent) * time.Second / time.Duration(rate))))
		}
		select {
		case w := <-free:
			under.Go(func() {
				p.ask(w)
				free <- w
			})
		default:
			if rate > 0 {
				return errors.New("more connections are needed for that rate")
			}
			w := <-free
			free <- w
			sent--
		}
	}
	under.Wait()
	if p.err != nil {
		return p.err
	}
	fmt.Println(p.answered, len(p.refused), row.Quantile(p.refused, 0.99).Microseconds())
	return nil
}

func (p *pressed) ask(w *load.Wire) {
	sent := time.Now()
	status, body, err := w.Post("/api/predict", 10*time.Second)
	took := time.Since(sent)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err != nil:
		p.err = err
	case status == http.StatusOK:
		p.answered++
	case status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests:
		p.refused = append(p.refused, took)
	default:
		p.err = fmt.Errorf("an answer is %d: %s", status, body)
	}
}
