package awsrest

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// environment is one of a test.
func environment(values map[string]string) func(string) string {
	return func(name string) string { return values[name] }
}

var someKeys = environment(map[string]string{"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret"})

// served is a client of a server.
func served(t *testing.T, getenv func(string) string, handler http.HandlerFunc) (*Client, string) {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return New(Config{Region: "us-east-1", S3: server.URL, SQS: server.URL, Credentials: &Credentials{Getenv: getenv, STS: server.URL}}), server.URL
}

// What passes is asked again, and what does not is told at once.
func TestAsksAgain(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		status  int
		text    string
		asked   int64
		refused bool
		code    string
	}{
		{"an error of S3", 500, "<Error><Code>InternalError</Code><Message>so it is</Message></Error>", 4, false, "InternalError"},
		{"too many requests", 503, "<Error><Code>SlowDown</Code></Error>", 4, false, "SlowDown"},
		{"too slow", 400, "<Error><Code>RequestTimeout</Code></Error>", 4, false, "RequestTimeout"},
		{"a throttle of SQS", 403, `{"__type": "com.amazonaws.sqs#RequestThrottled", "message": "m"}`, 4, false, "RequestThrottled"},
		{"a condition", 412, "<Error><Code>PreconditionFailed</Code></Error>", 1, true, "PreconditionFailed"},
		{"another write", 409, "<Error><Code>ConditionalRequestConflict</Code></Error>", 1, true, "ConditionalRequestConflict"},
		{"not allowed", 403, "<Error><Code>AccessDenied</Code></Error>", 1, true, "AccessDenied"},
		{"nothing that can be read", 502, "<html>", 4, false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			c, _ := served(t, someKeys, func(w http.ResponseWriter, r *http.Request) {
				if body, err := io.ReadAll(r.Body); string(body) != "text" || err != nil {
					t.Errorf("it was sent %q, %v", body, err)
				}
				asked.Add(1)
				w.WriteHeader(tt.status)
				fmt.Fprint(w, tt.text)
			})
			_, err := c.Bucket("b", "").Put(t.Context(), "a", []byte("text"), If{})
			if err == nil || asked.Load() != tt.asked || Refused(err) != tt.refused || Code(err) != tt.code || Status(err) != tt.status {
				t.Errorf("Put() = %v (%q, %d), asked %d times, refused %v; want %q after %d", err, Code(err), Status(err), asked.Load(), Refused(err), tt.code, tt.asked)
			}
		})
	}
}

// An answer that breaks off is asked for again; one that is there is not.
func TestAnswerBreaksOff(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	c, _ := served(t, someKeys, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4")
		if asked.Add(1) == 1 {
			fmt.Fprint(w, "te")
			return
		}
		w.Header().Set("ETag", `"e"`)
		fmt.Fprint(w, "text")
	})
	if o, err := c.Bucket("b", "").Get(t.Context(), "a", ""); err != nil || string(o.Data) != "text" || o.ETag != `"e"` || asked.Load() != 2 {
		t.Errorf("Get() = %q, %v after %d", o.Data, err, asked.Load())
	}
}

// Where a bucket is: below its own name, where that can have a certificate.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ region, bucket, at, base string }{
		{"eu-west-1", "items", "https://items.s3.eu-west-1.amazonaws.com", ""},
		{"eu-west-1", "my.items", "https://s3.eu-west-1.amazonaws.com", "/my.items"},
		{"cn-north-1", "items", "https://items.s3.cn-north-1.amazonaws.com.cn", ""},
	} {
		b := New(Config{Region: tt.region}).Bucket(tt.bucket, "")
		if b.at != tt.at || b.base != tt.base {
			t.Errorf("%s in %s is at %s%s, want %s%s", tt.bucket, tt.region, b.at, b.base, tt.at, tt.base)
		}
	}
}

