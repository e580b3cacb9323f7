package operatord

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/auth/login"
	"cortex.dev/cortex/internal/controlapi"
	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/kube/gatewayd"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kubetest"
	"cortex.dev/cortex/internal/sidecar"
	"cortex.dev/cortex/internal/workload"
)

const patience = time.Minute

var alice = authtest.Identity{
	AccessKeyID: "AKIAALICEALICEEXAMPL", SecretAccessKey: "secret/of+alice/EXAMPLEKEY",
	ARN: "arn:aws:iam::111122223333:user/alice", UserID: "AIDAALICEALICEEXAMPLE", Account: "111122223333",
}

// place is a cluster's API server with two namespaces, and a yard in which what is
// asked to run does at once: there is no node.
type place struct {
	t          *testing.T
	rest       *rest.Config
	client     kubernetes.Interface
	system     string
	workloads  string
	yard       *yard
	sts        string
	gatewayPod string
	stays      time.Duration // of operators, after they led
	closed     bool          // no API that anybody may call
	hosts      []string      // names that APIs may have, by https
	tls        string        // folder with a certificate of gateways; empty: there is none
	items      string        // URL of the servers of items; empty: there are none
}

func newPlace(t *testing.T) *place {
	t.Helper()
	cfg := kubetest.Config(t)
	kubetest.InstallCRDs(t, cfg)
	sts := httptest.NewServer(authtest.NewSTS(authtest.Config{Region: "us-west-2", Identities: []authtest.Identity{alice}}))
	t.Cleanup(sts.Close)
	p := &place{
		t: t, rest: cfg, system: kubetest.Namespace(t, cfg), workloads: kubetest.Namespace(t, cfg), sts: sts.URL,
		yard: newYard(t), gatewayPod: "gateway-a",
	}
	var err error
	if p.client, err = kubernetes.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cortex-gateway", "other"} {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := p.client.CoreV1().ServiceAccounts(p.system).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

// token is one that the cluster issues to a service account.
func (p *place) token(account string, audiences ...string) string {
	p.t.Helper()
	seconds := int64(600)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds}}
	made, err := p.client.CoreV1().ServiceAccounts(p.system).CreateToken(p.t.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return made.Status.Token
}

// yard is an engine that has replicas without running any: each is the same server.
type yard struct {
	*engine.Feed
	server  *httptest.Server
	sidecar string        // host:port of the sidecar that all of them have
	release chan struct{} // closed: requests for /hold are answered
	hold    atomic.Bool   // all requests are as those for /hold
	worked  atomic.Int64  // requests with an item
}

func newYard(t *testing.T) *yard {
	t.Helper()
	y := &yard{Feed: engine.NewFeed(), release: make(chan struct{})}
	y.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Cortex-Attempt") != "" {
			y.worked.Add(1)
		}
		if r.URL.Path == "/hold" || y.hold.Load() {
			select {
			case <-y.release:
			case <-r.Context().Done():
			}
		}
		for _, name := range []string{"X-Cortex-Caller", "X-Cortex-Caller-Name", "Authorization", "X-Api-Key"} {
			w.Header()["Saw-"+name] = r.Header.Values(name)
		}
		fmt.Fprintf(w, "answered %s", r.URL.Path)
	}))
	t.Cleanup(y.server.Close)
	y.sidecar = sidecarOf(t, y.server)
	return y
}

// sidecarOf starts one in front of a server, at an address of its own: the ports of sidecars
// are fixed.
func sidecarOf(t *testing.T, of *httptest.Server) string {
	t.Helper()
	target, _ := of.Listener.Addr().(*net.TCPAddr)
	s, err := sidecar.New(sidecar.Config{Target: target.Port, MaxConcurrency: 100, Grace: time.Second, Quiet: time.Millisecond, Least: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ip := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	data, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, workload.SidecarPort))
	if err != nil {
		t.Fatal(err)
	}
	admin, err := net.Listen("tcp", fmt.Sprintf("%s:%d", ip, workload.AdminPort))
	if err != nil {
		t.Fatal(err)
	}
	administration := &http.Server{Handler: s.Admin(nil), ReadHeaderTimeout: time.Minute}
	go administration.Serve(admin)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, data) }()
	t.Cleanup(func() {
		stop()
		<-ended
		administration.Close()
	})
	return data.Addr().String()
}

