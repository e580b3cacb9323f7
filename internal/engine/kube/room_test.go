package kube

import (
	"context"
	"maps"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"pgregory.net/rapid"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/workload"
)

func amounts(cpu, mem, gpu string) corev1.ResourceList {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(mem)}
	if gpu != "0" {
		list[gpuResource] = resource.MustParse(gpu)
	}
	return list
}

func node(name, group string, has corev1.ResourceList, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"a": "b"}}}
	if group != "" {
		n.Labels = map[string]string{defaultNodeLabel: group}
	}
	n.Spec.Taints = taints
	n.Status.Allocatable, n.Status.Capacity = has, maps.Clone(has)
	return n
}

func taint(key, value string) corev1.Taint {
	return corev1.Taint{Key: key, Value: value, Effect: corev1.TaintEffectNoSchedule}
}

// asking is an API with one container that asks for so much.
func asking(cpu, mem string, gpu int64, groups ...string) *workload.Spec {
	c, m := workload.MustQuantity(cpu), workload.MustQuantity(mem)
	port := int32(8080)
	return &workload.Spec{Name: "iris", Kind: workload.Realtime, NodeGroups: groups, Pod: &workload.Pod{
		Port: &port, MaxConcurrency: 1, Containers: []workload.Container{{Name: "api", Image: "i", Compute: &workload.Compute{CPU: &c, Mem: &m, GPU: gpu}}},
	}}
}

