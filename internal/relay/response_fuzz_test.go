package relay

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"
)

// answeredWith returns what a client gets when an upstream sends raw.
func answeredWith(method string, raw []byte) (out []byte, result outcome) {
	s := NewServer(Config{})
	client := &memory{in: strings.NewReader(method + " / HTTP/1.1\r\nHost: a\r\n\r\n")}
	c := newConn(s, client)
	c.in.open(c.nc)
	if !c.readHead() {
		return nil, unanswered
	}
	c.x.identify(&c.req)
	c.x.toHead = method == "HEAD"
	c.prepare()
	from := &memory{in: bytes.NewReader(raw)}
	up := &upConn{end: end{nc: newSocket(from)}}
	up.in.open(up.nc)
	result, _ = c.respond(up)
	return client.out.Bytes(), result
}

// FuzzResponse holds what a client gets against what net/http would have
// understood of the same bytes.
func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\nA: b\r\n\r\n",
		"HTTP/1.0 404 Not Found\nServer: x\n\nbody",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nhi\n0\n\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 \r\nConnection: X\r\nX: y\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, raw []byte, toHead bool) {
		method := "GET"
		if toHead {
			method = "HEAD"
		}
		out, result := answeredWith(method, raw)
		if result != answered {
			return
		}
		req := &http.Request{Method: method}
		read := func(b []byte) (*http.Response, []byte, error) {
			r := bufio.NewReader(bytes.NewReader(b))
			for {
				resp, err := http.ReadResponse(r, req)
				if err != nil {
					return nil, nil, err
				}
				if resp.StatusCode < 200 && resp.StatusCode != 101 {
					continue
				}
				body, err := io.ReadAll(resp.Body)
				return resp, body, err
			}
		}
		got, gotBody, err := read(out)
		if err != nil {
			t.Fatalf("the client got %q, which cannot be read: %v", out, err)
		}
		want, wantBody, err := read(raw)
		if err != nil {
			t.Fatalf("the client got %q of what net/http refuses: %v", out, err)
		}
		if got.StatusCode != want.StatusCode || !bytes.Equal(gotBody, wantBody) {
			t.Errorf("the client got %d %q, want %d %q", got.StatusCode, gotBody, want.StatusCode, wantBody)
		}
	})
}

// FuzzChunked holds the chunk reader against net/http's, however the bytes arrive.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{"2\r\nhi\r\n0\r\n\r\n", "1;a=b\r\nx\r\n01\r\ny\r\n0\r\nA: b\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n", "0\r\n\r\n"} {
		f.Add([]byte(s), 1, 3)
		f.Add([]byte(s), 100, 100)
	}
	f.Fuzz(func(t *testing.T, raw []byte, arriving, reading int) {
		if arriving < 1 || reading < 1 || reading > 1<<16 {
			return
		}
		var in reader
		in.open(newSocket(&memory{in: &dripping{raw, arriving}}))
		var b body
		b.begin(&in, chunked, -1)
		var got []byte
		buf := make([]byte, reading)
		var err error
		for err == nil {
			var n int
			n, err = b.read(buf)
			got = append(got, buf[:n]...)
		}
		if !errors.Is(err, io.EOF) {
			return // refusing more than net/http is allowed
		}
		want, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(raw)))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %q, want %q (%v)", got, want, err)
		}
	})
}

// dripping gives its bytes a few at a time.
type dripping struct {
	b []byte
	n int
}

func (d *dripping) Read(p []byte) (int, error) {
	if len(d.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, d.b[:min(d.n, len(d.b))])
	d.b = d.b[n:]
	return n, nil
}
