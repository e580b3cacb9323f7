package async

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of what a caller may ask for.
const (
	maxFields  = 16 << 10            // bytes of the fields that are kept for the container
	maxDelay   = 30 * 24 * time.Hour // until an item is to begin
	maxTimeout = 7 * 24 * time.Hour
	maxCaller  = 128
	maxLabels  = 8
	keyKept    = 24 * time.Hour // how long an idempotency key is remembered
)

// Codes of what callers are told.
const (
	codeQueueFull   = "queue_full"
	codeTooLarge    = "payload_too_large"
	codeBadOption   = "option_invalid"
	codeNotDeployed = "endpoint_not_found"
	codeStopped     = "stopped"
	codeNotFinished = "not_finished"
	codeNoResult    = "no_result"
	codeResultLost  = "result_lost"
	codeNoPayload   = "payload_gone"
	codeBody        = "body_unreadable"
)

// options are what a caller says of an item, in fields of the request.
type options struct {
	due     time.Time
	expires time.Duration
	timeout time.Duration
	key     string
	class   ledger.Class
	caller  string
	labels  map[string]string
	webhook string
}

// optionFields are the fields that say something to us and not to the container. Others
// that begin with X-Cortex- are refused, so that nobody relies on one that does nothing.
var optionFields = map[string]func(*options, string, time.Time) error{
	"Idempotency-Key": func(o *options, text string, _ time.Time) error {
		if len(text) > ledger.MaxKey {
			return fmt.Errorf("it has %d bytes, and may have %d", len(text), ledger.MaxKey)
		}
		o.key = text
		return nil
	},
	"X-Cortex-Not-Before": func(o *options, text string, now time.Time) error {
		at, err := time.Parse(time.RFC3339, text)
		if strings.HasPrefix(text, "+") {
			var after time.Duration
			after, err = time.ParseDuration(text[1:])
			at = now.Add(after)
		}
		switch {
		case err != nil:
			return errors.New("it is neither a time, such as 2026-01-02T15:04:05Z, nor a delay, such as +90s")
		case at.Sub(now) > maxDelay:
			return errors.New("it is more than 30 days from now")
		case at.After(now):
			o.due = at
		}
		return nil
	},
	"X-Cortex-Expire-After": func(o *options, text string, _ time.Time) (err error) {
		o.expires, err = period(text, maxDelay)
		return err
	},
	"X-Cortex-Webhook": func(o *options, text string, _ time.Time) error {
		o.webhook = text
		return nil
	},
	"X-Cortex-Timeout": func(o *options, text string, _ time.Time) (err error) {
		o.timeout, err = period(text, maxTimeout)
		return err
	},
	"X-Cortex-Priority": func(o *options, text string, _ time.Time) error {
		class, known := classes[text]
		if !known {
			return errors.New("it is high, normal or idle")
		}
		o.class = class
		return nil
	},
	"X-Cortex-Caller": func(o *options, text string, _ time.Time) error {
		if text == "" || len(text) > maxCaller || !utf8.ValidString(text) {
			return fmt.Errorf("it is text of 1 to %d bytes", maxCaller)
		}
		o.caller = text
		return nil
	},
	fieldLabel: func(o *options, text string, _ time.Time) error {
		name, value, is := strings.Cut(strings.TrimSpace(text), "=")
		if !is || !workload.LegalItemLabel(name, value) {
			return errors.New("it is name=value: " + workload.ItemLabelRule)
		}
		if o.labels == nil {
			o.labels = map[string]string{}
		}
		if o.labels[name] = value; len(o.labels) > maxLabels {
			return fmt.Errorf("there are more than %d", maxLabels)
		}
		return nil
	},
}

const fieldLabel = "X-Cortex-Label"

var classes = map[string]ledger.Class{"high": ledger.High, "normal": ledger.Normal, "idle": ledger.Idle}

func period(text string, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second || d > most {
		return 0, fmt.Errorf("it is no duration from 1s to %s", hours(most))
	}
	return d, nil
}

func hours(d time.Duration) string { return strconv.Itoa(int(d/time.Hour)) + "h" }

