package iam

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/fault"
)

// The tests of this file set the environment, where the SDK looks for credentials, and
// so do not run beside others.

// ownCredentials makes these all the credentials there are.
func ownCredentials(t *testing.T, env map[string]string) {
	t.Helper()
	nowhere := filepath.Join(t.TempDir(), "none")
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_ROLE_ARN",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", nowhere)
	t.Setenv("AWS_CONFIG_FILE", nowhere)
	for name, value := range env {
		t.Setenv(name, value)
	}
}

func TestDiscover(t *testing.T) {
	known := authtest.NewSTS(authtest.Config{Region: testRegion, Identities: []authtest.Identity{authtest.User(testAccount, "server", true)}})
	for _, tt := range []struct {
		name string
		env  map[string]string
		sts  http.Handler
		want string // the account, or what the error says
		kind fault.Kind
	}{
		{name: "its own account", env: authtest.Env("server", true), sts: known, want: testAccount},
		{name: "no credentials", sts: known, want: "there are no credentials to discover it with", kind: fault.Usage},
		{name: "credentials that AWS does not know", env: authtest.Env("stranger", false), sts: known, want: "STS at http", kind: fault.Unavailable},
		{name: "no STS", env: authtest.Env("server", true), sts: http.NotFoundHandler(), want: ReasonAnswer + " (status 404)", kind: fault.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ownCredentials(t, tt.env)
			server := httptest.NewServer(tt.sts)
			defer server.Close()
			s, err := NewSTS(t.Context(), STSConfig{Region: testRegion, Endpoint: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			who, err := s.Discover(t.Context(), testRegion)
			if tt.kind == "" {
				if err != nil || who.Account != tt.want || !strings.HasSuffix(who.ARN, ":user/server") {
					t.Errorf("Discover = %+v, %v, want the user server of account %s", who, err, tt.want)
				}
				return
			}
			f := fault.From(err)
			if f.Kind != tt.kind || f.Code != "auth.account_unknown" || !strings.Contains(f.Message, tt.want) || !strings.Contains(f.Hint, "--account-id") {
				t.Errorf("Discover = %v (%s, hint %q), want auth.account_unknown with %q and --account-id", err, f.Code, f.Hint, tt.want)
			}
		})
	}
}

func TestPartitionOf(t *testing.T) {
	t.Parallel()
	for region, want := range map[string]string{
		"us-west-2": "aws", "eu-central-1": "aws", "cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "us-iso-east-1": "aws-iso",
		"us-isob-east-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e", "us-isof-south-1": "aws-iso-f", "eusc-de-east-1": "aws-eusc", "xx-new-9": "aws",
	} {
		if got := PartitionOf(region); got != want {
			t.Errorf("PartitionOf(%s) = %s, want %s", region, got, want)
		}
	}
}
