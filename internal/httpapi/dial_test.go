package httpapi

import (
	"context"
	"net"
	"testing"
	"time"
)

// elsewhere is an address of this machine that others reach it by.
func elsewhere(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but its own")
	return ""
}

func TestDialWaitsForAnOperatorThatIsAway(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", net.JoinHostPort(elsewhere(t), "0"))
	if err != nil {
		t.Fatal(err)
	}
	address := gone.Addr().String()
	_ = gone.Close()

	if _, err := (dialer{}).dial(t.Context(), "tcp", address); err == nil {
		t.Fatal("dial() connects to nobody")
	}
	back := make(chan net.Listener, 1)
	time.AfterFunc(2*attemptEvery, func() {
		ln, err := net.Listen("tcp", address)
		if err != nil {
			t.Error(err)
		}
		back <- ln
	})
	nc, err := dialer{away: time.Minute}.dial(t.Context(), "tcp", address)
	if ln := <-back; ln != nil {
		defer ln.Close()
	}
	if err != nil {
		t.Fatalf("dial() = %v, want a connection to the next one", err)
	}
	_ = nc.Close()
}

func TestDialGivesUp(t *testing.T) {
	t.Parallel()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	_, port, _ := net.SplitHostPort(gone.Addr().String())
	impatient, cancel := context.WithTimeout(t.Context(), attemptEvery/5)
	defer cancel()
	for _, tt := range []struct {
		name, host string
		ctx        context.Context
		away       time.Duration
	}{
		{"at an address of this machine", "127.0.0.1", t.Context(), time.Hour},
		{"at a name that nobody knows", "nobody.invalid", t.Context(), time.Hour},
		{"when it is told to", elsewhere(t), impatient, time.Hour},
		{"when the time is over", elsewhere(t), t.Context(), attemptEvery},
	} {
		if nc, err := (dialer{away: tt.away}).dial(tt.ctx, "tcp", net.JoinHostPort(tt.host, port)); err == nil {
			_ = nc.Close()
			t.Errorf("%s: dial() connects to nobody", tt.name)
		}
	}
}
