package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func allowed(t *testing.T, hosts ...string) *Allowed {
	t.Helper()
	a, err := ParseAllowed(hosts)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The vector of the specification's own libraries.
func TestSign(t *testing.T) {
	t.Parallel()
	secrets, err := Secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		t.Fatal(err)
	}
	got := Sign(secrets[0], "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; got != want {
		t.Errorf("Sign() = %s, want %s", got, want)
	}
}

// TestIndependentReceiver has the library of the specification's authors verify what is
// sent, where it is installed: CORTEX_STANDARDWEBHOOKS is a folder with its node_modules.
func TestIndependentReceiver(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("CORTEX_STANDARDWEBHOOKS")
	if dir == "" {
		t.Skip("CORTEX_STANDARDWEBHOOKS does not say where the npm package standardwebhooks is installed")
	}
	old, current := "whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("o"), 24)), "whsec_"+base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("c"), 32))
	secrets, err := Secrets(current + " " + old)
	if err != nil {
		t.Fatal(err)
	}
	body := `{"type":"item.succeeded","data":{"id":"ä"}}`
	r := receive(t, func(w http.ResponseWriter, _ *http.Request) {})
	if _, err := NewSender(allowed(t, Loopback()...)).Send(t.Context(), Message{URL: r.url, ID: "msg_1.0", At: time.Now(), Body: []byte(body), Secrets: secrets}); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		secret, body string
		good         bool
	}{
		"the new secret": {current, body, true}, "the old secret": {old, body, true},
		"another secret": {"whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("x"), 24)), body, false},
		"another body":   {current, body + " ", false},
	} {
		cmd := exec.CommandContext(t.Context(), "node", "-e", `const {Webhook} = require("standardwebhooks");
			const [secret, body, id, at, signature] = process.argv.slice(1);
			new Webhook(secret).verify(body, {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature});`,
			tt.secret, tt.body, r.header.Get("Webhook-Id"), r.header.Get("Webhook-Timestamp"), r.header.Get("Webhook-Signature"))
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if (err == nil) != tt.good {
			t.Errorf("%s: verified: %v, want %v\n%s", name, err == nil, tt.good, out)
		}
	}
}

type receiver struct {
	url    string
	header http.Header
	body   string
	calls  int
}

func receive(t *testing.T, answer http.HandlerFunc) *receiver {
	t.Helper()
	r := &receiver{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		r.header, r.body = req.Header, string(body)
		r.calls++
		answer(w, req)
	}))
	t.Cleanup(s.Close)
	r.url = s.URL + "/hook?key=secret"
	return r
}

func TestSend(t *testing.T) {
	t.Parallel()
	r := receive(t, func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/hook" {
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		}
	})
	at := time.Unix(1_700_000_000, 0)
	status, err := NewSender(allowed(t, Loopback()...)).Send(t.Context(), Message{URL: r.url, ID: "msg_1", At: at, Body: []byte("{}"), Secrets: [][]byte{[]byte("a"), []byte("b")}})
	if status != http.StatusTemporaryRedirect || err != nil || r.calls != 1 {
		t.Errorf("Send() = %d, %v after %d calls; want the redirect, not followed", status, err, r.calls)
	}
	want := Sign([]byte("a"), "msg_1", at, []byte("{}")) + " " + Sign([]byte("b"), "msg_1", at, []byte("{}"))
	if r.header.Get("Webhook-Id") != "msg_1" || r.header.Get("Webhook-Timestamp") != "1700000000" || r.header.Get("Webhook-Signature") != want || r.body != "{}" || r.header.Get("Content-Type") != "application/json" {
		t.Errorf("it was sent as %v %q", r.header, r.body)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewSender(allowed(t, Loopback()...)).Send(ctx, Message{URL: r.url}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("Send() that fails = %v; want an error without the address", err)
	}
}

