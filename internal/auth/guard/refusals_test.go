package guard_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/iam"
)

func errorOf(code, message string) string {
	return "<ErrorResponse" + xmlns + "><Error><Type>Sender</Type><Code>" + code + "</Code><Message>" + message + "</Message></Error><RequestId>x</RequestId></ErrorResponse>"
}

// TestRefusalOfSTS tells a refusal of the proof from one of our asking too much,
// and both from what is none. Only the code counts.
func TestRefusalOfSTS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	no, down, wait := refused(iam.ReasonSTS, 1), away(iam.ReasonAnswer, 1), throttled(iam.ReasonThrottled, 1)
	says := func(status int, code string) func(http.ResponseWriter, *http.Request) {
		return says(status, "text/xml", errorOf(code, stsSaid))
	}
	family := []attack{
		{name: "Throttling in the message", answer: answerXML(403, errorOf("SignatureDoesNotMatch", "Throttling: Rate exceeded")), want: no},
		{name: "Throttling in the type", answer: answerXML(403, strings.Replace(errorOf("AccessDenied", ""), "Sender", "Throttling", 1)), want: no},
		{name: "a code around Throttling", answer: says(400, "NotThrottling"), want: down},
		{name: "a code with space around it", answer: says(400, " Throttling "), want: down},
		{name: "a code in lower case", answer: says(400, "throttling"), want: down},
		{name: "two codes", answer: answerXML(400, strings.Replace(errorOf("AccessDenied", ""), "<Code>", "<Code>Throttling</Code><Code>", 1)), want: down},
		{name: "a code of another namespace", answer: answerXML(403, strings.Replace(errorOf("AccessDenied", ""), xmlns, "", 1)), want: down},
		{name: "a code that nobody knows", answer: says(403, stsSaid), want: down},
		{name: "no code", answer: answerXML(403, "<ErrorResponse"+xmlns+"/>"), want: down},
		{name: "no body", answer: answerXML(403, ""), want: down},
		{name: "a page of a proxy", answer: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html")
			rw.WriteHeader(403)
			_, _ = io.WriteString(rw, "<html>"+stsSaid+"</html>")
		}, want: down},
		{name: "JSON", answer: func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "application/json")
			rw.WriteHeader(403)
			_, _ = io.WriteString(rw, `{"Error":{"Code":"AccessDenied","Message":"`+stsSaid+`"}}`)
		}, want: down},
		{name: "a refusal with 200", answer: says(200, "AccessDenied"), want: down},
		{name: "a refusal with 404", answer: says(404, "AccessDenied"), want: down},
		{name: "a refusal of 100 MiB", answer: answerXML(403, errorOf("AccessDenied", strings.Repeat(" ", 1<<20))), want: down},
	}
	for _, status := range []int{400, 403} {
		for _, code := range []string{
			"SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException", "IncompleteSignature",
			"MissingAuthenticationToken", "AccessDenied", "RequestExpired", "OptInRequired",
		} {
			// Each with a key of its own: what STS does not know is remembered.
			key := fmt.Sprintf("AKIA%d%s", status, strings.ToUpper(code))
			family = append(family, attack{name: fmt.Sprintf("%d %s", status, code), answer: says(status, code),
				proof: func(p *auth.Proof) { p.AccessKeyID = key }, want: no})
		}
		for _, code := range []string{"Throttling", "ThrottlingException", "RequestLimitExceeded"} {
			family = append(family, attack{name: fmt.Sprintf("%d %s", status, code), answer: says(status, code), want: wait})
		}
	}
	w.run(t, family)
}

func answerXML(status int, body string) func(http.ResponseWriter, *http.Request) {
	return says(status, "text/xml", body)
}

// inTurn answers as each of these does, one after another; the last one stays.
func inTurn(all ...func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) {
	var at atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		all[min(int(at.Add(1)), len(all))-1](w, r)
	}
}

// wire takes the connection over, writes these bytes and closes it.
func wire(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		_, _ = io.WriteString(conn, text)
		conn.Close()
	}
}

