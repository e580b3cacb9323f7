package guard_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
)

// use sends a token and says whether it was taken; a refusal has to be the one
// text of all of them, with its line in the audit.
func (w *world) use(t *testing.T, name string, authorization []string) bool {
	t.Helper()
	w.clock.Add(20 * time.Millisecond) // the audit writes 50 refusals a second
	w.newLines(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url+"/v1/whoami", nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != nil {
		req.Header["Authorization"] = authorization
	}
	resp, body := w.roundTrip(t, req)
	w.seen.answer(name, resp, body, "")
	if resp.StatusCode == http.StatusOK {
		return true
	}
	want := refused(iam.ReasonToken, 0)
	w.judge(t, want, resp, body)
	w.audited(t, want, resp.Header.Get("X-Request-ID"))
	return false
}

func bearer(token string) []string { return []string{"Bearer " + token} }

// TestTokens sends what is no session, in every form.
func TestTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.login(t, "alice").Token
	parts := strings.Split(token, ".")
	nonce := w.challenge(t).Nonce
	twin := newWorld(t)
	other := twin.login(t, "alice").Token
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	claims, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		t.Fatal(err)
	}
	forged := func(from, to string) string {
		changed := bytes.Replace(claims, []byte(from), []byte(to), 1)
		if bytes.Equal(changed, claims) {
			t.Fatalf("%q is not in the claims", from)
		}
		return join(parts[0], parts[1], base64.RawURLEncoding.EncodeToString(changed), parts[3])
	}
	jwt := func(head string) string {
		return join(base64.RawURLEncoding.EncodeToString([]byte(head)), parts[2], parts[3])
	}
	for name, text := range map[string]string{
		"another cluster's":               other,
		"another cluster's MAC":           join(parts[0], parts[1], parts[2], strings.Split(other, ".")[3]),
		"another user in it":              forged("user/alice", "user/admin"),
		"another account in it":           forged(ownAccount, otherAccount),
		"another end in it":               forged(`"e":1`, `"e":9`),
		"another session's name in it":    forged(`"i":"`, `"i":"x`),
		"a nonce":                         nonce,
		"a nonce as the MAC":              join(parts[0], parts[1], parts[2], nonce),
		"a nonce as the claims":           join(parts[0], parts[1], nonce, parts[3]),
		"version 2":                       join("cx2", parts[1], parts[2], parts[3]),
		"version 0":                       join("cx0", parts[1], parts[2], parts[3]),
		"the version in upper case":       join("CX1", parts[1], parts[2], parts[3]),
		"no version":                      join("", parts[1], parts[2], parts[3]),
		"a JWT without an algorithm":      jwt(`{"alg":"none"}`),
		"a JWT without a signature":       strings.TrimSuffix(jwt(`{"alg":"none"}`), parts[3]),
		"a JWT by HS256":                  jwt(`{"alg":"HS256","typ":"JWT"}`),
		"a JWT by RS256":                  jwt(`{"alg":"RS256"}`),
		"no MAC":                          join(parts[0], parts[1], parts[2], ""),
		"no MAC and no dot":               join(parts[0], parts[1], parts[2]),
		"no claims":                       join(parts[0], parts[1], "", parts[3]),
		"half a MAC":                      token[:len(token)-22],
		"a MAC and more":                  token + "AAAA",
		"a dot more":                      token + ".",
		"a dot before":                    "." + token,
		"a part more":                     token + "." + parts[3],
		"two of them":                     token + "." + token,
		"two of them, with a comma":       token + "," + token,
		"padded":                          token + "=",
		"the standard alphabet":           join(parts[0], parts[1], parts[2], "+/"+parts[3][2:]),
		"other spare bits":                token[:len(token)-1] + spare(token[len(token)-1]),
		"the epoch with a zero":           join(parts[0], "0"+parts[1], parts[2], parts[3]),
		"the epoch with a sign":           join(parts[0], "+"+parts[1], parts[2], parts[3]),
		"the epoch in hexadecimal":        join(parts[0], "0x1", parts[2], parts[3]),
		"no epoch":                        join(parts[0], "", parts[2], parts[3]),
		"epoch 0":                         join(parts[0], "0", parts[2], parts[3]),
		"an epoch that is not yet":        join(parts[0], "2", parts[2], parts[3]),
		"the last epoch of all":           join(parts[0], "4294967295", parts[2], parts[3]),
		"an epoch of 33 bits":             join(parts[0], "4294967297", parts[2], parts[3]),
		"an epoch without end":            join(parts[0], strings.Repeat("9", 500), parts[2], parts[3]),
		"the epoch in other digits":       join(parts[0], "\u0661", parts[2], parts[3]),
		"8 KiB":                           strings.Repeat("a", 8<<10),
		"8 KiB of claims":                 join(parts[0], parts[1], strings.Repeat("A", 8<<10), parts[3]),
		"8 KiB of dots":                   strings.Repeat(".", 8<<10),
		"a word":                          "admin",
		"space behind it, and a word":     token + " admin",
		"a tab inside":                    token[:40] + "\t" + token[40:],
		"quotes around it":                `"` + token + `"`,
		"percent encoded":                 strings.ReplaceAll(token, ".", "%2e"),
		"an access key":                   w.ids["alice"].AccessKeyID,
		"the id of the cluster":           w.iam.ClusterID(),
		"the MAC of the claims, in upper": join(parts[0], parts[1], parts[2], strings.ToUpper(parts[3])),
	} {
		if w.use(t, name, bearer(text)) {
			t.Errorf("%s was taken: %s", name, text)
		}
	}
	for name, header := range map[string][]string{
		"no header":              nil,
		"an empty header":        {""},
		"no token":               {"Bearer"},
		"an empty token":         {"Bearer "},
		"only space":             {"Bearer    "},
		"two headers, good both": {"Bearer " + token, "Bearer " + token},
		"two headers, good last": {"Bearer x", "Bearer " + token},
		"two headers, one empty": {"", "Bearer " + token},
		"no scheme":              {token},
		"another scheme":         {"Basic " + token},
		"the scheme of AWS":      {"AWS4-HMAC-SHA256 " + token},
		"the scheme of 0.42":     {"CortexAWS AKIA|secret"},
		"two schemes":            {"Bearer Bearer " + token},
		"a comma and another":    {"Bearer " + token + ", Bearer x"},
		"a tab in between":       {"Bearer\t" + token},
	} {
		if w.use(t, name, header) {
			t.Errorf("%s was taken", name)
		}
	}
	// By the rules of HTTP, the scheme may be written in any case.
	for _, header := range []string{"Bearer ", "bearer ", "BEARER "} {
		if !w.use(t, "a good one", []string{header + token}) {
			t.Errorf("%q and a good token was refused", header)
		}
	}
	if got := w.sts.Calls().Total; got != 1 {
		t.Errorf("calls to STS = %d, want 1: that of the login", got)
	}
}

