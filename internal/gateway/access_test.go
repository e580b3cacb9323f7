package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// keyFeed has keys as a store does.
type keyFeed struct{ *feed[[]store.Key] }

func (f keyFeed) WatchKeys(ctx context.Context, fn func([]store.Key)) error { return f.Watch(ctx, fn) }

// mint is a key as it is kept, and its text.
func mint(name string, apis ...string) (store.Key, string) {
	text, id, hash := access.Mint()
	return store.Key{Name: name, ID: id, Hash: hash, APIs: apis}, text
}

// startGuarded starts a gateway that knows keys, and returns where more are told.
func startGuarded(t *testing.T, change func(*Config), keys ...store.Key) (*rig, keyFeed) {
	t.Helper()
	f := keyFeed{newFeed(keys)}
	return startRig(t, func(c *Config) {
		c.Keys = f
		if change != nil {
			change(c)
		}
	}), f
}

// guarded is an API that asks for a key, and has limits.
func guarded(name string, p pod, auth *workload.Auth, limits ...workload.Limit) *workload.Revision {
	rev := realtime(name, "/"+name, p)
	rev.Networking.Auth, rev.Networking.Limits = auth, limits
	return rev
}

var keysOnly = &workload.Auth{Accept: []string{workload.AcceptKeys}}

func bearer(text string) http.Header { return http.Header{"Authorization": {"Bearer " + text}} }

// problem is what a refusal says.
type problem struct {
	Type, Title, Detail, Code string
	Status                    int
	Violated                  []string `json:"violated-policies"`
}

func problemOf(t *testing.T, a answer) (p problem) {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("the answer %s is %s, want problem details", a, got)
	}
	if err := json.Unmarshal([]byte(a.body), &p); err != nil {
		t.Errorf("the answer %s: %v", a, err)
	}
	if p.Status != a.status || p.Code != a.header.Get("X-Cortex-Reason") || p.Detail == "" || p.Title == "" {
		t.Errorf("the answer %s has the problem %+v, and the reason %s", a, p, a.header.Get("X-Cortex-Reason"))
	}
	return p
}

func TestStrangersReachNobody(t *testing.T) {
	t.Parallel()
	woken := make(chan string, 10)
	key, text := mint("alice", "iris")
	r, keys := startGuarded(t, wakes(woken), key)
	r.deploy(guarded("iris", pod{1, 10}, keysOnly), 0)
	r.until(func() bool {
		return r.do("GET", "/iris", nil, bearer("cxk_x")).header.Get("X-Cortex-Reason") == "key_malformed"
	}, "the policy")
	_, unknown := mint("mallory", "iris")
	other, textOfOther := mint("bob", "lily")
	keys.send([]store.Key{key, other})
	r.until(func() bool { return r.do("GET", "/iris", nil, bearer(textOfOther)).status == 403 }, "the key of another API to be known")
	for name, tt := range map[string]struct {
		header http.Header
		status int
		code   string
	}{
		"nothing":              {nil, 401, "credentials_missing"},
		"a key of nobody":      {bearer(unknown), 401, "key_unknown"},
		"half a key":           {bearer(text[:20]), 401, "key_malformed"},
		"a key of another API": {bearer(textOfOther), 403, "not_allowed"},
		"two fields":           {http.Header{"Authorization": {"Bearer " + text, "Bearer " + text}}, 401, "key_malformed"},
		"who says who it is":   {http.Header{"X-Cortex-Caller": {"alice"}}, 401, "credentials_missing"},
	} {
		a := r.do("POST", "/iris/x", strings.NewReader("body"), tt.header)
		if p := problemOf(t, a); a.status != tt.status || p.Code != tt.code {
			t.Errorf("%s: %s, want %d %s", name, a, tt.status, tt.code)
		}
		if challenge := a.header.Get("WWW-Authenticate"); (challenge == "") != (tt.status == 403) {
			t.Errorf("%s: the challenge is %q", name, challenge)
		}
	}
	if len(woken) > 0 {
		t.Fatalf("strangers have woken %s", <-woken)
	}
	go r.do("GET", "/iris", nil, bearer(text)) // waits for a replica
	if got := receive(t, woken); got != "iris" {
		t.Errorf("a caller has woken %q, want iris", got)
	}
	r.run("iris", ready("a", r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), pod{1, 10}))
}

