package http2

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// frame returns a frame of HTTP/2.
func frame(kind, flags byte, stream uint32, payload string) string {
	head := []byte{0, byte(len(payload) >> 8), byte(len(payload)), kind, flags, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(head[5:], stream)
	return string(head) + payload
}

// Heads of requests for http://a/, by the static table of HPACK.
const (
	getBlock  = "\x82\x86\x84\x41\x01a"
	postBlock = "\x83\x86\x84\x41\x01a"
	noWindow  = "\x00\x04\x00\x00\x00\x00" // INITIAL_WINDOW_SIZE = 0
)

func TestAStreamThatTakesNothingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, size := range []int{10, 100_000} { // one that net/http sends after the handler, one that blocks it
			returned := make(chan struct{})
			p := overPipes(t, time.Minute, func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write(make([]byte, size))
				close(returned)
			})
			c, err := p.client.DialContext(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			go fmt.Fprint(c, preface+frame(4, 0, 0, noWindow)+frame(1, 5, 1, getBlock))
			began := time.Now()
			if code := binary.BigEndian.Uint32(frameOf(t, c, frameReset)); code == 0 {
				t.Error("the stream was reset without an error")
			}
			if took := time.Since(began); took < 4*time.Minute || took > 6*time.Minute {
				t.Errorf("a stream that takes nothing of %d bytes was ended after %s, want 5 minutes", size, took)
			}
			<-returned
			c.Close()
			p.end()
			<-p.run
		}
	})
}

func TestAStreamThatSendsNothingEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			_, err := io.ReadAll(r.Body)
			Fail(w, r, err, "")
		})
		out, in := io.Pipe()
		defer in.Close()
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://server", out)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		resp, err := p.client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if took := time.Since(began); resp.StatusCode != 408 || took < 4*time.Minute || took > 6*time.Minute {
			t.Errorf("answered %s after %s, want 408 after 5 minutes", resp.Status, took)
		}
		p.client.CloseIdleConnections()
		p.end()
		<-p.run
	})
}

func TestAConversationMayRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			_ = http.NewResponseController(w).Flush()
			got, err := io.ReadAll(r.Body)
			fmt.Fprint(w, string(got), err)
		})
		out, in := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://server", out)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := p.client.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Hour)
		fmt.Fprint(in, "late")
		in.Close()
		if got, err := io.ReadAll(resp.Body); string(got) != "late<nil>" || err != nil {
			t.Errorf("the answer is %q, %v, want what was sent late", got, err)
		}
		resp.Body.Close()
		p.client.CloseIdleConnections()
		p.end()
		<-p.run
	})
}

func TestAStreamThatWaitsForItsServerGoesOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := overPipes(t, time.Minute, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			<-time.After(time.Hour)
			fmt.Fprint(w, "late")
		})
		if got := <-p.ask(t, "/"); got != "late" {
			t.Errorf("the answer is %q, want late", got)
		}
		p.client.CloseIdleConnections()
		p.end()
		<-p.run
	})
}

func TestFloodsEnd(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ begin, each string }{
		"pings":      {"", frame(6, 0, 0, "12345678")},
		"settings":   {"", frame(4, 0, 0, "")},
		"priorities": {"", frame(2, 0, 1, "\x00\x00\x00\x00\x10")},
		"windows":    {"", frame(8, 0, 0, "\x00\x00\x00\x01")},
		"unknown":    {"", frame(0xfa, 0, 0, "")},
		"empty data": {frame(1, 4, 1, postBlock), frame(frameData, 0, 1, "")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantCalm(t, func(c net.Conn) {
				fmt.Fprint(c, tt.begin)
				many := ""
				for range 100 {
					many += tt.each
				}
				for {
					if _, err := io.WriteString(c, many); err != nil {
						return
					}
				}
			})
		})
	}
	t.Run("resets", func(t *testing.T) {
		t.Parallel()
		wantCalm(t, func(c net.Conn) {
			for id := uint32(1); ; id += 2 {
				if _, err := io.WriteString(c, frame(1, 5, id, getBlock)+frame(frameReset, 0, id, "\x00\x00\x00\x08")); err != nil {
					return
				}
			}
		})
	})
}

// wantCalm checks that whoever does this is told to calm down.
func wantCalm(t *testing.T, flood func(net.Conn)) {
	t.Helper()
	addr := serve(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil { // a hang is a failure
		t.Fatal(err)
	}
	fmt.Fprint(c, preface+frame(4, 0, 0, ""))
	go flood(c)
	if said := frameOf(t, c, frameGoAway); binary.BigEndian.Uint32(said[4:]) != 0xb {
		t.Errorf("the connection ended with %x, want ENHANCE_YOUR_CALM", said)
	}
}

// What a healthy client does for years is no flood, however long it goes on.
func TestFramesOfAHealthyConnectionAreNoFlood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		c := &takenConn{Conn: theirs, closed: make(chan struct{}), left: floodBurst, at: time.Now()}
		go func() {
			for range 10_000 { // a ping and two windows for each token of a stream
				if _, err := io.WriteString(ours, frame(6, 0, 0, "12345678")+frame(8, 0, 0, "abcd")+frame(8, 0, 1, "abcd")); err != nil {
					return
				}
				<-time.After(20 * time.Millisecond)
			}
			ours.Close()
		}()
		buf := make([]byte, 4096)
		for {
			if _, err := c.Read(buf); err != nil {
				if errors.Is(err, errFlood) {
					t.Error("it was taken for a flood")
				}
				return
			}
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte(frame(6, 0, 0, "12345678")+frame(4, 0, 0, "")+frame(1, 5, 3, getBlock)), 3)
	f.Fuzz(func(t *testing.T, raw []byte, piece int) {
		if piece < 1 || len(raw) > 1<<16 {
			return
		}
		var whole, inPieces []byte // the headers
		follow := func(f *frames, p []byte, into *[]byte) {
			for rest, ok := f.next(p); ok; rest, ok = f.next(rest) {
				*into = append(*into, f.head[:]...)
			}
		}
		var a, b frames
		follow(&a, raw, &whole)
		for p := raw; len(p) > 0; p = p[min(piece, len(p)):] {
			follow(&b, p[:min(piece, len(p))], &inPieces)
		}
		if string(whole) != string(inPieces) {
			t.Errorf("in pieces of %d the headers are %x, want %x", piece, inPieces, whole)
		}
	})
}

// finishing is a transport that tells when its request was cancelled.
type finishing struct {
	release   chan struct{}
	cancelled chan struct{}
}

func (f *finishing) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
	select {
	case <-f.release:
		return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
	case <-r.Context().Done():
		close(f.cancelled)
		return nil, r.Context().Err()
	}
}

func TestAServerFinishesForAClientThatLeft(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		finish time.Duration
		kind   string
		want   time.Duration // after which the server is interrupted
	}{
		"finish": {5 * time.Minute, "text/plain", 5 * time.Minute},
		"cancel": {0, "text/plain", 0},
		"gRPC":   {5 * time.Minute, "application/grpc", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := &finishing{make(chan struct{}), make(chan struct{})}
				ctx, leave := context.WithCancel(t.Context())
				req, err := http.NewRequestWithContext(ctx, "GET", "http://server", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Content-Type", tt.kind)
				go func() { _, _, _ = RoundTrip(f, req, NewBody(req), tt.finish) }()
				synctest.Wait()
				began := time.Now()
				leave()
				<-f.cancelled
				if took := time.Since(began); took != tt.want {
					t.Errorf("interrupted after %s, want %s", took, tt.want)
				}
			})
		})
	}
}
