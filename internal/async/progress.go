package async

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// reportEvery is the time between two reports that are kept.
const reportEvery = time.Second

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
	e.executed().progress = progress{token: token}
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
	body, err := io.ReadAll(io.LimitReader(o.r.Body, workload.MaxProgress+1))
	if err != nil {
		return fault.New(fault.Malformed, codeBody, "the body of the request could not be read: %w", err)
	}
	said, err := workload.ParseProgress(body)
	if err != nil {
		return fault.New(fault.Malformed, codeBadOption, "how far it is cannot be read: %w", err).
			WithHint(`say it as JSON, {"percent": 40, "message": "chunk 4 of 10"}, or as plain text`)
	}
	said.At = time.Now().UTC()
	l.mu.Lock()
	e := l.entries[o.id]
	if e == nil || e.done().progress.token == "" || !e.state.Executing() || subtle.ConstantTimeCompare([]byte(e.doing.progress.token), []byte(token)) != 1 {
		l.mu.Unlock()
		return notReporting()
	}
	latest := e.doing.progress.latest
	kept := latest == nil || said.At.Sub(latest.At) >= reportEvery || said.Percent != nil && *said.Percent == 100
	if kept {
		e.doing.progress.note(said)
	}
	l.mu.Unlock()
	if kept {
		o.s.changes.tell(o.id)
	}
	o.w.WriteHeader(http.StatusNoContent)
	return nil
}

func (p *progress) note(said *workload.ItemProgress) {
	p.latest = said
	p.number++
}

// relayed takes note of what a replica that keeps executions passes on, or another program
// has heard.
func (s *Service) relayed(api, id string, text []byte) (heard bool) {
	said, err := workload.ParseProgress(text)
	l := s.existing(api)
	if err != nil || l == nil {
		return false
	}
	said.At = time.Now().UTC()
	l.mu.Lock()
	if e := l.entries[id]; e != nil && e.state.Executing() {
		e.executed().progress.note(said)
		heard = true
	}
	l.mu.Unlock()
	if heard {
		s.changes.tell(id)
	}
	return heard
}

// listening has what comes before the answer of a replica noted: how far it is.
func (l *line) listening(ctx context.Context, id string) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
		text := header.Get(workload.ExecutionProgress)
		if text != "" && l.s.relayed(l.name, id, []byte(text)) && l.s.cfg.Others != nil {
			l.s.cfg.Others.Tell(l.name, id, []byte(text))
		}
		return nil
	}})
}

func notReporting() error {
	return fault.New(fault.NotFound, "not_executing", "no execution has this address any more").
		WithHint("each execution has an address of its own, in %s", fieldReport)
}
