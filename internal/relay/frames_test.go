package relay

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"cortex.dev/cortex/internal/relay/h2"
)

// framer is a client of HTTP/2 that sends the frames it is told to.
type framer struct {
	t *testing.T
	net.Conn
	*http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
}

func dialFrames(t *testing.T, addr string, settings ...http2.Setting) *framer {
	t.Helper()
	c := dial(t, addr).Conn
	f := &framer{t: t, Conn: c, Framer: http2.NewFramer(c, c)}
	f.AllowIllegalWrites = true
	f.enc = hpack.NewEncoder(&f.block)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(c, h2.Preface); err != nil {
		t.Fatal(err)
	}
	if err := f.WriteSettings(settings...); err != nil {
		t.Fatal(err)
	}
	return f
}

// fields are names and values, in turns.
type fields []string

func request(method, path string, more ...string) fields {
	return append(fields{":method", method, ":scheme", "http", ":authority", "a", ":path", path}, more...)
}

func (f *framer) encode(fs fields) []byte {
	f.block.Reset()
	for i := 0; i+1 < len(fs); i += 2 {
		_ = f.enc.WriteField(hpack.HeaderField{Name: fs[i], Value: fs[i+1]})
	}
	return bytes.Clone(f.block.Bytes())
}

// head begins a stream. What fails is seen by who waits for the answer.
func (f *framer) head(id uint32, end bool, fs fields) {
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: f.encode(fs), EndStream: end, EndHeaders: true})
}

// next returns the next frame that says something of a stream, or ends the connection.
func (f *framer) next() http2.Frame {
	f.t.Helper()
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			f.t.Fatalf("waiting for a frame: %v", err)
		}
		switch frame.(type) {
		case *http2.MetaHeadersFrame, *http2.DataFrame, *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return frame
		}
	}
}

// outcome is how a stream was answered: its status with its reason, or how it was ended.
func (f *framer) outcome() string {
	f.t.Helper()
	switch frame := f.next().(type) {
	case *http2.MetaHeadersFrame:
		said := frame.PseudoValue("status")
		for _, field := range frame.RegularFields() {
			if field.Name == "x-cortex-reason" {
				said += " " + field.Value
			}
		}
		return said
	case *http2.RSTStreamFrame:
		return fmt.Sprint("reset ", frame.ErrCode)
	case *http2.GoAwayFrame:
		return fmt.Sprint("end ", frame.ErrCode)
	}
	return "data"
}