// What the container hears of the caller is what was proven, and nothing of the proof.
func TestTheContainerHearsWhoCalls(t *testing.T) {
	t.Parallel()
	key, text := mint("alice")
	r, _ := startGuarded(t, nil, key)
	got := make(chan http.Header, 1)
	echo := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r.Header })
	r.deploy(guarded("iris", pod{1, 10}, &workload.Auth{
		Accept: []string{workload.AcceptKeys}, Forward: []string{workload.ForwardName, workload.ForwardSubject},
		Allow: []workload.Allowed{{Paths: []string{"/open"}, Anyone: true}},
	}), 1)
	r.run("iris", ready("a", r.server(echo), pod{1, 10}))
	r.deploy(guarded("silent", pod{1, 10}, keysOnly), 1)
	r.run("silent", ready("b", r.server(echo), pod{1, 10}))
	r.serveAt("open", pod{1, 10}, echo)
	forged := func(h http.Header) http.Header {
		for _, name := range []string{"X-Cortex-Caller", "x-cortex-caller-name", "X-CORTEX-CALLER"} {
			h[name] = []string{"root"}
		}
		return h
	}
	for name, tt := range map[string]struct {
		path   string
		header http.Header
		want   map[string]string // of these, what the container gets
	}{
		"a key":                    {"/iris", forged(bearer(text)), map[string]string{"X-Cortex-Caller": "alice", "X-Cortex-Caller-Name": "alice"}},
		"X-API-Key":                {"/iris", forged(http.Header{"X-Api-Key": {text}}), map[string]string{"X-Cortex-Caller": "alice", "X-Cortex-Caller-Name": "alice"}},
		"X-API-Key beside others":  {"/iris", http.Header{"X-Api-Key": {text}, "Authorization": {"Basic dTpw"}}, map[string]string{"X-Cortex-Caller": "alice", "X-Cortex-Caller-Name": "alice", "Authorization": "Basic dTpw"}},
		"nobody":                   {"/iris/open", forged(http.Header{"Authorization": {"Basic dTpw"}}), map[string]string{"Authorization": "Basic dTpw"}},
		"an API that is not told":  {"/silent", forged(bearer(text)), map[string]string{}},
		"an API that does not ask": {"/open", forged(bearer("mine")), map[string]string{"Authorization": "Bearer mine"}},
	} {
		if a := r.do("GET", tt.path, nil, tt.header); a.status != 200 {
			t.Fatalf("%s: %s", name, a)
		}
		h := receive(t, got)
		for _, field := range []string{"X-Cortex-Caller", "X-Cortex-Caller-Name", "Authorization", "X-Api-Key"} {
			if got := strings.Join(h.Values(field), ", "); got != tt.want[field] {
				t.Errorf("%s: the container gets %s %q, want %q", name, field, got, tt.want[field])
			}
		}
	}
}

