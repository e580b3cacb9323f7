package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"cortex.dev/cortex/internal/workload"
)

// issuing is an issuer of tokens.
type issuing struct {
	mu    sync.Mutex
	keys  []jose.JSONWebKey
	away  bool
	asked int
}

const theIssuer = "https://login.example.com"

func (i *issuing) fetch(_ context.Context, url string, _ int) ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked++
	switch {
	case i.away:
		return nil, errors.New("it is away")
	case url == theIssuer+"/.well-known/openid-configuration":
		return json.Marshal(map[string]string{"issuer": theIssuer, "jwks_uri": theIssuer + "/keys"})
	case url == theIssuer+"/keys":
		return json.Marshal(jose.JSONWebKeySet{Keys: i.keys})
	}
	return nil, fmt.Errorf("nothing is at %s", url)
}

func (i *issuing) set(keys ...any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = nil
	for n, k := range keys {
		i.keys = append(i.keys, jose.JSONWebKey{Key: k, KeyID: fmt.Sprint("key-", n), Use: "sig"})
	}
}

// sign makes a token.
func sign(t *testing.T, alg jose.SignatureAlgorithm, key any, kid string, claims any, head map[jose.HeaderKey]any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT")
	for name, value := range head {
		opts = opts.WithHeader(name, value)
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, opts)
	if err != nil {
		t.Fatal(err)
	}
	var payload []byte
	if text, ok := claims.(string); ok {
		payload = []byte(text)
	} else if payload, err = json.Marshal(claims); err != nil {
		t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// raw is a token of these parts, signed by whoever.
func raw(head, claims string, sign func(input string) []byte) string {
	enc := base64.RawURLEncoding
	input := enc.EncodeToString([]byte(head)) + "." + enc.EncodeToString([]byte(claims))
	return input + "." + enc.EncodeToString(sign(input))
}

func TestTokens(t *testing.T) {
	t.Parallel()
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	other, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	long, _ := rsa.GenerateKey(rand.Reader, 2048)
	short, _ := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // which is refused
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	is := &issuing{}
	is.set(&ec.PublicKey, &long.PublicKey, &short.PublicKey, &ec384.PublicKey, ed.Public())
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	issuers := NewIssuers(is.fetch, slog.New(slog.DiscardHandler))
	spec := asking(workload.Auth{JWT: &workload.JWT{
		Issuer: theIssuer, Audience: "iris", Algorithms: []string{"RS256", "ES256", "EdDSA"}, Require: map[string]string{"scope": "predict"},
	}})
	spec.Networking.Auth.Accept = []string{workload.AcceptJWT}
	p := New(spec, nil)
	issuers.Use([]*workload.JWT{p.JWT()})
	issuers.refresh(t.Context(), source{theIssuer, ""}, issuers.get(p.JWT()))

	type set = map[string]any
	good := func(change set) set {
		c := set{"iss": theIssuer, "aud": "iris", "sub": "alice", "exp": now.Add(time.Hour).Unix(), "scope": "read predict"}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		return c
	}
	es := func(change set) string { return sign(t, jose.ES256, ec, "key-0", good(change), nil) }
	claimsText, _ := json.Marshal(good(nil))
	none := func(string) []byte { return nil }
	spki, _ := x509.MarshalPKIXPublicKey(&long.PublicKey)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki})
	hs := func(secret []byte) func(string) []byte {
		return func(input string) []byte {
			m := hmac.New(sha256.New, secret)
			m.Write([]byte(input))
			return m.Sum(nil)
		}
	}
	valid := es(nil)
	parts := strings.Split(valid, ".")
	for name, tt := range map[string]struct{ token, code string }{
		"ES256":               {valid, ""},
		"RS256":               {sign(t, jose.RS256, long, "key-1", good(nil), nil), ""},
		"EdDSA":               {sign(t, jose.EdDSA, ed, "key-4", good(nil), nil), ""},
		"no kid":              {sign(t, jose.ES256, ec, "", good(nil), nil), ""},
		"a list of audiences": {es(set{"aud": []string{"a", "iris"}}), ""},
		"a list of scopes":    {es(set{"scope": []string{"read", "predict"}}), ""},
		"at+jwt":              {sign(t, jose.ES256, ec, "key-0", good(nil), map[jose.HeaderKey]any{"typ": "at+jwt"}), ""},
		"exp with a fraction": {es(set{"exp": float64(now.Add(time.Hour).Unix()) + .5}), ""},
		"a minute late":       {es(set{"exp": now.Add(-59 * time.Second).Unix()}), ""},
		"a minute early":      {es(set{"nbf": now.Add(59 * time.Second).Unix()}), ""},

		"alg none":                       {raw(`{"alg":"none","typ":"JWT"}`, string(claimsText), none), "token_malformed"},
		"alg None":                       {raw(`{"alg":"None","typ":"JWT"}`, string(claimsText), none), "token_malformed"},
		"no alg":                         {raw(`{"typ":"JWT"}`, string(claimsText), none), "token_malformed"},
		"HS256 with the public key":      {raw(`{"alg":"HS256","kid":"key-1"}`, string(claimsText), hs(publicPEM)), "token_malformed"},
		"HS256 with nothing":             {raw(`{"alg":"HS256"}`, string(claimsText), hs(nil)), "token_malformed"},
		"an algorithm that is not asked": {sign(t, jose.ES384, ec384, "key-3", good(nil), nil), "token_malformed"},
		"PS256":                          {sign(t, jose.PS256, long, "key-1", good(nil), nil), "token_malformed"},
		"RS256 with a key of ES256":      {sign(t, jose.RS256, long, "key-0", good(nil), nil), "token_key_unknown"},
		"a short RSA key":                {sign(t, jose.RS256, short, "key-2", good(nil), nil), "token_key_unknown"},
		"an unknown kid":                 {sign(t, jose.ES256, ec, "other", good(nil), nil), "token_key_unknown"},
		"a path as kid":                  {sign(t, jose.ES256, ec, "../../dev/null", good(nil), nil), "token_key_unknown"},
		"another key":                    {sign(t, jose.ES256, other, "key-0", good(nil), nil), "token_signature"},
		"an embedded key":                {sign(t, jose.ES256, other, "key-0", good(nil), map[jose.HeaderKey]any{"jwk": jose.JSONWebKey{Key: &other.PublicKey}}), "token_signature"},
		"an address of keys":             {sign(t, jose.ES256, other, "key-0", good(nil), map[jose.HeaderKey]any{"jku": "https://evil.example.com/keys"}), "token_signature"},
		"claims that were changed":       {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(claimsText), "alice", "admin", 1))) + "." + parts[2], "token_signature"},
		"no signature":                   {parts[0] + "." + parts[1] + ".", "token_signature"},
		"half a signature":               {valid[:len(valid)-20], "token_signature"},
		"two parts":                      {parts[0] + "." + parts[1], "token_malformed"},
		"five parts":                     {valid + ".a.b", "token_malformed"},
		"nothing":                        {"", "token_malformed"},
		"dots":                           {"..", "token_malformed"},
		"no base64":                      {"!." + parts[1] + "." + parts[2], "token_malformed"},
		"padding":                        {parts[0] + "=." + parts[1] + "." + parts[2], "token_malformed"},
		"a list as head":                 {raw(`[]`, string(claimsText), none), "token_malformed"},
		"a critical extension":           {sign(t, jose.ES256, ec, "key-0", good(nil), map[jose.HeaderKey]any{"crit": []string{"exp"}, "exp": 1}), "token_signature"},
		"b64 false":                      {raw(`{"alg":"ES256","b64":false,"crit":["b64"],"kid":"key-0"}`, string(claimsText), none), "token_signature"},
		"another type":                   {sign(t, jose.ES256, ec, "key-0", good(nil), map[jose.HeaderKey]any{"typ": "dpop+jwt"}), "token_malformed"},
		"9 KiB":                          {es(set{"x": strings.Repeat("x", 9<<10)}), "token_malformed"},
		"claims that are a list":         {sign(t, jose.ES256, ec, "key-0", "[]", nil), "token_malformed"},
		"claims that are no JSON":        {sign(t, jose.ES256, ec, "key-0", "{", nil), "token_malformed"},

		"another issuer":                  {es(set{"iss": "https://evil.example.com"}), "token_issuer"},
		"the issuer with a slash":         {es(set{"iss": theIssuer + "/"}), "token_issuer"},
		"no issuer":                       {es(set{"iss": nil}), "token_issuer"},
		"another audience":                {es(set{"aud": "lily"}), "token_audience"},
		"an audience that begins so":      {es(set{"aud": "iris2"}), "token_audience"},
		"other audiences":                 {es(set{"aud": []string{"a", "b"}}), "token_audience"},
		"audiences in one word":           {es(set{"aud": "a iris"}), "token_audience"},
		"an audience in a list in a list": {es(set{"aud": []any{[]string{"iris"}}}), "token_audience"},
		"no audience":                     {es(set{"aud": nil}), "token_audience"},
		"no exp":                          {es(set{"exp": nil}), "token_malformed"},
		"exp as a string":                 {es(set{"exp": "4102444800"}), "token_malformed"},
		"exp that is none":                {es(set{"exp": -5}), "token_malformed"},
		"exp beyond all time":             {es(set{"exp": 1e300}), "token_malformed"},
		"expired":                         {es(set{"exp": now.Add(-61 * time.Second).Unix()}), "token_expired"},
		"from the future":                 {es(set{"iat": now.Add(2 * time.Minute).Unix()}), "token_not_yet_valid"},
		"not yet":                         {es(set{"nbf": now.Add(2 * time.Minute).Unix()}), "token_not_yet_valid"},
		"no subject":                      {es(set{"sub": nil}), "token_malformed"},
		"an empty subject":                {es(set{"sub": ""}), "token_malformed"},
		"a subject with a line end":       {es(set{"sub": "alice\r\nX-Admin: 1"}), "token_malformed"},
		"a subject of other letters":      {es(set{"sub": "älice"}), "token_malformed"},
		"a long subject":                  {es(set{"sub": strings.Repeat("a", 257)}), "token_malformed"},
		"a subject that is a number":      {es(set{"sub": 7}), "token_malformed"},
		"another scope":                   {es(set{"scope": "read"}), "not_allowed"},
		"a scope that begins so":          {es(set{"scope": "predict2"}), "not_allowed"},
		"no scope":                        {es(set{"scope": nil}), "not_allowed"},
	} {
		g, refused := &Grant{}, (*Refusal)(nil)
		for range 2 { // the second time what was verified is remembered
			g = &Grant{}
			refused = p.Admit(g, Proofs{Keys: &Keyring{}, Issuers: issuers}, &Request{Path: []byte("/"), Authorization: []byte("Bearer " + tt.token)}, now)
			got := ""
			if refused != nil {
				got = refused.Code
			}
			if got != tt.code {
				t.Errorf("%s: %q, want %q", name, got, tt.code)
			}
		}
		if refused == nil && (g.Caller.Name != "jwt:alice" || g.Caller.Subject != "alice") {
			t.Errorf("%s: the caller is %+v", name, g.Caller)
		}
	}
	if is.asked > 2 {
		t.Errorf("the issuer was asked %d times by requests, want never", is.asked-2)
	}
}

