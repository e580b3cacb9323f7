package load

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server answers, refuses and breaks in turns.
func server(t *testing.T) string {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			http.Error(w, "full", http.StatusServiceUnavailable)
		default:
			fmt.Fprint(w, "fine")
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestBurstCountsEveryRequest(t *testing.T) {
	t.Parallel()
	o, err := Burst(t.Context(), server(t), "/x", 40)
	if err != nil {
		t.Fatal(err)
	}
	if o.Answered != 20 || o.Refused != 10 || o.Lost != 10 || o.Refusal != "full" || !strings.Contains(o.Loss, "EOF") {
		t.Errorf("Burst(…) = %+v, want 20 answered, 10 refused, 10 lost", o)
	}
}

func TestStreamCountsFailures(t *testing.T) {
	t.Parallel()
	l := Start(t.Context(), server(t), "/x", 2, 2000)
	waitFor(t, func() bool { return l.Sent() >= 40 })
	l.End()
	sent, failed, fine := l.Sent(), l.Failed(), l.Seen()["fine"].Count
	if sent != failed+fine || failed < sent/2-1 || failed > sent/2+2 {
		t.Errorf("of %d requests %d failed and %d were answered, want every second one of each", sent, failed, fine)
	}
	if len(l.Failures()) != 5 {
		t.Errorf("%d failures are described, want 5", len(l.Failures()))
	}
}

func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !is() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("not within 20 s")
		}
	}
}

// A connection that the server closed while nothing was under way is replaced, and
// that is no failure.
func TestStreamReplacesClosedConnections(t *testing.T) {
	t.Parallel()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "fine") }))
	var opened atomic.Int64
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateIdle:
			c.Close()
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	l := Start(t.Context(), s.URL, "/x", 1, 10) // so few that each close arrives before the next request is sent
	waitFor(t, func() bool { return l.Sent() >= 5 })
	l.End()
	if l.Failed() > 0 || opened.Load() < 5 {
		t.Errorf("over %d connections %d of %d requests failed, want none: %v", opened.Load(), l.Failed(), l.Sent(), l.Failures())
	}
}