func TestLimitsAreSaid(t *testing.T) {
	t.Parallel()
	key, text := mint("alice")
	bob, textOfBob := mint("bob")
	r, _ := startGuarded(t, nil, key, bob)
	hold, held := make(chan struct{}), make(chan struct{}, 10)
	r.deploy(guarded("iris", pod{10, 10}, keysOnly,
		workload.Limit{Name: "parallel", Per: workload.PerCaller, Concurrent: 2}, workload.Limit{Name: "burst", Per: workload.PerCaller, Rate: "10/h", Burst: 4},
		workload.Limit{Name: "daily", Per: workload.PerCaller, Quota: "3/1d"}), 1)
	r.run("iris", ready("a", r.server(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hold" {
			held <- struct{}{}
			<-hold
		}
	})), pod{10, 10}))
	const policies = `"parallel";q=2;qu="concurrent-requests", "burst";q=4;w=1440, "daily";q=3;w=86400`
	done := make(chan answer, 2)
	for range 2 {
		go func() { done <- r.do("GET", "/iris/hold", nil, bearer(text)) }()
		receive(t, held)
	}
	a := r.do("GET", "/iris", nil, bearer(text))
	if p := problemOf(t, a); a.status != 429 || p.Code != "concurrency_limited" || p.Violated[0] != "parallel" || a.header.Get("RateLimit-Policy") != policies || a.header.Get("RateLimit") != `"parallel";r=0` || a.header.Get("Retry-After") == "" {
		t.Errorf("a third request at once: %s %v", a, a.header)
	}
	if a := r.do("GET", "/iris", nil, bearer(textOfBob)); a.status != 200 || !strings.HasPrefix(a.header.Get("RateLimit"), `"parallel";r=1, "burst";r=3;t=`) || a.header.Get("RateLimit-Policy") != policies {
		t.Errorf("somebody else meanwhile: %s %v", a, a.header)
	}
	close(hold)
	for range 2 {
		if a := receive(t, done); a.status != 200 {
			t.Errorf("a request that was let in: %s", a)
		}
	}
	if a := r.do("GET", "/iris", nil, bearer(text)); a.status != 200 || !strings.Contains(a.header.Get("RateLimit"), `"daily";r=0;t=`) {
		t.Errorf("the third request: %s %v", a, a.header)
	}
	a = r.do("GET", "/iris", nil, bearer(text))
	if p := problemOf(t, a); a.status != 429 || p.Code != "quota_exceeded" || p.Type != "https://iana.org/assignments/http-problem-types#quota-exceeded" {
		t.Errorf("the fourth request: %s", a)
	}
}

// A place in a limit of requests at once is given back however a request ends.
func TestPlacesOfLimitsComeBack(t *testing.T) {
	t.Parallel()
	r, _ := startGuarded(t, nil)
	began := make(chan struct{}, 1)
	hold := make(chan struct{})
	r.deploy(guarded("iris", pod{5, 10}, nil, workload.Limit{Name: "one", Concurrent: 1}), 1)
	r.run("iris", ready("a", r.server(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			began <- struct{}{}
			<-hold
		case "/break":
			c, _, _ := http.NewResponseController(w).Hijack()
			c.Close()
		case "/upgrade":
			c, _, _ := http.NewResponseController(w).Hijack()
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
			began <- struct{}{}
			io.Copy(io.Discard, c)
			c.Close()
		}
	})), pod{5, 10}))
	free := func(what string) {
		t.Helper()
		r.until(func() bool { return r.get("/iris").status == 200 }, "the place after %s", what)
	}
	free("nothing")
	if a := r.get("/iris/break"); a.status != 502 {
		t.Errorf("a server that breaks off: %s", a)
	}
	free("a server that breaks off")

	raw := func(head string) net.Conn {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, head)
		receive(t, began)
		return c
	}
	c := raw("GET /iris/upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	if a := r.get("/iris"); a.status != 429 {
		t.Errorf("beside a tunnel: %s, want 429", a)
	}
	c.Close()
	free("a tunnel")

	c = raw("GET /iris/hang HTTP/1.1\r\nHost: a\r\n\r\n")
	c.Close() // the server works on
	if a := r.get("/iris"); a.status != 429 {
		t.Errorf("beside what a server works on: %s, want 429", a)
	}
	close(hold)
	free("a caller that left")
}

// WebSockets are refused before the protocol changes.
func TestUpgradesAreAskedToo(t *testing.T) {
	t.Parallel()
	r, _ := startGuarded(t, nil)
	var reached atomic.Int32
	r.deploy(guarded("iris", pod{5, 10}, keysOnly), 1)
	r.run("iris", ready("a", r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })), pod{5, 10}))
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /iris HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != 401 || reached.Load() != 0 {
		t.Errorf("an upgrade of a stranger: %v, %v; the server was reached %d times", resp, err, reached.Load())
	}
}

