package authtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sso"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
)

// client is the SDK's, pointed to a server as AWS_ENDPOINT_URL_STS would.
func client(url, key, secret, token string) *sts.Client {
	return sts.New(sts.Options{
		Region: testRegion, BaseEndpoint: aws.String(url), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(key, secret, token),
	})
}

func apiCode(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return fmt.Sprint(err)
}

// serverOf returns the address of s. The SDK signs by the real clock, and so must s
// verify.
func serverOf(t *testing.T, s *STS) string {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

// identify proves temporary credentials to s, as a client of the product does.
func identify(t *testing.T, s *STS, key, secret, token string) (int, string) {
	t.Helper()
	p := base()
	p.AccessKeyID, p.SecretAccessKey, p.SecurityToken, p.AMZDate = key, secret, token, s.now().UTC().Format(dateLayout)
	return serve(s, p.signed(t).completed(t))
}

func TestAssumeRoleByTheSDK(t *testing.T) {
	t.Parallel()
	at := newClock()
	at.set(time.Now())
	s := newSTS(at.now)
	url := serverOf(t, s)
	out, err := client(url, testKey, testSecret, "").AssumeRole(t.Context(), &sts.AssumeRoleInput{
		RoleArn: aws.String(testRole), RoleSessionName: aws.String("alice@example.com"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := *out.AssumedRoleUser.Arn, "arn:aws:sts::111122223333:assumed-role/Deployer/alice@example.com"; got != want {
		t.Errorf("AssumeRole: Arn = %q, want %q", got, want)
	}
	if got, want := *out.AssumedRoleUser.AssumedRoleId, "AROADEPLOYEREXAMPLE01:alice@example.com"; got != want {
		t.Errorf("AssumeRole: AssumedRoleId = %q, want %q", got, want)
	}
	c := out.Credentials
	if !strings.HasPrefix(*c.AccessKeyId, "ASIA") || len(*c.AccessKeyId) != 20 {
		t.Errorf("AssumeRole: AccessKeyId = %q, want ASIA and 16 more", *c.AccessKeyId)
	}
	if want := at.now().Add(time.Hour).UTC().Truncate(time.Second); !c.Expiration.Equal(want) {
		t.Errorf("AssumeRole: Expiration = %s, want %s", c.Expiration, want)
	}
	check := func(when string, wantStatus int, want string) {
		t.Helper()
		if status, body := identify(t, s, *c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken); status != wantStatus || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %d and %s", when, status, body, wantStatus, want)
		}
	}
	check("with the credentials", 200, "<UserId>AROADEPLOYEREXAMPLE01:alice@example.com</UserId>")
	at.set(c.Expiration.Add(-time.Second))
	check("a second before they expire", 200, "assumed-role/Deployer/alice@example.com")
	at.set(*c.Expiration)
	check("when they expire", 403, "<Code>ExpiredToken</Code>")
	if got := s.Calls(); got.AssumeRole != 1 || got.GetCallerIdentity != 3 {
		t.Errorf("Calls() = %+v, want 1 AssumeRole and 3 GetCallerIdentity", got)
	}
}

func TestAssumeRoleRefusals(t *testing.T) {
	t.Parallel()
	at := serverOf(t, newSTS(time.Now))
	alice, dev := client(at, testKey, testSecret, ""), client(at, testTemp, testSecret, testToken)
	tests := []struct {
		name          string
		client        *sts.Client
		role, session string
		seconds       int32
		want          string
	}{
		{"a role that trusts the role of the caller", dev, closedRole, "s1", 900, "<nil>"},
		{"a role that trusts others", alice, closedRole, "s1", 900, "AccessDenied"},
		{"no such role", alice, testRole + "x", "s1", 900, "AccessDenied"},
		{"wrong secret", client(at, testKey, "x", ""), testRole, "s1", 900, "SignatureDoesNotMatch"},
		{"wrong token", client(at, testTemp, testSecret, "x"), testRole, "s1", 900, "InvalidClientTokenId"},
		{"session name", alice, testRole, "a b", 900, "ValidationError"},
		{"too short", alice, testRole, "s1", 899, "ValidationError"},
		{"too long", alice, testRole, "s1", 43201, "ValidationError"},
	}
	for _, tt := range tests {
		_, err := tt.client.AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String(tt.role), RoleSessionName: aws.String(tt.session), DurationSeconds: aws.Int32(tt.seconds),
		})
		if got := apiCode(err); got != tt.want {
			t.Errorf("%s: AssumeRole = %s, want %s", tt.name, got, tt.want)
		}
	}
	m := message{
		method: "POST", path: "/", header: http.Header{},
		body: url.Values{"Action": {actionRole}, "Version": {version}, "RoleArn": {testRole}, "RoleSessionName": {"s1"}}.Encode(),
	}
	for host, want := range map[string]string{
		testHost: "", "127.0.0.1:8080": "", "localhost": "", "[::1]:80": "",
		"sts.example.com": "SignatureDoesNotMatch", "127.0.0.1.example.com": "SignatureDoesNotMatch",
	} {
		fixed := newSTS(newClock().now)
		if status, body := serve(fixed, m.signedFor(t, host, "")); code(body) != want {
			t.Errorf("AssumeRole signed for %s = %d %s, want code %q", host, status, body, want)
		}
	}
	// What a proof is for is never taken from another host, loopback or not.
	if _, err := alice.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{}); apiCode(err) != "SignatureDoesNotMatch" {
		t.Errorf("GetCallerIdentity for a loopback host = %s, want SignatureDoesNotMatch", apiCode(err))
	}
}

