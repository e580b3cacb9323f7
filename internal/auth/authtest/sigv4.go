package authtest

import (
	"crypto/hmac"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Reason is why a request was not verified.
type Reason string

// The reasons, in the order in which they are looked for.
const (
	ReasonMissing   Reason = "missing authorization"    // no Authorization header, or one of another scheme
	ReasonMalformed Reason = "malformed authorization"  // what is there cannot be read
	ReasonUnsigned  Reason = "unsigned header"          // host or an x-amz- header is not among the signed ones
	ReasonScope     Reason = "bad scope"                // another day, region, service or terminator
	ReasonSkew      Reason = "clock skew"               // more than MaxSkew from now
	ReasonKey       Reason = "unknown key"              // lookup does not know it
	ReasonSignature Reason = "signature does not match" // over what was received
	ReasonToken     Reason = "wrong security token"     // it is signed, but does not belong to the key
)

// MaxSkew is how far the date of a request may be from the verifier's clock.
const MaxSkew = 15 * time.Minute

// VerifyError says why a request was not verified. Canonical is the canonical request
// the judge arrived at, where it got that far: what to compare a signer's with.
type VerifyError struct {
	Reason    Reason
	Detail    string
	Canonical string
}

func (e *VerifyError) Error() string {
	if e.Detail == "" {
		return string(e.Reason)
	}
	return string(e.Reason) + ": " + e.Detail
}

// ReasonOf returns the reason of an error of Verify, and "" of any other.
func ReasonOf(err error) Reason {
	var v *VerifyError
	if errors.As(err, &v) {
		return v.Reason
	}
	return ""
}

func refuse(reason Reason, detail string) error { return &VerifyError{Reason: reason, Detail: detail} }

// Lookup returns the secret of an access key, and the security token that belongs
// to it ("" for a key that has none).
type Lookup func(accessKeyID string) (secret, token string, ok bool)

// Verify returns whose signature r carries in its Authorization header, or a
// *VerifyError. It demands what AWS demands: that host and every x-amz- header are
// signed, that the credential's scope is the day of x-amz-date, region, service and
// aws4_request, and that the date is within MaxSkew of now. The payload's hash is
// always that of body. Requests signed in their query string are not known here.
//
// r may have been received or be about to be sent.
func Verify(r *http.Request, body []byte, lookup func(accessKeyID string) (secret, token string, ok bool), service, region string, now time.Time) (accessKeyID string, err error) {
	return verify(r, body, lookup, rules{service: service, region: region, now: now})
}

// VerifyS3 is Verify for requests to S3, whose rules differ: the path is signed as it is on
// the wire, and the payload may be left out of the signature.
func VerifyS3(r *http.Request, body []byte, lookup func(accessKeyID string) (secret, token string, ok bool), service, region string, now time.Time) (accessKeyID string, err error) {
	return verify(r, body, lookup, rules{service: service, region: region, now: now, s3: true})
}

// rules are what a verification is held against.
type rules struct {
	service, region string
	now             time.Time
	rawPath         bool // the path is signed as it is, with its dots and double slashes
	s3              bool // as S3 has it: its path is encoded once, and its payload may be unsigned
}

func verify(r *http.Request, body []byte, lookup Lookup, want rules) (string, error) {
	a, err := parseAuthorization(r.Header)
	if err != nil {
		return "", err
	}
	date, err := signedDate(r.Header)
	if err != nil {
		return "", err
	}
	if err := checkSigned(r.Header, a.signed); err != nil {
		return "", err
	}
	if err := checkScope(a.scope, date, want); err != nil {
		return "", err
	}
	if err := checkSkew(date, want.now); err != nil {
		return "", err
	}
	secret, token, ok := lookup(a.keyID)
	if !ok {
		return "", refuse(ReasonKey, a.keyID)
	}
	canonical, err := canonicalRequest(r, body, a.signed, want)
	if err != nil {
		return "", err
	}
	scope := strings.Join(a.scope, "/")
	toSign := algorithm + "\n" + date + "\n" + scope + "\n" + hexSum([]byte(canonical))
	got, err := hex.DecodeString(a.signature)
	if err != nil || !hmac.Equal(got, mac(signingKey(secret, a.scope), toSign)) {
		return "", &VerifyError{Reason: ReasonSignature, Canonical: canonical}
	}
	// After the signature: a token that was changed on its way is a signature that
	// does not match; one that was signed and is not the key's is a wrong one.
	if !hmac.Equal([]byte(r.Header.Get("X-Amz-Security-Token")), []byte(token)) {
		return "", refuse(ReasonToken, a.keyID)
	}
	return a.keyID, nil
}

const (
	algorithm     = "AWS4-HMAC-SHA256"
	terminator    = "aws4_request"
	dateLayout    = "20060102T150405Z"
	maxAuthHeader = 8 << 10
)

// authorization is what the header of that name says.
type authorization struct {
	keyID     string
	scope     []string // date, region, service, terminator
	signed    []string // names of headers: lower case, sorted, each once
	signature string
}

var (
	keyIDShape     = regexp.MustCompile(`^[A-Za-z0-9]{1,128}$`)
	signatureShape = regexp.MustCompile(`^[0-9a-f]{64}$`)
	headerShape    = regexp.MustCompile("^[a-z0-9!#$%&'*+.^_`|~-]+$")
)

// parseAuthorization reads `AWS4-HMAC-SHA256 Credential=…, SignedHeaders=…, Signature=…`.
func parseAuthorization(h http.Header) (a authorization, err error) {
	values := h.Values("Authorization")
	if len(values) == 0 || values[0] == "" {
		return a, refuse(ReasonMissing, "")
	}
	if len(values) > 1 || len(values[0]) > maxAuthHeader {
		return a, refuse(ReasonMalformed, "Authorization must be there once, and short")
	}
	scheme, rest, _ := strings.Cut(values[0], " ")
	if scheme != algorithm {
		return a, refuse(ReasonMissing, "the scheme is not "+algorithm)
	}
	fields := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if _, twice := fields[name]; !ok || twice {
			return a, refuse(ReasonMalformed, "Authorization is no list of different names and values")
		}
		fields[name] = value
	}
	credential := strings.Split(fields["Credential"], "/")
	a.signed = strings.Split(fields["SignedHeaders"], ";")
	a.signature = fields["Signature"]
	switch {
	case len(fields) != 3:
		return a, refuse(ReasonMalformed, "Authorization requires Credential, SignedHeaders and Signature, and nothing else")
	case len(credential) != 5 || !keyIDShape.MatchString(credential[0]):
		return a, refuse(ReasonMalformed, "Credential must have exactly 5 slash-delimited elements")
	case !signatureShape.MatchString(a.signature):
		return a, refuse(ReasonMalformed, "Signature is not 64 hexadecimal digits in lower case")
	}
	a.keyID, a.scope = credential[0], credential[1:]
	for i, name := range a.signed {
		if !headerShape.MatchString(name) || i > 0 && a.signed[i-1] >= name {
			return a, refuse(ReasonMalformed, "SignedHeaders is not a sorted list of different names in lower case")
		}
	}
	return a, nil
}

