package relay

import "cortex.dev/cortex/internal/relay/h2"

// end is one side of an exchange: a connection of HTTP/1, or a stream of HTTP/2. The other
// one is nil.
type end struct {
	nc *socket
	st *h2.Stream
}

// giveUp ends whatever reads or writes e.
func (e *end) giveUp() {
	if e.st != nil {
		e.st.Reset(h2.Cancel)
		return
	}
	_ = e.nc.Close() // its reader reports it
}

// silent reports whether the peer of e sends no more.
func (e *end) silent() bool {
	if e.st != nil {
		return e.st.Silent()
	}
	return gone(e.nc, true)
}

// waits reports whether nothing of the peer's is there to be read.
func (e *end) waits() bool {
	if e.st != nil {
		unread, all := e.st.Ended()
		return unread == 0 && !all
	}
	return quiet(e.nc)
}

// takes reports whether the peer takes what is written.
func (e *end) takes() bool {
	if e.st != nil {
		return e.st.Writable()
	}
	return writable(e.nc)
}
