package guard_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
)

func fixed(s string) func([]byte) []byte { return func([]byte) []byte { return []byte(s) } }

func edit(from, to string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(from), []byte(to), 1) }
}

// padded makes a good proof exactly so many bytes long.
func padded(size int) func([]byte) []byte {
	return func(b []byte) []byte { return append(b, bytes.Repeat([]byte(" "), size-len(b))...) }
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, _ = z.Write(b)
	z.Close()
	return out.Bytes()
}

func header(name string, values ...string) func(*http.Request) {
	return func(r *http.Request) { r.Header[name] = values }
}

// TestEnvelope is what a body may look like.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no := malformed(iam.ReasonEnvelope)
	w.run(t, []attack{
		{name: "a good one", want: granted(aliceARN)},
		{name: "a good one with space around it", body: func(b []byte) []byte { return []byte(" \r\n\t" + string(b) + "\n\n") }, want: granted(aliceARN)},
		{name: "exactly 16 KiB", body: padded(auth.MaxProofBytes), want: granted(aliceARN)},
		// An escape is JSON's other spelling of the same key, and no second key.
		{name: "an escape in a key", body: edit("access_key_id", `access\u005fkey_id`), want: granted(aliceARN)},
		{name: "a key twice, once escaped", body: edit(`{`, `{"access\u005fkey_id":"AKIAALICEEXAMPLEEXAM",`), want: no},

		{name: "empty", body: fixed(""), want: no},
		{name: "space", body: fixed("   \n"), want: no},
		{name: "an empty object", body: fixed("{}"), want: no},
		{name: "null", body: fixed("null"), want: no},
		{name: "a string", body: fixed(`"proof"`), want: no},
		{name: "a number", body: fixed("17"), want: no},
		{name: "an array", body: fixed("[]"), want: no},
		{name: "an array of one proof", body: func(b []byte) []byte { return []byte("[" + string(b) + "]") }, want: no},
		{name: "two values", body: func(b []byte) []byte { return []byte(string(b) + string(b)) }, want: no},
		{name: "two values in lines", body: func(b []byte) []byte { return []byte(string(b) + "\n{}") }, want: no},
		{name: "junk behind", body: func(b []byte) []byte { return append(b, 'x') }, want: no},
		{name: "junk before", body: func(b []byte) []byte { return append([]byte(")]}'\n"), b...) }, want: no},
		{name: "a comma at the end", body: func(b []byte) []byte { return edit("}", ",}")(b) }, want: no},
		{name: "cut off", body: func(b []byte) []byte { return b[:len(b)-1] }, want: no},
		{name: "a comment", body: edit("{", "{/* */"), want: no},
		{name: "single quotes", body: edit(`"nonce"`, `'nonce'`), want: no},
		{name: "deep nesting", body: fixed(strings.Repeat(`{"nonce":`, 1600) + "1" + strings.Repeat("}", 1600)), want: no},
		{name: "deep arrays", body: fixed(`{"nonce":` + strings.Repeat("[", 8000)), want: no},

		{name: "a key twice", body: edit("{", `{"access_key_id":"AKIAALICEEXAMPLEEXAM",`), want: no},
		{name: "a key twice with another value", body: edit("{", `{"nonce":"x",`), want: no},
		{name: "a key in another case", body: edit("access_key_id", "Access_Key_Id"), want: no},
		{name: "the key of the Go field", body: edit("access_key_id", "AccessKeyID"), want: no},
		{name: "a key in both cases", body: edit("{", `{"NONCE":"x",`), want: no},
		{name: "a key with a letter that folds", body: edit("access_key_id", "acce\u017f\u017f_\u212aey_id"), want: no},
		{name: "an unknown key", body: edit("{", `{"sts_url":"https://evil.example.com/",`), want: no},
		{name: "the fields of 0.42", body: edit("{", `{"method":"POST","url":"https://evil.example.com/","headers":{},`), want: no},
		{name: "an empty key", body: edit("{", `{"":"",`), want: no},
		{name: "without the nonce", body: edit(`"nonce"`, `"security_token"`), want: no},

		{name: "a NUL", body: edit("AKIA", "AKIA\x00"), want: no},
		{name: "a NUL behind", body: func(b []byte) []byte { return append(b, 0) }, want: no},
		{name: "an escaped NUL", body: edit("AKIA", `AKIA\u0000`), want: malformed(iam.ReasonField)},
		{name: "invalid UTF-8", body: edit("AKIA", "AKIA\xff"), want: no},
		{name: "half a surrogate", body: edit("AKIA", `AKIA\ud800`), want: malformed(iam.ReasonField)},
		{name: "a byte order mark", body: func(b []byte) []byte { return append([]byte("\ufeff"), b...) }, want: no},
		{name: "UTF-16", body: func(b []byte) []byte { return bytes.Join(bytes.SplitAfter(b, nil), []byte{0}) }, want: no},

		{name: "a number as a value", body: edit(`"AKIA`, `12,"x":"AKIA`), want: no},
		{name: "a bool as a value", body: edit(`{`, `{"security_token":true,`), want: no},
		{name: "null as a value", body: edit(`{`, `{"security_token":null,`), want: no},
		{name: "an object as a value", body: edit(`{`, `{"security_token":{},`), want: no},
		{name: "an array as a value", body: edit(`{`, `{"security_token":["x"],`), want: no},
		{name: "a number without end", body: edit(`{`, `{"security_token":1e999999999,`), want: no},
	})
}

