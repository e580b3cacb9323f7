package ledger

import (
	"encoding/json"
	"fmt"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// Webhook is who is told of the end of an item. It is the item's, from the moment of its
// acceptance: an end can then be written down with its message whatever is deployed by then.
type Webhook struct {
	URL    string  `json:"url"`
	Secret string  `json:"secret"`           // name of the secret that messages are signed with
	States []State `json:"states,omitempty"` // ends that are told of; empty: all
	Path   string  `json:"path,omitempty"`   // of the API, at which its results are
}

// HookState is what becomes of a message.
type HookState string

// The states. What is delivered or given up can be asked to be delivered again.
const (
	HookPending   HookState = "pending"
	HookDelivered HookState = "delivered"
	HookGaveUp    HookState = "gave_up"
)

// HookStates returns all states.
func HookStates() []HookState { return []HookState{HookPending, HookDelivered, HookGaveUp} }

// Hook is a message about an end of an item. It has of the item what it says, so that it
// stays the same, and can be sent when the item is tried again or forgotten.
type Hook struct {
	API     string    `json:"api"`
	ID      string    `json:"id"` // HookID: the same for every delivery
	To      Webhook   `json:"to"`
	State   HookState `json:"state"`
	Version uint64    `json:"version"` // counts its changes; a try says which it was of

	Item   Item   `json:"item"`             // without request, payload and executions
	Result string `json:"result,omitempty"` // if it is JSON of at most MaxHookResult

	Due    time.Time `json:"due,omitzero"` // pending: of the next try
	Tries  int       `json:"tries,omitempty"`
	Tried  time.Time `json:"tried,omitzero"`
	Status int       `json:"status,omitempty"` // of the latest answer; 0: there was none
	Reason *Reason   `json:"reason,omitempty"` // why the latest try did not succeed
	Forget time.Time `json:"forget,omitzero"`  // when it is dropped; of what is not pending
}

// MaxHookResult is the largest result that a message has.
const MaxHookResult = 16 << 10

// hookKept is how long a message is kept that was delivered or given up.
const hookKept = 7 * 24 * time.Hour

// CodeHookUnknown is the code of the error for a message that is not there.
const CodeHookUnknown = "webhooks.not_found"

// HookID is the id of the message about the latest end of an item.
func HookID(i Item) string { return i.ID + "." + strconv.Itoa(i.Generation) }

// LegalHookID reports whether s could be the id of a message.
func LegalHookID(s string) bool {
	id, generation, ok := strings.Cut(s, ".")
	n, err := strconv.Atoi(generation)
	return ok && LegalID(id) && err == nil && n >= 0 && strconv.Itoa(n) == generation
}

// HookOf is the message that an item's change from was to next makes; nil: none. result is
// the result, if it was written with that change.
func HookOf(was, next Item, result []byte) *Hook {
	w := next.Webhook
	if w == nil || was.State.Ended() || !next.State.Ended() || len(w.States) > 0 && !slices.Contains(w.States, next.State) {
		return nil
	}
	h := &Hook{API: next.API, ID: HookID(next), To: *w, State: HookPending, Version: 1, Item: next, Due: next.Ended}
	h.Item.Request, h.Item.Payload, h.Item.Attempts, h.Item.Webhook = Request{}, nil, nil, nil
	if next.Result != nil && len(result) <= MaxHookResult && IsJSON(*next.Result) && json.Valid(result) {
		h.Result = string(result)
	}
	return h
}

// IsJSON reports whether a content says that it is JSON, as it is.
func IsJSON(c Content) bool {
	kind, _, _ := mime.ParseMediaType(c.Type) // what cannot be read is none
	return c.Encoding == "" && (kind == "application/json" || strings.HasSuffix(kind, "+json"))
}

// hookDelays are how long after the one before each try is: three days in all.
var hookDelays = []time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// Try is what happens to a message.
type Try struct {
	At      time.Time
	Version uint64 // of the message that was sent
	Status  int
	Reason  *Reason // nil: its receiver has it
	Never   bool    // its receiver does not want it
	// Again asks for it to be delivered anew, by whoever manages the API; nothing else counts.
	Again bool
}

// NextHook is a message after a try: the one way in which messages change. It fails with
// fault.Conflict, CodeFenced where another try has taken over.
func NextHook(h Hook, t Try) (Hook, error) {
	if t.Again {
		h.State, h.Due, h.Tries, h.Forget = HookPending, t.At, 0, time.Time{}
		h.Version++
		return h, nil
	}
	if h.State != HookPending || h.Version != t.Version {
		return h, fault.New(fault.Conflict, CodeFenced, "the message %s has been tried meanwhile", h.ID)
	}
	h.Version++
	h.Tries++
	h.Tried, h.Status, h.Reason, h.Due = t.At, t.Status, t.Reason, time.Time{}
	switch {
	case t.Reason == nil:
		h.State = HookDelivered
	case t.Never:
		h.State = HookGaveUp
	case h.Tries >= len(hookDelays):
		h.State = HookGaveUp
		h.Reason = &Reason{Code: "webhook_gave_up", Message: fmt.Sprintf("it was tried %s; the last time: %s", timesOf(h.Tries), t.Reason.Message)}
	default:
		h.Due = t.At.Add(hookDelays[h.Tries])
		return h, nil
	}
	h.Forget = t.At.Add(hookKept)
	return h, nil
}

// HookQuery selects messages of one API, those about the latest items first.
type HookQuery struct {
	API    string
	States []HookState // empty: all
	Before string      // only messages with an id before this one
	Limit  int         // at most MaxList; 0: MaxList
}

// UnknownHook is the error for a message that is not there.
func UnknownHook(api, id string) error {
	return fault.New(fault.NotFound, CodeHookUnknown, "%s has no webhook message %s", api, id).
		WithHint("messages are kept for 7 days after they were delivered or given up")
}
