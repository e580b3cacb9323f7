package relay

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestHeadThatNeverEndsIsEnded(t *testing.T) {
	t.Parallel()
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{HeaderTimeout: 100 * time.Millisecond, IdleTimeout: 200 * time.Millisecond}, nil)
	slow := dial(t, addr)
	slow.send("GET / HTTP/1.1\r\nHost: a\r\nX: ")
	if resp, _ := slow.answer("GET"); resp.StatusCode != 408 || !resp.Close {
		t.Errorf("answered %s, want 408 and close", resp.Status)
	}
	slow.wantClosed()
	silent := dial(t, addr)
	silent.wantClosed()
}

func TestBodyThatStallsIsEnded(t *testing.T) {
	t.Parallel()
	s, addr := func() (*single, string) {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
		t.Cleanup(backend.Close)
		s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{BodyTimeout: 100 * time.Millisecond}, nil)
		return s, addr
	}()
	for _, tt := range []struct {
		name, raw string
		places    int // that are taken for it, and given back
	}{
		{"nothing of a small one", "Content-Length: 10\r\n\r\n", 0},
		{"a part of a small one", "Content-Length: 10\r\n\r\nabc", 0},
		{"nothing of a large one", "Content-Length: 1000000\r\n\r\n", 0},
		{"a part of a large one", "Content-Length: 1000000\r\n\r\nabc", 1},
		{"no chunk", "Transfer-Encoding: chunked\r\n\r\n", 0},
		{"a chunk", "Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 1},
		{"nothing although it was asked to go on", "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n", 1},
	} {
		before := len(s.returned(t))
		c := dial(t, addr)
		c.send("POST / HTTP/1.1\r\nHost: a\r\n" + tt.raw)
		if strings.Contains(tt.raw, "Expect") {
			c.response("POST")
		}
		c.wantClosed()
		if got := s.returned(t); len(got)-before != tt.places || tt.places > 0 && got[before] != 0 {
			t.Errorf("%s: places were given back with %v, want %d with 0", tt.name, got[before:], tt.places)
		}
	}
}

func TestClientThatDoesNotReadIsEnded(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return
			}
		}
	}))
	t.Cleanup(backend.Close)
	s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{BodyTimeout: 100 * time.Millisecond}, nil)
	c := dial(t, addr)
	c.send(get)
	if got := s.returned(t); len(got) == 0 {
		until(t, func() bool { return len(s.returned(t)) == 1 }, "the place to be given back")
	}
}

func TestSlowAnswerIsLegal(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-release
		io.WriteString(w, "ok")
	}))
	t.Cleanup(backend.Close)
	short := Limits{HeaderTimeout: 100 * time.Millisecond, IdleTimeout: 100 * time.Millisecond, BodyTimeout: 100 * time.Millisecond}
	s, addr, _ := relayTo(t, backend.Listener.Addr().String(), short, nil)
	slow, other := dial(t, addr), dial(t, addr)
	slow.send(get)
	other.wantClosed() // every timeout has passed by now
	third := dial(t, addr)
	third.wantClosed()
	close(release)
	if resp, body := slow.answer("GET"); resp.StatusCode != 200 || body != "ok" {
		t.Errorf("answered %s %q, want 200 ok", resp.Status, body)
	}
	s.returned(t)
}

func TestRefusalKeepsTheConnectionWhereItCan(t *testing.T) {
	t.Parallel()
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{}, func(s *single, _ *Config) {
		s.refuse = &Answer{Status: 503, Code: "queue_full", Message: "pending request queue full", Text: true, Origin: "activator", RetryAfter: time.Second}
	})
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi" + "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + get)
	for _, method := range []string{"POST", "HEAD", "GET"} {
		resp, body := c.answer(method)
		want := "pending request queue full\n"
		if method == "HEAD" {
			want = ""
		}
		h := resp.Header
		if resp.StatusCode != 503 || body != want || h.Get("X-Cortex-Reason") != "queue_full" || h.Get("Retry-After") != "1" ||
			h.Get("X-Cortex-Origin") != "activator" || h.Get("X-Request-Id") == "" || h.Get("Date") == "" || resp.Close {
			t.Errorf("%s: %s %q %v, close %t", method, resp.Status, body, h, resp.Close)
		}
	}
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhi")
	if resp, _ := c.answer("POST"); !resp.Close {
		t.Error("an unread body must end the connection")
	}
	c.wantClosed()
}