// TestHeadsThatAreNone: what HTTP/2 forbids, and what would become something else on its
// way to a server of HTTP/1.1, reaches none.
func TestHeadsThatAreNone(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	_, addr := relayHandler(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	const malformed = "reset PROTOCOL_ERROR"
	for name, tt := range map[string]struct {
		fields fields
		want   string
	}{
		"upper case":                 {request("GET", "/", "X-Up", "1"), malformed},
		"a line end in a value":      {request("GET", "/", "x", "a\r\nx-injected: 1"), malformed},
		"a bare LF in a value":       {request("GET", "/", "x", "a\nx-injected: 1"), malformed},
		"a NUL in a value":           {request("GET", "/", "x", "a\x00"), malformed},
		"another control character":  {request("GET", "/", "x", "a\x01"), "400 malformed_field"},
		"a line end in a name":       {request("GET", "/", "x\r\ny", "a"), malformed},
		"a colon in a name":          {request("GET", "/", "x:y", "a"), malformed},
		"no name":                    {request("GET", "/", "", "a"), malformed},
		"transfer-encoding":          {request("POST", "/", "transfer-encoding", "chunked"), malformed},
		"connection":                 {request("GET", "/", "connection", "x"), malformed},
		"keep-alive":                 {request("GET", "/", "keep-alive", "1"), malformed},
		"upgrade":                    {request("GET", "/", "upgrade", "h2c"), malformed},
		"te":                         {request("GET", "/", "te", "gzip"), malformed},
		"another host":               {request("GET", "/", "host", "b"), malformed},
		"two hosts":                  {fields{":method", "GET", ":scheme", "http", ":path", "/", "host", "a", "host", "b"}, malformed},
		"no host":                    {fields{":method", "GET", ":scheme", "http", ":path", "/"}, "400 malformed_host"},
		"a host with a line end":     {fields{":method", "GET", ":scheme", "http", ":authority", "a\r\nx: 1", ":path", "/"}, malformed},
		"a host with a path":         {fields{":method", "GET", ":scheme", "http", ":authority", "a/b", ":path", "/"}, "400 malformed_host"},
		"a target with a space":      {request("GET", "/ HTTP/1.1"), "400 malformed_request_line"},
		"a target with a line end":   {request("GET", "/ HTTP/1.1\r\nx: 1\r\n"), "400 malformed_request_line"},
		"a target with a tab":        {request("GET", "/\t"), "400 malformed_request_line"},
		"a target with a fragment":   {request("GET", "/#x"), "400 malformed_request_line"},
		"a target with half escapes": {request("GET", "/%zz"), "400 malformed_target"},
		"an absolute target":         {request("GET", "http://b/"), "400 malformed_request_line"},
		"a target of another place":  {request("GET", "x"), "400 malformed_request_line"},
		"an asterisk":                {request("GET", "*"), "400 malformed_target"},
		"no target":                  {request("GET", ""), malformed},
		"a method with a space":      {request("GET /x HTTP/1.1\r\nx:", "/"), "400 malformed_request_line"},
		"CONNECT":                    {fields{":method", "CONNECT", ":authority", "a:80"}, "405 connect_refused"},
		"extended CONNECT":           {fields{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "a", ":path", "/"}, malformed},
		"a target twice":             {request("GET", "/", ":path", "/b"), malformed},
		"an unknown pseudo-field":    {append(fields{":x", "1"}, request("GET", "/")...), malformed},
		"pseudo-fields at the end":   {fields{":method", "GET", ":scheme", "http", ":authority", "a", "x", "1", ":path", "/"}, malformed},
		"two lengths":                {request("POST", "/", "content-length", "1", "content-length", "2"), malformed},
		"a length that is none":      {request("POST", "/", "content-length", "+1"), malformed},
		"a length and no body":       {request("POST", "/", "content-length", "1"), malformed},
		"another expectation":        {request("POST", "/", "expect", "x"), "417 expectation_failed"},
		"too many fields":            {request("GET", "/", strings.Split(strings.Repeat("a,b,", maxFields)+"a,b", ",")...), "431 too_many_headers"},
		"too large":                  {request("GET", "/", "x", strings.Repeat("x", 33<<10), "y", strings.Repeat("y", 33<<10)), "431 headers_too_large"},
	} {
		f := dialFrames(t, addr)
		block := f.encode(tt.fields)
		n := min(len(block), 16<<10)
		_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block[:n], EndStream: true, EndHeaders: n == len(block)})
		for block = block[n:]; len(block) > 0; block = block[n:] {
			n = min(len(block), 16<<10)
			_ = f.WriteContinuation(1, n == len(block), block[:n])
		}
		if got := f.outcome(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	if n := asked.Load(); n > 0 {
		t.Errorf("the server was asked %d times, want never", n)
	}
}

// TestHeadsAreTheSame: what HTTP/2 says otherwise reaches a server as HTTP/1.1 has it.
func TestHeadsAreTheSame(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	_, addr := relayHandler(t, func(_ http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		got <- fmt.Sprintf("%s %s %s cookie=%q x=%q length=%d %s %v %v", r.Method, r.Host, r.RequestURI, r.Header["Cookie"], r.Header["X"], r.ContentLength, b, err, r.Trailer)
	})
	for name, tt := range map[string]struct {
		fields fields
		body   string
		trail  fields
		want   string
	}{
		"crumbs of a cookie": {request("GET", "/a?b", "cookie", "a=1", "cookie", "b=2"), "", nil, `GET a /a?b cookie=["a=1; b=2"] x=[] length=0  <nil> map[]`},
		"a field twice":      {request("GET", "/", "x", "1", "x", "2"), "", nil, `GET a / cookie=[] x=["1" "2"] length=0  <nil> map[]`},
		"the host in a field": {fields{":method", "GET", ":scheme", "https", ":path", "/", "host", "b"}, "", nil,
			`GET b / cookie=[] x=[] length=0  <nil> map[]`},
		"both hosts":     {request("GET", "/", "host", "a"), "", nil, `GET a / cookie=[] x=[] length=0  <nil> map[]`},
		"an asterisk":    {request("OPTIONS", "*"), "", nil, `OPTIONS a /* cookie=[] x=[] length=0  <nil> map[]`},
		"a length":       {request("POST", "/", "content-length", "5"), "hello", nil, `POST a / cookie=[] x=[] length=5 hello <nil> map[]`},
		"no length":      {request("POST", "/"), "hello", nil, `POST a / cookie=[] x=[] length=-1 hello <nil> map[]`},
		"a trailer":      {request("POST", "/", "trailer", "x-end, cookie"), "hello", fields{"x-end", "1", "cookie", "a"}, `POST a / cookie=[] x=[] length=-1 hello <nil> map[X-End:[1]]`},
		"only a trailer": {request("POST", "/", "trailer", "x-end"), "", fields{"x-end", "1"}, `POST a / cookie=[] x=[] length=-1  <nil> map[X-End:[1]]`},
	} {
		if name == "an asterisk" {
			continue // net/http answers it without asking
		}
		f := dialFrames(t, addr)
		f.head(1, tt.body == "" && tt.trail == nil, tt.fields)
		if tt.body != "" {
			_ = f.WriteData(1, tt.trail == nil, []byte(tt.body))
		}
		if tt.trail != nil {
			f.head(1, true, tt.trail)
		}
		if said := f.outcome(); said != "200" {
			t.Errorf("%s: answered %s", name, said)
			continue
		}
		if g := <-got; g != tt.want {
			t.Errorf("%s: the server got\n%s, want\n%s", name, g, tt.want)
		}
	}
}

// TestBodiesThatAreNone: what is wrong with a body ends its stream, and the server does not
// take it for whole.
func TestBodiesThatAreNone(t *testing.T) {
	t.Parallel()
	whole := make(chan string, 10)
	_, addr := relayHandler(t, func(_ http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			whole <- string(b)
		}
	})
	for name, tt := range map[string]struct {
		send func(f *framer)
		want string
	}{
		"longer than its length": {func(f *framer) {
			f.head(1, false, request("POST", "/", "content-length", "3"))
			_ = f.WriteData(1, true, []byte("long"))
		}, "reset PROTOCOL_ERROR"},
		"shorter than its length": {func(f *framer) {
			f.head(1, false, request("POST", "/", "content-length", "9"))
			_ = f.WriteData(1, true, []byte("short"))
		}, "reset PROTOCOL_ERROR"},
		"a head in the middle": {func(f *framer) {
			f.head(1, false, request("POST", "/"))
			f.head(1, false, fields{"x", "1"})
		}, "reset PROTOCOL_ERROR"},
		"a pseudo-field in the trailer": {func(f *framer) {
			f.head(1, false, request("POST", "/"))
			f.head(1, true, fields{":path", "/x"})
		}, "reset PROTOCOL_ERROR"},
	} {
		f := dialFrames(t, addr)
		tt.send(f)
		if got := f.outcome(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
	select {
	case b := <-whole:
		t.Errorf("the server took %q for a whole body", b)
	default:
	}
}

// TestConnectionsThatAttackEnd: each attack ends its connection, with the reason.
func TestConnectionsThatAttackEnd(t *testing.T) {
	t.Parallel()
	forever := func(send func(f *framer, id uint32) error) func(*framer) {
		return func(f *framer) {
			for id := uint32(1); send(f, id) == nil; id += 2 {
			}
		}
	}
	for name, tt := range map[string]struct {
		attack func(f *framer)
		want   string
	}{
		"pings":      {forever(func(f *framer, _ uint32) error { return f.WritePing(false, [8]byte{}) }), "end ENHANCE_YOUR_CALM"},
		"settings":   {forever(func(f *framer, _ uint32) error { return f.WriteSettings() }), "end ENHANCE_YOUR_CALM"},
		"windows":    {forever(func(f *framer, _ uint32) error { return f.WriteWindowUpdate(0, 1) }), "end ENHANCE_YOUR_CALM"},
		"priorities": {forever(func(f *framer, _ uint32) error { return f.WritePriority(1, http2.PriorityParam{}) }), "end ENHANCE_YOUR_CALM"},
		"unknown":    {forever(func(f *framer, _ uint32) error { return f.WriteRawFrame(0xfa, 0, 0, nil) }), "end ENHANCE_YOUR_CALM"},
		"empty data": {func(f *framer) {
			f.head(1, false, request("POST", "/"))
			for f.WriteData(1, false, nil) == nil {
			}
		}, "end ENHANCE_YOUR_CALM"},
		"rapid reset": {forever(func(f *framer, id uint32) error {
			f.head(id, true, request("GET", "/"))
			return f.WriteRSTStream(id, http2.ErrCodeCancel)
		}), "end ENHANCE_YOUR_CALM"},
		"resets that are provoked": {forever(func(f *framer, id uint32) error {
			f.head(id, false, request("POST", "/", "content-length", "x"))
			return f.WriteWindowUpdate(0, 1)
		}), "end ENHANCE_YOUR_CALM"},
		"continuations without an end": {func(f *framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.encode(request("GET", "/"))})
			block := f.encode(fields{"x", strings.Repeat("x", 4000)})
			for f.WriteContinuation(1, false, block) == nil {
			}
		}, "end ENHANCE_YOUR_CALM"},
		"continuations without anything": {func(f *framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.encode(request("GET", "/"))})
			for f.WriteContinuation(1, false, nil) == nil {
			}
		}, "end ENHANCE_YOUR_CALM"},
		"a window that overflows": {func(f *framer) { _ = f.WriteWindowUpdate(0, 1<<31-1) }, "end FLOW_CONTROL_ERROR"},
		"a block that is none": {func(f *framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndHeaders: true})
		}, "end COMPRESSION_ERROR"},
		"a stream of the server's": {func(f *framer) { f.head(2, true, request("GET", "/")) }, "end PROTOCOL_ERROR"},
		"a stream of before": {func(f *framer) {
			f.head(3, true, request("GET", "/"))
			f.head(1, true, request("GET", "/"))
		}, "end STREAM_CLOSED"},
		"a push": {func(f *framer) {
			_ = f.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true})
		}, "end PROTOCOL_ERROR"},
		"data without a stream":  {func(f *framer) { _ = f.WriteData(5, false, []byte("x")) }, "end PROTOCOL_ERROR"},
		"a frame that is larger": {func(f *framer) { _ = f.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 17<<10)) }, "end FRAME_SIZE_ERROR"},
		"more than the window of a stream": {func(f *framer) {
			f.head(1, false, request("POST", "/"))
			for range 17 {
				_ = f.WriteData(1, false, make([]byte, 16<<10))
			}
		}, "reset FLOW_CONTROL_ERROR"},
		"data of one who is over": {func(f *framer) { // more than the window of the connection
			f.head(1, false, request("POST", "/"))
			for range 70 {
				if f.WriteData(1, false, make([]byte, 16<<10)) != nil {
					return
				}
			}
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hold := make(chan struct{})
			var held atomic.Int32
			_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{}, func(s *single, _ *Config) {
				s.refuse = &Answer{Status: 503, Code: "x"}
				s.admit = func(*Exchange) {
					if n := held.Add(1); n > maxStreams {
						t.Errorf("%d requests are under way, want at most %d", n, maxStreams)
					}
					<-hold
				}
			})
			t.Cleanup(func() { close(hold) }) // before the relay ends
			f := dialFrames(t, addr)
			go tt.attack(f)
			for {
				got := f.outcome()
				if strings.HasPrefix(got, "end") || tt.want == "" || got == tt.want {
					if tt.want != "" && got != tt.want {
						t.Errorf("it came to %s, want %s", got, tt.want)
					}
					return
				}
			}
		})
	}
}