// TestEnvelopeNonce has the nonce spelled anew, to look as if it were another one.
func TestEnvelopeNonce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	field := malformed(iam.ReasonField)
	nonce := func(change func(string) string) func(*auth.Proof) {
		return func(p *auth.Proof) { p.Nonce = change(p.Nonce) }
	}
	last := func(s string, to byte) string { return s[:len(s)-1] + string(to) }
	w.run(t, []attack{
		{name: "padded", proof: nonce(func(s string) string { return s + "=" }), want: field},
		{name: "padded by four", proof: nonce(func(s string) string { return s + "====" }), want: field},
		{name: "space behind", proof: nonce(func(s string) string { return s + " " }), want: field},
		{name: "a line break inside", proof: nonce(func(s string) string { return s[:30] + "\n" + s[30:] }), want: field},
		{name: "a line break for its last character", proof: nonce(func(s string) string { return last(s, '\n') }), want: field},
		{name: "the standard alphabet", proof: nonce(func(s string) string { return "+/" + s[2:] }), want: field},
		{name: "in hexadecimal", proof: nonce(func(s string) string { return fmt.Sprintf("%x", s) }), want: field},
		{name: "empty", proof: nonce(func(string) string { return "" }), want: field},
		{name: "other last bits", proof: nonce(func(s string) string { return last(s, 'A'+(s[len(s)-1]-'A'+1)%26) }), want: refused(iam.ReasonNonce, 0)},
		{name: "another version", proof: nonce(func(s string) string { return "B" + s[1:] }), want: refused(iam.ReasonNonce, 0)},
		{name: "an epoch that is not yet", proof: nonce(func(s string) string { return s[:2] + "___" + s[5:] }), want: refused(iam.ReasonNonce, 0)},
		{name: "all zero", proof: nonce(func(string) string { return strings.Repeat("A", 60) }), want: refused(iam.ReasonNonce, 0)},
	})
}

// TestEnvelopeHTTP is about the request around the body. What HTTP itself refuses
// never gets to the guard; everything else is in the audit.
func TestEnvelopeHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	status := func(s int) outcome {
		return outcome{status: s, code: auth.CodeMalformed, reason: iam.ReasonEnvelope}
	}
	elsewhere := func(s int, code string) outcome { return outcome{status: s, code: code, silent: true} }
	noRoute := elsewhere(http.StatusNotFound, "endpoints.no_such_route")
	noMethod := elsewhere(http.StatusMethodNotAllowed, "endpoints.method_not_allowed")
	path := func(p string) func(*world, []byte) string {
		return func(w *world, body []byte) string { return rawPost(w, p, "", body) }
	}
	headers := func(h string) func(*world, []byte) string {
		return func(w *world, body []byte) string { return rawPost(w, "/v1/auth/session", h, body) }
	}
	w.run(t, []attack{
		{name: "1 byte over 16 KiB", body: padded(auth.MaxProofBytes + 1), want: status(http.StatusRequestEntityTooLarge)},
		{name: "gzip", body: zipped, send: header("Content-Encoding", "gzip"), want: status(http.StatusUnsupportedMediaType)},
		{name: "a gzip bomb", body: func([]byte) []byte { return zipped(make([]byte, 10<<20)) }, send: header("Content-Encoding", "gzip"), want: status(http.StatusUnsupportedMediaType)},
		{name: "gzip that says nothing", body: zipped, want: malformed(iam.ReasonEnvelope)},
		{name: "an encoding that changes nothing", send: header("Content-Encoding", "identity"), want: status(http.StatusUnsupportedMediaType)},
		{name: "two encodings, one empty", body: zipped, send: header("Content-Encoding", "", "gzip"), want: malformed(iam.ReasonEnvelope)},
		{name: "no content type", send: func(r *http.Request) { r.Header.Del("Content-Type") }, want: status(http.StatusUnsupportedMediaType)},
		{name: "a form", send: header("Content-Type", "application/x-www-form-urlencoded"), want: status(http.StatusUnsupportedMediaType)},
		{name: "text", send: header("Content-Type", "text/plain"), want: status(http.StatusUnsupportedMediaType)},
		{name: "another JSON", send: header("Content-Type", "application/problem+json"), want: status(http.StatusUnsupportedMediaType)},
		{name: "a content type that is none", send: header("Content-Type", "application/json; charset"), want: status(http.StatusUnsupportedMediaType)},
		{name: "another charset", send: header("Content-Type", "application/json; charset=utf-7"), want: status(http.StatusUnsupportedMediaType)},
		{name: "the charset of JSON", send: header("Content-Type", "application/json; charset=UTF-8"), want: granted(aliceARN)},
		{name: "the method by a header", send: header("X-Http-Method-Override", "GET"), want: granted(aliceARN)},
		{name: "the path by a header", send: header("X-Original-Url", "/v1/apis"), want: granted(aliceARN)},
		{name: "a token beside it", send: header("Authorization", "Bearer x"), want: granted(aliceARN)},
		{name: "another source by a header", send: header("X-Forwarded-For", "10.0.0.1"), want: granted(aliceARN)},

		{name: "trailing slash", raw: path("/v1/auth/session/"), want: noRoute},
		{name: "two slashes", raw: path("//v1/auth/session"), want: noRoute},
		{name: "a dot", raw: path("/v1/%2e/auth/session"), want: noRoute},
		{name: "two dots", raw: path("/v1/apis/%2e%2e/auth/session"), want: noRoute},
		{name: "an escaped slash", raw: path("/v1/auth%2fsession"), want: noRoute},
		{name: "upper case", raw: path("/v1/auth/Session"), want: noRoute},
		{name: "a NUL in the path", raw: path("/v1/auth/session%00"), want: noRoute},
		{name: "a query", raw: path("/v1/auth/session?nonce=x"), want: elsewhere(http.StatusBadRequest, "endpoints.query_param_unknown")},

		{name: "GET with a body", send: func(r *http.Request) { r.Method = http.MethodGet }, want: noMethod},
		{name: "PUT", send: func(r *http.Request) { r.Method = http.MethodPut }, want: noMethod},
		{name: "OPTIONS", send: func(r *http.Request) { r.Method = http.MethodOptions }, want: noMethod},

		{name: "chunked", raw: func(w *world, body []byte) string {
			return rawHead(w, "/v1/auth/session", "Transfer-Encoding: chunked\r\n") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		}, want: granted(aliceARN)},
		{name: "chunked, and a length that is short", raw: func(w *world, body []byte) string {
			return rawHead(w, "/v1/auth/session", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n") + fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(body), body)
		}, want: granted(aliceARN)}, // by RFC 9112: the length is ignored, and the connection closed
		{name: "a body that ends early", raw: headers("Content-Length: 900\r\n"), hangUp: true, want: malformed(iam.ReasonEnvelope)},
		{name: "a body by fields", raw: func(w *world, body []byte) string {
			return rawHead(w, "/v1/auth/session", "Content-Length: 0\r\n")
		}, want: malformed(iam.ReasonEnvelope)},
	})
}

