package access

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"cortex.dev/cortex/internal/boundedcache"
	"cortex.dev/cortex/internal/workload"
)

// Bounds of tokens.
const (
	maxToken   = 8 << 10
	maxSubject = 256
	maxTried   = 4 // keys that a token is tried with which names none
	// leeway is how far the clocks of an issuer and of this machine may be apart.
	leeway = time.Minute
)

// maxSeen is how many tokens are remembered for one API.
const maxSeen = 100_000

// tokens verifies the JSON Web Tokens of one API.
type tokens struct {
	spec       workload.JWT
	algorithms []jose.SignatureAlgorithm
	seen       *boundedcache.Map[[sha256.Size]byte, *knownToken]
}

// knownToken is one that was verified: whom it is of, from when until when, and what it was
// signed with.
type knownToken struct {
	caller      Caller
	from, until time.Time
	key         string // thumbprint
}

// verify returns whom a JSON Web Token is of, or why nobody. What was verified before
// by the same rules is remembered: a signature costs fifty times what a look does.
func (j *tokens) verify(text []byte, issuers *Issuers, now time.Time) (*Caller, *Refusal) {
	if len(text) > maxToken || bytes.Count(text, []byte(".")) != 2 {
		return nil, unauthorized("token_malformed", "this is no JSON Web Token: one has three parts, and at most 8 KiB")
	}
	digest := sha256.Sum256(text)
	known, ok := j.seen.Get(digest)
	if !ok {
		var refused *Refusal
		if known, refused = j.look(string(text), issuers, now); refused != nil {
			return nil, refused
		}
		j.seen.Put(digest, known)
	}
	switch {
	case now.Add(leeway).Before(known.from):
		return nil, unauthorized("token_not_yet_valid", "this token is not valid yet")
	case !now.Add(-leeway).Before(known.until):
		return nil, unauthorized("token_expired", "this token has expired")
	case !issuers.trusts(&j.spec, known.key): // the issuer has taken the key back
		return nil, unauthorized("token_key_unknown", "this token was signed with a key that its issuer does not have any more")
	}
	return &known.caller, nil
}

// look verifies a token.
func (j *tokens) look(text string, issuers *Issuers, now time.Time) (*knownToken, *Refusal) {
	signed, err := jose.ParseSignedCompact(text, j.algorithms)
	if err != nil {
		return nil, unauthorized("token_malformed", "this is no JSON Web Token that is signed as the API asks: by "+strings.Join(j.spec.Algorithms, ", "))
	}
	head := signed.Signatures[0].Protected
	if typ, _ := head.ExtraHeaders["typ"].(string); typ != "" && !strings.EqualFold(typ, "JWT") && !strings.EqualFold(strings.TrimPrefix(strings.ToLower(typ), "application/"), "at+jwt") {
		return nil, unauthorized("token_malformed", "this token is of another type than JWT")
	}
	keys, refused := issuers.keys(&j.spec, head.KeyID, head.Algorithm)
	if refused != nil {
		return nil, refused
	}
	var payload []byte
	var with *jose.JSONWebKey
	for i := range keys {
		if payload, err = signed.Verify(keys[i].Key); err == nil {
			with = &keys[i]
			break
		}
	}
	if with == nil {
		return nil, unauthorized("token_signature", "the signature of this token is not its issuer's")
	}
	known, refused := j.claims(payload)
	if refused == nil {
		known.key = thumbprint(with)
	}
	return known, refused
}

// claims are those that are looked at. What is asked for besides is in the map.
type claims struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"`
	Expires   *float64        `json:"exp"`
	NotBefore *float64        `json:"nbf"`
	Issued    *float64        `json:"iat"`
	Name      string          `json:"name"`
}

