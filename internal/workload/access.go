package workload

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Auth says who may call an API. Nil: whoever reaches it.
type Auth struct {
	Accept []string `json:"accept"` // credentials that prove a caller: AcceptKeys, AcceptJWT, AcceptIAM
	JWT    *JWT     `json:"jwt,omitempty"`
	// Allow is what may be asked for without any.
	Allow []Allowed `json:"allow,omitempty"`
	// Forward is what the container is told of the caller: ForwardSubject, ForwardName.
	Forward []string `json:"forward,omitempty"`
}

// Allowed are requests that need no credential. No methods are all of them.
type Allowed struct {
	Paths   []string `json:"paths"` // below the endpoint, exactly
	Methods []string `json:"methods,omitempty"`
	Anyone  bool     `json:"anyone"`
}

// JWT is what is asked of a JSON Web Token (RFC 7519).
type JWT struct {
	Issuer   string `json:"issuer"`
	Audience string `json:"audience"`
	// Keys is the address of the issuer's keys (RFC 7517). Empty: where the issuer says
	// (OpenID Connect Discovery).
	Keys       string            `json:"keys,omitempty"`
	Algorithms []string          `json:"algorithms"`        // by which it may be signed
	Require    map[string]string `json:"require,omitempty"` // claims, and what each has to be or to have
}

// Words of Auth.
const (
	AcceptKeys = "keys"
	AcceptJWT  = "jwt"
	AcceptIAM  = "iam"

	ForwardSubject = "subject" // X-Cortex-Caller: a key's name, or a token's subject
	ForwardName    = "name"    // X-Cortex-Caller-Name: a key's name, or a token's
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

// Bounds and shapes of what is said about callers.
const (
	MaxLimits      = 16 // of an API
	MaxRequired    = 16
	MaxIssuer      = 1000
	MaxAllowed     = 16
	MaxAllowedPath = 1000

	RatePattern    = `^[1-9][0-9]{0,6}/(s|m|h)$`
	QuotaPattern   = `^[1-9][0-9]{0,10}/([1-9][0-9]{0,2})?(h|d)$`
	PerPattern     = `^(caller|address)$`
	AcceptPattern  = `^(keys|jwt|iam)$`
	ClaimPattern   = `^[!-~]+$`
	SignedPattern  = `^((RS|PS)(256|384|512)|ES(256|384|512)|EdDSA)$`
	ForwardPattern = `^(subject|name)$`
	MethodPattern  = `^[A-Z]{1,20}$`
	// AllowedPathPattern is a path as callers send it, and so without escapes.
	AllowedPathPattern = `^/[a-zA-Z0-9_./~-]*$`
	AllowedPathNot     = `//|` + dotSegments
)

// MaxQuotaWindow is the longest window of a quota.
const MaxQuotaWindow = 31 * 24 * time.Hour

var units = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour, "d": 24 * time.Hour}

// ParseRate reads a rate such as 10/s: n requests in each unit.
func ParseRate(text string) (n int64, unit time.Duration, ok bool) {
	count, word, cut := strings.Cut(text, "/")
	n, err := strconv.ParseInt(count, 10, 64)
	unit = units[word]
	return n, unit, cut && err == nil && n > 0 && unit > 0 && unit <= time.Hour
}

// ParseQuota reads a quota such as 10000/1d: n requests in each window.
func ParseQuota(text string) (n int64, window time.Duration, ok bool) {
	count, word, cut := strings.Cut(text, "/")
	n, err := strconv.ParseInt(count, 10, 64)
	if !cut || err != nil || n <= 0 || word == "" {
		return 0, 0, false
	}
	unit, times := units[word[len(word)-1:]], int64(1)
	if digits := word[:len(word)-1]; digits != "" {
		if times, err = strconv.ParseInt(digits, 10, 16); err != nil {
			return 0, 0, false
		}
	}
	window = time.Duration(times) * unit
	return n, window, times > 0 && unit >= time.Hour && window <= MaxQuotaWindow
}

// accessCounts refuses lists that say nothing, and those that are too long.
func accessCounts(vs *violations, s *Spec) {
	if s.Networking == nil {
		return
	}
	n := s.Networking
	vs.count("networking.limits", len(n.Limits), 0, MaxLimits)
	if n.Auth == nil {
		return
	}
	vs.count("networking.auth.accept", len(n.Auth.Accept), 1, MaxAllowed)
	if j := n.Auth.JWT; j != nil {
		vs.count("networking.auth.jwt.algorithms", len(j.Algorithms), 1, MaxAllowed)
		vs.count("networking.auth.jwt.require", len(j.Require), 0, MaxRequired)
	}
	vs.count("networking.auth.forward", len(n.Auth.Forward), 0, MaxAllowed)
	vs.count("networking.auth.allow", len(n.Auth.Allow), 0, MaxAllowed)
	for i, a := range n.Auth.Allow {
		vs.count(fmt.Sprintf("networking.auth.allow[%d].paths", i), len(a.Paths), 1, MaxAllowed)
		vs.count(fmt.Sprintf("networking.auth.allow[%d].methods", i), len(a.Methods), 0, MaxAllowed)
	}
}

