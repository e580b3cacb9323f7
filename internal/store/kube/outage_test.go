package kube

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbac "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/storetest"
	"cortex.dev/cortex/internal/workload"
)

// line is the way to an API server, which can be cut.
type line struct {
	next http.RoundTripper

	mu      sync.Mutex
	cut     bool
	expired bool   // watches from an earlier moment are answered with 410
	refuse  string // paths that end so cannot be reached
	close   []context.CancelFunc
}

func (l *line) RoundTrip(r *http.Request) (*http.Response, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.refuse != "" && strings.HasSuffix(r.URL.Path, l.refuse) {
		return nil, errors.New("the line is cut")
	}
	query := r.URL.Query()
	if query.Get("watch") == "" {
		return l.next.RoundTrip(r)
	}
	if l.expired && query.Get("sendInitialEvents") == "" && query.Get("resourceVersion") != "" {
		const gone = `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Expired","code":410,"message":"too old resource version"}`
		return &http.Response{
			StatusCode: http.StatusGone, Status: "410 Gone", Request: r, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(gone)),
		}, nil
	}
	ctx, cancel := context.WithCancel(r.Context())
	l.close = append(l.close, cancel)
	return l.next.RoundTrip(r.WithContext(ctx))
}

// set cuts the line, with every watch that is open, or mends it.
func (l *line) set(cut, expired bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut, l.expired = cut, expired
	for _, end := range l.close {
		end()
	}
	l.close = nil
}

// over returns a configuration whose requests go over a line.
func over(cfg Config) (Config, *line) {
	l := &line{}
	cfg.REST = rest.CopyConfig(cfg.REST)
	cfg.REST.Wrap(func(next http.RoundTripper) http.RoundTripper {
		l.next = next
		return l
	})
	return cfg, l
}

// What was missed while the API server could not be reached is told afterwards:
// what is new, changed, made anew and gone, each once, whether the API server
// remembers the moment of the last news or not.
func TestWatchOutlivesTheLine(t *testing.T) {
	t.Parallel()
	r := cluster(t)
	for _, tt := range []struct {
		name    string
		expired bool
	}{{"goes on where it was", false}, {"reads everything again", true}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := config(t, r)
			straight := open(t, cfg)
			cfg, l := over(cfg)
			s := open(t, cfg)
			all := map[string]store.Workload{}
			for _, name := range []string{"same", "changed", "gone", "anew"} {
				all[name] = put(t, straight, storetest.Sample(name, 1))
			}
			ctx, cancel := context.WithCancel(within(t))
			defer cancel()
			changes, done := make(chan store.Change, 100), make(chan error, 1)
			go func() { done <- s.Watch(ctx, func(c store.Change) { changes <- c }) }()
			for seen := map[string]bool{}; len(seen) < len(all)+1; { // and the marker
				seen[next(t, changes).Name] = true
			}

			l.set(true, tt.expired)
			all["changed"] = put(t, straight, all["changed"])
			all["new"] = put(t, straight, storetest.Sample("new", 1))
			for _, name := range []string{"gone", "anew"} {
				if err := straight.Delete(within(t), name, all[name].Version, false); err != nil {
					t.Fatalf("Delete(%s) = %v", name, err)
				}
			}
			all["anew"] = put(t, straight, storetest.Sample("anew", 2))
			if len(changes) > 0 {
				t.Fatal("something was told over a line that is cut")
			}
			if err := s.Delete(within(t), "same", all["same"].Version, false); !fault.Is(err, fault.Unavailable) {
				t.Errorf("Delete() over a line that is cut = %v, want unavailable", err)
			}
			l.set(false, tt.expired)

			got := map[string]store.Version{}
			for len(got) < 4 || got["new"] == 0 || got["changed"] != all["changed"].Version || got["anew"] != all["anew"].Version {
				c := next(t, changes)
				got[c.Name] = 0
				if c.Workload != nil {
					got[c.Name] = c.Workload.Version
				}
			}
			want := map[string]store.Version{"changed": all["changed"].Version, "new": all["new"].Version, "anew": all["anew"].Version, "gone": 0}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("Watch() told other changes (-want +got):\n%s", diff)
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("Watch() = %v, want that its context has ended", err)
			}
		})
	}
}

