package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/audit"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/auth/guard"
	"cortex.dev/cortex/internal/auth/iam"
	"cortex.dev/cortex/internal/auth/policy"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

const (
	warmAccount = "111122223333"
	warmRegion  = "us-west-2"
)

// The identities of the warm session: an instance's role, and a profile's user.
var (
	instance = authtest.Identity{
		AccessKeyID: "ASIAINSTANCEINSTANCE", SecretAccessKey: "secret/of+instance", SessionToken: "session/token+of/instance==",
		ARN: "arn:aws:sts::" + warmAccount + ":assumed-role/build/i-0123456789abcdef0", UserID: "AROABUILDBUILDBUILDBU:i-0123456789abcdef0", Account: warmAccount,
	}
	dev = authtest.Identity{
		AccessKeyID: "AKIADEVDEVDEVEXAMPLE", SecretAccessKey: "secret/of+dev",
		ARN: "arn:aws:iam::" + warmAccount + ":user/dev", UserID: "AIDADEVDEVDEVEXAMPLEX", Account: warmAccount,
	}
)

// requests are what a server was asked since the last look.
type requests struct {
	mu   sync.Mutex
	seen []string
}

func (r *requests) of(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.mu.Lock()
		r.seen = append(r.seen, req.Method+" "+req.URL.Path)
		r.mu.Unlock()
		h.ServeHTTP(w, req)
	})
}

func (r *requests) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// TestWarmSessionIsOneRequest runs the program again and again against an operator
// that proves identities. The first command proves one, with what the metadata of
// the instance say; those after it are one request each and ask nobody else.
func TestWarmSessionIsOneRequest(t *testing.T) {
	t.Parallel()
	var operator, metadata requests
	endpoint, fingerprint := startOperator(t, &operator)
	instanceMetadata := httptest.NewServer(metadata.of(http.HandlerFunc(playMetadata)))
	t.Cleanup(instanceMetadata.Close)
	home := t.TempDir()
	credentials := filepath.Join(home, "credentials")
	text := fmt.Sprintf("[dev]\naws_access_key_id = %s\naws_secret_access_key = %s\n", dev.AccessKeyID, dev.SecretAccessKey)
	if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(variables []string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "cortex", args...)
		cmd.Env = append([]string{
			"PATH=" + os.Getenv("PATH"), "HOME=" + home, "GORACE=atexit_sleep_ms=0",
			"AWS_SHARED_CREDENTIALS_FILE=" + credentials, "AWS_EC2_METADATA_SERVICE_ENDPOINT=" + instanceMetadata.URL,
		}, variables...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("cortex %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run(nil, "env", "configure", "team", "--operator-endpoint", endpoint, "--fingerprint", fingerprint)
	if asked := metadata.taken(); asked != nil {
		t.Errorf("configuring an environment asked the instance for %v, want nothing", asked)
	}
	operator.taken()

	exchange := []string{"GET /v1/auth/challenge", "POST /v1/auth/session"}
	other := []string{"AWS_PROFILE=dev"}
	for _, tt := range []struct {
		name      string
		variables []string
		args      []string
		want      []string
		metadata  bool
	}{
		{"the first", nil, []string{"get", "--env", "team"}, append(exchange, "GET /v1/apis"), true},
		{"the second", nil, []string{"get", "--env", "team"}, []string{"GET /v1/apis"}, false},
		{"for a program", nil, []string{"get", "--env", "team", "-o", "json"}, []string{"GET /v1/apis"}, false},
		{"one API", nil, []string{"get", "iris", "--env", "team"}, []string{"GET /v1/apis/iris"}, false},
		{"logs", nil, []string{"logs", "iris", "--env", "team"}, []string{"GET /v1/apis/iris/logs"}, false},
		{"another profile", other, []string{"get", "--env", "team"}, append(exchange, "GET /v1/apis"), false},
		{"the other profile again", other, []string{"get", "--env", "team"}, []string{"GET /v1/apis"}, false},
		{"the first profile again", nil, []string{"get", "--env", "team"}, []string{"GET /v1/apis"}, false},
	} { // one after the other: each finds what those before it have left
		run(tt.variables, tt.args...)
		if diff := cmp.Diff(tt.want, operator.taken()); diff != "" {
			t.Errorf("%s: requests to the operator (-want +got):\n%s", tt.name, diff)
		}
		if asked := metadata.taken(); (asked != nil) != tt.metadata {
			t.Errorf("%s: requests to the instance metadata = %v, want any: %t", tt.name, asked, tt.metadata)
		}
	}
	for _, tt := range []struct {
		variables []string
		want      string
	}{{nil, "role/build"}, {other, "user/dev"}} {
		if out := run(tt.variables, "whoami", "--env", "team"); !strings.Contains(out, tt.want) {
			t.Errorf("cortex whoami with %v does not say %s:\n%s", tt.variables, tt.want, out)
		}
	}
}

// startOperator serves one API to identities of the account, over TLS.
func startOperator(t *testing.T, asked *requests) (endpoint, fingerprint string) {
	t.Helper()
	sts := httptest.NewServer(authtest.NewSTS(authtest.Config{Region: warmRegion, Identities: []authtest.Identity{instance, dev}}))
	t.Cleanup(sts.Close)
	pinned, err := iam.NewSTS(t.Context(), iam.STSConfig{Region: warmRegion, Endpoint: sts.URL})
	if err != nil {
		t.Fatal(err)
	}
	shared, err := bolt.Open(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { shared.Close() })
	// The certificate is part of what is proven: the server comes first.
	var handler http.Handler
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	fingerprint = auth.Fingerprint(server.Certificate().Raw)
	proofs, err := iam.New(t.Context(), iam.Config{
		Account: warmAccount, Partition: "aws", Region: warmRegion, ClusterName: "team", STS: pinned, Shared: shared,
		Fingerprint: func() string { return fingerprint }, Telemetry: telemetry.New("test", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	rules, err := policy.New(policy.Config{Account: warmAccount, Partition: "aws", Environment: "team"})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := audit.Open(audit.Config{Path: filepath.Join(t.TempDir(), "audit.log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lines.Close() })
	iris := workload.APIResponse{Metadata: &workload.Metadata{Name: "iris", Kind: workload.Realtime}}
	svc := &canned{
		Lists: [][]workload.APIResponse{{}}, Gets: map[string]workload.APIResponse{"iris": iris},
		LogLines: []workload.LogLine{{Text: "listening"}},
	}
	handler = asked.of(httpapi.NewHandler(svc, httpapi.Options{
		Guard: guard.New(guard.Config{IAM: proofs, Policy: rules, Audit: lines, Environment: "team"}),
	}))
	return server.URL, fingerprint
}

// playMetadata answers as the metadata service of an instance with a role does.
func playMetadata(w http.ResponseWriter, r *http.Request) {
	const role = "/latest/meta-data/iam/security-credentials/"
	switch r.URL.Path {
	case "/latest/api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		fmt.Fprint(w, "metadata-token")
	case role:
		fmt.Fprint(w, "build")
	case role + "build":
		_ = json.NewEncoder(w).Encode(map[string]string{
			"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": instance.AccessKeyID, "SecretAccessKey": instance.SecretAccessKey,
			"Token": instance.SessionToken, "Expiration": time.Now().Add(6 * time.Hour).UTC().Format(time.RFC3339),
		})
	default:
		http.NotFound(w, r)
	}
}
