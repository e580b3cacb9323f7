package httpserve

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// listener hands out pipes, so that time is that of the test's bubble.
type listener struct {
	accepted chan net.Conn
	closed   chan struct{}
}

func newListener() *listener {
	return &listener{accepted: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { close(l.closed); return nil }
func (l *listener) Addr() net.Addr { return &net.TCPAddr{} }

// dial connects and sends text.
func (l *listener) dial(t *testing.T, text string) net.Conn {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	l.accepted <- theirs
	go func() { _, _ = io.WriteString(ours, text) }()
	return ours
}

// serving runs Serve in the bubble of t.
func serving(t *testing.T, handler http.HandlerFunc) (l *listener, stop func(), ended chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l, ended = newListener(), make(chan error, 1)
	go func() { ended <- Serve(ctx, l, handler) }()
	return l, cancel, ended
}

const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

func TestBoundsBeforeARequestIsKnown(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		sent  string
		after time.Duration // the connection ends
		says  string
	}{
		"nothing is sent":            {"", headTimeout, ""},
		"half a head is sent":        {"GET / HTTP/1.1\r\nHost: x\r\n", headTimeout, ""},
		"a head is too large":        {"GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 2*maxHead) + "\r\n\r\n", 0, "431 "},
		"no second request is begun": {request, idleTimeout, "200 OK"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, stop, ended := serving(t, func(http.ResponseWriter, *http.Request) {})
				begun := time.Now()
				said, err := io.ReadAll(l.dial(t, tt.sent))
				// A server that refuses a head leaves its sender half a second to read why.
				if took := time.Since(begun).Truncate(time.Second); err != nil || took != tt.after || !strings.Contains(string(said), tt.says) {
					t.Errorf("the connection ended after %s with %q, %v, want %s and %q", took, said, err, tt.after, tt.says)
				}
				stop()
				if err := <-ended; err != nil {
					t.Errorf("Serve = %v, want nil", err)
				}
			})
		})
	}
}

func TestTheEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		after   time.Duration
		whole   bool
	}{
		"an answer under way is given": {func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(lastAnswers - time.Second)
			fmt.Fprint(w, "answer")
		}, lastAnswers - time.Second, true},
		"one that takes too long is cut off": {func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(lastAnswers + time.Second)
			fmt.Fprint(w, "answer")
		}, lastAnswers, false},
		"a stream ends": {func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			fmt.Fprint(w, "answer")
		}, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, stop, ended := serving(t, tt.handler)
				conn := l.dial(t, request)
				synctest.Wait() // the handler has the request
				begun := time.Now()
				stop()
				answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err == nil {
					_, err = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				}
				if (err == nil) != tt.whole {
					t.Errorf("the answer ends with %v, want a whole one: %t", err, tt.whole)
				}
				if err := <-ended; err != nil {
					t.Errorf("Serve = %v, want nil", err)
				}
				// Shutdown looks for connections that are idle now and then.
				if took := time.Since(begun); took < tt.after || took > tt.after+time.Second {
					t.Errorf("Serve returned after %s, want %s", took, tt.after)
				}
				time.Sleep(lastAnswers) // for the handler that was cut off
			})
		})
	}
}

type broken struct{ *listener }

var errBroken = errors.New("broken")

func (broken) Accept() (net.Conn, error) { return nil, errBroken }

func TestAListenerThatFails(t *testing.T) {
	t.Parallel()
	if err := Serve(t.Context(), broken{newListener()}, http.NotFoundHandler()); !errors.Is(err, errBroken) {
		t.Errorf("Serve = %v, want the error of the listener", err)
	}
}
