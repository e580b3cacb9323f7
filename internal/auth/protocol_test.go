package auth_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"cortex.dev/cortex/internal/auth"
)

var fingerprint = "sha256:" + strings.Repeat("0a", 32)

func good() auth.Challenge {
	return auth.Challenge{
		ClusterID: "prod/us-west-2/abcdefgh", Region: "us-west-2", Partition: "aws", Nonce: strings.Repeat("Ab1_-", 12), TLSFingerprint: fingerprint,
	}
}

// TestCompleteIsWhatWasSigned has both ends build the request: what the client's
// SDK signs and what the operator sends are the same, byte for byte.
func TestCompleteIsWhatWasSigned(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, time.February, 3, 4, 5, 6, 0, time.UTC)
	date := at.Format(auth.DateLayout)
	b := auth.Binding{Host: "sts.us-west-2.amazonaws.com", Region: "us-west-2", ClusterID: "prod/us-west-2/abcdefgh", TLSFingerprint: fingerprint, Nonce: good().Nonce}
	for name, creds := range map[string]aws.Credentials{
		"a key":                   {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "secret"},
		"a key and its token":     {AccessKeyID: "ASIAIOSFODNN7EXAMPLE", SecretAccessKey: "secret", SessionToken: "IQoJb3JpZ2luX2Vj//+="},
		"a secret in other signs": {AccessKeyID: "AKIAIOSFODNN7EXAMPLE", SecretAccessKey: "/+=\u00e9"},
	} {
		signed, err := auth.CallerIdentity(t.Context(), "https://"+b.Host+"/", b, date, creds.SessionToken)
		if err != nil {
			t.Fatal(err)
		}
		if err := v4.NewSigner().SignHTTP(t.Context(), creds, signed, auth.ProofPayloadHash(), auth.ProofService, b.Region, at); err != nil {
			t.Fatal(err)
		}
		_, signature, _ := strings.Cut(signed.Header.Get("Authorization"), "Signature=")
		auth.SetProofBody(signed)

		sent, err := auth.CallerIdentity(t.Context(), "http://127.0.0.1:9/", b, date, creds.SessionToken)
		if err != nil {
			t.Fatal(err)
		}
		auth.Complete(sent, auth.Proof{AccessKeyID: creds.AccessKeyID, AMZDate: date, SecurityToken: creds.SessionToken, Signature: signature, Nonce: b.Nonce}, b.Region)
		if got, want := written(t, sent), written(t, signed); got != want {
			t.Errorf("with %s, the request that is sent is\n%s\nwant that which was signed\n%s", name, got, want)
		}
	}
}

