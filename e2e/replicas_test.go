package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/certificate"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/store/bolt"
)

// replica is one operator in a process of its own.
type replica struct {
	*background
	client *httpapi.Client
}

// replicas is one cluster with two operators at one state.
type replicas struct {
	t     *testing.T
	sts   *authtest.STS
	all   [2]*replica
	state *bolt.Store // as a third replica would see it
}

// TestReplicas wants two processes that share nothing but a store and a
// certificate to be one operator: what is used up at one is used up at the other,
// a session of one counts at the other, and neither needs the other to live.
func TestReplicas(t *testing.T) {
	t.Parallel()
	c := newReplicas(t)
	ctx := t.Context()
	one, two := c.all[0], c.all[1]

	first, second := c.challenge(one), c.challenge(two)
	if first.ClusterID != second.ClusterID || first.TLSFingerprint != second.TLSFingerprint {
		t.Fatalf("Challenge() = cluster %s, certificate %s at one and %s, %s at the other, want the same",
			first.ClusterID, first.TLSFingerprint, second.ClusterID, second.TLSFingerprint)
	}

	// A nonce of one is good at the other, and at one of them only.
	proof := c.prove(first)
	session, err := two.client.Exchange(ctx, proof)
	if err != nil {
		t.Fatalf("Exchange() at one with a nonce of the other = %v, want a session", err)
	}
	for i, r := range c.all {
		if _, err := r.client.Exchange(ctx, proof); !fault.Is(err, fault.Unproven) {
			t.Errorf("Exchange() of a used proof at replica %d = %v, want a refusal", i, err)
		}
		c.accepted(r, session.Token)
	}
	if got := c.sts.Calls().GetCallerIdentity; got != 1 {
		t.Errorf("calls to STS = %d, want 1", got)
	}
	c.onlyOneOfMany(20)

	// Keys are rotated: nobody is logged out, and new sessions count at once.
	before := epochOf(t, c.challenge(one).Nonce)
	c.ageKeys()
	for i, r := range c.all {
		c.until("the keys of a replica are rotated", func() bool { return epochOf(t, c.challenge(r).Nonce) > before })
		c.accepted(r, session.Token)
		fresh := c.signIn(r)
		c.accepted(c.all[1-i], fresh)
	}

	// What one revokes is over at both, and everybody may come again.
	if err := one.client.WithSessions(held(session.Token)).RevokeSessions(ctx); err != nil {
		t.Fatalf("RevokeSessions() = %v", err)
	}
	if _, err := one.client.WithSessions(held(session.Token)).WhoAmI(ctx); !fault.Is(err, fault.Unproven) {
		t.Errorf("WhoAmI() with a revoked session, where it was revoked = %v, want a refusal", err)
	}
	c.until("the session is over at the other replica", func() bool {
		_, err := two.client.WithSessions(held(session.Token)).WhoAmI(ctx)
		return fault.Is(err, fault.Unproven)
	})
	again := c.signIn(two)
	c.accepted(one, again)

	// One dies; the other goes on with the sessions of both.
	if err := one.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-one.ended
	c.accepted(two, again)
	c.accepted(two, c.signIn(two))
}

func newReplicas(t *testing.T) *replicas {
	t.Helper()
	c := &replicas{t: t, sts: authtest.NewSTS(authtest.Config{Region: teamRegion, Identities: []authtest.Identity{people()["alice"]}})}
	sts := httptest.NewServer(c.sts)
	t.Cleanup(sts.Close)
	state, err := bolt.Open(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { state.Close() })
	c.state = state
	url := share(t, state)

	// Made before, so that the two do not both make one.
	folder := filepath.Join(t.TempDir(), "tls")
	source, err := certificate.Open(t.Context(), certificate.Config{Dir: folder, Names: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(source.Authority())
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	for i := range c.all {
		c.all[i] = c.start(replicaConfig{Shared: url, STS: sts.URL, TLS: folder}, roots)
	}
	return c
}

// start runs the test binary again, as a replica.
func (c *replicas) start(cfg replicaConfig, roots *x509.CertPool) *replica {
	c.t.Helper()
	work := c.t.TempDir()
	cfg.Dir = work
	value, err := json.Marshal(cfg)
	if err != nil {
		c.t.Fatal(err)
	}
	b, err := startCommand(work, "replica", exec.Command(os.Args[0]),
		append(os.Environ(), replicaVariable+"="+string(value), "GORACE="+raceOptions(work)))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-b.ended
		if report := races(work); report != "" {
			c.t.Error(report)
		}
	})
	endpoint, err := b.saying("listening on ")
	if err != nil {
		c.t.Fatal(err)
	}
	client, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: endpoint, TLS: &tls.Config{RootCAs: roots}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(client.Close)
	return &replica{b, client}
}