// TestStreamsAreBounded: who opens more than there may be is told, and may try again.
func TestStreamsAreBounded(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{}, func(s *single, _ *Config) {
		s.refuse = &Answer{Status: 503, Code: "x"}
		s.admit = func(*Exchange) { <-hold }
	})
	f := dialFrames(t, addr)
	for i := range uint32(maxStreams + 1) {
		f.head(2*i+1, true, request("GET", "/"))
	}
	if got := f.outcome(); got != "reset REFUSED_STREAM" {
		t.Errorf("one stream too many came to %s", got)
	}
	// A stream that was reset is one as long as somebody works on it.
	_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
	f.head(2*maxStreams+3, true, request("GET", "/"))
	if got := f.outcome(); got != "reset REFUSED_STREAM" && got != "503 x" {
		t.Errorf("a stream in place of one that was reset came to %s", got)
	}
	close(hold)
	for range maxStreams - 1 {
		for f.outcome() != "503 x" {
		}
	}
}

// TestAHeadThatGrows: a few bytes that name a large field again and again are no large
// head.
func TestAHeadThatGrows(t *testing.T) {
	t.Parallel()
	_, addr := relayHandler(t, func(http.ResponseWriter, *http.Request) {})
	f := dialFrames(t, addr)
	f.head(1, true, request("GET", "/", "x", strings.Repeat("x", 3900))) // into the table
	if got := f.outcome(); got != "200" {
		t.Fatal(got)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	bomb := append(f.encode(request("GET", "/")), bytes.Repeat([]byte{0x80 | 62}, 16<<10-100)...)
	_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, BlockFragment: bomb, EndStream: true, EndHeaders: true})
	for {
		got := f.outcome()
		if got == "data" {
			continue
		}
		if got != "431 headers_too_large" {
			t.Errorf("60 MB of fields in 16 KB came to %s", got)
		}
		break
	}
	if runtime.ReadMemStats(&after); after.TotalAlloc-before.TotalAlloc > 8<<20 {
		t.Errorf("they took %d bytes of memory", after.TotalAlloc-before.TotalAlloc)
	}
}

