package relay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func TestAnswersWithAndWithoutBody(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, method, version, upstream, status, body, length, encoding string }{
		{"sized", "GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK", "hi", "2", ""},
		{"empty", "GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 OK", "", "0", ""},
		{"reason of its own", "GET", "1.1", "HTTP/1.1 299 All is well\r\nContent-Length: 0\r\n\r\n", "299 All is well", "", "0", ""},
		{"no reason", "GET", "1.1", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 ", "", "0", ""},
		{"bare LF", "GET", "1.1", "HTTP/1.1 200 OK\nContent-Length: 2\n\nhi", "200 OK", "hi", "2", ""},
		{"chunked", "GET", "1.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1;x=y\r\ni\r\n0\r\n\r\n", "200 OK", "hi", "", "chunked"},
		{"until the end", "GET", "1.1", "HTTP/1.1 200 OK\r\n\r\nhi", "200 OK", "hi", "", "chunked"},
		{"one byte until the end", "GET", "1.1", "HTTP/1.1 200 OK\r\n\r\nh", "200 OK", "h", "", "chunked"},
		{"HTTP/1.0 upstream", "GET", "1.1", "HTTP/1.0 200 OK\r\n\r\nhi", "200 OK", "hi", "", "chunked"},
		{"both lengths", "GET", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200 OK", "hi", "", "chunked"},
		{"HEAD", "HEAD", "1.1", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", "200 OK", "", "2", ""},
		{"no content", "GET", "1.1", "HTTP/1.1 204 No Content\r\n\r\n", "204 No Content", "", "", ""},
		{"not modified", "GET", "1.1", "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", "304 Not Modified", "", "7", ""},
		{"sized for HTTP/1.0", "GET", "1.0", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "200 OK", "hi", "2", ""},
		{"chunked for HTTP/1.0", "GET", "1.0", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", "200 OK", "hi", "", ""},
		{"until the end for HTTP/1.0", "GET", "1.0", "HTTP/1.1 200 OK\r\n\r\nhi", "200 OK", "hi", "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := script(t, func(c net.Conn, r *bufio.Reader) {
				readHead(r)
				io.WriteString(c, tt.upstream)
			})
			s, addr, _ := relayTo(t, at, Limits{}, nil)
			c := dial(t, addr)
			c.send(tt.method + " / HTTP/" + tt.version + "\r\nHost: a\r\nConnection: close\r\n\r\n")
			resp, body := c.answer(tt.method)
			if resp.Status != tt.status || body != tt.body || resp.Header.Get("Content-Length") != tt.length ||
				strings.Join(resp.TransferEncoding, ",") != tt.encoding || resp.Header.Get("X-Cortex-Origin") != "api" {
				t.Errorf("got %q %q %v %v, want %q %q", resp.Status, body, resp.Header, resp.TransferEncoding, tt.status, tt.body)
			}
			c.wantClosed()
			if got := s.returned(t); len(got) != 1 || got[0] != resp.StatusCode {
				t.Errorf("places were given back with %v, want one %d", got, resp.StatusCode)
			}
		})
	}
}

func TestUpstreamsThatDoNotSpeakHTTPAreAnsweredFor(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, upstream, code string }{
		{"silence", "", "upstream_closed"},
		{"half a head", "HTTP/1.1 200 OK\r\nContent-", "upstream_closed"},
		{"another protocol", "220 mail.example.org ESMTP\r\n\r\n", "upstream_malformed"},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", "upstream_malformed"},
		{"status without digits", "HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n", "upstream_malformed"},
		{"status that begins with a letter", "HTTP/1.1 x00 OK\r\nContent-Length: 0\r\n\r\n", "upstream_malformed"},
		{"letter in the status", "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n", "upstream_malformed"},
		{"status that ends with a letter", "HTTP/1.1 20x OK\r\nContent-Length: 0\r\n\r\n", "upstream_malformed"},
		{"status below 100", "HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", "upstream_malformed"},
		{"folded field", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", "upstream_malformed"},
		{"differing lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nhi", "upstream_malformed"},
		{"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi", "upstream_malformed"},
		{"NUL", "HTTP/1.1 200 OK\r\nX: \x00\r\n\r\n", "upstream_malformed"},
		{"huge head", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 100_000) + "\r\n\r\n", "upstream_malformed"},
		{"switch nobody asked for", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "upstream_malformed"},
		{"malformed first chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n", "upstream_malformed"},
		{"no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhi", "upstream_malformed"},
		{"endless information", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 200), "upstream_malformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			at := script(t, func(c net.Conn, r *bufio.Reader) {
				readHead(r)
				io.WriteString(c, tt.upstream)
			})
			s, addr, _ := relayTo(t, at, Limits{}, nil)
			c := dial(t, addr)
			c.send(get)
			resp, body := c.answer("GET")
			for resp.StatusCode == 103 {
				resp, body = c.answer("GET")
			}
			if resp.StatusCode != 502 || resp.Header.Get("X-Cortex-Reason") != tt.code || !strings.Contains(body, tt.code) {
				t.Errorf("answered %s %v %q, want 502 %s", resp.Status, resp.Header, body, tt.code)
			}
			c.send(get) // the client's connection did nothing wrong
			c.response("GET")
			s.returned(t)
		})
	}
}