// Keys of an issuer come and go. What is new is fetched because a token names it, but not
// again and again; what is gone is good for nothing; and an issuer that is away locks nobody
// out.
func TestKeysOfIssuersRotate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		second, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		is := &issuing{away: true}
		is.set(&first.PublicKey)
		issuers := NewIssuers(is.fetch, slog.New(slog.DiscardHandler))
		go issuers.Run(t.Context())
		spec := asking(workload.Auth{JWT: &workload.JWT{Issuer: theIssuer, Audience: "iris", Algorithms: []string{"ES256"}}})
		spec.Networking.Auth.Accept = []string{workload.AcceptJWT}
		p := New(spec, nil)
		issuers.Use([]*workload.JWT{p.JWT()})
		ask := func(key *ecdsa.PrivateKey, kid string) string {
			text := sign(t, jose.ES256, key, kid, map[string]any{"iss": theIssuer, "aud": "iris", "sub": "a", "exp": time.Now().Add(time.Hour).Unix()}, nil)
			if refused := p.Admit(&Grant{}, Proofs{Issuers: issuers}, &Request{Path: []byte("/"), Authorization: []byte("Bearer " + text)}, time.Now()); refused != nil {
				return refused.Code
			}
			return ""
		}
		want := func(when string, got, want string) {
			t.Helper()
			if got != want {
				t.Errorf("%s: %q, want %q", when, got, want)
			}
		}
		rest := func(d time.Duration) { time.Sleep(d); synctest.Wait() }
		rest(2 * time.Second)
		want("before anything was fetched", ask(first, "key-0"), "issuer_unavailable")
		is.mu.Lock()
		is.away = false
		is.mu.Unlock()
		rest(15 * time.Second)
		want("once it was", ask(first, "key-0"), "")

		is.mu.Lock()
		is.away = true
		is.mu.Unlock()
		rest(time.Hour)
		want("while the issuer is away", ask(first, "key-0"), "")

		is.mu.Lock()
		is.away = false
		is.mu.Unlock()
		is.set(&first.PublicKey, &second.PublicKey)
		rest(time.Second)
		before := is.asked
		for range 1000 {
			ask(second, "key-1")
			ask(second, "no such key")
		}
		rest(40 * time.Second)
		want("a new key, soon after a token named it", ask(second, "key-1"), "")
		for range 60 {
			ask(second, "no such key")
			rest(time.Second)
		}
		if asked := is.asked - before; asked > 2*5 { // two documents each time
			t.Errorf("the issuer was asked %d times within 100 s, want once each 30 s", asked)
		}

		is.mu.Lock()
		is.keys = is.keys[1:] // the first is taken back
		is.mu.Unlock()
		rest(6 * time.Minute)
		want("a token of a key that was taken back", ask(first, "key-0"), "token_key_unknown")
		want("another one", ask(second, "key-1"), "")
		issuers.Use(nil)
		want("an issuer that no API names any more", ask(second, "key-1"), "issuer_unavailable")
	})
}

