// Package access decides who may call an API, and how much: by keys that callers show, and
// by limits of rates, of requests at once and of quotas.
//
// It promises that a request which is refused costs less than one that is let in, takes
// nothing from any limit and reaches nobody; that a key which is taken out of the ring is
// good for nothing from then on; that a limit is exact however many ask at once; and that
// what it remembers of callers is bounded.
//
// It must not know HTTP beyond the words of its refusals, nor where keys are kept.
package access

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// Request is what is decided by. Its slices are only read.
type Request struct {
	Method, Path  []byte // the path below the endpoint, with its query
	Authorization []byte // the value of the field; nil: there is none
	APIKey        []byte // likewise, X-API-Key
	Twice         bool   // one of these came more than once
	Address       netip.Addr
}

// Caller is who calls.
type Caller struct {
	Name    string // whom limits count, one for all credentials; empty: nobody who was asked
	Subject string // who that is where the credential is from
	Label   string // what to call it
	Field   string // that proved it, in lower case
}

// Policy is who may call one API, and how much. All methods may be called at once.
type Policy struct {
	api      string
	auth     *workload.Auth
	tokens   *tokens // nil: none are accepted
	limits   []*limit
	policies string // the value of RateLimit-Policy; empty: there are no limits
}

// New compiles what a valid spec says; nil where everybody may call as much as they like.
// What callers have used of a limit stays used where before has the same one.
func New(spec *workload.Spec, before *Policy) *Policy {
	n := spec.Networking
	if n == nil || n.Auth == nil && len(n.Limits) == 0 {
		return nil
	}
	p := &Policy{api: spec.Name, auth: n.Auth}
	if p.Accepts(workload.AcceptJWT) && n.Auth.JWT != nil {
		p.tokens = newTokens(n.Auth.JWT)
	}
	for _, l := range n.Limits {
		made := newLimit(l)
		if before != nil {
			if i := slices.IndexFunc(before.limits, func(b *limit) bool { return b.spec == l }); i >= 0 {
				made = before.limits[i]
			}
		}
		p.limits = append(p.limits, made)
		if p.policies != "" {
			p.policies += ", "
		}
		p.policies += made.line
	}
	// What can be given back exactly comes first.
	slices.SortStableFunc(p.limits, func(a, b *limit) int { return a.order() - b.order() })
	return p
}

func (l *limit) order() int {
	switch {
	case l.interval > 0:
		return 1
	case l.window > 0:
		return 2
	}
	return 0
}

// Grant is the leave of one request, until Done.
type Grant struct {
	Caller Caller
	// RateLimit is the value of that field of the answer, and RateLimitPolicy of the other;
	// empty: no limit is about the request.
	RateLimit       []byte
	RateLimitPolicy string

	taken []taken
}

// taken is what a request has of one limit.
type taken struct {
	of   *limit
	c    *cell
	over bool // what lasts as long as the request was given back
}

// Release gives back what is taken for as long as a request is worked on: who has the answer
// may send the next one. It may be called before Done, once.
func (g *Grant) Release() {
	for i := range g.taken {
		if t := &g.taken[i]; t.of.order() == 0 && !t.over {
			t.over = true
			t.c.n.Add(-1)
		}
	}
}

// Done ends a grant, and is Release where that was not called. It is called once.
func (g *Grant) Done() {
	g.Release()
	for _, t := range g.taken {
		t.of.cells.release(t.c)
	}
	*g = Grant{RateLimit: g.RateLimit[:0], taken: g.taken[:0]}
}

// Accepts reports whether it takes a kind of credential.
func (p *Policy) Accepts(kind string) bool { return p.Asks() && slices.Contains(p.auth.Accept, kind) }

// JWT is what it asks of tokens; nil: it takes none.
func (p *Policy) JWT() *workload.JWT {
	if p == nil || p.tokens == nil {
		return nil
	}
	return &p.tokens.spec
}

// ByAddress reports whether a limit is of addresses.
func (p *Policy) ByAddress() bool {
	return p != nil && slices.ContainsFunc(p.limits, func(l *limit) bool { return l.spec.Per == workload.PerAddress })
}

// Asks reports whether it asks who calls.
func (p *Policy) Asks() bool { return p != nil && p.auth != nil }

