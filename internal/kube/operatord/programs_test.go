package operatord

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/controlapi"
	"cortex.dev/cortex/internal/workload"
)

const idle = `[{"name": "iris", "kind": "RealtimeAPI", "pod": {"port": 8080, "max_concurrency": 20, "containers": [{"name": "api", "image": "example.com/iris:1"}]},
 "autoscaling": {"min_replicas": 0, "init_replicas": 0, "max_replicas": 3, "downscale_stabilization_period": "1h", "upscale_stabilization_period": "0s", "window": "10s", "target_in_flight": 2}}]`

// A user deploys over the network, a request wakes the API through a gateway, and
// its load reaches the autoscaler: every role and every hop but the pods.
func TestDeployRequestScale(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	client := p.alice(o)
	results, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: idle})
	if err != nil {
		t.Fatalf("Deploy() = %+v, %v", results, err)
	}
	g := p.gateway(o.internal)
	eventually(t, "the gateway is ready", func() bool { return status(t, "http://"+g.health+"/readyz") == http.StatusOK })
	p.trust(g)
	answer, err := http.Get("http://" + g.apis + "/iris/x")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusOK || string(text) != "answered /x" {
		t.Errorf("GET /iris/x = %d %s, want it answered by the replica that it woke", answer.StatusCode, text)
	}
	if !o.audit.has(`"action":"deploy"`) {
		t.Error("the audit is not on the standard output")
	}
	var kept []string
	if err := client.Audit(t.Context(), auth.AuditQuery{Principal: "user/alice"}, func(e auth.Entry) error {
		if e.Action == auth.ActionDeploy {
			kept = append(kept, strings.TrimSpace(e.Decision+" "+e.Outcome+" "+e.Version))
		}
		return nil
	}); err != nil || !slices.Equal(kept, []string{"allow", "allow done v1"}) {
		t.Errorf("Audit() = %q, %v, want the decision and what became of it", kept, err)
	}
	waiting := make(chan int, 10)
	for range cap(waiting) {
		go func() { waiting <- status(t, "http://"+g.apis+"/iris/hold") }()
	}
	eventually(t, "the load has brought more replicas", func() bool {
		api, err := client.Get(t.Context(), "iris")
		return err == nil && api.Status.Requested > 1
	})
	if info, err := client.Info(t.Context()); err != nil || info.APIEndpoint != "http://apis.example.com" || len(info.Engines) != 1 || !info.Engines[0].Available {
		t.Errorf("Info() = %+v, %v, want the endpoint and Kubernetes", info, err)
	}
	// Told to stop, the gateway is not ready at once, takes requests still, and answers all.
	g.stop()
	eventually(t, "the gateway is not ready", func() bool { return status(t, "http://"+g.health+"/readyz") == http.StatusServiceUnavailable })
	if got := status(t, "http://"+g.apis+"/iris/late"); got != http.StatusOK {
		t.Errorf("a request just after it was told to stop = %d, want 200", got)
	}
	close(p.yard.release)
	for range cap(waiting) {
		if got := <-waiting; got != http.StatusOK {
			t.Errorf("a request that was under way = %d, want 200", got)
		}
	}
	if err := g.end(); err != nil {
		t.Errorf("RunGateway() = %v, want nil", err)
	}
	if err := o.end(); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
}

// A gateway serves what runs while there is no operator, and says once that there
// is none.
func TestGatewayWithoutOperator(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	config := strings.Replace(idle, `"init_replicas": 0`, `"init_replicas": 1`, 1)
	config = strings.Replace(config, `"min_replicas": 0`, `"min_replicas": 1`, 1)
	if _, err := p.alice(o).Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: config}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a replica is there", func() bool { s, _ := p.yard.Get("iris"); return len(s.Replicas) == 1 })
	if err := o.end(); err != nil {
		t.Errorf("Run() = %v, want nil", err)
	}
	g := p.gateway(o.internal)
	eventually(t, "it is served", func() bool { return status(t, "http://"+g.apis+"/iris") == http.StatusOK })
	eventually(t, "it says that the operator is away", func() bool { return g.log.has("the operator cannot be reached") })
	if err := g.end(); err != nil {
		t.Errorf("RunGateway() = %v, want nil", err)
	}
	if n := strings.Count(g.log.text(), "cannot be reached"); n != 1 {
		t.Errorf("it was said %d times that the operator is away, want once", n)
	}
}

// The next leader begins when the one before has ended, soon, with the same
// certificate and sessions; the one that waits answers nobody.
func TestHandOver(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.stays = 300 * time.Millisecond
	first := p.leader("operator-a")
	second := p.operator("operator-b")
	eventually(t, "the second is alive", func() bool { return status(t, "http://"+second.health+"/healthz") == http.StatusOK })
	eventually(t, "the second knows who leads", func() bool { return second.log.has("pod=operator-a") })
	eventually(t, "the second is ready to take over", second.ready)
	if second.leads() || status(t, "https://"+second.management) != 0 || status(t, "https://"+second.internal) != 0 {
		t.Error("a replica that does not lead answers")
	}
	client := p.alice(first)
	who, err := client.WhoAmI(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: idle}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the first has it run", func() bool { return first.applied.Load() > 0 })
	if n := second.applied.Load(); n != 0 {
		t.Errorf("the one that does not lead asked its engine for something %d times", n)
	}
	told := time.Now()
	if err := first.end(); err != nil {
		t.Errorf("Run() = %v, want nil after it was told to stop", err)
	}
	ended := time.Now()
	if first.leads() {
		t.Error("services still select a replica that has ended")
	}
	eventually(t, "the second leads", second.leads)
	if ended.Sub(told) < p.stays {
		t.Errorf("the first stopped within %s, want %s for connections that still come", ended.Sub(told), p.stays)
	}
	t.Logf("stopping took %s, taking over %s more", ended.Sub(told).Round(time.Millisecond), time.Since(ended).Round(time.Millisecond))
	eventually(t, "the second has it run", func() bool { return second.applied.Load() > 0 })
	next := p.alice(second) // trusts the same fingerprint
	now, err := next.WhoAmI(t.Context())
	if err != nil || now.ClusterID != who.ClusterID || now.Principal.ARN != alice.ARN {
		t.Errorf("WhoAmI() at the next leader = %+v, %v, want the same cluster %s", now, err, who.ClusterID)
	}
}