func TestAssumeRoleWithWebIdentityByTheSDK(t *testing.T) {
	t.Parallel()
	s := newSTS(time.Now)
	c := client(serverOf(t, s), "", "", "")
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: aws.String(webRole), RoleSessionName: aws.String("pod"), WebIdentityToken: aws.String("web-token"),
	}
	out, err := c.AssumeRoleWithWebIdentity(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	got := out.Credentials
	if status, body := identify(t, s, *got.AccessKeyId, *got.SecretAccessKey, *got.SessionToken); status != 200 || !strings.Contains(body, ":assumed-role/Web/pod<") {
		t.Errorf("with the credentials: %d %s, want the session of the role", status, body)
	}
	in.RoleArn = aws.String(testRole)
	if _, err := c.AssumeRoleWithWebIdentity(t.Context(), in); apiCode(err) != "AccessDenied" {
		t.Errorf("another role = %s, want AccessDenied", apiCode(err))
	}
	in.WebIdentityToken = aws.String("other")
	if _, err := c.AssumeRoleWithWebIdentity(t.Context(), in); apiCode(err) != "InvalidIdentityToken" {
		t.Errorf("another token = %s, want InvalidIdentityToken", apiCode(err))
	}
	if n := s.Calls().AssumeRoleWithWebIdentity; n != 3 {
		t.Errorf("Calls().AssumeRoleWithWebIdentity = %d, want 3", n)
	}
}

func TestPortalByTheSDK(t *testing.T) {
	t.Parallel()
	s := newSTS(time.Now)
	c := sso.New(sso.Options{Region: testRegion, BaseEndpoint: aws.String(serverOf(t, s)), RetryMaxAttempts: 1})
	in := &sso.GetRoleCredentialsInput{AccessToken: aws.String("sso-token"), AccountId: aws.String(testAccount), RoleName: aws.String("Admin")}
	out, err := c.GetRoleCredentials(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	got := out.RoleCredentials
	if left := time.Until(time.UnixMilli(got.Expiration)); left > time.Hour || left < 50*time.Minute {
		t.Errorf("the credentials expire in %s, want an hour", left)
	}
	status, body := identify(t, s, *got.AccessKeyId, *got.SecretAccessKey, *got.SessionToken)
	if status != 200 || !strings.Contains(body, ":assumed-role/AWSReservedSSO_Admin_") || !strings.Contains(body, "/carol</Arn>") {
		t.Errorf("with the credentials: %d %s, want a session of carol", status, body)
	}
	in.AccessToken = aws.String("expired")
	if _, err := c.GetRoleCredentials(t.Context(), in); apiCode(err) != "UnauthorizedException" {
		t.Errorf("another token = %s, want UnauthorizedException", apiCode(err))
	}
}

// get asks the portal.
func get(t *testing.T, s *STS, query url.Values, token string) (int, map[string]any) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, portalPath+"?"+query.Encode(), nil)
	if token != "" {
		r.Header.Set("x-amz-sso_bearer_token", token)
	}
	status, body := serve(s, r)
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return status, got
}

func TestPortalRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, token, role, account string
		status                     int
		kind                       string
	}{
		{"no token", "", "Admin", testAccount, 401, "UnauthorizedException"},
		{"another token", "sso-tokem", "Admin", testAccount, 401, "UnauthorizedException"},
		{"another role", "sso-token", "Root", testAccount, 403, "ForbiddenException"},
		{"another account", "sso-token", "Admin", "444455556666", 403, "ForbiddenException"},
		{"no role", "sso-token", "", testAccount, 400, "InvalidRequestException"},
	}
	for _, tt := range tests {
		s := newSTS(newClock().now)
		status, got := get(t, s, url.Values{"role_name": {tt.role}, "account_id": {tt.account}}, tt.token)
		if want := "com.amazonaws.switchboard.portal#" + tt.kind; status != tt.status || got["__type"] != want {
			t.Errorf("%s: %d %v, want %d %s", tt.name, status, got, tt.status, want)
		}
		want := Calls{Total: 1, GetRoleCredentials: 1, Refused: 1, Refusals: map[string]int{tt.kind: 1}}
		if diff := cmp.Diff(want, s.Calls()); diff != "" {
			t.Errorf("%s: Calls() (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestPortalTakesNoPost(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodPost, portalPath+"?role_name=Admin&account_id="+testAccount, nil)
	r.Header.Set("x-amz-sso_bearer_token", "sso-token")
	if status, body := serve(newSTS(newClock().now), r); status != 405 {
		t.Errorf("POST = %d %s, want 405", status, body)
	}
}

func TestIssuedCredentialsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSTS(newClock().now)
	role, _ := parseRole(testRole)
	first := s.issue(role, "", "first", time.Hour)
	for range maxIssued - 1 {
		s.issue(role, "", "more", time.Hour)
	}
	if status, body := identify(t, s, first.AccessKeyID, first.SecretAccessKey, first.SessionToken); status != 200 {
		t.Errorf("with %d issued: %d %s, want 200", maxIssued, status, body)
	}
	s.issue(role, "", "last", time.Hour)
	if status, body := identify(t, s, first.AccessKeyID, first.SecretAccessKey, first.SessionToken); code(body) != "InvalidClientTokenId" {
		t.Errorf("with one more: %d %s, want the oldest to be forgotten", status, body)
	}
	if len(s.issued) != maxIssued || len(s.identities) != maxIssued+4 { // 4 are configured
		t.Errorf("%d keys and %d identities are kept, want %d and %d", len(s.issued), len(s.identities), maxIssued, maxIssued+4)
	}
}
