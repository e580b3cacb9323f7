package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/workload"
)

// RoomConfig says which nodes there are and may be. REST is needed.
type RoomConfig struct {
	REST *rest.Config
	Pods PodConfig // as the engine has it
	// Largest are sizes that nodes may come to have, by group; "" is nodes of no group.
	// They are what kubectl describe node calls allocatable.
	Largest map[string][]capacity.Amount
	// Reserve is what of each node is not for APIs: requests of daemon sets.
	Reserve capacity.Amount
	Log     *slog.Logger
}

// Room knows the nodes, and by that which pods could never be placed. Its methods may
// be called before and while Run runs; until the nodes were read nothing is refused.
type Room struct {
	cfg   RoomConfig
	nodes toolscache.SharedIndexInformer

	mu   sync.Mutex
	news chan struct{} // closed when the nodes have changed
}

// NewRoom returns a room that knows the nodes once Run is called.
func NewRoom(cfg RoomConfig) (*Room, error) {
	if cfg.REST == nil {
		return nil, errors.New("the address of the Kubernetes API server is not set")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	client, err := kubernetes.NewForConfig(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("making a client of the API server: %w", err)
	}
	r := &Room{cfg: cfg, news: make(chan struct{})}
	if r.nodes, err = informerOf(client.CoreV1().Nodes(), &corev1.Node{}, metav1.ListOptions{}, trimmed(r.trimNode), toolscache.Indexers{}); err != nil {
		return nil, fmt.Errorf("preparing to watch the nodes: %w", err)
	}
	if err := r.nodes.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *toolscache.Reflector, err error) {
		cfg.Log.Warn("watching the nodes; it is tried again", "error", err)
	}); err != nil {
		return nil, err
	}
	_, err = r.nodes.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { r.changed() }, DeleteFunc: func(any) { r.changed() },
		UpdateFunc: r.updated,
	})
	return r, err
}

// Run follows the nodes until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	r.nodes.RunWithContext(ctx)
	return nil
}

// Wait returns whether the nodes were read, and waits a few seconds for that.
func (r *Room) Wait(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return toolscache.WaitForCacheSync(ctx.Done(), r.nodes.HasSynced)
}

// Changes calls fn, and again after the nodes have changed, once for changes that come together,
// until ctx ends. It returns ctx's error.
func (r *Room) Changes(ctx context.Context, fn func()) error {
	for {
		r.mu.Lock()
		news := r.news // of what comes after what fn sees
		r.mu.Unlock()
		fn()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
	}
}

// updated hears of every heartbeat too.
func (r *Room) updated(was, is any) {
	if !alike(was, is) {
		r.changed()
	}
}

func (r *Room) changed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.news)
	r.news = make(chan struct{})
}

// Against returns why pods of s could never be placed: a group that it names does not
// exist, or no node that it may use is large enough. None when they could, or when
// nobody knows. Nodes that are cordoned or not ready count: they may come back.
func (r *Room) Against(s *workload.Spec) []workload.Violation {
	if !r.nodes.HasSynced() {
		return nil
	}
	return r.against(s, r.known())
}

// Zones reports whether every node is in a zone, and not all in one.
func (r *Room) Zones() bool { return severalZones(r.known()) }

func severalZones(nodes []*corev1.Node) bool {
	zones := map[string]bool{}
	for _, n := range nodes {
		zones[n.Labels[corev1.LabelTopologyZone]] = true
	}
	return len(zones) > 1 && !zones[""]
}

func (r *Room) against(s *workload.Spec, nodes []*corev1.Node) []workload.Violation {
	if s.Pod == nil || len(nodes) == 0 {
		return nil
	}
	if unknown := r.unknown(s.NodeGroups, nodes); len(unknown) > 0 {
		return unknown
	}
	if len(s.Pod.NodeSelector) > 0 {
		return nil // which nodes may come to have these labels, nobody knows
	}
	refusal := capacity.Decide(requestsOf(r.cfg.Pods, s), r.groups(s, nodes))
	if refusal == nil {
		return nil
	}
	return []workload.Violation{{Path: "pod", Code: workload.CodeNoCapacity, Message: refusal.String(), Hint: r.advice(s)}}
}