// signedDate returns the one x-amz-date.
func signedDate(h http.Header) (string, error) {
	values := h.Values("X-Amz-Date")
	if len(values) != 1 {
		return "", refuse(ReasonMalformed, "the request must carry X-Amz-Date once")
	}
	if t, err := time.Parse(dateLayout, values[0]); err != nil || t.Format(dateLayout) != values[0] {
		return "", refuse(ReasonMalformed, "X-Amz-Date is no date")
	}
	return values[0], nil
}

// checkSigned reports a header that has to be signed and is not.
func checkSigned(h http.Header, signed []string) error {
	if !slices.Contains(signed, "host") {
		return refuse(ReasonUnsigned, "host")
	}
	for name := range h {
		name = strings.ToLower(name)
		if strings.HasPrefix(name, "x-amz-") && !slices.Contains(signed, name) {
			return refuse(ReasonUnsigned, name)
		}
	}
	return nil
}

func checkScope(scope []string, date string, want rules) error {
	switch {
	case scope[0] != date[:8]:
		return refuse(ReasonScope, "its date is not that of X-Amz-Date")
	case scope[1] != want.region:
		return refuse(ReasonScope, "its region is not "+want.region)
	case scope[2] != want.service:
		return refuse(ReasonScope, "its service is not "+want.service)
	case scope[3] != terminator:
		return refuse(ReasonScope, "it does not end in "+terminator)
	}
	return nil
}

// checkSkew says it in the words of AWS, which clients show.
func checkSkew(date string, now time.Time) error {
	t, err := time.Parse(dateLayout, date)
	if err != nil {
		return refuse(ReasonMalformed, "X-Amz-Date is no date")
	}
	now = now.UTC()
	if oldest := now.Add(-MaxSkew); t.Before(oldest) {
		return refuse(ReasonSkew, "Signature expired: "+date+" is now earlier than "+
			oldest.Format(dateLayout)+" ("+now.Format(dateLayout)+" - 15 min.)")
	}
	if newest := now.Add(MaxSkew); t.After(newest) {
		return refuse(ReasonSkew, "Signature not yet current: "+date+" is still later than "+
			newest.Format(dateLayout)+" ("+now.Format(dateLayout)+" + 15 min.)")
	}
	return nil
}
