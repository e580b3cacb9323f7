package executions

import (
	"errors"
	"net"
	"net/http"
	"time"
)

// Transport returns one that speaks HTTP/1.1 to replicas and their sidecars. An answer that
// switches protocols is an error: nothing asks for it.
func Transport() http.RoundTripper {
	return transport{&http.Transport{
		DialContext:        (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		DisableCompression: true, MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second,
	}}
}

type transport struct{ *http.Transport }

var errSwitched = errors.New("the server switched protocols although nobody asked for it")

// RoundTrip is http.RoundTripper's.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.Transport.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		return resp, err
	}
	_ = resp.Body.Close() // nothing of it is of use
	return nil, errSwitched
}
