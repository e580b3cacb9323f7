package httpapi

import (
	"context"
	"errors"
	"net"
	"time"
)

const (
	// operatorAway is how long an operator is expected to be away while another
	// replica takes over, and its address to lead nowhere.
	operatorAway = 4 * time.Second
	attemptFor   = 3 * time.Second // one attempt: packets to an address that is gone are not answered
	attemptEvery = 250 * time.Millisecond
)

// dialer connects to operators that may be away for a moment: as long as there is no
// connection nothing was sent, so trying again is safe.
type dialer struct {
	away time.Duration // after it no attempt begins
}

// dial connects. The error is that of the last attempt. An address of this machine is
// tried once, since nobody takes over there; so is a name that is not known.
func (d dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil || IsLoopback(host) {
		d.away = 0
	}
	one := &net.Dialer{Timeout: attemptFor}
	if d.away == 0 {
		one.Timeout = dialTimeout
	}
	for last := time.Now().Add(d.away); ; {
		nc, err := one.DialContext(ctx, network, address)
		var unknown *net.DNSError
		if err == nil || errors.As(err, &unknown) || !time.Now().Before(last) {
			return nc, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(attemptEvery):
		}
	}
}
