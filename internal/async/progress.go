package async

import (
	"bytes"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of what a container says of how far it is.
const (
	reportEvery = time.Second // between two reports that are kept
	maxReport   = 4 << 10     // bytes of one
	maxMessage  = 1 << 10
)

// progress is how far the execution of an item is. It is not in the ledger: what is not
// finished when this process ends begins again.
type progress struct {
	token  string // that its container was given; empty: it cannot report
	number int    // of the latest report
	latest *workload.ItemProgress
}

// reached returns where the containers of an API reach it; empty: they do not.
func (s *Service) reached(spec *workload.Spec) string {
	if s.cfg.Door == nil || spec.Networking == nil {
		return ""
	}
	door := s.cfg.Door(spec)
	if door == "" {
		return ""
	}
	return door + strings.TrimSuffix(spec.Networking.Endpoint, "/")
}

// reporting returns the address at which the container that is to execute e says how far it
// is: one that nobody can guess, and that is of this execution alone.
func (l *line) reporting(e *entry, reached string) string {
	token := ""
	if reached != "" {
		token = rand.Text()
	}
	l.mu.Lock()
	e.progress = progress{token: token}
	l.mu.Unlock()
	if token == "" {
		return ""
	}
	return reached + "/" + e.id + "/progress/" + token
}

// report takes what a container says.
func (o *operation) report(token string) error {
	l := o.s.existing(o.api)
	if l == nil {
		return notReporting()
	}
	body, err := io.ReadAll(io.LimitReader(o.r.Body, maxReport+1))
	if err != nil {
		return fault.New(fault.Malformed, codeBody, "the body of the request could not be read: %w", err)
	}
	said, err := readReport(body)
	if err != nil {
		return fault.New(fault.Malformed, codeBadOption, "how far it is cannot be read: %w", err).
			WithHint(`say it as JSON, {"percent": 40, "message": "chunk 4 of 10"}, or as plain text`)
	}
	said.At = time.Now().UTC()
	l.mu.Lock()
	e := l.entries[o.id]
	if e == nil || e.progress.token == "" || !e.state.Executing() || subtle.ConstantTimeCompare([]byte(e.progress.token), []byte(token)) != 1 {
		l.mu.Unlock()
		return notReporting()
	}
	kept := e.progress.latest == nil || said.At.Sub(e.progress.latest.At) >= reportEvery || said.Percent != nil && *said.Percent == 100
	if kept {
		e.progress.latest = said
		e.progress.number++
	}
	l.mu.Unlock()
	if kept {
		o.s.changes.tell(o.id)
	}
	o.w.WriteHeader(http.StatusNoContent)
	return nil
}

func notReporting() error {
	return fault.New(fault.NotFound, "not_executing", "no execution has this address any more").
		WithHint("each execution has an address of its own, in %s", fieldReport)
}

// readReport reads {"percent": 40, "message": "…"}, or text.
func readReport(body []byte) (*workload.ItemProgress, error) {
	body = bytes.TrimSpace(body)
	var said workload.ItemProgress
	switch {
	case len(body) > maxReport:
		return nil, fmt.Errorf("it has more than %d bytes", maxReport)
	case len(body) == 0:
		return nil, errors.New("it is empty")
	case body[0] == '{':
		var as struct {
			Percent *float64 `json:"percent"`
			Message string   `json:"message"`
		}
		if err := json.Unmarshal(body, &as); err != nil {
			return nil, err
		}
		said.Percent, said.Message = as.Percent, as.Message
	default:
		said.Message = string(body)
	}
	if p := said.Percent; p != nil && (math.IsNaN(*p) || *p < 0 || *p > 100) {
		return nil, errors.New("percent is a number from 0 to 100")
	}
	if said.Percent == nil && said.Message == "" {
		return nil, errors.New("it has neither percent nor message")
	}
	said.Message = strings.ToValidUTF8(said.Message, "\ufffd")
	if len(said.Message) > maxMessage {
		said.Message = strings.ToValidUTF8(said.Message[:maxMessage], "") // without half a letter at its end
	}
	return &said, nil
}
