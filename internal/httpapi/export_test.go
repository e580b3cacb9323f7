package httpapi

import (
	"context"
	"net"
	"net/http"
)

// DialWith lets a test give c connections of its own.
func DialWith(c *Client, dial func(ctx context.Context, network, address string) (net.Conn, error)) {
	t := c.http.Transport.(*http.Transport)
	t.DialContext = dial
	t.Proxy = nil
}