func (c *replicas) challenge(r *replica) auth.Challenge {
	c.t.Helper()
	ch, seen, err := r.client.Challenge(c.t.Context())
	if err != nil || seen != ch.TLSFingerprint {
		c.t.Fatalf("Challenge() = %+v over the certificate %s, %v", ch, seen, err)
	}
	return ch
}

// prove signs a challenge as Alice.
func (c *replicas) prove(ch auth.Challenge) auth.Proof {
	c.t.Helper()
	who, now := people()["alice"], time.Now().UTC()
	p := auth.Proof{AccessKeyID: who.AccessKeyID, AMZDate: now.Format(auth.DateLayout), Nonce: ch.Nonce}
	b := auth.Binding{Host: c.sts.Host(), Region: ch.Region, ClusterID: ch.ClusterID, TLSFingerprint: ch.TLSFingerprint, Nonce: ch.Nonce}
	req, err := auth.CallerIdentity(c.t.Context(), "https://"+b.Host+"/", b, p.AMZDate, "")
	if err != nil {
		c.t.Fatal(err)
	}
	keys := aws.Credentials{AccessKeyID: who.AccessKeyID, SecretAccessKey: who.SecretAccessKey}
	if err := v4.NewSigner().SignHTTP(c.t.Context(), keys, req, auth.ProofPayloadHash(), auth.ProofService, b.Region, now); err != nil {
		c.t.Fatal(err)
	}
	_, p.Signature, _ = strings.Cut(req.Header.Get("Authorization"), "Signature=")
	return p
}

func (c *replicas) signIn(r *replica) (token string) {
	c.t.Helper()
	s, err := r.client.Exchange(c.t.Context(), c.prove(c.challenge(r)))
	if err != nil {
		c.t.Fatalf("Exchange() = %v, want a session", err)
	}
	return s.Token
}

// held is a session that is not renewed.
type held string

func (h held) Token(context.Context) (string, error)         { return string(h), nil }
func (h held) Renew(context.Context, string) (string, error) { return string(h), nil }

func (c *replicas) accepted(r *replica, token string) {
	c.t.Helper()
	who, err := r.client.WithSessions(held(token)).WhoAmI(c.t.Context())
	if err != nil || who.Principal.ARN != people()["alice"].ARN {
		c.t.Fatalf("WhoAmI() = %s, %v, want %s", who.Principal, err, people()["alice"].ARN)
	}
	if _, err := r.client.WithSessions(held(token)).List(c.t.Context()); err != nil {
		c.t.Fatalf("List() = %v", err)
	}
}

// onlyOneOfMany sends one proof n times at once, to both.
func (c *replicas) onlyOneOfMany(n int) {
	c.t.Helper()
	before := c.sts.Calls().GetCallerIdentity
	proof := c.prove(c.challenge(c.all[0]))
	answers := make([]error, n)
	var begin, all sync.WaitGroup
	begin.Add(1)
	for i := range answers {
		all.Go(func() {
			begin.Wait()
			_, answers[i] = c.all[i%2].client.Exchange(c.t.Context(), proof)
		})
	}
	begin.Done()
	all.Wait()
	sessions := 0
	for _, err := range answers {
		if err == nil {
			sessions++
		} else if !fault.Is(err, fault.Unproven) {
			c.t.Errorf("Exchange() of one proof among %d = %v, want a session or a refusal", n, err)
		}
	}
	if asked := c.sts.Calls().GetCallerIdentity - before; sessions != 1 || asked != 1 {
		c.t.Errorf("one proof %d times at once, at both replicas: %d sessions and %d calls to STS, want 1 and 1", n, sessions, asked)
	}
}

// ageKeys makes the keys that are shared two days older, so that they are due.
func (c *replicas) ageKeys() {
	c.t.Helper()
	const name = "session-keys"
	data, version, err := c.state.Value(c.t.Context(), name)
	if err != nil || version == 0 {
		c.t.Fatalf("Value(%s) = version %d, %v", name, version, err)
	}
	var keys struct {
		Keys []map[string]any `json:"keys"`
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&keys); err != nil || len(keys.Keys) != 1 {
		c.t.Fatalf("the shared keys = %d keys, %v, want 1", len(keys.Keys), err)
	}
	keys.Keys[0]["created"] = time.Now().Add(-48 * time.Hour).UTC()
	if data, err = json.Marshal(keys); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.state.SetValue(c.t.Context(), name, data, version); err != nil {
		c.t.Fatalf("SetValue(%s) = %v", name, err)
	}
}

// until polls for what replicas do by themselves: within five seconds, or more on
// a machine that has much to do.
func (c *replicas) until(what string, holds func() bool) {
	c.t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			c.t.Fatalf("after %s it does not hold that %s", patience, what)
		}
		<-tick.C
	}
}

// epochOf is which key a nonce was made with.
func epochOf(t *testing.T, nonce string) uint32 {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil || len(b) < 5 {
		t.Fatalf("the nonce %s cannot be read: %v", nonce, err)
	}
	return binary.BigEndian.Uint32(b[1:])
}