func TestCutAnswerIsNotMistakenForAWholeOne(t *testing.T) {
	t.Parallel()
	for _, upstream := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhi",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\nzz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX: y",
	} {
		at := script(t, func(c net.Conn, r *bufio.Reader) {
			readHead(r)
			io.WriteString(c, upstream)
		})
		s, addr, _ := relayTo(t, at, Limits{}, nil)
		c := dial(t, addr)
		c.send(get)
		resp := c.response("GET")
		if b, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%q arrived as a whole body %q", upstream, b)
		}
		if got := s.returned(t); got[0] != 0 {
			t.Errorf("the place was given back with %d, want 0", got[0])
		}
	}
}

func TestPipelinedRequestsAreAnsweredInOrder(t *testing.T) {
	t.Parallel()
	s, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.URL.Path, b)
	})
	c := dial(t, addr)
	c.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc" +
		"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\r\nGET /4 HTTP/1.1\r\nHost: a\r\n\r\nGET /5 HTT")
	for _, want := range []string{"/1 ", "/2 abc", "/3 abc", "/4 "} {
		if _, got := c.answer("GET"); got != want {
			t.Errorf("answer %q, want %q", got, want)
		}
	}
	c.send("P/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
	if resp, got := c.answer("GET"); got != "/5 " || !resp.Close {
		t.Errorf("answer %q, close %t; want /5 and close", got, resp.Close)
	}
	c.wantClosed()
	if got := len(s.returned(t)); got != 5 {
		t.Errorf("%d places, want 5", got)
	}
}

func TestHTTP10KeepsAliveOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	c := dial(t, addr)
	c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
	if resp, _ := c.answer("GET"); resp.Header.Get("Connection") != "keep-alive" {
		t.Errorf("Connection: %q, want keep-alive", resp.Header.Get("Connection"))
	}
	c.send("GET / HTTP/1.0\r\n\r\n")
	c.answer("GET")
	c.wantClosed()
}

func TestBodiesAreStreamedBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) {
		rc := http.NewResponseController(w)
		rc.EnableFullDuplex()
		w.WriteHeader(200)
		rc.Flush()
		buf := make([]byte, 100)
		for {
			n, err := r.Body.Read(buf)
			w.Write(bytes.ToUpper(buf[:n]))
			rc.Flush()
			if err != nil {
				return
			}
		}
	})
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
	resp := c.response("POST") // before all of the body is sent
	buf := make([]byte, 5)
	for _, word := range []string{"hello", "world"} {
		if word == "world" {
			c.send("5\r\nworld\r\n")
		}
		if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != strings.ToUpper(word) {
			t.Fatalf("echo %q, %v; want %q", buf, err, strings.ToUpper(word))
		}
	}
	c.send("0\r\n\r\n")
	if rest, err := io.ReadAll(resp.Body); err != nil || len(rest) > 0 {
		t.Errorf("then %q, %v", rest, err)
	}
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
	if _, got := c.answer("POST"); got != "HI" {
		t.Errorf("the next exchange got %q, want HI", got)
	}
}

func TestEventsAreNotHeldBack(t *testing.T) {
	t.Parallel()
	next := make(chan struct{})
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-next // the client has read it
		}
	})
	c := dial(t, addr)
	c.send(get)
	resp := c.response("GET")
	r := bufio.NewReader(resp.Body)
	for i := range 5 {
		line, err := r.ReadString('\n')
		if want := fmt.Sprintf("data: %d\n", i); line != want || err != nil {
			t.Fatalf("event %q, %v; want %q", line, err, want)
		}
		r.ReadString('\n')
		next <- struct{}{}
	}
}

