// Package login is the client's half of proving an AWS identity: it answers an
// operator's challenge with a signature, by the credentials that package awscreds finds,
// and keeps the session that it gets for it.
//
// It promises that what leaves this machine is an auth.Proof and nothing else;
// that a proof is good for one cluster over one TLS key, the one that was seen on
// the connection; that a kept session costs no request and no process, and does not
// start the SDK; that many processes at once exchange once; and that no error, log
// line or formatted value of it contains a secret, a token or a signature.
//
// It must not know HTTP routes or flags, and nothing of the server may import it.
//
// The folder of sessions is shared with the Python client: names, contents and
// locks are a format (see key.go and session.go).
package login

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/awscreds"
)

// Operator is the two calls of the protocol. An Operator that also has
// ServerDate() time.Time, the Date of its last answer, lets a refusal be explained
// by a clock that is wrong.
type Operator interface {
	// Challenge returns the operator's challenge and the fingerprint of the
	// certificate seen on the connection that carried it.
	Challenge(ctx context.Context) (auth.Challenge, string, error)
	// Exchange returns the session that a proof is worth. A proof that is refused
	// is fault.Unproven.
	Exchange(ctx context.Context, p auth.Proof) (auth.Session, error)
}

// dated is the optional part of an Operator.
type dated interface{ ServerDate() time.Time }

// Config is what a Login works with.
type Config struct {
	Operator Operator
	// Endpoint is the operator's address in its canonical form, as in cli.yaml. It
	// is part of the name of the kept session.
	Endpoint string
	// ClusterID is the cluster that the environment was made for. When it is known,
	// the challenge of another one is refused.
	ClusterID string
	// Dir is the folder of session files. It is created (mode 0700) when it is
	// needed. Without one, or when it cannot be written, a session lives as long as
	// the Login does.
	Dir string
	// Getenv is the environment, as awscreds wants it.
	Getenv func(string) string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Login gets and keeps the session of one operator. Its methods may be called at
// once.
type Login struct {
	operator  Operator
	endpoint  string
	clusterID string
	dir       string
	now       func() time.Time
	jitter    func() time.Duration

	credentials awscreds.Resolver

	turn chan struct{} // who exchanges in this process

	mu      sync.Mutex
	memory  *memory // of a session that could not be kept
	warning string
	region  string // of the last challenge
}

type memory struct {
	key     string
	session session
}

// maxJitter spreads the renewals of clients whose sessions ended together, as
// after a change of the operator's keys.
const maxJitter = 250 * time.Millisecond

// minLeft is how much of its life a session must have left to be used: enough
// for one call to arrive.
const minLeft = 10 * time.Second

// New returns a Login and asks nobody anything yet.
func New(cfg Config) *Login {
	l := &Login{
		operator: cfg.Operator, endpoint: cfg.Endpoint, clusterID: cfg.ClusterID, dir: cfg.Dir,
		now: cfg.Now, credentials: awscreds.Resolver{Getenv: cfg.Getenv, Now: cfg.Now},
		jitter: func() time.Duration { return rand.N(maxJitter) },
		turn:   make(chan struct{}, 1),
	}
	if l.now == nil {
		l.now = time.Now
	}
	return l
}

// Format prints where the login leads, whatever the verb: what it holds is secret.
func (l *Login) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "login at "+l.endpoint) }

// Token returns the token of the kept session, or of a new one. With a kept
// session it reads that file and those that its name depends on, and does nothing
// else. Otherwise it resolves credentials, which may take 20 seconds and, with a
// credential_process, ask the user something.
//
// A session outlives a change that its name cannot see, such as another account
// behind a credential_process or another token in the file of a web identity,
// until it expires or is forgotten.
func (l *Login) Token(ctx context.Context) (string, error) {
	key := l.key()
	if s, ok := l.find(key); ok {
		return s.Token.Text(), nil
	}
	return l.renew(ctx, key, "")
}

// Renew returns another token than the one that was refused: the one that another
// process has got meanwhile, or that of a new exchange. It waits up to 250 ms
// first, so that the clients of one operator do not all come at once.
func (l *Login) Renew(ctx context.Context, refused string) (string, error) {
	pause := time.NewTimer(l.jitter())
	defer pause.Stop()
	select {
	case <-pause.C:
		return l.renew(ctx, l.key(), refused)
	case <-ctx.Done():
		return "", fmt.Errorf("renewing the session: %w", ctx.Err())
	}
}

// renew exchanges once for all who want the session of key, in this process and
// in others.
func (l *Login) renew(ctx context.Context, key, refused string) (string, error) {
	select {
	case l.turn <- struct{}{}:
		defer func() { <-l.turn }()
	case <-ctx.Done():
		return "", fmt.Errorf("waiting for the session: %w", ctx.Err())
	}
	unlock, locked := l.lock(ctx, key)
	defer unlock()
	if ctx.Err() != nil {
		return "", fmt.Errorf("waiting for the session that another process is getting: %w", ctx.Err())
	}
	if s, ok := l.find(key); ok && s.Token.Text() != refused {
		return s.Token.Text(), nil
	}
	s, err := l.exchange(ctx)
	if err != nil {
		return "", err
	}
	unkept := locked
	if locked == nil {
		unkept = l.save(key, s)
	}
	l.remember(key, s, unkept)
	return s.Token.Text(), nil
}

// remember holds a session in memory when it could not be kept, and why.
func (l *Login) remember(key string, s session, unkept error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.memory, l.warning = nil, ""
	if unkept != nil {
		l.memory = &memory{key: key, session: s}
	}
	if unkept != nil && l.dir != "" {
		l.warning = fmt.Sprintf("the session cannot be kept in %s (%v): each command proves the identity again", l.dir, unkept)
	}
}

// Warning is what a user should know though the last call went well, or "".
func (l *Login) Warning() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.warning
}

// find returns the session of key, from memory or the disk, if it can be used.
func (l *Login) find(key string) (session, bool) {
	l.mu.Lock()
	m := l.memory
	l.mu.Unlock()
	if m != nil && m.key == key && l.usable(m.session) {
		return m.session, true
	}
	if l.dir == "" {
		return session{}, false
	}
	s, err := readSession(l.sessionFile(key))
	if err != nil || !l.usable(s) {
		return session{}, false
	}
	return s, true
}

// usable reports whether s is a session of this operator with time left.
func (l *Login) usable(s session) bool {
	return s.Endpoint == l.endpoint && (l.clusterID == "" || s.ClusterID == l.clusterID) &&
		s.ExpiresAt.Sub(l.now()) > minLeft
}

// Kept is what is known of a session without its token.
type Kept struct {
	Endpoint    string
	ClusterID   string
	Principal   auth.Principal
	AccessKeyID string // masked
	ExpiresAt   time.Time
}

// Kept returns the session that Token would use, without asking anybody.
func (l *Login) Kept() (Kept, bool) {
	s, ok := l.find(l.key())
	if !ok {
		return Kept{}, false
	}
	return Kept{
		Endpoint: s.Endpoint, ClusterID: s.ClusterID, Principal: s.Principal,
		AccessKeyID: awscreds.MaskID(s.AccessKeyID), ExpiresAt: s.ExpiresAt,
	}, true
}

// Credentials resolves the credentials as for a proof and says which they are. A proof
// is of the cluster's region, whichever the user has configured.
func (l *Login) Credentials(ctx context.Context) (awscreds.Found, error) {
	l.mu.Lock()
	region := l.region
	l.mu.Unlock()
	k, err := l.credentials.Resolve(ctx, region)
	if err != nil {
		return awscreds.Found{}, err
	}
	return k.Found, nil
}
