package authtest

import (
	"context"
	"encoding/xml"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
)

const (
	testAccount = "111122223333"
	testARN     = "arn:aws:iam::111122223333:user/team/alice"
	testRole    = "arn:aws:iam::111122223333:role/Deployer"
	closedRole  = "arn:aws:iam::111122223333:role/Closed"
	webRole     = "arn:aws:iam::111122223333:role/Web"
)

// clock is a time that tests move.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock() *clock {
	c := &clock{}
	c.set(testTime)
	return c
}
func (c *clock) set(t time.Time) { c.at.Store(&t) }
func (c *clock) now() time.Time  { return *c.at.Load() }

func newSTS(now func() time.Time) *STS {
	return NewSTS(Config{
		Region: testRegion, Now: now,
		Identities: []Identity{
			{AccessKeyID: testKey, SecretAccessKey: testSecret, ARN: testARN, UserID: "AIDACKCEVSQ6C2EXAMPLE", Account: testAccount},
			{AccessKeyID: testTemp, SecretAccessKey: testSecret, SessionToken: testToken, ARN: "arn:aws:sts::111122223333:assumed-role/Dev/bob", UserID: "AROADEVDEVDEVEXAMPLE1:bob", Account: testAccount},
			{AccessKeyID: "AKIADISABLEDEXAMPLE0", SecretAccessKey: testSecret, ARN: testARN, UserID: "AIDACKCEVSQ6C2EXAMPLE", Account: testAccount, Disabled: true},
			{AccessKeyID: "AKIAEXPIREDEXAMPLE00", SecretAccessKey: testSecret, ARN: testARN, UserID: "AIDACKCEVSQ6C2EXAMPLE", Account: testAccount, ExpiresAt: testTime},
		},
		Roles:     map[string]Role{testRole: {ID: "AROADEPLOYEREXAMPLE01"}, closedRole: {Trusts: []string{"arn:aws:iam::111122223333:role/Dev"}}, webRole: {}},
		WebTokens: map[string]string{"web-token": webRole},
		Grants:    []Grant{{Token: "sso-token", Account: testAccount, RoleName: "Admin", User: "carol"}},
	})
}

// serve sends r to s without a network, as a server would have received it.
func serve(s *STS, r *http.Request) (status int, body string) {
	w := httptest.NewRecorder()
	in := r.Clone(r.Context())
	in.RequestURI = r.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	s.ServeHTTP(w, in)
	return w.Code, w.Body.String()
}

// code returns the code of an error as AWS words it.
func code(body string) string {
	var e struct {
		XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ ErrorResponse"`
		Code    string   `xml:"Error>Code"`
		Type    string   `xml:"Error>Type"`
		ID      string   `xml:"RequestId"`
	}
	if xml.Unmarshal([]byte(body), &e) != nil || e.Type != "Sender" || e.ID == "" {
		return ""
	}
	return e.Code
}

// base is the first of the proofs, temporary the one with a token.
func base() proof      { return proofCases()[0] }
func temporary() proof { return proofCases()[1] }

var requestIDShape = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`)

func TestGetCallerIdentity(t *testing.T) {
	t.Parallel()
	s := newSTS(newClock().now)
	server := httptest.NewServer(s)
	defer server.Close()
	for name, tt := range map[string]struct {
		p           proof
		arn, userID string
	}{
		"user":       {base(), testARN, "AIDACKCEVSQ6C2EXAMPLE"},
		"with token": {temporary(), "arn:aws:sts::111122223333:assumed-role/Dev/bob", "AROADEVDEVDEVEXAMPLE1:bob"},
	} {
		r := tt.p.signed(t).completed(t)
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(server.URL, "http://")
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>` + tt.arn + `</Arn>
    <UserId>` + tt.userID + `</UserId>
    <Account>111122223333</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>ID</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
`
		id := resp.Header.Get("x-amzn-RequestId")
		if !requestIDShape.MatchString(id) {
			t.Errorf("%s: x-amzn-RequestId = %q, want a UUID", name, id)
		}
		if diff := cmp.Diff(want, strings.Replace(string(data), id, "ID", 1)); diff != "" || resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/xml" {
			t.Errorf("%s: status %d, %s (-want +got):\n%s", name, resp.StatusCode, resp.Header.Get("Content-Type"), diff)
		}
	}
	want := Calls{Total: 2, GetCallerIdentity: 2, Answered: 2, Refusals: map[string]int{}}
	before := s.Calls()
	if diff := cmp.Diff(want, before); diff != "" {
		t.Errorf("Calls() (-want +got):\n%s", diff)
	}
	serve(s, base().completed(t)) // without a signature
	if diff := cmp.Diff(want, before); diff != "" {
		t.Errorf("what Calls() returned has changed since (-want +got):\n%s", diff)
	}
}

