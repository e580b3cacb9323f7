package controlapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
)

const gatewayUser = "system:serviceaccount:cortex:cortex-gateway"

// cluster knows whose tokens there are.
type cluster struct {
	mu      sync.Mutex
	tokens  map[string]Caller
	err     error
	reviews int
}

func newCluster() *cluster {
	return &cluster{tokens: map[string]Caller{
		"good":  {Username: gatewayUser, Pod: "gateway-a"},
		"loose": {Username: gatewayUser},
		"pod":   {Username: "system:serviceaccount:cortex-apis:default", Pod: "gateway-a"},
		"alike": {Username: "system:serviceaccount:other:cortex-gateway"},
	}}
}

func (c *cluster) Review(_ context.Context, token string) (Caller, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reviews++
	return c.tokens[token], c.err
}

func (c *cluster) set(token string, caller Caller, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tokens[token], c.err = caller, err
}

// woken remembers what was woken.
type woken struct {
	mu    sync.Mutex
	names []string
	err   error
}

func (w *woken) Wake(_ context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names = append(w.names, name)
	return w.err
}

type scene struct {
	t       *testing.T
	clock   *clock
	cluster *cluster
	woken   *woken
	loads   *Loads
	server  *Server
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, clock: newClock(), cluster: newCluster(), woken: &woken{}}
	s.loads = NewLoads(s.clock.now)
	var err error
	s.server, err = NewServer(ServerConfig{Reviewer: s.cluster, Gateway: gatewayUser, Loads: s.loads, Waker: s.woken, Now: s.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *scene) post(path, token string, body io.Reader) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, body)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	return w
}

const someLoad = `{"gateway":"gateway-a","samples":[{"name":"iris","in_flight":2}]}`

// body fails the test when it is read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body of a stranger was read")
	return 0, io.EOF
}

func TestOnlyGatewaysAreHeard(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		headers []string
		want    int
	}{
		{"no token", nil, http.StatusUnauthorized},
		{"an empty token", []string{"Bearer "}, http.StatusUnauthorized},
		{"another scheme", []string{"Basic good"}, http.StatusUnauthorized},
		{"two tokens in one header", []string{"Bearer good, Bearer good"}, http.StatusUnauthorized},
		{"two headers", []string{"Bearer good", "Bearer good"}, http.StatusUnauthorized},
		{"a token that is nobody's", []string{"Bearer rubbish"}, http.StatusUnauthorized},
		{"a token beyond all size", []string{"Bearer " + strings.Repeat("x", maxToken+1)}, http.StatusUnauthorized},
		{"a workload's token", []string{"Bearer pod"}, http.StatusForbidden},
		{"an account of the same name elsewhere", []string{"Bearer alike"}, http.StatusForbidden},
	} {
		for _, path := range []string{pathLoad, pathWake} {
			t.Run(tt.name+path, func(t *testing.T) {
				t.Parallel()
				s := newScene(t)
				r := httptest.NewRequest(http.MethodPost, path, unread{t})
				r.Header["Authorization"] = tt.headers
				w := httptest.NewRecorder()
				s.server.ServeHTTP(w, r)
				if w.Code != tt.want {
					t.Errorf("POST %s = %d %s, want %d", path, w.Code, w.Body, tt.want)
				}
				if s.loads.Gateways() != 0 || len(s.woken.names) != 0 {
					t.Error("it was heard")
				}
			})
		}
	}
	s := newScene(t)
	for _, token := range []string{"good", "loose"} {
		if w := s.post(pathLoad, token, strings.NewReader(someLoad)); w.Code != http.StatusNoContent {
			t.Errorf("POST %s with %s = %d %s, want 204", pathLoad, token, w.Code, w.Body)
		}
	}
}