func TestKeySets(t *testing.T) {
	t.Parallel()
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	public, _ := json.Marshal(jose.JSONWebKey{Key: &ec.PublicKey, KeyID: "a"})
	private, _ := json.Marshal(jose.JSONWebKey{Key: ec, KeyID: "b"})
	for name, tt := range map[string]struct {
		text string
		keys int // 0: it is refused
	}{
		"one":                   {`{"keys":[` + string(public) + `]}`, 1},
		"one among others":      {`{"keys":[{"kty":"oct","k":"AAAA"},{"kty":"unknown"},{},5,` + string(public) + `]}`, 1},
		"symmetric":             {`{"keys":[{"kty":"oct","k":"AAAA"}]}`, 0},
		"private":               {`{"keys":[` + string(private) + `]}`, 0},
		"none":                  {`{"keys":[]}`, 0},
		"no set":                {`[]`, 0},
		"no JSON":               {`<html>`, 0},
		"very many":             {`{"keys":[` + strings.Repeat(string(public)+",", 100) + string(public) + `]}`, 0},
		"a point off the curve": {`{"keys":[{"kty":"EC","crv":"P-256","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}]}`, 0},
	} {
		set, err := parseKeySet([]byte(tt.text))
		if (err == nil) != (tt.keys > 0) || err == nil && len(set.keys) != tt.keys {
			t.Errorf("%s: %v, %v; want %d keys", name, set, err, tt.keys)
		}
	}
}

func FuzzToken(f *testing.F) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	is := &issuing{}
	is.set(&ec.PublicKey)
	issuers := NewIssuers(is.fetch, slog.New(slog.DiscardHandler))
	spec := asking(workload.Auth{JWT: &workload.JWT{Issuer: theIssuer, Audience: "iris", Algorithms: []string{"ES256"}}})
	spec.Networking.Auth.Accept = []string{workload.AcceptJWT}
	p := New(spec, nil)
	issuers.Use([]*workload.JWT{p.JWT()})
	issuers.refresh(f.Context(), source{theIssuer, ""}, issuers.get(p.JWT()))
	f.Add([]byte(raw(`{"alg":"ES256","kid":"key-0"}`, `{"iss":"`+theIssuer+`","aud":"iris","sub":"a","exp":9999999999}`, func(string) []byte { return make([]byte, 64) })))
	f.Add([]byte("a.b.c"))
	f.Fuzz(func(t *testing.T, token []byte) {
		if refused := p.Admit(&Grant{}, Proofs{Issuers: issuers, Keys: &Keyring{}}, &Request{Path: []byte("/"), Authorization: append([]byte("Bearer "), token...)}, time.Now()); refused == nil {
			t.Errorf("%q is let in", token)
		}
	})
}
