package relay

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
)

// What is said of whoever asks reaches the upstream from a proxy that is trusted, and from
// a relay of ours; of a stranger only what the relay sees.
func TestForwardedFields(t *testing.T) {
	t.Parallel()
	const raw = "GET / HTTP/1.1\r\nHost: inner\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: outer\r\n" +
		"X-Forwarded-Ssl: on\r\nX-Forwarded-Protocol: ssl\r\nForwarded: for=10.0.0.1;proto=https\r\nX-Real-IP: 10.0.0.1\r\n" +
		"X_Forwarded_For: 10.0.0.1\r\nX-Forwarded_Proto: https\r\nApi_Key: 1\r\nX-Kept: 1\r\n\r\n"
	said := http.Header{
		"X-Forwarded-For": {"10.0.0.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"outer"}, "X-Forwarded-Ssl": {"on"},
		"X-Forwarded-Protocol": {"ssl"}, "Forwarded": {"for=10.0.0.1;proto=https"}, "X-Real-Ip": {"10.0.0.1"}, "X-Kept": {"1"},
	}
	more := func(h http.Header, name, value string) http.Header {
		h = h.Clone()
		h.Set(name, value)
		return h
	}
	withUnderscores := more(more(more(said, "X_forwarded_for", "10.0.0.1"), "X-Forwarded_proto", "https"), "Api_key", "1")
	for _, tt := range []struct {
		name string
		cfg  Config
		want http.Header
	}{
		{"a stranger", Config{}, http.Header{"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"inner"}, "X-Kept": {"1"}}},
		{"beside the trusted ones", Config{Trusted: []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}},
			http.Header{"X-Forwarded-For": {"192.0.2.7"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"inner"}, "X-Kept": {"1"}}},
		{"a trusted proxy", Config{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, more(said, "X-Forwarded-For", "10.0.0.1, 192.0.2.7")},
		{"a relay of ours", Config{Front: true}, withUnderscores},
	} {
		out, err := relayedBy(tt.cfg, []byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(out)))
		if err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		req.Header.Del("Traceparent")
		req.Header.Del("X-Request-Id")
		if d := diffHeader(req.Header, tt.want); d != "" {
			t.Errorf("behind %s: %s", tt.name, d)
		}
	}
}

func TestTargetsReachTheUpstreamInOriginForm(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ target, want string }{
		{"/a%2fb?c=%", "GET /a%2fb?c=% HTTP/1.1\r\nHost: field\r\n"},
		{"http://target/a?b", "GET /a?b HTTP/1.1\r\nHost: target\r\n"},
		{"HTTP://target:80", "GET / HTTP/1.1\r\nHost: target:80\r\n"},
		{"http://[::1]:80/a", "GET /a HTTP/1.1\r\nHost: [::1]:80\r\n"},
		{"http://target?a/b", "GET /?a/b HTTP/1.1\r\nHost: target\r\n"},
	} {
		out, err := relayed([]byte("GET " + tt.target + " HTTP/1.1\r\nHost: field\r\n\r\n"))
		if err != nil || !strings.HasPrefix(string(out), tt.want) {
			t.Errorf("%s became %.60q, %v; want %q", tt.target, out, err, tt.want)
		}
	}
}

// An answer that says twice how long it is may not have ended where it seems to.
func TestAnswerOfTwoLengthsEndsItsConnection(t *testing.T) {
	t.Parallel()
	for _, length := range []string{"0", "2"} {
		var connections atomic.Int64
		at := script(t, func(c net.Conn, r *bufio.Reader) {
			connections.Add(1)
			for readHead(r) != "" {
				io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: "+length+"\r\n\r\n2\r\nok\r\n0\r\n\r\n")
			}
		})
		_, addr, _ := relayTo(t, at, Limits{}, nil)
		c := dial(t, addr)
		for range 2 {
			c.send(get)
			if resp, body := c.answer("GET"); body != "ok" || resp.ContentLength >= 0 {
				t.Errorf("got %q of length %d, want ok in chunks", body, resp.ContentLength)
			}
		}
		if n := connections.Load(); n != 2 {
			t.Errorf("Content-Length %s: %d connections for two requests, want 2", length, n)
		}
	}
}

func TestTrailersTravelBothWays(t *testing.T) {
	t.Parallel()
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "ok")
		w.Header().Set("X-Sum", r.Trailer.Get("X-Check")+r.Trailer.Get("N")+r.Trailer.Get("Content-Length")+r.Trailer.Get("Host"))
	})
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Check, N\r\n\r\n2\r\nhi\r\n0\r\nX-Check: 4\r\nN: 2\r\nContent-Length: 7\r\nHost: b\r\n\r\n")
	resp, _ := c.answer("POST")
	if got := resp.Trailer.Get("X-Sum"); got != "42" {
		t.Errorf("trailer %q, want 42", got)
	}
}

func TestTrailerIsAnnouncedOnlyWhereOneCanFollow(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nContent-Length: 2\r\n\r\nok")
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\n\r\n")
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, _ := io.ReadAll(resp.Body); len(resp.Trailer) > 0 || resp.Header.Get("Trailer") != "" || string(body) != "ok" {
		t.Errorf("got %q with %v and the trailer %v, want ok and none", body, resp.Header, resp.Trailer)
	}
}

// A head that leaves no room for a body beside it in one write goes first.
func TestLargeHeadOfAnAnswer(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("a", 30_000)
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nX-Large: "+large+"\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send(get)
	if resp, body := c.answer("GET"); body != "ok" || resp.Header.Get("X-Large") != large {
		t.Errorf("got %q after a field of %d bytes, want ok after %d", body, len(resp.Header.Get("X-Large")), len(large))
	}
}
