package sidecar

import (
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// The kubelet takes a sidecar for running when this returns: not before it can be asked.
func TestListeningWaitsForTheSidecar(t *testing.T) {
	t.Parallel()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	returned := make(chan struct{})
	go func() { listening(t.Context(), addr); close(returned) }()
	select {
	case <-returned:
		t.Fatal("it returned before anybody listened")
	case <-time.After(100 * time.Millisecond):
	}
	late, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("somebody else took the port: %v", err)
	}
	defer late.Close()
	<-returned
}

// A sidecar that never listens is not ready, which says why; nobody waits for it for ever.
func TestListeningEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		listening(t.Context(), "127.0.0.1:1") // nobody's
		if took := time.Since(began); took < listenWithin || took > listenWithin+time.Second {
			t.Errorf("it waited for %s, want %s", took, listenWithin)
		}
	})
}
