package relay

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// noise is n bytes in which nothing that is lost, doubled or moved goes unnoticed.
func noise(n int) []byte {
	var seed [32]byte
	out := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(out)
	return out
}

// Bodies around every bound of how they are moved arrive whole, in both directions.
func TestLargeBodiesArriveWhole(t *testing.T) {
	t.Parallel()
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("reading the request: %v", err)
		}
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		}
		w.Header().Set("Trailer", "X-Sum")
		_, _ = w.Write(body)
		w.Header().Set("X-Sum", fmt.Sprintf("%x", sha256.Sum256(body)))
	})
	for _, size := range []int{1, spliceAbove - 1, spliceAbove, spliceAbove + 1, splicePiece, splicePiece + spliceAbove, 3*splicePiece + 7} {
		want := noise(size)
		sum := fmt.Sprintf("%x", sha256.Sum256(want))
		for path, body := range map[string]io.Reader{"/sized": bytes.NewReader(want), "/chunked": io.MultiReader(bytes.NewReader(want))} {
			resp, err := http.Post("http://"+addr+path, "application/octet-stream", body)
			if err != nil {
				t.Fatalf("%d bytes, %s: %v", size, path, err)
			}
			_, announced := resp.Trailer["X-Sum"]
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %s: %d bytes came back (%v)", size, path, len(got), err)
			}
			if path == "/chunked" && (!announced || resp.Trailer.Get("X-Sum") != sum) {
				t.Errorf("%d bytes: the trailer is %v (announced: %t)", size, resp.Trailer, announced)
			}
		}
	}
}

// A body that comes after its first byte, with nothing of it buffered, is moved by the kernel.
func TestALargeBodyAfterItsHead(t *testing.T) {
	t.Parallel()
	want, began := noise(3*splicePiece+7), make(chan struct{})
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		body, err := io.ReadAll(r.Body)
		fmt.Fprint(w, err == nil && bytes.Equal(body, want))
	})
	c := dial(t, addr)
	for range 2 {
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(len(want)) + "\r\n\r\n" + string(want[:1]))
		<-began
		c.send(string(want[1:]))
		if resp, body := c.answer("POST"); resp.StatusCode != 200 || body != "true" {
			t.Fatalf("answered %s %q, want 200 true", resp.Status, body)
		}
	}
}

// A client that begins to read late gets what one gets that reads at once.
func TestALateReaderGetsTheWholeAnswer(t *testing.T) {
	t.Parallel()
	want := noise(12 << 20)
	_, addr := relayHandler(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/sized" {
			w.Header().Set("Content-Length", strconv.Itoa(len(want)))
		}
		_, _ = w.Write(want)
	})
	for _, path := range []string{"/sized", "/chunked"} {
		c := dial(t, addr)
		c.send("GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		began := time.Now()
		until(t, func() bool { return time.Since(began) > 6*tick }, "the buffers to be full")
		if resp, got := c.answer("GET"); resp.StatusCode != 200 || got != string(want) {
			t.Errorf("%s: %s with %d bytes, want 200 and %d", path, resp.Status, len(got), len(want))
		}
	}
}

// A connection whose request was answered before its body was read is good for the next
// one, when the rest of that body is not much.
func TestAnEarlyAnswerKeepsTheConnection(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	c := dial(t, addr)
	const size = 100 << 10 // several reads
	for range 2 {
		c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: " + strconv.Itoa(size) + "\r\n\r\n" + strings.Repeat("x", size))
		if resp, body := c.answer("POST"); resp.StatusCode != 401 || body != "no" || resp.Close {
			t.Fatalf("answered %s %q, close %t; want 401 no, and the connection kept", resp.Status, body, resp.Close)
		}
	}
}

// Where the kernel moves a body whose server stops reading, nobody knows how much of it was
// taken: the next request is answered, or the connection closed, and nothing of the body is
// ever taken for a request.
func TestABodyThatIsTornIsNoRequest(t *testing.T) {
	t.Parallel()
	at := script(t, func(c net.Conn, r *bufio.Reader) {
		readHead(r)
		_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
	})
	_, addr, _ := relayTo(t, at, Limits{}, nil)
	const size = spliceAbove + 60<<10
	for range 40 {
		c := dial(t, addr)
		for range 3 {
			if _, err := io.WriteString(c.Conn, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: "+strconv.Itoa(size)+"\r\n\r\n"+strings.Repeat("x", size)); err != nil {
				break
			}
			resp, err := http.ReadResponse(c.r, &http.Request{Method: http.MethodPost})
			if err != nil {
				break
			}
			body, err := io.ReadAll(resp.Body)
			if err == nil && (resp.StatusCode != 401 || string(body) != "no") {
				t.Fatalf("answered %s %q, want 401 no", resp.Status, body)
			}
			if resp.Close || err != nil {
				break
			}
		}
	}
}

func TestTheContextOfAnAbortedExchangeIsOver(t *testing.T) {
	t.Parallel()
	c := &conn{}
	c.abort(errGone)
	x := &Exchange{conn: c}
	if err := x.Context().Err(); err == nil {
		t.Error("the context goes on")
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	for op, want := range map[string]bool{"dial": true, "read": false} {
		if err := fmt.Errorf("asking: %w", &net.OpError{Op: op, Err: errors.New("refused")}); Unreachable(err) != want {
			t.Errorf("Unreachable(%v) = %t, want %t", err, !want, want)
		}
	}
}

func TestEqualFold(t *testing.T) {
	t.Parallel()
	for b, want := range map[string]bool{"AmZ": true, "amz": true, "am[": false, "a": false, "amz1": false} {
		if equalFold([]byte(b), "amz") != want {
			t.Errorf("equalFold(%q, amz) = %t, want %t", b, !want, want)
		}
	}
}