func busyReplicas(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"r%d":1`, i))
	}
	return "{" + strings.Join(all, ",") + "}"
}

func TestReports(t *testing.T) {
	t.Parallel()
	long := `{"gateway":"gateway-a","samples":[` + strings.Repeat(`{"name":"a","in_flight":1},`, maxSamples) + `{"name":"b","in_flight":1}]}`
	for _, tt := range []struct {
		name, path, body string
		want             int
	}{
		{"load", pathLoad, someLoad, 204},
		{"no load", pathLoad, `{"gateway":"gateway-a","samples":[]}`, 204},
		{"a key of a newer gateway", pathLoad, `{"gateway":"gateway-a","samples":[],"zone":"a"}`, 204},
		{"no JSON", pathLoad, `gateway-a`, 400},
		{"two documents", pathLoad, someLoad + someLoad, 400},
		{"no gateway", pathLoad, `{"samples":[]}`, 400},
		{"a gateway that is no pod", pathLoad, `{"gateway":"Gateway A","samples":[]}`, 400},
		{"in the place of another gateway", pathLoad, `{"gateway":"gateway-b","samples":[]}`, 403},
		{"an API that cannot be", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"I/ris","in_flight":1}]}`, 400},
		{"an API twice", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":1},{"name":"a","in_flight":1}]}`, 400},
		{"less than nothing", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":-1}]}`, 400},
		{"more than there can be", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":1e10}]}`, 400},
		{"no number", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":"1"}]}`, 400},
		{"busy replicas", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":1,"busy":{"x7-5f":1}}]}`, 204},
		{"a replica that cannot be", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":1,"busy":{"X/7":1}}]}`, 400},
		{"a busy replica with nothing to do", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":1,"busy":{"x7":0}}]}`, 400},
		{"too many busy replicas", pathLoad, `{"gateway":"gateway-a","samples":[{"name":"a","in_flight":1,"busy":` + busyReplicas(maxBusy+1) + `}]}`, 400},
		{"too many APIs", pathLoad, long, 400},
		{"too large", pathLoad, `{"gateway":"` + strings.Repeat("a", maxBody) + `"}`, 413},
		{"a wake-up", pathWake, `{"name":"iris"}`, 204},
		{"a wake-up of nothing", pathWake, `{}`, 400},
		{"a wake-up of what cannot be", pathWake, `{"name":"../iris"}`, 400},
		{"elsewhere", "/v1/else", `{}`, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			if w := s.post(tt.path, "good", strings.NewReader(tt.body)); w.Code != tt.want {
				t.Errorf("POST %s = %d %s, want %d", tt.path, w.Code, w.Body, tt.want)
			}
			if heard := s.loads.Gateways() + len(s.woken.names); (heard == 1) != (tt.want == 204) {
				t.Errorf("heard %d, want it only when it is answered 204", heard)
			}
		})
	}
}

func TestWhatWakingAnswers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 204},
		{fault.New(fault.NotFound, "resources.api_not_deployed", "iris is not deployed"), 404},
		{fault.New(fault.Unavailable, "store.unavailable", "the API server is away"), 503},
		{errors.New("a defect"), 500},
	} {
		s := newScene(t)
		s.woken.err = tt.err
		if w := s.post(pathWake, "good", strings.NewReader(`{"name":"iris"}`)); w.Code != tt.want {
			t.Errorf("waking with %v = %d, want %d", tt.err, w.Code, tt.want)
		}
	}
}

// The cluster is asked about a token once in a while, not each second, and a token
// that was revoked is out soon.
func TestReviewsAreRemembered(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	load := func(token string) int { return s.post(pathLoad, token, strings.NewReader(someLoad)).Code }
	for range 9 {
		if got := load("good"); got != 204 {
			t.Fatalf("a gateway's report = %d", got)
		}
		if got := load("bad"); got != 401 {
			t.Fatalf("a stranger's report = %d", got)
		}
		s.clock.pass(time.Second)
	}
	if s.cluster.reviews != 2 {
		t.Errorf("reviews = %d in 9 s, want one for each token", s.cluster.reviews)
	}
	s.cluster.set("good", Caller{}, nil)
	s.clock.pass(rememberFor - 9*time.Second)
	if got := load("good"); got != 401 {
		t.Errorf("a report with a token that was revoked = %d, want 401", got)
	}
}

// That the cluster could not be asked is not remembered.
func TestReviewThatFails(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.cluster.set("good", Caller{}, errors.New("connection refused"))
	if w := s.post(pathLoad, "good", strings.NewReader(someLoad)); w.Code != 503 || strings.Contains(w.Body.String(), "refused") {
		t.Errorf("a report that cannot be reviewed = %d %s, want 503 without the reason", w.Code, w.Body)
	}
	s.cluster.set("good", Caller{Username: gatewayUser, Pod: "gateway-a"}, nil)
	if w := s.post(pathLoad, "good", strings.NewReader(someLoad)); w.Code != 204 {
		t.Errorf("the next report = %d, want 204", w.Code)
	}
}

// Whoever invents tokens makes the cluster review few of them, and takes no
// gateway's turn.
func TestStrangersCostLittle(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	codes := map[int]int{}
	for i := range 1000 {
		codes[s.post(pathLoad, fmt.Sprintf("invented-%d", i), unread{t}).Code]++
	}
	if s.cluster.reviews != addressBurst || codes[429] != 1000-addressBurst {
		t.Errorf("reviews = %d, answers %v; want %d reviews", s.cluster.reviews, codes, addressBurst)
	}
	r := httptest.NewRequest(http.MethodPost, pathLoad, strings.NewReader(someLoad))
	r.RemoteAddr = "10.88.0.9:4000"
	r.Header.Set("Authorization", "Bearer good")
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	if w.Code != 204 {
		t.Errorf("a gateway's report meanwhile = %d, want 204", w.Code)
	}
}

func TestReportsOfOneGatewayAreBounded(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	codes := map[int]int{}
	for range 100 {
		codes[s.post(pathLoad, "good", strings.NewReader(someLoad)).Code]++
	}
	if codes[204] != reportsBurst || codes[429] != 100-reportsBurst {
		t.Errorf("100 reports at once = %v, want %d accepted", codes, reportsBurst)
	}
	s.clock.pass(time.Second)
	if got := s.post(pathLoad, "good", strings.NewReader(someLoad)).Code; got != 204 {
		t.Errorf("a report one second later = %d, want 204", got)
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(someLoad)
	f.Add(`{"gateway":"gateway-a","samples":[{"name":"a","in_flight":1e400}]}`)
	f.Add(`{"gateway":"gateway-a","samples":null}{`)
	f.Fuzz(func(t *testing.T, body string) {
		s := newScene(t)
		switch w := s.post(pathLoad, "loose", strings.NewReader(body)); w.Code {
		case 204:
			s.clock.pass(silence)
			for _, sample := range s.loads.Samples() {
				if !workloadName.MatchString(sample.Name) || !(sample.InFlight >= 0 && sample.InFlight <= maxFlight) {
					t.Errorf("accepted the sample %+v", sample)
				}
			}
		case 400, 413:
		default:
			t.Errorf("POST %q = %d", body, w.Code)
		}
	})
}
