package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Bounds of what is remembered of one schedule.
const (
	maxActive  = workload.MaxCatchUp // runs under way
	maxWaiting = workload.MaxCatchUp
	maxRecent  = 10
)

// record is what is remembered of a schedule. It is a format.
type record struct {
	Definition string `json:"definition"` // of its times, as they were looked at last
	// Idle is when it was seen last that nothing is due: it is suspended, or its API stopped.
	Idle time.Time `json:"idle,omitzero"`
	// Cursor is the time up to which everything that was due has been dealt with.
	Cursor   time.Time `json:"cursor"`
	Failures int       `json:"failures,omitempty"` // in a row
	Paused   *paused   `json:"paused,omitempty"`

	Active   []run       `json:"active,omitempty"`
	Waiting  []time.Time `json:"waiting,omitempty"` // that were due and wait for those under way
	Recent   []run       `json:"recent,omitempty"`  // that have ended, newest first
	Backfill *backfill   `json:"backfill,omitempty"`
}

type paused struct {
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// run is one run: what was begun, and what became of it.
type run struct {
	Time  time.Time `json:"time"` // at which it was due
	ID    string    `json:"id,omitempty"`
	Began time.Time `json:"began"`
	Cause string    `json:"cause,omitempty"` // causeManual, causeBackfill; empty: it was due
	State State     `json:"state"`
	Error string    `json:"error,omitempty"` // why it could not begin
}

const (
	causeManual   = "manual"
	causeBackfill = "backfill"
)

// backfill are the runs of a time that has passed.
type backfill struct {
	Asked    time.Time `json:"asked"`
	Cursor   time.Time `json:"cursor"`
	To       time.Time `json:"to"`
	Parallel int       `json:"parallel"`
	Active   []run     `json:"active,omitempty"`
	Begun    int       `json:"begun,omitempty"`
	Failed   int       `json:"failed,omitempty"`
}

// ended notes what became of a run.
func (r *record) ended(x run) {
	r.Recent = append([]run{x}, r.Recent...)
	r.Recent = r.Recent[:min(len(r.Recent), maxRecent)]
}

func (r *record) encode() ([]byte, error) { return json.Marshal(r) }

func decode(data []byte) (r record, err error) {
	err = json.Unmarshal(data, &r)
	return r, err
}

// definition names when a schedule is due.
func definition(s *workload.Schedule) string {
	return fmt.Sprintf("%s %s", s.When(), s.Timezone)
}

// idOf names a run: whoever begins it twice begins it once. It is legal as the id of a job.
func idOf(api, schedule, cause string, asked, due time.Time) string {
	sum := sumOf(api, schedule, cause, asked.UTC().Format(time.RFC3339Nano), due.UTC().Format(time.RFC3339Nano))
	return hex.EncodeToString(sum[:16])
}

func sumOf(parts ...string) [sha256.Size]byte {
	var all []byte
	for _, p := range parts {
		all = append(append(all, p...), 0)
	}
	return sha256.Sum256(all)
}

// putOff is by how much a run is put off: the same each time that it is asked.
func putOff(api, schedule string, jitter time.Duration, due time.Time) time.Duration {
	if jitter <= 0 {
		return 0
	}
	sum := sumOf("jitter", api, schedule, due.UTC().Format(time.RFC3339Nano))
	return time.Duration(binary.BigEndian.Uint64(sum[:8]) % uint64(jitter))
}