// count holds the length of a list to its bounds.
func (vs *violations) count(path string, n, least, most int) {
	switch {
	case n < least:
		vs.add(Violation{Path: path, Code: CodeCannotBeEmpty, Message: "must not be empty"})
	case n > most:
		vs.add(Violation{Path: path, Code: CodeTooLong, Found: strconv.Itoa(n), Message: fmt.Sprintf("has %d entries, and may have %d", n, most)})
	}
}

// limitNames refuses two limits of one name.
func limitNames(vs *violations, s *Spec) {
	for i, l := range limitsOf(s) {
		if l.Name != "" && slices.ContainsFunc(limitsOf(s)[:i], func(b Limit) bool { return b.Name == l.Name }) {
			vs.add(Violation{Path: fmt.Sprintf("networking.limits[%d].name", i), Code: CodeDuplicateName, Found: abbreviate(l.Name), Message: "is the name of another limit of this API"})
		}
	}
}

// limitKinds refuses what says nothing, or two things.
func limitKinds(vs *violations, s *Spec) {
	for i, l := range limitsOf(s) {
		at := fmt.Sprintf("networking.limits[%d]", i)
		said := 0
		for _, is := range []bool{l.Rate != "", l.Concurrent != 0, l.Quota != ""} {
			if is {
				said++
			}
		}
		if said != 1 {
			vs.add(Violation{Path: at, Code: CodeExactlyOneField, Message: "exactly one of rate, concurrent or quota must be specified", Allowed: "rate, concurrent or quota"})
		}
		if _, _, ok := ParseQuota(l.Quota); l.Quota != "" && ShapeOf("networking.limits[].quota").Fits(l.Quota) && !ok {
			vs.add(Violation{Path: at + ".quota", Code: CodeLessOrEqual, Found: abbreviate(l.Quota), Message: "has a window of more than 31 days"})
		}
	}
}

// limitBursts refuses a burst of what has none.
func limitBursts(vs *violations, s *Spec) {
	for i, l := range limitsOf(s) {
		if l.Burst != 0 && l.Rate == "" {
			vs.add(Violation{Path: fmt.Sprintf("networking.limits[%d].burst", i), Code: CodeDisallowedValue, Found: strconv.FormatInt(l.Burst, 10), Message: "only a rate has a burst"})
		}
	}
}

// limitCallers refuses limits that could never apply.
func limitCallers(vs *violations, s *Spec) {
	for i, l := range limitsOf(s) {
		if l.Per == PerCaller && s.Networking.Auth == nil {
			vs.add(Violation{Path: fmt.Sprintf("networking.limits[%d].per", i), Code: CodeDisallowedValue, Found: l.Per,
				Message: "without networking.auth there are no callers to tell apart", Hint: "add networking.auth, or count by address"})
		}
	}
}

// tokensAsked refuses tokens about which nothing is said, and what is said of none.
func tokensAsked(vs *violations, s *Spec) {
	if s.Networking == nil || s.Networking.Auth == nil {
		return
	}
	a := s.Networking.Auth
	switch asked := slices.Contains(a.Accept, AcceptJWT); {
	case asked && a.JWT == nil:
		vs.missing("networking.auth.jwt", "jwt", "the issuer, the audience and the algorithms of tokens")
	case !asked && a.JWT != nil:
		vs.add(Violation{Path: "networking.auth.jwt", Code: CodeDisallowedValue, Message: "has no effect: accept has no jwt", Hint: "accept: [jwt]"})
	}
}

// allowedNobody refuses an entry of allow that lets nobody in.
func allowedNobody(vs *violations, s *Spec) {
	if s.Networking == nil || s.Networking.Auth == nil {
		return
	}
	for i, a := range s.Networking.Auth.Allow {
		if !a.Anyone {
			vs.add(Violation{Path: fmt.Sprintf("networking.auth.allow[%d].anyone", i), Code: CodeDisallowedValue, Found: "false", Allowed: "true",
				Message: "an entry that allows nobody has no effect: who has a credential may ask for everything"})
		}
	}
}

func limitsOf(s *Spec) []Limit {
	if s.Networking == nil {
		return nil
	}
	return s.Networking.Limits
}
