package authtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Identity is who a key belongs to. UserID and ARN are what GetCallerIdentity
// answers, as they are.
type Identity struct {
	AccessKeyID     string    `json:"access_key_id"`
	SecretAccessKey string    `json:"secret_access_key"`
	SessionToken    string    `json:"session_token,omitempty"` // "" for a key that has none
	ARN             string    `json:"arn"`
	UserID          string    `json:"user_id"`
	Account         string    `json:"account"`
	ExpiresAt       time.Time `json:"expires_at,omitzero"` // zero: never
	Disabled        bool      `json:"disabled,omitempty"`  // as if it did not exist, which is what STS says too
}

// Role is what can be assumed.
type Role struct {
	ID     string   `json:"id,omitempty"`     // AROA…; "" derives one from the ARN
	Trusts []string `json:"trusts,omitempty"` // ARNs of identities and roles; empty: every identity that verifies
}

// Grant is what a token of the portal of IAM Identity Center opens.
type Grant struct {
	Token    string `json:"token"`
	Account  string `json:"account"`
	RoleName string `json:"role_name"`      // as the profile names it
	ARN      string `json:"arn,omitempty"`  // of the role; "" derives AWSReservedSSO_ROLENAME_…
	User     string `json:"user,omitempty"` // session name of the credentials; default "user"
}

// Config says what an STS knows. The program around it reads it as JSON.
type Config struct {
	Region     string            `json:"region"`
	Host       string            `json:"host,omitempty"` // expected Host header; default sts.REGION.amazonaws.com, in China with .cn
	Identities []Identity        `json:"identities,omitempty"`
	Roles      map[string]Role   `json:"roles,omitempty"`      // by ARN, arn:aws:iam::ACCOUNT:role/NAME
	WebTokens  map[string]string `json:"web_tokens,omitempty"` // web identity token → ARN of the role it may assume
	Grants     []Grant           `json:"sso_tokens,omitempty"`
	Now        func() time.Time  `json:"-"` // nil: time.Now
}

// Calls counts requests. The actions count those that asked for one, whatever was
// answered.
type Calls struct {
	Total                     int            `json:"total"` // also what asked for no known action
	GetCallerIdentity         int            `json:"get_caller_identity"`
	AssumeRole                int            `json:"assume_role"`
	AssumeRoleWithWebIdentity int            `json:"assume_role_with_web_identity"`
	GetRoleCredentials        int            `json:"get_role_credentials"` // at the portal
	Answered                  int            `json:"answered"`             // with 200, by this STS itself
	Refused                   int            `json:"refused"`              // with an error, by this STS itself
	Refusals                  map[string]int `json:"refusals"`             // by code, such as SignatureDoesNotMatch
	Faults                    int            `json:"faults"`               // answered by SetDown, SetThrottle or SetAnswer
}

// STS is an http.Handler that simulates the STS of one region, and the portal of IAM
// Identity Center beside it. It expects the Host of that region whatever address it
// listens at; AssumeRole, which SDKs call by themselves, also takes the loopback
// address that a test has pointed them to, if that is what they signed. Its methods
// may be called at once.
type STS struct {
	host, region string
	now          func() time.Time
	roles        map[string]Role
	webTokens    map[string]string
	grants       []Grant

	mu         sync.Mutex
	identities map[string]Identity // by access key id
	issued     []string            // keys of temporary credentials, oldest first
	calls      Calls
	faults     faults
}

// faults is how an STS misbehaves.
type faults struct {
	delay          time.Duration
	down, throttle bool
	answer         func(http.ResponseWriter, *http.Request)
}

// Bounds of what is read and kept.
const (
	maxBody   = 64 << 10
	maxIssued = 10_000
)

// NewSTS returns an STS that answers as cfg says. It starts nothing.
func NewSTS(cfg Config) *STS {
	s := &STS{
		host: cfg.Host, region: cfg.Region, now: cfg.Now,
		roles: maps.Clone(cfg.Roles), webTokens: maps.Clone(cfg.WebTokens), grants: append([]Grant(nil), cfg.Grants...),
		identities: map[string]Identity{}, calls: Calls{Refusals: map[string]int{}},
	}
	if s.host == "" {
		s.host = "sts." + s.region + ".amazonaws.com"
		if strings.HasPrefix(s.region, "cn-") {
			s.host += ".cn"
		}
	}
	if s.now == nil {
		s.now = time.Now
	}
	for _, id := range cfg.Identities {
		s.identities[id.AccessKeyID] = id
	}
	return s
}