// Admit says who calls, and takes the request from every limit, in g, which was never used
// or is done. Not nil: it is refused, and nothing was taken. A nil Policy lets everybody in.
func (p *Policy) Admit(g *Grant, by Proofs, r *Request, now time.Time) *Refusal {
	if p == nil {
		return nil
	}
	if refused := p.identify(&g.Caller, by, r, now); refused != nil {
		return refused
	}
	return p.take(g, p.limits, r, now.UnixNano())
}

// AdmitBehind is Admit of an API to which a splitter sends a request that its own policy,
// first, has let in: who calls is found out if that has not asked, and of the limits only
// those of requests at once apply. Where it refuses, nothing is kept of first's either.
func (p *Policy) AdmitBehind(g *Grant, first *Policy, by Proofs, r *Request, now time.Time) *Refusal {
	if p == nil {
		return nil
	}
	if !first.Asks() {
		if refused := p.identify(&g.Caller, by, r, now); refused != nil {
			g.undo(now.UnixNano())
			return refused
		}
	}
	limits := p.limits
	for i, l := range limits {
		if l.order() > 0 {
			limits = limits[:i]
			break
		}
	}
	return p.take(g, limits, r, now.UnixNano())
}

// take takes r from limits, all or none, and where it is none, gives back what g had.
func (p *Policy) take(g *Grant, limits []*limit, r *Request, at int64) *Refusal {
	if len(limits) == 0 {
		return nil
	}
	if g.RateLimitPolicy == "" {
		g.RateLimitPolicy = p.policies
	}
	for _, l := range limits {
		c := &l.cells.one
		switch {
		case l.spec.Per == workload.PerCaller && g.Caller.Name == "":
			continue // what anybody may ask for has no caller
		case l.spec.Per == workload.PerCaller:
			c = l.cells.get(who{caller: g.Caller.Name}, at, l.idle)
		case l.spec.Per == workload.PerAddress:
			c = l.cells.get(who{address: household(r.Address)}, at, l.idle)
		}
		left, ok := l.take(c, at)
		if !ok {
			l.cells.release(c)
			refused := l.refuse(left, p.policies)
			refused.Caller = g.Caller.Name
			g.undo(at)
			return refused
		}
		g.taken = append(g.taken, taken{of: l, c: c})
		if len(g.RateLimit) > 0 {
			g.RateLimit = append(g.RateLimit, ", "...)
		}
		g.RateLimit = l.appendState(g.RateLimit, left)
	}
	return nil
}

// undo gives everything back.
func (g *Grant) undo(now int64) {
	for _, t := range g.taken {
		t.of.giveBack(t.c, now)
		t.of.cells.release(t.c)
	}
	*g = Grant{RateLimit: g.RateLimit[:0], taken: g.taken[:0]}
}

// identify says who calls.
func (p *Policy) identify(c *Caller, by Proofs, r *Request, now time.Time) *Refusal {
	*c = Caller{}
	if p.auth == nil || p.open(r) {
		return nil
	}
	if r.Twice {
		return unauthorized("key_malformed", "the request has two Authorization or X-API-Key fields")
	}
	text, bearer := bearerOf(r.Authorization)
	field := "authorization"
	switch {
	case bearer && bytes.HasPrefix(r.APIKey, []byte(prefix)): // one of them would reach the container
		return unauthorized("key_malformed", "Authorization and X-API-Key both have a credential: send it in one of them")
	case bearer:
	case r.APIKey != nil:
		text, field = r.APIKey, "x-api-key"
	case r.Authorization != nil:
		return unauthorized("key_malformed", "Authorization is of another scheme: it is to be Bearer and "+p.asksFor())
	case bytes.Contains(r.Path, []byte(prefix)):
		return missing("keys are not read from the address, which logs have: send Authorization: Bearer and the key. That key should be revoked")
	default:
		return missing("this API asks who calls: send Authorization: Bearer and " + p.asksFor())
	}
	refused := p.prove(c, by, text, bearer, now)
	if refused == nil {
		c.Field = field
	}
	return refused
}

