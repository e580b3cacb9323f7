package guard_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
)

// attack is one exchange: a good one of alice's, but for what a case changes.
type attack struct {
	name   string
	who    string                                          // of identities; "" is alice
	bind   func(*auth.Binding)                             // what is signed
	sign   func(*http.Request)                             // …and of the request that is signed
	age    time.Duration                                   // of the date, by the operator's clock
	proof  func(*auth.Proof)                               // after it was signed
	body   func(proof []byte) []byte                       // of the exchange
	send   func(*http.Request)                             // …and of its request
	raw    func(w *world, body []byte) string              // all of its bytes, instead
	hangUp bool                                            // after them: nothing more is sent
	answer func(w http.ResponseWriter, r *http.Request)    // of STS; nil lets it verify
	before func(t *testing.T, w *world, c *auth.Challenge) // anything else
	after  func(t *testing.T, w *world, s auth.Session)    // when it was granted
	want   outcome
}

// outcome is what has to come of it.
type outcome struct {
	status    int
	code      string // "" when it is granted
	reason    string // in the audit
	calls     int    // that reached STS
	principal string // in the audit
	silent    bool   // no line in the audit: net/http itself refused to read it
}

const (
	aliceARN   = "arn:aws:iam::" + ownAccount + ":user/alice"
	adminARN   = "arn:aws:iam::" + ownAccount + ":role/Admin"
	malloryARN = "arn:aws:iam::" + otherAccount + ":user/mallory"
)

func granted(principal string) outcome {
	return outcome{status: http.StatusOK, calls: 1, principal: principal}
}

func malformed(reason string) outcome {
	return outcome{status: http.StatusBadRequest, code: auth.CodeMalformed, reason: reason}
}

func refused(reason string, calls int) outcome {
	return outcome{status: http.StatusUnauthorized, code: auth.CodeNotProven, reason: reason, calls: calls}
}

func away(reason string, calls int) outcome {
	return outcome{status: http.StatusServiceUnavailable, code: auth.CodeUnavailable, reason: reason, calls: calls}
}

func throttled(reason string, calls int) outcome {
	return outcome{status: http.StatusTooManyRequests, code: auth.CodeTooMany, reason: reason, calls: calls}
}

// refusals is every byte of a refusal but its request id. There is one text for
// each code: what was wrong is not told.
var refusals = map[string]string{
	auth.CodeNotProven:   `{"kind":"unproven","code":"endpoints.auth_invalid","message":"the identity of the caller is not proven"`,
	auth.CodeMalformed:   `{"kind":"malformed","code":"auth.malformed","message":"this is not a proof of identity"`,
	auth.CodeTooMany:     `{"kind":"too_many","code":"auth.too_many_attempts","message":"too many attempts to prove an identity","hint":"try again in a moment"`,
	auth.CodeUnavailable: `{"kind":"unavailable","code":"auth.sts_unavailable","message":"identities cannot be checked at the moment","hint":"try again in a moment; sessions that exist keep working"`,
}

// run carries out a family, one case after another: each looks at what it alone
// has written and caused.
func (w *world) run(t *testing.T, family []attack) {
	t.Helper()
	for _, a := range family {
		t.Run(a.name, func(t *testing.T) { w.attack(t, a) })
	}
}

// attack carries out one case and returns the session, if there is one.
func (w *world) attack(t *testing.T, a attack) auth.Session {
	t.Helper()
	w.clock.Add(2 * time.Second) // so that the audit writes every refusal
	w.newLines(t)
	body, challenge := w.evidence(t, a)
	w.sts.SetAnswer(a.answer)
	defer w.sts.SetAnswer(nil)
	if a.before != nil {
		a.before(t, w, &challenge)
	}
	calls := w.sts.Calls().Total
	resp, answer := w.deliver(t, a, body)
	var session auth.Session
	permitted := ""
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(answer, &session); err != nil {
			t.Fatalf("the answer %s = %v", answer, err)
		}
		permitted = session.Token
		w.seen.secret("a session", session.Token)
	}
	w.seen.answer(a.name, resp, answer, permitted)
	w.judge(t, a.want, resp, answer)
	if got := w.sts.Calls().Total - calls; got != a.want.calls {
		t.Errorf("calls to STS = %d, want %d", got, a.want.calls)
	}
	w.audited(t, a.want, resp.Header.Get("X-Request-ID"))
	if a.after != nil && session.Token != "" {
		a.after(t, w, session)
	}
	return session
}

// evidence is the body of an exchange with a fresh challenge.
func (w *world) evidence(t *testing.T, a attack) ([]byte, auth.Challenge) {
	t.Helper()
	c := w.challenge(t)
	who, ok := w.ids[a.who]
	if a.who == "" {
		who, ok = w.ids["alice"], true
	}
	if !ok {
		t.Fatalf("nobody is called %s", a.who)
	}
	b := w.binding(c.Nonce)
	if a.bind != nil {
		a.bind(&b)
	}
	p := w.prove(t, who, b, w.clock.Now().Add(-a.age), a.sign)
	p.Nonce = c.Nonce
	if a.proof != nil {
		a.proof(&p)
	}
	w.seen.secret("a signature", p.Signature)
	body := marshal(t, p)
	if a.body != nil {
		body = a.body(body)
	}
	return body, c
}