// roomOf is a room with these nodes, as its cache would keep them. Reading them is
// tested on a cluster.
func roomOf(t *testing.T, cfg RoomConfig, nodes ...*corev1.Node) (*Room, []*corev1.Node) {
	t.Helper()
	if cfg.Pods.Namespace == "" {
		cfg.Pods = plain
	}
	cfg.REST = &rest.Config{Host: "http://127.0.0.1:1"}
	r, err := NewRoom(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if early := r.Against(asking("1000", "1Gi", 0, "none")); early != nil {
		t.Errorf("Against() before the nodes were read = %v, want nothing", early)
	}
	var kept []*corev1.Node
	for _, n := range nodes {
		kept = append(kept, r.trimNode(n))
	}
	return r, kept
}

func grouped() PodConfig {
	cfg := plain
	cfg.NodeGroups = []NodeGroup{{Name: "cpu", Priority: 1}, {Name: "gpu", Priority: 5, Taints: []workload.Toleration{{Key: gpuResource}}}}
	return cfg
}

func TestAgainst(t *testing.T) {
	t.Parallel()
	small := node("small", "", amounts("4", "8Gi", "0"))
	cpu := node("cpu-1", "cpu", amounts("8", "16Gi", "0"))
	gpu := node("gpu-1", "gpu", amounts("4", "60Gi", "2"), taint(gpuResource, "true"))
	restarting := node("gpu-2", "gpu", amounts("4", "60Gi", "2"))
	restarting.Status.Allocatable = amounts("4", "60Gi", "0")
	cordoned := node("away", "", amounts("64", "8Gi", "0"), taint(corev1.TaintNodeUnschedulable, ""), corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute})
	for _, tt := range []struct {
		name  string
		cfg   RoomConfig
		nodes []*corev1.Node
		spec  *workload.Spec
		code  string // empty: not refused
		says  string
	}{
		{name: "fits with its sidecar", nodes: []*corev1.Node{small}, spec: asking("3900m", "8092Mi", 0)},
		{name: "does not fit with its sidecar", nodes: []*corev1.Node{small}, spec: asking("4", "1Gi", 0), code: workload.CodeNoCapacity, says: "enough cpu"},
		{name: "what daemon sets take", nodes: []*corev1.Node{small}, cfg: RoomConfig{Reserve: capacity.Amount{CPU: 300}}, spec: asking("3700m", "1Gi", 0), code: workload.CodeNoCapacity, says: "a node of no group  3.7"},
		{name: "nobody knows a node", spec: asking("1000", "1Gi", 0)},
		{name: "a node may come", nodes: []*corev1.Node{small}, cfg: RoomConfig{Largest: map[string][]capacity.Amount{"": {{CPU: 96000, Mem: 1 << 40}}}}, spec: asking("64", "100Gi", 0)},
		{name: "cordoned and not ready", nodes: []*corev1.Node{small, cordoned}, spec: asking("60", "1Gi", 0)},
		{name: "any group", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{small, cpu, gpu}, spec: asking("7", "1Gi", 0)},
		{name: "a node of no group will do", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{cordoned, cpu, gpu}, spec: asking("60", "1Gi", 0)},
		{name: "only the named group", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{small, cpu, gpu}, spec: asking("7", "1Gi", 1, "gpu"), code: workload.CodeNoCapacity, says: "enough cpu"},
		{name: "a tainted group, tolerated", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{cpu, gpu}, spec: asking("1", "50Gi", 2)},
		{name: "a tainted group, not tolerated", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{cpu, gpu}, spec: asking("1", "50Gi", 0), code: workload.CodeNoCapacity, says: "a node of gpu  not for it: its taint is nvidia.com/gpu=true:NoSchedule"},
		{name: "a tainted group, named", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{cpu, gpu}, spec: asking("1", "50Gi", 0, "gpu")},
		{name: "nothing but closed nodes", nodes: []*corev1.Node{node("db", "", amounts("1", "1Gi", "0"), taint("dedicated", "db"))}, spec: asking("8", "1Gi", 0)},
		{name: "devices come back", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{restarting}, spec: asking("1", "1Gi", 2, "gpu")},
		{name: "more devices than there are", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{cpu, restarting}, spec: asking("1", "1Gi", 4, "gpu", "cpu"), code: workload.CodeNoCapacity, says: "enough gpu"},
		{name: "a group of unknown size", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{cpu}, spec: asking("1000", "1Gi", 0)},
		{name: "a group scaled from zero", cfg: RoomConfig{Pods: grouped(), Largest: map[string][]capacity.Amount{"gpu": {{CPU: 8000, Mem: 1 << 35, GPU: 4}}}}, nodes: []*corev1.Node{cpu}, spec: asking("7", "16Gi", 4, "gpu")},
		{name: "more than it will be", cfg: RoomConfig{Pods: grouped(), Largest: map[string][]capacity.Amount{"gpu": {{CPU: 8000, Mem: 1 << 35, GPU: 4}}}}, nodes: []*corev1.Node{cpu}, spec: asking("7", "16Gi", 5, "gpu"), code: workload.CodeNoCapacity, says: "enough gpu"},
		{name: "a group by its label alone", nodes: []*corev1.Node{cpu}, spec: asking("1", "1Gi", 0, "cpu")},
		{name: "no such group", cfg: RoomConfig{Pods: grouped()}, nodes: []*corev1.Node{cpu}, spec: asking("1", "1Gi", 0, "cpu", "gpus"), code: workload.CodeNoNodeGroup, says: "there is no node group with this name"},
		{name: "no groups at all", nodes: []*corev1.Node{small}, spec: asking("1", "1Gi", 0, "gpu"), code: workload.CodeNoNodeGroup, says: "this cluster has no node groups"},
		{name: "a splitter", nodes: []*corev1.Node{small}, spec: &workload.Spec{Name: "s", Kind: workload.Splitter}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, nodes := roomOf(t, tt.cfg, tt.nodes...)
			got := r.against(tt.spec, nodes)
			if tt.code == "" {
				if len(got) > 0 {
					t.Errorf("Against() = %+v, want nothing", got)
				}
				return
			}
			if len(got) != 1 || got[0].Code != tt.code || !strings.Contains(got[0].Message, tt.says) || got[0].Hint == "" {
				t.Errorf("Against() = %+v, want %s with %q and what to do", got, tt.code, tt.says)
			}
		})
	}
}

