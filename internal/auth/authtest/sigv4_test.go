package authtest

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"pgregory.net/rapid"
)

func canonicalOf(err error) string {
	var v *VerifyError
	if errors.As(err, &v) {
		return v.Canonical
	}
	return ""
}

// message is a request before it is signed.
type message struct {
	method, path, query string
	header              http.Header
	body                string
}

func (m message) request() *http.Request {
	r := httptest.NewRequest(m.method, "http://"+testHost+m.path+"?"+m.query, strings.NewReader(m.body))
	r.Header = m.header.Clone()
	return r
}

// signed has the SDK sign m at testTime, with a token where there is one.
func (m message) signed(t failer, token string) *http.Request {
	t.Helper()
	return m.signedFor(t, testHost, token)
}

// failer is what tests, fuzzing and properties have in common.
type failer interface {
	Helper()
	Fatal(...any)
}

func (m message) signedFor(t failer, host, token string) *http.Request {
	t.Helper()
	r := m.request()
	r.Host = host
	r.RequestURI = "" // it is about to be sent
	c := aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: token}
	if err := v4.NewSigner().SignHTTP(r.Context(), c, r, hexSum([]byte(m.body)), "sts", testRegion, testTime); err != nil {
		t.Fatal(err)
	}
	return r
}

// judge verifies with what the tests of this file sign with.
func judge(r *http.Request, body, token string) error {
	_, err := Verify(r, []byte(body), func(key string) (string, string, bool) {
		return testSecret, token, key == testKey
	}, "sts", testRegion, testTime)
	return err
}

func sample() message {
	return message{
		method: http.MethodPost, path: "/folder/name%20x", query: "b=2&a=1&a=0&c=%2F",
		header: http.Header{"Content-Type": {"text/plain"}, "X-Amz-Meta-Note": {"some  text"}, "X-Other": {"one", "two"}},
		body:   "Action=GetCallerIdentity&Version=2011-06-15",
	}
}

func TestVerifyWhatTheSDKSigns(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		m     message
		token string
	}{
		{"everything at once", sample(), ""},
		{"with a token", sample(), testToken},
		{"bare", message{method: http.MethodGet, path: "/", header: http.Header{}}, ""},
		{"folders", message{method: http.MethodGet, path: "/a/b/", header: http.Header{}}, ""},
		{"spaces in the query", message{method: http.MethodGet, path: "/", query: "a=b%20c&d=%C3%A9", header: http.Header{}}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := tt.m.signed(t, tt.token)
			if err := judge(r, tt.m.body, tt.token); err != nil {
				t.Errorf("Verify(as built) = %v, want nil\n%s", err, canonicalOf(err))
			}
			var got error
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				got = judge(r, tt.m.body, tt.token)
			}))
			defer server.Close()
			r.URL.Host = strings.TrimPrefix(server.URL, "http://") // r.Host stays
			resp, err := server.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got != nil {
				t.Errorf("Verify(as received) = %v, want nil\n%s", got, canonicalOf(got))
			}
		})
	}
}

// other is a byte that no canonical form makes the same as c.
func other(c byte) byte {
	if c == 'x' {
		return 'y'
	}
	return 'x'
}

func alter(s string, i int) string { return s[:i] + string(other(s[i])) + s[i+1:] }

func TestEveryByteIsSigned(t *testing.T) {
	t.Parallel()
	m := sample()
	m.header.Set("X-Amz-Meta-Note", "text")
	fresh := func() *http.Request { return m.signed(t, testToken) }
	refused := func(what string, r *http.Request, body string) {
		t.Helper()
		if err := judge(r, body, testToken); err == nil {
			t.Errorf("Verify(%s changed) = nil, want a refusal", what)
		}
	}
	for i := range m.body {
		refused("body["+string(m.body[i])+"]", fresh(), alter(m.body, i))
	}
	refused("body longer", fresh(), m.body+" ")
	refused("body shorter", fresh(), m.body[:len(m.body)-1])
	for name, values := range fresh().Header {
		for v, value := range values {
			for i := range value {
				r := fresh()
				r.Header[name][v] = alter(value, i)
				refused(name, r, m.body)
			}
		}
	}
	for i := range testHost {
		r := fresh()
		r.Host = alter(testHost, i)
		refused("host", r, m.body)
	}
	for i := range m.method {
		r := fresh()
		r.Method = alter(m.method, i)
		refused("method", r, m.body)
	}
	target := fresh().URL.RequestURI()
	for i := 1; i < len(target); i++ {
		r := fresh()
		r.RequestURI = alter(target, i)
		refused("target "+r.RequestURI, r, m.body)
	}
}

