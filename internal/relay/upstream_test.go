package relay

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestKeptConnectionThatWasClosedIsReplaced(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) { // one answer, and an end it did not announce
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	})
	s, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	for i := range 200 {
		c.send(get)
		if resp, body := c.answer("GET"); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d: %s %q", i, resp.Status, body)
		}
	}
	s.returned(t)
}

func TestRequestThatCannotBeRepeatedIsSentOnce(t *testing.T) {
	t.Parallel()
	seen := make(chan string, 10)
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		for {
			head := readHead(r)
			if head == "" {
				return
			}
			seen <- head[:4]
			if strings.HasPrefix(head, "POST") {
				return // it was read, and nobody knows what became of it
			}
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		}
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send(get)
	c.answer("GET")
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
	if resp, _ := c.answer("POST"); resp.StatusCode != 502 {
		t.Errorf("answered %s, want 502", resp.Status)
	}
	c.send(get)
	c.answer("GET")
	if a, b, d := <-seen, <-seen, <-seen; a+b+d != "GET POSTGET " {
		t.Errorf("the upstream saw %q, %q, %q; want one POST", a, b, d)
	}
}

// awaitUnread returns when something has arrived at c, and leaves it there.
func awaitUnread(c net.Conn) {
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return err != syscall.EAGAIN
	})
}

// A server that lives and closes a kept connection with a request in it that it has not read
// has not crashed: the reason says so. One that read the request and said nothing has broken
// off, and one that is gone too.
func TestAStaleConnectionIsNoCrash(t *testing.T) {
	t.Parallel()
	post := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"
	for _, tt := range []struct {
		name       string
		reads, end bool
		want       string
	}{
		{"closed unread", false, false, Stale},
		{"closed after it was read", true, false, "upstream_closed"},
		{"gone with the request unread", false, true, "upstream_closed"},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(c)
			readHead(r)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			awaitUnread(c)
			if tt.reads {
				readHead(r)
				_, _ = io.CopyN(io.Discard, r, 2)
			}
			if tt.end {
				ln.Close()
			}
			c.Close()
		}()
		_, addr, _ := relayTo(t, ln.Addr().String(), Limits{}, nil)
		c := dial(t, addr)
		c.send(get)
		c.answer("GET")
		c.send(post)
		if resp, _ := c.answer("POST"); resp.StatusCode != 502 || resp.Header.Get("X-Cortex-Reason") != tt.want {
			t.Errorf("%s: answered %s %s, want 502 %s", tt.name, resp.Status, resp.Header.Get("X-Cortex-Reason"), tt.want)
		}
	}
}

// A request that was sent, and after which there is no server, may be why: it ends no
// second one.
func TestARequestCostsOneReplica(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 10)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		r := bufio.NewReader(c)
		seen <- readHead(r)[:5]
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		seen <- readHead(r)[:5]
		ln.Close()
		c.Close()
	}()
	s, addr, _ := relayTo(t, ln.Addr().String(), Limits{}, nil)
	c := dial(t, addr)
	c.send(get)
	c.answer("GET")
	c.send(get)
	if resp, _ := c.answer("GET"); resp.StatusCode != 502 || resp.Header.Get("X-Cortex-Reason") != "upstream_closed" {
		t.Errorf("answered %s %v, want 502 upstream_closed", resp.Status, resp.Header)
	}
	if got := s.returned(t); len(got) != 2 || s.unreach != 0 {
		t.Errorf("places were given back with %v, and %d as not reached: another replica gets the request", got, s.unreach)
	}
}

func TestUnreachableUpstreamLosesNothing(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	ln.Close()
	backend := script(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		b, _ := io.ReadAll(req.Body)
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(b), b)
	})
	s, addr, _ := relayTo(t, dead, Limits{}, func(s *single, _ *Config) {
		s.admit = func(*Exchange) {
			s.mu.Lock()
			if s.unreach == 1 { // the second try goes elsewhere
				s.up = NewUpstream(backend)
			}
			s.mu.Unlock()
		}
	})
	c := dial(t, addr)
	big := strings.Repeat("x", 50_000)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\n" + big)
	if resp, body := c.answer("POST"); resp.StatusCode != 200 || body != big {
		t.Errorf("answered %s with %d bytes, want the whole body back", resp.Status, len(body))
	}
	if s.returned(t); s.unreach != 1 {
		t.Errorf("%d places were not reached, want 1", s.unreach)
	}
}

func TestClientThatLeavesCancelsItsRequest(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"", "x"} {
		began, cancelled := make(chan struct{}), make(chan struct{})
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			close(began)
			<-r.Context().Done()
			close(cancelled)
		}))
		t.Cleanup(backend.Close)
		s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{}, func(s *single, _ *Config) {
			s.admit = func(x *Exchange) { x.CancelWhenGone() }
		})
		c := dial(t, addr)
		c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		<-began
		c.Close()
		select {
		case <-cancelled:
		case <-time.After(20 * time.Second):
			t.Fatal("the upstream was not told")
		}
		if got := s.returned(t); got[0] != 0 {
			t.Errorf("the place was given back with %d, want 0", got[0])
		}
	}
}

func TestClientThatLeavesEndsItsWait(t *testing.T) {
	t.Parallel()
	waiting, left := make(chan struct{}), make(chan error, 1)
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{}, func(s *single, _ *Config) {
		s.refuse = &Answer{Status: 503, Code: "late"}
		s.admit = func(x *Exchange) {
			ctx := x.Context()
			close(waiting)
			<-ctx.Done()
			left <- ctx.Err()
		}
	})
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nsome of it") // the rest is never sent
	<-waiting
	c.Close()
	select {
	case <-left:
	case <-time.After(20 * time.Second):
		t.Fatal("the wait went on")
	}
}

func TestBytesAfterAnAnswerReachNobody(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"GET", "HEAD"} {
		at := script(t, func(c net.Conn, r *bufio.Reader) {
			for readHead(r) != "" {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Cortex-Origin: forged\r\nX-Cortex-Reason: forged\r\n\r\nok"+
					strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 500)) // more than one read takes
			}
		})
		_, addr, _ := relayTo(t, at, Limits{}, nil)
		for range 3 {
			c := dial(t, addr)
			c.send(method + " / HTTP/1.1\r\nHost: a\r\n\r\n" + get)
			for _, m := range []string{method, "GET"} {
				resp, body := c.answer(m)
				if m == "GET" && body != "ok" {
					t.Fatalf("%s got %q", m, body)
				}
				if h := resp.Header; len(h["X-Cortex-Origin"]) != 1 || h.Get("X-Cortex-Origin") != "api" || h.Get("X-Cortex-Reason") != "" {
					t.Errorf("fields of ours were forged: %v", h)
				}
			}
		}
	}
}

func TestWhatAServerSaysUnaskedIsNobodysAnswer(t *testing.T) {
	t.Parallel()
	say, said := make(chan struct{}, 1), make(chan struct{}, 1)
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			<-say // the client has its answer, so the connection is idle
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
			said <- struct{}{}
		}
	})
	t.Cleanup(func() { close(say) })
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	for i := range 3 {
		c.send(get)
		if resp, body := c.answer("GET"); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d: %s %q, want ok", i, resp.Status, body)
		}
		say <- struct{}{}
		<-said
	}
}
