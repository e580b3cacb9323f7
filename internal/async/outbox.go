package async

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/webhook"
	"cortex.dev/cortex/internal/workload"
)

// Webhooks is how messages about the ends of items leave.
type Webhooks struct {
	Send     func(context.Context, webhook.Message) (status int, err error)
	CheckURL func(address string) error // why no message can go there
	Secret   func(ctx context.Context, name string) (string, error)
	// Endpoint is where callers reach APIs, without a slash at its end.
	Endpoint func() string
}

// Bounds of what is sent at once, and of what is known in memory of what waits.
const (
	sendAtOnce  = 64
	sendPerHost = 4
	maxKnown    = 100_000
	maxHookBody = 20 << 10
)

// outbox sends messages that the ledger has pending. What is in memory is a hint, as that of
// items: which there are, where they go, and when.
type outbox struct {
	s     *Service
	tasks sync.WaitGroup

	mu      sync.Mutex
	ctx     context.Context        // of what is sent; nil: nothing is
	waiting map[string]*time.Timer // messages that are known, and what wakes them; nil: they are in a host's line
	more    bool                   // the ledger has some that are not known
	hosts   map[string]*hostLine
	turn    []string // hosts that may be sent to, in turn
	active  int
}

// hostLine is what waits to be sent to one host: one that does not answer keeps no other
// waiting.
type hostLine struct {
	ready  []hookRef
	active int
	inTurn bool
}

type hookRef struct{ api, id string }

func (r hookRef) key() string { return r.api + "/" + r.id }

// begin takes up what is pending.
func (o *outbox) begin(ctx context.Context) error {
	o.mu.Lock()
	o.ctx, o.waiting, o.hosts = ctx, map[string]*time.Timer{}, map[string]*hostLine{}
	o.mu.Unlock()
	return o.load(ctx)
}

func (o *outbox) load(ctx context.Context) error {
	o.mu.Lock()
	o.more = false
	o.mu.Unlock()
	if err := o.s.cfg.Ledger.OpenHooks(ctx, func(h ledger.Hook) error { o.add(h); return nil }); err != nil {
		return fmt.Errorf("reading the webhook messages that are pending: %w", err)
	}
	return nil
}

// stop ends what is being sent, which is sent again by the next start.
func (o *outbox) stop(cancel context.CancelFunc) {
	cancel()
	o.mu.Lock()
	o.ctx = nil
	for _, t := range o.waiting {
		if t != nil {
			t.Stop()
		}
	}
	o.mu.Unlock()
	o.tasks.Wait()
}

// add has a message sent when it is due.
func (o *outbox) add(h ledger.Hook) {
	ref := hookRef{h.API, h.ID}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx == nil || h.State != ledger.HookPending {
		return
	}
	if was, known := o.waiting[ref.key()]; known {
		if was == nil || !was.Stop() { // it is about to be sent, and read again before
			return
		}
	} else if len(o.waiting) >= maxKnown {
		o.more = true
		return
	}
	host := hostOf(h.To.URL)
	o.waiting[ref.key()] = time.AfterFunc(max(time.Until(h.Due), 0), func() { o.ready(host, ref) })
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func (o *outbox) ready(host string, ref hookRef) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx == nil {
		return
	}
	o.waiting[ref.key()] = nil
	line := o.hosts[host]
	if line == nil {
		line = &hostLine{}
		o.hosts[host] = line
	}
	line.ready = append(line.ready, ref)
	o.offer(host, line)
	o.pump()
}

// offer gives a host a turn, if there is something to send to it and it may get more.
func (o *outbox) offer(host string, line *hostLine) {
	if !line.inTurn && len(line.ready) > 0 && line.active < sendPerHost {
		line.inTurn = true
		o.turn = append(o.turn, host)
	}
}

// pump begins to send what may be.
func (o *outbox) pump() {
	for o.ctx != nil && o.active < sendAtOnce && len(o.turn) > 0 {
		host := o.turn[0]
		o.turn = o.turn[1:]
		line := o.hosts[host]
		ref := line.ready[0]
		line.ready, line.inTurn = line.ready[1:], false
		line.active++
		o.active++
		o.offer(host, line)
		ctx := o.ctx
		o.tasks.Go(func() {
			o.deliver(ctx, ref)
			o.sent(ctx, host, line, ref)
			// It may be pending still, or again: somebody may have asked for it meanwhile.
			if h, err := o.s.cfg.Ledger.Hook(ctx, ref.api, ref.id); err == nil {
				o.add(h)
			}
		})
	}
}

func (o *outbox) sent(ctx context.Context, host string, line *hostLine, ref hookRef) {
	o.mu.Lock()
	delete(o.waiting, ref.key())
	o.active--
	line.active--
	o.offer(host, line)
	if line.active == 0 && len(line.ready) == 0 {
		delete(o.hosts, host)
	}
	more := o.more && len(o.waiting) < maxKnown/2
	o.more = o.more && !more
	o.pump()
	o.mu.Unlock()
	if more {
		if err := o.load(ctx); err != nil && ctx.Err() == nil {
			o.s.log.Warn("taking up more webhook messages", "error", err)
			o.mu.Lock()
			o.more = true
			o.mu.Unlock()
		}
	}
}