var _ engine.Engine = (*yard)(nil)

func (y *yard) Apply(_ context.Context, d engine.Deployment) error {
	s := engine.Status{Name: d.Revision.Name, Revision: d.Revision.ID, Desired: d.Replicas}
	for i := range d.Replicas {
		r := engine.Replica{MaxConcurrency: d.Revision.Pod.MaxConcurrency, MaxQueueLength: d.Revision.Pod.MaxQueueLength}
		r.ID, r.State, r.UpToDate = fmt.Sprintf("r%d", i), workload.Ready, true
		r.Address = y.sidecar
		s.Replicas = append(s.Replicas, r)
	}
	y.Publish(s)
	return nil
}

func (y *yard) Remove(_ context.Context, name string) error {
	y.Feed.Remove(name, false)
	return nil
}

func (y *yard) Status(_ context.Context, name string) (engine.Status, error) {
	s, _ := y.Get(name)
	return s, nil
}

func (y *yard) Logs(context.Context, workload.LogQuery, func(workload.LogLine) error) error {
	return nil
}

func (y *yard) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// counted is the yard as one operator has it, with what that one asked it for.
type counted struct {
	*yard
	applied *atomic.Int32
}

func (c counted) Apply(ctx context.Context, d engine.Deployment) error {
	c.applied.Add(1)
	return c.yard.Apply(ctx, d)
}

// life is a program that runs.
type life struct {
	t     *testing.T
	stop  context.CancelFunc
	ended chan struct{}
	err   error
	log   *record
}

func begin(t *testing.T, log *record, run func(context.Context) error) *life {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &life{t: t, stop: stop, ended: make(chan struct{}), log: log}
	go func() {
		defer close(l.ended)
		l.err = run(ctx)
	}()
	t.Cleanup(func() {
		_ = l.end()
		if t.Failed() {
			t.Logf("log of the program:\n%s", log.text())
		}
	})
	return l
}

// end stops the program and returns what it does.
func (l *life) end() error {
	l.stop()
	<-l.ended
	return l.err
}

type operatorLife struct {
	*life
	pods                         typedcorev1.PodInterface
	pod                          string
	health, management, internal string
	audit                        *record
	applied                      atomic.Int32 // by its engine
}

// leads says whether the services would select this replica.
func (o *operatorLife) leads() bool { return o.label() == "true" }

func (o *operatorLife) label() string {
	o.t.Helper()
	pod, err := o.pods.Get(context.Background(), o.pod, metav1.GetOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	return pod.Labels[leaderLabel]
}

// ready says whether the kubelet would call it ready.
func (o *operatorLife) ready() bool {
	return status(o.t, "http://"+o.health+"/readyz") == http.StatusOK
}

func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// operator starts a replica of the operator. Its pod has the label of a leader, as one
// has whose container died.
func (p *place) operator(pod string) *operatorLife {
	p.t.Helper()
	log := &record{}
	pods := p.client.CoreV1().Pods(p.system)
	if _, err := pods.Create(p.t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: pod, Labels: map[string]string{leaderLabel: "true"}},
		Spec:       corev1.PodSpec{SchedulerName: "nobody", Containers: []corev1.Container{{Name: "operator", Image: "none"}}},
	}, metav1.CreateOptions{}); err != nil {
		p.t.Fatal(err)
	}
	o := &operatorLife{pods: pods, pod: pod, health: freePort(p.t), management: freePort(p.t), internal: freePort(p.t), audit: &record{}}
	o.life = begin(p.t, log, func(ctx context.Context) error {
		return Run(ctx, Config{
			Pod: pod, SystemNamespace: p.system, Namespace: p.workloads,
			Management: hostconfig.Management{
				Account: alice.Account, Region: "us-west-2", ClusterName: "team", STSEndpoint: p.sts,
				AuditFile: filepath.Join(p.t.TempDir(), "audit.log"), AuditOut: o.audit, AuditCopy: true,
			},
			SidecarImage: "none", GatewayAccount: "cortex-gateway", Tick: 100 * time.Millisecond, ShutdownDelay: p.stays,
			APIEndpoint: "http://apis.example.com", CapacityCheck: true, RequireAuth: p.closed, APIHosts: p.hosts, HostsHTTPS: p.tls != "", Items: p.itemSettings(),
			Listen: o.management, InternalListen: o.internal, HealthListen: o.health,
			Version: "test", Log: slog.New(slog.NewTextHandler(log, nil)),
			REST: p.rest, Engine: counted{p.yard, &o.applied},
		})
	})
	return o
}

