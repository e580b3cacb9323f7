package install

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	release "helm.sh/helm/v4/pkg/release/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/serviceaddr"
)

func TestObstacles(t *testing.T) {
	t.Parallel()
	good := facts{Version: "1.36.3", DNS: true, Nodes: 2}
	for _, tt := range []struct {
		name   string
		change func(*facts)
		want   []string
	}{
		{"none", func(*facts) {}, nil},
		{"the oldest", func(f *facts) { f.Version = "1.29.0" }, nil},
		{"of a cloud", func(f *facts) { f.Version = "1.30.4-eks-a1b2c3" }, nil},
		{"too old", func(f *facts) { f.Version = "1.28.15-gke.1" }, []string{"kubernetes 1.28.15-gke.1 is too old: sidecars need 1.29 or newer"}},
		{"no version", func(f *facts) { f.Version = "" }, []string{`the cluster reports an invalid version ""`}},
		{"rights", func(f *facts) { f.Denied = []string{"create namespaces", "patch roles in namespace x"} }, []string{"you may not create namespaces, patch roles in namespace x"}},
		{"no dns", func(f *facts) { f.DNS = false }, []string{"the cluster has no working DNS, by which gateways find the operator"}},
		{"dns may not be looked at", func(f *facts) { f.DNS, f.DNSUnknown = false, true }, nil},
		{"no node", func(f *facts) { f.Nodes = 0 }, []string{"no node is ready and takes pods"}},
		{"nodes may not be looked at", func(f *facts) { f.Nodes = -1 }, nil},
		{"being removed", func(f *facts) { f.Ending = []string{"cortex", "cortex-apis"} }, []string{"namespace cortex is being removed", "namespace cortex-apis is being removed"}},
		{"no namespace", func(f *facts) { f.NoAPIs = "models" }, []string{"namespace models does not exist"}},
		{"no monitors", func(f *facts) { f.Unknown = []string{"ServiceMonitor", "PodMonitor"} }, []string{"the cluster does not know the kinds ServiceMonitor, PodMonitor"}},
		{"no certificate", func(f *facts) { f.Secret = "secret x does not exist" }, []string{"secret x does not exist"}},
		{"no images", func(f *facts) { f.Images = []string{"r.example/operator:1", "r.example/sidecar:1"} }, []string{"the image r.example/operator:1 does not exist", "the image r.example/sidecar:1 does not exist"}},
		{"nothing measures", func(f *facts) { f.Metrics = true }, []string{"the cluster does not measure pods (metrics.k8s.io)"}},
		{"names that are taken", func(f *facts) {
			f.Foreign = []foreigner{{"service cortex-gateway in namespace cortex", "Service", "not of Helm"}, {"namespace models", "Namespace", "not of Helm"}}
		}, []string{"service cortex-gateway in namespace cortex is there already, not of Helm", "namespace models is there already, not of Helm"}},
		{"shared apis", func(f *facts) { f.Shared = "namespace x belongs to the installation in namespace y" }, []string{"namespace x belongs to the installation in namespace y"}},
		{"other definitions", func(f *facts) { f.Diverged = []string{"the definition a serves b"} }, []string{"the definition a serves b"}},
		{"all at once", func(f *facts) { *f = facts{Version: "1.20.0"} }, []string{
			"kubernetes 1.20.0 is too old: sidecars need 1.29 or newer", "the cluster has no working DNS, by which gateways find the operator", "no node is ready and takes pods"}},
	} {
		f := good
		tt.change(&f)
		var got []string
		for _, o := range obstacles(f) {
			got = append(got, o.what)
			if o.do == "" {
				t.Errorf("%s: %q says not what to do", tt.name, o.what)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: obstacles (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestUsable(t *testing.T) {
	t.Parallel()
	node := func(ready corev1.ConditionStatus, cordoned bool) corev1.Node {
		return corev1.Node{Spec: corev1.NodeSpec{Unschedulable: cordoned}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue}, {Type: corev1.NodeReady, Status: ready}}}}
	}
	if got := usable([]corev1.Node{node("True", false), node("True", true), node("False", false), node("Unknown", false)}); got != 1 {
		t.Errorf("usable(ready, cordoned, not ready, lost) = %d, want 1", got)
	}
}

// deployment returns one with the given spec and status.
func deployment(replicas, observed, updated, total, available int32) *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Generation: 2},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas},
		Status:     appsv1.DeploymentStatus{ObservedGeneration: int64(observed), UpdatedReplicas: updated, Replicas: total, AvailableReplicas: available},
	}
}

