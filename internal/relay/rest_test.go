package relay

import (
	"errors"
	"io"
	"net"
	"testing"
)

// pieces is a connection from which bytes come as they were sent.
type pieces []string

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*p)[0])
	if (*p)[0] = (*p)[0][n:]; (*p)[0] == "" {
		*p = (*p)[1:]
	}
	return n, nil
}

// A chunked body is read whole wherever it breaks off and rests, and never waited for when all
// of it is here.
func TestBodyThatRests(t *testing.T) {
	t.Parallel()
	const text = "5\r\nhello\r\n6; x\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n"
	for i := range len(text) {
		for j := i; j < len(text); j++ {
			from := pieces{}
			for _, piece := range []string{text[:i], text[i:j], text[j:]} {
				if piece != "" {
					from = append(from, piece)
				}
			}
			r := reader{nc: &from, buf: make([]byte, smallBuffer)}
			var b body
			b.begin(&r, chunked, -1)
			var got []byte
			for buf := make([]byte, 64); ; {
				if b.rests() {
					b.await()
				}
				n, err := b.read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					if !errors.Is(err, io.EOF) || !b.done {
						t.Fatalf("broken at %d and %d: %v", i, j, err)
					}
					break
				}
			}
			if string(got) != "hello world" || string(b.trailer) != "X-Sum: 1\r\n" {
				t.Fatalf("broken at %d and %d: body %q, trailer %q", i, j, got, b.trailer)
			}
		}
	}
}

// A reader that waits for long holds no buffer, and has one again when something came or nothing
// will.
func TestReaderThatWaitsHoldsNoBuffer(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ours, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	s := newSocket(ours)
	var r reader
	r.open(s)
	held := true
	lend := s.lend
	s.lend = func(fd uintptr) bool { // nothing is there the first time
		done := lend(fd)
		if !done {
			held = r.buf != nil
			_, _ = theirs.Write([]byte("more")) // it is waited for
		}
		return done
	}
	if err := r.await(); err != nil || string(r.buffered()) != "more" || held {
		t.Errorf("await() = %v, %q; a buffer was held meanwhile: %t", err, r.buffered(), held)
	}
	r.r = r.w
	theirs.Close()
	if err := r.await(); !errors.Is(err, io.EOF) || len(r.buf) != smallBuffer {
		t.Errorf("await() = %v with a buffer of %d bytes, want EOF and %d", err, len(r.buf), smallBuffer)
	}
}