func optionsOf(h http.Header, now time.Time) (o options, _ error) {
	for name, values := range h {
		read, known := optionFields[name]
		if !known && strings.HasPrefix(name, "X-Cortex-") {
			return o, fault.New(fault.Malformed, codeBadOption, "%s is no option of an item", name).
				WithHint("options are %s", strings.Join(slices.Sorted(maps.Keys(optionFields)), ", "))
		}
		if !known {
			continue
		}
		if len(values) != 1 && name != fieldLabel {
			return o, fault.New(fault.Malformed, codeBadOption, "%s is given %d times", name, len(values))
		}
		if name == fieldLabel { // several may be in one field, as in any list
			values = strings.Split(strings.Join(values, ","), ",")
		}
		for _, text := range values {
			if err := read(&o, text, now); err != nil {
				return o, fault.New(fault.Malformed, codeBadOption, "%s cannot be %q: %w", name, text, err)
			}
		}
	}
	if o.caller == "" {
		o.caller = address(h)
	}
	return o, nil
}

// address is that of who submits, as the front door has it: the last one, or the one before
// it where the request came by a proxy that is trusted.
func address(h http.Header) string {
	way := strings.Split(strings.Join(h.Values("X-Forwarded-For"), ","), ",")
	at := strings.TrimSpace(way[max(len(way)-2, 0)])
	return at[:min(len(at), maxCaller)]
}

// ours are fields that are about the way of the request, or that nobody else should get.
var ours = map[string]bool{
	"Authorization": true, "Proxy-Authorization": true, "Connection": true, "Content-Length": true, "Content-Type": true,
	"Transfer-Encoding": true, "Expect": true, "Te": true, "Trailer": true, "Upgrade": true, "Keep-Alive": true,
	"Accept-Encoding": true, "X-Request-Id": true, "Prefer": true, "Idempotency-Key": true,
}

// fieldsOf returns what is kept for the container of the fields of a request.
func fieldsOf(h http.Header) (fields [][2]string, _ error) {
	size := 0
	for name, values := range h {
		if ours[name] || strings.HasPrefix(name, "X-Cortex-") {
			continue
		}
		for _, v := range values {
			size += len(name) + len(v)
			fields = append(fields, [2]string{name, v})
		}
	}
	if size > maxFields {
		return nil, fault.New(fault.Malformed, "fields_too_large", "the fields of the request have %d bytes, and at most %d are kept for the container", size, maxFields)
	}
	return fields, nil
}

// accept makes an item of a request. Its id may be given away when accept returns nil.
func (s *Service) accept(r *http.Request, api string) (item ledger.Item, replayed bool, _ error) {
	now := time.Now().UTC()
	asked, err := optionsOf(r.Header, now)
	if err != nil {
		return item, false, err
	}
	fields, err := fieldsOf(r.Header)
	if err != nil {
		return item, false, err
	}
	return s.take(r.Context(), api, asked, arrived{
		host: r.Host, fields: fields, contentType: r.Header.Get("Content-Type"), length: r.ContentLength, body: r.Body, key: asked.key, keyKept: keyKept,
	}, now)
}

// arrived is what is to become an item.
type arrived struct {
	host        string
	fields      [][2]string
	contentType string
	length      int64 // -1: not known
	body        io.Reader
	key         string
	fingerprint string // of what was submitted with the key; empty: of the payload and its type
	keyKept     time.Duration
}