// TestConnectionOfSTS breaks the connection, or what is on it: asked once more,
// and then it is away. Nothing that was on it comes out anywhere.
func TestConnectionOfSTS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := as(w.ids["alice"])
	body := answerOf(w.ids["alice"])
	reset := func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, _ := rw.(http.Hijacker).Hijack()
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	status := func(code int) func(http.ResponseWriter, *http.Request) {
		return says(code, "text/html", "<b>"+stsSaid+"</b>")
	}
	head := "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\n"
	once := granted(aliceARN)
	once.calls = 2
	down := away(iam.ReasonDown, 2)
	w.run(t, []attack{
		{name: "500, then an answer", answer: inTurn(status(500), good), want: once},
		{name: "503, then an answer", answer: inTurn(status(503), good), want: once},
		{name: "a reset, then an answer", answer: inTurn(reset, good), want: once},
		{name: "500 twice", answer: inTurn(status(500), status(500), good), want: down},
		{name: "502 and 504", answer: inTurn(status(502), status(504), good), want: down},
		{name: "a reset twice", answer: inTurn(reset, reset, good), want: down},
		{name: "500, then a refusal", answer: inTurn(status(500), answerXML(403, errorOf("AccessDenied", ""))), want: refused(iam.ReasonSTS, 2)},
		{name: "500 with an identity", answer: says(500, "text/xml", body), want: down},
		{name: "nothing at all", answer: wire(""), want: down},
		{name: "no HTTP", answer: wire(stsSaid + "\r\n\r\n"), want: down},
		{name: "a status that is none", answer: wire("HTTP/1.1 " + stsSaid + "\r\n\r\n"), want: down},
		{name: "a version that is none", answer: wire("HTTP/9.9" + stsSaid + " 200 OK\r\n\r\n"), want: down},
		{name: "a header that is none", answer: wire("HTTP/1.1 200 OK\r\n" + stsSaid + "\r\n\r\n"), want: down},
		{name: "a length that is none", answer: wire(head + "Content-Length: " + stsSaid + "\r\n\r\n"), want: down},
		{name: "a coding that is none", answer: wire(head + "Transfer-Encoding: " + stsSaid + "\r\n\r\n"), want: down},
		{name: "huge headers", answer: wire(head + "X-A: " + strings.Repeat(stsSaid, 4096) + "\r\n\r\n"), want: down},
		{name: "many headers", answer: wire(head + strings.Repeat("X-A: b\r\n", 20000) + "\r\n"), want: down},
		{name: "a length that is too long", answer: wire(head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)+1) + body), want: down},
		{name: "a length that is too short", answer: wire(head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)-40) + body), want: away(iam.ReasonAnswer, 1)},
		{name: "a length that is right, and more", answer: wire(head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body + stsSaid), want: granted(aliceARN)},
		{name: "two lengths", answer: wire(head + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n" + body), want: down},
		{name: "a chunk that is none", answer: wire(head + "Transfer-Encoding: chunked\r\n\r\n" + stsSaid), want: down},
		{name: "chunks without an end", answer: wire(head + "Transfer-Encoding: chunked\r\n\r\n" + fmt.Sprintf("%x\r\n%s\r\n", len(body), body)), want: down},
		{name: "an upgrade", answer: wire("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n" + stsSaid), want: away(iam.ReasonAnswer, 1)},
		{name: "an early hint", answer: wire("HTTP/1.1 103 Early Hints\r\nLink: <" + stsSaid + ">\r\n\r\n" + head + fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)), want: granted(aliceARN)},
		{name: "early hints without end", answer: wire(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100)), want: down},
	})
}

// TestAnswerToNobody has STS say more on a connection that is kept: the next call
// is not answered with it.
func TestAnswerToNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	body := answerOf(w.ids["alice"])
	one := func(text string) string {
		return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s", len(text), text)
	}
	var mu sync.Mutex
	var open []net.Conn
	t.Cleanup(func() {
		for _, c := range open {
			c.Close()
		}
	})
	w.attack(t, attack{name: "two answers to one question", answer: func(rw http.ResponseWriter, _ *http.Request) {
		conn, _, _ := rw.(http.Hijacker).Hijack()
		mu.Lock()
		open = append(open, conn)
		mu.Unlock()
		_, _ = io.WriteString(conn, one(body)+one(body)+stsSaid)
	}, want: granted(aliceARN)})
	w.attack(t, attack{name: "the next question", who: "mallory", want: outcome{
		status: 403, code: auth.CodeOtherAccount, reason: iam.ReasonAccount, calls: 1, principal: malloryARN,
	}})
}

// TestTLSOfSTS has an endpoint show a certificate for another name, of nobody, or
// an old protocol: it is away, and is sent nothing.
func TestTLSOfSTS(t *testing.T) {
	t.Parallel()
	var reached atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	server.Config.ErrorLog = newQuietLog()
	server.StartTLS() // for example.com and 127.0.0.1
	t.Cleanup(server.Close)
	old := httptest.NewUnstartedServer(server.Config.Handler)
	old.Config.ErrorLog = newQuietLog()
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // what is refused
	old.StartTLS()
	t.Cleanup(old.Close)
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	for name, cfg := range map[string]iam.STSConfig{
		"another name":    {Endpoint: "https://localhost:" + port, TLS: &tls.Config{RootCAs: roots}}, //nolint:gosec // the oldest is the default
		"of nobody":       {Endpoint: server.URL},
		"an old protocol": {Endpoint: old.URL, TLS: &tls.Config{RootCAs: roots}}, //nolint:gosec // the oldest is the default
		"no TLS at all":   {Endpoint: "https://" + plainListener(t)},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Region = region
			pin, err := iam.NewSTS(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			w := newWorld(t, func(s *setup) { s.sts = pin })
			w.attack(t, attack{name: name, want: away(iam.ReasonDown, 0)})
		})
	}
	if got := reached.Load(); got != 0 {
		t.Errorf("%d requests were sent, want none", got)
	}
}

// plainListener answers everything with what is no TLS.
func plainListener(t *testing.T) string {
	ln, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = bufio.NewReader(conn).ReadByte()
			_, _ = io.WriteString(conn, "HTTP/1.1 400 "+stsSaid+"\r\n\r\n")
			conn.Close()
		}
	}()
	return ln.Addr().String()
}

// TestProxy has the configuration name a proxy: it alone is used, and what it says
// is told to nobody.
func TestProxy(t *testing.T) {
	t.Parallel()
	var connects atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodConnect {
			connects.Add(1)
		}
		http.Error(w, stsSaid, http.StatusForbidden)
	}))
	t.Cleanup(proxy.Close)
	u, _ := url.Parse(proxy.URL)
	pin, err := iam.NewSTS(t.Context(), iam.STSConfig{Region: region, Proxy: "http://user:" + stsSaid + "@" + u.Host})
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(s *setup) { s.sts = pin })
	w.attack(t, attack{name: "a proxy that refuses", want: away(iam.ReasonDown, 0)})
	if got := connects.Load(); got != 2 {
		t.Errorf("the proxy was asked %d times, want 2: once, and once more", got)
	}
}
