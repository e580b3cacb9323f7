package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// issuer is one of tokens, whose keys rotate.
type issuer struct {
	url    string
	server *http.Server

	mu  sync.Mutex
	key *ecdsa.PrivateKey
	id  int
}

func newIssuer() (*issuer, error) {
	i := &issuer{}
	if err := i.rotate(); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	i.url = "http://" + ln.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.url, "jwks_uri": i.url + "/keys"}) // who asks hears that it broke
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: i.key.Public(), KeyID: fmt.Sprint(i.id), Algorithm: "ES256", Use: "sig"}}}) // likewise
	})
	i.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = i.server.Serve(ln) }() // it ends when it is closed
	return i, nil
}

// rotate makes another key; the one before is worth nothing.
func (i *issuer) rotate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.key, i.id = key, i.id+1
	return err
}

func (i *issuer) claims() []byte {
	text, err := json.Marshal(map[string]any{
		"iss": i.url, "aud": "tokens", "sub": "bob", "iat": time.Now().Unix(), "exp": time.Now().Add(10 * time.Minute).Unix(),
	})
	if err != nil { // strings and numbers always marshal
		return nil
	}
	return text
}

// token is one for bob, signed with the present key.
func (i *issuer) token() (string, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, (&jose.SignerOptions{}).WithHeader("kid", fmt.Sprint(i.id)).WithType("JWT"))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(i.claims())
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// unsigned is a token that says of itself that it needs no signature.
func (i *issuer) unsigned() string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + encode(i.claims()) + "."
}

// tokens has an API take those of an issuer.
func (d *accessDemo) tokens(ctx context.Context) (err error) {
	d.title("Another API takes tokens of an issuer, whose keys are fetched from it")
	if d.issuer, err = newIssuer(); err != nil {
		return err
	}
	file := filepath.Join(d.dir, "tokens.yaml")
	text := `- name: tokens
  kind: RealtimeAPI
  networking:
    auth:
      accept: [jwt]
      jwt: {issuer: "` + d.issuer.url + `", audience: tokens, algorithms: [ES256]}
  pod:
    containers:
      - name: server
        command: [../iris/bin/server]
        env: {MODEL: ../iris/model-v2.json}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "deploy", file); err != nil {
		return err
	}
	if d.tokensURL, err = d.endpointOf(ctx, "tokens"); err != nil {
		return err
	}
	token, err := d.issuer.token()
	if err != nil {
		return err
	}
	if err := d.untilOK(ctx, "POST /tokens, with a token of bob", token); err != nil {
		return err
	}
	r, err := d.callAt(ctx, d.tokensURL, d.issuer.unsigned())
	if err := d.want(`… with one that says "alg": "none"`, r, err, http.StatusUnauthorized, "token_malformed"); err != nil {
		return err
	}
	d.say("(the issuer's key is replaced)")
	return d.issuer.rotate()
}

// rotated calls with a token that the issuer's next key has signed.
func (d *accessDemo) rotated(ctx context.Context) error {
	d.title("The issuer has another key since. Nobody had to say so")
	token, err := d.issuer.token()
	if err != nil {
		return err
	}
	return d.untilOK(ctx, "POST /tokens, signed with the new key", token)
}

// untilOK calls until keys are fetched, which happens beside requests.
func (d *accessDemo) untilOK(ctx context.Context, what, token string) error {
	for begun := time.Now(); ; {
		r, err := d.callAt(ctx, d.tokensURL, token)
		waits := err == nil && (r.code == "issuer_unavailable" || r.code == "token_key_unknown")
		if !waits || time.Since(begun) > time.Minute {
			return d.want(what, r, err, http.StatusOK, "")
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
