package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// wired returns both ends of a TCP connection: a socket and its peer.
func wired(t *testing.T) (*socket, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
	return newSocket(ours), theirs.(*net.TCPConn)
}

// echo answers each read with what it read, until the connection ends.
func echo(theirs net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := theirs.Read(buf)
		if err != nil {
			return
		}
		if _, err := theirs.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestAskGetsEveryAnswer(t *testing.T) {
	t.Parallel()
	s, theirs := wired(t)
	go echo(theirs)
	request, answer := []byte("what is it?"), make([]byte, 64)
	for i := range 20_000 {
		request[0] = byte(i)
		sent, got, err := s.ask(request, answer)
		if err != nil || sent != len(request) || !bytes.Equal(answer[:got], request) {
			t.Fatalf("ask() number %d = %d, %q, %v", i, sent, answer[:got], err)
		}
	}
}

// A request that the peer does not take at once is sent on when it does.
func TestAskMoreThanThereIsRoomFor(t *testing.T) {
	t.Parallel()
	s, theirs := wired(t)
	request := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than both buffers hold
	taken := make(chan []byte, 1)
	go func() {
		got := make([]byte, len(request))
		_, _ = io.ReadFull(theirs, got) // a short read shows below
		taken <- got
		_, _ = theirs.Write([]byte("done"))
	}()
	answer := make([]byte, 64)
	sent, got, err := s.ask(request, answer)
	if err != nil || sent != len(request) || got != 0 {
		t.Fatalf("ask() = %d, %d, %v, want %d and no answer yet", sent, got, err, len(request))
	}
	if !bytes.Equal(<-taken, request) {
		t.Error("the peer got something else")
	}
	if n, err := s.Read(answer); err != nil || string(answer[:n]) != "done" {
		t.Errorf("Read() = %q, %v", answer[:n], err)
	}
}

func TestSocketsThatEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		end  func(s *socket, theirs *net.TCPConn) // before something is asked
		when func(s *socket, theirs *net.TCPConn) // when it is read
		want func(sent, got int, err, next error) bool
	}{
		{"closed here before", func(s *socket, _ *net.TCPConn) { _, _ = s.Write([]byte("earlier")); _ = s.Close() }, nil,
			func(sent, got int, err, next error) bool {
				return sent == 0 && got == 0 && errors.Is(err, net.ErrClosed) && errors.Is(next, net.ErrClosed)
			}},
		{"reset before", func(s *socket, theirs *net.TCPConn) {
			_ = theirs.SetLinger(0)
			_ = theirs.Close()
			for quiet(s) { // until the reset is here
			}
		}, nil, func(sent, got int, err, next error) bool {
			return sent == 0 && got == 0 && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) && next != nil
		}},
		{"closed by the peer without an answer", nil, func(_ *socket, theirs *net.TCPConn) { _ = theirs.Close() },
			func(sent, got int, err, next error) bool {
				return sent == 7 && got == 0 && err == nil && errors.Is(next, io.EOF)
			}},
		{"reset by the peer without an answer", nil, func(_ *socket, theirs *net.TCPConn) { _ = theirs.SetLinger(0); _ = theirs.Close() },
			func(sent, got int, err, next error) bool { return sent == 7 && got == 0 && err == nil && next != nil }},
		{"closed here meanwhile", nil, func(s *socket, _ *net.TCPConn) { _ = s.Close() },
			func(sent, got int, err, next error) bool {
				return sent == 7 && got == 0 && err == nil && errors.Is(next, net.ErrClosed)
			}},
		{"out of time", nil, func(s *socket, _ *net.TCPConn) { _ = s.SetReadDeadline(time.Unix(1, 0)) },
			func(sent, got int, err, next error) bool {
				return sent == 7 && got == 0 && err == nil && errors.Is(next, os.ErrDeadlineExceeded)
			}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, theirs := wired(t)
			if tt.end != nil {
				tt.end(s, theirs)
			}
			if tt.when != nil {
				go func() {
					_, _ = io.ReadFull(theirs, make([]byte, 7))
					tt.when(s, theirs)
				}()
			}
			sent, got, err := s.ask([]byte("request"), make([]byte, 64))
			_, next := s.Read(make([]byte, 1))
			if !tt.want(sent, got, err, next) {
				t.Errorf("ask() = %d, %d, %v, and then Read() = %v", sent, got, err, next)
			}
		})
	}
}

// What is no socket of the kernel's is read and written as it is.
func TestSocketAroundAnythingElse(t *testing.T) {
	t.Parallel()
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s := newSocket(ours)
	go echo(theirs)
	answer := make([]byte, 64)
	if sent, got, err := s.ask([]byte("request"), answer); sent != 7 || got != 0 || err != nil {
		t.Fatalf("ask() = %d, %d, %v", sent, got, err)
	}
	if n, err := s.Read(answer); err != nil || string(answer[:n]) != "request" {
		t.Errorf("Read() = %q, %v", answer[:n], err)
	}
	if err := s.CloseWrite(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("CloseWrite() of a pipe = %v", err)
	}
}
