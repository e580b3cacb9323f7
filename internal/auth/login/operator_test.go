package login

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/fault"
)

const (
	testRegion  = "us-west-2"
	testAccount = "111122223333"
	testCluster = "cortex/us-west-2/3f2a"
	testTLS     = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	otherTLS    = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
)

// operator verifies proofs for real: it rebuilds the request from its own values
// and has an STS judge the signature. Over HTTP it is reached by remote.
type operator struct {
	sts    *authtest.STS
	stsURL string
	url    string

	mu         sync.Mutex
	challenge  auth.Challenge
	seen       string // the fingerprint that the client sees
	life       time.Duration
	challenges int
	exchanges  int
	shown      []string // signatures, nonces and tokens that must not be seen elsewhere
	date       time.Time
}

// users are those of the account, and whether their keys have a session token.
var users = map[string]bool{
	"env": false, "envtoken": true, "dev": false, "devtoken": true, "default": false, "deftoken": true, "proc": true, "box": true, "ec2": true,
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	const role = "arn:aws:iam::" + testAccount + ":role/"
	cfg := authtest.Config{
		Region:    testRegion,
		Roles:     map[string]authtest.Role{role + "Deployer": {}, role + "Web": {}},
		WebTokens: map[string]string{"web-identity-token-eyJhbGciOi": role + "Web"},
		Grants:    []authtest.Grant{{Token: "sso-access-token-aoaAAA", Account: testAccount, RoleName: "Admin"}},
	}
	for user, withToken := range users {
		cfg.Identities = append(cfg.Identities, authtest.User(testAccount, user, withToken))
	}
	sts := authtest.NewSTS(cfg)
	server := httptest.NewServer(sts)
	t.Cleanup(server.Close)
	o := &operator{
		sts: sts, stsURL: server.URL, seen: testTLS, life: 15 * time.Minute,
		challenge: auth.Challenge{
			ClusterID: testCluster, Region: testRegion, Partition: "aws", TLSFingerprint: testTLS, Nonce: "set for each challenge",
		},
	}
	wire := httptest.NewServer(o.handler())
	t.Cleanup(wire.Close)
	o.url = wire.URL
	return o
}

// secrets are what no text of the package may contain.
func (o *operator) secrets() []string {
	all := []string{"web-identity-token-eyJhbGciOi", "sso-access-token-aoaAAA"}
	for user := range users {
		all = append(all, authtest.SecretOf(user), authtest.SessionOf(user))
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return append(all, o.shown...)
}

func (o *operator) counts() (challenges, exchanges int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.challenges, o.exchanges
}

func (o *operator) Challenge(context.Context) (auth.Challenge, string, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.challenges++
	ch := o.challenge
	if ch.Nonce == "set for each challenge" {
		ch.Nonce = fmt.Sprintf("nonce-%08d-of-the-operator", o.challenges)
	}
	ch.ExpiresAt = time.Now().Add(time.Minute)
	o.shown = append(o.shown, ch.Nonce)
	return ch, o.seen, nil
}

func (o *operator) Exchange(ctx context.Context, p auth.Proof) (auth.Session, error) {
	o.mu.Lock()
	o.exchanges++
	n := o.exchanges
	o.shown = append(o.shown, p.Signature)
	if p.SecurityToken != "" {
		o.shown = append(o.shown, p.SecurityToken)
	}
	o.mu.Unlock()
	principal, err := o.prove(ctx, p)
	if err != nil {
		return auth.Session{}, fault.New(fault.Unproven, "endpoints.auth_invalid", "the identity is not proven")
	}
	s := auth.Session{
		Token: fmt.Sprintf("cs1.session-%d.%s", n, sumOf(p.Signature)), ExpiresAt: time.Now().Add(o.life), ClusterID: testCluster, Principal: principal,
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shown = append(o.shown, s.Token)
	return s, nil
}

var answered = regexp.MustCompile(`<Arn>(.*)</Arn>\s*<UserId>(.*)</UserId>\s*<Account>(.*)</Account>`)

// prove asks the STS who has signed.
func (o *operator) prove(ctx context.Context, p auth.Proof) (auth.Principal, error) {
	req, err := auth.CallerIdentity(ctx, o.stsURL+"/", auth.Binding{
		Host: "sts." + testRegion + ".amazonaws.com", Region: testRegion, ClusterID: testCluster, TLSFingerprint: testTLS, Nonce: p.Nonce,
	}, p.AMZDate, p.SecurityToken)
	if err != nil {
		return auth.Principal{}, err
	}
	auth.Complete(req, p, testRegion)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return auth.Principal{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return auth.Principal{}, err
	}
	m := answered.FindSubmatch(body)
	if resp.StatusCode != http.StatusOK || m == nil {
		return auth.Principal{}, errors.New(string(body))
	}
	return auth.ParseIdentity(string(m[1]), string(m[2]), string(m[3]))
}

func (o *operator) ServerDate() time.Time { return o.date }

type seenChallenge struct {
	Challenge auth.Challenge
	Seen      string
}

func (o *operator) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /challenge", func(w http.ResponseWriter, r *http.Request) {
		ch, seen, _ := o.Challenge(r.Context())
		_ = json.NewEncoder(w).Encode(seenChallenge{ch, seen})
	})
	mux.HandleFunc("POST /session", func(w http.ResponseWriter, r *http.Request) {
		var p auth.Proof
		dec := json.NewDecoder(r.Body)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&p); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		s, err := o.Exchange(r.Context(), p)
		if err != nil {
			w.WriteHeader(fault.HTTPStatus(err))
			_ = json.NewEncoder(w).Encode(fault.From(err))
			return
		}
		_ = json.NewEncoder(w).Encode(s)
	})
	return mux
}

// remote is an operator in another process.
type remote struct{ url string }

func (r *remote) Challenge(ctx context.Context) (auth.Challenge, string, error) {
	var got seenChallenge
	err := r.call(ctx, http.MethodGet, "/challenge", nil, &got)
	return got.Challenge, got.Seen, err
}

func (r *remote) Exchange(ctx context.Context, p auth.Proof) (auth.Session, error) {
	var s auth.Session
	err := r.call(ctx, http.MethodPost, "/session", p, &s)
	return s, err
}

func (r *remote) call(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, r.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		f := &fault.Fault{}
		if err := json.NewDecoder(resp.Body).Decode(f); err != nil {
			return err
		}
		return f
	}
	return json.NewDecoder(resp.Body).Decode(out)
}
