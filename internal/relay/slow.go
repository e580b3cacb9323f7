package relay

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// pumpAhead goes on with the pump of an answer whose client takes it more slowly than it
// comes: of what was to be sent, rest is left. A goroutine reads on meanwhile, so that the
// upstream is settled when it has said everything, within bounds.
func (c *conn) pumpAhead(b *body, inChunks bool, rest []byte) error {
	from := c.srv.ahead.of(upstreamBody{c, b}, func() {})
	from.start()
	defer from.Close()
	if err := c.sendClient(rest, false); err != nil {
		return err
	}
	buf := *bodyBuffers.Get().(*[]byte)
	defer bodyBuffers.Put(&buf)
	for {
		n, err := from.Read(buf[chunkRoom : len(buf)-len(crlf)])
		out := buf[chunkRoom : chunkRoom+n]
		switch {
		case err == nil && inChunks:
			var size [chunkRoom]byte
			line := append(strconv.AppendInt(size[:0], int64(n), 16), crlf...)
			begin := chunkRoom - copy(buf[chunkRoom-len(line):], line)
			out = append(buf[begin:chunkRoom+n], crlf...)
		case err == nil:
		case !errors.Is(err, io.EOF):
			return fmt.Errorf("%w: %w", errSource, err)
		case c.st != nil:
			c.noteCall(b.trailer)
			return c.sendClient(nil, true)
		case !inChunks:
			return nil
		default:
			return c.sendClient(b.appendEnd(nil), true)
		}
		if err := c.sendClient(out, false); err != nil {
			return err
		}
	}
}

// sendClient sends more of an answer's body.
func (c *conn) sendClient(p []byte, last bool) error {
	if c.st == nil {
		return c.send(c.nc, &c.writing, p)
	}
	var trailer []byte
	if last {
		trailer = c.resBody.trailer
	}
	return c.sendFrames(c.st, &c.writing, nil, p, last, trailer)
}

// upstreamBody is the body of an answer as it comes from the upstream.
type upstreamBody struct {
	c *conn
	b *body
}

// Read settles the exchange at the end.
func (u upstreamBody) Read(p []byte) (int, error) {
	n, err := u.b.read(p)
	if u.b.done {
		u.c.settle()
		err = io.EOF
	}
	return n, err
}

// Close ends a Read.
func (u upstreamBody) Close() error {
	u.c.loseUpstream()
	return nil
}