// What a proof is bound to cannot be changed afterwards, because of the signature
// and not because anybody compares it.
func TestChangedBindingIsRefused(t *testing.T) {
	t.Parallel()
	changes := map[string]func(*http.Request){
		"cluster":    func(r *http.Request) { r.Header.Set(auth.HeaderClusterID, "prod/us-west-2/3f2a9c02") },
		"nonce":      func(r *http.Request) { r.Header.Set(auth.HeaderNonce, testNonce[1:]+"x") },
		"tls key":    func(r *http.Request) { r.Header.Set(auth.HeaderTLS, "sha256:"+strings.Repeat("0", 64)) },
		"media type": func(r *http.Request) { r.Header.Set("Content-Type", "application/x-www-form-urlencoded") },
		"host":       func(r *http.Request) { r.Host = "sts.us-west-1.amazonaws.com" },
		"date":       func(r *http.Request) { r.Header.Set(auth.HeaderDate, "20260203T040507Z") },
		"no nonce":   func(r *http.Request) { r.Header.Del(auth.HeaderNonce) },
		"two nonces": func(r *http.Request) { r.Header.Add(auth.HeaderNonce, testNonce) },
		"signature": func(r *http.Request) {
			a := r.Header.Get("Authorization")
			r.Header.Set("Authorization", a[:len(a)-64]+flipHex(a[len(a)-64:]))
		},
		"body": func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader("Version=2011-06-15&Action=GetCallerIdentity"))
		},
	}
	for name, change := range changes {
		for _, p := range []proof{base(), temporary()} {
			s := newSTS(newClock().now)
			r := p.signed(t).completed(t)
			change(r)
			if status, body := serve(s, r); status != 403 || code(body) != "SignatureDoesNotMatch" {
				t.Errorf("%s changed: %d %s, want 403 SignatureDoesNotMatch", name, status, body)
			}
			if got := s.Calls(); got.Refused != 1 || got.Refusals["SignatureDoesNotMatch"] != 1 || got.Answered != 0 {
				t.Errorf("%s changed: Calls() = %+v, want one refused", name, got)
			}
		}
	}
	r := temporary().signed(t).completed(t)
	r.Header.Set(auth.HeaderSecurityToken, testToken[1:]+"=")
	if status, body := serve(newSTS(newClock().now), r); status != 403 || code(body) != "SignatureDoesNotMatch" {
		t.Errorf("token changed: %d %s, want 403 SignatureDoesNotMatch", status, body)
	}
}

