package relay

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// single sends every request to one upstream, and counts places.
type single struct {
	up *Upstream

	mu       sync.Mutex
	given    int
	statuses []int // of Done
	unreach  int
	refuse   *Answer           // to all; nil: none
	admit    func(x *Exchange) // called first
	copies   func(*Copy)       // gets copies
	silent   bool              // counts nothing
}

func (s *single) Admit(x *Exchange, again int) (Place, *Answer) {
	if s.admit != nil {
		s.admit(x)
	}
	if s.copies != nil {
		x.CopyTo(s.copies)
	}
	if s.refuse != nil || again > 3 {
		if s.refuse == nil {
			return nil, &Answer{Status: 503, Code: "unreachable"}
		}
		return nil, s.refuse
	}
	s.mu.Lock()
	s.given++
	s.mu.Unlock()
	return (*place)(s), nil
}

type place single

func (p *place) Upstream() *Upstream { return p.up }
func (p *place) Done(status int) {
	if p.silent {
		return
	}
	p.mu.Lock()
	p.statuses = append(p.statuses, status)
	p.mu.Unlock()
}
func (p *place) Unreached(error) {
	p.mu.Lock()
	p.unreach++
	p.mu.Unlock()
}

// returned waits until every place was given back, and returns how.
func (s *single) returned(t *testing.T) []int {
	t.Helper()
	var all []int
	until(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		all = append([]int(nil), s.statuses...)
		return len(s.statuses)+s.unreach == s.given
	}, "every place to be given back")
	return all
}

// relayTo serves a relay in front of addr and returns its address. stop ends it.
func relayTo(t *testing.T, addr string, limits Limits, change func(*single, *Config)) (s *single, at string, stop func() error) {
	t.Helper()
	s = &single{up: NewUpstream(addr)}
	cfg := Config{Handler: s, Limits: limits, Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	if change != nil {
		change(s, &cfg)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- NewServer(cfg).Serve(ctx, ln, 10*time.Second) }()
	var once sync.Once
	stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-served
			s.up.Close()
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return s, ln.Addr().String(), stop
}

// relayHandler is relayTo in front of an ordinary server.
func relayHandler(t *testing.T, h http.HandlerFunc) (*single, string) {
	t.Helper()
	backend := httptest.NewServer(h)
	t.Cleanup(backend.Close)
	s, at, _ := relayTo(t, backend.Listener.Addr().String(), Limits{}, nil)
	return s, at
}

// script is an upstream that reads a request head and then does what it is told
// with the connection, once per connection.
func script(t testing.TB, do func(c net.Conn, r *bufio.Reader)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				do(c, bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		all.Wait()
	})
	return ln.Addr().String()
}

// readHead reads up to an empty line and returns it all.
func readHead(r *bufio.Reader) string {
	var b strings.Builder
	for {
		line, err := r.ReadString('\n')
		b.WriteString(line)
		if err != nil || line == "\r\n" {
			return b.String()
		}
	}
}

// client is a raw connection to a relay.
type client struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil { // a hang is a failure
		t.Fatal(err)
	}
	return &client{t, c, bufio.NewReader(c)}
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.Conn, s); err != nil {
		c.t.Fatalf("sending %.50q: %v", s, err)
	}
}

// response reads the next response to a request with that method.
func (c *client) response(method string) *http.Response {
	c.t.Helper()
	resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("reading a response: %v", err)
	}
	return resp
}

// answer reads the next response with its whole body.
func (c *client) answer(method string) (*http.Response, string) {
	c.t.Helper()
	resp := c.response(method)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatalf("reading a body: %v after %q", err, b)
	}
	return resp, string(b)
}

// wantClosed checks that the relay closes the connection without another byte.
func (c *client) wantClosed() {
	c.t.Helper()
	if b, err := io.ReadAll(c.r); err != nil || len(b) > 0 {
		c.t.Errorf("then came %q and %v, want the end", b, err)
	}
}

func until(t *testing.T, cond func() bool, what string) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		case <-tick.C:
		}
	}
}