// take makes an item of what arrived.
func (s *Service) take(ctx context.Context, api string, asked options, a arrived, now time.Time) (item ledger.Item, replayed bool, _ error) {
	l, rules, err := s.comes(ctx, api)
	if err != nil {
		return item, false, err
	}
	defer l.came()
	if a.length > rules.maxPayload {
		return item, false, payloadTooLarge(rules.maxPayload)
	}
	if asked.webhook != "" {
		err := errNoWebhooks
		if rules.webhook != nil && rules.webhook.AllowCallersURL && s.cfg.Webhooks.CheckURL != nil {
			err = s.cfg.Webhooks.CheckURL(asked.webhook)
		}
		if err != nil {
			return item, false, fault.New(fault.Malformed, codeBadOption, "X-Cortex-Webhook: %w", err)
		}
	}
	item = ledger.Item{
		API: api, ID: ledger.NewID(now), State: ledger.Queued, Version: 1, Accepted: now, Updated: now, Timeout: asked.timeout,
		Class: asked.class, Caller: asked.caller, Labels: asked.labels,
		Request: ledger.Request{Host: a.host, Fields: a.fields}, Webhook: rules.hook(asked.webhook),
	}
	from := now
	if !asked.due.IsZero() {
		item.State, item.Due, from = ledger.Delayed, asked.due.UTC(), asked.due.UTC()
	}
	if asked.expires == 0 {
		asked.expires = rules.expireAfter
	}
	item.Expires = from.Add(asked.expires)

	payload, err := s.keep(ctx, a.body, payloadName(api, item.ID), rules.maxPayload)
	if err != nil {
		return item, false, notRead(err)
	}
	payload.Type = a.contentType
	item.Payload = &payload.Content
	if a.fingerprint == "" {
		a.fingerprint = payload.Digest + " " + payload.Type
	}
	key := ledger.Key{Text: a.key, Fingerprint: a.fingerprint, Until: now.Add(a.keyKept)}
	kept, replayed, err := s.cfg.Ledger.Create(context.WithoutCancel(ctx), item, key, payload.inline)
	if err != nil || replayed {
		s.dropBlob(item.Payload)
		return kept, replayed, err
	}
	s.counts.accepted(api)
	l.add(kept)
	return kept, false, nil
}

func payloadTooLarge(most int64) error {
	return fault.New(fault.Invalid, codeTooLarge, "the request has more than %d bytes", most).
		WithHint("async.max_payload says how many it may have")
}

// notRead says why a request was not read whole.
func notRead(err error) error {
	var large *tooLargeError
	switch {
	case errors.As(err, &large):
		return payloadTooLarge(large.most)
	case isKeeping(err):
		if fault.Code(err) != "" { // the disk is full
			return fault.From(err)
		}
		return fault.New(fault.Unavailable, "store.unavailable", "the request cannot be kept: %w", err).WithHint("try again later")
	}
	return fault.New(fault.Malformed, codeBody, "the body of the request could not be read: %w", err)
}

// comes begins to accept a request: there is room for it until came is called.
func (s *Service) comes(ctx context.Context, api string) (*line, settings, error) {
	l, err := s.deployed(ctx, api)
	if err != nil {
		return nil, settings{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.deployed:
		return nil, settings{}, notDeployed(api)
	case l.stopped:
		return nil, settings{}, fault.New(fault.Unavailable, codeStopped, "%s is stopped; whoever runs it can start it with `cortex start %s`", api, api)
	case len(l.entries)-l.running+l.coming >= l.settings.maxQueue:
		after := max(l.pace, time.Second)
		return nil, settings{}, &fullError{
			Fault: fault.New(fault.Unavailable, codeQueueFull, "%d items of %s wait, as many as may", l.settings.maxQueue, api).WithHint("try again later; async.max_queue_length says how many may wait"),
			after: min(after, time.Minute),
		}
	}
	l.coming++
	return l, l.settings, nil
}

// deployed returns the line of an API that is deployed, once it is known what is.
func (s *Service) deployed(ctx context.Context, api string) (*line, error) {
	select {
	case <-s.known.Done():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if l := s.existing(api); l != nil {
		return l, nil
	}
	return nil, notDeployed(api)
}

// fullError is a fault that says when there may be room again.
type fullError struct {
	*fault.Fault
	after time.Duration
}

// Unwrap makes it the fault that it is.
func (e *fullError) Unwrap() error { return e.Fault }

func (l *line) came() {
	l.mu.Lock()
	l.coming--
	l.mu.Unlock()
	l.poke()
}

func notDeployed(api string) error {
	return fault.New(fault.NotFound, codeNotDeployed, "no AsyncAPI %s is deployed", api)
}