// TestWhoTakesNothingEnds: streams without a window, and connections that nobody reads.
func TestWhoTakesNothingEnds(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 100_000, 4 << 20} {
		backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) }))
		t.Cleanup(backend.Close)
		s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{BodyTimeout: 200 * time.Millisecond}, nil)
		f := dialFrames(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		f.head(1, true, request("GET", "/"))
		if got := f.outcome(); got != "200" {
			t.Fatal(got)
		}
		if got := f.outcome(); got != "reset CANCEL" {
			t.Errorf("a stream that takes nothing of %d bytes came to %s", size, got)
		}
		s.returned(t)
	}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 64<<20)) }))
	t.Cleanup(backend.Close)
	s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{BodyTimeout: 200 * time.Millisecond}, nil)
	f := dialFrames(t, addr, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
	_ = f.WriteWindowUpdate(0, 1<<30)
	for i := range uint32(50) {
		f.head(2*i+1, true, request("GET", "/"))
	}
	s.returned(t) // without a byte read
}

// TestWhoSendsNothingIsTold: a body that does not come; a conversation may rest.
func TestWhoSendsNothingIsTold(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{}, 1)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/talk" {
			_ = http.NewResponseController(w).EnableFullDuplex()
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			begun <- struct{}{}
		}
		for b := make([]byte, 10); ; {
			n, err := r.Body.Read(b)
			_, _ = w.Write(b[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	}))
	t.Cleanup(backend.Close)
	_, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{BodyTimeout: 200 * time.Millisecond}, nil)
	for _, sent := range []string{"", "x"} {
		f := dialFrames(t, addr)
		f.head(1, false, request("POST", "/"))
		if sent != "" {
			_ = f.WriteData(1, false, []byte(sent))
		}
		if got := f.outcome(); got != "408 body_timeout" {
			t.Errorf("a body of which %q came: %s, want 408", sent, got)
		}
	}
	f := dialFrames(t, addr)
	f.head(1, false, request("POST", "/talk"))
	_ = f.WriteData(1, false, []byte("a"))
	<-begun
	if got := f.outcome(); got != "200" {
		t.Fatal(got)
	}
	if data, ok := f.next().(*http2.DataFrame); !ok || string(data.Data()) != "a" {
		t.Fatalf("then came %v", data)
	}
	other := dialFrames(t, addr) // whose body does not come in the meantime
	other.head(1, false, request("POST", "/"))
	if got := other.outcome(); got != "408 body_timeout" {
		t.Fatal(got)
	}
	_ = f.WriteData(1, true, []byte("late"))
	if data, ok := f.next().(*http2.DataFrame); !ok || string(data.Data()) != "late" {
		t.Errorf("after a rest came %v", data)
	}
	f.Close()
}