// prove says whose credential a text is; bearer says that it may be another one than a key.
func (p *Policy) prove(c *Caller, by Proofs, text []byte, bearer bool, now time.Time) *Refusal {
	if p.Accepts(workload.AcceptIAM) && bearer && bytes.HasPrefix(text, []byte(sessionPrefix)) {
		return p.identifySession(c, by.Sessions, text, now)
	}
	if p.tokens != nil && bearer && !bytes.HasPrefix(text, []byte(prefix)) {
		known, refused := p.tokens.verify(text, by.Issuers, now)
		if refused == nil {
			*c = *known
		}
		return refused
	}
	if !p.Accepts(workload.AcceptKeys) {
		return unauthorized("key_malformed", "this API takes no keys, but "+p.asksFor())
	}
	k, refused := by.Keys.verify(text, p.api, now)
	if refused == nil {
		*c = Caller{Name: k.Name, Subject: k.Name, Label: k.Name}
	}
	return refused
}

// Proofs is what credentials are verified by.
type Proofs struct {
	Keys    *Keyring
	Issuers *Issuers // nil where no API takes tokens
	// Sessions returns what a session for calls says; false: it is none. Nil where nobody
	// proves identities.
	Sessions func(token []byte) (Session, bool)
}

// identifySession is identify by a session for calls.
func (p *Policy) identifySession(c *Caller, sessions func([]byte) (Session, bool), text []byte, now time.Time) *Refusal {
	var s Session
	known := false
	if sessions != nil {
		s, known = sessions(text)
	}
	switch {
	case !known:
		return unauthorized("session_unknown", "this session for calls is none, or was ended; cortex token makes another")
	case !now.Before(s.Expires):
		return unauthorized("session_expired", "this session for calls has expired; cortex token makes another")
	case !slices.Contains(s.APIs, p.api):
		return notAllowed("this session is not for this API")
	}
	*c = Caller{Name: s.Identity, Subject: s.Identity, Label: s.Label}
	return nil
}

// asksFor is which credentials it takes, in words.
func (p *Policy) asksFor() string {
	words := map[string]string{workload.AcceptKeys: "a key", workload.AcceptJWT: "a token", workload.AcceptIAM: "a session of cortex token"}
	var all []string
	for _, kind := range p.auth.Accept {
		all = append(all, words[kind])
	}
	return strings.Join(all, " or ")
}

// open reports whether anybody may ask for it.
func (p *Policy) open(r *Request) bool {
	path := r.Path
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if len(path) == 0 {
		path = []byte("/")
	}
	for i := range p.auth.Allow {
		a := &p.auth.Allow[i]
		if !a.Anyone || len(a.Methods) > 0 && !has(a.Methods, r.Method) {
			continue
		}
		if has(a.Paths, path) {
			return true
		}
	}
	return false
}

func has(texts []string, text []byte) bool {
	return slices.ContainsFunc(texts, func(t string) bool { return t == string(text) })
}

// Forwards reports whether the container is told a word of workload.Auth.
func (p *Policy) Forwards(word string) bool {
	return p.Asks() && slices.Contains(p.auth.Forward, word)
}

// bearerOf returns what an Authorization field of that scheme carries.
func bearerOf(field []byte) ([]byte, bool) {
	const scheme = "bearer "
	if len(field) < len(scheme) || !bytes.EqualFold(field[:len(scheme)], []byte(scheme)) {
		return nil, false
	}
	return bytes.TrimLeft(field[len(scheme):], " "), true
}

// household is what stands for an address: whoever has one of IPv6 has its /64.
func household(a netip.Addr) (key [16]byte) {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return key
	}
	key = a.As16()
	if a.Is6() {
		clear(key[8:])
	}
	return key
}

// Quotas calls fn for every quota that begins with nothing used, with when its window began,
// and has it begin with what fn returns: what each caller has used since, and all of them
// together by no name. Addresses begin anew.
func (p *Policy) Quotas(now time.Time, fn func(since time.Time) (map[string]int64, error)) error {
	if p == nil {
		return nil
	}
	for _, l := range p.limits {
		if l.window == 0 || l.spec.Per == workload.PerAddress || !l.fresh {
			continue
		}
		at := now.UnixNano()
		used, err := fn(time.Unix(0, at/l.window*l.window))
		if err != nil {
			return err
		}
		for caller, n := range used {
			if c := &l.cells.one; l.spec.Per == workload.PerCaller && caller != "" {
				c = l.cells.get(who{caller: caller}, at, l.idle)
				l.begin(c, at, n)
				l.cells.release(c)
			} else if l.spec.Per == "" && caller == "" {
				l.begin(c, at, n)
			}
		}
		l.fresh = false
	}
	return nil
}
