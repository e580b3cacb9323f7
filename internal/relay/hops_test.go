package relay

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
)

// sidecar answers n times that it reached nobody, and then echoes.
func sidecar(t *testing.T, n int64) (at string, asked *atomic.Int64) {
	asked = new(atomic.Int64)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if asked.Add(1) <= n {
			w.Header().Set("X-Cortex-Reason", Unreached)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("X-Cortex-Reason", "of the sidecar")
		w.Header().Set("X-Cortex-Other", "not for clients")
		fmt.Fprintf(w, "%s %s", r.Method, body)
	}))
	t.Cleanup(backend.Close)
	return backend.Listener.Addr().String(), asked
}

func TestUnreachedBehindARelayGoesElsewhere(t *testing.T) {
	t.Parallel()
	for _, method := range []string{http.MethodGet, http.MethodPost} { // a POST too: nothing of it was sent on
		addr, asked := sidecar(t, 2)
		s, at, _ := relayTo(t, addr, Limits{}, func(_ *single, c *Config) { c.Behind = true })
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+at, strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != 200 || string(body) != method+" hello" || asked.Load() != 3 {
			t.Errorf("%s = %d %q after %d tries, want 200 at the third", method, resp.StatusCode, body, asked.Load())
		}
		if got := resp.Header; got.Get("X-Cortex-Reason") != "of the sidecar" || got.Get("X-Cortex-Other") != "" || len(got.Values("X-Cortex-Origin")) != 1 {
			t.Errorf("the answer's fields are %v, want the reason of the sidecar and nothing else of it", got)
		}
		s.returned(t)
	}
}

func TestReasonsOfContainersAreNotHeard(t *testing.T) {
	t.Parallel()
	addr, asked := sidecar(t, 1)
	_, at, _ := relayTo(t, addr, Limits{}, nil)
	resp, err := http.Get("http://" + at)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || asked.Load() != 1 || resp.Header.Get("X-Cortex-Reason") != "" {
		t.Errorf("GET = %d with reason %q after %d tries; want 503 without one, at once", resp.StatusCode, resp.Header.Get("X-Cortex-Reason"), asked.Load())
	}
}

// TestSmallUploadGoesElsewhere: a small body is here whole although it came after its head.
func TestSmallUploadGoesElsewhere(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, 5000, KeptBytes} {
		t.Run(fmt.Sprintf("%d bytes", size), func(t *testing.T) {
			t.Parallel()
			addr, asked := sidecar(t, 2)
			s, at, _ := relayTo(t, addr, Limits{}, func(_ *single, c *Config) { c.Behind = true })
			c := dial(t, at)
			for range 2 { // the connection stays in order
				asked.Store(0)
				c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", size))
				c.send(strings.Repeat("x", size))
				resp, body := c.answer("POST")
				if want := "POST " + strings.Repeat("x", size); resp.StatusCode != 200 || body != want || asked.Load() != 3 {
					t.Errorf("POST = %d with %d bytes after %d tries, want 200 with %d at the third", resp.StatusCode, len(body), asked.Load(), len(want))
				}
			}
			c.Close()
			s.returned(t)
		})
	}
}

// TestUploadIsNotSentTwice: a large body is gone once it was sent.
func TestUploadIsNotSentTwice(t *testing.T) {
	t.Parallel()
	addr, asked := sidecar(t, 1)
	_, at, _ := relayTo(t, addr, Limits{}, func(_ *single, c *Config) { c.Behind = true })
	body := io.LimitReader(endless{}, 1<<20)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 503 || resp.Header.Get("X-Cortex-Reason") != Unreached || asked.Load() != 1 {
		t.Errorf("POST = %d %q after %d tries, want 503 %s at once", resp.StatusCode, resp.Header.Get("X-Cortex-Reason"), asked.Load(), Unreached)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) { clear(p); return len(p), nil }
