package relay

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
)

// pump writes head and then the body b to dst, as it arrives and in chunks if
// asked. begun says that something was written. The error is errSource or errSink with
// its cause. Of an answer, it settles the exchange when the last of it was read.
func (c *conn) pump(dst *socket, b *body, inChunks bool, head []byte) (begun bool, err error) {
	// For the watch: which side the client is on, and since when it is waited for.
	var ignored atomic.Int64 // how long the upstream takes is not judged
	reading, writing := &c.reading, &ignored
	if dst == c.nc {
		reading, writing = &ignored, &c.writing
	}
	// What is here already goes out with the head.
	if len(head) > 0 && !b.ready() && !b.done {
		if err := c.send(dst, writing, head); err != nil {
			return true, err
		}
		head, begun = nil, true
	}
	direct := !inChunks && b.framing == sized && b.tee == nil
	var kept *[]byte
	defer func() {
		if kept != nil {
			bodyBuffers.Put(kept)
		}
	}()
	for first := true; ; first = false {
		// The first bytes of an upload were waited for (awaitBody) and go out before. Of an
		// answer that has begun, a client that reads slowly would hold the place meanwhile.
		if direct && len(head) == 0 && (first || dst != c.nc) {
			if done, err := c.splice(dst, b, reading, writing); done || err != nil {
				return true, err
			}
		}
		if len(head) == 0 && b.rests() {
			// Thousands of streams of events rest most of the time: none holds a buffer meanwhile.
			if kept != nil {
				bodyBuffers.Put(kept)
				kept = nil
			}
			if dst == c.nc && c.uploads == nil { // the head is sent, and no request goes out
				recycle(c.out)
				c.out = nil
			}
			reading.CompareAndSwap(0, c.srv.clock.now())
			b.await()
		}
		if kept == nil {
			kept = bodyBuffers.Get().(*[]byte)
		}
		buf, room := *kept, chunkRoom
		if len(head) > 0 {
			if len(head)+chunkRoom > len(buf)/2 {
				if err := c.send(dst, writing, head); err != nil {
					return true, err
				}
				begun = true
			} else {
				room = copy(buf, head) + chunkRoom
			}
		}
		reading.CompareAndSwap(0, c.srv.clock.now())
		n, err := b.read(buf[room : len(buf)-2-len(lastChunk)])
		reading.Store(0)
		if err != nil && !errors.Is(err, io.EOF) {
			return begun, fmt.Errorf("%w: %w", errSource, err)
		}
		// The data stays where it is; what goes before it moves up to it.
		begin := room
		if n > 0 && inChunks {
			var size [chunkRoom]byte
			line := append(strconv.AppendInt(size[:0], int64(n), 16), crlf...)
			begin -= copy(buf[room-len(line):], line)
		}
		if lead := room - chunkRoom; lead > 0 {
			copy(buf[begin-lead:], buf[:lead])
			begin -= lead
		}
		out := buf[begin : room+n]
		if n > 0 && inChunks {
			out = append(out, crlf...)
		}
		if b.done && inChunks {
			out = b.appendEnd(out)
		}
		head = nil
		switch {
		case dst != c.nc:
		case b.done:
			c.settle()
		case len(out) > 0:
			sent, err := dst.WriteNow(out)
			if err != nil {
				return true, fmt.Errorf("%w: %w", errSink, err)
			}
			if out = out[sent:]; len(out) > 0 {
				return true, c.pumpAhead(b, inChunks, out)
			}
			begun = true
		}
		if len(out) > 0 {
			if err := c.send(dst, writing, out); err != nil {
				return true, err
			}
			begun = true
		}
		if b.done {
			return begun, nil
		}
	}
}

// appendEnd appends what follows the last chunk.
func (b *body) appendEnd(out []byte) []byte {
	if len(b.trailer) == 0 {
		return append(out, lastChunk...)
	}
	return append(append(append(out, "0\r\n"...), b.trailer...), crlf...)
}

func (c *conn) send(dst *socket, wait *atomic.Int64, p []byte) error {
	wait.Store(c.srv.clock.now())
	_, err := dst.Write(p)
	wait.Store(0)
	if err != nil {
		return fmt.Errorf("%w: %w", errSink, err)
	}
	return nil
}

// splice moves a large sized body inside the kernel where it can: nothing of it that is
// here already, and not its end. done says that the body is over.
func (c *conn) splice(dst *socket, b *body, reading, writing *atomic.Int64) (done bool, err error) {
	to, ok := dst.Conn.(*net.TCPConn)
	if !ok || b.from.r < b.from.w {
		return false, nil
	}
	source, ok := b.from.nc.(*socket)
	if !ok {
		return false, nil
	}
	from, ok := source.Conn.(*net.TCPConn)
	if !ok {
		return false, nil
	}
	for b.left > spliceAbove { // a piece at a time: the watch sees progress between them only
		now := c.srv.clock.now()
		reading.CompareAndSwap(0, now)
		writing.Store(now)
		n, err := to.ReadFrom(&io.LimitedReader{R: from, N: min(b.left, splicePiece)})
		reading.Store(0)
		writing.Store(0)
		b.left -= n
		if err != nil {
			b.torn = true
			return false, fmt.Errorf("%w: %w", errSink, err)
		}
		if n == 0 {
			return false, fmt.Errorf("%w: %w", errSource, io.ErrUnexpectedEOF)
		}
	}
	b.done = b.left == 0
	return b.done, nil
}
