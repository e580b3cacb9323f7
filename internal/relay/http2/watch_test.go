package http2

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
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

const (
	preface  = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	getBlock = "\x82\x86\x84\x41\x01a"    // GET http://a/, by the static table of HPACK
	noWindow = "\x00\x04\x00\x00\x00\x00" // INITIAL_WINDOW_SIZE = 0
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
			if code := binary.BigEndian.Uint32(frameOf(t, c, 3)); code == 0 {
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
				go func() { _, _ = RoundTrip(f, req, NewBody(req), tt.finish) }()
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
