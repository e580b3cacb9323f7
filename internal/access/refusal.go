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
	// Challenge is the value of WWW-Authenticate; empty: none.
	Challenge string
	// Of a limit: its name, when to come again, and the values of RateLimit and
	// RateLimit-Policy.
	Limit           string
	RetryAfter      time.Duration
	RateLimit       string
	RateLimitPolicy string
}

func unauthorized(code, message string) *Refusal {
	r := &Refusal{Status: 401, Code: code, Message: message, Challenge: "Bearer"}
	if code != "credentials_missing" { // RFC 6750: a request without any gets no error code
		r.Challenge = `Bearer error="invalid_token"`
	}
	return r
}

// refuse says what is over, and when it is not any more. Who waits is told a time that is a
// tenth longer at most, by chance: else all come again at once.
func (l *limit) refuse(s state, policies string) *Refusal {
	wait := time.Duration(s.wait)
	r := &Refusal{
		Status: 429, Code: l.code, Limit: l.spec.Name, RateLimitPolicy: policies,
		RateLimit:  string(l.appendState(nil, s)),
		RetryAfter: wait + time.Duration(rand.Int64N(int64(wait)/10+1)), //nolint:gosec // no secret
	}
	whose := map[string]string{"caller": " of a caller", "address": " of an address"}[l.per]
	switch {
	case l.interval > 0:
		r.Message = fmt.Sprintf("the limit %s is reached: %s%s", l.spec.Name, l.spec.Rate, whose)
	case l.window > 0:
		r.Message = fmt.Sprintf("the quota %s is used up: %s%s", l.spec.Name, l.spec.Quota, whose)
	default:
		r.Message = fmt.Sprintf("the limit %s is reached: %d requests%s at once", l.spec.Name, l.spec.Concurrent, whose)
	}
	return r
}
