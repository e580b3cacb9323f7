package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// wire is one keep-alive connection, without a client library that would repeat
// a request behind our back.
type wire struct {
	conn    net.Conn
	answers *bufio.Reader
}

func dial(ctx context.Context, endpoint string) (*wire, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", strings.TrimPrefix(endpoint, "http://"))
	if err != nil {
		return nil, err
	}
	return &wire{conn: conn, answers: bufio.NewReader(conn)}, nil
}

func (w *wire) close() { _ = w.conn.Close() }

// post sends one small request and reads its answer to the end.
func (w *wire) post(path string, within time.Duration) (status int, body string, err error) {
	if err := w.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return 0, "", err
	}
	const text = `{"x":1}`
	if _, err := fmt.Fprintf(w.conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(text), text); err != nil {
		return 0, "", err
	}
	answer, err := http.ReadResponse(w.answers, nil)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(io.LimitReader(answer.Body, 1<<16))
	if err != nil {
		return 0, "", err
	}
	if answer.Close {
		return answer.StatusCode, string(data), errClosing
	}
	return answer.StatusCode, string(data), nil
}

// errClosing goes with a complete answer after which the server closes the connection.
var errClosing = errors.New("the server closes the connection")

// load is a steady stream of requests from keep-alive clients.
type load struct {
	endpoint, path string
	sent, failed   atomic.Int64
	mu             sync.Mutex
	seen           map[string]int // answers, by body
	failures       []string       // the first few, for people
	stop           context.CancelFunc
	clients        sync.WaitGroup
}

// startLoad begins to send rate requests a second over the given number of
// connections until end is called.
func startLoad(ctx context.Context, endpoint, path string, connections, rate int) *load {
	l := &load{endpoint: endpoint, path: path, seen: map[string]int{}}
	ctx, l.stop = context.WithCancel(ctx)
	for i := range connections {
		l.clients.Go(func() { l.client(ctx, time.Duration(connections)*time.Second/time.Duration(rate), i) })
	}
	return l
}

func (l *load) end() {
	l.stop()
	l.clients.Wait()
}

// client sends one request per pace; one that is late does not catch up.
func (l *load) client(ctx context.Context, pace time.Duration, seed int) {
	ticker := time.NewTicker(pace + time.Duration(seed)*time.Microsecond) // so that they drift apart
	defer ticker.Stop()
	var w *wire
	for {
		select {
		case <-ctx.Done():
			if w != nil {
				w.close()
			}
			return
		case <-ticker.C:
		}
		var err error
		if w == nil {
			if w, err = dial(ctx, l.endpoint); err != nil {
				if ctx.Err() == nil {
					l.note(0, "", fmt.Errorf("connecting: %w", err))
				}
				continue
			}
		}
		status, body, err := w.post(l.path, 30*time.Second)
		l.note(status, body, err)
		if err != nil {
			w.close()
			w = nil
		}
	}
}

func (l *load) note(status int, body string, err error) {
	l.sent.Add(1)
	if status == http.StatusOK && (err == nil || errors.Is(err, errClosing)) {
		l.mu.Lock()
		l.seen[body]++
		l.mu.Unlock()
		return
	}
	l.failed.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failures) < 5 {
		l.failures = append(l.failures, strings.TrimSpace(fmt.Sprintf("%d %s %v", status, strings.TrimSpace(body), err)))
	}
}

// outcome of a burst.
type outcome struct {
	answered, refused, lost int
	refusal                 string // the first refusal's text
	loss                    string // the first loss's
}

// burst opens n connections and then sends one request on each at once.
func burst(ctx context.Context, endpoint, path string, n int) (outcome, error) {
	wires := make([]*wire, n)
	for i := range wires {
		w, err := dial(ctx, endpoint)
		if err != nil {
			return outcome{}, fmt.Errorf("connecting: %w", err)
		}
		defer w.close()
		wires[i] = w
	}
	var mu sync.Mutex
	var o outcome
	var clients sync.WaitGroup
	start := make(chan struct{})
	for _, w := range wires {
		clients.Go(func() {
			<-start
			status, body, err := w.post(path, time.Minute)
			if errors.Is(err, errClosing) {
				err = nil
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && status == http.StatusOK:
				o.answered++
			case err == nil && status == http.StatusServiceUnavailable:
				o.refused++
				o.refusal = strings.TrimSpace(body)
			default:
				o.lost++
				o.loss = fmt.Sprintf("%d %s %v", status, strings.TrimSpace(body), err)
			}
		})
	}
	close(start)
	clients.Wait()
	return o, nil
}
