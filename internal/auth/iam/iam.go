// Package iam proves AWS identities: it hands out challenges, exchanges a proof for
// a session by asking STS about a request that it built itself, and knows its own
// sessions again.
//
// It promises that nothing of a caller but five checked values reaches the network,
// and that to one pinned endpoint; that a proof works once, at this cluster, over
// this TLS key; that what can be refused without asking STS is; that nothing grows
// without bound with unauthenticated input; and that a refusal before proof says
// the same whatever failed. docs/adr/0014-iam-by-reconstruction.md says why.
//
// It must not decide what a proven identity may do (policy), nor write the audit
// (guard), nor read HTTP requests (httpapi).
package iam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
)

// Bounds of a session's life, and of what may be asked.
const (
	DefaultSessionTTL = 15 * time.Minute
	MinSessionTTL     = time.Minute
	MaxSessionTTL     = time.Hour
)

// Limits bound what callers without a session can cause. Zero members take the
// default.
type Limits struct {
	AddressPerSecond float64 // exchanges of one address (of one /64 in IPv6); default 5
	AddressBurst     int     // default 20
	STSPerSecond     float64 // calls to STS; default 20
	STSBurst         int     // default 50
}

// Config says whose identities are proven, and how.
type Config struct {
	Account     string // 12 digits: identities of any other account are refused
	Partition   string // aws, aws-cn, …
	Region      string
	ClusterName string
	STS         *STS          // the pinned endpoint
	SessionTTL  time.Duration // 0: DefaultSessionTTL
	RotateEvery time.Duration // of the keys; 0: a day. At least twice MaxSessionTTL
	Shared      store.Shared  // what replicas of this operator agree on
	Fingerprint func() string // of the certificate that callers see
	Limits      Limits
	Telemetry   *telemetry.Registry
	Log         *slog.Logger
	Now         func() time.Time // nil: time.Now
}

// IAM is a verifier. Make one with New; its methods may be called at once.
type IAM struct {
	cfg       Config
	clusterID string
	keys      *keyring
	addresses *addressLimiter
	global    *rate.Limiter
	refused   *memory // proofs and keys that STS has refused
	used      *memory // nonces that are claimed, for replays that need not ask for it
	counts    counts
	sessions  atomic.Pointer[sessionCache]
	calls     atomic.Pointer[callCache]
}

// New reads or makes the cluster's id and keys. It starts nothing.
func New(ctx context.Context, cfg Config) (*IAM, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	uid, err := clusterUID(ctx, cfg.Shared)
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's id: %w", err)
	}
	v := &IAM{
		cfg:       cfg,
		clusterID: cfg.ClusterName + "/" + cfg.Region + "/" + uid,
		addresses: newAddressLimiter(cfg.Limits, cfg.Now),
		global:    rate.NewLimiter(rate.Limit(cfg.Limits.STSPerSecond), cfg.Limits.STSBurst),
		refused:   newMemory(maxRemembered, rememberFor, cfg.Now),
		used:      newMemory(maxRemembered, claimLife, cfg.Now),
	}
	v.keys = &keyring{shared: cfg.Shared, every: cfg.RotateEvery, now: cfg.Now, log: cfg.Log, changed: v.forgetTokens}
	v.forgetTokens()
	if err := v.keys.load(ctx); err != nil {
		return nil, fmt.Errorf("reading the keys of sessions: %w", err)
	}
	if err := v.Challenge().Check(); err != nil {
		return nil, fmt.Errorf("clients would refuse the challenge: %w", err)
	}
	v.counts.register(cfg.Telemetry)
	return v, nil
}

