package relay

import "errors"

// ended tells who watches how the exchange ended.
func (c *conn) ended(status int, reason string) {
	for _, o := range c.srv.watchers {
		o.Ended(&c.x, status, reason)
	}
}

// Stale is the reason of an answer to a request that crossed the end of the kept connection
// over which it was sent. The server has not failed.
const Stale = "stale_connection"

// ClientGone is the reason of an exchange whose client left before it had the answer.
const ClientGone = "client_gone"

// brokenBy is the reason of an exchange that broke off.
func (c *conn) brokenBy(err error, cut bool) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.aborted == errDrained:
		return "shutting_down"
	case c.aborted == nil && errors.Is(err, errSource) && cut:
		return cutOff
	case c.aborted == nil && errors.Is(err, errSource):
		return "upstream_closed"
	}
	return ClientGone
}

// answering tells who watches that the upstream's answer begins.
func (c *conn) answering() {
	if c.st != nil {
		c.st.LetGo()
		c.noteHead()
	}
	if len(c.srv.watchers) == 0 {
		return
	}
	c.x.reason = string(c.reason()) // its bytes are gone when the exchange ends
	for _, o := range c.srv.watchers {
		o.Answering(&c.x)
	}
}

// badGateway says what the upstream did instead of answering.
func badGateway(err error) *Answer {
	var r *refusal
	if errors.As(err, &r) {
		return &Answer{Status: 502, Code: "upstream_malformed", Origin: "api",
			Message: "the API's server sent an answer that is not HTTP: " + r.message}
	}
	if errors.Is(err, errStale) {
		return &Answer{Status: 502, Code: Stale, Origin: "api",
			Message: "the API's server closed a connection that it had kept open just when this request came over it, and did not read it; send it again"}
	}
	return &Answer{Status: 502, Code: "upstream_closed", Origin: "api",
		Message: "the API's server closed the connection before it answered; see its logs"}
}