func TestRefusalsInTheWordsOfAWS(t *testing.T) {
	t.Parallel()
	form := func(r *http.Request, text string) { r.Body = io.NopCloser(strings.NewReader(text)) }
	tests := []struct {
		name   string
		p      func(*proof)
		change func(*http.Request)
		status int
		code   string
	}{
		{"unsigned", nil, func(r *http.Request) { r.Header.Del("Authorization") }, 403, "MissingAuthenticationToken"},
		{"half an authorization", nil, func(r *http.Request) { r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=A") }, 400, "IncompleteSignature"},
		{"unknown key", func(p *proof) { p.AccessKeyID = "AKIANOBODYEXAMPLE000" }, nil, 403, "InvalidClientTokenId"},
		{"disabled key", func(p *proof) { p.AccessKeyID = "AKIADISABLEDEXAMPLE0" }, nil, 403, "InvalidClientTokenId"},
		{"disabled key and wrong secret", func(p *proof) { p.AccessKeyID, p.SecretAccessKey = "AKIADISABLEDEXAMPLE0", "x" }, nil, 403, "InvalidClientTokenId"},
		{"expired key", func(p *proof) { p.AccessKeyID = "AKIAEXPIREDEXAMPLE00" }, nil, 403, "ExpiredToken"},
		{"wrong secret", func(p *proof) { p.SecretAccessKey += "x" }, nil, 403, "SignatureDoesNotMatch"},
		{"a token where none belongs", func(p *proof) { p.SecurityToken = testToken }, nil, 403, "InvalidClientTokenId"},
		{"no token where one belongs", func(p *proof) { p.AccessKeyID = testTemp }, nil, 403, "InvalidClientTokenId"},
		{"another region", func(p *proof) { p.Region = "us-west-1" }, nil, 403, "SignatureDoesNotMatch"},
		{"signed for another host", func(p *proof) { p.Host = "sts.amazonaws.com" }, nil, 403, "SignatureDoesNotMatch"},
		{"signed for loopback", func(p *proof) { p.Host = "127.0.0.1:1" }, nil, 403, "SignatureDoesNotMatch"},
		{"16 minutes old", func(p *proof) { p.AMZDate = "20260203T034906Z" }, nil, 403, "SignatureDoesNotMatch"},
		{"unknown action", nil, func(r *http.Request) { form(r, "Action=GetSessionToken&Version=2011-06-15") }, 400, "InvalidAction"},
		{"action that is markup", nil, func(r *http.Request) { form(r, "Action=%3C/Message%3E%26&Version=2011-06-15") }, 400, "InvalidAction"},
		{"another version", nil, func(r *http.Request) { form(r, "Action=GetCallerIdentity&Version=2012-01-01") }, 400, "InvalidAction"},
		{"two actions", nil, func(r *http.Request) { form(r, "Action=GetCallerIdentity&Action=AssumeRole&Version=2011-06-15") }, 400, "MissingAction"},
		{"no body", nil, func(r *http.Request) { form(r, "") }, 400, "MissingAction"},
		{"action in the query of a post", nil, func(r *http.Request) { r.URL.RawQuery = auth.ProofBody; form(r, "") }, 400, "MissingAction"},
		{"long body", nil, func(r *http.Request) { form(r, strings.Repeat("A", maxBody+1)) }, 413, "RequestEntityTooLarge"},
		{"another path", nil, func(r *http.Request) { r.URL.Path = "/x" }, 404, "UnknownOperationException"},
		{"another method", nil, func(r *http.Request) { r.Method, r.URL.RawQuery = "PUT", auth.ProofBody }, 405, "UnsupportedMethod"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSTS(newClock().now)
			p := base()
			if tt.p != nil {
				tt.p(&p)
			}
			r := p.signed(t).completed(t)
			if tt.change != nil {
				tt.change(r)
			}
			status, body := serve(s, r)
			if status != tt.status || code(body) != tt.code {
				t.Errorf("status %d, code %q, want %d %q\n%s", status, code(body), tt.status, tt.code, body)
			}
			if got := s.Calls(); got.Total != 1 || got.Refused != 1 || got.Refusals[tt.code] != 1 {
				t.Errorf("Calls() = %+v, want one refused with %s", got, tt.code)
			}
		})
	}
}

// A GET carries its action in the query, and is signed as one.
func TestGet(t *testing.T) {
	t.Parallel()
	m := message{method: http.MethodGet, path: "/", query: auth.ProofBody, header: http.Header{}}
	if status, body := serve(newSTS(newClock().now), m.signed(t, "")); status != 200 || !strings.Contains(body, testARN) {
		t.Errorf("GET /?%s = %d %s, want 200 and %s", m.query, status, body, testARN)
	}
	r := m.signed(t, "")
	r.URL.RawQuery += "&x=1"
	if status, body := serve(newSTS(newClock().now), r); code(body) != "SignatureDoesNotMatch" {
		t.Errorf("GET with a changed query = %d %s, want SignatureDoesNotMatch", status, body)
	}
}

func TestSetIdentityAddsAndRevokes(t *testing.T) {
	t.Parallel()
	s := newSTS(newClock().now)
	p := base()
	p.AccessKeyID = "AKIALATECOMEREXAMPLE"
	id := Identity{AccessKeyID: p.AccessKeyID, SecretAccessKey: p.SecretAccessKey, ARN: testARN, UserID: "AIDA", Account: testAccount}
	s.SetIdentity(id)
	if status, body := serve(s, p.signed(t).completed(t)); status != 200 {
		t.Errorf("with an added key: %d %s, want 200", status, body)
	}
	id.Disabled = true
	s.SetIdentity(id)
	if _, body := serve(s, p.signed(t).completed(t)); code(body) != "InvalidClientTokenId" {
		t.Errorf("with a disabled key: %s, want InvalidClientTokenId", body)
	}
}

func TestDefaultHost(t *testing.T) {
	t.Parallel()
	for cfg, want := range map[[2]string]string{
		{"us-west-2", ""}:                "sts.us-west-2.amazonaws.com",
		{"us-gov-west-1", ""}:            "sts.us-gov-west-1.amazonaws.com",
		{"cn-north-1", ""}:               "sts.cn-north-1.amazonaws.com.cn",
		{"us-west-2", "vpce-1.internal"}: "vpce-1.internal",
	} {
		if got := NewSTS(Config{Region: cfg[0], Host: cfg[1]}).Host(); got != want {
			t.Errorf("Host() of %v = %q, want %q", cfg, got, want)
		}
	}
}

func TestFaults(t *testing.T) {
	t.Parallel()
	s := newSTS(newClock().now)
	call := func() (int, string) { return serve(s, base().signed(t).completed(t)) }

	s.SetDown(true)
	if status, body := call(); status != 503 || !strings.HasPrefix(body, "<html>") {
		t.Errorf("down: %d %s, want a page with 503", status, body)
	}
	s.SetDown(false)
	s.SetThrottle(true)
	if status, body := call(); status != 400 || code(body) != "Throttling" {
		t.Errorf("throttled: %d %s, want 400 Throttling", status, body)
	}
	s.SetThrottle(false)
	s.SetAnswer(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write(body)
	})
	if status, body := call(); status != http.StatusTeapot || body != auth.ProofBody {
		t.Errorf("own answer: %d %s, want 418 and the body of the request", status, body)
	}
	s.SetAnswer(nil)
	if status, body := call(); status != 200 {
		t.Errorf("restored: %d %s, want 200", status, body)
	}
	want := Calls{Total: 4, GetCallerIdentity: 4, Answered: 1, Faults: 3, Refusals: map[string]int{}}
	if diff := cmp.Diff(want, s.Calls()); diff != "" {
		t.Errorf("Calls() (-want +got):\n%s", diff)
	}
}

func TestDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSTS(newClock().now)
		s.SetDelay(3 * time.Second)
		begun := time.Now()
		if status, _ := serve(s, base().signed(t).completed(t)); status != 200 || time.Since(begun) != 3*time.Second {
			t.Errorf("status %d after %s, want 200 after 3s", status, time.Since(begun))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun = time.Now()
		serve(s, base().signed(t).completed(t).WithContext(ctx))
		if got := s.Calls(); time.Since(begun) != time.Second || got.Total != 2 || got.Answered != 1 {
			t.Errorf("a caller who left: %+v after %s, want 2 calls and 1 answer after 1s", got, time.Since(begun))
		}
	})
}

func TestCallsAtOnce(t *testing.T) {
	t.Parallel()
	s := newSTS(newClock().now)
	requests := make([]*http.Request, 40)
	for i := range requests {
		requests[i] = base().signed(t).completed(t)
		if i%2 == 1 {
			requests[i].Header.Set(auth.HeaderNonce, "x")
		}
	}
	var group sync.WaitGroup
	for i, r := range requests {
		group.Go(func() {
			s.SetIdentity(Identity{AccessKeyID: "AKIAOTHER", SecretAccessKey: "s"})
			serve(s, r)
			s.SetDelay(time.Duration(i % 2))
			_ = s.Calls()
		})
	}
	group.Wait()
	want := Calls{Total: 40, GetCallerIdentity: 40, Answered: 20, Refused: 20, Refusals: map[string]int{"SignatureDoesNotMatch": 20}}
	if diff := cmp.Diff(want, s.Calls()); diff != "" {
		t.Errorf("Calls() (-want +got):\n%s", diff)
	}
}
