package login

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/awscreds"
	"cortex.dev/cortex/internal/fault"
)

func TestChallengesThatAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		cluster string
		change  func(*operator)
		code    string
		kind    fault.Kind
	}{
		{"relayed through another TLS key", "", func(o *operator) { o.seen = otherTLS }, "auth.tls_mismatch", fault.Forbidden},
		{"without TLS", "", func(o *operator) { o.seen = "" }, "auth.tls_mismatch", fault.Forbidden},
		{"of another cluster", "cortex/us-west-2/9999", func(*operator) {}, "auth.other_cluster", fault.Forbidden},
		{"with a region that is a host", "", func(o *operator) { o.challenge.Region = "evil.example.com/" }, "auth.challenge_malformed", fault.Disconnected},
		{"with a nonce that is two lines", "", func(o *operator) { o.challenge.Nonce = "aaaaaaaaaaaaaaaaaa\r\nx: y" }, "auth.challenge_malformed", fault.Disconnected},
		{"with no fingerprint", "", func(o *operator) { o.challenge.TLSFingerprint, o.seen = "", "" }, "auth.challenge_malformed", fault.Disconnected},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			tt.change(o)
			l := inProcess(t, o, func(c *Config) { c.ClusterID = tt.cluster })
			_, err := l.Token(t.Context())
			if fault.Code(err) != tt.code || !fault.Is(err, tt.kind) {
				t.Errorf("Token: %v (%s), want %s of kind %s", err, fault.Code(err), tt.code, tt.kind)
			}
			if _, n := o.counts(); n != 0 {
				t.Errorf("%d proofs were sent, want none", n)
			}
		})
	}
}

// A man in the middle who forwards the challenge and shows the operator's own
// fingerprint in it gets a signature over the fingerprint that was seen. So would
// one who tells us both: the operator, who knows its own, does not accept it.
func TestTheSeenFingerprintIsSigned(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	o.seen, o.challenge.TLSFingerprint = otherTLS, otherTLS
	if _, err := inProcess(t, o, nil).Token(t.Context()); fault.Code(err) != "endpoints.auth_invalid" {
		t.Errorf("Token over another TLS key: %v, want endpoints.auth_invalid", err)
	}
	if c := o.sts.Calls(); c.Refusals["SignatureDoesNotMatch"] != 1 {
		t.Errorf("STS refused %v, want one SignatureDoesNotMatch", c.Refusals)
	}
}

func TestHintsAfterARefusal(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, tt := range []struct {
		name  string
		clock time.Duration // of this machine, from now
		date  time.Time     // of the operator
		want  []string
		not   string
	}{
		{"clock ahead", 30 * time.Minute, now, []string{"30m0s ahead of the operator's", "set the clock"}, "get-caller-identity"},
		{"clock behind", -time.Hour, now, []string{"1h0m0s behind the operator's"}, "get-caller-identity"},
		{"clock nearly right", 50 * time.Second, now, []string{"get-caller-identity"}, "clock"},
		{"no date", 0, time.Time{}, []string{awscreds.MaskID(authtest.KeyID("envtoken")) + " from the environment variables", "`aws sts get-caller-identity`", "session token must not have expired"}, "clock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			o := newOperator(t)
			o.date = tt.date
			bad := authtest.User(testAccount, "envtoken", true)
			bad.Disabled = true
			o.sts.SetIdentity(bad)
			l := inProcess(t, o, func(c *Config) { c.Now = func() time.Time { return now.Add(tt.clock) } })
			_, err := l.Token(t.Context())
			f := fault.From(err)
			if f == nil || f.Kind != fault.Unproven || f.Code != "endpoints.auth_invalid" || f.Message != "the identity is not proven" {
				t.Fatalf("Token: %v (%s), want the operator's own endpoints.auth_invalid", err, fault.Code(err))
			}
			for _, want := range tt.want {
				if !strings.Contains(f.Hint, want) {
					t.Errorf("hint %q, want %q in it", f.Hint, want)
				}
			}
			if tt.not != "" && strings.Contains(f.Hint, tt.not) {
				t.Errorf("hint %q, with %q in it", f.Hint, tt.not)
			}
			for _, s := range o.secrets() {
				if strings.Contains(fmt.Sprintf("%+v %s", err, f.Hint), s) {
					t.Errorf("the refusal shows the secret %q", s)
				}
			}
		})
	}
}

// bent is an operator whose sessions are changed on the way.
type bent struct {
	canned
	bend func(*auth.Session)
}

func (b *bent) Exchange(ctx context.Context, p auth.Proof) (auth.Session, error) {
	s, err := b.canned.Exchange(ctx, p)
	b.bend(&s)
	return s, err
}

