// Package ledger is the port that remembers every item of asynchronous work, from the
// moment its caller was given an id until its result is forgotten.
//
// It promises that what Create and Apply return is durable; that an item changes by the
// table of transitions (Next) and in no other way, whoever asks and however many ask at
// once; and that the latest state of an item is the truth, so that whoever hands items
// out may forget everything and read it here again. ledgertest holds every
// implementation to it.
//
// It must not decide when something happens or what becomes of an execution beyond that
// table, run anything, or keep contents that are larger than MaxInline.
package ledger

import (
	"context"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// Bounds of what is kept.
const (
	// MaxInline is the largest content, a payload or a result, that is kept in the ledger
	// itself. Larger ones are kept beside it, under the name in Content.Blob.
	MaxInline = 64 << 10
	// MaxAttempts is how many executions an item remembers, the latest ones.
	MaxAttempts = 10
	// MaxKey is the longest idempotency key.
	MaxKey = 256
)

// Codes of the errors of a Ledger.
const (
	CodeUnknown  = "items.not_found"            // there is no such item
	CodeGone     = "result_expired"             // there was one, and it was forgotten lately
	CodeRefused  = "items.not_in_state"         // the table has no such transition from the state it is in
	CodeFenced   = "items.attempt_is_over"      // another execution has taken over, or an end was recorded
	CodeMismatch = "items.idempotency_mismatch" // the key was used for something else
)

// Key makes submissions with the same text one, for as long as it is remembered.
type Key struct {
	Text        string // the caller's; empty: none
	Fingerprint string // of what was submitted with it
	Until       time.Time
}

// Query selects items of one API, the newest first.
type Query struct {
	API    string
	States []State           // empty: all
	Labels map[string]string // that it has; empty: any
	Since  time.Time         // accepted then or later; zero: all
	Before string            // only items with an id before this one, which is how lists go on; empty: from the newest
	Limit  int               // at most MaxList; 0: MaxList
}

// MaxList is the longest list that is answered at once.
const MaxList = 1000

// What was forgotten is known to have been there for a while: GoneKept, and the latest
// MaxGone of them at least.
const (
	GoneKept = 7 * 24 * time.Hour
	MaxGone  = 100_000
)

// Ledger keeps items. All methods may be called at once.
type Ledger interface {
	// Create writes a new item, queued or delayed, with its payload if that is kept here.
	// Where the key was used before for the same, it writes nothing and returns the item
	// of then with replayed; for something else it is fault.Invalid, CodeMismatch.
	Create(ctx context.Context, item Item, key Key, payload []byte) (kept Item, replayed bool, err error)
	// Get returns one item, or fault.NotFound with CodeUnknown; with CodeGone, as every
	// other method does, where it was forgotten lately.
	Get(ctx context.Context, api, id string) (Item, error)
	// Apply changes an item by Next, on top of whatever its latest state is, and returns
	// it as it is now. The error of Next is returned as it is, and nothing is written
	// then. result is what a Succeed with an inline Result carries.
	Apply(ctx context.Context, api, id string, e Event, result []byte) (Item, error)
	// List returns items without contents.
	List(ctx context.Context, q Query) ([]Item, error)
	// Open calls fn with every item that has no end yet, in the order of their ids.
	Open(ctx context.Context, fn func(Item) error) error
	// Payload and Result return what is kept here of an item; fault.NotFound with
	// CodeUnknown when nothing is.
	Payload(ctx context.Context, api, id string) ([]byte, error)
	Result(ctx context.Context, api, id string) ([]byte, error)
	// Hooks returns messages, and Hook one of them, or fault.NotFound with CodeHookUnknown.
	// An end is written together with its message (HookOf): there is never one without.
	Hooks(ctx context.Context, q HookQuery) ([]Hook, error)
	Hook(ctx context.Context, api, id string) (Hook, error)
	// OpenHooks calls fn with every message that is pending, in the order of their ids.
	OpenHooks(ctx context.Context, fn func(Hook) error) error
	// ApplyHook changes a message by NextHook, and returns it as it is now.
	ApplyHook(ctx context.Context, api, id string, t Try) (Hook, error)
	// Forget drops items and messages whose time has come (Item.Forget, Hook.Forget) and keys
	// that are over, at most max of each, and returns the items, so that what is kept beside them can go too.
	Forget(ctx context.Context, now time.Time, max int) ([]Item, error)
	// Purge drops items of an API that have ended before a time, the oldest first, at most
	// max, and returns them.
	Purge(ctx context.Context, api string, before time.Time, max int) ([]Item, error)
}

// Unknown is the error for an item that is not there.
func Unknown(api, id string) error {
	return fault.New(fault.NotFound, CodeUnknown, "%s has no item %s", api, id).
		WithHint("it was never accepted, or its result was kept for as long as the API keeps results")
}

// Gone is the error for an item that was forgotten lately.
func Gone(api, id string) error {
	return fault.New(fault.NotFound, CodeGone, "item %s of %s is not kept any more", id, api).
		WithHint("async.keep.results says how long an item is kept after its end")
}

// IsUnknown reports whether err says that there is no item, or none any more.
func IsUnknown(err error) bool {
	code := fault.Code(err)
	return code == CodeUnknown || code == CodeGone
}

// Mismatch is the error for a key that was used for something else.
func Mismatch(api string) error {
	return fault.New(fault.Invalid, CodeMismatch, "this idempotency key was used for another request to %s", api).
		WithHint("use a new key for a new request")
}
