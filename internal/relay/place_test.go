package relay

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// open returns how many places are taken.
func (s *single) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.given - len(s.statuses) - s.unreach
}

// A place is for work: it is free when the answer is here, whoever has yet to take it.
func TestWhoReadsNothingHasNoPlace(t *testing.T) {
	t.Parallel()
	answer := bytes.Repeat([]byte("x"), 40_000) // within what is kept of an answer
	for _, length := range []string{"Content-Length: 40000\r\n", "Transfer-Encoding: chunked\r\n"} {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if strings.HasPrefix(length, "Content-Length") {
				w.Header().Set("Content-Length", fmt.Sprint(len(answer)))
			}
			_, _ = w.Write(answer)
		}))
		t.Cleanup(backend.Close)
		var served atomic.Pointer[conn]
		s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{}, func(s *single, _ *Config) {
			s.admit = func(x *Exchange) { served.Store(x.conn) }
		})
		c := dial(t, addr)
		// More than the kernel keeps, and nothing of it is read.
		const n = 500
		go func() { _, _ = io.WriteString(c.Conn, strings.Repeat(get, n)) }()
		until(t, func() bool {
			rc := served.Load()
			if rc == nil {
				return false
			}
			since := rc.writing.Load()
			return since != 0 && rc.srv.clock.now()-since > 200 && s.open() == 0
		}, "the place to be given back while the answer waits")
		for range 5 {
			if resp, body := c.answer("GET"); resp.StatusCode != 200 || body != string(answer) {
				t.Fatalf("then came %s with %d bytes, want the whole answer", resp.Status, len(body))
			}
		}
	}
}

// A server that has not read the body of a request takes it for the next request.
func TestConnectionsWithUnreadBodiesAreNotUsedAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		method, status string
		again          bool
	}{
		{"GET", "200 OK", false}, {"HEAD", "200 OK", false}, {"DELETE", "200 OK", false}, {"OPTIONS", "200 OK", false}, {"TRACE", "200 OK", false},
		{"POST", "404 Not Found", false}, {"POST", "503 Busy", false}, {"POST", "200 OK", true}, {"PUT", "201 Created", true},
	} {
		var connections atomic.Int64
		closes := make(chan bool, 10)
		at := script(t, func(c net.Conn, r *bufio.Reader) { // where it can, it looks for no body
			connections.Add(1)
			for {
				head := readHead(r)
				if head == "" {
					return
				}
				closes <- strings.Contains(head, "Connection: close\r\n")
				if tt.again && !strings.HasPrefix(head, "GET") {
					_, _ = io.ReadFull(r, make([]byte, 2))
				}
				_, _ = io.WriteString(c, "HTTP/1.1 "+tt.status+"\r\nContent-Length: 0\r\n\r\n")
			}
		})
		_, addr, _ := relayTo(t, at, Limits{}, nil)
		c := dial(t, addr)
		c.send(tt.method + " / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")
		c.answer(tt.method)
		c.send(get)
		c.answer("GET")
		if n := connections.Load(); (n == 1) != tt.again {
			t.Errorf("%s with a body, answered %s: %d connections for it and the next, want the same one %t", tt.method, tt.status, n, tt.again)
		}
		if told := <-closes; told != meaningless(tt.method) {
			t.Errorf("%s with a body: the upstream was told to close %t, want %t", tt.method, told, meaningless(tt.method))
		}
	}
}

// By then the body may lie where the head was: what the method was must be known before.
func TestABodyThatHidesItsMethod(t *testing.T) {
	t.Parallel()
	var connections atomic.Int64
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		connections.Add(1)
		for head := readHead(r); head != ""; head = readHead(r) {
			if strings.Contains(head, "chunked") {
				for line := ""; line != "0\r\n"; line, _ = r.ReadString('\n') {
				}
				_, _ = r.ReadString('\n')
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range 100 {
		c.send("80\r\n" + strings.Repeat("POST /x ", 16) + "\r\n")
	}
	c.send("0\r\n\r\n")
	c.answer("GET")
	c.send(get)
	c.answer("GET")
	if n := connections.Load(); n != 2 {
		t.Errorf("%d connections for a GET with a long body and the next request, want one each", n)
	}
}

// A server that cannot be interrupted works on, and its place is taken for as long.
func TestPlaceIsTakenWhileTheServerWorks(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "x"} {
		began, release := make(chan struct{}, 1), make(chan struct{})
		backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			began <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
				t.Error("the server was interrupted")
			}
		}))
		t.Cleanup(backend.Close)
		var served atomic.Pointer[conn]
		s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{}, func(s *single, _ *Config) {
			s.admit = func(x *Exchange) { served.Store(x.conn) }
		})
		c := dial(t, addr)
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		<-began
		c.Close()
		until(t, func() bool { return served.Load().left.Load() != 0 }, "the relay to notice that the client left")
		if s.open() != 1 {
			t.Errorf("%d places are taken, want the one of the request", s.open())
		}
		close(release)
		if got := s.returned(t); got[0] != 200 {
			t.Errorf("the place was given back with %d, want 200: the server has done its work", got[0])
		}
	}
}