// TestAudienceOfSessions has another cluster come by the same keys, as a copy of
// its state does: sessions and challenges are still for the one they name.
func TestAudienceOfSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.login(t, "alice")
	copied := w.replica(t, func(c *iam.Config) { c.ClusterName = "staging" })
	if _, err := copied.Verify(t.Context(), s.Token); iam.Reason(err) != iam.ReasonToken {
		t.Errorf("Verify of a session for %s at %s = %v, want %s", w.iam.ClusterID(), copied.ClusterID(), err, iam.ReasonToken)
	}
	body, _ := w.evidence(t, attack{})
	if _, err := copied.Exchange(t.Context(), addr("192.0.2.1"), body); iam.Reason(err) != iam.ReasonNonce {
		t.Errorf("Exchange with a nonce of %s at %s = %v, want %s", w.iam.ClusterID(), copied.ClusterID(), err, iam.ReasonNonce)
	}
}

// spare is the character that differs from c in the two bits that a MAC of 32
// bytes leaves over.
func spare(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}

// TestEveryBit flips each bit of a session: none of them makes another one.
func TestEveryBit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := []byte(w.login(t, "role").Token)
	if _, err := w.iam.Verify(t.Context(), string(token)); err != nil {
		t.Fatalf("Verify = %v", err)
	}
	for i := range len(token) * 8 {
		token[i/8] ^= 1 << (i % 8)
		if caller, err := w.iam.Verify(t.Context(), string(token)); err == nil || iam.Reason(err) != iam.ReasonToken {
			t.Errorf("Verify with bit %d flipped = %+v, %v, want a refusal", i, caller, err)
		}
		token[i/8] ^= 1 << (i % 8)
	}
	// What Go's base64 leaves out while it reads is part of no session.
	for _, skipped := range []string{"\n", "\r", "\r\n"} {
		for _, at := range []int{0, 3, 4, 5, 20, len(token) - 20, len(token)} {
			changed := string(token[:at]) + skipped + string(token[at:])
			if _, err := w.iam.Verify(t.Context(), changed); err == nil {
				t.Errorf("Verify with %q at %d = nil, want a refusal", skipped, at)
			}
		}
	}
}

// TestSessionEnds uses a session up to its last moment, and a second longer.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.login(t, "alice")
	if want := w.clock.Now().Add(iam.DefaultSessionTTL); !s.ExpiresAt.Equal(want) {
		t.Fatalf("expires_at = %s, want %s", s.ExpiresAt, want)
	}
	w.clock.Add(iam.DefaultSessionTTL - time.Second)
	for _, step := range []struct {
		name string
		good bool
	}{{"a second before", true}, {"at its end", false}, {"a second after", false}} {
		// Once from what is remembered, and once from the token itself.
		_, err := w.iam.Verify(t.Context(), s.Token)
		_, fresh := w.replica(t).Verify(t.Context(), s.Token)
		if (err == nil) != step.good || (fresh == nil) != step.good {
			t.Errorf("Verify %s = %v, elsewhere %v, want taken %v", step.name, err, fresh, step.good)
		}
		w.clock.Add(time.Second)
	}
	if w.use(t, "over", bearer(s.Token)) {
		t.Error("a session that is over was taken")
	}
}