// TestTheEndFinishesStreams: what was accepted is answered, and what comes late is not
// taken.
func TestTheEndFinishesStreams(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}, 1), make(chan struct{})
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		began <- struct{}{}
		<-release
		fmt.Fprint(w, "finished")
	}))
	t.Cleanup(backend.Close)
	_, addr, stop := relayTo(t, backend.Listener.Addr().String(), Limits{}, nil)
	f := dialFrames(t, addr)
	f.head(1, true, request("GET", "/"))
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	if got := f.outcome(); got != "end NO_ERROR" { // no more streams, please
		t.Errorf("a server that ends says %s", got)
	}
	if got := f.outcome(); got != "end NO_ERROR" { // and none is taken now
		t.Errorf("a server that ends says %s", got)
	}
	f.head(3, true, request("GET", "/late"))
	close(release)
	if got := f.outcome(); got != "200" {
		t.Errorf("the open stream got %s", got)
	}
	for {
		if data, ok := f.next().(*http2.DataFrame); ok && data.StreamEnded() {
			break
		}
	}
	if _, err := f.ReadFrame(); !errors.Is(err, io.EOF) {
		t.Errorf("then came %v, want the end", err)
	}
	f.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// TestConnectionsThatNobodyUsesEnd: idle ones, and those that begin what they do not end.
