package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"cortex.dev/cortex/internal/workload"
)

// streams is a connection of HTTP/2 whose client writes the frames itself.
type streams struct {
	t *testing.T
	net.Conn
}

// openStreams begins a connection whose client takes nothing of any answer.
func (r *rig) openStreams() streams {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	fmt.Fprint(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	s := streams{r.t, c}
	s.frame(4, 0, 0, "\x00\x04\x00\x00\x00\x00") // INITIAL_WINDOW_SIZE = 0
	return s
}

func (s streams) frame(kind, flags byte, stream uint32, payload string) {
	s.t.Helper()
	head := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[5:], stream)
	if _, err := s.Write(append(head, payload...)); err != nil {
		s.t.Fatal(err)
	}
}

// head begins the n-th request; method and path have less than 127 bytes.
func (s streams) head(n int, method, path string, last bool) {
	s.t.Helper()
	flags := byte(4)
	if last {
		flags |= 1
	}
	literal := func(name byte, value string) string { return string([]byte{name, byte(len(value))}) + value }
	s.frame(1, flags, uint32(2*n+1), literal(0x02, method)+"\x86"+literal(0x04, path)+literal(0x01, "a"))
}

// answerHead returns the fields of the answer to the n-th request.
func (s streams) answerHead(n int) []byte {
	s.t.Helper()
	if err := s.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // a hang is a failure
		s.t.Fatal(err)
	}
	for {
		head := make([]byte, 9)
		if _, err := io.ReadFull(s, head); err != nil {
			s.t.Fatal(err)
		}
		payload := make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
		if _, err := io.ReadFull(s, payload); err != nil {
			s.t.Fatal(err)
		}
		if head[3] == 1 && binary.BigEndian.Uint32(head[5:]) == uint32(2*n+1) {
			return payload
		}
	}
}

// How many streams one caller opens, and takes nothing of, is nothing to others.
func TestStreamsThatTakeNothingHoldNoPlace(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2, 5000, 40_000} {
		r := startRig(t, nil)
		r.serveAt("api", pod{1, 100}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(bytes.Repeat([]byte("x"), size))
		}))
		s := r.openStreams()
		for n := range 101 {
			s.head(n, "GET", "/api", true)
		}
		r.until(func() bool {
			a := r.get("/api")
			l := r.work("api").pool.Load()
			return a.status == 200 && len(a.body) == size && l.Running+l.Waiting == 0
		}, "others to be served, and every place to be given back")
	}
}

func TestRequestsThatSendNothingHoldNoPlace(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	r.serveAt("api", pod{1, 0}, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { _, _ = io.Copy(io.Discard, req.Body) }))
	s := r.openStreams()
	for n := range 101 {
		s.head(n, "POST", "/api", false)
	}
	for range 10 {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "POST /api HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx")
	}
	for range 10 {
		if a := r.do("POST", "/api", strings.NewReader("hello"), nil); a.status != 200 {
			t.Errorf("beside them: %v, want 200", a)
		}
	}
	s.frame(0, 1, 1, "hello") // who sends it at last is served
	r.until(func() bool { return r.work("api").pool.Load().Running == 0 }, "every place to be given back")
}

// Who leaves does not interrupt a server that works on the whole request, unless the file
// says so: else there would be more for it to do than max_concurrency.
func TestAServerThatWorksForNobodyHasItsPlace(t *testing.T) {
	t.Parallel()
	for _, over2 := range []bool{false, true} {
		for _, gone := range []string{"", workload.Finish, workload.Cancel} {
			t.Run(fmt.Sprintf("HTTP/2 %t, %q", over2, gone), func(t *testing.T) {
				t.Parallel()
				r := startRig(t, nil)
				if over2 {
					r.client = overHTTP2(t)
				}
				began, release, cancelled := make(chan struct{}, 5), make(chan struct{}), make(chan struct{}, 5)
				p := pod{1, 5}
				rev := realtime("api", "/api", p)
				rev.Spec.Pod.OnClientGone = gone
				r.deploy(rev, 1)
				r.run("api", ready("a", r.server(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
					_, _ = io.Copy(io.Discard, req.Body)
					began <- struct{}{}
					select {
					case <-release:
					case <-req.Context().Done():
						cancelled <- struct{}{}
					}
				})), p))
				ctx, leave := context.WithCancel(t.Context())
				req, err := http.NewRequestWithContext(ctx, "POST", r.url("/api"), strings.NewReader("work"))
				if err != nil {
					t.Fatal(err)
				}
				left := make(chan answer, 1)
				go func() { left <- r.send(req) }()
				receive(t, began)
				leave()
				receive(t, left)
				next := make(chan answer, 1)
				go func() { next <- r.get("/api") }()
				if gone == workload.Cancel {
					receive(t, cancelled)
					receive(t, began) // the next one has the place
					close(release)
				} else {
					r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "the next one to wait")
					select {
					case <-began:
						t.Error("the server works on two requests, and takes one at once")
					case <-cancelled:
						t.Error("the server was interrupted")
					default:
					}
					close(release)
				}
				if a := receive(t, next); a.status != 200 {
					t.Errorf("the next one: %v", a)
				}
				r.until(func() bool { return r.work("api").pool.Load().Running == 0 }, "every place to be given back")
			})
		}
	}
}

