package access

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Refusal is why a request is not let in.
type Refusal struct {
	Status  int
	Code    string
	Message string
	Type    string // of the problem (RFC 9457)
	// Challenge is the value of WWW-Authenticate; empty: none.
	Challenge string
	// Of a limit: its name, when to come again, and the values of RateLimit and
	// RateLimit-Policy.
	Limit           string
	Caller          string // who is refused, where that is known
	RetryAfter      time.Duration
	RateLimit       string
	RateLimitPolicy string
}

// Types of problems; those of limits are the registered ones.
const (
	typeNone     = "about:blank"
	typeReduced  = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
	typeExceeded = "https://iana.org/assignments/http-problem-types#quota-exceeded"
)

// unauthorized refuses a credential, and missing a request that has none.
func unauthorized(code, message string) *Refusal {
	return &Refusal{Status: 401, Code: code, Message: message, Type: typeNone, Challenge: `Bearer error="invalid_token"`}
}

// notAllowed refuses a caller who is known.
func notAllowed(message string) *Refusal {
	return &Refusal{Status: 403, Code: "not_allowed", Type: typeNone, Message: message}
}

func missing(message string) *Refusal { // which RFC 6750 gives no error code
	return &Refusal{Status: 401, Code: "credentials_missing", Message: message, Type: typeNone, Challenge: "Bearer"}
}

// maxJitter bounds by how much a time to come again is put off by chance, so that not all
// come again at once.
const maxJitter = 30 * time.Second

// refuse says what is over, and when it is not any more. Who waits is told a time that is a
// tenth longer at most, and never more than maxJitter.
func (l *limit) refuse(s state, policies string) *Refusal {
	wait := time.Duration(s.wait)
	r := &Refusal{
		Status: 429, Code: l.code, Type: typeReduced, Limit: l.spec.Name, RateLimitPolicy: policies,
		RateLimit:  string(l.appendState(nil, s)),
		RetryAfter: wait + time.Duration(rand.Int64N(int64(min(wait/10, maxJitter))+1)), //nolint:gosec // no secret
	}
	whose := map[string]string{"caller": " of a caller", "address": " of an address"}[l.spec.Per]
	switch {
	case l.interval > 0:
		r.Message = fmt.Sprintf("the limit %s is reached: %s%s", l.spec.Name, l.spec.Rate, whose)
	case l.window > 0:
		r.Type = typeExceeded
		r.Message = fmt.Sprintf("the quota %s is used up: %s%s", l.spec.Name, l.spec.Quota, whose)
	default:
		r.Message = fmt.Sprintf("the limit %s is reached: %d requests%s at once", l.spec.Name, l.spec.Concurrent, whose)
	}
	return r
}
