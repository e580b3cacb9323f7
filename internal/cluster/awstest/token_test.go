package awstest_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// token is one as the SDK makes it.
func token(t *testing.T, r *runner, cluster string) string {
	t.Helper()
	out, err := sts.NewPresignClient(sts.NewFromConfig(r.cfg)).PresignGetCallerIdentity(r.ctx, &sts.GetCallerIdentityInput{}, func(o *sts.PresignOptions) {
		o.ClientOptions = append(o.ClientOptions, sts.WithAPIOptions(smithyhttp.SetHeaderValue("x-k8s-aws-id", cluster), smithyhttp.SetHeaderValue("X-Amz-Expires", "60")))
	})
	if err != nil {
		t.Fatal(err)
	}
	return "k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte(out.URL))
}

// A token says who somebody is, to one cluster, for a quarter of an hour.
func TestTokens(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		r.up(planned(t, publicCluster))
		mine := token(t, r, "iris")
		who, err := a.Authenticate("iris", mine)
		if err != nil || who.ARN != "arn:aws:iam::111122223333:user/admin" || !who.Administrator {
			t.Errorf("%+v, %v", who, err)
		}
		bob := newRunner(t, a, a.AddUser("bob"))
		wrong := newRunner(t, a, awstest.Key{AccessKeyID: a.Root().AccessKeyID, Secret: "wrong"})
		for name, c := range map[string]struct{ token, want string }{
			"of another cluster": {token(t, r, "other"), "signature does not match"},
			"of nobody known":    {token(t, bob, "iris"), "user/bob has no access entry"},
			"of a wrong secret":  {token(t, wrong, "iris"), "signature does not match"},
			"no token":           {"k8s-aws-v1.%%", "not in base64"},
			"to somewhere else":  {"k8s-aws-v1." + base64.RawURLEncoding.EncodeToString([]byte("https://sts.example.com/?Action=GetCallerIdentity")), "want GetCallerIdentity of https://sts.us-west-2.amazonaws.com/"},
		} {
			if _, err := a.Authenticate("iris", c.token); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("a token %s: %v, want %q", name, err, c.want)
			}
		}
		pass(16 * time.Minute)
		if _, err := a.Authenticate("iris", mine); err == nil || !strings.Contains(err.Error(), "clock skew") {
			t.Errorf("after its time: %v", err)
		}
		session := newRunner(t, a, a.AddSession("Admins", "carol", time.Hour))
		if _, err := a.Authenticate("iris", token(t, session, "iris")); err == nil || !strings.Contains(err.Error(), "role/Admins has no access entry") {
			t.Errorf("a session: %v", err)
		}
	})
}

// served is an account behind an address, as it is asked by its own names.
func served(t *testing.T, a *awstest.Account, address string) (status int, body string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, address, nil)
	r.Header.Set("X-K8s-Aws-Id", "iris")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

// STS answers what a token holds, which API servers send to it.
func TestRequestsOfTokens(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		address := func(token string) string {
			text, err := base64.RawURLEncoding.DecodeString(strings.TrimPrefix(token, "k8s-aws-v1."))
			if err != nil {
				t.Fatal(err)
			}
			return string(text)
		}
		wrong := newRunner(t, a, awstest.Key{AccessKeyID: a.Root().AccessKeyID, Secret: "wrong"})
		nobody := newRunner(t, a, awstest.Key{AccessKeyID: "AKIAAAAAAAAAAAAAAAAA", Secret: "wrong"})
		for name, c := range map[string]struct {
			token  string
			status int
			want   string
		}{
			"of somebody":        {token(t, r, "iris"), 200, `"Arn":"arn:aws:iam::111122223333:user/admin"`},
			"of another cluster": {token(t, r, "other"), 403, `"Code":"SignatureDoesNotMatch"`},
			"of a wrong secret":  {token(t, wrong, "iris"), 403, `"Code":"SignatureDoesNotMatch"`},
			"of nobody known":    {token(t, nobody, "iris"), 403, `"Code":"InvalidClientTokenId"`},
		} {
			if status, body := served(t, a, address(c.token)); status != c.status || !strings.Contains(body, c.want) {
				t.Errorf("a token %s: %d %s, want %d and %s", name, status, body, c.status, c.want)
			}
		}
	})
}