// Whom a limit counts by address is not for the client to say, but for a trusted proxy.
func TestAddressesOfLimits(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		trusted string
		forward []string // X-Forwarded-For of requests in turn
		want    []int
	}{
		{"", []string{"", "10.0.0.1", "10.0.0.2"}, []int{200, 429, 429}},
		{"127.0.0.1/32", []string{"", "10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.9, 10.0.0.1", "10.0.0.3, 127.0.0.1"}, []int{200, 200, 200, 429, 429, 200}},
		{"127.0.0.1/32", []string{"nonsense", "", "10.0.0.1, nonsense"}, []int{200, 429, 429}},
	} {
		r, _ := startGuarded(t, func(c *Config) {
			if tt.trusted != "" {
				c.Trusted = []netip.Prefix{netip.MustParsePrefix(tt.trusted)}
			}
		})
		r.deploy(guarded("iris", pod{5, 10}, nil, workload.Limit{Name: "each", Per: workload.PerAddress, Rate: "1/h"}), 1)
		r.run("iris", ready("a", r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), pod{5, 10}))
		for i, value := range tt.forward {
			h := http.Header{}
			if value != "" {
				h.Set("X-Forwarded-For", value)
			}
			if a := r.do("GET", "/iris", nil, h); a.status != tt.want[i] {
				t.Errorf("trusting %q, request %d from %q: %s, want %d", tt.trusted, i, value, a, tt.want[i])
			}
		}
	}
}

func TestASplitterAsks(t *testing.T) {
	t.Parallel()
	key, text := mint("alice", "split")
	r, _ := startGuarded(t, nil, key)
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	r.deploy(guarded("iris", pod{5, 10}, keysOnly, workload.Limit{Name: "never", Quota: "1/1d"}), 1)
	r.run("iris", ready("a", r.server(ok), pod{5, 10}))
	splitter := func(name string, auth *workload.Auth) {
		r.deploy(&workload.Revision{Spec: workload.Spec{
			Name: name, Kind: workload.Splitter, Networking: &workload.Networking{Endpoint: "/" + name, Auth: auth}, APIs: []workload.Target{{Name: "iris", Weight: 100}},
		}, ID: name + "-1"}, 0)
	}
	splitter("split", keysOnly)
	splitter("open", nil)
	for name, tt := range map[string]struct {
		path   string
		header http.Header
		want   int
	}{
		"the splitter's key":              {"/split", bearer(text), 200},
		"the splitter's key once more":    {"/split", bearer(text), 200},
		"nobody, at the splitter":         {"/split", nil, 401},
		"nobody, past an open splitter":   {"/open", nil, 401},
		"a key that is not good for iris": {"/iris", bearer(text), 403},
	} {
		if a := r.do("GET", tt.path, nil, tt.header); a.status != tt.want {
			t.Errorf("%s: %s, want %d", name, a, tt.want)
		}
	}
}

func TestRevocationIsHeardAtOnce(t *testing.T) {
	t.Parallel()
	key, text := mint("alice")
	r, keys := startGuarded(t, nil, key)
	r.deploy(guarded("iris", pod{5, 10}, keysOnly), 1)
	r.run("iris", ready("a", r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), pod{5, 10}))
	if a := r.do("GET", "/iris", nil, bearer(text)); a.status != 200 {
		t.Fatalf("with a key: %s", a)
	}
	keys.send(nil)
	r.until(func() bool {
		return r.do("GET", "/iris", nil, bearer(text)).header.Get("X-Cortex-Reason") == "key_unknown"
	}, "the key to be revoked")
	key.ExpiresAt = time.Now().Add(-time.Second)
	keys.send([]store.Key{key})
	r.until(func() bool {
		return r.do("GET", "/iris", nil, bearer(text)).header.Get("X-Cortex-Reason") == "key_expired"
	}, "the key to be expired")
}

