package s3

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/ledger"
)

func jitter(most time.Duration) time.Duration { return rand.N(most) + time.Millisecond }

// stored is an item as it is kept: a line of JSON, and after it the payload and the result,
// as far as they are kept here. So one write changes all of it.
type stored struct {
	// By has the tokens of the writes that made it, the latest ones: who does not know what
	// became of a write looks for its own.
	By   []string    `json:"by"`
	Item ledger.Item `json:"item"`
	// Key is the digest of the idempotency key by which the item is accepted, until its next
	// change: before its key names it, the item is none.
	Key     string       `json:"key,omitempty"`
	Payload int          `json:"payload"` // bytes
	Result  int          `json:"result"`
	Hook    *ledger.Hook `json:"hook,omitempty"` // the message about its latest end

	payload, result []byte
	etag            string
}

// keptTokens are more writes than come between one and the look at what became of it.
const keptTokens = 4

// write notes a new write, and returns what is to be kept and the write's token.
func (s *stored) write() ([]byte, string, error) {
	t := token()
	s.By = append(slices.Clone(s.By[max(0, len(s.By)-keptTokens+1):]), t)
	s.Payload, s.Result = len(s.payload), len(s.result)
	head, err := json.Marshal(s)
	if err != nil {
		return nil, "", fmt.Errorf("writing item %s: %w", s.Item.ID, err)
	}
	return slices.Concat(head, []byte("\n"), s.payload, s.result), t, nil
}

// errDamaged says that an object is not as it was written.
var errDamaged = errors.New("it is damaged")

// read reads what write made.
func read(data []byte) (*stored, error) {
	head, rest, ok := bytes.Cut(data, []byte("\n"))
	s := &stored{}
	if !ok || json.Unmarshal(head, s) != nil || s.Payload < 0 || s.Result < 0 || s.Payload > len(rest) || len(rest)-s.Payload != s.Result {
		return nil, errDamaged
	}
	s.payload, s.result = rest[:s.Payload:s.Payload], rest[s.Payload:]
	return s, nil
}

// wrote returns what tells whether an object was written with a token.
func wrote(token string) func([]byte) bool {
	return func(data []byte) bool {
		s, err := read(data)
		return err == nil && slices.Contains(s.By, token)
	}
}

// next is the object after an event; result is what a Succeed carries.
func (s *stored) next(item ledger.Item, e ledger.Event, result []byte) *stored {
	n := &stored{By: s.By, Item: item, Hook: s.Hook, payload: s.payload, result: s.result}
	if item.Payload == nil || item.Payload.Blob != "" {
		n.payload = nil
	}
	switch {
	case e.Type == ledger.Succeed && item.State == ledger.Succeeded && result != nil:
		n.result = result
	case item.Result == nil:
		n.result = nil
	}
	if h := ledger.HookOf(s.Item, item, result); h != nil {
		n.Hook = h
	}
	return n
}

// legalName is what an API, or a part of a job's name, can be called here.
var legalName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}$`) })

// legal reports whether names can be parts of a key.
func legal(api, id string) bool { return legalName().MatchString(api) && ledger.LegalID(id) }

func stateKey(api, id string) string { return "workloads/" + api + "/" + id + stateName }

const (
	stateName = "/state.json"
	openOf    = "open/"
)

// mark is that an item is open, in one generation of it.
type mark struct {
	api, id    string
	generation int
}

func markOf(i ledger.Item) mark { return mark{i.API, i.ID, i.Generation} }

func (m mark) key() string {
	if m.generation == 0 {
		return openOf + m.api + "/" + m.id
	}
	return openOf + m.api + "/" + m.id + "." + strconv.Itoa(m.generation)
}

// readMark is the inverse of key.
func readMark(key string) (m mark, ok bool) {
	api, name, _ := strings.Cut(strings.TrimPrefix(key, openOf), "/")
	id, generation, later := strings.Cut(name, ".")
	m = mark{api: api, id: id}
	if later {
		n, err := strconv.Atoi(generation)
		if err != nil || n <= 0 || strconv.Itoa(n) != generation {
			return m, false
		}
		m.generation = n
	}
	return m, strings.HasPrefix(key, openOf) && legal(api, id)
}
