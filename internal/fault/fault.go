// Package fault is the one vocabulary of errors that people and programs outside
// this process get to see: a kind, a stable code, a text, a hint and, where the
// cause is in a file, its position.
//
// It promises that every kind maps to exactly one HTTP status and one exit code
// (the tables below), and that a Fault survives the wire: what the operator
// returned is what the command line prints.
//
// It must not contain the errors of any one package; those are made where they
// happen, with New.
package fault

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Kind says what a caller can do about an error.
type Kind string

// The kinds. Their HTTP status is in the table below.
const (
	Malformed    Kind = "malformed"    // the request cannot be read
	Unproven     Kind = "unproven"     // nobody has proven who is calling
	Forbidden    Kind = "forbidden"    // proven, and not allowed
	NotFound     Kind = "not_found"    // the named thing does not exist
	Conflict     Kind = "conflict"     // the present state forbids it
	Invalid      Kind = "invalid"      // readable, and against the rules
	TooMany      Kind = "too_many"     // over a limit that time relaxes
	Unavailable  Kind = "unavailable"  // not now; the same call may work later
	Unsupported  Kind = "unsupported"  // a thing this place cannot do
	Usage        Kind = "usage"        // a command line that does not parse
	Unexpected   Kind = "unexpected"   // a defect of ours
	Disconnected Kind = "disconnected" // the operator could not be reached
)

var statuses = map[Kind]int{
	Malformed:    http.StatusBadRequest,
	Unproven:     http.StatusUnauthorized,
	Forbidden:    http.StatusForbidden,
	NotFound:     http.StatusNotFound,
	Conflict:     http.StatusConflict,
	Invalid:      http.StatusUnprocessableEntity,
	TooMany:      http.StatusTooManyRequests,
	Unavailable:  http.StatusServiceUnavailable,
	Unsupported:  http.StatusNotImplemented,
	Usage:        http.StatusBadRequest,
	Unexpected:   http.StatusInternalServerError,
	Disconnected: http.StatusBadGateway,
}

// Exit codes of every program of this project.
const (
	ExitDone   = 0 // done
	ExitFailed = 1 // the work failed
	ExitUsage  = 2 // the command line was wrong; nothing was done
)

// Problem is one thing that is wrong in a file.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`    // 1-based; 0 where unknown
	Column  int    `json:"column,omitempty"`  // 1-based; 0 where unknown
	API     string `json:"api,omitempty"`     // "name (Kind)", or "resource at index N"
	Path    string `json:"path,omitempty"`    // key path within the API, such as pod.containers[0].name
	Code    string `json:"code"`              // stable: spec.duplicate_name, configreader.unsupported_key, …
	Message string `json:"message"`           // what is wrong, in one sentence
	Found   string `json:"found,omitempty"`   // the value as it stands in the file
	Allowed string `json:"allowed,omitempty"` // what would be accepted
	Hint    string `json:"hint,omitempty"`    // "did you mean …?", or what to do
}

// String is the problem in one line: position, API, path, message, hint.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	if p.API != "" {
		b.WriteString(p.API + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	if p.Found != "" {
		b.WriteString("; found " + p.Found)
	}
	if p.Allowed != "" {
		b.WriteString("; allowed: " + p.Allowed)
	}
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Fault is an error meant to be read outside this process.
type Fault struct {
	Kind     Kind      `json:"kind"`
	Code     string    `json:"code"` // stable; scripts may match it
	Message  string    `json:"message"`
	Hint     string    `json:"hint,omitempty"` // what to do about it
	Problems []Problem `json:"problems,omitempty"`
	cause    error
}

// New returns a fault of the given kind and stable code. Format verbs are those
// of fmt.Errorf; a wrapped error stays reachable by errors.Is and errors.As.
func New(kind Kind, code, format string, args ...any) *Fault {
	err := fmt.Errorf(format, args...)
	return &Fault{Kind: kind, Code: code, Message: err.Error(), cause: errors.Unwrap(err)}
}

// WithHint returns a copy of f that says what to do.
func (f *Fault) WithHint(format string, args ...any) *Fault {
	c := *f
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// OfProblems returns the fault that carries all problems of a file, or nil when
// there are none. Its code is that of the first problem.
func OfProblems(problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	return &Fault{
		Kind: Invalid, Code: problems[0].Code,
		Message:  strings.Join(lines, "\n"),
		Problems: slices.Clone(problems),
	}
}

func (f *Fault) Error() string { return f.Message }

func (f *Fault) Unwrap() error { return f.cause }

// From returns err as a Fault: the first one in its chain, carrying the whole
// text of err, or an Unexpected one. It returns nil for nil.
func From(err error) *Fault {
	if err == nil {
		return nil
	}
	var f *Fault
	if !errors.As(err, &f) {
		return &Fault{Kind: Unexpected, Code: "errors.unexpected", Message: err.Error(), cause: err}
	}
	if text := err.Error(); text != f.Message {
		c := *f
		c.Message = text
		return &c
	}
	return f
}

// Is reports whether err is a fault of the given kind.
func Is(err error, kind Kind) bool {
	var f *Fault
	return errors.As(err, &f) && f.Kind == kind
}

// Code returns the stable code of err, or "" when err is no fault.
func Code(err error) string {
	var f *Fault
	if errors.As(err, &f) {
		return f.Code
	}
	return ""
}

// HTTPStatus returns the status code that says what happened.
func HTTPStatus(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if s, ok := statuses[From(err).Kind]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// ExitCode returns the exit code of a program that ends with err.
func ExitCode(err error) int {
	switch {
	case err == nil:
		return ExitDone
	case Is(err, Usage):
		return ExitUsage
	default:
		return ExitFailed
	}
}
