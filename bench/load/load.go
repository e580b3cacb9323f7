// Package load sends requests the way a careful client does, over keep-alive
// connections, and counts every one that was not answered whole with status 200.
//
// It promises to repeat nothing of which a byte was sent, so that whatever is not
// lost is the merit of the server; only a connection that the server has closed
// before is replaced first, as any HTTP client does. It must not know the product.
package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Wire is one keep-alive connection, without a client library that would repeat
// a request behind our back.
type Wire struct {
	conn    net.Conn
	answers *bufio.Reader
	sending bytes.Buffer
}

// Dial connects to an endpoint, http://host:port.
func Dial(ctx context.Context, endpoint string) (*Wire, error) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "tcp", strings.TrimPrefix(endpoint, "http://"))
	if err != nil {
		return nil, err
	}
	return &Wire{conn: conn, answers: bufio.NewReader(conn)}, nil
}

// Close ends the connection.
func (w *Wire) Close() { _ = w.conn.Close() }

// Post sends one small request and reads its answer to the end.
func (w *Wire) Post(path string, within time.Duration) (status int, body string, err error) {
	return w.Ask("POST "+path, "Content-Type: application/json\r\n", []byte(`{"x":1}`), within)
}

// Ask sends one request, such as GET /path, with more fields, each of which ends its line,
// and reads its answer to the end.
func (w *Wire) Ask(request, fields string, content []byte, within time.Duration) (status int, body string, err error) {
	if err := w.conn.SetDeadline(time.Now().Add(within)); err != nil {
		return 0, "", err
	}
	w.sending.Reset()
	fmt.Fprintf(&w.sending, "%s HTTP/1.1\r\nHost: localhost\r\n%sContent-Length: %d\r\n\r\n", request, fields, len(content))
	w.sending.Write(content)
	if _, err := w.conn.Write(w.sending.Bytes()); err != nil {
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
		return answer.StatusCode, string(data), ErrClosing
	}
	return answer.StatusCode, string(data), nil
}

// closed reports whether the server has closed a connection on which nothing is
// under way.
func (w *Wire) closed() bool {
	if w.answers.Buffered() > 0 {
		return false
	}
	// A deadline in the past would not look at all.
	_ = w.conn.SetReadDeadline(time.Now().Add(50 * time.Microsecond))
	_, err := w.answers.Peek(1)
	var waited net.Error
	return err != nil && !(errors.As(err, &waited) && waited.Timeout())
}

// ErrClosing goes with a complete answer after which the server closes the connection.
var ErrClosing = errors.New("the server closes the connection")

// Stream is a steady stream of requests from keep-alive clients.
type Stream struct {
	endpoint, path string
	sent, failed   atomic.Int64
	mu             sync.Mutex
	seen           map[string]Seen // by body
	failures       []string        // the first few, for people
	stop           context.CancelFunc
	clients        sync.WaitGroup
}

// Start begins to send rate requests a second over the given number of
// connections until End is called.
func Start(ctx context.Context, endpoint, path string, connections, rate int) *Stream {
	l := &Stream{endpoint: endpoint, path: path, seen: map[string]Seen{}}
	ctx, l.stop = context.WithCancel(ctx)
	for i := range connections {
		l.clients.Go(func() { l.client(ctx, time.Duration(connections)*time.Second/time.Duration(rate), i) })
	}
	return l
}

// End stops the stream and waits for the answers that are under way.
func (l *Stream) End() {
	l.stop()
	l.clients.Wait()
}

// Sent is how many requests were sent so far; Failed, how many of them were not
// answered whole with status 200.
func (l *Stream) Sent() int64 { return l.sent.Load() }

// Failed is explained at Sent.
func (l *Stream) Failed() int64 { return l.failed.Load() }

// Seen is what was answered with one body.
type Seen struct {
	First time.Time // when it first was
	Count int64
}

// Seen is every different body of an answer.
func (l *Stream) Seen() map[string]Seen {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.seen)
}

// Failures are the first few failures in words.
func (l *Stream) Failures() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failures)
}

// client sends one request per pace; one that is late does not catch up.
func (l *Stream) client(ctx context.Context, pace time.Duration, seed int) {
	ticker := time.NewTicker(pace + time.Duration(seed)*time.Microsecond) // so that they drift apart
	defer ticker.Stop()
	var w *Wire
	for {
		select {
		case <-ctx.Done():
			if w != nil {
				w.Close()
			}
			return
		case <-ticker.C:
		}
		var err error
		if w != nil && w.closed() {
			w.Close()
			w = nil
		}
		if w == nil {
			if w, err = Dial(ctx, l.endpoint); err != nil {
				if ctx.Err() == nil {
					l.note(0, "", fmt.Errorf("connecting: %w", err))
				}
				continue
			}
		}
		status, body, err := w.Post(l.path, 30*time.Second)
		l.note(status, body, err)
		if err != nil {
			w.Close()
			w = nil
		}
	}
}

func (l *Stream) note(status int, body string, err error) {
	l.sent.Add(1)
	if status == http.StatusOK && (err == nil || errors.Is(err, ErrClosing)) {
		now := time.Now()
		l.mu.Lock()
		s, known := l.seen[body]
		if !known {
			s.First = now
		}
		s.Count++
		l.seen[body] = s
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

// Outcome of a burst.
type Outcome struct {
	Answered, Refused, Lost int
	Refusal                 string // a refusal's text
	Loss                    string // a loss's
}

// Burst opens n connections and then sends one request on each at once.
func Burst(ctx context.Context, endpoint, path string, n int) (Outcome, error) {
	wires := make([]*Wire, n)
	for i := range wires {
		w, err := Dial(ctx, endpoint)
		if err != nil {
			return Outcome{}, fmt.Errorf("connecting: %w", err)
		}
		defer w.Close()
		wires[i] = w
	}
	var mu sync.Mutex
	var o Outcome
	var clients sync.WaitGroup
	start := make(chan struct{})
	for _, w := range wires {
		clients.Go(func() {
			<-start
			status, body, err := w.Post(path, time.Minute)
			if errors.Is(err, ErrClosing) {
				err = nil
			}
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil && status == http.StatusOK:
				o.Answered++
			case err == nil && status == http.StatusServiceUnavailable:
				o.Refused++
				o.Refusal = strings.TrimSpace(body)
			default:
				o.Lost++
				o.Loss = fmt.Sprintf("%d %s %v", status, strings.TrimSpace(body), err)
			}
		})
	}
	close(start)
	clients.Wait()
	return o, nil
}