func podOf(t *testing.T, text string) corev1.Pod {
	t.Helper()
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
		t.Fatal(err)
	}
	pod.Name, pod.Namespace = "cortex-gateway-1", "cortex"
	return pod
}

const (
	pulling = `status: {containerStatuses: [{name: gateway, image: cortex.dev/gateway:9, imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: ImagePullBackOff, message: "not found"}}}]}`
	first   = `status: {containerStatuses: [{name: gateway, image: cortex.dev/gateway:9, imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: ErrImagePull, message: "timeout"}}}]}`
	crash   = `status: {containerStatuses: [{name: gateway, image: i, imageID: "", ready: false, restartCount: 3, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 2, message: "error: --region is missing"}}}]}`
	oom     = `status: {containerStatuses: [{name: gateway, image: i, imageID: "", ready: false, restartCount: 1, state: {running: {}}, lastState: {terminated: {exitCode: 137, reason: OOMKilled}}}]}`
	full    = `status: {conditions: [{type: PodScheduled, status: "False", reason: Unschedulable, message: "0/1 nodes are available"}]}`
	config  = `status: {containerStatuses: [{name: operator, image: i, imageID: "", ready: false, restartCount: 0, state: {waiting: {reason: CreateContainerConfigError, message: "secret \"x\" not found"}}}]}`
	fine    = `status: {containerStatuses: [{name: gateway, image: i, imageID: "", ready: true, restartCount: 0, state: {running: {}}}]}`
	leads   = `metadata: {labels: {cortex.dev/leader: "true"}}`
	leaving = "metadata: {deletionTimestamp: \"2030-01-01T00:00:00Z\"}\n" + crash
)

func TestJudge(t *testing.T) {
	t.Parallel()
	operator, gateway := programs[0], programs[1]
	for _, tt := range []struct {
		name     string
		p        program
		d        *appsv1.Deployment
		pods     []string
		done     bool
		hopeless bool
		why      string
	}{
		{"all there", gateway, deployment(2, 2, 2, 2, 2), nil, true, false, ""},
		{"one of the operator leads", operator, deployment(2, 2, 2, 2, 2), []string{fine, leads}, true, false, ""},
		{"no operator leads", operator, deployment(2, 2, 2, 2, 2), []string{fine, fine}, false, false, "no replica leads yet"},
		{"no operator is there", operator, deployment(2, 2, 2, 2, 0), nil, false, false, "0 of 2 are available"},
		{"not looked at yet", gateway, deployment(2, 1, 2, 2, 2), nil, false, false, "2 of 2 are available"},
		{"old ones are left", gateway, deployment(2, 2, 2, 3, 3), nil, false, false, "3 of 2 are available"},
		{"not all are new", gateway, deployment(2, 2, 1, 2, 2), nil, false, false, "2 of 2 are available"},
		{"waits", gateway, deployment(2, 2, 2, 2, 1), []string{fine}, false, false, "1 of 2 are available"},
		{"no image", gateway, deployment(2, 2, 2, 2, 0), []string{pulling}, false, true, "pod cortex-gateway-1: image cortex.dev/gateway:9 cannot be pulled: not found"},
		{"the first attempt", gateway, deployment(2, 2, 2, 2, 0), []string{first}, false, false, "pod cortex-gateway-1: image cortex.dev/gateway:9 cannot be pulled: timeout"},
		{"ends again and again", gateway, deployment(2, 2, 2, 2, 0), []string{crash}, false, true, "pod cortex-gateway-1: the program ended with exit code 2 (3 restarts): error: --region is missing"},
		{"ends, and goes", gateway, deployment(2, 2, 2, 2, 0), []string{leaving}, false, false, "0 of 2 are available"},
		{"memory", gateway, deployment(2, 2, 2, 2, 0), []string{oom}, false, false, "pod cortex-gateway-1: the program was killed for its memory (1 restarts)"},
		{"no room", gateway, deployment(2, 2, 2, 2, 0), []string{full}, false, false, "pod cortex-gateway-1: no node takes it: 0/1 nodes are available"},
		{"no secret", operator, deployment(2, 2, 2, 2, 0), []string{config}, false, false, `pod cortex-gateway-1: secret "x" not found`},
	} {
		var pods []corev1.Pod
		for _, text := range tt.pods {
			pods = append(pods, podOf(t, text))
		}
		got := judge(tt.p, tt.d, pods)
		if got.done != tt.done || got.hopeless != tt.hopeless || got.why != tt.why {
			t.Errorf("%s: judge = %+v, want done %v, hopeless %v, %q", tt.name, got, tt.done, tt.hopeless, tt.why)
		}
		if !got.done && got.do == "" {
			t.Errorf("%s: judge says not what to do", tt.name)
		}
	}
}

