// Package awsrecord writes down what is said to AWS and what AWS answers, and answers from
// such a recording later: so that the first run in a real account becomes a test.
//
// It promises that nothing secret is written, and nothing that says whose account it was:
// no credentials and no signatures, other numbers for accounts, other names for people and
// machines, and nothing of stacks that are not of a Cortex cluster.
//
// It must not change what is said: a run that is recorded is the run that it would have been.
package awsrecord

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Variable is the environment variable that names the folder of a recording.
const Variable = "CORTEX_AWS_RECORD"

// Bounds of a recording.
const (
	maxExchanges = 20_000
	maxBody      = 4 << 20 // of what is written; more is cut, and says so
)

// Client is how AWS is called.
type Client interface {
	Do(r *http.Request) (*http.Response, error)
}

// Exchange is one question and its answer, as a recording has them.
type Exchange struct {
	After    float64  `json:"after_seconds"` // since the recording began
	Service  string   `json:"service"`
	Action   string   `json:"action"`
	Request  Question `json:"request"`
	Response Answer   `json:"response"`
}

// Question is what was asked.
type Question struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Query  string `json:"query,omitempty"`
	Body   string `json:"body,omitempty"`
}

// Answer is what AWS said. Error is that of a way to AWS that broke.
type Answer struct {
	Status  int               `json:"status,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Body    string            `json:"body,omitempty"`
	Error   string            `json:"error,omitempty"`
}

// Recorder writes each exchange into a file of its own.
type Recorder struct {
	next  Client
	dir   string
	began time.Time
	fails func(error)

	mu      sync.Mutex
	scrub   scrubber
	written int
}

// New returns a recorder of what passes through next, into a folder that it makes. What the
// machine is called is not written. fails is told once what keeps an exchange from being
// written, which is no reason to stop a run.
func New(dir string, next Client, machine string, fails func(error)) (*Recorder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder of the recording: %w", err)
	}
	there, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("reading the folder of the recording: %w", err)
	}
	once := sync.Once{}
	return &Recorder{
		next: next, dir: dir, began: time.Now(), written: len(there), scrub: newScrubber(machine), fails: func(err error) { once.Do(func() { fails(err) }) },
	}, nil
}

// Do implements Client.
func (r *Recorder) Do(req *http.Request) (*http.Response, error) {
	asked, err := taken(&req.Body)
	if err != nil {
		return nil, err
	}
	after := time.Since(r.began)
	resp, failed := r.next.Do(req)
	var answered []byte
	if failed == nil {
		if answered, err = taken(&resp.Body); err != nil {
			return resp, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.write(req, asked, resp, answered, failed, after); err != nil {
		r.fails(err)
	}
	return resp, failed
}

// taken reads a body and puts it back.
func taken(body *io.ReadCloser) ([]byte, error) {
	if *body == nil || *body == http.NoBody {
		return nil, nil
	}
	data, err := io.ReadAll(*body)
	if err = errors.Join(err, (*body).Close()); err != nil {
		return nil, err
	}
	*body = io.NopCloser(bytes.NewReader(data))
	return data, nil
}

// write adds one exchange to the folder.
func (r *Recorder) write(req *http.Request, asked []byte, resp *http.Response, answered []byte, failed error, after time.Duration) error {
	if r.written >= maxExchanges {
		return fmt.Errorf("the recording has %d exchanges, and takes no more", r.written)
	}
	e := Exchange{After: after.Seconds(), Request: r.scrub.question(req, asked)}
	e.Service, e.Action = Operation(req, asked)
	if failed != nil {
		e.Response.Error = r.scrub.text(failed.Error())
	} else {
		e.Response = r.scrub.answer(e.Action, resp, answered)
	}
	text, err := json.MarshalIndent(e, "", " ")
	if err != nil {
		return err
	}
	r.written++
	return os.WriteFile(filepath.Join(r.dir, fmt.Sprintf("%05d-%s-%s.json", r.written, e.Service, fileName(e.Action))), text, 0o600)
}

// fileName keeps a name to what a file may be called.
func fileName(text string) string {
	clean := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			return c
		}
		return '-'
	}, text)
	return clean[:min(len(clean), 60)]
}

// Operation is the service and the operation of a request, as far as requests say it.
func Operation(r *http.Request, body []byte) (service, action string) {
	// …Credential=KEY/DAY/REGION/SERVICE/aws4_request…
	if _, scope, ok := strings.Cut(r.Header.Get("Authorization"), "Credential="); ok {
		if parts := strings.Split(scope, "/"); len(parts) > 3 {
			service = parts[3]
		}
	}
	switch target := r.Header.Get("X-Amz-Target"); {
	case target != "":
		_, action, _ = strings.Cut(target, ".")
	case strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded"):
		form, err := url.ParseQuery(string(body))
		if err == nil {
			action = form.Get("Action")
		}
	}
	if action == "" {
		action = r.Method
	}
	return service, action
}