// rawHead is the head of an exchange, with these header lines.
func rawHead(w *world, path, lines string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: " + w.address + "\r\nContent-Type: application/json\r\n" + lines + "\r\n"
}

func rawPost(w *world, path, lines string, body []byte) string {
	if lines == "" {
		lines = fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	return rawHead(w, path, lines) + string(body)
}

// TestRefusedByHTTP is what net/http itself does not read: no answer of ours, and
// nothing done.
func TestRefusedByHTTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, lines := range map[string]string{
		"two lengths":                "Content-Length: %d\r\nContent-Length: 3\r\n",
		"a length with a sign":       "Content-Length: +%d\r\n",
		"an unknown coding":          "Transfer-Encoding: gzip, chunked\r\n",
		"chunked twice":              "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
		"identity":                   "Transfer-Encoding: identity\r\n",
		"a header without a name":    ": x\r\nContent-Length: %d\r\n",
		"space before the colon":     "Content-Length : %d\r\n",
		"a header over two lines":    "X-A: b\r\n c: d\r\n Content-Length: %d\r\n",
		"two hosts":                  "Host: elsewhere\r\nContent-Length: %d\r\n",
		"more headers than are read": "X-A: " + strings.Repeat("a", 64<<10) + "\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			body, _ := w.evidence(t, attack{})
			if strings.Contains(lines, "%d") {
				lines = fmt.Sprintf(lines, len(body))
			}
			calls := w.sts.Calls().Total
			resp, answer := w.bytes(t, rawHead(w, "/v1/auth/session", lines)+string(body), false)
			w.seen.answer(name, resp, answer, "")
			if resp.StatusCode < 400 {
				t.Errorf("status = %d, want a refusal", resp.StatusCode)
			}
			if got := w.sts.Calls().Total - calls; got != 0 {
				t.Errorf("calls to STS = %d, want 0", got)
			}
		})
	}
}

// letters is a reader without an end.
type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// TestEndlessBody sends 64 MiB in chunks: they are cut off, and not read.
func TestEndlessBody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.challenge(t)
	before := w.received.Load()
	body := io.MultiReader(strings.NewReader(`{"nonce":"`), io.LimitReader(letters{}, 64<<20))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url+"/v1/auth/session", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	// The connection may be gone before the answer was read: that is fine.
	if resp, err := w.client.Do(req); err == nil {
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		w.seen.answer("64 MiB", resp, answer, "")
		if resp.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("status = %d, want 413", resp.StatusCode)
		}
	}
	// What the sockets of both ends may hold, and what is read after the answer.
	if got := w.received.Load() - before; got > 4<<20 {
		t.Errorf("%d bytes were read, want few", got)
	}
	if got := w.sts.Calls().Total; got != 0 {
		t.Errorf("calls to STS = %d, want 0", got)
	}
}