// TestRotation has keys rotate: a session outlives one rotation, and not two.
func TestRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	// Moved by hand: Run looks every five seconds of real time.
	rotate := func() {
		t.Helper()
		data, version, err := w.store.Value(t.Context(), "session-keys")
		if err != nil {
			t.Fatal(err)
		}
		var s struct {
			Keys []map[string]any `json:"keys"`
		}
		if err := json.Unmarshal(data, &s); err != nil || len(s.Keys) == 0 {
			t.Fatalf("the keys are %v, %v", s, err)
		}
		newest := map[string]any{}
		for k, v := range s.Keys[0] {
			newest[k] = v
		}
		newest["epoch"] = s.Keys[0]["epoch"].(float64) + 1
		newest["secret"] = []byte("0123456789abcdef0123456789abcdef")
		s.Keys = append([]map[string]any{newest}, s.Keys[0])
		if _, err := w.store.SetValue(t.Context(), "session-keys", marshal(t, s), version); err != nil {
			t.Fatal(err)
		}
	}
	old := w.login(t, "alice").Token
	rotate()
	next := w.replica(t)
	if _, err := next.Verify(t.Context(), old); err != nil {
		t.Errorf("Verify after one rotation = %v, want the session", err)
	}
	// The first replica hears of the new key by the first session that has it.
	c := next.Challenge()
	w.seen.secret("a nonce", c.Nonce)
	proof := w.prove(t, w.ids["alice"], w.binding(c.Nonce), w.clock.Now(), nil)
	fresh, err := w.iam.Exchange(t.Context(), addr("192.0.2.1"), marshal(t, proof))
	if err != nil {
		t.Fatalf("Exchange with a nonce of the new key = %v", iam.Reason(err))
	}
	w.seen.secret("a session", fresh.Token)
	if !strings.HasPrefix(fresh.Token, "cx1.2.") {
		t.Errorf("the session is %.8s…, want one of the new key", fresh.Token)
	}
	rotate()
	last := w.replica(t)
	if _, err := last.Verify(t.Context(), old); err == nil {
		t.Error("Verify after two rotations = nil, want a refusal")
	}
	if _, err := last.Verify(t.Context(), fresh.Token); err != nil {
		t.Errorf("Verify of the newer session = %v, want the session", err)
	}
}

// TestRevoke ends every session: at once here, and what is under way with them.
func TestRevoke(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.login(t, "alice")
	if !w.use(t, "before", bearer(s.Token)) {
		t.Fatal("a good session was refused")
	}
	challenged, _ := w.evidence(t, attack{})
	resp, body := w.do(t, http.MethodDelete, "/v1/auth/sessions", s.Token)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("DELETE sessions = %d %s", resp.StatusCode, body)
	}
	if w.use(t, "revoked", bearer(s.Token)) {
		t.Error("a session that was ended was taken")
	}
	w.attack(t, attack{name: "a challenge from before", body: fixed(string(challenged)), want: refused(iam.ReasonNonce, 0)})
	w.attack(t, attack{name: "while STS is being asked", answer: func(rw http.ResponseWriter, r *http.Request) {
		if err := w.iam.Revoke(r.Context()); err != nil {
			panic(err)
		}
		as(w.ids["alice"])(rw, r)
	}, want: refused(iam.ReasonNonce, 1)})
	if again := w.login(t, "alice"); !w.use(t, "afterwards", bearer(again.Token)) {
		t.Error("a new session was refused")
	}
}

// TestTokenOnTheExchange has an Authorization header on the two open operations,
// where it changes nothing.
func TestTokenOnTheExchange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.login(t, "alice").Token
	for _, value := range []string{"Bearer " + token, "Bearer x", "Basic x", "AWS4-HMAC-SHA256 Credential=x", ""} {
		w.attack(t, attack{name: fmt.Sprintf("a good proof beside %.6s", value), send: header("Authorization", value), want: granted(aliceARN)})
		w.attack(t, attack{name: fmt.Sprintf("a bad proof beside %.6s", value), send: header("Authorization", value), body: fixed("{}"), want: malformed(iam.ReasonEnvelope)})
		w.attack(t, attack{name: fmt.Sprintf("a wrong proof beside %.6s", value), send: header("Authorization", value),
			proof: func(p *auth.Proof) { p.Signature = flipHex(p.Signature) }, want: refused(iam.ReasonSTS, 1)})
	}
}
