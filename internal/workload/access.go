package workload

// Auth says who may call an API. Nil: whoever reaches it.
type Auth struct {
	Accept []string `json:"accept"` // credentials that prove a caller: AcceptKeys
	// Allow is what may be asked for without any.
	Allow []Allowed `json:"allow,omitempty"`
	// Forward is what the container is told of the caller: ForwardSubject, ForwardName.
	Forward []string `json:"forward,omitempty"`
}

// Allowed are requests that need no credential. An empty list of methods is all of them.
type Allowed struct {
	Paths   []string `json:"paths"` // below the endpoint, exactly
	Methods []string `json:"methods,omitempty"`
	Anyone  bool     `json:"anyone"`
}

// Words of Auth.
const (
	AcceptKeys = "keys"

	ForwardSubject = "subject" // X-Cortex-Caller
	ForwardName    = "name"    // X-Cortex-Caller-Name
)

// Limit is how much may be called. Exactly one of Rate, Concurrent and Quota is set.
type Limit struct {
	Name       string `json:"name"`
	Per        string `json:"per,omitempty"`        // PerCaller, PerAddress; empty: of all callers together
	Rate       string `json:"rate,omitempty"`       // "10/s"
	Burst      int64  `json:"burst,omitempty"`      // of a rate: at once; 0: what comes in a second, at least 1
	Concurrent int64  `json:"concurrent,omitempty"` // at once
	Quota      string `json:"quota,omitempty"`      // "10000/1d"
}

// Of whom a limit is.
const (
	PerCaller  = "caller"
	PerAddress = "address"
)

// MaxLimits is how many limits an API has.
const MaxLimits = 16
