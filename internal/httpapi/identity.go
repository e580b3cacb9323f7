package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Challenge asks what a proof has to be bound to, and returns with it the
// fingerprint of the certificate that was seen on the connection: what has to be
// signed, whatever the challenge says.
func (c *Client) Challenge(ctx context.Context) (auth.Challenge, string, error) {
	var out auth.Challenge
	k := call{method: http.MethodGet, path: "/v1/auth/challenge", out: &out, timeout: infoTimeout}
	limited, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	// A connection that was kept may show the certificate before the one in use now.
	c.http.CloseIdleConnections()
	resp, err := c.attempt(limited, k, nil, "")
	if err != nil {
		return out, "", c.explain(ctx, k, err)
	}
	seen := ""
	if resp.TLS != nil && len(resp.TLS.PeerCertificates) > 0 {
		seen = auth.Fingerprint(resp.TLS.PeerCertificates[0].Raw)
	}
	if err := c.read(ctx, k, resp); err != nil {
		return out, "", err
	}
	if seen == "" {
		return out, "", fault.New(fault.Usage, "cli.invalid_operator_endpoint", "%s is not https: an identity is proven over https only", c.where).
			WithHint("use the https address of the operator")
	}
	return out, seen, nil
}

// Exchange turns a proof into a session.
func (c *Client) Exchange(ctx context.Context, p auth.Proof) (auth.Session, error) {
	var out auth.Session
	k := call{method: http.MethodPost, path: "/v1/auth/session", body: p, out: &out, timeout: exchangeTimeout}
	data, err := encodeJSON(p)
	if err != nil {
		return out, fmt.Errorf("writing the request: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, k.timeout)
	defer cancel()
	resp, err := c.attempt(limited, k, data, "")
	if err != nil {
		return out, c.explain(ctx, k, err)
	}
	return out, c.read(ctx, k, resp)
}

// exchangeTimeout leaves the operator its five seconds with STS.
const exchangeTimeout = 20 * time.Second

// WhoAmI asks who the operator says this caller is, and what it may do.
func (c *Client) WhoAmI(ctx context.Context) (auth.Identity, error) {
	var out auth.Identity
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/whoami", out: &out, timeout: infoTimeout})
	return out, err
}

// CreateCallSession makes a session with which this caller can call APIs.
func (c *Client) CreateCallSession(ctx context.Context, req auth.CallRequest) (out auth.CallSession, err error) {
	err = c.do(ctx, call{method: http.MethodPost, path: "/v1/call-sessions", body: req, out: &out})
	return out, err
}

// Audit reads the audit; see auth.Guard.
func (c *Client) Audit(ctx context.Context, q auth.AuditQuery, fn func(auth.Entry) error) error {
	v := url.Values{}
	setSince(v, q.Since)
	setBool(v, "denied", q.Denied)
	if q.Principal != "" {
		v.Set("principal", q.Principal)
	}
	return stream(ctx, c, call{method: http.MethodGet, path: "/v1/audit", query: v}, fn)
}

// RevokeSessions ends every session of everybody.
func (c *Client) RevokeSessions(ctx context.Context) error {
	var out workload.Message
	return c.do(ctx, call{method: http.MethodDelete, path: "/v1/auth/sessions", out: &out})
}