// claims says whom a payload is of, if it is for this API.
func (j *tokens) claims(payload []byte) (*knownToken, *Refusal) {
	var c claims
	var all map[string]json.RawMessage
	if json.Unmarshal(payload, &c) != nil || json.Unmarshal(payload, &all) != nil {
		return nil, unauthorized("token_malformed", "the claims of this token cannot be read")
	}
	switch {
	case c.Issuer != j.spec.Issuer:
		return nil, unauthorized("token_issuer", "this token is of another issuer")
	case !slices.Contains(wordsOf(c.Audience, false), j.spec.Audience):
		return nil, unauthorized("token_audience", "this token is for another audience")
	case c.Expires == nil:
		return nil, unauthorized("token_malformed", "this token does not say when it expires")
	case c.Subject == "" || len(c.Subject) > maxSubject || !printable(c.Subject):
		return nil, unauthorized("token_malformed", fmt.Sprintf("the subject of this token is to have 1 to %d printable characters of ASCII", maxSubject))
	}
	for claim, want := range j.spec.Require {
		if !slices.Contains(wordsOf(all[claim], claim == "scope"), want) {
			return nil, notAllowed(fmt.Sprintf("this token lacks the claim %s with %s", claim, want))
		}
	}
	known := &knownToken{caller: Caller{Name: "jwt:" + c.Subject, Subject: c.Subject}}
	if printable(c.Name) && len(c.Name) <= maxSubject {
		known.caller.Label = c.Name
	}
	var err error
	if known.until, err = numericDate(*c.Expires); err == nil && c.NotBefore != nil {
		known.from, err = numericDate(*c.NotBefore)
	}
	if err == nil && c.Issued != nil { // a token from the future is of a clock that is wrong, or a lie
		var issued time.Time
		if issued, err = numericDate(*c.Issued); issued.After(known.from) {
			known.from = issued
		}
	}
	if err != nil {
		return nil, unauthorized("token_malformed", "a time in this token is none")
	}
	return known, nil
}

// numericDate is what a number of seconds since 1970 means (RFC 7519).
func numericDate(seconds float64) (time.Time, error) {
	if math.IsNaN(seconds) || seconds < 0 || seconds > 1<<40 {
		return time.Time{}, errors.New("no time")
	}
	return time.Unix(int64(seconds), 0), nil
}

// wordsOf reads a claim that is a string or a list of strings. A string may have several
// words, if they are separated.
func wordsOf(claim json.RawMessage, separated bool) []string {
	var one string
	var list []string
	switch {
	case len(claim) == 0:
	case json.Unmarshal(claim, &one) == nil && separated:
		return strings.Fields(one)
	case json.Unmarshal(claim, &one) == nil:
		return []string{one}
	case json.Unmarshal(claim, &list) == nil:
		return list
	}
	return nil
}

// printable reports whether a text may stand in a field of HTTP and in a log.
func printable(text string) bool {
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return false
		}
	}
	return text == strings.TrimSpace(text)
}

// fits reports whether a key can have made a signature by an algorithm. Which one a token
// names is not for the token to say alone.
func fits(k *jose.JSONWebKey, algorithm string) bool {
	if k.Algorithm != "" && k.Algorithm != algorithm || k.Use != "" && k.Use != "sig" {
		return false
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		return (algorithm[:2] == "RS" || algorithm[:2] == "PS") && key.N.BitLen() >= 2048
	case *ecdsa.PublicKey:
		bits := map[string]int{"ES256": 256, "ES384": 384, "ES512": 521}[algorithm]
		return bits == key.Curve.Params().BitSize
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false // among others the symmetric ones, which whoever reads them can sign with
}

// algorithms are those by which tokens may be signed.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// newTokens compiles what is asked of tokens.
func newTokens(spec *workload.JWT) *tokens {
	j := &tokens{spec: *spec, seen: boundedcache.New[[sha256.Size]byte, *knownToken](maxSeen)}
	for _, a := range spec.Algorithms {
		if i := slices.Index(algorithms, jose.SignatureAlgorithm(a)); i >= 0 {
			j.algorithms = append(j.algorithms, algorithms[i])
		}
	}
	return j
}
