package httpapi

import (
	"context"
	"net/http"
	"net/url"
)

// Forwarded is a request of somebody for whom this client speaks.
type Forwarded struct {
	Method, Path string
	Query        url.Values
	After        string // Last-Event-ID
	Body         []byte // JSON; nil: none
}

// Forward sends r to the operator with the identity of this client, and returns the answer
// as it is, whatever its status; its body is the caller's to close. An answer that there is
// none of is the fault that the other methods have.
func (c *Client) Forward(ctx context.Context, r Forwarded) (*http.Response, error) {
	k := call{method: r.Method, path: r.Path, query: r.Query, after: r.After, timeout: callTimeout}
	resp, err := c.prove(ctx, k, r.Body)
	if err != nil {
		return nil, c.explain(ctx, k, err)
	}
	return resp, nil
}

// WriteFault answers with err as an operator does.
func WriteFault(w http.ResponseWriter, err error) { _ = writeFault(w, err) }