// There is no way around the door: not by HTTP/2 either.
func TestHTTP2IsNoWayAround(t *testing.T) {
	t.Parallel()
	key, text := mint("alice")
	r, _ := startGuarded(t, nil, key)
	var reached atomic.Int32
	r.deploy(guarded("iris", pod{5, 10}, keysOnly), 1)
	r.run("iris", ready("a", r.server(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) })), pod{5, 10}))
	r.client = overHTTP2(t)
	for _, header := range []http.Header{nil, {"X-Cortex-Caller": {"alice"}}, {"Content-Type": {"application/grpc"}}} {
		a := r.do("POST", "/iris/x", strings.NewReader("body"), header)
		if refused := a.status == 401 || a.header.Get("Grpc-Status") == "16"; !refused || reached.Load() != 0 {
			t.Errorf("a stranger by HTTP/2 with %v: %s; the server was reached %d times", header, a, reached.Load())
		}
	}
	if a := r.do("POST", "/iris/x", strings.NewReader("body"), bearer(text)); a.status != 200 || reached.Load() != 1 {
		t.Errorf("who has a key, by HTTP/2: %s; the server was reached %d times", a, reached.Load())
	}
}

// Who called what is kept, and what was used of a quota outlives the process.
func TestCallsAreCountedAndQuotasGoOn(t *testing.T) {
	t.Parallel()
	kept, err := bolt.Open(t.Context(), bolt.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { kept.Close() })
	key, text := mint("alice")
	bob, textOfBob := mint("bob")
	limits := []workload.Limit{{Name: "daily", Per: workload.PerCaller, Quota: "5/1d"}, {Name: "all", Quota: "8/1d"}}
	server := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/404":
			w.WriteHeader(404)
		case "/500":
			w.WriteHeader(500)
		case "/break":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "half")
		}
	}
	start := func() *rig {
		r, _ := startGuarded(t, func(c *Config) { c.Calls = kept }, key, bob)
		r.deploy(guarded("iris", pod{5, 10}, keysOnly, limits...), 1)
		r.run("iris", ready("a", r.server(http.HandlerFunc(server)), pod{5, 10}))
		return r
	}
	end := func(r *rig) {
		t.Helper()
		r.stop()
		if err := receive(t, r.served); err != nil {
			t.Errorf("Serve() = %v", err)
		}
		receive(t, r.over)
	}
	first := start()
	for _, path := range []string{"", "/404", "/500", "/break"} {
		first.do("GET", "/iris"+path, nil, bearer(text))
	}
	first.do("GET", "/iris", nil, bearer(textOfBob))
	first.do("GET", "/iris", nil, nil) // nobody
	end(first)
	second := start()
	for i, want := range []int{200, 429, 429} {
		if a := second.do("GET", "/iris", nil, bearer(text)); a.status != want {
			t.Errorf("request %d after a restart: %s, want %d", 5+i, a, want)
		}
	}
	for i, want := range []int{200, 200, 429} { // of all together
		if a := second.do("GET", "/iris", nil, bearer(textOfBob)); a.status != want {
			t.Errorf("request %d of bob after a restart: %s, want %d", 2+i, a, want)
		}
	}
	end(second)
	sums := map[string]workload.CallCounts{}
	if err := kept.EachCalls(t.Context(), "", time.Time{}, func(c workload.Calls) error {
		sum := sums[c.Caller]
		c.Seconds = 0
		sum.Add(c.CallCounts)
		sums[c.Caller] = sum
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := map[string]workload.CallCounts{
		"alice": {Requests: 5, Succeeded: 2, ClientErrors: 1, ServerErrors: 1, Broken: 1, Limited: 2},
		"bob":   {Requests: 3, Succeeded: 3, Limited: 1},
	}
	if diff := cmp.Diff(want, sums); diff != "" {
		t.Errorf("what was counted (-want +got):\n%s", diff)
	}
}