// written is the request as it goes over the wire.
func written(t *testing.T, r *http.Request) string {
	t.Helper()
	var b strings.Builder
	r.URL.Host = r.Host // wherever it is dialled
	r.URL.Scheme = "https"
	if err := r.Clone(context.WithoutCancel(t.Context())).Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestProofBody(t *testing.T) {
	t.Parallel()
	sum := sha256.Sum256([]byte("Action=GetCallerIdentity&Version=2011-06-15"))
	if got := auth.ProofPayloadHash(); got != hex.EncodeToString(sum[:]) {
		t.Errorf("ProofPayloadHash() = %s, want the hash of the one body", got)
	}
	req, err := auth.CallerIdentity(t.Context(), "https://x/", auth.Binding{}, "", "")
	if err != nil {
		t.Fatal(err)
	}
	auth.SetProofBody(req)
	for range 2 { // a retry reads it again
		body, err := req.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(body)
		if err != nil || string(text) != auth.ProofBody || req.ContentLength != int64(len(text)) {
			t.Errorf("the body is %q, %v of %d bytes, want %q", text, err, req.ContentLength, auth.ProofBody)
		}
	}
}

// TestChallengeCheck keeps a hostile operator from choosing a host, a header or a
// scope of what is signed.
func TestChallengeCheck(t *testing.T) {
	t.Parallel()
	if err := good().Check(); err != nil {
		t.Fatalf("Check() of a good one = %v", err)
	}
	for name, change := range map[string]func(*auth.Challenge){
		"no cluster":               func(c *auth.Challenge) { c.ClusterID = "" },
		"a cluster with a line":    func(c *auth.Challenge) { c.ClusterID += "\r\nX-Amz-Target: evil" },
		"a cluster with space":     func(c *auth.Challenge) { c.ClusterID = "a b" },
		"a cluster in other signs": func(c *auth.Challenge) { c.ClusterID = "pr\u00f6d" },
		"a long cluster":           func(c *auth.Challenge) { c.ClusterID = strings.Repeat("a", 201) },
		"no region":                func(c *auth.Challenge) { c.Region = "" },
		"a region that is a host":  func(c *auth.Challenge) { c.Region = "us-west-2.evil.example.com" },
		"a region with a path":     func(c *auth.Challenge) { c.Region = "us-west-2/sts/aws4_request" },
		"a region with a line":     func(c *auth.Challenge) { c.Region = "us-west-2\n" },
		"a region with a fragment": func(c *auth.Challenge) { c.Region = "evil.com#-a" },
		"a region in upper case":   func(c *auth.Challenge) { c.Region = "US-WEST-2" },
		"no partition":             func(c *auth.Challenge) { c.Partition = "" },
		"another partition":        func(c *auth.Challenge) { c.Partition = "evil" },
		"no nonce":                 func(c *auth.Challenge) { c.Nonce = "" },
		"a nonce with a line":      func(c *auth.Challenge) { c.Nonce += "\n" },
		"a nonce in base64":        func(c *auth.Challenge) { c.Nonce += "+/==" },
		"a long nonce":             func(c *auth.Challenge) { c.Nonce = strings.Repeat("a", 201) },
		"no fingerprint":           func(c *auth.Challenge) { c.TLSFingerprint = "" },
		"a short fingerprint":      func(c *auth.Challenge) { c.TLSFingerprint = fingerprint[:70] },
		"another hash":             func(c *auth.Challenge) { c.TLSFingerprint = "sha1:" + strings.Repeat("0a", 20) },
		"in upper case":            func(c *auth.Challenge) { c.TLSFingerprint = strings.ToUpper(fingerprint) },
	} {
		c := good()
		change(&c)
		if err := c.Check(); err == nil {
			t.Errorf("Check() with %s = nil, want a refusal of %+v", name, c)
		}
	}
}

func TestParseFingerprint(t *testing.T) {
	t.Parallel()
	digits := strings.Repeat("0a", 32)
	for text, want := range map[string]string{
		fingerprint: fingerprint, digits: fingerprint, strings.ToUpper(digits): fingerprint, "SHA256:" + digits: fingerprint, " " + digits + "\n": fingerprint,
		strings.TrimSuffix(strings.Repeat("0A:", 32), ":"): fingerprint, "sha256=" + digits: fingerprint,
		"": "", "sha256:": "", digits[1:]: "", digits + "0": "", "sha1:" + digits: "", "sha256:sha256:" + digits: "", strings.Repeat("0g", 32): "", digits[:32] + " " + digits[32:]: "",
	} {
		got, err := auth.ParseFingerprint(text)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("ParseFingerprint(%q) = %q, %v, want %q", text, got, err, want)
		}
	}
	if sum := sha256.Sum256([]byte("der")); auth.Fingerprint([]byte("der")) != "sha256:"+hex.EncodeToString(sum[:]) {
		t.Errorf("Fingerprint(der) = %s", auth.Fingerprint([]byte("der")))
	}
}

// FuzzParseFingerprint: what is taken is canonical, and stays so.
func FuzzParseFingerprint(f *testing.F) {
	f.Add(fingerprint)
	f.Add("SHA256 Fingerprint=0A:0B")
	f.Add("sha256=" + strings.Repeat("0A:", 32))
	f.Fuzz(func(t *testing.T, text string) {
		got, err := auth.ParseFingerprint(text)
		if err != nil {
			return
		}
		if again, err := auth.ParseFingerprint(got); err != nil || again != got || len(got) != len(fingerprint) {
			t.Fatalf("ParseFingerprint(%q) = %q, of that %q, %v", text, got, again, err)
		}
	})
}
