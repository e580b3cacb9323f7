package relay

import (
	"io"
	"net"
	"sync"
)

// tunnel passes bytes both ways after the upstream switched protocols, until both
// sides said that they are done, or one failed; the watch ends one whose upstream is done
// and whose client does not care.
func (c *conn) tunnel(up *upConn) outcome {
	c.keep = false
	c.enter(tunnelled) // a stalled or half closed tunnel is legal
	first := c.appendResponse(c.out[:0], false, false)
	first = append(first, up.in.buffered()...)
	up.in.r = up.in.w
	if c.write(first, false) != nil {
		return broken
	}
	early := c.in.buffered()
	c.in.r = c.in.w
	if len(early) > 0 {
		if _, err := up.nc.Write(early); err != nil {
			return broken
		}
	}
	var other sync.WaitGroup
	other.Go(func() { pass(up.nc.Conn, c.nc.Conn) })
	pass(c.nc.Conn, up.nc.Conn)
	c.giveBack(c.res.status) // nobody works on it any more
	c.severed.Store(c.srv.clock.now())
	other.Wait()
	return answered
}

// pass copies src to dst and hands its end on. An error ends both directions.
func pass(dst, src net.Conn) {
	_, err := io.Copy(dst, src)
	if half, ok := dst.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		return
	}
	_ = dst.Close() // unblocks the other direction
	_ = src.Close()
}