func TestConnectionsThatNobodyUsesEnd(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*framer){
		"idle": func(*framer) {},
		"half a head": func(f *framer) {
			_ = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.encode(request("GET", "/"))})
		},
	} {
		_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{IdleTimeout: 100 * time.Millisecond, HeaderTimeout: 100 * time.Millisecond}, nil)
		f := dialFrames(t, addr)
		begin(f)
		if got := f.outcome(); got != "end NO_ERROR" {
			t.Errorf("%s: it came to %s", name, got)
		}
		if _, err := f.ReadFrame(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: then came %v, want the end", name, err)
		}
	}
	_, addr, _ := relayTo(t, "127.0.0.1:1", Limits{HeaderTimeout: 100 * time.Millisecond}, nil)
	c := dial(t, addr)
	c.send("PRI * HTTP/2.0\r\n\r\nSM\r\n") // and no more
	if _, err := io.ReadAll(c.r); err != nil {
		t.Errorf("half a preface came to %v, want the end", err)
	}
}

func TestADefectCostsItsStream(t *testing.T) {
	t.Parallel()
	backend := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(backend.Close)
	_, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{}, func(s *single, _ *Config) {
		s.admit = func(x *Exchange) {
			if string(x.Target()) == "/defect" {
				panic("a defect")
			}
		}
	})
	f := dialFrames(t, addr)
	f.head(1, true, request("GET", "/defect"))
	if got := f.outcome(); got != "reset INTERNAL_ERROR" {
		t.Errorf("a defect came to %s", got)
	}
	f.head(3, true, request("GET", "/"))
	if got := f.outcome(); got != "200" {
		t.Errorf("the next stream came to %s", got)
	}
}

// TestAServerOfStreamsFinishesForAClientThatLeft: as with HTTP/1.1, unless it is a call.
func TestAServerOfStreamsFinishesForAClientThatLeft(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"reset", "closed"} {
		began, release := make(chan struct{}, 1), make(chan struct{})
		backend := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			began <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
				t.Error("the server was interrupted")
			}
		}))
		t.Cleanup(backend.Close)
		s, addr, _ := relayTo(t, backend.Listener.Addr().String(), Limits{}, nil)
		f := dialFrames(t, addr)
		f.head(1, true, request("GET", "/"))
		<-began
		if how == "reset" {
			_ = f.WriteRSTStream(1, http2.ErrCodeCancel)
		} else {
			f.Close()
		}
		if s.open() != 1 {
			t.Errorf("%s: %d places are taken, want the one of the request", how, s.open())
		}
		close(release)
		if got := s.returned(t); got[0] != 200 {
			t.Errorf("%s: the place was given back with %d, want 200", how, got[0])
		}
	}
}
