package ledger

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"regexp"
	"slices"
	"sync"
	"time"
)

// State is what an item does.
type State string

// The states. The last four are ends.
const (
	Delayed    State = "delayed"    // its caller wants it to begin later
	Queued     State = "queued"     // waits for a place
	Retrying   State = "retrying"   // waits until it is tried again
	Running    State = "running"    // a replica works on it
	Cancelling State = "cancelling" // is running, and to be ended
	Succeeded  State = "succeeded"
	Failed     State = "failed"
	Cancelled  State = "cancelled"
	Expired    State = "expired" // waited for longer than it may
)

// States returns all states.
func States() []State {
	return []State{Delayed, Queued, Retrying, Running, Cancelling, Succeeded, Failed, Cancelled, Expired}
}

// Ended reports whether s is an end.
func (s State) Ended() bool {
	return slices.Contains([]State{Succeeded, Failed, Cancelled, Expired}, s)
}

// Waiting reports whether an item in s waits for a time or for a place.
func (s State) Waiting() bool { return slices.Contains([]State{Delayed, Queued, Retrying}, s) }

// Executing reports whether an item in s is in somebody's hands.
func (s State) Executing() bool { return s == Running || s == Cancelling }

// Item is one accepted request and what became of it.
type Item struct {
	API   string `json:"api"`
	ID    string `json:"id"`
	State State  `json:"state"`
	// Version counts the changes of the item: whoever hears of two knows which is later.
	Version uint64 `json:"version"`
	// Generation counts how often a user had it tried again after an end.
	Generation int `json:"generation,omitempty"`
	// Attempt is the number of the latest execution. It only grows, over generations too.
	Attempt int `json:"attempt,omitempty"`
	// Charged and Losses are what the executions of this generation were charged to: to
	// what the container answered, or to containers that went away.
	Charged int `json:"charged,omitempty"`
	Losses  int `json:"losses,omitempty"`
	// Crashes are its executions during which whoever had it executed ended, not on purpose.
	Crashes int `json:"crashes,omitempty"`

	Accepted time.Time     `json:"accepted"`
	Updated  time.Time     `json:"updated"`
	Due      time.Time     `json:"due,omitzero"`     // of what is delayed or retrying
	Expires  time.Time     `json:"expires,omitzero"` // if it still waits then; zero: never
	Timeout  time.Duration `json:"timeout,omitempty"`
	Owner    string        `json:"owner,omitempty"` // who executes it
	Class    Class         `json:"class,omitempty"`
	Caller   string        `json:"caller,omitempty"` // among whom places are shared
	Ended    time.Time     `json:"ended,omitzero"`
	Forget   time.Time     `json:"forget,omitzero"` // when it is dropped; set with the end

	Labels map[string]string `json:"labels,omitempty"` // its caller's, to find it by

	Request  Request   `json:"request"`
	Payload  *Content  `json:"payload,omitempty"` // nil: it is not kept any more
	Result   *Content  `json:"result,omitempty"`
	Reason   *Reason   `json:"reason,omitempty"` // of an end that is no success
	Attempts []Attempt `json:"attempts,omitempty"`
	Webhook  *Webhook  `json:"webhook,omitempty"` // nil: nobody is told of its end
}

// Class is whose turn comes first among the items of an API.
type Class string

// The classes, in the order of their turns.
const (
	High   Class = "high"
	Normal Class = ""
	Idle   Class = "idle" // starts nothing, and takes what nobody else needs
)

// Has reports whether the item has all of these labels.
func (i *Item) Has(labels map[string]string) bool {
	for k, v := range labels {
		if got, has := i.Labels[k]; !has || got != v {
			return false
		}
	}
	return true
}

// Request is what a container gets besides the payload.
type Request struct {
	Host   string      `json:"host,omitempty"`
	Fields [][2]string `json:"fields,omitempty"`
}

// Content says where a payload or a result is.
type Content struct {
	Type     string `json:"type,omitempty"`
	Encoding string `json:"encoding,omitempty"` // as Content-Encoding
	Size     int64  `json:"size"`
	Digest   string `json:"digest"`         // SHA-256, in hexadecimal
	Blob     string `json:"blob,omitempty"` // empty: it is in the ledger
}

// Reason is why something did not succeed.
type Reason struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Attempt is one execution.
type Attempt struct {
	N        int           `json:"n"`
	Started  time.Time     `json:"started"`
	Took     time.Duration `json:"took,omitempty"` // 0 while it runs
	Outcome  Outcome       `json:"outcome,omitempty"`
	Status   int           `json:"status,omitempty"` // of the container's answer
	Reason   *Reason       `json:"reason,omitempty"`
	Replica  string        `json:"replica,omitempty"`
	Revision string        `json:"revision,omitempty"`
}

// idBytes are six of the time, so that ids are in the order of acceptance, and 128 random
// bits: who has an id may read the item.
const idBytes = 6 + 16

var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// NewID returns an id that nobody can guess. Ids of later milliseconds are greater.
func NewID(now time.Time) string {
	var b [idBytes]byte
	binary.BigEndian.PutUint64(b[:8], uint64(max(now.UnixMilli(), 0))<<16)
	_, _ = rand.Read(b[6:]) // never fails
	return idText.EncodeToString(b[:])
}

// FirstID is an id that is not after any which is made at that time or later.
func FirstID(at time.Time) string {
	var b [idBytes]byte
	binary.BigEndian.PutUint64(b[:8], uint64(max(at.UnixMilli(), 0))<<16)
	return idText.EncodeToString(b[:])
}

// TimeOf returns when an id was made; zero for what is none.
func TimeOf(id string) time.Time {
	b, err := idText.DecodeString(id)
	if err != nil || len(b) != idBytes {
		return time.Time{}
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(b[:8]) >> 16)).UTC()
}

var idPattern = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-z]{36}$`) })

// LegalID reports whether s could be the id of an item.
func LegalID(s string) bool { return idPattern().MatchString(s) }