func TestUnknownGroupsAreNamed(t *testing.T) {
	t.Parallel()
	r, nodes := roomOf(t, RoomConfig{Pods: grouped()}, node("a", "spot", amounts("1", "1Gi", "0")))
	want := []workload.Violation{{
		Path: "node_groups[1]", Code: workload.CodeNoNodeGroup, Message: "there is no node group with this name", Found: "gpus", Allowed: "cpu, gpu, spot",
		Hint: "if its nodes are yet to come, add it to nodeGroups in the values of the installation",
	}}
	if diff := cmp.Diff(want, r.against(asking("1", "1Gi", 0, "spot", "gpus"), nodes)); diff != "" {
		t.Errorf("Against() (-want +got):\n%s", diff)
	}
}

// Only what may change an answer is told: nodes report every few minutes.
func TestRoomChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, _ := roomOf(t, RoomConfig{})
		n := node("a", "", amounts("4", "8Gi", "0"))
		heard := 0
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Changes(ctx, func() { heard++ }) }()
		synctest.Wait()
		for _, tt := range []struct {
			name   string
			change func(*corev1.Node)
			want   int
		}{
			{"a heartbeat", func(n *corev1.Node) { n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady}} }, 0},
			{"another size", func(n *corev1.Node) { n.Status.Allocatable = amounts("8", "8Gi", "0") }, 1},
			{"a taint", func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{taint("a", "b")} }, 1},
			{"a group", func(n *corev1.Node) { n.Labels = map[string]string{defaultNodeLabel: "cpu", "other": "x"} }, 1},
			{"another label", func(n *corev1.Node) { n.Labels["other"] = "y" }, 0},
		} {
			heard = 0
			was := r.trimNode(n.DeepCopy())
			tt.change(n)
			r.updated(was, r.trimNode(n))
			synctest.Wait()
			if heard != tt.want {
				t.Errorf("%s was told %d times, want %d", tt.name, heard, tt.want)
			}
		}
		cancel()
		if err := <-ended; err == nil {
			t.Error("Changes() = nil, want that its context has ended")
		}
	})
}

// What is compared with nodes is what pods ask for, whatever a file says.
func TestRequestsAreThoseOfThePod(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r, cfg := anyRevision(t, "r"), anyConfig(t, "cfg")
		pod := templateOf(cfg, r).Spec
		var cpu, gpu resource.Quantity
		for _, c := range append(pod.InitContainers, pod.Containers...) {
			cpu.Add(*c.Resources.Requests.Cpu())
			gpu.Add(c.Resources.Requests[gpuResource])
		}
		got := capacity.Total(requestsOf(cfg, &r.Spec))
		if got.CPU != cpu.MilliValue() || got.GPU != gpu.Value() || got.CPU < 100 {
			t.Fatalf("requestsOf() = %+v, want %s cpu and %s gpu", got, cpu.String(), gpu.String())
		}
	})
}

func TestSeveralZones(t *testing.T) {
	t.Parallel()
	in := func(zones ...string) (nodes []*corev1.Node) {
		for _, z := range zones {
			n := &corev1.Node{}
			if z != "" {
				n.Labels = map[string]string{corev1.LabelTopologyZone: z}
			}
			nodes = append(nodes, n)
		}
		return nodes
	}
	for _, tt := range []struct {
		name  string
		nodes []*corev1.Node
		want  bool
	}{
		{"no nodes", nil, false},
		{"no zones", in("", ""), false},
		{"one zone", in("a", "a"), false},
		{"two zones", in("a", "b", "a"), true},
		// The scheduler would not look whether that node is a good one.
		{"a node without a zone", in("a", "b", ""), false},
	} {
		if got := severalZones(tt.nodes); got != tt.want {
			t.Errorf("%s: severalZones() = %v, want %v", tt.name, got, tt.want)
		}
	}
}