func TestJudgeRefusedPods(t *testing.T) {
	t.Parallel()
	d := deployment(2, 2, 0, 0, 0)
	d.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentReplicaFailure, Status: corev1.ConditionTrue, Message: `pods "cortex-gateway-" is forbidden: exceeded quota`}}
	if got := judge(programs[1], d, nil); !strings.Contains(got.why, "exceeded quota") {
		t.Errorf("judge(refused pods).why = %q, want what the cluster says", got.why)
	}
}

func TestJudgeOperator(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	lease := func(holder string, ago time.Duration) *coordinationv1.Lease {
		seconds := int32(15)
		renewed := metav1.NewMicroTime(now.Add(-ago))
		return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed}}
	}
	for _, tt := range []struct {
		name  string
		p     progress
		lease *coordinationv1.Lease
		ok    bool
		want  string
	}{
		{"leads", progress{done: true}, lease("a", 15*time.Second), true, "a leads"},
		{"has led", progress{done: true}, lease("a", 16*time.Second), false, "no replica leads"},
		{"has given it back", progress{done: true}, lease("", time.Second), false, "no replica leads"},
		{"never", progress{why: "no node takes it"}, nil, false, "no replica leads: no node takes it"},
		{"an update is stuck", progress{why: "no image"}, lease("a", time.Second), false, "a leads, but no image"},
		{"not a lease yet", progress{done: true}, &coordinationv1.Lease{}, false, "no replica leads"},
	} {
		got := judgeOperator(tt.p, tt.lease, now)
		if got.OK != tt.ok || got.Text != tt.want {
			t.Errorf("%s: judgeOperator = %v, %q, want %v, %q", tt.name, got.OK, got.Text, tt.ok, tt.want)
		}
	}
}