// A name is looked at when it is dialled: one that led elsewhere when it was named does not
// help, and neither does another way to write an address.
func TestInsideIsNotDialled(t *testing.T) {
	t.Parallel()
	r := receive(t, func(http.ResponseWriter, *http.Request) {})
	s := NewSender(allowed(t, "public.example"))
	for _, host := range []string{"localhost", "127.0.0.1"} {
		conn, err := s.dial(t.Context(), "tcp", net.JoinHostPort(host, r.url[strings.LastIndex(r.url, ":")+1:strings.Index(r.url, "/hook")]))
		if err == nil {
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "not a public address") {
			t.Errorf("dial(%s) = %v, want a refusal", host, err)
		}
	}
	if r.calls != 0 {
		t.Errorf("the receiver was called")
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	a := allowed(t, "inside.example", "10.1.0.0/16", "127.0.0.0/8", "169.254.0.0/16")
	for _, tt := range []struct {
		host, ip string
		ok       bool
	}{
		{"example.com", "93.184.216.34", true}, {"example.com", "2606:2800:220:1::1", true},
		{"example.com", "10.0.0.1", false}, {"example.com", "10.1.2.3", true}, {"INSIDE.example.", "10.0.0.1", true},
		{"example.com", "192.168.1.1", false}, {"example.com", "172.16.0.1", false}, {"example.com", "100.64.0.1", false},
		{"example.com", "::ffff:10.0.0.1", false}, {"example.com", "::ffff:10.1.0.1", true}, {"example.com", "::1", false}, {"example.com", "127.0.0.1", true},
		{"example.com", "fd00::1", false}, {"example.com", "0.0.0.0", false}, {"example.com", "0.1.2.3", false}, {"example.com", "255.255.255.255", false},
		{"example.com", "198.18.0.1", false}, {"example.com", "240.0.0.1", false}, {"example.com", "224.0.0.1", false}, {"example.com", "ff02::1", false},
		{"example.com", "64:ff9b::808:808", false}, {"example.com", "2002:a00:1::", false}, {"example.com", "2001:db8::1", false}, {"example.com", "::10.0.0.1", false},
		// Nobody can allow these.
		{"inside.example", "169.254.169.254", false}, {"inside.example", "::ffff:169.254.169.254", false}, {"inside.example", "64:ff9b::a9fe:a9fe", false},
		{"inside.example", "2002:a9fe:a9fe::1", false}, {"inside.example", "::169.254.169.254", false}, {"inside.example", "fe80::1", false}, {"inside.example", "fe80::1%eth0", false},
		{"inside.example", "fd00:ec2::254", false}, {"inside.example", "100.100.100.200", false}, {"inside.example", "168.63.129.16", false}, {"inside.example", "192.0.0.192", false},
	} {
		if err := a.dialled(tt.host, netip.MustParseAddr(tt.ip)); (err == nil) != tt.ok {
			t.Errorf("dialled(%s, %s) = %v, want ok: %v", tt.host, tt.ip, err, tt.ok)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	a := allowed(t, "inside.example", "10.1.0.0/16")
	for address, ok := range map[string]bool{
		"https://example.com/hook": true, "https://example.com:8443/?a=b": true, "http://inside.example/x": true, "http://10.1.0.9/": true,
		"http://example.com/": false, "https://10.0.0.1/": false, "https://169.254.169.254/latest/meta-data": false, "https://[::1]/": false, "https://[fd00:ec2::254]/": false,
		"https://user:pass@example.com/": false, "ftp://example.com": false, "/hook": false, "": false, "https://": false, "https:///x": false, "javascript:alert(1)": false,
		"https://example.com/" + strings.Repeat("x", maxURL): false, "http://0x7f000001/": false,
	} {
		if err := a.CheckURL(address); (err == nil) != ok {
			t.Errorf("CheckURL(%.60s) = %v, want ok: %v", address, err, ok)
		}
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	one := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 24))
	for text, want := range map[string]int{
		one: 1, one + " " + one: 2, one + "\n": 1,
		"": 0, one + " " + one + " " + one: 0, "secret": 0, one[6:]: 0, "whsec_": 0, "whsec_!": 0,
		"whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 23)): 0, "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65)): 0,
	} {
		if got, err := Secrets(text); len(got) != want || (err == nil) != (want > 0) || err != nil && len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("Secrets(%.20q) = %d, %v, want %d", text, len(got), err, want)
		}
	}
	for _, bad := range []string{"", "https://x", "a/b", "*.example.com", "a b", "u@h", "10.0.0.0/33"} {
		if _, err := ParseAllowed([]string{bad}); err == nil {
			t.Errorf("ParseAllowed(%q) succeeded", bad)
		}
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/elsewhere":
			http.Redirect(w, r, "/keys", http.StatusFound)
		case "/missing":
			http.NotFound(w, r)
		default:
			fmt.Fprint(w, "0123456789")
		}
	}))
	defer s.Close()
	here, err := ParseAllowed(Loopback())
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := ParseAllowed(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		allowed *Allowed
		url     string
		most    int
		err     string // part of it; empty: none
	}{
		"a document":               {here, s.URL + "/keys", 10, ""},
		"one that is too long":     {here, s.URL + "/keys", 9, "more than 9 bytes"},
		"one that is elsewhere":    {here, s.URL + "/elsewhere", 10, "302"},
		"none":                     {here, s.URL + "/missing", 10, "404"},
		"one of this machine":      {nowhere, s.URL + "/keys", 10, "127.0.0.1"},
		"one of the cloud's nodes": {here, "http://169.254.169.254/keys", 10, "169.254.169.254"},
		"a file":                   {here, "file:///etc/passwd", 10, "address"},
	} {
		text, err := NewSender(tt.allowed).Fetch(t.Context(), tt.url, tt.most)
		switch {
		case tt.err == "" && (err != nil || string(text) != "0123456789"):
			t.Errorf("%s: %q, %v", name, text, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: %q, %v; want an error with %q", name, text, err, tt.err)
		}
	}
}