func (p *place) leader(pod string) *operatorLife {
	p.t.Helper()
	o := p.operator(pod)
	eventually(p.t, pod+" leads", func() bool { return o.ready() && o.leads() })
	return o
}

type gatewayLife struct {
	*life
	health, apis, tls, dir string
}

// gatewayNamed is another gateway than the first.
func (p *place) gatewayNamed(pod, operator string) *gatewayLife {
	p.t.Helper()
	other := *p
	other.gatewayPod = pod
	return other.gateway(operator)
}

// gateway starts a gateway that knows the operator by an address.
func (p *place) gateway(operator string) *gatewayLife {
	p.t.Helper()
	log := &record{}
	g := &gatewayLife{health: freePort(p.t), apis: freePort(p.t), dir: p.t.TempDir()}
	cfg := gatewayd.Config{
		Pod: p.gatewayPod, SystemNamespace: p.system, Namespace: p.workloads, Items: p.itemSettings(), Operator: "https://" + operator,
		TokenFile: filepath.Join(g.dir, "token"), CAFile: filepath.Join(g.dir, "ca.crt"),
		Listen: g.apis, HealthListen: g.health, ShutdownDelay: 300 * time.Millisecond, DrainTimeout: patience,
		Version: "test", Log: slog.New(slog.NewTextHandler(log, nil)),
		REST: p.rest, Engine: p.yard,
	}
	if p.tls != "" {
		g.tls = freePort(p.t)
		cfg.TLSListen, cfg.TLSSecrets = g.tls, []string{p.tls}
	}
	if err := os.WriteFile(cfg.TokenFile, []byte(p.token("cortex-gateway", controlapi.Audience)), 0o600); err != nil {
		p.t.Fatal(err)
	}
	g.life = begin(p.t, log, func(ctx context.Context) error { return gatewayd.Run(ctx, cfg) })
	return g
}

func (p *place) itemSettings() items.Settings {
	return items.Settings{URL: p.items, Secret: ledgerSecret, Copies: 1, Region: "us-east-1", WebhookHosts: []string{"127.0.0.1"}}
}

// trust gives the gateway what the operator has published.
func (p *place) trust(g *gatewayLife) {
	p.t.Helper()
	var ca string
	eventually(p.t, "the authority is published", func() bool {
		m, err := p.client.CoreV1().ConfigMaps(p.system).Get(p.t.Context(), authorityMap, metav1.GetOptions{})
		if err == nil {
			ca = m.Data[authorityKey]
		}
		return ca != ""
	})
	if err := os.WriteFile(filepath.Join(g.dir, "ca.crt"), []byte(ca), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// client is Alice, who trusts the certificate that the operator has published.
func (p *place) alice(o *operatorLife) *httpapi.Client {
	p.t.Helper()
	var want string
	eventually(p.t, "the fingerprint is published", func() bool {
		m, err := p.client.CoreV1().ConfigMaps(p.system).Get(p.t.Context(), authorityMap, metav1.GetOptions{})
		if err == nil {
			want = m.Data[fingerprintKey]
		}
		return want != ""
	})
	endpoint := "https://" + o.management
	client, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: endpoint, TLS: &tls.Config{
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection compares the whole certificate instead
		VerifyConnection: func(state tls.ConnectionState) error {
			if got := auth.Fingerprint(state.PeerCertificates[0].Raw); got != want {
				return fmt.Errorf("the certificate is %s, want %s", got, want)
			}
			return nil
		},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(client.Close)
	keys := map[string]string{"AWS_ACCESS_KEY_ID": alice.AccessKeyID, "AWS_SECRET_ACCESS_KEY": alice.SecretAccessKey}
	return client.WithSessions(login.New(login.Config{
		Operator: client, Endpoint: endpoint, Getenv: func(name string) string { return keys[name] },
	}))
}

// status is the status of an answer, 0 when there is none.
func status(t *testing.T, url string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}