// A place is one of a run: whatever became of its request, the next run begins with none.
func TestPlacesAreThoseOfARun(t *testing.T) {
	t.Parallel()
	for _, moved := range []bool{false, true} {
		r := startRig(t, nil)
		p := pod{1, 5}
		r.deploy(realtime("ws", "/ws", p), 1)
		first := ready("a", r.server(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			c, err := websocket.Accept(w, req, nil)
			if err != nil {
				fmt.Fprint(w, "served")
				return
			}
			defer c.CloseNow()
			_, _, _ = c.Read(req.Context()) // for ever
		})), p)
		r.run("ws", first)
		c, _, err := websocket.Dial(t.Context(), "ws://"+r.addr+"/ws", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		away := first
		away.State, away.Restarts = workload.NotReady, 1
		r.run("ws", away)
		second := first
		second.Restarts = 1
		if moved {
			second.Address = r.server(says("ws"))
		}
		r.run("ws", second)
		if a := r.get("/ws"); a.status == 503 {
			t.Errorf("moved %t: %v, want an answer of the second run", moved, a)
		}
	}
}

func TestHeldRequestsSaySo(t *testing.T) {
	t.Parallel()
	for _, over2 := range []bool{false, true} {
		r := startRig(t, nil)
		if over2 {
			r.client = overHTTP2(t)
		}
		p := pod{10, 10}
		r.deploy(realtime("api", "/api", p), 0)
		held := make(chan answer, 1)
		go func() { held <- r.get("/api") }()
		r.until(func() bool { return r.work("api").pool.Load().Waiting == 1 }, "one to be held")
		r.run("api", ready("a", r.server(says("api")), p))
		for _, tt := range []struct {
			got  answer
			want string
		}{{<-held, "activator"}, {r.get("/api"), "api"}} {
			if origin := tt.got.header.Values("X-Cortex-Origin"); tt.got.status != 200 || len(origin) != 1 || origin[0] != tt.want {
				t.Errorf("HTTP/2 %t: %v from %v, want 200 from %s", over2, tt.got, origin, tt.want)
			}
		}
	}
}

// What HTTP/1 refuses of a request line, HTTP/2 has no way around.
func TestHTTP2RefusesWhatHTTP1CouldNotSay(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	asked := make(chan string, 10)
	r.serveAt("api", pod{1, 1}, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { asked <- req.Method }))
	s := r.openStreams()
	s.head(0, "GET /x HTTP/1.1", "/api", true)
	if head := s.answerHead(0); head[0] != 0x80|12 { // :status 400 of HPACK's static table
		t.Errorf("a method with a space was answered with %x, want 400", head)
	}
	s.head(1, "FETCH", "/api", true)
	if got := receive(t, asked); got != "FETCH" {
		t.Errorf("the server was asked to %s", got)
	}
}

func TestForwardedFieldsOfHTTP2(t *testing.T) {
	t.Parallel()
	given := http.Header{
		"X-Forwarded-For": {"10.1.1.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"outer"}, "X-Forwarded-Ssl": {"on"},
		"Forwarded": {"for=10.1.1.1"}, "X-Real-Ip": {"10.1.1.1"}, "X_forwarded_for": {"10.1.1.1"}, "X-Kept": {"1"},
	}
	for _, trusted := range []bool{false, true} {
		r := startRig(t, func(c *Config) {
			if trusted {
				c.Trusted = append(c.Trusted, loopback)
			}
		})
		got := make(chan http.Header, 1)
		r.serveAt("api", pod{1, 1}, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { got <- req.Header }))
		r.client = overHTTP2(t)
		if a := r.do("GET", "/api", nil, given); a.status != 200 {
			t.Fatal(a)
		}
		want := map[string]string{"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Proto": "http", "X-Forwarded-Host": r.addr, "X-Kept": "1"}
		if trusted {
			want = map[string]string{
				"X-Forwarded-For": "10.1.1.1, 127.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "outer", "X-Forwarded-Ssl": "on",
				"Forwarded": "for=10.1.1.1", "X-Real-Ip": "10.1.1.1", "X-Kept": "1",
			}
		}
		h := <-got
		for name := range given {
			if value := h.Get(name); value != want[name] {
				t.Errorf("trusted %t: %s: %q, want %q", trusted, name, value, want[name])
			}
		}
	}
}

var loopback = netip.MustParsePrefix("127.0.0.0/8")
