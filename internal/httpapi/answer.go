package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"cortex.dev/cortex/internal/fault"
)

// Content types of requests and answers.
const (
	contentJSON   = "application/json"
	contentNDJSON = "application/x-ndjson"
)

// retryAfterSeconds is what callers are told when the same call may work later.
const retryAfterSeconds = 1

// Error is the body of every answer that is no success.
type Error struct {
	Kind      fault.Kind      `json:"kind" doc:"what a caller can do about it"`
	Code      string          `json:"code" doc:"stable; scripts may match it"`
	Message   string          `json:"message" doc:"for people"`
	Hint      string          `json:"hint,omitempty" doc:"what to do about it"`
	Problems  []fault.Problem `json:"problems,omitempty" doc:"every problem of the submitted file, with its position"`
	RequestID string          `json:"request_id" doc:"finds this request in the operator's log"`
}

func errorOf(err error, id string) Error {
	f := fault.From(err)
	return Error{Kind: f.Kind, Code: f.Code, Message: f.Message, Hint: f.Hint, Problems: f.Problems, RequestID: id}
}

// fault is the error as it was before it was sent.
func (e Error) fault() *fault.Fault {
	return &fault.Fault{Kind: e.Kind, Code: e.Code, Message: e.Message, Hint: e.Hint, Problems: e.Problems}
}

// refusal is a fault whose status says more than its kind does: 405, 413, 415.
type refusal struct {
	*fault.Fault
	status int
}

func (r *refusal) Unwrap() error { return r.Fault }

func statusOf(status int, f *fault.Fault) error { return &refusal{Fault: f, status: status} }

// writeFault answers with err in the one shape of errors.
func writeFault(w http.ResponseWriter, err error) error {
	status := fault.HTTPStatus(err)
	var r *refusal
	if errors.As(err, &r) {
		status = r.status
	}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	return writeJSON(w, status, errorOf(err, w.Header().Get(headerRequestID)))
}

// writeJSON answers with v. An error before the first byte is a value of ours
// that has no JSON; it is returned with nothing written.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := encodeJSON(v)
	if err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	w.Header().Set("Content-Type", contentJSON)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller is gone; nobody is left to tell
	return nil
}

// encodeJSON is v and a newline, with <, > and & as they are.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