// silent is a server that takes a request, says so on began, and never answers.
func silent(t *testing.T) (at string, began chan struct{}) {
	t.Helper()
	began = make(chan struct{}, 1)
	return script(t, func(_ net.Conn, r *bufio.Reader) {
		readHead(r)
		began <- struct{}{}
		_, _ = io.Copy(io.Discard, r) // until it is given up
	}), began
}

func TestServerWithoutItsClientHasABound(t *testing.T) {
	t.Parallel()
	at, began := silent(t)
	s, addr, _ := relayTo(t, at, Limits{Finish: 100 * time.Millisecond}, nil)
	c := dial(t, addr)
	c.send(get)
	<-began
	c.Close()
	if got := s.returned(t); got[0] != 0 {
		t.Errorf("the place was given back with %d, want 0", got[0])
	}
}

func TestTheEndWaitsForNoAnswerThatNobodyWants(t *testing.T) {
	t.Parallel()
	at, began := silent(t)
	s := &single{up: NewUpstream(at)}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- NewServer(Config{Handler: s}).Serve(ctx, ln, time.Hour) }()
	c := dial(t, ln.Addr().String())
	c.send(get)
	<-began
	c.Close()
	cancel()
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("Serve = %v, want nil", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the end waits for an answer that nobody wants")
	}
}

// overfill writes more than anybody keeps, and has c vanish as with a container's network.
func overfill(c net.Conn) {
	_ = c.SetWriteDeadline(time.Now().Add(time.Second / 2))
	for {
		if _, err := c.Write(make([]byte, 64<<10)); err != nil {
			break
		}
	}
	_ = c.(*net.TCPConn).SetLinger(0)
}

// A tunnel ends with its server, also where the client takes no notice.
func TestPlaceOfATunnelEndsWithItsServer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		fill bool // the client reads nothing, and the kernel's buffers are full
	}{{"idle", false}, {"full", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			die := make(chan struct{})
			at := script(t, func(c net.Conn, r *bufio.Reader) {
				readHead(r)
				_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
				if tt.fill {
					overfill(c)
				} else {
					<-die
				}
			})
			s, addr, _ := relayTo(t, at, Limits{}, nil)
			c := dial(t, addr)
			c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			c.response("GET")
			if !tt.fill && s.open() != 1 {
				t.Errorf("%d places are taken by a tunnel, want 1", s.open())
			}
			close(die)
			s.returned(t) // and the client has done nothing
		})
	}
}

// The same of a stream that nobody reads.
func TestPlaceOfAnUnreadStreamEndsWithItsServer(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
		overfill(c)
	})
	s, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send(get)
	c.response("GET")
	s.returned(t)
}

// The clock of a body begins when it could come, not when its request has its turn; a
// request of which everything is here waits as long as it has to.
func TestBodyIsNotWaitedForInTheQueue(t *testing.T) {
	t.Parallel()
	for _, whole := range []string{"Content-Length: 1\r\n\r\nx", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n"} {
		waiting := make(chan context.Context, 2)
		release := make(chan struct{})
		_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{BodyTimeout: 100 * time.Millisecond}, func(s *single, _ *Config) {
			s.refuse = &Answer{Status: 503, Code: "late"}
			s.admit = func(x *Exchange) {
				ctx := x.Context()
				waiting <- ctx
				select {
				case <-ctx.Done():
				case <-release:
				}
			}
		})
		first := dial(t, addr)
		first.send("POST / HTTP/1.1\r\nHost: a\r\n" + whole)
		here := <-waiting
		second := dial(t, addr)
		second.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n") // and no more
		stalls := <-waiting
		select {
		case <-stalls.Done():
		case <-time.After(20 * time.Second):
			t.Fatal("it waits for its turn, to send nothing then")
		}
		if here.Err() != nil {
			t.Errorf("%q: a request that is here whole was ended in the queue", whole)
		}
		close(release)
		if resp, _ := first.answer("POST"); resp.StatusCode != 503 {
			t.Errorf("%q: answered %s, want the 503 of its turn", whole, resp.Status)
		}
	}
}

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	t.Parallel()
	for _, trusted := range []bool{false, true} {
		_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{ConnsPerAddr: 2}, func(s *single, cfg *Config) {
			s.refuse = &Answer{Status: 404, Code: "x"}
			if trusted {
				cfg.Trusted = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			}
		})
		ask := func() (*client, bool) {
			c := dial(t, addr)
			_, _ = io.WriteString(c.Conn, get) // may fail already
			_, err := http.ReadResponse(c.r, nil)
			return c, err == nil
		}
		first, ok := ask()
		if _, second := ask(); !ok || !second {
			t.Fatal("two connections were not answered")
		}
		if _, third := ask(); third != trusted {
			t.Errorf("trusted %t: the third was answered %t", trusted, third)
		}
		first.Close()
		until(t, func() bool { _, ok := ask(); return ok }, "a place for another connection")
	}
}
