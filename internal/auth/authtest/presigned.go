package authtest

import (
	"crypto/hmac"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// VerifyPresigned is Verify for a GET that is signed in its query string, as the tokens of
// EKS are: r is the request that whoever was handed its address would send, with the
// headers that are signed. Such a request is good for MaxSkew, whatever it says of
// itself: so EKS has it.
func VerifyPresigned(r *http.Request, lookup func(accessKeyID string) (secret, token string, ok bool), service, region string, now time.Time) (accessKeyID string, err error) {
	query := r.URL.Query()
	for name, values := range query {
		if len(values) != 1 {
			return "", refuse(ReasonMalformed, name+" is there more than once")
		}
	}
	credential := strings.Split(query.Get("X-Amz-Credential"), "/")
	signed := strings.Split(query.Get("X-Amz-SignedHeaders"), ";")
	date := query.Get("X-Amz-Date")
	switch {
	case query.Get("X-Amz-Algorithm") != algorithm:
		return "", refuse(ReasonMissing, "the algorithm is not "+algorithm)
	case len(credential) != 5 || !keyIDShape.MatchString(credential[0]):
		return "", refuse(ReasonMalformed, "X-Amz-Credential must have exactly 5 slash-delimited elements")
	case len(date) != len(dateLayout):
		return "", refuse(ReasonMalformed, "X-Amz-Date is no date")
	case !slices.Contains(signed, "host"):
		return "", refuse(ReasonUnsigned, "host")
	}
	if err := checkScope(credential[1:], date, rules{service: service, region: region}); err != nil {
		return "", err
	}
	if err := checkSkew(date, now); err != nil {
		return "", err
	}
	secret, token, ok := lookup(credential[0])
	if !ok {
		return "", refuse(ReasonKey, credential[0])
	}
	unsigned := *r
	unsigned.URL, unsigned.RequestURI = withoutSignature(r.URL), "" // of a request that was received
	canonical, err := canonicalRequest(&unsigned, nil, signed, rules{})
	if err != nil {
		return "", err
	}
	toSign := algorithm + "\n" + date + "\n" + strings.Join(credential[1:], "/") + "\n" + hexSum([]byte(canonical))
	got, err := hex.DecodeString(query.Get("X-Amz-Signature"))
	if err != nil || !hmac.Equal(got, mac(signingKey(secret, credential[1:]), toSign)) {
		return "", &VerifyError{Reason: ReasonSignature, Canonical: canonical}
	}
	if !hmac.Equal([]byte(query.Get("X-Amz-Security-Token")), []byte(token)) {
		return "", refuse(ReasonToken, credential[0])
	}
	return credential[0], nil
}

// withoutSignature is an address as it was before it was signed.
func withoutSignature(u *url.URL) *url.URL {
	parts := slices.DeleteFunc(strings.Split(u.RawQuery, "&"), func(p string) bool { return strings.HasPrefix(p, "X-Amz-Signature=") })
	c := *u
	c.RawQuery = strings.Join(parts, "&")
	return &c
}
