package gateway

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/sealed"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// What is not a credential lets nobody in, by no protocol: no container is touched, and no limit
// has less left afterwards.
func TestHostileCredentials(t *testing.T) {
	t.Parallel()
	const issuer = "https://login.example.com"
	ours, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	theirs, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	published, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: &ours.PublicKey, KeyID: "one", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	var sessions access.Sessions
	secret := sealed.Secret{1}
	sessions.Use(access.SessionKeys{ClusterID: "here", Keys: []access.SessionKey{{Epoch: 1, Secret: secret[:]}}})
	key, text := mint("alice", "iris")
	other, textOfOther := mint("bob", "lily")
	over, textOfOver := mint("carol", "iris")
	over.ExpiresAt = time.Now().Add(-time.Minute)
	_, unknown := mint("mallory", "iris")
	r, _ := startGuarded(t, func(c *Config) {
		c.Sessions = sessions.Verify
		c.Fetch = func(context.Context, string, int) ([]byte, error) { return published, nil }
	}, []store.Key{key, other, over}...)
	r.deploy(guarded("iris", pod{5, 10}, &workload.Auth{
		Accept: []string{workload.AcceptKeys, workload.AcceptJWT, workload.AcceptIAM},
		JWT:    &workload.JWT{Issuer: issuer, Audience: "iris", Keys: issuer + "/keys", Algorithms: []string{"ES256"}, Require: map[string]string{"scope": "predict"}},
	}, workload.Limit{Name: "daily", Quota: "5/1d"}), 1)
	var reached atomic.Int64
	r.run("iris", ready("a", r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })), pod{5, 10}))

	enc := base64.RawURLEncoding.EncodeToString
	type set = map[string]any
	now := time.Now().Unix()
	claims := func(change set) string {
		c := set{"iss": issuer, "aud": "iris", "sub": "alice", "exp": now + 3600, "scope": "predict"}
		for k, v := range change {
			if c[k] = v; v == nil {
				delete(c, k)
			}
		}
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	token := func(head, says string, with *ecdsa.PrivateKey) string {
		input := enc([]byte(head)) + "." + enc([]byte(says))
		sum := sha256.Sum256([]byte(input))
		a, b, err := ecdsa.Sign(rand.Reader, with, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		var sig [64]byte
		a.FillBytes(sig[:32])
		b.FillBytes(sig[32:])
		return input + "." + enc(sig[:])
	}
	const head = `{"alg":"ES256","kid":"one"}`
	with := func(change set) string { return token(head, claims(change), ours) }
	good := with(nil)
	session := func(secret sealed.Secret, change set) string {
		says := set{"i": "x", "a": "here", "e": now + 600, "p": set{"arn": "arn:aws:iam::123456789012:role/shop"}, "n": []string{"iris"}}
		for k, v := range change {
			says[k] = v
		}
		made, err := sealed.Make(access.SessionVersion, 1, &secret, says)
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	mac := func(secret []byte) string {
		input := enc([]byte(`{"alg":"HS256","kid":"one"}`)) + "." + enc([]byte(claims(nil)))
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(input))
		return input + "." + enc(m.Sum(nil))
	}
	spki, err := x509.MarshalPKIXPublicKey(&ours.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := json.Marshal(jose.JSONWebKey{Key: &theirs.PublicKey})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	b := func(token string) http.Header { return bearer(token) }
	rows := map[string]http.Header{
		"nothing":                       {},
		"who says who it is":            {"X-Cortex-Caller": {"alice"}, "X-Cortex-Caller-Name": {"alice"}},
		"a scheme without a credential": {"Authorization": {"Bearer"}},
		"a scheme and a space":          {"Authorization": {"Bearer "}},
		"another scheme":                {"Authorization": {"Basic " + text}},
		"no scheme":                     {"Authorization": {text}},
		"a tab after the scheme":        {"Authorization": {"Bearer\t" + text}},
		"a key of nobody":               b(unknown),
		"a key that is over":            b(textOfOver),
		"a key of another API":          b(textOfOther),
		"half a key":                    b(text[:26]),
		"a key and more":                b(text + "x"),
		"a key twice":                   b(text + text),
		"two keys with a comma":         b(text + ", " + text),
		"a key in capitals":             b(strings.ToUpper(text)),
		"a key with another check":      b(text[:len(text)-1] + "!"),
		"a key with another secret":     b(text[:13] + unknown[13:]),
		"a key with letters of others":  b(text[:20] + "é" + text[22:]),
		"two fields":                    {"Authorization": {"Bearer " + text, "Bearer " + text}},
		"two fields, one of nobody":     {"Authorization": {"Bearer " + text, "Bearer " + unknown}},
		"two fields of keys":            {"X-Api-Key": {text, text}},
		"both fields":                   {"Authorization": {"Bearer " + text}, "X-Api-Key": {text}},
		"a token as a key":              {"X-Api-Key": {good}},
		"a session as a key":            {"X-Api-Key": {session(secret, nil)}},
		"alg none":                      b(enc([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."),
		"alg None":                      b(enc([]byte(`{"alg":"None"}`)) + "." + parts[1] + "." + parts[2]),
		"alg of another head":           b(enc([]byte(`{"alg":"RS256","kid":"one"}`)) + "." + parts[1] + "." + parts[2]),
		"no alg":                        b(token(`{"kid":"one"}`, claims(nil), ours)),
		"HS256 with the public key":     b(mac(spki)),
		"HS256 with it as PEM":          b(mac(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))),
		"HS256 with nothing":            b(mac(nil)),
		"another's signature":           b(token(head, claims(nil), theirs)),
		"a key of its own":              b(token(`{"alg":"ES256","jwk":`+string(jwk)+`}`, claims(nil), theirs)),
		"keys from elsewhere":           b(token(`{"alg":"ES256","kid":"one","jku":"https://evil.example/keys"}`, claims(nil), theirs)),
		"a certificate from elsewhere":  b(token(`{"alg":"ES256","kid":"one","x5u":"https://evil.example/c"}`, claims(nil), theirs)),
		"a kid that is a path":          b(token(`{"alg":"ES256","kid":"../../dev/null"}`, claims(nil), theirs)),
		"a kid that is a query":         b(token(`{"alg":"ES256","kid":"one' OR '1'='1"}`, claims(nil), ours)),
		"what must be understood":       b(token(`{"alg":"ES256","kid":"one","crit":["b64"],"b64":false}`, claims(nil), ours)),
		"no signature":                  b(parts[0] + "." + parts[1] + "."),
		"half a signature":              b(good[:len(good)-20]),
		"two parts":                     b(parts[0] + "." + parts[1]),
		"four parts":                    b(good + "." + parts[2]),
		"five parts":                    b(good + "..x"),
		"other claims":                  b(parts[0] + "." + enc([]byte(claims(set{"sub": "root"}))) + "." + parts[2]),
		"no JSON":                       b(token(head, `iris`, ours)),
		"a list":                        b(token(head, `["iris"]`, ours)),
		"another issuer":                b(with(set{"iss": "https://login.example.com.evil.example"})),
		"the issuer with a slash":       b(with(set{"iss": issuer + "/"})),
		"a list of issuers":             b(with(set{"iss": []string{issuer}})),
		"another audience":              b(with(set{"aud": "lily"})),
		"a list without the audience":   b(with(set{"aud": []string{"lily", "iris2"}})),
		"no audience":                   b(with(set{"aud": nil})),
		"over":                          b(with(set{"exp": now - 3600})),
		"over, as a fraction":           b(with(set{"exp": float64(now) - 3600.5})),
		"an end as a text":              b(with(set{"exp": fmt.Sprint(now + 3600)})),
		"no end":                        b(with(set{"exp": nil})),
		"an end below 0":                b(with(set{"exp": -1})),
		"not yet":                       b(with(set{"nbf": now + 3600})),
		"from the future":               b(with(set{"iat": now + 3600})),
		"of nobody":                     b(with(set{"sub": ""})),
		"a number for a name":           b(with(set{"sub": 7})),
		"a name with a line break":      b(with(set{"sub": "alice\r\nX-Cortex-Caller: root"})),
		"a name that is too long":       b(with(set{"sub": strings.Repeat("a", 300)})),
		"without what is required":      b(with(set{"scope": nil})),
		"with another scope":            b(with(set{"scope": "predictor"})),
		"nine KiB":                      b(good + strings.Repeat("A", 9<<10)),
		"a session of another secret":   b(session(sealed.Secret{2}, nil)),
		"a session of another cluster":  b(session(secret, set{"a": "there"})),
		"a session that is over":        b(session(secret, set{"e": now - 1})),
		"a session for another API":     b(session(secret, set{"n": []string{"lily"}})),
		"a session for no API":          b(session(secret, set{"n": nil})),
		"a session of nobody":           b(session(secret, set{"p": set{}})),
		"a session that manages":        b("cx1" + strings.TrimPrefix(session(secret, nil), "cxs1")),
		"a session of another epoch":    b(strings.Replace(session(secret, nil), ".1.", ".2.", 1)),
	}
	grpc := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	plain := r.client
	count := 0
	for protocol, client := range map[string]*http.Client{"HTTP/1.1": plain, "HTTP/2": overHTTP2(t), "gRPC": overHTTP2(t)} {
		r.client = client
		r.until(func() bool {
			return r.do("GET", "/iris", nil, rows["another's signature"]).header.Get("X-Cortex-Reason") == "token_signature"
		}, "the keys of the issuer")
		for name, header := range rows {
			header = header.Clone()
			if protocol == "gRPC" {
				for field, values := range grpc {
					header[field] = values
				}
			}
			count++
			a := r.do("POST", "/iris/a", strings.NewReader("body"), header)
			refused := a.status == 401 || a.status == 403
			if protocol == "gRPC" {
				refused = a.status == 200 && (a.header.Get("Grpc-Status") == "16" || a.header.Get("Grpc-Status") == "7")
			}
			if !refused || a.header.Get("X-Cortex-Reason") == "" || a.header.Get("RateLimit") != "" {
				t.Errorf("%s: %s gets %s %v, want it refused", protocol, name, a, a.header)
			}
		}
		for _, query := range []string{"?key=" + text, "?access_token=" + good, "?X-API-Key=" + text} {
			count++
			if a := r.do("GET", "/iris"+query, nil, nil); a.status != 401 {
				t.Errorf("%s: what the address has gets %s, want 401", protocol, a)
			}
		}
	}
	if n := reached.Load(); n > 0 {
		t.Fatalf("the container was reached %d times", n)
	}
	t.Logf("%d were refused", count)
	for left, credential := range []string{text, good, session(secret, nil)} {
		a := r.do("GET", "/iris", nil, bearer(credential))
		if want := fmt.Sprintf(`"daily";r=%d;`, 4-left); a.status != 200 || !strings.HasPrefix(a.header.Get("RateLimit"), want) {
			t.Errorf("a good credential gets %s with RateLimit %q, want %s", a, a.header.Get("RateLimit"), want)
		}
	}
}
