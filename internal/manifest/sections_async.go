package manifest

import "cortex.dev/cortex/internal/workload"

var asyncSection = section[workload.Asynchronous]{fields: []field[workload.Asynchronous]{
	{
		key: "max_queue_length", doc: "items that may wait; beyond it the answer is 503",
		schema: wholeSchema("async.max_queue_length", untold.MaxQueueLength),
		set:    set((*scope).int64, func(t *workload.Asynchronous) *int64 { return &t.MaxQueueLength }),
	},
	{
		key: "max_payload", doc: "bytes that one request may have; beyond it the answer is 413",
		schema: quantitySchema("async.max_payload", untold.MaxPayload),
		set:    set((*scope).quantityPresent, func(t *workload.Asynchronous) **workload.Quantity { return &t.MaxPayload }),
	},
	lasts("timeout", "how long one execution may take; beyond it the connection to the container is closed, and it is as if it had answered 504", untold.Timeout,
		func(t *workload.Asynchronous) *workload.Duration { return &t.Timeout }),
	lasts("expire_after", "how long an item may wait for an execution; beyond it it is given up", untold.ExpireAfter,
		func(t *workload.Asynchronous) *workload.Duration { return &t.ExpireAfter }),
	{
		key: "retry", doc: "how often an item is tried that the container does not do",
		schema: sectionSchema(&retrySection),
		set: func(s *scope, t *workload.Asynchronous, v value) {
			decodeSection(s, &retrySection, v, &t.Retry)
		},
	},
	{
		key: "redeliver", doc: "how often an item is tried again whose replica went away, beside retry",
		schema: wholeSchema("async.redeliver", untold.Redeliver),
		set:    set((*scope).int32, func(t *workload.Asynchronous) *int32 { return &t.Redeliver }),
	},
	{
		key: "keep", doc: "what is kept of an item that has ended",
		schema: sectionSchema(&keepSection),
		set: func(s *scope, t *workload.Asynchronous, v value) {
			decodeSection(s, &keepSection, v, &t.Keep)
		},
	},
	{
		key: "concurrency", doc: "how many items are executed at once, besides what replicas take",
		schema: sectionSchema(&asyncConcurrencySection),
		set: func(s *scope, t *workload.Asynchronous, v value) {
			if c := (&workload.AsyncConcurrency{}); decodeSection(s, &asyncConcurrencySection, v, c) {
				t.Concurrency = c
			}
		},
	},
	{
		key: "webhook", doc: "who is told of the end of each item, in signed messages (Standard Webhooks)",
		schema: sectionSchema(&webhookSection),
		set: func(s *scope, t *workload.Asynchronous, v value) {
			var w workload.Webhook
			if decodeSection(s, &webhookSection, v, &w) {
				t.Webhook = &w
			}
		},
	},
}}

var asyncConcurrencySection = section[workload.AsyncConcurrency]{fields: []field[workload.AsyncConcurrency]{
	{
		key: "per_caller", required: true, doc: "of one caller: the address that submits, or what X-Cortex-Caller says",
		schema: wholeSchema("async.concurrency.per_caller", nil),
		set:    set((*scope).int64, func(t *workload.AsyncConcurrency) *int64 { return &t.PerCaller }),
	},
}}

var webhookSection = section[workload.Webhook]{fields: []field[workload.Webhook]{
	word("async.webhook.", "url", "where messages go", func(t *workload.Webhook) *string { return &t.URL }),
	words("async.webhook.", "events", "ends of items that are told of: succeeded, failed, cancelled, expired; all where it is absent",
		func(t *workload.Webhook) *[]string { return &t.Events }),
	word("async.webhook.", "secret", "the secret that messages are signed with: whsec_ and 24 to 64 bytes as base64, or two of them with a space between", func(t *workload.Webhook) *string { return &t.Secret }),
	truthField("allow_callers_url", "whoever submits an item may name where the message goes, by X-Cortex-Webhook", func(t *workload.Webhook) *bool { return &t.AllowCallersURL }),
}}

var retrySection = section[workload.Retry]{fields: []field[workload.Retry]{
	{
		key: "attempts", doc: "executions, the first one included",
		schema: wholeSchema("async.retry.attempts", untold.Retry.Attempts),
		set:    set((*scope).int32, func(t *workload.Retry) *int32 { return &t.Attempts }),
	},
	lasts("min_delay", "the most between the first execution and the second; it doubles each time, and how much of it is waited is by chance", untold.Retry.MinDelay,
		func(t *workload.Retry) *workload.Duration { return &t.MinDelay }),
	lasts("max_delay", "the most between any two executions", untold.Retry.MaxDelay,
		func(t *workload.Retry) *workload.Duration { return &t.MaxDelay }),
	{
		key: "on", doc: "after which answers of the container an item is tried again, and whether after the timeout (default: [408, 425, 429, 502, 503, 504, timeout])",
		schema: func(workload.Kind) object {
			return object{"type": "array", "minItems": 1, "items": object{
				"type": []any{"string", "integer"}, "minimum": 400, "maximum": 599, "pattern": workload.RetryOnPattern,
			}}
		},
		set: set((*scope).retryOn, func(t *workload.Retry) *[]string { return &t.On }),
	},
}}

// retryOn reads a list of numbers and words; an empty one would say that attempts do nothing.
func (s *scope) retryOn(v value) (on []string, _ bool) {
	elements, ok := s.list(v)
	if ok && len(elements) == 0 {
		s.wrongAt(v, workload.CodeMustBeDefined, "is an empty list", "[]", "", "leave the key out, or set attempts to 1 to try nothing again")
		return nil, false
	}
	for _, e := range elements {
		if text, is := s.share(e); is {
			on = append(on, text)
		}
	}
	return on, ok
}

var keepSection = section[workload.Keep]{fields: []field[workload.Keep]{
	lasts("results", "how long it can be fetched", untold.Keep.Results,
		func(t *workload.Keep) *workload.Duration { return &t.Results }),
	word("async.keep.", "payloads", "of which items what was sent is kept, so that they can be tried again: always, on_failure or never (default: on_failure)",
		func(t *workload.Keep) *string { return &t.Payloads }),
}}

// untold is what holds where a file says nothing.
var untold = workload.NewAsynchronous()

func lasts[T any](key, doc string, def workload.Duration, into func(*T) *workload.Duration) field[T] {
	text := ""
	if def != 0 {
		text = def.String()
	}
	return field[T]{key: key, doc: doc, schema: durationSchema(text), set: set((*scope).duration, into)}
}
