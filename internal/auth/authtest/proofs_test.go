package authtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
)

var update = flag.Bool("update", false, "write testdata/proofs.json anew")

// proof is one golden vector: what a client is given, and what it has to arrive at.
type proof struct {
	Name             string `json:"name"`
	AccessKeyID      string `json:"access_key_id"`
	SecretAccessKey  string `json:"secret_access_key"`
	SecurityToken    string `json:"security_token"`
	AMZDate          string `json:"amz_date"`
	Host             string `json:"host"`
	Region           string `json:"region"`
	ClusterID        string `json:"cluster_id"`
	Nonce            string `json:"nonce"`
	TLSFingerprint   string `json:"tls_fingerprint"`
	CanonicalRequest string `json:"canonical_request"`
	Signature        string `json:"signature"`
}

// Keys that nobody has, in the shapes of AWS.
const (
	testKey    = "AKIAIOSFODNN7EXAMPLE"
	testTemp   = "ASIAIOSFODNN7EXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	testToken  = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaCXVzLWVhc3QtMSJHMEUCIQD+EXAMPLE/TOKEN+of=="
	testNonce  = "AbCdEf0123456789-_AbCdEf0123456789AbCdEf0123456789"
	testTLS    = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	testRegion = "us-west-2"
	testHost   = "sts.us-west-2.amazonaws.com"
)

var testTime = time.Date(2026, time.February, 3, 4, 5, 6, 0, time.UTC)

// proofCases are the inputs of the golden vectors.
func proofCases() []proof {
	base := proof{
		AccessKeyID: testKey, SecretAccessKey: testSecret, AMZDate: "20260203T040506Z", Host: testHost, Region: testRegion,
		ClusterID: "prod/us-west-2/3f2a9c01", Nonce: testNonce, TLSFingerprint: testTLS,
	}
	with := func(name string, change func(*proof)) proof {
		p := base
		p.Name = name
		change(&p)
		return p
	}
	temporary := func(p *proof, token string) { p.AccessKeyID, p.SecurityToken = testTemp, token }
	return []proof{
		with("us-west-2", func(*proof) {}),
		with("us-west-2 with a token", func(p *proof) { temporary(p, testToken) }),
		with("eu-central-1 with a token", func(p *proof) {
			p.Host, p.Region, p.ClusterID = "sts.eu-central-1.amazonaws.com", "eu-central-1", "prod/eu-central-1/3f2a9c01"
			temporary(p, testToken)
		}),
		with("cn-north-1", func(p *proof) {
			p.Host, p.Region, p.ClusterID = "sts.cn-north-1.amazonaws.com.cn", "cn-north-1", "prod/cn-north-1/3f2a9c01"
		}),
		with("us-gov-west-1", func(p *proof) {
			p.Host, p.Region, p.ClusterID = "sts.us-gov-west-1.amazonaws.com", "us-gov-west-1", "prod/us-gov-west-1/3f2a9c01"
		}),
		with("fips endpoint", func(p *proof) {
			p.Host, p.Region, p.ClusterID = "sts-fips.us-east-1.amazonaws.com", "us-east-1", "prod/us-east-1/3f2a9c01"
		}),
		with("odd cluster id", func(p *proof) { p.ClusterID = "a:b//c/../d._-:Z:/9" }),
		with("long token", func(p *proof) { temporary(p, strings.Repeat("FwoGZXIvYXdzEXAMPLE/+", 60)+"==") }),
		with("another secret, day and nonce", func(p *proof) {
			p.AccessKeyID, p.SecretAccessKey = "AKIAI44QH8DHBEXAMPLE", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"
			p.AMZDate, p.Nonce = "20241231T235959Z", "----____AAAAaaaa0000----____AAAA"
		}),
	}
}

// request is what the operator sends for a proof, without its signature.
func (p proof) request(t testing.TB) *http.Request {
	t.Helper()
	r, err := auth.CallerIdentity(t.Context(), "https://"+p.Host+"/", auth.Binding{
		Host: p.Host, Region: p.Region, ClusterID: p.ClusterID, TLSFingerprint: p.TLSFingerprint, Nonce: p.Nonce,
	}, p.AMZDate, p.SecurityToken)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sign has the SDK sign a proof, as the client does, and returns the header it wrote.
func (p proof) sign(t testing.TB) string {
	t.Helper()
	at, err := time.Parse(auth.DateLayout, p.AMZDate)
	if err != nil {
		t.Fatal(err)
	}
	r := p.request(t)
	r.Header.Del(auth.HeaderSecurityToken) // the signer adds it
	credentials := aws.Credentials{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, SessionToken: p.SecurityToken}
	if err := v4.NewSigner().SignHTTP(t.Context(), credentials, r, auth.ProofPayloadHash(), auth.ProofService, p.Region, at); err != nil {
		t.Fatal(err)
	}
	return r.Header.Get("Authorization")
}

// completed is the request that the operator sends once it has the proof.
func (p proof) completed(t testing.TB) *http.Request {
	t.Helper()
	r := p.request(t)
	auth.Complete(r, auth.Proof{
		AccessKeyID: p.AccessKeyID, AMZDate: p.AMZDate, SecurityToken: p.SecurityToken, Signature: p.Signature, Nonce: p.Nonce,
	}, p.Region)
	return r
}

func (p proof) lookup(keyID string) (string, string, bool) {
	return p.SecretAccessKey, p.SecurityToken, keyID == p.AccessKeyID
}

// signed returns a copy with its signature.
func (p proof) signed(t testing.TB) proof {
	t.Helper()
	_, p.Signature, _ = strings.Cut(p.sign(t), "Signature=")
	return p
}

func TestProofs(t *testing.T) {
	t.Parallel()
	const file = "testdata/proofs.json"
	cases := proofCases()
	for i, p := range cases {
		p = p.signed(t)
		r := p.request(t)
		canonical, err := canonicalRequest(r, []byte(auth.ProofBody), strings.Split(auth.SignedHeaders(p.SecurityToken), ";"), rules{})
		if err != nil {
			t.Fatal(err)
		}
		p.CanonicalRequest = canonical
		cases[i] = p
	}
	if *update {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(cases); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var golden []proof
	if err := json.Unmarshal(data, &golden); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(golden, cases); diff != "" {
		t.Errorf("%s differs from what the SDK signs (-golden +now):\n%s", file, diff)
	}
	for _, p := range golden {
		at, err := time.Parse(auth.DateLayout, p.AMZDate)
		if err != nil {
			t.Fatal(err)
		}
		key, err := Verify(p.completed(t), []byte(auth.ProofBody), p.lookup, auth.ProofService, p.Region, at)
		if err != nil || key != p.AccessKeyID {
			t.Errorf("%s: Verify() = %q, %v, want %q", p.Name, key, err, p.AccessKeyID)
		}
	}
}

// The operator writes the list of signed headers from its own constants; a signer
// that signed others would never match.
func TestSignedHeadersAreThoseOfTheSDK(t *testing.T) {
	t.Parallel()
	for _, p := range proofCases() {
		_, rest, _ := strings.Cut(p.sign(t), "SignedHeaders=")
		got, _, _ := strings.Cut(rest, ",")
		if want := auth.SignedHeaders(p.SecurityToken); got != want {
			t.Errorf("%s: the SDK signs %q, auth.SignedHeaders says %q", p.Name, got, want)
		}
	}
}
