package guard_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
)

// TestAudience has good credentials sign for somebody else than this cluster over
// this connection. STS refuses the signature: nothing else tells them apart.
func TestAudience(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Of the same name in the same region: only what is random differs.
	twin := newWorld(t)
	no := refused(iam.ReasonSTS, 1)
	other := func(change func(*auth.Binding)) func(*auth.Binding) { return change }
	signed := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	presigned := func(change func(*http.Request)) func(*auth.Proof) {
		return func(p *auth.Proof) {
			at, _ := time.Parse(auth.DateLayout, p.AMZDate)
			p.Signature = presign(t, w.ids["alice"], w.binding(p.Nonce), at, change)
		}
	}
	w.run(t, []attack{
		{name: "this cluster", want: granted(aliceARN)},
		{name: "another cluster's id", bind: other(func(b *auth.Binding) { b.ClusterID = "staging/us-west-2/abcdefghijklmnop" }), want: no},
		{name: "a cluster of the same name and region", bind: other(func(b *auth.Binding) { b.ClusterID = twin.iam.ClusterID() }), want: no},
		{name: "the same name in another region", bind: other(func(b *auth.Binding) {
			b.ClusterID = strings.Replace(b.ClusterID, "us-west-2", "eu-central-1", 1)
		}), want: no},
		{name: "another region, all of it", bind: other(func(b *auth.Binding) {
			b.Region, b.Host = "eu-central-1", "sts.eu-central-1.amazonaws.com"
			b.ClusterID = strings.Replace(b.ClusterID, "us-west-2", "eu-central-1", 1)
		}), want: no},
		{name: "another region's scope", bind: other(func(b *auth.Binding) { b.Region = "eu-central-1" }), want: no},
		{name: "another host", bind: other(func(b *auth.Binding) { b.Host = "sts.amazonaws.com" }), want: no},
		{name: "the operator's host", bind: other(func(b *auth.Binding) { b.Host = w.address }), want: no},
		{name: "a cluster id in upper case", bind: other(func(b *auth.Binding) { b.ClusterID = strings.ToUpper(b.ClusterID) }), want: no},
		{name: "a beginning of the cluster id", bind: other(func(b *auth.Binding) { b.ClusterID = b.ClusterID[:len(b.ClusterID)-1] }), want: no},
		{name: "another TLS key: a relay in between", bind: other(func(b *auth.Binding) { b.TLSFingerprint = auth.Fingerprint([]byte("the relay's")) }), want: no},
		{name: "no TLS key", bind: other(func(b *auth.Binding) { b.TLSFingerprint = "" }), want: no},
		{name: "another cluster's TLS key", bind: other(func(b *auth.Binding) { b.TLSFingerprint = twin.fingerprint }), want: no},
		{name: "another nonce", bind: other(func(b *auth.Binding) { b.Nonce = w.challenge(t).Nonce }), want: no},
		{name: "another cluster's nonce, sent too", proof: func(p *auth.Proof) { p.Nonce = twin.challenge(t).Nonce }, want: refused(iam.ReasonNonce, 0)},

		{name: "a token for EKS", proof: presigned(signed("X-K8s-Aws-Id", "prod")), want: no},
		{name: "a token for EKS that is signed as a header", sign: func(r *http.Request) {
			r.Header.Set("X-K8s-Aws-Id", "prod")
			for _, h := range []string{auth.HeaderClusterID, auth.HeaderNonce, auth.HeaderTLS} {
				r.Header.Del(h)
			}
		}, want: no},
		{name: "a login to Vault", sign: signed("X-Vault-Aws-Iam-Server-Id", "vault.example.com"), want: no},
		{name: "a login to Vault, and nothing of ours", sign: func(r *http.Request) {
			r.Header.Set("X-Vault-Aws-Iam-Server-Id", "vault.example.com")
			for _, h := range []string{auth.HeaderClusterID, auth.HeaderNonce, auth.HeaderTLS} {
				r.Header.Del(h)
			}
		}, want: no},
		{name: "one signed header more", sign: signed("X-Cortex-Other", "1"), want: no},
		{name: "one fewer: the nonce", sign: func(r *http.Request) { r.Header.Del(auth.HeaderNonce) }, want: no},
		{name: "one fewer: the cluster", sign: func(r *http.Request) { r.Header.Del(auth.HeaderClusterID) }, want: no},
		{name: "one fewer: the TLS key", sign: func(r *http.Request) { r.Header.Del(auth.HeaderTLS) }, want: no},
		{name: "one fewer: the content type", sign: func(r *http.Request) { r.Header.Del("Content-Type") }, want: no},
		{name: "another method", sign: func(r *http.Request) { r.Method = http.MethodGet }, want: no},
		{name: "another path", sign: func(r *http.Request) { r.URL.Path = "/v1" }, want: no},
		{name: "a query", sign: func(r *http.Request) { r.URL.RawQuery = "Action=AssumeRole" }, want: no},
		{name: "another content type", sign: signed("Content-Type", "application/json"), want: no},
		{name: "the length of the body", sign: func(r *http.Request) { r.ContentLength = int64(len(auth.ProofBody)) }, want: no},
	})
	if got := twin.sts.Calls().Total; got != 0 {
		t.Errorf("calls to the STS of the other cluster = %d, want 0", got)
	}
}

// TestAudienceRegionOfToken sends a whole proof for one region to the operator of
// another: its STS would take it, ours must not be asked in its place.
func TestAudienceRegionOfToken(t *testing.T) {
	t.Parallel()
	here := newWorld(t)
	there := newWorld(t, func(s *setup) { s.region = "eu-central-1" })
	body, _ := there.evidence(t, attack{})
	here.attack(t, attack{name: "a proof for there", body: fixed(string(body)), want: refused(iam.ReasonNonce, 0)})
	there.attack(t, attack{name: "the same where it belongs", body: fixed(string(body)), want: granted(aliceARN)})
}

// TestSentToSTS looks at what goes out: nothing of the caller's request is in it
// but the values of the proof.
func TestSentToSTS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var got *http.Request
	w.attack(t, attack{
		name: "a proof with much around it", who: "role",
		send: func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer of-the-caller")
			r.Header.Set("Cookie", "a=b")
			r.Header.Set("X-Forwarded-Host", "evil.example.com")
			r.Header.Set("X-Amz-Target", "evil")
			r.Header.Set("User-Agent", "evil")
			r.Host = w.address
		},
		answer: func(rw http.ResponseWriter, r *http.Request) {
			got = r.Clone(r.Context())
			as(w.ids["role"])(rw, r)
		},
		want: granted(adminARN),
	})
	if got == nil {
		t.Fatal("STS was not asked")
	}
	if got.Method != http.MethodPost || got.RequestURI != "/" || got.Host != "sts.us-west-2.amazonaws.com" {
		t.Errorf("the request is %s %s of %s, want POST / of sts.us-west-2.amazonaws.com", got.Method, got.RequestURI, got.Host)
	}
	known := map[string]bool{
		"Authorization": true, "Connection": true, "Content-Type": true, "Content-Length": true, "User-Agent": true, "X-Amz-Date": true,
		"X-Amz-Security-Token": true, "X-Cortex-Cluster-Id": true, "X-Cortex-Nonce": true, "X-Cortex-Tls": true,
	}
	for name, values := range got.Header {
		if !known[name] || len(values) != 1 || strings.Contains(values[0], "evil") || strings.Contains(values[0], "of-the-caller") {
			t.Errorf("STS was sent %s: %q", name, values)
		}
	}
}