func TestAnswersThatAreNoSessions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		bend func(*auth.Session)
	}{
		{"no token", func(s *auth.Session) { s.Token = "" }},
		{"a token of two lines", func(s *auth.Session) { s.Token = "a\r\nX: y" }},
		{"a token that is too long", func(s *auth.Session) { s.Token = strings.Repeat("a", maxTokenBytes+1) }},
		{"another cluster", func(s *auth.Session) { s.ClusterID = "other" }},
		{"no end", func(s *auth.Session) { s.ExpiresAt = time.Time{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := inProcess(t, &bent{bend: tt.bend}, nil)
			if _, err := l.Token(t.Context()); fault.Code(err) != "auth.session_malformed" {
				t.Errorf("Token: %v, want auth.session_malformed", err)
			}
			if _, ok := l.Kept(); ok {
				t.Error("it is kept")
			}
		})
	}
}

// What the operator itself says is passed on, also when it is not about the proof.
func TestOtherRefusalsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	want := fault.New(fault.TooMany, "auth.too_many", "too many").WithHint("try again in 3s")
	l := inProcess(t, &failing{err: want}, nil)
	if _, err := l.Token(t.Context()); err != error(want) {
		t.Errorf("Token: %v, want %v", err, want)
	}
}

type failing struct {
	canned
	err error
}

func (f *failing) Exchange(context.Context, auth.Proof) (auth.Session, error) {
	return auth.Session{}, f.err
}

func TestGoldenProofs(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../authtest/testdata/proofs.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden []struct {
		Name            string `json:"name"`
		AccessKeyID     string `json:"access_key_id"`
		SecretAccessKey string `json:"secret_access_key"`
		SecurityToken   string `json:"security_token"`
		AMZDate         string `json:"amz_date"`
		Host            string `json:"host"`
		Region          string `json:"region"`
		ClusterID       string `json:"cluster_id"`
		Nonce           string `json:"nonce"`
		TLSFingerprint  string `json:"tls_fingerprint"`
		Signature       string `json:"signature"`
	}
	if err := json.Unmarshal(data, &golden); err != nil || len(golden) == 0 {
		t.Fatalf("%d vectors, %v", len(golden), err)
	}
	for _, g := range golden {
		t.Run(g.Name, func(t *testing.T) {
			t.Parallel()
			at, err := time.Parse(auth.DateLayout, g.AMZDate)
			if err != nil {
				t.Fatal(err)
			}
			k := awscreds.Credentials{ID: g.AccessKeyID, Secret: awscreds.Hide(g.SecretAccessKey), Token: awscreds.Hide(g.SecurityToken)}
			// Some vectors are of an operator that was told another host.
			if host, err := stsHost(t.Context(), g.Region); strings.HasPrefix(g.Host, "sts.") && (err != nil || host != g.Host) {
				t.Errorf("stsHost(%s) = %s, %v, want %s", g.Region, host, err, g.Host)
			}
			p, err := sign(t.Context(), k, auth.Binding{
				Host: g.Host, Region: g.Region, ClusterID: g.ClusterID, TLSFingerprint: g.TLSFingerprint, Nonce: g.Nonce,
			}, at)
			want := auth.Proof{AccessKeyID: g.AccessKeyID, AMZDate: g.AMZDate, SecurityToken: g.SecurityToken, Signature: g.Signature, Nonce: g.Nonce}
			if err != nil || p != want {
				t.Errorf("sign = %+v, %v\nwant   %+v", p, err, want)
			}
		})
	}
}

// mismatched refuses every proof as the operator refuses a token that does not go
// with its key.
type mismatched struct{ *operator }

func (mismatched) Exchange(context.Context, auth.Proof) (auth.Session, error) {
	return auth.Session{}, fault.New(fault.Malformed, auth.CodeMalformed, "this is not a proof of identity")
}

func TestHintAboutAKeyAndATokenThatDoNotGoTogether(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	l := inProcess(t, o, func(c *Config) { c.Operator = mismatched{o} })
	_, err := l.Token(t.Context())
	f := fault.From(err)
	if f == nil || f.Code != auth.CodeMalformed || !strings.Contains(f.Hint, "does not belong together") {
		t.Errorf("Token: %+v, want the refusal with a hint about key and token", f)
	}
}

// Without credentials there is nothing to prove: the operator hears of no attempt.
func TestWithoutCredentialsNothingIsSent(t *testing.T) {
	t.Parallel()
	o := newOperator(t)
	l := inProcess(t, o, func(c *Config) {
		c.Getenv = func(name string) string { return map[string]string{"AWS_ACCESS_KEY_ID": authtest.KeyID("env")}[name] }
	})
	if _, err := l.Token(t.Context()); fault.Code(err) != "auth.incomplete_credentials" {
		t.Errorf("Token: %v (%s), want auth.incomplete_credentials", err, fault.Code(err))
	}
	if _, n := o.counts(); n != 0 {
		t.Errorf("%d proofs were sent, want none", n)
	}
}
