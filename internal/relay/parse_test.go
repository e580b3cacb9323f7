package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

// memory is a connection whose input is given and whose output is kept.
type memory struct {
	in  io.Reader
	out bytes.Buffer
}

func (m *memory) Read(p []byte) (int, error)       { return m.in.Read(p) }
func (m *memory) Write(p []byte) (int, error)      { return m.out.Write(p) }
func (m *memory) Close() error                     { return nil }
func (m *memory) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (m *memory) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1} }
func (m *memory) SetDeadline(time.Time) error      { return nil }
func (m *memory) SetReadDeadline(time.Time) error  { return nil }
func (m *memory) SetWriteDeadline(time.Time) error { return nil }

// relayed returns what an upstream would get of the first request in raw, and why
// it would get none.
func relayed(raw []byte) (out []byte, err error) { return relayedBy(Config{}, raw) }

func relayedBy(cfg Config, raw []byte) (out []byte, err error) {
	s := NewServer(cfg)
	client := &memory{in: bytes.NewReader(raw)}
	c := newConn(s, client)
	c.in.open(c.nc)
	if !c.readHead() {
		return nil, errors.New(client.out.String())
	}
	if c.req.target[0] == '*' || string(c.req.method) == "PRI" {
		return nil, errors.New("not for an upstream")
	}
	c.x.identify(&c.req)
	c.prepare()
	up := &memory{}
	up.Write(c.out)
	if !c.reqBody.done {
		_, err = c.pump(newSocket(up), &c.reqBody, c.req.body == chunked, nil)
	}
	return up.out.Bytes(), err
}

func TestRequestHeadsThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, raw, want string }{
		{"both lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", "400 ambiguous_length"},
		{"both lengths, other order", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", "400 ambiguous_length"},
		{"both lengths, one of nothing", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400 ambiguous_length"},
		{"both lengths, one of nothing, other order", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n", "400 ambiguous_length"},
		{"differing lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc", "400 malformed_content_length"},
		{"list of lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc", "400 malformed_content_length"},
		{"signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", "400 malformed_content_length"},
		{"negative length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc", "400 malformed_content_length"},
		{"length too large", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775808\r\n\r\n", "400 malformed_content_length"},
		{"empty length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "400 malformed_content_length"},
		{"another coding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "400 unsupported_transfer_encoding"},
		{"identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "400 unsupported_transfer_encoding"},
		{"twice chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "400 unsupported_transfer_encoding"},
		{"disguised chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \vchunked\r\n\r\n", "400 malformed_field"},
		{"chunked for HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "400 unsupported_transfer_encoding"},
		{"folded", "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", "400 malformed_field"},
		{"folded first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", "400 malformed_field"},
		{"bare LF", "GET / HTTP/1.1\nHost: a\n\n", "400 malformed_line_end"},
		{"nothing but LF", "\n", "400 malformed_line_end"},
		{"bare LF in the middle", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", "400 malformed_line_end"},
		{"bare CR", "GET / HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n", "400 malformed_line_end"},
		{"space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\n", "400 malformed_field"},
		{"no name", "GET / HTTP/1.1\r\nHost: a\r\n: 3\r\n\r\n", "400 malformed_field"},
		{"no colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400 malformed_field"},
		{"NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", "400 malformed_field"},
		{"NUL in a name", "GET / HTTP/1.1\r\nHost: a\r\nX\x00: a\r\n\r\n", "400 malformed_field"},
		{"no host", "GET / HTTP/1.1\r\nX: a\r\n\r\n", "400 malformed_host"},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400 malformed_host"},
		{"host with a slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 malformed_host"},
		{"host with a user", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400 malformed_host"},
		{"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_request_line"},
		{"tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_request_line"},
		{"no version", "GET /\r\nHost: a\r\n\r\n", "400 malformed_request_line"},
		{"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_request_line"},
		{"fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_request_line"},
		{"NUL in the target", "GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_request_line"},
		{"relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_target"},
		{"bad escape", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_target"},
		{"short escape", "GET /%2 HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_target"},
		{"authority with a user", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_target"},
		{"another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_target"},
		{"asterisk", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400 malformed_target"},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "405 connect_refused"},
		{"version 2 in words", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505 unsupported_version"},
		{"version 1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", "505 unsupported_version"},
		{"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", "400 malformed_request_line"},
		{"other expectation", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: more\r\n\r\n", "417 expectation_failed"},
		{"long target", "GET /" + strings.Repeat("a", 70_000), "414 uri_too_long"},
		{"large fields", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 70_000), "431 headers_too_large"},
		{"many fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("a: b\r\n", 600) + "\r\n", "431 too_many_headers"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := relayed([]byte(tt.raw))
			if err == nil {
				t.Fatal("accepted")
			}
			resp, rerr := http.ReadResponse(bufio.NewReader(strings.NewReader(err.Error())), nil)
			if rerr != nil {
				t.Fatalf("the refusal is no response: %v: %q", rerr, err)
			}
			if got := resp.Status[:3] + " " + resp.Header.Get("X-Cortex-Reason"); got != tt.want || !resp.Close {
				t.Errorf("refused with %q, close %t; want %q and close", got, resp.Close, tt.want)
			}
		})
	}
}

func TestChunkedBodiesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, body string }{
		{"no size", "\r\n\r\n"},
		{"not hexadecimal", "g\r\nx\r\n0\r\n\r\n"},
		{"prefixed", "0x1\r\nx\r\n0\r\n\r\n"},
		{"signed", "+1\r\nx\r\n0\r\n\r\n"},
		{"negative by overflow", "ffffffffffffffff\r\nx\r\n0\r\n\r\n"},
		{"seventeen digits", "00000000000000001\r\nx\r\n0\r\n\r\n"},
		{"space before", " 1\r\nx\r\n0\r\n\r\n"},
		{"bare LF after the size", "1\nx\r\n0\r\n\r\n"},
		{"bare LF after the data", "1\r\nx\n0\r\n\r\n"},
		{"data longer than its size", "1\r\nxy\r\n0\r\n\r\n"},
		{"bare LF after the last chunk", "1\r\nx\r\n0\n\r\n"},
		{"control in an extension", "1;a\x01\r\nx\r\n0\r\n\r\n"},
		{"CR in an extension", "1;a\rb\r\nx\r\n0\r\n\r\n"},
		{"long extension", "1;" + strings.Repeat("a", 5000) + "\r\nx\r\n0\r\n\r\n"},
		{"flood of extensions", strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 200) + "0\r\n\r\n"},
		{"malformed trailer", "0\r\nX y\r\n\r\n"},
		{"trailer without a name", "0\r\n: y\r\n\r\n"},
		{"folded trailer", "0\r\nX: y\r\n z\r\n\r\n"},
		{"NUL in a trailer", "0\r\nX: \x00\r\n\r\n"},
		{"large trailer", "0\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 20) + "\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := relayed([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + tt.body))
			var r *refusal
			if !errors.As(err, &r) && !errors.Is(err, errTooLong) {
				t.Errorf("error %v, want a refusal", err)
			}
		})
	}
}

func TestFieldsThatReachTheUpstream(t *testing.T) {
	t.Parallel()
	raw := "POST /p HTTP/1.1\r\nHost: example.org\r\nX-Kept:  a b \r\nConnection: , close,, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=5\r\n" +
		"Proxy-Connection: x\r\nProxy-Authorization: secret\r\nTE: trailers, gzip\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n" +
		"X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 10.0.0.2\r\nX-Cortex-Origin: forged\r\nx-cortex-anything: forged\r\n" +
		"X-Request-ID: mine-1\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nTracestate: a=b\r\nContent-Length: 002\r\n\r\nhi"
	out, err := relayedBy(Config{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")}}, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
	if err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	want := http.Header{
		"X-Kept": {"a b"}, "Te": {"trailers"}, "X-Forwarded-For": {"10.0.0.1, 10.0.0.2, 192.0.2.7"}, "X-Forwarded-Proto": {"http"},
		"X-Forwarded-Host": {"example.org"}, "X-Request-Id": {"mine-1"}, "Content-Length": {"2"},
		"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}, "Tracestate": {"a=b"},
	}
	if d := diffHeader(req.Header, want); d != "" {
		t.Errorf("forwarded fields: %s", d)
	}
	if body, _ := io.ReadAll(req.Body); string(body) != "hi" || req.Host != "example.org" || req.RequestURI != "/p" {
		t.Errorf("forwarded %q for %q to %q", body, req.RequestURI, req.Host)
	}
}

func TestIdentityIsMadeWhereItIsMissingOrNotSane(t *testing.T) {
	t.Parallel()
	const sane = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	for _, tt := range []struct {
		name, id, trace string
		keepID, keep    bool
	}{
		{"both", "abc", sane, true, true},
		{"none", "", "", false, false},
		{"id with a space", "a b", sane, false, true},
		{"long id", strings.Repeat("a", 129), sane, false, true},
		{"upper case", "a", strings.ToUpper(sane), true, false},
		{"zero trace", "a", "00-00000000000000000000000000000000-b7ad6b7169203331-00", true, false},
		{"zero parent", "a", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-00", true, false},
		{"forbidden version", "a", "ff" + sane[2:], true, false},
		{"version 00 with more", "a", sane + "-x", true, false},
		{"later version with more", "a", "01" + sane[2:] + "-x", true, true},
		{"short", "a", sane[:50], true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id, trace, traced := identified(tt.id, tt.trace)
			if (id == tt.id) != tt.keepID || (trace == tt.trace) != tt.keep || traced != tt.keep {
				t.Errorf("Identify(%q, %q) = %q, %q, %t", tt.id, tt.trace, id, trace, traced)
			}
			if !validTraceparent([]byte(trace)) || !saneID([]byte(id)) {
				t.Errorf("Identify(%q, %q) = %q, %q, which is not sane", tt.id, tt.trace, id, trace)
			}
		})
	}
	a, trace, _ := identified("", "")
	if a != trace[3:35] {
		t.Errorf("the id %s is not that of the trace %s", a, trace)
	}
	if b, _, _ := identified("", ""); a == b {
		t.Errorf("two requests got the same id %s", a)
	}
}

// identified is what becomes of a request with that id and trace context.
func identified(requestID, traceparent string) (id, trace string, traced bool) {
	var h head
	h.reset()
	if requestID != "" {
		h.requestID = len(h.fields)
		h.fields = append(h.fields, field{value: []byte(requestID)})
	}
	if traceparent != "" {
		h.trace = len(h.fields)
		h.fields = append(h.fields, field{value: []byte(traceparent)})
	}
	var x Exchange
	x.identify(&h)
	return string(x.id()), string(x.trace[:x.traceLen]), x.traced
}

func diffHeader(got, want http.Header) string {
	var b strings.Builder
	for k, v := range want {
		if !slices.Equal(got[k], v) {
			b.WriteString(k + " is " + strings.Join(got[k], "|") + ", want " + strings.Join(v, "|") + "; ")
		}
	}
	for k, v := range got {
		if _, ok := want[k]; !ok {
			b.WriteString(k + " is there: " + strings.Join(v, "|") + "; ")
		}
	}
	return b.String()
}

// FuzzRequestHead holds what reaches an upstream against what net/http's server
// would have understood of the same bytes.
func FuzzRequestHead(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET /a%2fb//../c?x=%zz HTTP/1.0\r\n\r\n",
		"POST http://b:80?x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabcGET",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n",
		"PUT /\xff HTTP/1.1\r\nHost: [::1]:80\r\nConnection: a, close\r\nA: \xfe\r\nA:\r\n\r\n",
		"\r\nGET / HTTP/1.1\r\nHost:\r\nCookie: a\r\nExpect: 100-Continue\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		out, err := relayed(raw)
		if err != nil {
			return // refusing more than net/http is allowed
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\r\n")))))
		if err != nil {
			t.Fatalf("forwarded %q, which net/http refuses: %v", out, err)
		}
		r := bufio.NewReader(bytes.NewReader(out))
		got, err := http.ReadRequest(r)
		if err != nil {
			t.Fatalf("forwarded %q, which cannot be read: %v", out, err)
		}
		uri := want.RequestURI
		if _, after, absolute := strings.Cut(uri, "://"); absolute && !strings.HasPrefix(uri, "/") {
			uri = after[strings.IndexAny(after+"/", "/?"):]
			if !strings.HasPrefix(uri, "/") {
				uri = "/" + uri
			}
		}
		if got.Method != want.Method || got.RequestURI != uri || got.Host != want.Host {
			t.Errorf("forwarded %s %s to %q, want %s %s to %q", got.Method, got.RequestURI, got.Host, want.Method, uri, want.Host)
		}
		gotBody, gerr := io.ReadAll(got.Body)
		wantBody, werr := io.ReadAll(want.Body)
		if gerr != nil || werr != nil || !bytes.Equal(gotBody, wantBody) {
			t.Errorf("forwarded the body %q (%v), want %q (%v)", gotBody, gerr, wantBody, werr)
		}
		if rest, _ := io.ReadAll(r); len(rest) > 0 {
			t.Errorf("forwarded %q after the request", rest)
		}
		if d := diffHeader(endToEnd(got.Header, want.Header), endToEnd(want.Header, want.Header)); d != "" {
			t.Errorf("forwarded fields: %s", d)
		}
	})
}

// endToEnd returns the fields that a hop neither ends nor rewrites; those that
// the client's Connection names end there.
func endToEnd(h, client http.Header) http.Header {
	h = h.Clone()
	for _, v := range client["Connection"] {
		for token := range strings.SplitSeq(v, ",") {
			h.Del(textproto.TrimString(token))
		}
	}
	for name := range h {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Upgrade", "Http2-Settings",
			"Transfer-Encoding", "Content-Length", "Trailer", "Expect", "X-Request-Id", "Traceparent", "Tracestate",
			"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host":
			delete(h, name)
		}
		if strings.HasPrefix(name, "X-Cortex-") {
			delete(h, name)
		}
	}
	return h
}

// Fields that begin with X-Cortex- are ours, however long their names are.
func TestFieldsOfOursAreKnownAtAnyLength(t *testing.T) {
	t.Parallel()
	for n := 1; n < 60; n++ {
		for _, begin := range []string{"X-Cortex-", "x-cortex-", "X-CORTEX-"} {
			for _, c := range "aIx-" {
				name := begin + strings.Repeat(string(c), n)
				if got := kindOf([]byte(name)); got != kCortex {
					t.Errorf("kindOf(%q) = %d, want %d", name, got, kCortex)
				}
			}
		}
	}
	for n := 1; n < 60; n++ {
		if name := "X-Forwarded-" + strings.Repeat("y", n); kindOf([]byte(name)) != kClaim {
			t.Errorf("kindOf(%q) = %d, want %d", name, kindOf([]byte(name)), kClaim)
		}
	}
}
