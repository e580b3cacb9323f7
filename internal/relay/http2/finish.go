package http2

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"
)

// RoundTrip sends r, a copy of the request that the client sent with body, by next. When
// the client leaves while the server works on the whole of it, the server goes on, for
// finish at most, so that what it has to do at once stays what it should be; see
// relay.Exchange.CancelWhenGone. A request that is not whole cannot be finished, and a
// call of gRPC is cancelled: it has a word for that, which every server of it hears.
//
// sent says that there was a connection for r, where next may send it once more by another
// one: when there is none then, r may be why.
func RoundTrip(next http.RoundTripper, r *http.Request, body *Body, finish time.Duration) (resp *http.Response, sent bool, err error) {
	if !IsGRPC(r) { // which is sent again only where the server says that it has not seen it
		trace := &httptrace.ClientTrace{GotConn: func(httptrace.GotConnInfo) { sent = true }}
		r = r.WithContext(httptrace.WithClientTrace(r.Context(), trace))
	}
	resp, err = roundTrip(next, r, body, finish)
	return resp, sent, err
}

func roundTrip(next http.RoundTripper, r *http.Request, body *Body, finish time.Duration) (*http.Response, error) {
	if finish <= 0 || IsGRPC(r) {
		return next.RoundTrip(r)
	}
	client := r.Context()
	ctx, cancel := context.WithCancel(context.WithoutCancel(client))
	answered := make(chan struct{})
	stop := context.AfterFunc(client, func() {
		if !body.Sent() {
			cancel()
			return
		}
		late := time.NewTimer(finish)
		defer late.Stop()
		select {
		case <-answered:
		case <-late.C:
			cancel()
		}
	})
	resp, err := next.RoundTrip(r.WithContext(ctx))
	close(answered)
	stop()
	if err != nil {
		cancel()
		return nil, err
	}
	// From here the server hears of a client that leaves, at the next it sends.
	stop = context.AfterFunc(client, cancel)
	resp.Body = &cancelled{resp.Body, func() { stop(); cancel() }}
	return resp, nil
}

// cancelled is the body of an answer that ends with its context.
type cancelled struct {
	io.ReadCloser
	end func()
}

func (b *cancelled) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}
