package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"cortex.dev/cortex/internal/relay/h2"
)

// pipe is a transport of which everything that is to be read is there at once.
type pipe struct {
	in   *bytes.Reader
	mu   sync.Mutex
	out  bytes.Buffer
	read chan struct{} // closed when all of it was read, and what it began has begun
	done chan struct{} // closed by Close: until then nothing more comes
	once sync.Once
}

func newPipe(in []byte) *pipe {
	return &pipe{in: bytes.NewReader(in), read: make(chan struct{}), done: make(chan struct{})}
}

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.in.Read(b)
	if err != nil {
		close(p.read)
		<-p.done
	}
	return n, err
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *pipe) WriteNow(b []byte) (int, error) { return p.Write(b) }

func (p *pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// FuzzFrames: no frames make a server panic, or keep it from ending when its client has
// left; and the bodies that it takes for whole are as long as they say.
func FuzzFrames(f *testing.F) {
	var b bytes.Buffer
	w := http2.NewFramer(&b, nil)
	w.AllowIllegalWrites = true
	block := []byte{0x83, 0x86, 0x84, 0x41, 1, 'a'}
	_ = w.WriteSettings()
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndHeaders: true})
	_ = w.WriteData(1, false, []byte("hello"))
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0, 1, 'x', 1, 'y'}, EndHeaders: true, EndStream: true})
	_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: block[:3]})
	_ = w.WriteContinuation(3, true, block[3:])
	_ = w.WriteWindowUpdate(3, 100)
	_ = w.WritePing(false, [8]byte{})
	_ = w.WriteRSTStream(3, http2.ErrCodeCancel)
	_ = w.WriteGoAway(0, 0, nil)
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, raw []byte) {
		nc := newPipe(append([]byte(h2.Preface), raw...))
		var all sync.WaitGroup
		c := h2.NewConn(nc, h2.Config{Header: 1 << 14, Streams: 10, Begin: func(st *h2.Stream) {
			all.Go(func() {
				defer st.Close()
				text, whole := st.Request()
				var h head
				if !whole || h.parseRequest(text) != nil {
					return
				}
				n := int64(0)
				for {
					p, last, err := st.Next()
					if err != nil {
						return
					}
					if n += int64(len(p)); len(p) > 0 {
						st.Advance(len(p))
					}
					if last {
						break
					}
				}
				if h.length >= 0 && n != h.length {
					t.Errorf("a body of %d bytes says that it has %d", n, h.length)
				}
				_ = st.Send([]byte("HTTP/1.1 200 OK\r\nX: y\r\n\r\nhello"), nil, true, []byte("end: 1\r\n"))
			})
		}})
		ended := make(chan error, 1)
		go func() { ended <- c.Run(nil) }()
		select {
		case <-nc.read:
			nc.Close()
			<-ended
		case <-ended:
		}
		c.Close()
		all.Wait()
	})
}

// served is what a server understood.
type served struct {
	method, host, uri string
	fields            []string
}

func (s *served) of(r *http.Request) {
	s.method, s.host, s.uri = r.Method, r.Host, r.RequestURI
	for name, values := range r.Header {
		if name == "Te" { // of the hop
			continue
		}
		for _, v := range values {
			// White space around a value is no part of it, as in HTTP/1.1: net/http keeps it.
			s.fields = append(s.fields, strings.ToLower(name)+": "+strings.Trim(v, " \t"))
		}
	}
	slices.Sort(s.fields)
}

var errOneOnly = errors.New("there was one connection")

// oneConn is a listener of one connection.
type oneConn struct {
	net.Conn
	once  sync.Once
	taken bool
	ended chan struct{}
}

func (o *oneConn) Accept() (net.Conn, error) {
	if !o.taken {
		o.taken = true
		return o.Conn, nil
	}
	<-o.ended
	return nil, errOneOnly
}
func (o *oneConn) Close() error   { o.once.Do(func() { close(o.ended) }); return nil }
func (o *oneConn) Addr() net.Addr { return &net.TCPAddr{} }

