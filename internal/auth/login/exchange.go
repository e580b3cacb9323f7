package login

import (
	"context"
	"fmt"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/awscreds"
	"cortex.dev/cortex/internal/fault"
)

// exchange answers one challenge. The credentials are not looked at before the
// challenge is known to come from the right operator over an untouched connection.
func (l *Login) exchange(ctx context.Context) (session, error) {
	ch, seen, err := l.operator.Challenge(ctx)
	if err != nil {
		return session{}, err
	}
	if err := checkChallenge(ch, seen, l.endpoint, l.clusterID); err != nil {
		return session{}, err
	}
	host, err := stsHost(ctx, ch.Region)
	if err != nil {
		return session{}, malformed(l.endpoint, err)
	}
	l.mu.Lock()
	l.region = ch.Region
	l.mu.Unlock()
	k, err := l.credentials.Resolve(ctx, ch.Region)
	if err != nil {
		return session{}, err
	}
	proof, err := sign(ctx, k, auth.Binding{
		Host: host, Region: ch.Region, ClusterID: ch.ClusterID, TLSFingerprint: seen, Nonce: ch.Nonce,
	}, l.now())
	if err != nil {
		return session{}, err
	}
	got, err := l.operator.Exchange(ctx, proof)
	if err != nil {
		return session{}, l.refused(err, k)
	}
	if !isToken(got.Token) || got.ExpiresAt.IsZero() || got.ClusterID != ch.ClusterID {
		return session{}, fault.New(fault.Disconnected, "auth.session_malformed", "what %s answered is not a session of its cluster", l.endpoint).
			WithHint("check that it is the endpoint of an operator, and that it is of this release")
	}
	return session{
		Version: sessionVersion, Endpoint: l.endpoint, ClusterID: got.ClusterID, Token: awscreds.Hide(got.Token),
		ExpiresAt: got.ExpiresAt.UTC(), Principal: got.Principal, AccessKeyID: k.ID,
	}, nil
}

// checkChallenge reports why a challenge must not be answered.
func checkChallenge(ch auth.Challenge, seen, endpoint, clusterID string) error {
	if err := ch.Check(); err != nil {
		return malformed(endpoint, err)
	}
	if clusterID != "" && ch.ClusterID != clusterID {
		return otherCluster(endpoint, clusterID, ch.ClusterID)
	}
	if ch.TLSFingerprint != seen {
		return fault.New(fault.Forbidden, "auth.tls_mismatch",
			"the connection to %s is being intercepted: its certificate is not the operator's", endpoint).
			WithHint("nothing was sent; a proxy or load balancer that terminates TLS must pass connections through, or the operator must be given the certificate that it shows")
	}
	return nil
}

func malformed(endpoint string, err error) error {
	return fault.New(fault.Disconnected, "auth.challenge_malformed", "the challenge of %s cannot be answered: %s", endpoint, err).
		WithHint("check that it is the endpoint of an operator, and that it is of this release")
}

func otherCluster(endpoint, want, got string) error {
	return fault.New(fault.Forbidden, "auth.other_cluster", "the operator at %s is of cluster %q, and the environment was made for %q", endpoint, got, want).
		WithHint("nothing was sent; if the cluster was replaced on purpose, configure the environment again")
}

// maxSkew is the difference of clocks from which on it is named as the cause.
const maxSkew = time.Minute

// refused adds to an operator's refusal what only this side can know.
func (l *Login) refused(err error, k awscreds.Credentials) error {
	f := fault.From(err)
	switch f.Kind {
	case fault.Unproven:
	case fault.Malformed:
		// What we send is well-formed by itself; only the two together may not be.
		return f.WithHint("what %s gave does not belong together: temporary access keys (ASIA…) need their session token, "+
			"lasting ones (AKIA…) have none", k.Found.Source)
	default:
		return err
	}
	if hint := l.skew(); hint != "" {
		return f.WithHint("%s", hint)
	}
	hint := fmt.Sprintf("the proof was signed with %s from %s; the key must be active and of the cluster's account (see %s)",
		k.Found.AccessKeyID, k.Found.Source, k.Found.Look())
	if k.Token.Text() != "" {
		hint += ", and its session token must not have expired"
	}
	return f.WithHint("%s", hint)
}

// skew says how wrong the clock of this machine is, or nothing.
func (l *Login) skew() string {
	op, ok := l.operator.(dated)
	if !ok || op.ServerDate().IsZero() {
		return ""
	}
	ahead := l.now().Sub(op.ServerDate())
	where := "ahead of"
	if ahead < 0 {
		ahead, where = -ahead, "behind"
	}
	if ahead <= maxSkew {
		return ""
	}
	return fmt.Sprintf("the clock of this machine is %s %s the operator's, and a proof counts for a few minutes only: set the clock and try again",
		ahead.Round(time.Second), where)
}
