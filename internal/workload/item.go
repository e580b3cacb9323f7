package workload

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// Item is one request to an AsyncAPI as its callers, and those who manage the API, see it.
type Item struct {
	ID string `json:"id"`
	// Status is one of in_queue, in_progress, completed and failed: the words of earlier
	// releases, which programs wait for. State says more.
	Status    string    `json:"status"`
	State     string    `json:"state"`     // delayed, queued, retrying, running, cancelling; succeeded, failed, cancelled, expired
	Timestamp time.Time `json:"timestamp"` // of the latest change
	// Result is there when the item succeeded with JSON of at most MaxInlineResult;
	// ResultURL whenever there is one.
	Result        json.RawMessage `json:"result,omitempty"`
	ResultURL     string          `json:"result_url,omitempty"`
	Reason        *ItemReason     `json:"reason,omitempty"` // of an end that is no success
	Attempts      []ItemAttempt   `json:"attempts,omitempty"`
	AcceptedAt    time.Time       `json:"accepted_at"`
	NextAttemptAt *time.Time      `json:"next_attempt_at,omitempty"` // of what is delayed or retrying
	ExpiresAt     *time.Time      `json:"expires_at,omitempty"`      // if it still waits then

	Queue    *ItemQueue        `json:"queue,omitempty"`    // while it waits for a place
	Progress *ItemProgress     `json:"progress,omitempty"` // while it is executed, if its container says
	Priority string            `json:"priority,omitempty"` // high or idle; empty: normal
	Labels   map[string]string `json:"labels,omitempty"`
}

// ItemQueue is where an item waits.
type ItemQueue struct {
	Ahead       int    `json:"ahead"`              // items that get a place before it
	Estimate    string `json:"estimate,omitempty"` // how long that takes, as items ended lately: 41s
	Approximate bool   `json:"approximate"`        // both follow what others do
}

// ItemProgress is how far an execution is, as its container says.
type ItemProgress struct {
	Percent *float64  `json:"percent,omitempty"` // 0 to 100
	Message string    `json:"message,omitempty"`
	At      time.Time `json:"at"`
}

// ItemLabelRule says in words what LegalItemLabel allows.
const ItemLabelRule = "a name of letters, digits, dots, dashes, underscores and slashes, at most 63, and at most 128 bytes of value without commas"

var itemLabelName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9._/-]{1,63}$`) })

// LegalItemLabel reports whether an item may have this label.
func LegalItemLabel(name, value string) bool {
	return itemLabelName().MatchString(name) && len(value) <= 128 && utf8.ValidString(value) && !strings.ContainsFunc(value, func(r rune) bool { return r == ',' || unicode.IsControl(r) })
}

// ItemPriorities are the words for whose turn comes first.
func ItemPriorities() []string { return []string{"high", "normal", "idle"} }

// MaxInlineResult is the largest result that an item is shown with.
const MaxInlineResult = 1 << 20

// ItemReason is why an item did not succeed.
type ItemReason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// ItemAttempt is one execution of an item.
type ItemAttempt struct {
	N          int         `json:"n"`
	Outcome    string      `json:"outcome,omitempty"` // succeeded, error, timeout, lost, busy, interrupted; empty while it runs
	HTTPStatus int         `json:"http_status,omitempty"`
	Reason     *ItemReason `json:"reason,omitempty"`
	Replica    string      `json:"replica,omitempty"`
	Revision   string      `json:"revision,omitempty"`
	StartedAt  time.Time   `json:"started_at"`
	Duration   string      `json:"duration,omitempty"` // 12.1s
}

// ItemStates are the states of items, in the order of their lives; the last four are ends.
func ItemStates() []string {
	return []string{"delayed", "queued", "retrying", "running", "cancelling", "succeeded", "failed", "cancelled", "expired"}
}

// Waiting is what an AsyncAPI has to do.
type Waiting struct {
	Queued  int       // items that wait for a place
	Running int       // that are executed
	Idle    int       // of Queued, which nothing is started for
	Limited int       // of Queued, whose callers have as many executed as they may
	Oldest  time.Time // when the one that waits longest was accepted; zero: none waits
}

// MaxItems is how many items one call lists, or changes, at most.
const MaxItems = 1000

// ItemQuery selects items of one API.
type ItemQuery struct {
	Name   string
	States []string          // empty: all
	Labels map[string]string // that it has; empty: any
	Since  time.Duration     // accepted so long ago at most; 0: all that are kept
	Before string            // only items before the one with this id, by which lists go on
	Limit  int               // 0: MaxItems
}

// ItemSelection says which items are to be changed: either some by their ids, or all in
// some states.
type ItemSelection struct {
	IDs    []string `json:"ids,omitempty"`    // at most MaxItems
	States []string `json:"states,omitempty"` // up to MaxItems of those that are in one of them
}

// Hook is a webhook message about the end of an item.
type Hook struct {
	ID         string      `json:"id"`
	ItemID     string      `json:"item_id"`
	Event      string      `json:"event"` // item.succeeded, item.failed, item.cancelled, item.expired
	URL        string      `json:"url"`   // without what its query has
	State      string      `json:"state"` // pending, delivered, gave_up
	CreatedAt  time.Time   `json:"created_at"`
	Tries      int         `json:"tries"`
	TriedAt    *time.Time  `json:"tried_at,omitempty"`    // the latest time
	HTTPStatus int         `json:"http_status,omitempty"` // of the latest answer
	Reason     *ItemReason `json:"reason,omitempty"`      // why the latest try did not succeed
	NextTryAt  *time.Time  `json:"next_try_at,omitempty"`
}

// HookStates are the states of webhook messages.
func HookStates() []string { return []string{"pending", "delivered", "gave_up"} }

// HookQuery selects webhook messages of one API.
type HookQuery struct {
	Name   string
	States []string // empty: all
	Before string   // only messages before the one with this id
	Limit  int      // 0: MaxItems
}

// HookSelection names webhook messages.
type HookSelection struct {
	IDs []string `json:"ids"` // at most MaxItems
}

// ItemsChanged is what became of a change.
type ItemsChanged struct {
	Changed []string `json:"changed"` // ids
	// More says that there may be others: the call has done as many as one call does.
	More bool `json:"more,omitempty"`
}

// ItemPurge says which items are to be forgotten, of those that have ended.
type ItemPurge struct {
	EndedFor Duration `json:"ended_for,omitzero"` // for so long at least; 0: all
}

// ItemsPurged is what became of it.
type ItemsPurged struct {
	Purged int  `json:"purged"`
	More   bool `json:"more,omitempty"` // there may be others: the call has done as many as one call does
}