// A leader whose lease was taken stops, and ends with an error, so that it is
// started again.
func TestLeaderThatIsDeposed(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	leases := p.client.CoordinationV1().Leases(p.system)
	eventually(t, "the lease is taken", func() bool {
		lease, err := leases.Get(t.Context(), leaseName, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		other, life := "somebody", int32(60)
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = &other, &life, &now
		_, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		return err == nil
	})
	select {
	case <-o.ended:
	case <-time.After(patience):
		t.Fatal("a leader whose lease was taken goes on")
	}
	if o.err == nil || !strings.Contains(o.err.Error(), "leadership was lost") {
		t.Errorf("Run() = %v, want that leadership was lost", o.err)
	}
	lease, err := leases.Get(t.Context(), leaseName, metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "somebody" {
		t.Errorf("the lease is held by %v, %v, want somebody: it was not ours to give up", lease.Spec.HolderIdentity, err)
	}
}

// Whose token it is, the cluster says.
func TestReview(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	gateway := accountName(p.system, "cortex-gateway")
	good := p.token("cortex-gateway", controlapi.Audience)
	for _, tt := range []struct {
		name, token, want string
	}{
		{"a gateway's", good, gateway},
		{"for us and others", p.token("cortex-gateway", controlapi.Audience, "vault"), gateway},
		{"another account's", p.token("other", controlapi.Audience), accountName(p.system, "other")},
		{"for another audience", p.token("cortex-gateway", "vault"), ""},
		{"for the API server", p.token("cortex-gateway"), ""},
		{"garbage", "garbage", ""},
		{"with another signature", good[:len(good)-8] + "AAAAAAAA", ""},
	} {
		got, err := reviewer{p.client}.Review(t.Context(), tt.token)
		if err != nil || got.Username != tt.want {
			t.Errorf("Review(a token %s) = %+v, %v, want %q", tt.name, got, err, tt.want)
		}
	}
	// A token is over when its account is.
	if err := p.client.CoreV1().ServiceAccounts(p.system).Delete(t.Context(), "cortex-gateway", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token of an account that is gone is nobody's", func() bool {
		got, err := reviewer{p.client}.Review(t.Context(), good)
		return err == nil && got == controlapi.Caller{}
	})
}

// An API server that knows no audiences says of any good token that it is good:
// that proves nothing to us.
func TestReviewWithoutAudiences(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		`"audiences": ["cortex-operator"],`: "somebody", `"audiences": ["vault"],`: "", "": "",
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": {%s "authenticated": true,
				"user": {"username": "somebody", "extra": {"authentication.kubernetes.io/pod-name": ["a"]}}}}`, said)
		}))
		defer server.Close()
		client, err := kubernetes.NewForConfig(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}})
		if err != nil {
			t.Fatal(err)
		}
		got, err := reviewer{client}.Review(t.Context(), "token")
		if err != nil || got.Username != want || want != "" && got.Pod != "a" {
			t.Errorf("Review() when the API server says %s = %+v, %v, want %q", said, got, err, want)
		}
	}
}

// What somebody else keeps in the map stays, and what they break is put right.
func TestPublish(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	maps := p.client.CoreV1().ConfigMaps(p.system)
	publish := &publisher{maps: maps, text: func() map[string]string { return map[string]string{authorityKey: "ours"} }}
	for _, before := range []map[string]string{nil, {authorityKey: "broken", "own": "theirs"}} {
		if before != nil {
			found, err := maps.Get(t.Context(), authorityMap, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			found.Data = before
			if _, err := maps.Update(t.Context(), found, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := publish.publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		found, err := maps.Get(t.Context(), authorityMap, metav1.GetOptions{})
		if err != nil || found.Data[authorityKey] != "ours" || found.Data["own"] != before["own"] {
			t.Errorf("after %v the map is %v, %v", before, found.Data, err)
		}
	}
}

func TestLeadEndsWithItsWork(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	log := &record{}
	cfg := electionConfig{REST: p.rest, Namespace: p.system, Identity: "a", Log: slog.New(slog.NewTextHandler(log, nil)), Leading: new(atomic.Bool)}
	if err := lead(t.Context(), cfg, func(context.Context) error { return io.ErrUnexpectedEOF }); err != io.ErrUnexpectedEOF {
		t.Errorf("lead() = %v, want the error of its work", err)
	}
	// The lease was given up: the next one does not wait for its end.
	began := time.Now()
	cfg.Identity = "b"
	if err := lead(t.Context(), cfg, func(context.Context) error { return nil }); err != nil {
		t.Errorf("lead() = %v", err)
	}
	if took := time.Since(began); took >= leaseLife {
		t.Errorf("the next leader waited %s, as long as the lease lives", took)
	}
}