func (c *Config) complete() error {
	defaults := func(v *float64, d float64) {
		if *v == 0 {
			*v = d
		}
	}
	defaults(&c.Limits.AddressPerSecond, 5)
	defaults(&c.Limits.STSPerSecond, 20)
	if c.Limits.AddressBurst == 0 {
		c.Limits.AddressBurst = 20
	}
	if c.Limits.STSBurst == 0 {
		c.Limits.STSBurst = 50
	}
	if c.SessionTTL == 0 {
		c.SessionTTL = DefaultSessionTTL
	}
	if c.RotateEvery == 0 {
		c.RotateEvery = 24 * time.Hour
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	switch {
	case !auth.IsAccount(c.Account):
		return errors.New("an account id has 12 digits")
	case !auth.IsRegion(c.Region):
		return fmt.Errorf("%q is not a region", c.Region)
	case c.SessionTTL < MinSessionTTL || c.SessionTTL > MaxSessionTTL:
		return fmt.Errorf("a session lives %s to %s, not %s", MinSessionTTL, MaxSessionTTL, c.SessionTTL)
	case c.RotateEvery < 2*MaxSessionTTL:
		return fmt.Errorf("keys rotate at most every %s: a session must outlive no key", 2*MaxSessionTTL)
	case c.STS == nil || c.Shared == nil || c.Fingerprint == nil || c.Partition == "" || c.ClusterName == "":
		return errors.New("the configuration is incomplete")
	}
	return nil
}

// forgetTokens drops what was verified with other keys than those in use.
func (v *IAM) forgetTokens() {
	v.sessions.Store(newSessionCache())
	v.calls.Store(newCallCache())
}

// ClusterID is the audience of every proof and session: the cluster's name and
// region, and what makes it another one than one of the same name before it.
func (v *IAM) ClusterID() string { return v.clusterID }

// Run rotates the keys, and sees when another replica has, until ctx ends.
func (v *IAM) Run(ctx context.Context) error { return v.keys.run(ctx) }

// Revoke replaces every key: sessions and challenges that are out are worthless,
// at once here and within seconds at other replicas.
func (v *IAM) Revoke(ctx context.Context) error { return v.keys.replace(ctx) }

// Challenge returns what a proof has to be bound to.
func (v *IAM) Challenge() auth.Challenge {
	now := v.cfg.Now()
	return auth.Challenge{
		ClusterID: v.clusterID, Region: v.cfg.Region, Partition: v.cfg.Partition,
		Nonce: newNonce(v.keys.current(), v.clusterID, now), ExpiresAt: now.Add(nonceLife).UTC().Truncate(time.Second),
		TLSFingerprint: v.cfg.Fingerprint(),
	}
}

// Exchange turns a proof into a session, or says why not: see Reason. The ladder
// is in the order of cost: what needs no state, what needs ours, what needs STS.
func (v *IAM) Exchange(ctx context.Context, from netip.Addr, body []byte) (auth.Session, error) {
	session, err := v.exchange(ctx, from, body)
	v.counts.rejected(err)
	return session, err
}

func (v *IAM) exchange(ctx context.Context, from netip.Addr, body []byte) (auth.Session, error) {
	if !v.addresses.allow(from) {
		return auth.Session{}, tooMany(ReasonLimit)
	}
	proof, err := ReadProof(body)
	if err != nil {
		return auth.Session{}, err
	}
	now := v.cfg.Now()
	if !dateFits(proof.AMZDate, now) {
		return auth.Session{}, unproven(ReasonDate)
	}
	if !v.keys.fresh(ctx, proof.Nonce, v.clusterID, now) {
		return auth.Session{}, unproven(ReasonNonce)
	}
	if v.refused.has(proofKey(proof)) || v.refused.has(credentialKey(proof)) {
		v.counts.remembered.Add(1)
		return auth.Session{}, unproven(ReasonSTS)
	}
	if v.used.has(nonceKey(proof)) {
		return auth.Session{}, unproven(ReasonReplay)
	}
	// Before the nonce is used up: a caller who is told to wait may send the same again.
	if !v.global.AllowN(now, 1) {
		return auth.Session{}, tooMany(ReasonLimit)
	}
	// Before STS is asked: of many equal proofs at once, at all replicas together,
	// one goes on.
	err = v.cfg.Shared.Claim(ctx, "nonce-"+proof.Nonce, claimLife)
	if err == nil || fault.Is(err, fault.Conflict) {
		v.used.add(nonceKey(proof))
	}
	switch {
	case fault.Is(err, fault.Conflict):
		return auth.Session{}, unproven(ReasonReplay)
	case err != nil:
		v.cfg.Log.Error("a proof could not be marked as used", "error", err)
		return auth.Session{}, unavailable(ReasonStore)
	}
	who, err := v.ask(ctx, proof)
	if err != nil {
		return auth.Session{}, err
	}
	// A challenge from before a Revoke makes no session after it: one that comes
	// before this look is seen, one that comes after it ends the session too.
	k := v.keys.current()
	if !v.keys.fresh(ctx, proof.Nonce, v.clusterID, now) {
		return auth.Session{}, unproven(ReasonNonce)
	}
	return v.mint(k, who)
}

// ask has STS say whose proof it is, and makes sure that it is one of ours.
func (v *IAM) ask(ctx context.Context, proof auth.Proof) (auth.Principal, error) {
	begun := time.Now()
	who, err := v.cfg.STS.identify(ctx, auth.Binding{
		Host: v.cfg.STS.host, Region: v.cfg.Region, ClusterID: v.clusterID,
		TLSFingerprint: v.cfg.Fingerprint(), Nonce: proof.Nonce,
	}, proof, func() bool { return v.global.AllowN(v.cfg.Now(), 1) }) // the second attempt is a call too
	v.counts.asked(err, time.Since(begun))
	switch Reason(err) {
	case "":
	case ReasonSTS:
		v.refused.add(proofKey(proof))
		if errors.Is(err, errNoSuchKey) {
			// Not when only the signature is wrong: anybody could do that in the name
			// of somebody else's key.
			v.refused.add(credentialKey(proof))
		}
		return who, err
	default:
		v.cfg.Log.Warn("an identity could not be checked", "reason", Reason(err), "cause", causeOf(err))
		return who, err
	}
	if who.Account != v.cfg.Account || who.Partition != v.cfg.Partition {
		return who, otherAccount(who)
	}
	return who, nil
}
