package workload

import "time"

// Asynchronous is how the items of an AsyncAPI are kept, and tried again.
type Asynchronous struct {
	MaxQueueLength int64             `json:"max_queue_length"` // items that wait; more are refused
	MaxPayload     *Quantity         `json:"max_payload"`      // bytes of one request
	Timeout        Duration          `json:"timeout"`          // of one execution
	ExpireAfter    Duration          `json:"expire_after"`     // an item that still waits then is given up
	Retry          Retry             `json:"retry"`
	Redeliver      int32             `json:"redeliver"` // executions that may be lost with their replica, beside retry
	Keep           Keep              `json:"keep"`
	Concurrency    *AsyncConcurrency `json:"concurrency,omitempty"`
	Webhook        *Webhook          `json:"webhook,omitzero"` // nil: nobody is told of the ends of items
}

// AsyncConcurrency is how many items may be executed at once, besides what replicas take.
type AsyncConcurrency struct {
	PerCaller int64 `json:"per_caller"`
}

// PerCaller is how many items of one caller may be executed at once; 0: any number.
func (a *Asynchronous) PerCaller() int64 {
	if a.Concurrency == nil {
		return 0
	}
	return a.Concurrency.PerCaller
}

// Webhook is who is told of the ends of items. An item keeps what was deployed when it was
// accepted.
type Webhook struct {
	URL    string   `json:"url,omitempty"`
	Events []string `json:"events,omitempty"` // ends that are told of; empty: all
	Secret string   `json:"secret"`           // name of the secret that messages are signed with
	// AllowCallersURL lets whoever submits an item name an address for it.
	AllowCallersURL bool `json:"allow_callers_url,omitempty"`
}

// Shapes of what a webhook has.
const (
	// HookURLPattern is the address of a receiver. Where messages may go is for whoever runs
	// the environment to say.
	HookURLPattern   = `^https?://[A-Za-z0-9._:\[\]-]+(/[!-~]*)?$`
	HookEventPattern = `^(succeeded|failed|cancelled|expired)$`
	maxHookURL       = 2000
)

// hookNowhere refuses a webhook that no message could ever go to.
func hookNowhere(vs *violations, s *Spec) {
	if s.Async == nil || s.Async.Webhook == nil {
		return
	}
	if w := s.Async.Webhook; w.URL == "" && !w.AllowCallersURL {
		vs.missing("async.webhook.url", "url", "an address such as https://example.com/hook, unless allow_callers_url is true")
	}
}

// Retry is how often an item is tried whose container does not succeed, and when.
type Retry struct {
	Attempts int32    `json:"attempts"` // executions, the first one included
	MinDelay Duration `json:"min_delay"`
	MaxDelay Duration `json:"max_delay"`
	// On are the answers, and the word timeout, after which an item is tried again; none:
	// 408, 425, 429, 502, 503, 504 and timeout.
	On []string `json:"on,omitempty"`
}

// Keep is what is kept of an item that has ended.
type Keep struct {
	Results  Duration `json:"results"`
	Payloads string   `json:"payloads,omitempty"` // empty: KeepOnFailure
}

// The words for which payloads are kept with an item that has ended.
const (
	KeepAlways    = "always"
	KeepOnFailure = "on_failure"
	KeepNever     = "never"
)

// DefaultMaxPayload is what one request may have.
var DefaultMaxPayload = MustQuantity("1Gi")

// NewAsynchronous returns what holds for an AsyncAPI whose file says nothing.
func NewAsynchronous() *Asynchronous {
	most := DefaultMaxPayload
	return &Asynchronous{
		MaxQueueLength: 100_000, MaxPayload: &most,
		Timeout: Duration(24 * time.Hour), ExpireAfter: Duration(96 * time.Hour),
		Retry:     Retry{Attempts: 1, MinDelay: Duration(time.Second), MaxDelay: Duration(5 * time.Minute)},
		Redeliver: 3,
		Keep:      Keep{Results: Duration(7 * 24 * time.Hour)},
	}
}

// fill replaces what zero cannot mean.
func (a *Asynchronous) fill() {
	d := NewAsynchronous()
	if a.MaxQueueLength == 0 {
		a.MaxQueueLength = d.MaxQueueLength
	}
	if a.MaxPayload == nil {
		a.MaxPayload = d.MaxPayload
	}
	if a.Timeout == 0 {
		a.Timeout = d.Timeout
	}
	if a.ExpireAfter == 0 {
		a.ExpireAfter = d.ExpireAfter
	}
	if a.Retry.Attempts == 0 {
		a.Retry.Attempts = d.Retry.Attempts
	}
	if a.Retry.MinDelay == 0 {
		a.Retry.MinDelay = d.Retry.MinDelay
	}
	if a.Retry.MaxDelay == 0 {
		a.Retry.MaxDelay = max(d.Retry.MaxDelay, a.Retry.MinDelay)
	}
	if a.Keep.Results == 0 {
		a.Keep.Results = d.Keep.Results
	}
}
