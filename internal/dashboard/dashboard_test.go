package dashboard_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/dashboard"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

// operator answers what a test says, and remembers what it was asked.
type operator struct {
	mu     sync.Mutex
	asked  []httpapi.Forwarded
	answer func(httpapi.Forwarded) (*http.Response, error)
}

func (o *operator) Forward(_ context.Context, r httpapi.Forwarded) (*http.Response, error) {
	o.mu.Lock()
	o.asked = append(o.asked, r)
	o.mu.Unlock()
	if o.answer != nil {
		return o.answer(r)
	}
	return reply(http.StatusOK, "application/json", strings.NewReader("{}\n")), nil
}

func (o *operator) questions() []httpapi.Forwarded {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.asked)
}

func reply(status int, kind string, body io.Reader) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{"Content-Type": {kind}, "Set-Cookie": {"a=b"}, "Authorization": {"Bearer secret"}}, Body: io.NopCloser(body)}
}

// house is a dashboard that runs, and the clock that it looks at.
type house struct {
	*dashboard.Server
	operator *operator
	host     string
	now      *time.Time
}

func open(t *testing.T) *house {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	h := &house{operator: &operator{}, host: ln.Addr().String(), now: &now}
	h.Server, err = dashboard.New(dashboard.Config{
		Operator: h.operator, Env: `<script>alert("env")</script>`, Version: "1.2.3",
		Try: func(_ context.Context, name string, r dashboard.TryRequest) (*http.Response, error) {
			return reply(http.StatusTeapot, "text/plain", strings.NewReader(name+" "+r.Method+" "+r.Path+" "+r.Body)), nil
		},
		Now: func() time.Time { return *h.now }, // which changes before anything is asked
	}, ln.Addr())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Serve(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return h
}

// asks is a request as a browser would make it, or an attacker.
type asks struct {
	method, path, body string
	header             map[string]string // Host is the one of the request; an empty value leaves a header out
}

func (h *house) send(t *testing.T, a asks) (*http.Response, string) {
	t.Helper()
	if a.method == "" {
		a.method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(t.Context(), a.method, "http://"+h.host+a.path, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range a.header {
		switch {
		case name == "Host":
			req.Host = value
		case value != "":
			req.Header.Add(name, value)
		}
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(data)
}

var keyIn = regexp.MustCompile(`name="cortex-key" content="([0-9a-f]{64})"`)

// enter opens the link, and returns what a page sends with each call from then on.
func (h *house) enter(t *testing.T) map[string]string {
	t.Helper()
	_, query, _ := strings.Cut(h.Link(), "/?")
	resp, body := h.send(t, asks{path: "/?" + query, header: map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}})
	key := keyIn.FindStringSubmatch(body)
	if resp.StatusCode != http.StatusOK || key == nil || len(resp.Cookies()) != 1 {
		t.Fatalf("the link: status %d, cookies %v, %s", resp.StatusCode, resp.Cookies(), body)
	}
	c := resp.Cookies()[0]
	return map[string]string{"Cookie": c.Name + "=" + c.Value, "X-Cortex-UI": key[1]}
}

// with is one set of headers over another.
func with(base map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for k, v := range base {
		all[k] = v
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

func TestAPageReachesTheOperator(t *testing.T) {
	t.Parallel()
	h := open(t)
	page := h.enter(t)
	resp, body := h.send(t, asks{path: "/", header: map[string]string{"Cookie": page["Cookie"]}})
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "/app.js") || strings.Contains(body, "<script>alert") || !strings.Contains(body, "&lt;script&gt;alert") {
		t.Errorf("the page: status %d, %s", resp.StatusCode, body)
	}
	if strings.Contains(body, page["X-Cortex-UI"]) {
		t.Error("the page has the key, which whoever has only the cookie must not get")
	}
	own := []string{"Origin", "http://" + h.host, "Sec-Fetch-Site", "same-origin"}
	resp, _ = h.send(t, asks{path: "/v1/apis/iris/logs?tail=5", header: with(page, "Sec-Fetch-Site", "same-origin", "Last-Event-ID", "e-7")})
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a read: status %d", resp.StatusCode)
	}
	for _, name := range []string{"Set-Cookie", "Authorization"} {
		if resp.Header.Get(name) != "" {
			t.Errorf("the header %s of the operator reaches the browser", name)
		}
	}
	resp, _ = h.send(t, asks{method: "POST", path: "/v1/apis/iris/rollback", body: `{"id":"7"}`, header: with(page, append(own, "Content-Type", "application/json")...)})
	if resp.StatusCode != http.StatusOK {
		t.Errorf("a change: status %d", resp.StatusCode)
	}
	asked := h.operator.questions()
	if len(asked) != 2 || asked[0].Path != "/v1/apis/iris/logs" || asked[0].Query.Get("tail") != "5" || asked[0].After != "e-7" || asked[1].Method != "POST" || string(asked[1].Body) != `{"id":"7"}` {
		t.Errorf("the operator was asked %+v", asked)
	}
	resp, body = h.send(t, asks{method: "POST", path: "/try/iris", body: `{"method":"POST","path":"/x","body":"hi"}`, header: with(page, append(own, "Content-Type", "application/json")...)})
	var tried dashboard.TryAnswer
	if err := json.Unmarshal([]byte(body), &tried); err != nil || tried.Status != http.StatusTeapot || tried.Body != "iris POST /x hi" {
		t.Errorf("try: status %d, %s, %v", resp.StatusCode, body, err)
	}
}

// Each attack is refused, and the operator hears nothing of it.
func TestAttacks(t *testing.T) {
	t.Parallel()
	h := open(t)
	page := h.enter(t)
	port := h.host[strings.LastIndex(h.host, ":"):]
	own := with(page, "Origin", "http://"+h.host, "Sec-Fetch-Site", "same-origin", "Content-Type", "application/json")
	rollback := func(header map[string]string) asks {
		return asks{method: "POST", path: "/v1/apis/iris/rollback", body: "{}", header: header}
	}
	for _, c := range []struct {
		name string
		asks asks
		want int
	}{
		{"a name of somebody else that leads here", asks{path: "/v1/apis", header: with(page, "Host", "evil.example"+port)}, 403},
		{"the page by such a name", asks{path: "/", header: with(page, "Host", "evil.example"+port)}, 403},
		{"a file by such a name", asks{path: "/app.js", header: map[string]string{"Host": "evil.example"}}, 403},
		{"the right name without the port", asks{path: "/v1/apis", header: with(page, "Host", "127.0.0.1")}, 403},
		{"a page of another site reads", asks{path: "/v1/apis", header: with(page, "Sec-Fetch-Site", "cross-site")}, 403},
		{"a page of another site reads, and says where it is", asks{path: "/v1/apis", header: with(page, "Origin", "https://evil.example")}, 403},
		{"a page of another port reads", asks{path: "/v1/apis", header: with(page, "Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1")}, 403},
		{"a page of another site changes", rollback(with(own, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")), 403},
		{"a page of another port changes", rollback(with(own, "Origin", "http://127.0.0.1:1", "Sec-Fetch-Site", "same-site")), 403},
		{"a page without an origin changes", rollback(with(own, "Origin", "null")), 403},
		{"a change that does not say where it comes from", rollback(with(own, "Origin", "", "Sec-Fetch-Site", "")), 403},
		{"a change that is navigated to", rollback(with(own, "Sec-Fetch-Site", "none")), 403},
		{"a form", asks{method: "POST", path: "/v1/apis/iris/stop", body: "a=b", header: map[string]string{"Cookie": page["Cookie"], "Origin": "http://" + h.host, "Content-Type": "application/x-www-form-urlencoded"}}, 401},
		{"a body of another type", asks{method: "POST", path: "/v1/apis/iris/stop", body: "{}", header: with(own, "Content-Type", "text/plain")}, 400},
		{"a body without an end", asks{method: "POST", path: "/v1/apis/iris/stop", body: strings.Repeat("x", 1<<20), header: own}, 400},
		{"asking what may be asked", asks{method: "OPTIONS", path: "/v1/apis", header: map[string]string{"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}}, 403},
		{"an EventSource of another site", asks{path: "/v1/watch", header: map[string]string{"Cookie": page["Cookie"], "Accept": "text/event-stream", "Sec-Fetch-Site": "cross-site"}}, 403},
		{"an EventSource, which sends no key", asks{path: "/v1/watch", header: map[string]string{"Cookie": page["Cookie"], "Accept": "text/event-stream"}}, 401},
		{"a WebSocket of another site", asks{path: "/v1/watch", header: map[string]string{"Cookie": page["Cookie"], "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==", "Origin": "https://evil.example"}}, 403},
		{"another user of the machine", asks{path: "/v1/apis"}, 401},
		{"who has the cookie only, as every port of 127.0.0.1", asks{path: "/v1/apis", header: map[string]string{"Cookie": page["Cookie"]}}, 401},
		{"who has the key only", asks{path: "/v1/apis", header: map[string]string{"X-Cortex-UI": page["X-Cortex-UI"]}}, 401},
		{"a cookie beside the right one", asks{path: "/v1/apis", header: with(page, "Cookie", strings.SplitN(page["Cookie"], "=", 2)[0]+"=mine; "+page["Cookie"])}, 401},
		{"a cookie after the right one", asks{path: "/v1/apis", header: with(page, "Cookie", page["Cookie"]+"; "+strings.SplitN(page["Cookie"], "=", 2)[0]+"=mine")}, 401},
		{"a shell", asks{method: "POST", path: "/v1/apis/iris/exec", body: "{}", header: own}, 404},
		{"a deploy", asks{method: "POST", path: "/v1/deploy", body: "{}", header: own}, 404},
		{"a session", asks{method: "POST", path: "/v1/auth/session", body: "{}", header: own}, 404},
		{"a session for calls", asks{method: "POST", path: "/v1/call-sessions", body: "{}", header: own}, 404},
		{"a new key", asks{method: "POST", path: "/v1/keys", body: "{}", header: own}, 405},
		{"a secret", asks{method: "PUT", path: "/v1/secrets/a", body: "x", header: own}, 404},
		{"a name that is a path", asks{path: "/v1/apis/..%2f..%2fauth/explain", header: page}, 404},
		{"a name that is the folder above", asks{path: "/v1/apis/%2e%2e/explain", header: page}, 404},
		{"try of another method", asks{method: "POST", path: "/try/iris", body: `{"method":"CONNECT"}`, header: own}, 400},
		{"try of a head in the path", asks{method: "POST", path: "/try/iris", body: `{"method":"GET","path":"/a\r\nX: y"}`, header: own}, 400},
		{"try of another host", asks{method: "POST", path: "/try/iris", body: `{"method":"GET","path":"@evil.example/"}`, header: own}, 400},
		{"a page that is no file", asks{path: "/enter.html", header: page}, 404},
	} {
		resp, body := h.send(t, c.asks)
		if resp.StatusCode != c.want {
			t.Errorf("%s: status %d, want %d: %s", c.name, resp.StatusCode, c.want, body)
		}
		if resp.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: the answer may be read by others", c.name)
		}
		if strings.Contains(body, page["X-Cortex-UI"]) {
			t.Errorf("%s: the answer has the key", c.name)
		}
	}
	if asked := h.operator.questions(); len(asked) != 0 {
		t.Errorf("the operator was asked %+v", asked)
	}
}

func TestTheLinkWorksOnceAndForAMinute(t *testing.T) {
	t.Parallel()
	tries := func(t *testing.T, h *house, path string, want int, header ...string) string {
		t.Helper()
		resp, body := h.send(t, asks{path: path, header: with(nil, header...)})
		if resp.StatusCode != want {
			t.Errorf("GET %s: status %d, want %d", path, resp.StatusCode, want)
		}
		if (want == http.StatusOK) != (len(resp.Cookies()) == 1) {
			t.Errorf("GET %s: cookies %v", path, resp.Cookies())
		}
		return body
	}
	path := func(h *house) string { return strings.TrimPrefix(h.Link(), "http://"+h.host) }
	t.Run("once", func(t *testing.T) {
		t.Parallel()
		h := open(t)
		link := path(h)
		tries(t, h, link[:len(link)-1], http.StatusForbidden)
		tries(t, h, link, http.StatusForbidden, "Sec-Purpose", "prefetch")
		tries(t, h, link, http.StatusForbidden, "Sec-Fetch-Dest", "image")
		if resp, _ := h.send(t, asks{method: "HEAD", path: link}); len(resp.Cookies()) != 0 {
			t.Error("HEAD lets in")
		}
		tries(t, h, link, http.StatusOK)
		select {
		case <-h.Entered():
		default:
			t.Error("nobody hears that the link was opened")
		}
		tries(t, h, link, http.StatusForbidden)
		tries(t, h, "/?t=", http.StatusForbidden)
		tries(t, h, "/", http.StatusForbidden)
	})
	t.Run("for a minute", func(t *testing.T) {
		t.Parallel()
		h := open(t)
		*h.now = h.now.Add(time.Minute)
		tries(t, h, path(h), http.StatusForbidden)
	})
	t.Run("to the last moment", func(t *testing.T) {
		t.Parallel()
		h := open(t)
		*h.now = h.now.Add(time.Minute - time.Nanosecond)
		tries(t, h, path(h), http.StatusOK)
	})
}

// A cookie that somebody has set before is worth nothing, nor is the one of another process.
func TestFixation(t *testing.T) {
	t.Parallel()
	h, other := open(t), open(t)
	link := strings.TrimPrefix(h.Link(), "http://"+h.host)
	name := "cortex-" + h.host[strings.LastIndex(h.host, ":")+1:]
	resp, body := h.send(t, asks{path: link, header: map[string]string{"Cookie": name + "=known"}})
	if c := resp.Cookies(); len(c) != 1 || c[0].Value == "known" || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Domain != "" {
		t.Fatalf("cookies %v", c)
	}
	key := keyIn.FindStringSubmatch(body)[1]
	for what, cookie := range map[string]string{"the one that was set": name + "=known", "that of another process": name + "=" + strings.SplitN(other.enter(t)["Cookie"], "=", 2)[1]} {
		if resp, _ := h.send(t, asks{path: "/v1/apis", header: map[string]string{"Cookie": cookie, "X-Cortex-UI": key}}); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: status %d", what, resp.StatusCode)
		}
	}
}

func TestWhatBrowsersAreTold(t *testing.T) {
	t.Parallel()
	h := open(t)
	page := h.enter(t)
	for _, a := range []asks{
		{path: "/", header: page},
		{path: "/"},
		{path: "/app.js"},
		{path: "/style.css"},
		{path: "/nothing.js"},
		{path: "/v1/apis", header: page},
		{path: "/v1/apis"},
		{path: "/", header: map[string]string{"Host": "evil.example"}},
	} {
		resp, _ := h.send(t, a)
		csp := resp.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"} {
			if !strings.Contains(csp, want) {
				t.Errorf("%s: the policy %q lacks %s", a.path, csp, want)
			}
		}
		if strings.Contains(csp, "unsafe-") {
			t.Errorf("%s: the policy is %q", a.path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Opener-Policy": "same-origin", "X-Frame-Options": "DENY"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", a.path, name, got, want)
			}
		}
	}
}

// Lines are passed on when they come, and a stream that is cut off does not look whole.
func TestStreamsAreAsTheyAre(t *testing.T) {
	t.Parallel()
	h := open(t)
	page := h.enter(t)
	from, to := io.Pipe()
	h.operator.answer = func(httpapi.Forwarded) (*http.Response, error) {
		return reply(http.StatusOK, "application/x-ndjson", from), nil
	}
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.host+"/v1/watch", nil)
	for name, value := range page {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewReader(resp.Body)
	for _, line := range []string{"one\n", strings.Repeat("x", 10<<20) + "\n"} { // ten million characters in a line are one, too
		go func() { _, _ = io.WriteString(to, line) }()
		if got, err := in.ReadString('\n'); err != nil || got != line {
			t.Fatalf("a line of %d characters: %d, %v", len(line), len(got), err)
		}
	}
	to.CloseWithError(errors.New("cut off"))
	if _, err := in.ReadString('\n'); err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end of a stream that was cut off: %v", err)
	}
}

func TestWhyThereIsNoAnswer(t *testing.T) {
	t.Parallel()
	h := open(t)
	page := h.enter(t)
	h.operator.answer = func(httpapi.Forwarded) (*http.Response, error) {
		return nil, fault.New(fault.Disconnected, "cli.failed_to_connect_operator", "nobody answers").WithHint("start it")
	}
	_, body := h.send(t, asks{path: "/v1/apis", header: page})
	var told httpapi.Error
	if err := json.Unmarshal([]byte(body), &told); err != nil || told.Code != "cli.failed_to_connect_operator" || told.Hint != "start it" {
		t.Errorf("%s, %v", body, err)
	}
}

func TestOnlyLoopback(t *testing.T) {
	t.Parallel()
	if _, err := dashboard.New(dashboard.Config{}, &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80}); err == nil {
		t.Error("it would be served to a network")
	}
}

// What a page may ask is operations of the operator, and none that hands out a credential or
// a shell.
func TestEveryRouteIsAnOperation(t *testing.T) {
	t.Parallel()
	doc, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var known struct {
		Paths map[string]map[string]struct {
			Action string `json:"x-cortex-action"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(doc, &known); err != nil {
		t.Fatal(err)
	}
	never := []string{"", "deploy", "exec", "invoke", "createKey", "setSecret", "cluster:revokeSessions"}
	for _, r := range dashboard.Routes {
		method, path, _ := strings.Cut(r, " ")
		op, ok := known.Paths[path][strings.ToLower(method)]
		if !ok {
			t.Errorf("%s is no operation", r)
		}
		if slices.Contains(never, op.Action) && r != "POST /v1/apis/{name}/rollback" {
			t.Errorf("%s has the action %q, which no page needs", r, op.Action)
		}
	}
}

// Pages are small, made of what is here, and no text becomes markup.
func TestPages(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("web/*")
	if err != nil || len(names) < 10 {
		t.Fatalf("files %v, %v", names, err)
	}
	const most = 120 << 10
	sum := 0
	markup := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|srcdoc|setAttribute\("style"|https?://[^w]`)
	imported := regexp.MustCompile(`(?:import\(|from )"\./([a-z]+\.js)"`)
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sum += len(data)
		if bad := markup.Find(data); bad != nil {
			t.Errorf("%s has %s", name, bad)
		}
		if strings.HasSuffix(name, ".html") && regexp.MustCompile(`(?i)\son[a-z]+=|\sstyle=|<script>|<style`).Match(data) {
			t.Errorf("%s has something inline", name)
		}
		for _, m := range imported.FindAllSubmatch(data, -1) {
			if !slices.Contains(names, "web/"+string(m[1])) {
				t.Errorf("%s imports %s, which is not there", name, m[1])
			}
		}
	}
	if sum > most {
		t.Errorf("the pages have %d bytes, and may have %d", sum, most)
	}
}

func ExampleServer_Link() {
	s, err := dashboard.New(dashboard.Config{Env: "local"}, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8899})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Link()[:len("http://127.0.0.1:8899/?t=")])
	// Output: http://127.0.0.1:8899/?t=
}