func TestServeFinishesWhatItAccepted(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-release
		io.WriteString(w, "ok")
	}))
	t.Cleanup(backend.Close)
	_, addr, stop := relayTo(t, backend.Listener.Addr().String(), Limits{}, nil)
	idle, busy := dial(t, addr), dial(t, addr)
	busy.send(get)
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	idle.wantClosed()
	until(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, "the listener to close")
	select {
	case err := <-stopped:
		t.Fatalf("Serve returned %v while a request ran", err)
	default:
	}
	close(release)
	if resp, body := busy.answer("GET"); resp.StatusCode != 200 || body != "ok" || !resp.Close {
		t.Errorf("answered %s %q, close %t; want 200 ok and close", resp.Status, body, resp.Close)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

// A client that sends again and again on one connection is told to close it, instead of
// finding it closed with a request under way.
func TestADrainAnswersOneMoreRequest(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") }))
	t.Cleanup(backend.Close)
	_, addr, stop := relayTo(t, backend.Listener.Addr().String(), Limits{}, nil)
	c := dial(t, addr)
	c.send(get)
	if resp, _ := c.answer("GET"); resp.Close {
		t.Fatal("closed before the server stopped")
	}
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	until(t, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	}, "the listener to close")
	began := time.Now()
	until(t, func() bool { return time.Since(began) > 4*tick }, "the watch to have looked")
	c.send(get)
	if resp, body := c.answer("GET"); resp.StatusCode != 200 || body != "ok" || !resp.Close {
		t.Errorf("answered %s %q, close %t; want 200 ok and close", resp.Status, body, resp.Close)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
}

func TestServeEndsWhatOutlivesItsGrace(t *testing.T) {
	t.Parallel()
	began := make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}))
	t.Cleanup(backend.Close)
	s := &single{up: NewUpstream(backend.Listener.Addr().String())}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- NewServer(Config{Handler: s}).Serve(ctx, ln, time.Millisecond) }()
	c := dial(t, ln.Addr().String())
	c.send(get)
	<-began
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve = %v, want nil", err)
	}
	s.returned(t)
}

func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{Conns: 2, ConnsPerAddr: 2}, func(s *single, _ *Config) {
		s.refuse = &Answer{Status: 404, Code: "x"}
	})
	a, b := dial(t, addr), dial(t, addr)
	a.send(get)
	a.answer("GET")
	b.send(get)
	b.answer("GET")
	third := dial(t, addr)
	io.WriteString(third.Conn, get) // may fail already
	if resp, err := http.ReadResponse(third.r, nil); err == nil {
		t.Errorf("one connection too many was answered %s", resp.Status)
	}
}

// logs is a place for log lines that a test can read.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestDefectCostsOneConnection(t *testing.T) {
	t.Parallel()
	var out logs
	var calls atomic.Int64
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{}, func(s *single, cfg *Config) {
		cfg.Log = slog.New(slog.NewTextHandler(&out, nil))
		s.refuse = &Answer{Status: 404, Code: "x"}
		s.admit = func(*Exchange) {
			if calls.Add(1) == 1 {
				panic("a defect")
			}
		}
	})
	c := dial(t, addr)
	c.send(get)
	c.wantClosed()
	c = dial(t, addr)
	c.send(get)
	if resp, _ := c.answer("GET"); resp.StatusCode != 404 {
		t.Errorf("the next connection got %s, want 404", resp.Status)
	}
	if !strings.Contains(out.String(), "a defect") {
		t.Errorf("the log says %q, want the defect", out.String())
	}
}

// In the middle of HTTP/1 it is no preface.
func TestPrefaceComesFirst(t *testing.T) {
	t.Parallel()
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{}, func(s *single, _ *Config) { s.refuse = &Answer{Status: 404, Code: "x"} })
	c := dial(t, addr)
	c.send(get + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	c.answer("GET")
	if resp, _ := c.answer("GET"); resp.StatusCode != 505 {
		t.Errorf("a preface in the middle got %s, want 505", resp.Status)
	}
}