// deliver sends a message once and writes down what came of it.
func (o *outbox) deliver(ctx context.Context, ref hookRef) {
	l := o.s.cfg.Ledger
	h, err := l.Hook(ctx, ref.api, ref.id)
	if err != nil || h.State != ledger.HookPending || h.Due.After(time.Now()) {
		return
	}
	try := o.try(ctx, h)
	for pause := 50 * time.Millisecond; ctx.Err() == nil; pause = min(2*pause, 10*time.Second) {
		next, err := l.ApplyHook(ctx, ref.api, ref.id, try)
		switch {
		case err == nil:
			o.s.counts.hooked(next)
			return
		case isOver(err), fault.Is(err, fault.NotFound):
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// try sends a message.
func (o *outbox) try(ctx context.Context, h ledger.Hook) ledger.Try {
	try := ledger.Try{Version: h.Version}
	fail := func(code, format string, args ...any) ledger.Try {
		try.At, try.Reason = time.Now().UTC(), &ledger.Reason{Code: code, Message: fmt.Sprintf(format, args...)}
		return try
	}
	text, err := o.s.cfg.Webhooks.Secret(ctx, h.To.Secret)
	if err != nil {
		return fail("webhook_secret", "the secret %s cannot be had: %v", h.To.Secret, err)
	}
	secrets, err := webhook.Secrets(text)
	if err != nil {
		return fail("webhook_secret", "the secret %s is none to sign with: %v", h.To.Secret, err)
	}
	body, err := o.body(h)
	if err != nil {
		return fail("webhook_body", "%v", err)
	}
	try.Status, err = o.s.cfg.Webhooks.Send(ctx, webhook.Message{URL: h.To.URL, ID: "msg_" + h.ID, At: time.Now(), Body: body, Secrets: secrets})
	switch {
	case err != nil:
		return fail("webhook_unreached", "%v", err)
	case try.Status == http.StatusGone:
		try.Never = true
		return fail("webhook_gone", "the receiver answered 410: it wants no more of them")
	case try.Status >= 300 && try.Status < 400:
		return fail("webhook_refused", "the receiver answered %d; redirects are not followed", try.Status)
	case try.Status < 200 || try.Status >= 300:
		return fail("webhook_refused", "the receiver answered %d", try.Status)
	}
	try.At = time.Now().UTC()
	return try
}

// hookBody is what a receiver gets.
type hookBody struct {
	Type      string    `json:"type"` // item.succeeded
	Timestamp time.Time `json:"timestamp"`
	Data      hookData  `json:"data"`
}

type hookData struct {
	API        string               `json:"api"`
	ID         string               `json:"id"`
	Status     string               `json:"status"`
	State      string               `json:"state"`
	Reason     *workload.ItemReason `json:"reason,omitempty"`
	AcceptedAt time.Time            `json:"accepted_at"`
	EndedAt    time.Time            `json:"ended_at"`
	ResultURL  string               `json:"result_url,omitempty"`
	Result     json.RawMessage      `json:"result,omitempty"`
}

// body is the same each time.
func (o *outbox) body(h ledger.Hook) ([]byte, error) {
	i := h.Item
	b := hookBody{Type: "item." + string(i.State), Timestamp: i.Ended, Data: hookData{
		API: i.API, ID: i.ID, Status: words[i.State], State: string(i.State), Reason: reason(i.Reason), AcceptedAt: i.Accepted, EndedAt: i.Ended, Result: json.RawMessage(h.Result),
	}}
	if i.State == ledger.Succeeded {
		b.Data.ResultURL = o.s.cfg.Webhooks.Endpoint() + h.To.Path + "/" + i.ID + "/result"
	}
	text, err := compact(b)
	if err == nil && len(text) > maxHookBody && b.Data.Result != nil {
		b.Data.Result = nil
		text, err = compact(b)
	}
	return text, err
}

func compact(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // six bytes for one would not be thin
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// errNoWebhooks is why callers cannot name an address.
var errNoWebhooks = errors.New("this API lets no caller name an address; async.webhook.allow_callers_url says whether they may")

// ListHooks returns messages about the items of an API.
func (s *Service) ListHooks(ctx context.Context, q workload.HookQuery) ([]workload.Hook, error) {
	query := ledger.HookQuery{API: q.Name, Before: q.Before, Limit: q.Limit}
	for _, st := range q.States {
		query.States = append(query.States, ledger.HookState(st))
	}
	list, err := s.cfg.Ledger.Hooks(ctx, query)
	shown := make([]workload.Hook, len(list))
	for i := range list {
		shown[i] = showHook(list[i])
	}
	return shown, err
}

// RedeliverHooks has messages sent again, from the first try on.
func (s *Service) RedeliverHooks(ctx context.Context, api string, ids []string) (changed workload.ItemsChanged, _ error) {
	for _, id := range ids {
		h, err := s.cfg.Ledger.ApplyHook(ctx, api, id, ledger.Try{At: time.Now().UTC(), Again: true})
		if err != nil {
			return changed, err
		}
		changed.Changed = append(changed.Changed, id)
		s.outbox.add(h)
	}
	return changed, nil
}

func showHook(h ledger.Hook) workload.Hook {
	shown := workload.Hook{
		ID: h.ID, ItemID: h.Item.ID, Event: "item." + string(h.Item.State), URL: h.To.URL, State: string(h.State), CreatedAt: h.Item.Ended,
		Tries: h.Tries, HTTPStatus: h.Status, Reason: reason(h.Reason), TriedAt: moment(h.Tried), NextTryAt: moment(h.Due),
	}
	if u, err := url.Parse(h.To.URL); err == nil && u.RawQuery != "" { // where others put a password
		shown.URL = u.Scheme + "://" + u.Host + u.Path + "?…"
	}
	return shown
}
