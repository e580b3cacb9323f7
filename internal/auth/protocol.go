package auth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// The one request that proves an identity. Both ends build it from these; nothing
// of it is ever taken from a caller but the values of a Proof.
const (
	ProofBody        = "Action=GetCallerIdentity&Version=2011-06-15"
	ProofService     = "sts"
	ProofContentType = "application/x-www-form-urlencoded; charset=utf-8"
	DateLayout       = "20060102T150405Z" // of x-amz-date

	HeaderDate          = "X-Amz-Date"
	HeaderSecurityToken = "X-Amz-Security-Token" //nolint:gosec // the name of a header
	HeaderClusterID     = "X-Cortex-Cluster-Id"
	HeaderNonce         = "X-Cortex-Nonce"
	HeaderTLS           = "X-Cortex-Tls"
)

// How far the date of a proof may be from the operator's clock.
const (
	MaxProofAge  = 300 * time.Second
	MaxProofSkew = 60 * time.Second // ahead of the operator
)

// MaxProofBytes bounds the body of an exchange.
const MaxProofBytes = 16 << 10

// MaxSecurityToken bounds the token that belongs to temporary keys: AWS names no
// bound, and gives out some 1,500 characters at present.
const MaxSecurityToken = 8192

// Challenge is what an operator wants an identity to be bound to.
type Challenge struct {
	ClusterID      string    `json:"cluster_id"`
	Region         string    `json:"region"`
	Partition      string    `json:"partition"`
	Nonce          string    `json:"nonce"`
	ExpiresAt      time.Time `json:"expires_at"`
	TLSFingerprint string    `json:"tls_fingerprint"` // of the operator's certificate; see Fingerprint
}

// Proof is all that a client sends: what cannot be guessed. Everything else of
// the signed request is rebuilt by the operator.
type Proof struct {
	AccessKeyID   string `json:"access_key_id" pattern:"^[A-Z0-9]{16,128}$"`
	AMZDate       string `json:"amz_date" pattern:"^[0-9]{8}T[0-9]{6}Z$"`
	SecurityToken string `json:"security_token,omitempty" maxLength:"8192"`
	Signature     string `json:"signature" pattern:"^[0-9a-f]{64}$"`
	Nonce         string `json:"nonce"`
}

// Session is what a proof is exchanged for.
type Session struct {
	Token     string    `json:"token"` // for Authorization: Bearer
	ExpiresAt time.Time `json:"expires_at"`
	ClusterID string    `json:"cluster_id"`
	Principal Principal `json:"principal"`
}

// Binding is what ties a proof to one use at one operator over one TLS key.
type Binding struct {
	Host           string // of the region's STS
	Region         string
	ClusterID      string
	TLSFingerprint string
	Nonce          string
}

// CallerIdentity returns the request of a proof without its signature, to be sent
// to url: POST / of STS with the fixed body. The client signs it, the operator
// signs nothing and adds Authorization. The content length is not set while it
// is signed, so that it is no signed header.
func CallerIdentity(ctx context.Context, url string, b Binding, amzDate, securityToken string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, nil)
	if err != nil {
		return nil, fmt.Errorf("building the request to STS: %w", err)
	}
	req.Host = b.Host
	req.Header.Set("Content-Type", ProofContentType)
	req.Header.Set(HeaderDate, amzDate)
	req.Header.Set(HeaderClusterID, b.ClusterID)
	req.Header.Set(HeaderNonce, b.Nonce)
	req.Header.Set(HeaderTLS, b.TLSFingerprint)
	if securityToken != "" {
		req.Header.Set(HeaderSecurityToken, securityToken)
	}
	return req, nil
}

// ProofPayloadHash is the hex SHA-256 of ProofBody, which a signature covers.
func ProofPayloadHash() string {
	sum := sha256.Sum256([]byte(ProofBody))
	return hex.EncodeToString(sum[:])
}

// SignedHeaders is the list that a proof signs, as it stands in Authorization.
func SignedHeaders(securityToken string) string {
	if securityToken == "" {
		return "content-type;host;x-amz-date;x-cortex-cluster-id;x-cortex-nonce;x-cortex-tls"
	}
	return "content-type;host;x-amz-date;x-amz-security-token;x-cortex-cluster-id;x-cortex-nonce;x-cortex-tls"
}

// Complete adds what the client proved to a request of CallerIdentity: the
// signature and the body. It is then ready to be sent.
func Complete(req *http.Request, p Proof, region string) {
	scope := p.AMZDate[:8] + "/" + region + "/" + ProofService + "/aws4_request"
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+p.AccessKeyID+"/"+scope+
		", SignedHeaders="+SignedHeaders(p.SecurityToken)+", Signature="+p.Signature)
	SetProofBody(req)
}

// SetProofBody gives a request that is signed already the body it was signed for.
func SetProofBody(req *http.Request) {
	req.ContentLength = int64(len(ProofBody))
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(ProofBody)), nil }
	req.Body, _ = req.GetBody()
}

// Fingerprint is how a certificate is named: sha256: and the hex SHA-256 of its
// DER, as `openssl x509 -fingerprint -sha256` computes it.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return "sha256:" + hex.EncodeToString(sum[:])
}

var fingerprintShape = NewShape(`^sha256:[0-9a-f]+$`, 71, 71)

// ParseFingerprint returns the canonical form of a fingerprint, which people may
// also write with colons and in upper case, with or without sha256:.
func ParseFingerprint(text string) (string, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	s = strings.TrimPrefix(strings.TrimPrefix(s, "sha256:"), "sha256=")
	s = "sha256:" + strings.ReplaceAll(s, ":", "")
	if !fingerprintShape.MatchString(s) {
		return "", errors.New("a fingerprint is sha256: and 64 hexadecimal digits")
	}
	return s, nil
}

// The shapes of what a challenge may say. They keep a hostile operator from
// choosing a host, a header or a scope.
var (
	regionShape    = NewShape(`^[a-z]{2,8}(-[a-z0-9]{1,16}){1,4}$`, 1, 80)
	clusterIDShape = NewShape(`^[A-Za-z0-9._:/-]+$`, 1, 200)
	nonceShape     = NewShape(`^[A-Za-z0-9_-]+$`, 16, 200)
	partitionShape = NewShape(`^aws(-[a-z0-9]{1,20}){0,3}$`, 1, 80)
)

// IsRegion reports whether s has the shape of an AWS region.
func IsRegion(s string) bool { return regionShape.MatchString(s) }

// Check reports why a challenge cannot be answered.
func (c Challenge) Check() error {
	switch {
	case !clusterIDShape.MatchString(c.ClusterID):
		return errors.New("its cluster_id is malformed")
	case !IsRegion(c.Region):
		return errors.New("its region is malformed")
	case !partitionShape.MatchString(c.Partition):
		return errors.New("its partition is malformed")
	case !nonceShape.MatchString(c.Nonce):
		return errors.New("its nonce is malformed")
	case !fingerprintShape.MatchString(c.TLSFingerprint):
		return errors.New("its tls_fingerprint is malformed")
	}
	return nil
}
