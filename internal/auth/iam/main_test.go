package iam

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/telemetry"
)

const (
	testAccount = "123456789012"
	testRegion  = "us-west-2"
	testARN     = "arn:aws:iam::" + testAccount + ":user/alice"
	testAnswer  = `<GetCallerIdentityResponse xmlns="` + stsNamespace + `"><GetCallerIdentityResult><Arn>` + testARN +
		`</Arn><UserId>AIDACKCEVSQ6C2EXAMPLE</UserId><Account>` + testAccount + `</Account></GetCallerIdentityResult></GetCallerIdentityResponse>`
)

var testStart = time.Date(2026, time.February, 3, 4, 5, 6, 0, time.UTC)

// counting is a way out that ends here: whatever is asked, it is alice.
type counting struct{ calls atomic.Int64 }

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.calls.Add(1)
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/xml"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(testAnswer)),
	}, nil
}

// openStore is the store that the daemon uses, in a folder of the test.
func openStore(t testing.TB) store.Shared {
	t.Helper()
	s, err := bolt.Open(context.Background(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// newTestIAM is a verifier whose clock is now and whose STS is out.
func newTestIAM(t testing.TB, shared store.Shared, now func() time.Time, out http.RoundTripper) *IAM {
	t.Helper()
	sts, err := NewSTS(context.Background(), STSConfig{Region: testRegion, Endpoint: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	sts.transport = out
	v, err := New(context.Background(), Config{
		Account: testAccount, Partition: "aws", Region: testRegion, ClusterName: "prod", STS: sts, Shared: shared,
		Fingerprint: func() string { return auth.Fingerprint([]byte("certificate")) }, Telemetry: telemetry.New("test", ""), Now: now,
		Limits: Limits{AddressPerSecond: 1e6, AddressBurst: 1e6, STSPerSecond: 1e6, STSBurst: 1e6},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}