func TestPropertyOneChangedByteIsRefused(t *testing.T) {
	t.Parallel()
	word := rapid.StringMatching(`[A-Za-z0-9_.~%+ /:=-]{1,12}`)
	rapid.Check(t, func(t *rapid.T) {
		query := url.Values{}
		for range rapid.IntRange(0, 3).Draw(t, "parameters") {
			query.Add(word.Draw(t, "name"), word.Draw(t, "value"))
		}
		m := message{
			method: rapid.SampledFrom([]string{"GET", "POST", "PUT"}).Draw(t, "method"),
			// Not . or ..: the SDK signs them as they are, where AWS and its suite resolve them.
			path:   "/" + url.PathEscape(word.Draw(t, "folder")+"p") + "/" + url.PathEscape(word.Draw(t, "path")+"p"),
			query:  query.Encode(),
			header: http.Header{"X-Note": {strings.TrimSpace(word.Draw(t, "note")) + "."}},
			body:   rapid.String().Draw(t, "body"),
		}
		r := m.signed(t, "")
		if err := judge(r, m.body, ""); err != nil {
			t.Fatalf("Verify(unchanged) = %v, want nil\n%s", err, canonicalOf(err))
		}
		body := m.body
		switch part := rapid.SampledFrom([]string{"body", "note", "path", "query"}).Draw(t, "part"); {
		case part == "body" && body != "":
			body = alter(body, rapid.IntRange(0, len(body)-1).Draw(t, "at"))
		case part == "query" && m.query != "":
			r.URL.RawQuery += "0"
		case part == "path":
			r.URL = &url.URL{Path: r.URL.Path + "x", RawQuery: r.URL.RawQuery}
		default:
			note := r.Header.Get("X-Note")
			r.Header.Set("X-Note", alter(note, len(note)-1))
		}
		if err := judge(r, body, ""); ReasonOf(err) != ReasonSignature {
			t.Fatalf("Verify(changed) = %v, want %q", err, ReasonSignature)
		}
	})
}