func (r *Room) known() []*corev1.Node {
	var nodes []*corev1.Node
	for _, o := range r.nodes.GetStore().List() {
		if n, ok := o.(*corev1.Node); ok {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// unknown returns the groups of a file that are neither configured nor have a node.
func (r *Room) unknown(named []string, nodes []*corev1.Node) (problems []workload.Violation) {
	known := r.names(nodes)
	for i, name := range named {
		if slices.Contains(known, name) {
			continue
		}
		v := workload.Violation{
			Path: fmt.Sprintf("node_groups[%d]", i), Code: workload.CodeNoNodeGroup, Message: "there is no node group with this name", Found: name,
			Allowed: strings.Join(first(known, shownGroups), ", "),
			Hint:    "if its nodes are yet to come, add it to nodeGroups in the values of the installation",
		}
		if len(known) == 0 {
			v.Message = "this cluster has no node groups"
			v.Hint = fmt.Sprintf("leave node_groups out, or add the group to nodeGroups in the values of the installation and label its nodes %s=%s", r.cfg.Pods.nodeLabel(), name)
		}
		problems = append(problems, v)
	}
	return problems
}

const shownGroups = 10 // of a list of groups

func first(list []string, n int) []string {
	if len(list) > n {
		return append(slices.Clone(list[:n]), fmt.Sprintf("and %d more", len(list)-n))
	}
	return list
}

// names returns every group: those that are configured, then those of other nodes.
func (r *Room) names(nodes []*corev1.Node) []string {
	var names, others []string
	for _, g := range r.cfg.Pods.NodeGroups {
		names = append(names, g.Name)
	}
	for _, n := range nodes {
		if g := r.groupOf(n); g != "" && !slices.Contains(names, g) {
			others = append(others, g)
		}
	}
	slices.Sort(others)
	return append(names, slices.Compact(others)...)
}

func (r *Room) groupOf(n *corev1.Node) string { return n.Labels[r.cfg.Pods.nodeLabel()] }

// groups returns what pods of s may be placed on, as affinityOf says it: the groups
// that s names, or every node where it names none.
func (r *Room) groups(s *workload.Spec, nodes []*corev1.Node) []capacity.Group {
	names := s.NodeGroups
	if len(names) == 0 {
		names = append(r.names(nodes), "")
	}
	tolerations := tolerationsOf(r.cfg.Pods, s)
	members := map[string][]*corev1.Node{}
	for _, n := range nodes {
		members[r.groupOf(n)] = append(members[r.groupOf(n)], n)
	}
	var groups []capacity.Group
	for _, name := range names {
		largest := r.cfg.Largest[name]
		if name == "" && len(s.NodeGroups) == 0 && len(members[""]) == 0 && len(largest) == 0 {
			continue // no such nodes, and nobody speaks of any
		}
		g := capacity.Group{Name: name}
		for _, n := range members[name] {
			if taint := keptBy(n.Spec.Taints, tolerations); taint != "" {
				g.Closed = "not for it: " + taint
				continue
			}
			g.Sizes = append(g.Sizes, sizeOf(n).Less(r.cfg.Reserve))
		}
		if len(g.Sizes) > 0 {
			g.Closed = ""
		}
		for _, size := range largest {
			g.Sizes = append(g.Sizes, size.Less(r.cfg.Reserve))
		}
		groups = append(groups, g)
	}
	return groups
}

func (r *Room) advice(s *workload.Spec) string {
	words := []string{"ask for less (compute)"}
	if len(s.NodeGroups) > 0 {
		words = append(words, "name other node_groups")
	}
	value := "capacity.largest"
	if len(r.cfg.Pods.NodeGroups) > 0 {
		value = "nodeGroups[].largest"
	}
	return strings.Join(words, ", ") + ", or add larger nodes; if the cluster adds them when they are needed, say so in the values of the installation (" + value + ")"
}

// requestsOf is what the scheduler will see of each container, the sidecar last.
func requestsOf(cfg PodConfig, s *workload.Spec) []capacity.Request {
	pod := podOf(cfg, &workload.Revision{Spec: *s})
	return requestsIn(&pod)
}

// requestsIn counts the sidecar with the containers, as Kubernetes does: it is there
// as long as they are. Huge pages are not looked at: a node is given them, or not, by
// its own configuration, which may change.
func requestsIn(pod *corev1.PodSpec) []capacity.Request {
	var requests []capacity.Request
	for _, c := range pod.Containers {
		requests = append(requests, capacity.Request{Name: c.Name, Amount: amountOf(c.Resources.Requests)})
	}
	for _, c := range pod.InitContainers {
		requests = append(requests, capacity.Request{Name: c.Name + " (sidecar)", Amount: amountOf(c.Resources.Requests)})
	}
	return requests
}

func amountOf(list corev1.ResourceList) capacity.Amount {
	gpu, inf := list[gpuResource], list[infResource]
	return capacity.Amount{CPU: list.Cpu().MilliValue(), Mem: list.Memory().Value(), GPU: gpu.Value(), Inf: inf.Value()}
}

// sizeOf is what pods may take of a node that is otherwise empty. Devices are counted
// whether or not they work now: a plugin that is started anew takes them back for a
// moment.
func sizeOf(n *corev1.Node) capacity.Amount {
	size, all := amountOf(n.Status.Allocatable), amountOf(n.Status.Capacity)
	size.GPU, size.Inf = max(size.GPU, all.GPU), max(size.Inf, all.Inf)
	return size
}

// passing are beginnings of the keys of taints that go away by themselves: of nodes
// that are cordoned, not ready, starting or being removed.
var passing = []string{
	"node.kubernetes.io/", "node.cloudprovider.kubernetes.io/", "startup-taint.cluster-autoscaler.kubernetes.io/",
	"status-taint.cluster-autoscaler.kubernetes.io/", "ToBeDeletedByClusterAutoscaler", "DeletionCandidateOfClusterAutoscaler",
	"karpenter.sh/", "node.cilium.io/agent-not-ready", "ebs.csi.aws.com/agent-not-ready", "efs.csi.aws.com/agent-not-ready",
}

// keptBy returns the taint that keeps pods with these tolerations off a node for good;
// "" when none does.
func keptBy(taints []corev1.Taint, tolerations []corev1.Toleration) string {
	for _, t := range taints {
		tolerated := slices.ContainsFunc(tolerations, func(o corev1.Toleration) bool {
			return o.Key == t.Key && (o.Operator == corev1.TolerationOpExists || o.Value == t.Value) && (o.Effect == "" || o.Effect == t.Effect)
		})
		passes := slices.ContainsFunc(passing, func(beginning string) bool { return strings.HasPrefix(t.Key, beginning) })
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerated && !passes {
			return "its taint is " + t.ToString()
		}
	}
	return ""
}

// trimNode keeps what decides here: clusters may have thousands of nodes.
func (r *Room) trimNode(n *corev1.Node) *corev1.Node {
	out := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, UID: n.UID, ResourceVersion: n.ResourceVersion}}
	for _, label := range []string{r.cfg.Pods.nodeLabel(), corev1.LabelTopologyZone} {
		if value := n.Labels[label]; value != "" {
			if out.Labels == nil {
				out.Labels = map[string]string{}
			}
			out.Labels[label] = value
		}
	}
	out.Spec.Taints = n.Spec.Taints
	out.Status.Allocatable, out.Status.Capacity = trimResources(n.Status.Allocatable), trimResources(n.Status.Capacity)
	return out
}

func trimResources(list corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, gpuResource, infResource} {
		if q, ok := list[name]; ok {
			out[name] = q
		}
	}
	return out
}

// alike reports whether two states of a node differ in nothing that decides here.
func alike(was, is any) bool {
	a, ok := was.(*corev1.Node)
	b, also := is.(*corev1.Node)
	return ok && also && reflect.DeepEqual(a.Labels, b.Labels) && reflect.DeepEqual(a.Spec.Taints, b.Spec.Taints) && sizeOf(a) == sizeOf(b)
}