func TestEndpointOf(t *testing.T) {
	t.Parallel()
	const operator, gateway = `[{name: https, port: 443, nodePort: 30443}]`, `[{name: http, port: 80, nodePort: 30080}]`
	for _, tt := range []struct{ name, service, want string }{
		{"no address yet", "spec: {type: LoadBalancer, ports: " + operator + "}", ""},
		{"host name", "spec: {type: LoadBalancer, ports: " + operator + "}\nstatus: {loadBalancer: {ingress: [{hostname: lb.example.com}]}}", "https://lb.example.com"},
		{"address", "spec: {type: LoadBalancer, ports: " + gateway + "}\nstatus: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}", "http://192.0.2.1"},
		{"address of version 6", "spec: {type: LoadBalancer, ports: " + gateway + "}\nstatus: {loadBalancer: {ingress: [{ip: \"2001:db8::1\"}]}}", "http://[2001:db8::1]"},
		{"port of a node", "spec: {type: NodePort, ports: " + operator + "}", "https://203.0.113.9:30443"},
		{"inside", "spec: {type: ClusterIP, ports: " + gateway + "}", "http://s.cortex.svc"},
		{"with a certificate", "spec: {type: ClusterIP, ports: [{name: http, port: 80}, {name: https, port: 443}]}", "https://s.cortex.svc"},
		{"no port", "spec: {type: ClusterIP}", ""},
	} {
		var s corev1.Service
		if err := yaml.UnmarshalStrict([]byte(tt.service), &s); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		s.Name, s.Namespace = "s", "cortex"
		if got := serviceaddr.Endpoint(&s, func() string { return "203.0.113.9" }); got != tt.want {
			t.Errorf("%s: Endpoint = %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestCanInstall(t *testing.T) {
	t.Parallel()
	for status, code := range map[common.Status]string{
		common.StatusFailed: "", common.StatusUninstalled: "",
		common.StatusDeployed: "install.exists", common.StatusSuperseded: "install.exists",
		common.StatusPendingInstall: "install.interrupted", common.StatusPendingUpgrade: "install.interrupted", common.StatusUninstalling: "install.interrupted",
	} {
		before := &release.Release{Info: &release.Info{Status: status}, Chart: &chart.Chart{Metadata: &chart.Metadata{AppVersion: "1"}}}
		err := canInstall(before, "cortex")
		if got := fault.Code(err); (err == nil) != (code == "") || err != nil && got != code {
			t.Errorf("canInstall(%s) = %v, want %q", status, err, code)
		}
	}
	if err := canInstall(nil, "cortex"); err != nil {
		t.Errorf("canInstall(nothing) = %v, want nil", err)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	got, err := Values([][]byte{
		[]byte("gateway: {replicas: 2, drainSeconds: 5}\ntick: 1s\n"),
		[]byte("gateway: {replicas: 3}\n"),
	}, []string{"gateway.drainSeconds=7", "operator.loadBalancer.cidrs={10.0.0.0/8,192.0.2.0/24}"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"tick": "1s", "gateway": map[string]any{"replicas": 3.0, "drainSeconds": int64(7)},
		"operator": map[string]any{"loadBalancer": map[string]any{"cidrs": []any{"10.0.0.0/8", "192.0.2.0/24"}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Values (-want +got):\n%s", diff)
	}
	for _, tt := range []struct {
		name string
		file string
		set  string
	}{{"no yaml", "a: [", "a=1"}, {"no map", "- a", "a=1"}, {"no assignment", "a: 1", "a"}} {
		if _, err := Values([][]byte{[]byte(tt.file)}, []string{tt.set}); !fault.Is(err, fault.Usage) {
			t.Errorf("%s: Values = %v, want a mistake of usage", tt.name, err)
		}
	}
}

func TestMergeChangesNeither(t *testing.T) {
	t.Parallel()
	base := map[string]any{"a": map[string]any{"b": 1, "c": 2}}
	over := map[string]any{"a": map[string]any{"b": 3}, "d": 4}
	if diff := cmp.Diff(map[string]any{"a": map[string]any{"b": 3, "c": 2}, "d": 4}, Merge(base, over)); diff != "" {
		t.Errorf("Merge (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"a": map[string]any{"b": 1, "c": 2}}, base); diff != "" {
		t.Errorf("Merge changed its first argument:\n%s", diff)
	}
}

func TestAsFault(t *testing.T) {
	t.Parallel()
	if got := fault.Code(asFault("installing", errors.New("kubernetes cluster unreachable: dial"))); got != "install.unreachable" {
		t.Errorf("asFault(unreachable) has code %q, want install.unreachable", got)
	}
	if asFault("installing", nil) != nil {
		t.Error("asFault(nil) is an error")
	}
}
