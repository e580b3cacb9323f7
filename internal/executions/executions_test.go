package executions

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

// What a sidecar says of an execution is an answer, or why there is none.
func TestAnswer(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		how                     string
		answered, dial, stopped bool
	}{
		{how: workload.ExecutionAnswered, answered: true},
		{how: workload.ExecutionRefused, dial: true},
		{how: workload.ExecutionStopped, stopped: true},
		{how: workload.ExecutionLost},
		{how: workload.ExecutionUnknown},
		{how: ""}, // not of our sidecar
	} {
		resp := &http.Response{StatusCode: http.StatusBadGateway, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("so it is\n"))}
		resp.Header.Set(workload.ExecutionHeader, tt.how)
		got, err := Answer(resp)
		var op *net.OpError
		if (got != nil) != tt.answered || (err == nil) != tt.answered || errors.As(err, &op) != tt.dial || errors.Is(err, ErrStopped) != tt.stopped {
			t.Errorf("%q: Answer() = %v, %v", tt.how, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "so it is") {
			t.Errorf("%q: the error is %v, want the words of the sidecar", tt.how, err)
		}
		if got != nil && got.Header.Get(workload.ExecutionHeader) != "" {
			t.Errorf("the answer has still the field of the sidecar")
		}
	}
}