func TestReasons(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) func(*http.Request) {
		return func(r *http.Request) {
			a := r.Header.Get("Authorization")
			if !strings.Contains(a, old) {
				panic("the test is about " + old + ", which is not in " + a)
			}
			r.Header.Set("Authorization", strings.Replace(a, old, with, 1))
		}
	}
	date := func(d time.Duration) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("X-Amz-Date", testTime.Add(d).Format(dateLayout)) }
	}
	tests := []struct {
		name   string
		change func(*http.Request)
		want   Reason
	}{
		{"no header", func(r *http.Request) { r.Header.Del("Authorization") }, ReasonMissing},
		{"another scheme", replace("AWS4-HMAC-SHA256", "Bearer"), ReasonMissing},
		{"asymmetric", replace("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), ReasonMissing},
		{"two headers", func(r *http.Request) { r.Header.Add("Authorization", r.Header.Get("Authorization")) }, ReasonMalformed},
		{"too long", replace("SignedHeaders=", "SignedHeaders=a"+strings.Repeat("a", maxAuthHeader)+";"), ReasonMalformed},
		{"two signatures", replace("Signature=", "Signature="+strings.Repeat("0", 64)+", Signature="), ReasonMalformed},
		{"one field more", replace("Signature=", "Region=us-west-2, Signature="), ReasonMalformed},
		{"no signed headers", replace("SignedHeaders=", "Signed="), ReasonMalformed},
		{"short credential", replace("/aws4_request", ""), ReasonMalformed},
		{"signature in upper case", replace("Signature=", "Signature=A"), ReasonMalformed},
		{"signed headers in upper case", replace("host;", "Host;"), ReasonMalformed},
		{"a signed header twice", replace("host;", "host;host;"), ReasonMalformed},
		{"signed headers out of order", replace("SignedHeaders=content-length;", "SignedHeaders=x-zzz;content-length;"), ReasonMalformed},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, ReasonMalformed},
		{"two dates", func(r *http.Request) { r.Header.Add("X-Amz-Date", "20260203T040506Z") }, ReasonMalformed},
		{"no such date", func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260230T040506Z") }, ReasonMalformed},
		{"host unsigned", replace("host;", ""), ReasonUnsigned},
		{"date unsigned", replace("x-amz-date;", ""), ReasonUnsigned},
		{"token unsigned", replace("x-amz-security-token;", ""), ReasonUnsigned},
		{"a new x-amz header", func(r *http.Request) { r.Header.Set("X-Amz-Later", "1") }, ReasonUnsigned},
		{"scope of another day", replace("/20260203/", "/20260204/"), ReasonScope},
		{"scope of another region", replace("/us-west-2/", "/us-west-1/"), ReasonScope},
		{"scope of another service", replace("/sts/", "/s3/"), ReasonScope},
		{"scope of another kind", replace("aws4_request", "aws5_request"), ReasonScope},
		{"15 minutes old", date(-MaxSkew), ReasonSignature},
		{"older", date(-MaxSkew - time.Second), ReasonSkew},
		{"15 minutes ahead", date(MaxSkew), ReasonSignature},
		{"further ahead", date(MaxSkew + time.Second), ReasonSkew},
		{"unknown key", replace(testKey, "AKIAUNKNOWNEXAMPLE00"), ReasonKey},
		{"a signed header that is gone", func(r *http.Request) { r.Header.Del("X-Other") }, ReasonSignature},
		{"one value less", func(r *http.Request) { r.Header.Set("X-Other", "one") }, ReasonSignature},
		{"an unsigned header that is not of AWS", func(r *http.Request) { r.Header.Set("X-Later", "1") }, ""},
		{"spaces around a value", func(r *http.Request) { r.Header.Set("Content-Type", "  text/plain ") }, ""},
		{"a query that cannot be decoded", func(r *http.Request) { r.URL.RawQuery = "a=%G0" }, ReasonMalformed},
		{"a query that ends early", func(r *http.Request) { r.URL.RawQuery = "a=%2" }, ReasonMalformed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := sample()
			r := m.signed(t, testToken)
			tt.change(r)
			if err := judge(r, m.body, testToken); ReasonOf(err) != tt.want {
				t.Errorf("Verify() = %v, want the reason %q", err, tt.want)
			}
		})
	}
	t.Run("a token of somebody else, properly signed", func(t *testing.T) {
		t.Parallel()
		m := sample()
		if err := judge(m.signed(t, testToken), m.body, testToken+"x"); ReasonOf(err) != ReasonToken {
			t.Errorf("Verify() = %v, want the reason %q", err, ReasonToken)
		}
		if err := judge(m.signed(t, testToken), m.body, ""); ReasonOf(err) != ReasonToken {
			t.Errorf("Verify(for a key without token) = %v, want the reason %q", err, ReasonToken)
		}
		if err := judge(m.signed(t, ""), m.body, testToken); ReasonOf(err) != ReasonToken {
			t.Errorf("Verify(without its token) = %v, want the reason %q", err, ReasonToken)
		}
	})
}

// A header that is signed and empty is not the same as one that is not there.
func TestSignedEmptyHeaderMustBeThere(t *testing.T) {
	t.Parallel()
	m := sample()
	m.header.Set("X-Empty", "")
	r := m.signed(t, "")
	if err := judge(r, m.body, ""); err != nil {
		t.Errorf("Verify(with the empty header) = %v, want nil", err)
	}
	r.Header.Del("X-Empty")
	if err := judge(r, m.body, ""); ReasonOf(err) != ReasonSignature {
		t.Errorf("Verify(without it) = %v, want %q", err, ReasonSignature)
	}
}

func FuzzVerify(f *testing.F) {
	good := sample().signed(f, "")
	f.Add(alter(good.Header.Get("Authorization"), len(good.Header.Get("Authorization"))-1), "20260203T040506Z", "/?a=%20", "body")
	f.Add("AWS4-HMAC-SHA256 Credential=A/1/2/3/4, SignedHeaders=host, Signature=0", "", "//../%", "")
	f.Add("AWS4-HMAC-SHA256 ,,==", "20260203T040506Z", "?%2", "")
	f.Fuzz(func(t *testing.T, authorization, date, uri, body string) {
		r := &http.Request{
			Method: http.MethodPost, Host: testHost, RequestURI: "/" + uri, URL: &url.URL{}, ContentLength: int64(len(body)),
			Header: http.Header{"Authorization": {authorization}, "X-Amz-Date": {date}},
		}
		key, err := Verify(r, []byte(body), func(string) (string, string, bool) { return testSecret, "", true }, "sts", testRegion, testTime)
		if err == nil {
			t.Errorf("Verify() = %q for a request that nobody signed", key)
		} else if ReasonOf(err) == "" {
			t.Errorf("Verify() = %v, want one of the reasons", err)
		}
	})
}