func TestCopyIsTheRequestAgain(t *testing.T) {
	t.Parallel()
	main := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	t.Cleanup(main.Close)
	type seen struct{ line, body, id string }
	shadow := make(chan seen, 1)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		shadow <- seen{r.Method + " " + r.RequestURI, string(b), r.Header.Get("X-Request-Id")}
		w.WriteHeader(418)
	}))
	t.Cleanup(other.Close)
	up := NewUpstream(other.Listener.Addr().String())
	copies := make(chan *Copy, 1)
	_, addr, _ := relayTo(t, main.Listener.Addr().String(), Limits{}, func(s *single, _ *Config) {
		s.admit = func(x *Exchange) { x.Strip(4) }
		s.copies = func(c *Copy) { copies <- c }
	})
	big := strings.Repeat("y", 500_000)
	for _, tt := range []struct{ name, raw, body string }{
		{"no body", "GET /api/x?q HTTP/1.1\r\nHost: a\r\nX-Request-ID: me\r\n\r\n", ""},
		{"small", "GET /api/x?q HTTP/1.1\r\nHost: a\r\nX-Request-ID: me\r\nContent-Length: 2\r\n\r\nhi", "hi"},
		{"large", "GET /api/x?q HTTP/1.1\r\nHost: a\r\nX-Request-ID: me\r\nContent-Length: 500000\r\n\r\n" + big, big},
		{"chunked", "GET /api/x?q HTTP/1.1\r\nHost: a\r\nX-Request-ID: me\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", "hi"},
		{"expected", "GET /api/x?q HTTP/1.1\r\nHost: a\r\nX-Request-ID: me\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", "hi"},
	} {
		c := dial(t, addr)
		c.send(tt.raw)
		status, err := (<-copies).Send(t.Context(), up)
		if status != 418 || err != nil {
			t.Fatalf("%s: Send = %d, %v, want 418", tt.name, status, err)
		}
		if got, want := <-shadow, (seen{"GET /x?q", tt.body, "me"}); got != want {
			t.Errorf("%s: the copy was %.60v with %d bytes, want %.60v with %d", tt.name, got, len(got.body), want, len(tt.body))
		}
	}
	c := dial(t, addr)
	c.send(fmt.Sprintf("POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\nx", 2*MaxCopy))
	if cp := <-copies; !cp.Over() || cp.Size() > 4096 {
		t.Errorf("a copy of %d bytes keeps %d", 2*MaxCopy, cp.Size())
	}
	c = dial(t, addr)
	c.send("POST /api HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
	go func() {
		w := bufio.NewWriter(c.Conn)
		for range 3 * MaxCopy / 4096 {
			fmt.Fprintf(w, "1000\r\n%s\r\n", strings.Repeat("z", 4096))
		}
		io.WriteString(w, "0\r\n\r\n")
		w.Flush()
	}()
	if cp := <-copies; !cp.Over() || cp.Size() > 4096 {
		t.Errorf("a copy of a long stream keeps %d", cp.Size())
	}
	c.answer("POST")
}

func TestWatchLeavesLivelyConnectionsAlone(t *testing.T) {
	t.Parallel()
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			c := dial(t, addr)
			for j := range 100 {
				path := fmt.Sprintf("/%d/%d", i, j)
				c.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
				if _, body := c.answer("GET"); body != path {
					t.Errorf("GET %s = %q", path, body)
				}
			}
		})
	}
	all.Wait()
}

func BenchmarkRequestHead(b *testing.B) {
	raw := []byte("POST /iris/predict HTTP/1.1\r\nHost: localhost:8888\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n")
	var h head
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if r := h.parseRequest(raw); r != nil {
			b.Fatal(r)
		}
	}
}

func TestOrdinaryExchangeAllocatesNothing(t *testing.T) { // not parallel: it counts every allocation of the process
	exchange := ordinaryExchange(t)
	// Less than one: what the runtime allocates now and then is not ours.
	if n := testing.AllocsPerRun(1000, exchange); n >= 1 {
		t.Errorf("an exchange allocates %v times, want 0", n)
	}
}

func BenchmarkExchange(b *testing.B) {
	exchange := ordinaryExchange(b)
	b.ReportAllocs()
	for b.Loop() {
		exchange()
	}
}

// ordinaryExchange returns what has one client send one request after the other.
func ordinaryExchange(t testing.TB) func() {
	t.Helper()
	request := []byte("POST /x HTTP/1.1\r\nHost: a\r\nUser-Agent: test\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	reply := []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	at := script(t, func(c net.Conn, _ *bufio.Reader) {
		buf := make([]byte, 4096)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			if bytes.HasSuffix(buf[:n], []byte("\r\n\r\n{}")) {
				c.Write(reply)
			}
		}
	})
	s := &single{up: NewUpstream(at), silent: true}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- NewServer(Config{Handler: s}).Serve(ctx, ln, time.Second) }()
	t.Cleanup(func() { cancel(); <-served; s.up.Close() })
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	buf := make([]byte, 4096)
	exchange := func() {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(buf); err != nil || !bytes.HasSuffix(buf[:n], []byte("{}")) {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	exchange()
	return exchange
}