// Keys are found where AWS puts them, kept, and asked for again when they are about to end or
// are not taken any more.
func TestCredentials(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("pod-token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var given, refused atomic.Int64
	until := time.Now().Add(time.Hour)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/agent":
			if got := r.Header.Get("Authorization"); got != "pod-token" {
				t.Errorf("the agent is shown %q", got)
			}
			fmt.Fprintf(w, `{"AccessKeyId": "POD%d", "SecretAccessKey": "s", "Token": "t", "Expiration": %q}`, given.Add(1), until.Format(time.RFC3339))
		case r.FormValue("Action") == "AssumeRoleWithWebIdentity":
			if r.FormValue("RoleArn") != "arn:role" || r.FormValue("WebIdentityToken") != "pod-token" || r.Header.Get("Authorization") != "" {
				t.Errorf("STS is asked for %v", r.Form)
			}
			fmt.Fprintf(w, `<AssumeRoleWithWebIdentityResponse xmlns="x"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>WEB%d</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, given.Add(1), until.Format(time.RFC3339))
		case refused.Add(-1) >= 0:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, "<Error><Code>ExpiredToken</Code></Error>")
		default:
			w.Header().Set("X-Was", strings.SplitN(strings.SplitN(r.Header.Get("Authorization"), "Credential=", 2)[1], "/", 2)[0])
		}
	}))
	defer server.Close()
	agent := map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": server.URL + "/agent", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": file}
	for _, tt := range []struct {
		name    string
		env     map[string]string
		refused int64
		want    string // access key of the third request, or the error
	}{
		{"a pair", map[string]string{"AWS_ACCESS_KEY_ID": "A", "AWS_SECRET_ACCESS_KEY": "B"}, 0, "A"},
		{"half a pair", map[string]string{"AWS_ACCESS_KEY_ID": "A"}, 0, "only one is set"},
		{"nothing", nil, 0, "no AWS credentials"},
		{"the agent of the node", agent, 0, "POD1"},
		{"keys that are not taken any more", agent, 1, "POD2"},
		{"a web identity", map[string]string{"AWS_ROLE_ARN": "arn:role", "AWS_WEB_IDENTITY_TOKEN_FILE": file}, 0, "WEB1"},
		{"an agent elsewhere", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://example.com/"}, 0, "neither an https address nor one of this node"},
	} {
		given.Store(0)
		refused.Store(tt.refused)
		c := New(Config{Region: "us-east-1", S3: server.URL, Credentials: &Credentials{Getenv: environment(tt.env), STS: server.URL}})
		var got string
		for range 3 {
			h, _, err := c.call(t.Context(), c.Bucket("b", "").ask(http.MethodGet, "a"))
			if got = h.Get("X-Was"); err != nil {
				got = err.Error()
			}
		}
		if got != tt.want && (len(tt.want) < 6 || !strings.Contains(got, tt.want)) {
			t.Errorf("%s: signed by %s, want %s", tt.name, got, tt.want)
		}
	}
	// Keys that are about to end are used while there are no others.
	c := &Credentials{Getenv: environment(nil), keys: Keys{ID: "OLD", Until: time.Now().Add(2 * time.Minute)}}
	if k, err := c.Get(t.Context()); k.ID != "OLD" || err != nil {
		t.Errorf("Get() = %s, %v, want those that still are good", k.ID, err)
	}
	c.keys.Until = time.Now()
	if k, err := c.Get(t.Context()); !errors.Is(err, errNoKeys) {
		t.Errorf("Get() = %s, %v after they have ended", k.ID, err)
	}
}

func FuzzErrorOf(f *testing.F) {
	f.Add(400, []byte("<Error><Code>A</Code><Message>b</Message></Error>"))
	f.Add(400, []byte("<ErrorResponse><Error><Code>A</Code></Error></ErrorResponse>"))
	f.Add(500, []byte(`{"__type": "a#b", "message": "c"}`))
	f.Fuzz(func(t *testing.T, status int, data []byte) {
		if e := errorOf(&http.Response{StatusCode: status}, data); e.Status != status || e.Error() == "" || len(e.Message) > 500 {
			t.Errorf("%d %q is %+v", status, data, e)
		}
	})
}
