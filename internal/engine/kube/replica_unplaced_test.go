package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// What the scheduler says, in words; messages are those of Kubernetes 1.29 to 1.36.
func TestUnschedulableSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	inGroup := affinityOf(plain, []string{"gpu"})
	for _, tt := range []struct {
		name, says string
		affinity   *corev1.Affinity
		want, fix  string // the end of the message, the beginning of the fix
	}{
		{
			"too little", "0/3 nodes are available: 1 Insufficient memory, 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod.", nil,
			"it asks for 1.5 cpu and 2Gi mem; of 3 nodes 1 has too little mem left, all have too little cpu left", "ask for less (compute), stop something else, or add nodes; ",
		},
		{
			"too little in a group", "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/3 …", inGroup,
			"it asks for 1.5 cpu and 2Gi mem on a node of gpu; of 3 nodes 1 has too little cpu left, 2 are of no such group", "ask for less (compute), stop something else, or add nodes to gpu (their label is cortex.dev/node-group); ",
		},
		{
			"an empty group", "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: …", inGroup,
			"of 2 nodes all are of no such group", "add nodes to gpu (their label is cortex.dev/node-group), or name other node_groups; ",
		},
		{
			"the only node", "0/1 nodes are available: 1 Insufficient aws.amazon.com/neuron. no new claims to deallocate, preemption: …", nil,
			"the only node has too little inf left", "ask for less",
		},
		{
			"the only node, in several ways", "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) had volume node affinity conflict.", nil,
			"the only node has too little cpu left, has too little mem left, is refused: node(s) had volume node affinity conflict", "ask for less",
		},
		{
			"too little, and cordoned", "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable. preemption: …", nil,
			"of 2 nodes 1 has too little cpu left, 1 is cordoned", "ask for less (compute), stop something else, add nodes, or bring back those that are away",
		},
		{
			"cordoned", "0/2 nodes are available: 2 node(s) were unschedulable.", nil,
			"of 2 nodes all are cordoned", "bring the nodes back",
		},
		{
			"ill", "0/3 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }, 2 node(s) had untolerated taint {node.kubernetes.io/not-ready: }. preemption: …", nil,
			"of 3 nodes 1 does not answer, 2 are not ready", "bring the nodes back",
		},
		{
			"kept for others", "0/2 nodes are available: 1 node(s) had untolerated taint {dedicated: db}, 1 node(s) had untolerated taint(s).", nil,
			"of 2 nodes 1 is kept for other pods by the taint dedicated=db, 1 is kept for other pods by a taint", "add nodes that take it",
		},
		{
			"other resources and words", "0/2 nodes are available: 1 Insufficient ephemeral-storage, 1 Too many pods, 1 node(s) had volume node affinity conflict.", nil,
			"of 2 nodes 1 has too little ephemeral-storage left, 1 runs as many pods as it may, 1: node(s) had volume node affinity conflict", "ask for less",
		},
		{"no nodes", "no nodes available to schedule pods", inGroup, "it asks for 1.5 cpu and 2Gi mem on a node of gpu; there are no nodes", "add nodes to gpu"},
		{"something else", "running PreFilter plugin \"X\": broken\nand more", nil, "it asks for 1.5 cpu and 2Gi mem; running PreFilter plugin \"X\": broken", "ask for less"},
		{"almost known", "0/2 nodes are available: some.", nil, "0/2 nodes are available: some.", "ask for less"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pod := &corev1.Pod{Spec: corev1.PodSpec{Affinity: tt.affinity, Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{
				Requests: amounts("1500m", "2Gi", "0"),
			}}}}}
			r := unschedulable(pod, &corev1.PodCondition{Message: tt.says})
			if !strings.HasPrefix(r.Message, "no node can take the replica now: ") || !strings.HasSuffix(r.Message, tt.want) {
				t.Errorf("unschedulable(%q) says\n%s\nwant at its end\n%s", tt.says, r.Message, tt.want)
			}
			if !strings.HasPrefix(r.Fix, tt.fix) || r.Evidence[0].Text != tt.says {
				t.Errorf("unschedulable(%q) = %+v, want its words as evidence and the fix %q", tt.says, r, tt.fix)
			}
		})
	}
}

func FuzzUnschedulable(f *testing.F) {
	for _, says := range []string{
		"0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated taint {a: b}. preemption: 0/3",
		"0/1 nodes are available: 1 Insufficient aws.amazon.com/neuron, 1 Too many pods, 1 node(s) had volume node affinity conflict.",
		"0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: 0/2",
		"0/2 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }, 1 node(s) were unschedulable.",
		"0/4 nodes are available: 4 node(s) had untolerated taint(s), 4 node(s) had condition: DiskPressure.",
		"no nodes available to schedule pods\n0/0 nodes are available",
	} {
		f.Add(says)
	}
	inGroup := &corev1.Pod{Spec: corev1.PodSpec{Affinity: affinityOf(plain, []string{"gpu"})}}
	f.Fuzz(func(t *testing.T, says string) {
		for _, pod := range []*corev1.Pod{{}, inGroup} {
			r := unschedulable(pod, &corev1.PodCondition{Message: says})
			if r.Code != codeUnschedulable || r.Fix == "" || len(r.Message) > len(says)*3+250 || strings.Contains(r.Message, "\n") || strings.Contains(r.Message, " of 1 nodes ") {
				t.Errorf("unschedulable(%q) = %+v", says, r)
			}
		}
	})
}
