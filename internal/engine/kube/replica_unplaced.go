package kube

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/workload"
)

const placedByItself = "; it is placed by itself then"

// unschedulable says what a replica waits for: what it asks for, where it may be
// placed, and what the scheduler found wrong with the nodes, in words. Where the
// scheduler speaks otherwise than is known here, its own words are told.
func unschedulable(pod *corev1.Pod, c *corev1.PodCondition) *workload.Reason {
	w := wantsOf(&pod.Spec)
	r := &workload.Reason{
		Code: codeUnschedulable, Message: "no node can take the replica now: " + w.String(), Evidence: engineSays(c.Message),
		Fix: "ask for less (compute), stop something else, or add nodes" + placedByItself,
	}
	total, found := obstaclesIn(c.Message)
	switch {
	case found == nil && noNodes.MatchString(c.Message):
		r.Message += "there are no nodes"
		r.Fix = "add nodes" + w.toGroups() + placedByItself
		return r
	case found == nil:
		r.Message += firstLine(c.Message)
		return r
	}
	var words []string
	for _, o := range found {
		words = append(words, o.words(w, total))
	}
	which := "the only node "
	if total != 1 {
		which = fmt.Sprintf("of %d nodes ", total)
	}
	r.Message += which + strings.Join(words, ", ")
	r.Fix = fixOf(w, total, found) + placedByItself
	return r
}

// wants is what a pod that has no node asks for.
type wants struct {
	amount capacity.Amount
	groups []string // on which it must be placed
	label  string   // of nodes, with the name of their group
}

// wantsOf reads what affinityOf and resourcesOf wrote.
func wantsOf(pod *corev1.PodSpec) wants {
	w := wants{amount: capacity.Total(requestsIn(pod))}
	if pod.Affinity == nil || pod.Affinity.NodeAffinity == nil || pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return w
	}
	for _, term := range pod.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, e := range term.MatchExpressions {
			if e.Operator == corev1.NodeSelectorOpIn {
				w.groups, w.label = append(w.groups, e.Values...), e.Key
			}
		}
	}
	return w
}

// String is the beginning of a sentence; empty when a pod asks for nothing.
func (w wants) String() string {
	where := ""
	if len(w.groups) > 0 {
		where = " on a node of " + strings.Join(w.groups, " or ")
	}
	switch {
	case w.amount != capacity.Amount{}:
		return "it asks for " + w.amount.Words() + where + "; "
	case where != "":
		return "it asks for a place" + where + "; "
	}
	return ""
}

func (w wants) toGroups() string {
	if len(w.groups) == 0 {
		return ""
	}
	return fmt.Sprintf(" to %s (their label is %s)", strings.Join(w.groups, " or "), w.label)
}

// obstacle is what the scheduler found wrong with some nodes.
type obstacle struct {
	nodes int
	text  string
}

// The scheduler says: 0/3 nodes are available: 1 Insufficient cpu, 2 node(s) were
// unschedulable. preemption: …
var (
	noneAvailable = regexp.MustCompile(`^0/(\d{1,6}) nodes are available: (.*)`)
	noNodes       = regexp.MustCompile(`^no nodes available|^0/0 nodes are available`)
	tooLittle     = regexp.MustCompile(`^Insufficient (\S+)$`)
	taintedBy     = regexp.MustCompile(`^node\(s\) had untolerated taint(?:\(s\))?(?: \{([^:}]*)(?:: ?([^}]*))?\})?$`)
)

const (
	outsideGroups = "node(s) didn't match Pod's node affinity/selector"
	cordoned      = "node(s) were unschedulable"
)

// obstaclesIn reads the scheduler's words; nil when they are others.
func obstaclesIn(message string) (total int, found []obstacle) {
	m := noneAvailable.FindStringSubmatch(firstLine(message))
	if m == nil {
		return 0, nil
	}
	total, _ = strconv.Atoi(m[1]) // at most six digits
	// Keys of taints have dots in them, but no dot and space.
	list, _, _ := strings.Cut(m[2]+" ", ". ")
	for part := range strings.SplitSeq(list, ", ") {
		n, text, _ := strings.Cut(strings.TrimSpace(part), " ")
		nodes, err := strconv.Atoi(n)
		if err != nil || nodes < 1 || text == "" {
			return 0, nil
		}
		found = append(found, obstacle{nodes, text})
	}
	return total, found
}

