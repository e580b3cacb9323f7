package relay

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"cortex.dev/cortex/internal/relay/h2"
)

// callee is a server of gRPC that does what it is told with the calls of each connection,
// of which n tells which it is.
func callee(t *testing.T, do func(n int, f *http2.Framer, id uint32, c net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	var conns atomic.Int32
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			n := int(conns.Add(1))
			go func() { // ends with its connection
				defer c.Close()
				_, _ = io.ReadFull(c, make([]byte, len(h2.Preface)))
				f := http2.NewFramer(c, c)
				f.AllowIllegalWrites = true
				_ = f.WriteSettings()
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					if h, ok := frame.(*http2.HeadersFrame); ok && h.StreamID%2 == 1 {
						do(n, f, h.StreamID, c)
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func block(fs ...string) []byte {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	for i := 0; i < len(fs); i += 2 {
		_ = enc.WriteField(hpack.HeaderField{Name: fs[i], Value: fs[i+1]})
	}
	return b.Bytes()
}

func answerCall(f *http2.Framer, id uint32) {
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block(":status", "200", "content-type", "application/grpc")})
	_ = f.WriteData(id, false, []byte("hello"))
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block("grpc-status", "0")})
}

func callHead(more ...string) fields {
	return request("POST", "/pkg.Service/Say", append(fields{"content-type", "application/grpc", "te", "trailers"}, more...)...)
}

// ended reads what came of a call: its gRPC status with our reason, or how it broke.
func (f *framer) ended() string {
	f.t.Helper()
	for {
		switch frame := f.next().(type) {
		case *http2.MetaHeadersFrame:
			said := ""
			for _, field := range frame.RegularFields() {
				if field.Name == "grpc-status" || field.Name == "x-cortex-reason" {
					said = field.Value + " " + said
				}
			}
			if frame.StreamEnded() {
				return said
			}
		case *http2.RSTStreamFrame:
			return fmt.Sprint("reset ", frame.ErrCode)
		case *http2.GoAwayFrame:
			return fmt.Sprint("end ", frame.ErrCode)
		}
	}
}

// TestServersOfCalls: what servers do with a call, and what its caller hears.
func TestServersOfCalls(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		do   func(n int, f *http2.Framer, id uint32, c net.Conn)
		want string
	}{
		"answered": {func(_ int, f *http2.Framer, id uint32, _ net.Conn) { answerCall(f, id) }, "0 "},
		"refused, and taken elsewhere": {func(n int, f *http2.Framer, id uint32, _ net.Conn) {
			if n > 1 {
				answerCall(f, id)
				return
			}
			_ = f.WriteGoAway(0, http2.ErrCodeNo, nil)
		}, "0 "},
		"refused again and again": {func(_ int, f *http2.Framer, id uint32, _ net.Conn) {
			_ = f.WriteRSTStream(id, http2.ErrCodeRefusedStream)
		}, "14 upstream_closed "},
		"reset": {func(_ int, f *http2.Framer, id uint32, _ net.Conn) {
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
		}, "14 upstream_closed "},
		"closed": {func(_ int, _ *http2.Framer, _ uint32, c net.Conn) { c.Close() }, "14 upstream_closed "},
		"reset in the middle": {func(_ int, f *http2.Framer, id uint32, _ net.Conn) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block(":status", "200", "content-type", "application/grpc")})
			_ = f.WriteRSTStream(id, http2.ErrCodeInternal)
		}, "reset INTERNAL_ERROR"},
		"malformed": {func(_ int, f *http2.Framer, id uint32, _ net.Conn) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, BlockFragment: block(":status", "200", "Up", "x")})
		}, "14 upstream_malformed "},
		"a body before its head": {func(_ int, f *http2.Framer, id uint32, _ net.Conn) { _ = f.WriteData(id, false, []byte("x")) }, "14 upstream_malformed "},
		"only a head": {func(_ int, f *http2.Framer, id uint32, _ net.Conn) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, EndStream: true, BlockFragment: block(":status", "200", "content-type", "application/grpc", "grpc-status", "5")})
		}, "5 "},
		"no answer at all": {func(_ int, f *http2.Framer, _ uint32, _ net.Conn) {
			_ = f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}, "14 upstream_closed "},
	} {
		s, addr, _ := relayTo(t, callee(t, tt.do), Limits{}, nil)
		f := dialFrames(t, addr)
		f.head(1, false, callHead())
		_ = f.WriteData(1, true, []byte("\x00\x00\x00\x00\x00"))
		if got := f.ended(); got != tt.want && !(name == "reset in the middle" && got == "14 upstream_closed ") {
			t.Errorf("%s: the call came to %q, want %q", name, got, tt.want)
		}
		f.Close()
		s.returned(t)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	_, addr, _ := relayTo(t, ln.Addr().String(), Limits{}, nil)
	f := dialFrames(t, addr)
	f.head(1, true, callHead())
	if got := f.ended(); got != "14 unreachable " {
		t.Errorf("a server that is not there: %q", got)
	}
}

// TestASlowCallHoldsUpNobody: calls share a connection to their server, and not its window.
func TestASlowCallHoldsUpNobody(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("Slow") != "" {
			for range 400 {
				_, _ = w.Write(make([]byte, 64<<10))
			}
		}
	}))
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	server.Config.Protocols = &p
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	_, addr, _ := relayTo(t, server.Listener.Addr().String(), Limits{}, nil)
	slow := dialFrames(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	for id := uint32(1); id < 100; id += 2 {
		slow.head(id, true, callHead("slow", "1"))
	}
	for range 50 {
		if got := slow.outcome(); got != "200" {
			t.Fatal(got)
		}
	}
	f := dialFrames(t, addr)
	for id := uint32(1); id < 100; id += 2 {
		f.head(id, true, callHead())
		if got := f.outcome(); got != "200" {
			t.Fatal(got)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections to the server, want one for all", n)
	}
	slow.Close()
}

// TestServersThatAreSilentAreAsked: a connection whose server does not answer a ping ends.
func TestServersThatAreSilentAreAsked(t *testing.T) {
	t.Parallel()
	pinged := make(chan struct{}, 1)
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
		defer c.Close()
		_, _ = io.ReadFull(c, make([]byte, len(h2.Preface)))
		f := http2.NewFramer(c, c)
		_ = f.WriteSettings()
		for {
			frame, err := f.ReadFrame()
			if err != nil {
				return
			}
			if _, ok := frame.(*http2.PingFrame); ok {
				pinged <- struct{}{}
			}
		}
	}()
	s, addr, _ := relayTo(t, ln.Addr().String(), Limits{}, nil)
	f := dialFrames(t, addr)
	f.head(1, true, callHead())
	until(t, func() bool { return s.open() == 1 && s.up.streams() == 1 && s.up.came() > 0 }, "the call to be under way, and the settings of the server here")
	now := time.Now()
	s.up.Sweep(now.Add(time.Second)) // which sees what came
	s.up.Sweep(now.Add(time.Minute))
	<-pinged
	s.up.Sweep(now.Add(2 * time.Minute))
	if got := f.ended(); got != "14 upstream_closed " {
		t.Errorf("the call came to %q", got)
	}
}

// came returns how many bytes came on shared connections.
func (u *Upstream) came() (n uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.shared {
		n += m.h.State().Came
	}
	return n
}

// streams returns how many requests are on shared connections.
func (u *Upstream) streams() (n int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, m := range u.shared {
		n += m.h.State().Open
	}
	return n
}
