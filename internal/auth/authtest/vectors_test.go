package authtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"
)

// suite is testdata/aws-vectors.json.
type suite struct {
	AccessKeyID string    `json:"access_key_id"`
	Secret      string    `json:"secret_access_key"`
	Region      string    `json:"region"`
	Service     string    `json:"service"`
	Time        time.Time `json:"time"`
	Vectors     []vector  `json:"vectors"`
}

type vector struct {
	Name          string `json:"name"`
	Request       string `json:"request"`
	SignedHeaders string `json:"signed_headers"`
	Signature     string `json:"signature"`
	Normalize     bool   `json:"normalize"`
	Token         string `json:"token"`
}

func readSuite(t *testing.T) suite {
	t.Helper()
	data, err := os.ReadFile("testdata/aws-vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var s suite
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// parse reads the request of a vector, in the suite's own understanding: a space in the
// path belongs to it, and a line that goes on is one more value. net/http refuses the
// first and reads a folded line as one value.
func (v vector) parse(t *testing.T) (*http.Request, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(v.Request, "\n\n")
	lines := strings.Split(head, "\n")
	first, ok := strings.CutSuffix(lines[0], " HTTP/1.1")
	method, uri, found := strings.Cut(first, " ")
	if !ok || !found {
		t.Fatalf("%q is no request line", lines[0])
	}
	r := &http.Request{Method: method, RequestURI: uri, URL: &url.URL{}, Header: http.Header{}, ContentLength: -1}
	last := ""
	for _, line := range lines[1:] {
		name, value, ok := strings.Cut(line, ":")
		switch {
		case !ok:
			r.Header.Add(last, line)
		case name == "Host":
			r.Host = value
		default:
			last = name
			r.Header.Add(name, value)
		}
	}
	return r, []byte(body)
}

func (s suite) lookup(token string) Lookup {
	return func(keyID string) (string, string, bool) { return s.Secret, token, keyID == s.AccessKeyID }
}

func (s suite) rules(rawPath bool) rules {
	return rules{service: s.Service, region: s.Region, now: s.Time, rawPath: rawPath}
}

func (s suite) authorize(r *http.Request, v vector) {
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+s.AccessKeyID+"/"+s.Time.Format("20060102")+"/"+s.Region+"/"+
		s.Service+"/aws4_request, SignedHeaders="+v.SignedHeaders+", Signature="+v.Signature)
}

func TestVectorsOfAWS(t *testing.T) {
	t.Parallel()
	s := readSuite(t)
	if len(s.Vectors) < 20 {
		t.Fatalf("there are %d vectors, want at least 20", len(s.Vectors))
	}
	for _, v := range s.Vectors {
		t.Run(v.Name, func(t *testing.T) {
			t.Parallel()
			r, body := v.parse(t)
			s.authorize(r, v)
			key, err := verify(r, body, s.lookup(v.Token), s.rules(!v.Normalize))
			if err != nil || key != s.AccessKeyID {
				t.Errorf("verify() = %q, %v, want %q\ncanonical request:\n%s", key, err, s.AccessKeyID, canonicalOf(err))
			}
			// A vector that verifies whatever it says would prove nothing.
			v.Signature = flipHex(v.Signature)
			s.authorize(r, v)
			if _, err := verify(r, body, s.lookup(v.Token), s.rules(!v.Normalize)); ReasonOf(err) != ReasonSignature {
				t.Errorf("verify(another signature) = %v, want %q", err, ReasonSignature)
			}
		})
	}
}

func flipHex(s string) string {
	if s[0] == '0' {
		return "1" + s[1:]
	}
	return "0" + s[1:]
}
