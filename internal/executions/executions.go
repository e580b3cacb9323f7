// Package executions is how a sidecar is asked to have something executed, for who asks: the
// gateways for items, and the operator for the batches of jobs.
//
// It promises that both read its answers alike. It must not know what is executed, or how
// requests are sent.
package executions

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"cortex.dev/cortex/internal/workload"
)

// ErrStopped is the error of an execution whose replica had to stop before its end.
var ErrStopped = errors.New("the replica had to stop")

// maxSaid bounds what is read of an answer that is for people.
const maxSaid = 1 << 10

// At makes u that of a path of the sidecar on a host.
func At(u *url.URL, host, path string) {
	u.Scheme, u.Host, u.Path = "http", net.JoinHostPort(host, strconv.Itoa(int(workload.AdminPort))), path
}

// Answer returns the answer of a container, which the sidecar passes on. The error is that
// of a connection that cannot be opened where nothing of it has reached the container, and
// ErrStopped where the replica had to stop.
func Answer(resp *http.Response) (*http.Response, error) {
	how := resp.Header.Get(workload.ExecutionHeader)
	resp.Header.Del(workload.ExecutionHeader)
	if how == workload.ExecutionAnswered {
		return resp, nil
	}
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxSaid)) // what there is of it
	_ = resp.Body.Close()                                     // it is over
	err := fmt.Errorf("the sidecar says %q (%d): %s", how, resp.StatusCode, bytes.TrimSpace(said))
	switch how {
	case workload.ExecutionRefused:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: err}
	case workload.ExecutionStopped:
		return nil, fmt.Errorf("%w: %w", ErrStopped, err)
	}
	return nil, err
}
