package workload

import "time"

// Calls is what one caller has asked of one API within an hour.
type Calls struct {
	Hour   time.Time `json:"hour"` // when it began, in UTC
	API    string    `json:"api"`
	Caller string    `json:"caller"`
	CallCounts
}

// CallCounts are the requests of a caller.
type CallCounts struct {
	Requests     int64   `json:"requests"`      // that were let in
	Succeeded    int64   `json:"succeeded"`     // of these, below 400
	ClientErrors int64   `json:"client_errors"` // 400 to 499
	ServerErrors int64   `json:"server_errors"` // 500 and above
	Broken       int64   `json:"broken"`        // without a whole answer, because the caller left or the connection broke
	Limited      int64   `json:"limited"`       // that were refused by a limit, and are not among Requests
	Seconds      float64 `json:"seconds"`       // from the head of a request to the end of its answer, of all requests together
}

// Add adds what other counts.
func (c *CallCounts) Add(other CallCounts) {
	c.Requests += other.Requests
	c.Succeeded += other.Succeeded
	c.ClientErrors += other.ClientErrors
	c.ServerErrors += other.ServerErrors
	c.Broken += other.Broken
	c.Limited += other.Limited
	c.Seconds += other.Seconds
}

// CallsQuery asks who called what.
type CallsQuery struct {
	API    string // empty: all
	Caller string // empty: all
	Since  time.Duration
}

// CodeTooManyCalls is of a question about more than one answer has.
const CodeTooManyCalls = "usage.too_many"

// CallsKept is how long it is known who called.
const CallsKept = 400 * 24 * time.Hour
