package iam

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"cortex.dev/cortex/internal/auth"
)

// The shapes of what a proof consists of. Key ids: reference of the IAM
// identifiers. A security token is base64 of up to some kilobytes; ours is bounded
// by what AWS documents as the present size, with room.
var (
	keyIDShape     = auth.NewShape(`^(AKIA|ASIA)[A-Z0-9]+$`, 16, 128)
	dateShape      = auth.NewShape(`^[0-9]{8}T[0-9]{6}Z$`, 16, 16)
	tokenShape     = auth.NewShape(`^[A-Za-z0-9+/=_-]+$`, 16, auth.MaxSecurityToken)
	signatureShape = auth.NewShape(`^[0-9a-f]+$`, 64, 64)
)

// temporary is the prefix of keys that come with a security token.
const temporary = "ASIA"

// ReadProof reads the body of an exchange: one JSON object with the keys of a
// Proof, each at most once and spelled exactly so, each value a string of its own
// shape. encoding/json alone would take any spelling of a key, and the last of two.
func ReadProof(body []byte) (auth.Proof, error) {
	var p auth.Proof
	if len(body) > auth.MaxProofBytes || !utf8.Valid(body) || bytes.IndexByte(body, 0) >= 0 {
		return p, malformed(ReasonEnvelope)
	}
	fields := []struct {
		name string
		to   *string
	}{
		{"access_key_id", &p.AccessKeyID}, {"amz_date", &p.AMZDate}, {"security_token", &p.SecurityToken},
		{"signature", &p.Signature}, {"nonce", &p.Nonce},
	}
	given := make([]bool, len(fields))
	dec := json.NewDecoder(bytes.NewReader(body))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return p, malformed(ReasonEnvelope)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return p, malformed(ReasonEnvelope)
		}
		at := -1
		for i, f := range fields {
			if key == f.name {
				at = i
			}
		}
		if at < 0 || given[at] {
			return p, malformed(ReasonEnvelope)
		}
		// Token, not Decode: a value that is no string is not read further.
		value, err := dec.Token()
		text, ok := value.(string)
		if err != nil || !ok {
			return p, malformed(ReasonEnvelope)
		}
		*fields[at].to, given[at] = text, true
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return p, malformed(ReasonEnvelope)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return p, malformed(ReasonEnvelope)
	}
	if !given[0] || !given[1] || !given[3] || !given[4] {
		return p, malformed(ReasonEnvelope)
	}
	if !fits(p, given[2]) {
		return p, malformed(ReasonField)
	}
	return p, nil
}

// fits checks each value by itself, and that a token is there exactly where one belongs.
func fits(p auth.Proof, hasToken bool) bool {
	return keyIDShape.MatchString(p.AccessKeyID) &&
		dateShape.MatchString(p.AMZDate) &&
		signatureShape.MatchString(p.Signature) &&
		nonceShape.MatchString(p.Nonce) &&
		hasToken == strings.HasPrefix(p.AccessKeyID, temporary) &&
		(!hasToken || tokenShape.MatchString(p.SecurityToken))
}

// dateFits reports whether a date is one, and near enough to now.
func dateFits(amzDate string, now time.Time) bool {
	// The layout alone would take nothing else of this shape: hour 24 and the 30th
	// of February do not parse.
	t, err := time.Parse(auth.DateLayout, amzDate)
	if err != nil || t.Format(auth.DateLayout) != amzDate {
		return false
	}
	age := now.Sub(t)
	return age <= auth.MaxProofAge && age >= -auth.MaxProofSkew
}

// proofKey names one proof in the memory of refusals.
func proofKey(p auth.Proof) [32]byte {
	return sum("proof", p.AccessKeyID, p.AMZDate, p.SecurityToken, p.Signature, p.Nonce)
}

// credentialKey names a key with its token.
func credentialKey(p auth.Proof) [32]byte { return sum("credential", p.AccessKeyID, p.SecurityToken) }

// nonceKey names a nonce in the memory of those that were used.
func nonceKey(p auth.Proof) [32]byte { return sum("nonce", p.Nonce) }

func sum(parts ...string) (out [32]byte) {
	h := sha256.New()
	for _, s := range parts {
		_, _ = io.WriteString(h, s)
		_, _ = h.Write([]byte{0})
	}
	h.Sum(out[:0])
	return out
}