func (w *world) challenge(t *testing.T) auth.Challenge {
	t.Helper()
	resp, body := w.do(t, http.MethodGet, "/v1/auth/challenge", "")
	var c auth.Challenge
	if err := json.Unmarshal(body, &c); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET challenge = %d, %v", resp.StatusCode, err)
	}
	w.seen.secret("a nonce", c.Nonce)
	w.seen.answer("a challenge", resp, body, c.Nonce)
	return c
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// do sends a request with a token, or without.
func (w *world) do(t *testing.T, method, path, token string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, w.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return w.roundTrip(t, req)
}

func (w *world) roundTrip(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatalf("%s %s = %v", req.Method, req.URL.Path, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: reading the answer: %v", req.Method, req.URL.Path, err)
	}
	return resp, body
}

// deliver sends an exchange as a case wants it.
func (w *world) deliver(t *testing.T, a attack, body []byte) (*http.Response, []byte) {
	t.Helper()
	if a.raw != nil {
		return w.bytes(t, a.raw(w, body), a.hangUp)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/auth/session", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if a.send != nil {
		a.send(req)
	}
	return w.roundTrip(t, req)
}

// bytes sends exactly these, and reads one answer.
func (w *world) bytes(t *testing.T, text string, hangUp bool) (*http.Response, []byte) {
	t.Helper()
	conn, err := (&tls.Dialer{Config: w.tls}).DialContext(t.Context(), "tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	if hangUp {
		_ = conn.(*tls.Conn).CloseWrite()
	}
	method, _, _ := strings.Cut(text, " ")
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("reading the answer: %v", err)
	}
	return resp, body
}

// judge looks at the answer: its status, and every byte of a refusal.
func (w *world) judge(t *testing.T, want outcome, resp *http.Response, body []byte) {
	t.Helper()
	if resp.StatusCode != want.status {
		t.Fatalf("status = %d, want %d: %s", resp.StatusCode, want.status, body)
	}
	if want.code == "" {
		return
	}
	id := resp.Header.Get("X-Request-ID")
	if text, fixed := refusals[want.code]; fixed {
		if whole := fmt.Sprintf("%s,\"request_id\":%q}\n", text, id); string(body) != whole {
			t.Errorf("the answer is %s, want %s", body, whole)
		}
	} else if !strings.Contains(string(body), `"code":"`+want.code+`"`) {
		t.Errorf("the answer is %s, want the code %s", body, want.code)
	}
	retry := resp.Header.Get("Retry-After")
	if later := want.status == http.StatusTooManyRequests || want.status == http.StatusServiceUnavailable; (retry != "") != later {
		t.Errorf("Retry-After = %q with status %d", retry, want.status)
	}
	if got := resp.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control = %q, want no-store", got)
	}
}

// audited looks at what was written since: exactly one line.
func (w *world) audited(t *testing.T, want outcome, requestID string) {
	t.Helper()
	lines := w.newLines(t)
	if want.silent {
		if len(lines) != 0 {
			t.Errorf("the audit has %d lines, want none: %s", len(lines), lines)
		}
		return
	}
	if len(lines) != 1 {
		t.Errorf("the audit has %d lines, want 1: %s", len(lines), lines)
		return
	}
	var e auth.Entry
	if err := json.Unmarshal(lines[0], &e); err != nil {
		t.Fatalf("the line %s = %v", lines[0], err)
	}
	decision := auth.Deny
	if want.code == "" {
		decision = auth.Allow
	}
	if e.Decision != decision || e.Reason != want.reason || e.Principal != want.principal ||
		e.Action != auth.ActionAuthenticate || e.Source != "127.0.0.1" || e.RequestID != requestID {
		t.Errorf("the audit says %s, want %s of %q from 127.0.0.1 because of %q, request %s", lines[0], decision, want.principal, want.reason, requestID)
	}
}

// login is a good exchange.
func (w *world) login(t *testing.T, who string) auth.Session {
	t.Helper()
	principal, err := auth.ParseARN(w.ids[who].ARN)
	if err != nil {
		t.Fatal(err)
	}
	return w.attack(t, attack{name: "login of " + who, who: who, want: granted(principal.ARN)})
}

// as makes STS say that whoever asks is this identity.
func as(id authtest.Identity) func(http.ResponseWriter, *http.Request) {
	return says(http.StatusOK, "text/xml", answerOf(id))
}

// says makes STS answer with these bytes.
func says(status int, contentType, body string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const xmlns = ` xmlns="https://sts.amazonaws.com/doc/2011-06-15/"`

// answerOf is what STS answers, in its own form.
func answerOf(id authtest.Identity) string { return answerWith(fields(id)) }

func fields(id authtest.Identity) string {
	return "<Arn>" + id.ARN + "</Arn><UserId>" + id.UserID + "</UserId><Account>" + id.Account + "</Account>"
}

func answerWith(fields string) string {
	return "<GetCallerIdentityResponse" + xmlns + "><GetCallerIdentityResult>" + fields + "</GetCallerIdentityResult>" +
		"<ResponseMetadata><RequestId>01234567-89ab-cdef-0123-456789abcdef</RequestId></ResponseMetadata></GetCallerIdentityResponse>\n"
}