// Words of the scheduler in ours: for one node, and for several.
var known = map[string][2]string{
	cordoned:                              {"is cordoned", "are cordoned"},
	"Too many pods":                       {"runs as many pods as it may", "run as many pods as they may"},
	"node(s) had condition: DiskPressure": {"is short of disk", "are short of disk"},
}

// Likewise for the taints by which Kubernetes says how nodes are.
var knownTaints = map[string][2]string{
	corev1.TaintNodeNotReady:           {"is not ready", "are not ready"},
	corev1.TaintNodeUnreachable:        {"does not answer", "do not answer"},
	corev1.TaintNodeUnschedulable:      {"is cordoned", "are cordoned"},
	corev1.TaintNodeMemoryPressure:     {"is short of memory", "are short of memory"},
	corev1.TaintNodeDiskPressure:       {"is short of disk", "are short of disk"},
	corev1.TaintNodePIDPressure:        {"has too many processes", "have too many processes"},
	corev1.TaintNodeNetworkUnavailable: {"has no network yet", "have no network yet"},
}

// namesOfResources are the words of a file.
var namesOfResources = map[string]string{"cpu": "cpu", "memory": "mem", gpuResource: "gpu", infResource: "inf"}

// words is the obstacle as a part of a sentence that begins with "of 3 nodes", or
// with "the only node".
func (o obstacle) words(w wants, total int) string {
	say := func(one, several string) string {
		switch {
		case total == 1:
			return one
		case o.nodes == 1:
			return "1 " + one
		case o.nodes == total:
			return "all " + several
		}
		return strconv.Itoa(o.nodes) + " " + several
	}
	if both, ok := known[o.text]; ok {
		return say(both[0], both[1])
	}
	if o.text == outsideGroups && len(w.groups) > 0 {
		return say("is of no such group", "are of no such group")
	}
	if m := tooLittle.FindStringSubmatch(o.text); m != nil {
		name := namesOfResources[m[1]]
		if name == "" {
			name = m[1]
		}
		return say("has too little "+name+" left", "have too little "+name+" left")
	}
	m := taintedBy.FindStringSubmatch(o.text)
	switch {
	case m == nil && total == 1:
		return "is refused: " + o.text
	case m == nil:
		return fmt.Sprintf("%d: %s", o.nodes, o.text)
	}
	if both, ok := knownTaints[m[1]]; ok {
		return say(both[0], both[1])
	}
	taint := "by a taint"
	if m[1] != "" {
		taint = "by the taint " + strings.TrimSuffix(m[1]+"="+m[2], "=")
	}
	return say("is kept for other pods "+taint, "are kept for other pods "+taint)
}

// fixOf says what to do: about what is short, if anything is, else about the nodes.
func fixOf(w wants, total int, found []obstacle) string {
	outside, hindered, short := 0, 0, false
	for _, o := range found {
		switch m := taintedBy.FindStringSubmatch(o.text); {
		case tooLittle.MatchString(o.text):
			short = true
		case o.text == outsideGroups:
			outside += o.nodes
		case o.text == cordoned, m != nil && knownTaints[m[1]][0] != "":
			hindered += o.nodes
		}
	}
	switch {
	case short && hindered > 0:
		return "ask for less (compute), stop something else, add nodes" + w.toGroups() + ", or bring back those that are away (kubectl get nodes says how they are, kubectl uncordon lets pods in)"
	case short:
		return "ask for less (compute), stop something else, or add nodes" + w.toGroups()
	case hindered > 0:
		return "bring the nodes back (kubectl get nodes says how they are, kubectl uncordon lets pods in), or add others" + w.toGroups()
	case outside >= total && len(w.groups) > 0:
		return "add nodes" + w.toGroups() + ", or name other node_groups"
	}
	return "add nodes" + w.toGroups() + " that take it; kubectl describe node says what keeps pods off"
}