// Check reports what is wrong with a configuration, all of it.
func (c Config) Check() error {
	var problems []error
	if c.Region == "" {
		problems = append(problems, errors.New("region is missing"))
	}
	seen := map[string]bool{}
	for i, id := range c.Identities {
		switch {
		case !keyIDShape.MatchString(id.AccessKeyID) || id.SecretAccessKey == "":
			problems = append(problems, fmt.Errorf("identities[%d]: access_key_id and secret_access_key are needed", i))
		case seen[id.AccessKeyID]:
			problems = append(problems, fmt.Errorf("identities[%d]: %s is there twice", i, id.AccessKeyID))
		case id.ARN == "" || id.UserID == "" || id.Account == "":
			problems = append(problems, fmt.Errorf("identities[%d]: arn, user_id and account are needed", i))
		}
		seen[id.AccessKeyID] = true
	}
	for arn := range c.Roles {
		if _, ok := parseRole(arn); !ok {
			problems = append(problems, fmt.Errorf("roles: %q is not the arn of a role", arn))
		}
	}
	for _, arn := range c.WebTokens {
		if _, ok := c.Roles[arn]; !ok {
			problems = append(problems, fmt.Errorf("web_tokens: %q is not among the roles", arn))
		}
	}
	for i, g := range c.Grants {
		if g.Token == "" || g.Account == "" || g.RoleName == "" {
			problems = append(problems, fmt.Errorf("sso_tokens[%d]: token, account and role_name are needed", i))
		} else if _, ok := parseRole(g.ARN); g.ARN != "" && !ok {
			problems = append(problems, fmt.Errorf("sso_tokens[%d]: %q is not the arn of a role", i, g.ARN))
		}
	}
	return errors.Join(problems...)
}

// Host is the Host header that a caller has to sign.
func (s *STS) Host() string { return s.host }

// Calls returns the counts so far.
func (s *STS) Calls() Calls {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.calls
	c.Refusals = maps.Clone(c.Refusals)
	return c
}

// SetIdentity adds an identity, or replaces that of the same access key.
func (s *STS) SetIdentity(id Identity) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.identities[id.AccessKeyID] = id
}

// SetDelay makes every answer wait that long, or until the caller has gone.
func (s *STS) SetDelay(d time.Duration) { s.set(func(f *faults) { f.delay = d }) }

// SetDown makes every answer the 503 page of a load balancer.
func (s *STS) SetDown(down bool) { s.set(func(f *faults) { f.down = down }) }

// SetThrottle makes every answer a refusal with Throttling.
func (s *STS) SetThrottle(throttle bool) { s.set(func(f *faults) { f.throttle = throttle }) }

// SetAnswer makes fn answer every request; nil restores the STS. fn may read the body.
func (s *STS) SetAnswer(fn func(http.ResponseWriter, *http.Request)) {
	s.set(func(f *faults) { f.answer = fn })
}

func (s *STS) set(change func(*faults)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.faults)
}

// ServeHTTP answers one request.
func (s *STS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return // the caller has gone
	}
	form, action := s.arrive(r, body)
	if !s.wait(r) {
		return
	}
	if s.fault(w, r, body) {
		return
	}
	a := s.answer(r, body, form, action)
	s.note(a)
	a.write(w)
}

// arrive counts a request and returns what it asks for.
func (s *STS) arrive(r *http.Request, body []byte) (form url.Values, action string) {
	path, query := target(r)
	if path == portalPath {
		action = actionPortal
	} else if path == "/" && len(body) <= maxBody {
		text := query
		if r.Method == http.MethodPost {
			text = string(body)
		}
		form, _ = url.ParseQuery(text) // what cannot be read asks for nothing
		if len(form["Action"]) == 1 {
			action = form.Get("Action")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls.Total++
	switch action {
	case actionIdentity:
		s.calls.GetCallerIdentity++
	case actionRole:
		s.calls.AssumeRole++
	case actionWeb:
		s.calls.AssumeRoleWithWebIdentity++
	case actionPortal:
		s.calls.GetRoleCredentials++
	}
	return form, action
}

// wait returns false when the caller left meanwhile.
func (s *STS) wait(r *http.Request) bool {
	s.mu.Lock()
	delay := s.faults.delay
	s.mu.Unlock()
	if delay <= 0 {
		return true
	}
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// fault answers as a fault that is switched on says; false when none is.
func (s *STS) fault(w http.ResponseWriter, r *http.Request, body []byte) bool {
	s.mu.Lock()
	f := s.faults
	on := f.answer != nil || f.down || f.throttle
	if on {
		s.calls.Faults++
	}
	s.mu.Unlock()
	switch {
	case f.answer != nil:
		r.Body = io.NopCloser(bytes.NewReader(body))
		f.answer(w, r)
	case f.down:
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<html><body><b>Http/1.1 Service Unavailable</b></body> </html>\n")
	case f.throttle:
		refusal(http.StatusBadRequest, "Throttling", "Rate exceeded").write(w)
	}
	return on
}

// note counts an answer.
func (s *STS) note(a answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.code == "" {
		s.calls.Answered++
		return
	}
	s.calls.Refused++
	s.calls.Refusals[a.code]++
}

// isLoopback reports whether a Host header names a loopback address.
func isLoopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	ip := net.ParseIP(strings.Trim(host, "[]"))
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