func TestInformationIsPassedOn(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		head := readHead(r)
		io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
		if strings.Contains(head, "Expect: 100-continue\r\n") {
			io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
			body := make([]byte, 5)
			io.ReadFull(r, body)
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%s", body)
			return
		}
		io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnone")
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	if resp := c.response("POST"); resp.StatusCode != 103 || resp.Header.Get("Link") != "</a.css>" {
		t.Errorf("first %s %v, want the hints", resp.Status, resp.Header)
	}
	if resp := c.response("POST"); resp.StatusCode != 100 {
		t.Errorf("then %s, want 100", resp.Status)
	}
	c.send("hello") // only now
	if resp, body := c.answer("POST"); resp.StatusCode != 200 || body != "hello" {
		t.Errorf("then %s %q, want 200 hello", resp.Status, body)
	}
	// Who did not ask gets no 100, and an HTTP/1.0 client no information at all.
	for version, want := range map[string][]int{"1.1": {103, 200}, "1.0": {200}} {
		c := dial(t, addr)
		c.send("GET / HTTP/" + version + "\r\nHost: a\r\n\r\n")
		for _, status := range want {
			if resp := c.response("GET"); resp.StatusCode != status {
				t.Errorf("HTTP/%s got %d, want %d", version, resp.StatusCode, status)
			}
		}
	}
}

// Who works for long may say so for as long.
func TestInformationHasARate(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 150)+"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	})
	for minutes, want := range map[time.Duration]int{0: 502, 10: 200} {
		_, addr, _ := relayTo(t, at, Limits{}, func(s *single, _ *Config) {
			s.admit = func(x *Exchange) { x.began -= minutes * time.Minute }
		})
		c := dial(t, addr)
		c.send(get)
		resp, _ := c.answer("GET")
		for resp.StatusCode == 102 {
			resp, _ = c.answer("GET")
		}
		if resp.StatusCode != want {
			t.Errorf("150 of them within %d minutes: %s, want %d", minutes, resp.Status, want)
		}
	}
}

func TestRefusedExpectationEndsTheConnection(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\n\r\n")
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\nExpect: 100-continue\r\n\r\n")
	if resp, _ := c.answer("POST"); resp.StatusCode != 413 || !resp.Close {
		t.Errorf("answered %s, close %t; want 413 and close", resp.Status, resp.Close)
	}
	c.wantClosed()
}

func TestEarlyAnswerReachesAClientThatStillSends(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
	})
	s, addr, _ := relayTo(t, at, Limits{}, nil)
	for _, size := range []int{100 << 10, 8 << 20} { // one that is read to its end, one that is not
		resp, err := http.Post("http://"+addr, "text/plain", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 401 || string(b) != "no" {
			t.Errorf("%d bytes: %s %q, want 401 no", size, resp.Status, b)
		}
	}
	s.returned(t)
}

func TestMalformedBodyIsNotEndedForTheUpstream(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		req, err := http.ReadRequest(r)
		if err == nil {
			_, err = io.Copy(io.Discard, req.Body)
		}
		ended <- err
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n")
	resp, _ := c.answer("POST")
	if resp.StatusCode != 400 || resp.Header.Get("X-Cortex-Reason") != "malformed_chunk" || !resp.Close {
		t.Errorf("answered %s %v, want 400 malformed_chunk and close", resp.Status, resp.Header)
	}
	c.wantClosed()
	if err := <-ended; err == nil {
		t.Error("the upstream took the part for the whole")
	}
}

func TestTunnelPassesBytesBothWaysAndEachEnd(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if !strings.Contains(head, "Connection: Upgrade\r\nUpgrade: echo\r\n") {
			fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\n\r\n%s", head)
			return
		}
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nfirst ")
		b, _ := io.ReadAll(r) // until the client's side ends
		c.Write(bytes.ToUpper(b))
	})
	s, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	c.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nearly ")
	resp := c.response("GET")
	if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "echo" {
		t.Fatalf("answered %s %v, want 101", resp.Status, resp.Header)
	}
	c.send("late")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c.r); err != nil || string(got) != "first EARLY LATE" {
		t.Errorf("the tunnel said %q, %v; want %q", got, err, "first EARLY LATE")
	}
	if got := s.returned(t); len(got) != 1 || got[0] != 101 {
		t.Errorf("places were given back with %v, want 101", got)
	}
}
