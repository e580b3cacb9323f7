package jobs

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Serve answers a request at the endpoint of a BatchAPI or TaskAPI, as cortex 0.42 did. The
// path of r begins below the endpoint, which is what base is.
func (s *Service) Serve(api, base string, w http.ResponseWriter, r *http.Request) {
	if isOpenAI(r.URL.Path) {
		s.serveOpenAI(api, w, r)
		return
	}
	answer, err := s.serve(api, base, w, r)
	if err != nil {
		refuse(w, r, err)
		return
	}
	if text, ok := answer.(string); ok {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text) //nolint:gosec // plain text; and the caller may be gone
		return
	}
	reply(w, http.StatusOK, answer)
}

// Closed answers at the endpoints of BatchAPIs and TaskAPIs where jobs are submitted by who
// has proven an identity, and nobody has there.
type Closed struct{}

// Serve refuses.
func (Closed) Serve(api, base string, w http.ResponseWriter, r *http.Request) {
	if err := elsewhere(base, r); err != nil {
		refuse(w, r, err)
		return
	}
	refuse(w, r, closed(api))
}

func closed(api string) error {
	return fault.New(fault.Forbidden, "jobs.authentication_needed", "jobs of %s are submitted by who proves an identity", api).
		WithHint("use the management API: cortex submit %s", api)
}

// elsewhere refuses a path below an endpoint.
func elsewhere(base string, r *http.Request) error {
	if strings.Trim(r.URL.Path, "/") == "" {
		return nil
	}
	return fault.New(fault.NotFound, "endpoint_not_found", "there is nothing at %s", r.URL.Path).
		WithHint("POST a job to %s; GET %s?jobID=ID says what became of it", base, base)
}

// refuse writes an error.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil {
		panic(http.ErrAbortHandler) // nobody hears the answer, and the connection is of no more use
	}
	f := fault.From(err)
	message := f.Message
	if f.Hint != "" {
		message += " (" + f.Hint + ")"
	}
	w.Header().Set("X-Cortex-Reason", f.Code)
	status := fault.HTTPStatus(err)
	var not *methodError
	if errors.As(err, &not) {
		w.Header().Set("Allow", "GET, POST, DELETE")
		status = http.StatusMethodNotAllowed
	}
	reply(w, status, struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}{f.Code, message})
}

func reply(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"code":"errors.unexpected","message":"the answer cannot be written"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // the caller may be gone
}

// methodError is of a method that is not answered.
type methodError struct{ error }

func (e *methodError) Unwrap() error { return e.error }

func (s *Service) serve(api, base string, w http.ResponseWriter, r *http.Request) (any, error) {
	if err := elsewhere(base, r); err != nil {
		return nil, err
	}
	if s.cfg.Closed {
		return nil, closed(api)
	}
	ctx, query := r.Context(), r.URL.Query()
	id := query.Get("jobID")
	if r.Method != http.MethodPost && id == "" {
		return nil, fault.New(fault.Malformed, "endpoints.query_param_required", "the query parameter jobID is needed")
	}
	switch r.Method {
	case http.MethodPost:
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxSubmission))
		if err != nil {
			return nil, fault.New(fault.Malformed, "body_unreadable", "the job cannot be read: %w", err).WithHint("it may have %d bytes", maxSubmission)
		}
		if dry, _ := strconv.ParseBool(query.Get("dryRun")); dry { // anything else is no dry run, as in 0.42
			files, err := s.DryRun(ctx, api, body)
			if err != nil {
				return nil, err
			}
			return strings.Join(append(files, "validations passed"), "\n") + "\n", nil
		}
		id, _, err := s.Submit(ctx, api, body, "")
		if err != nil {
			return nil, err
		}
		shown, _, err := s.Get(ctx, api, id)
		return shown, err
	case http.MethodGet:
		shown, metrics, err := s.Get(ctx, api, id)
		if err != nil {
			return nil, err
		}
		answer := workload.JobResponse{JobStatus: shown, Metrics: metrics, Endpoint: base + "?jobID=" + id}
		if rev := s.Revision(ctx, api, id); rev != nil {
			answer.APISpec = rev.Shown()
		}
		return answer, nil
	case http.MethodDelete:
		if err := s.Stop(ctx, api, id); err != nil {
			return nil, err
		}
		return workload.Message{Message: "stopped job " + id}, nil
	}
	err := fault.New(fault.Malformed, "method_not_allowed", "%s is not answered here; GET, POST and DELETE are", r.Method)
	return nil, &methodError{err}
}