// understood is what net/http makes of a head; false: it refuses it.
func understood(t *testing.T, block []byte) (s served, ok bool) {
	t.Helper()
	ours, theirs := net.Pipe()
	ln := &oneConn{Conn: theirs, ended: make(chan struct{})}
	got := make(chan struct{}, 1)
	var p http.Protocols
	p.SetUnencryptedHTTP2(true)
	server := &http.Server{Protocols: &p, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		s.of(r)
		ok = true
		got <- struct{}{}
	})}
	go func() { _ = server.Serve(ln) }()
	defer server.Close()
	defer ours.Close()
	go func() {
		w := http2.NewFramer(ours, nil)
		_, _ = io.WriteString(ours, h2.Preface)
		_ = w.WriteSettings()
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block, EndStream: true, EndHeaders: true})
	}()
	r := http2.NewFramer(nil, ours)
	for {
		frame, err := r.ReadFrame()
		if err != nil {
			return s, false
		}
		switch frame.(type) {
		case *http2.HeadersFrame, *http2.RSTStreamFrame, *http2.GoAwayFrame:
			select {
			case <-got:
				return s, ok
			default:
				return s, false
			}
		}
	}
}

// FuzzHeads holds what a head of HTTP/2 becomes as text of HTTP/1.1 against what net/http
// understands of it: what is taken here is taken there, and is the same.
func FuzzHeads(f *testing.F) {
	f.Add("GET", "/a?b", "a", "x", "1", "cookie", "c")
	f.Add("POST", "/", "a:80", "content-length", "0", "te", "trailers")
	f.Add("GET", "/", "a\r\n", "host", "a", "x", "a\r\ny: z")
	f.Add("GE2", "/", "0", "0", "0", "x", " 0")
	f.Fuzz(func(t *testing.T, method, path, host, name1, value1, name2, value2 string) {
		if len(method)+len(path)+len(host)+len(name1)+len(value1)+len(name2)+len(value2) > 4<<10 {
			return
		}
		var block bytes.Buffer
		enc := hpack.NewEncoder(&block)
		for _, f := range []hpack.HeaderField{{Name: ":method", Value: method}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: path}, {Name: ":authority", Value: host}, {Name: name1, Value: value1}, {Name: name2, Value: value2}} {
			if f.Name != "" {
				_ = enc.WriteField(f)
			}
		}
		var frames bytes.Buffer
		w := http2.NewFramer(&frames, nil)
		frames.WriteString(h2.Preface)
		_ = w.WriteSettings()
		_ = w.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
		nc := newPipe(frames.Bytes())
		text := make(chan []byte, 1)
		c := h2.NewConn(nc, h2.Config{Header: 1 << 16, Streams: 10, Begin: func(st *h2.Stream) {
			b, _ := st.Request()
			text <- bytes.Clone(b)
			st.Close()
		}})
		ended := make(chan error, 1)
		go func() { ended <- c.Run(nil) }()
		select {
		case <-nc.read:
			nc.Close()
			<-ended
		case <-ended:
		}
		var b []byte
		select {
		case b = <-text:
		default:
		}
		var h head
		if b == nil || h.parseRequest(b) != nil {
			return
		}
		want, ok := understood(t, block.Bytes())
		if !ok {
			return // net/http refuses more, which loses nothing
		}
		got := served{method: string(h.method), host: string(h.host), uri: string(h.target)}
		for i := range h.fields {
			if f := &h.fields[i]; f.kind != kHost && f.kind != kTE {
				got.fields = append(got.fields, string(f.name)+": "+string(f.value))
			}
		}
		slices.Sort(got.fields)
		if got.method != want.method || got.host != want.host || got.uri != want.uri || !slices.Equal(got.fields, want.fields) {
			t.Errorf("%q is read as %+v, net/http reads %+v", b, got, want)
		}
	})
}