func TestEventsOutliveTheLine(t *testing.T) {
	t.Parallel()
	cfg := config(t, cluster(t))
	straight := open(t, cfg)
	cfg, l := over(cfg)
	s := open(t, cfg)
	record := func(n int) {
		t.Helper()
		if err := straight.Record(within(t), workload.Event{Time: time.Now(), API: "iris", Message: fmt.Sprint(n)}); err != nil {
			t.Fatalf("Record() = %v", err)
		}
	}
	record(0)
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	told, done := make(chan string, 100), make(chan error, 1)
	go func() {
		done <- s.Events(ctx, workload.EventQuery{Name: "iris", Follow: true}, func(e workload.Event) error {
			told <- e.Message
			return nil
		})
	}()
	got := []string{next(t, told)}
	for n := 1; n < 7; n += 2 {
		l.set(true, n > 2) // from the second time on with 410
		record(n)
		record(n + 1)
		l.set(false, n > 2)
		got = append(got, next(t, told), next(t, told))
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Events() = %v after its context ended, want nil", err)
	}
	if want := []string{"0", "1", "2", "3", "4", "5", "6"}; !slices.Equal(got, want) {
		t.Errorf("Events() told %v, want %v", got, want)
	}
}

func TestOpenWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	cfg, l := over(config(t, cluster(t)))
	l.set(true, false)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, cfg)
	if fault.Code(err) != "store.unavailable" || !strings.Contains(err.Error(), "the line is cut") {
		t.Errorf("Open() = %v, want store.unavailable with the reason", err)
	}
	// It comes up when the API server does.
	opened := make(chan error, 1)
	go func() {
		s, err := Open(within(t), cfg)
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	l.set(false, false)
	if err := next(t, opened); err != nil {
		t.Errorf("Open() = %v once the line was mended, want nil", err)
	}
}

// A permission that is missing is named, at once.
func TestForbidden(t *testing.T) {
	t.Parallel()
	r := cluster(t)
	cfg := config(t, r)
	admin, err := kubernetes.NewForConfig(r)
	if err != nil {
		t.Fatal(err)
	}
	// Somebody who may do what a gateway may.
	name := metav1.ObjectMeta{Name: "gateway", Namespace: cfg.Namespace}
	role := &rbac.Role{ObjectMeta: name, Rules: []rbac.PolicyRule{{
		APIGroups: []string{crd.GroupVersion.Group}, Verbs: []string{"get", "list", "watch"},
		Resources: []string{"realtimeapis", "asyncapis", "batchapis", "taskapis", "trafficsplitters"},
	}}}
	binding := &rbac.RoleBinding{
		ObjectMeta: name, RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: "gateway"},
		Subjects: []rbac.Subject{{Kind: rbac.UserKind, APIGroup: rbac.GroupName, Name: "gateway-of-" + cfg.Namespace}},
	}
	cfg.REST = rest.CopyConfig(r)
	cfg.REST.Impersonate = rest.ImpersonationConfig{UserName: "gateway-of-" + cfg.Namespace}
	if _, err := Open(t.Context(), cfg); fault.Code(err) != "store.forbidden" || !strings.Contains(err.Error(), "cannot") || !strings.Contains(err.Error(), "apis.cortex.dev") && !strings.Contains(err.Error(), "trafficsplitters.cortex.dev") {
		t.Errorf("Open() without permissions = %v, want store.forbidden with what is missing", err)
	}
	if _, err := admin.RbacV1().Roles(cfg.Namespace).Create(within(t), role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.RbacV1().RoleBindings(cfg.Namespace).Create(within(t), binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s := openWhenPermitted(t, cfg)
	_, err = s.Put(within(t), storetest.Sample("iris", 1))
	if fault.Code(err) != "store.forbidden" || !strings.Contains(err.Error(), `cannot create resource "realtimeapis"`) {
		t.Errorf("Put() = %v, want store.forbidden with what is missing", err)
	}
	if _, err := s.Get(within(t), "iris"); fault.Code(err) != "resources.api_not_deployed" {
		t.Errorf("Get() = %v, want that it is not deployed", err)
	}
}

// openWhenPermitted opens once the API server has heard of a permission.
func openWhenPermitted(t *testing.T, cfg Config) *Store {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx := within(t); ; {
		s, err := Open(ctx, cfg)
		if err == nil {
			t.Cleanup(func() { _ = s.Close() }) // never fails
			return s
		}
		if fault.Code(err) != "store.forbidden" {
			t.Fatalf("Open() = %v", err)
		}
		<-tick.C
	}
}

// What the rules of the definitions refuse is the user's mistake, and said in the
// words of the API server.
func TestRefusedByTheDefinition(t *testing.T) {
	t.Parallel()
	s := open(t, config(t, cluster(t)))
	w := storetest.Sample("iris", 1)
	w.Revision.Pod.Containers[0].Image = "" // runs as a process, on one machine only
	if _, err := s.Put(within(t), w); !fault.Is(err, fault.Invalid) || fault.Code(err) != "store.refused" || !strings.Contains(err.Error(), "image") {
		t.Errorf("Put() without an image = %v, want store.refused with the key", err)
	}
	if _, err := s.Get(within(t), "iris"); !fault.Is(err, fault.NotFound) {
		t.Errorf("Get() of what was refused = %v, want not found", err)
	}
}
