package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// echoes answers with its name and the path that it was asked for.
func echoes(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, name, " ", r.URL.Path) })
}

func (r *rig) deployAt(host string, rev *workload.Revision) {
	r.t.Helper()
	rev.Networking.Host = host
	r.deploy(rev, 1)
}

// On its own host name an API has every path; everywhere else its endpoint, as before.
func TestHosts(t *testing.T) {
	t.Parallel()
	r := startRig(t, nil)
	p := pod{concurrency: 10}
	for _, name := range []string{"iris", "rose", "plain"} {
		r.serveAt(name, p, echoes(name))
	}
	r.deployAt("iris.example.com", realtime("iris", "/iris", p))
	r.deployAt("rose.example.com", realtime("rose", "/rose", p))
	r.deployAt("both.example.com", &workload.Revision{ID: "both-1", Spec: workload.Spec{
		Name: "both", Kind: workload.Splitter, Networking: &workload.Networking{Endpoint: "/both"},
		APIs: []workload.Target{{Name: "rose", Weight: 100}},
	}})
	long := strings.Repeat("a", 63) + strings.Repeat("."+strings.Repeat("a", 63), 3)
	for _, tt := range []struct{ host, path, want string }{
		{"iris.example.com", "/", "200 iris /"},
		{"iris.example.com", "/v1/x", "200 iris /v1/x"},
		{"iris.example.com:8443", "/v1/x", "200 iris /v1/x"},
		{"IRIS.Example.com", "/x", "200 iris /x"},
		{"iris.example.com.", "/x", "200 iris /x"},
		{"iris.example.com.:80", "/x", "200 iris /x"},
		{"iris.example.com", "/rose/x", "200 iris /rose/x"},
		{"iris.example.com", "/iris/x", "200 iris /iris/x"},
		{"iris.example.com", "/a/../x", "400 dot_segment"},
		{"rose.example.com", "/x", "200 rose /x"},
		{"both.example.com", "/x", "200 rose /x"},
		{"other.example.com", "/iris/x", "200 iris /x"},
		{"localhost", "/rose", "200 rose /"},
		{"localhost", "/both/x", "200 rose /x"},
		{"other.example.com", "/", "404 endpoint_not_found"},
		{"iris.example.com..", "/", "404 endpoint_not_found"},
		{"xiris.example.com", "/", "404 endpoint_not_found"},
		{"iris.example.com.evil.example", "/", "404 endpoint_not_found"},
		{"[::1]:80", "/", "404 endpoint_not_found"},
		{"iris.example.com:x", "/", "200 iris /"}, // a port is nobody's business
		{long + "." + long, "/", "404 endpoint_not_found"},
	} {
		for version, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": overHTTP2(t)} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url(tt.path), http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = tt.host
			resp, err := client.Do(req)
			if err != nil {
				t.Errorf("%s %s%s: %v", version, tt.host, tt.path, err)
				continue
			}
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			got := fmt.Sprint(resp.StatusCode, " ", string(body))
			if resp.StatusCode != http.StatusOK {
				got = fmt.Sprint(resp.StatusCode, " ", resp.Header.Get("X-Cortex-Reason"))
			}
			if got != tt.want {
				t.Errorf("%s %s%s: %s, want %s", version, tt.host, tt.path, got, tt.want)
			}
		}
	}
}

// A host name goes with the API that has it, and of two claims the older one counts.
func TestHostsAreClaimedAndLetGo(t *testing.T) {
	t.Parallel()
	at := func(seconds int64, name, host string) *route {
		return &route{name: name, endpoint: "/" + name, host: host, created: time.Unix(seconds, 0)}
	}
	s := (&snapshot{}).with("young", at(2, "young", "h.x")).with("old", at(1, "old", "h.x")).with("none", at(3, "none", ""))
	has := func(what, host, want string) {
		t.Helper()
		got := ""
		if r := s.hosts[host]; r != nil {
			got = r.name
		}
		if got != want {
			t.Errorf("%s: %s is of %q, want %q", what, host, got, want)
		}
	}
	has("two claims", "h.x", "old")
	has("no host is no name", "", "")
	s = s.with("old", at(1, "old", "g.x"))
	has("the older moved away", "h.x", "young")
	has("the older moved away", "g.x", "old")
	s = s.with("young", nil)
	has("it is gone", "h.x", "")
	s = s.with("old", at(1, "old", ""))
	has("it has no name any more", "g.x", "")
}

// What an AsyncAPI says of its items leads to where it was asked.
func TestHostOfAnAsyncAPI(t *testing.T) {
	t.Parallel()
	items := basedItems{}
	r := startRig(t, func(c *Config) { c.Items = items })
	rev := realtime("later", "/later", pod{concurrency: 1})
	rev.Kind, rev.Networking.Host = workload.Async, "later.example.com"
	r.routes.send(store.Change{Name: "later", Workload: &store.Workload{Revision: rev, Version: 1}})
	r.until(func() bool { return r.g.snap.Load().hosts["later.example.com"] != nil }, "the route")
	for _, tt := range []struct{ host, path, want string }{
		{"localhost", "/later/ID", `base "/later" path "/ID"`},
		{"later.example.com", "/ID", `base "" path "/ID"`},
		{"later.example.com:80", "/ID/result", `base "" path "/ID/result"`}, // which is streamed
		{"localhost", "/later/ID/result", `base "/later" path "/ID/result"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url(tt.path), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = tt.host
		if got := r.send(req); got.body != tt.want {
			t.Errorf("%s%s: %s, want %s", tt.host, tt.path, got, tt.want)
		}
	}
}

// basedItems answer with what they are asked for.
type basedItems struct{}

func (basedItems) Serve(_, base string, w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "base %q path %q", base, r.URL.Path)
}
func (basedItems) Look(context.Context, string, string, string) []byte { return nil }
func (basedItems) MeanLoad(string) float64                             { return 0 }
func (basedItems) Backlog(string) workload.Backlog                     { return workload.Backlog{} }
func (basedItems) Load(string) (queued, running int)                   { return 0, 0 }
