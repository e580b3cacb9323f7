package awscreds

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/fault"
)

// The SDK reads the environment of its process, so that each case of finding
// credentials is a process of its own: this test binary, with a clean environment.
const (
	childVar    = "AWSCREDS_TEST_CHILD"
	whoVar      = "AWSCREDS_TEST_WHO"      // ask STS whose credentials they are
	patienceVar = "AWSCREDS_TEST_PATIENCE" // wait this long for credentials
)

const (
	testRegion  = "us-west-2"
	testAccount = "111122223333"
)

func TestMain(m *testing.M) {
	if os.Getenv(childVar) != "" {
		os.Exit(runChild())
	}
	os.Exit(m.Run())
}

// report is what a child says.
type report struct {
	Code    string
	Message string
	Hint    string
	Found   Found
	ARN     string
	Dump    string // values of the package, printed with every verb
}

func runChild() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var (
		r Resolver
		o report
	)
	if d, err := time.ParseDuration(os.Getenv(patienceVar)); err == nil {
		r.Patience = d
	}
	creds, err := r.Resolve(ctx, testRegion)
	if err == nil && os.Getenv(whoVar) != "" {
		o.ARN, err = who(ctx, creds)
	}
	if err != nil {
		f := fault.From(err)
		o.Code, o.Message, o.Hint = f.Code, f.Message, f.Hint
		o.Dump = fmt.Sprintf("%v %+v %#v %s %q", err, f, f, f, f)
	}
	o.Found = creds.Found
	o.Dump += fmt.Sprintf("%v %+v %#v %s %q", creds, creds, creds, creds, creds)
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		return 1
	}
	return 0
}

// who has STS say whose credentials they are. It answers to the name of the real one
// only.
func who(ctx context.Context, c Credentials) (string, error) {
	address := strings.TrimPrefix(os.Getenv("AWS_ENDPOINT_URL_STS"), "http://")
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	client := sts.New(sts.Options{
		Region: testRegion, BaseEndpoint: aws.String("http://sts." + testRegion + ".amazonaws.com"),
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: c.ID, SecretAccessKey: c.Secret.Text(), SessionToken: c.Token.Text()}, nil
		}),
	})
	got, err := client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", err
	}
	return aws.ToString(got.Arn), nil
}

// users are those of the account, and whether their keys have a session token.
var users = map[string]bool{
	"env": false, "envtoken": true, "dev": false, "devtoken": true, "default": false, "deftoken": true, "proc": true, "box": true, "ec2": true,
}

// secrets are what no text of the package may contain.
func secrets() []string {
	all := []string{"web-identity-token-eyJhbGciOi", "sso-access-token-aoaAAA"}
	for user := range users {
		all = append(all, authtest.SecretOf(user), authtest.SessionOf(user))
	}
	return all
}

func startSTS(t *testing.T) string {
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
	server := httptest.NewServer(authtest.NewSTS(cfg))
	t.Cleanup(server.Close)
	return server.URL
}

// machine is the environment of a child: a home folder and variables.
type machine struct {
	home string
	env  map[string]string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	home, aws := t.TempDir(), startSTS(t)
	return &machine{home: home, env: map[string]string{
		"HOME": home, "PATH": os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL_STS": aws, "AWS_ENDPOINT_URL_SSO": aws,
		childVar: "1", "GORACE": "atexit_sleep_ms=0 " + os.Getenv("GORACE"),
	}}
}

func (m *machine) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// run has a child look for credentials and reads what it reports, in which no secret
// may stand. {home} in a value is the home folder.
func (m *machine) run(t *testing.T, extra map[string]string) report {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	for k, v := range with(m.env, extra) {
		if v != "" {
			cmd.Env = append(cmd.Env, k+"="+strings.ReplaceAll(v, "{home}", m.home))
		}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("child: %v\n%s%s", err, &out, &errs)
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("child said %q, %q: %v", &out, &errs, err)
	}
	for _, s := range secrets() {
		if strings.Contains(out.String(), s) {
			t.Errorf("a report contains the secret %q: %s", s, &out)
		}
	}
	return r
}
