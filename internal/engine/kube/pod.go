package kube

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/workload"
)

// PodConfig is what pods have in common, from the installation. What is changed
// here reaches the pods of an API with its next deploy that changes them, or with
// a refresh; nothing restarts on its account (samePod).
type PodConfig struct {
	Namespace    string            // in which pods run
	SidecarImage string            // of the proxy beside each replica
	SidecarPull  corev1.PullPolicy // of that image; "" is IfNotPresent
	// PullPolicy is for the images of users. "" leaves it to Kubernetes: Always for
	// images without a tag or with latest, else IfNotPresent.
	PullPolicy corev1.PullPolicy
	// PullSecrets are names of secrets in Namespace. Nil is registry-credentials, the
	// one that users of cortex 0.42 have, where it exists (pullSecrets).
	PullSecrets []string
	// ServiceAccount of pods, for clouds that give rights to one; "" is the
	// namespace's default. Its token is never mounted: a pod that could call the API
	// server would be a way into the cluster. What a cloud's webhook mounts is.
	ServiceAccount string
	Version        string            // CORTEX_VERSION
	APIEndpoint    string            // of the gateways, as pods reach it: CORTEX_API_ENDPOINT; "" is not told
	Env            map[string]string // for every container of a user; what the user sets wins
	Labels         map[string]string // for every pod; ours win
	Annotations    map[string]string // for every pod; those that are read here win
	NodeGroups     []NodeGroup       // among which pods choose by priority
	NodeGroupLabel string            // of nodes, with the name of their group; "" is cortex.dev/node-group
	// Grace is between the decision to stop a replica and SIGKILL where its file does not
	// say; 0 is workload.DefaultGrace.
	Grace      time.Duration
	SidecarCPU resource.Quantity // what it requests; 0 is 100m
	SidecarMem resource.Quantity // 0 is 100Mi
	Traces     Traces            // that sidecars send
	// Unconfined names containers, as api/container, that run privileged, as all of
	// them did in cortex 0.42. It is the installation's to say, not the file's: who
	// may deploy an API may not thereby take over a node. Their namespace must admit
	// privileged pods.
	Unconfined []string
	// Restricted makes pods for a namespace that enforces the restricted pod security
	// standard: no container is root or has a capability that its file does not ask for.
	Restricted bool
	// Zones reports whether nodes are in several zones, over which new replicas spread
	// then. Nil: nobody knows, and they do not.
	Zones func() bool
}

// Traces is where sidecars send traces.
type Traces struct {
	Endpoint string  // of a collector; empty: none are recorded
	Ratio    float64 // of those that begin at a sidecar
	Cluster  string  // the name that they carry
}

// NodeGroup is a set of nodes that a file may name; among several, those of higher
// priority (1 to 100) are preferred.
type NodeGroup struct {
	Name     string
	Priority int32
	Taints   []workload.Toleration // of its nodes, which pods that name the group accept
}

// What pods and everybody who reads them agree on.
const (
	labelAPI        = "cortex.dev/api" // "true" on everything that belongs to an API
	labelName       = "apiName"
	labelKind       = "apiKind"
	labelAPIID      = "apiID"
	labelSpecID     = "specID"
	labelPodID      = "podID"
	labelDeployment = "deploymentID"
	labelFirst      = "initialDeploymentTime"
	labelTrial      = "cortex.dev/trial" // on a Deployment whose one replica nobody asked for

	annotationApplied     = "cortex.dev/applied" // on a Deployment: its specification as it was applied here
	annotationOwner       = "cortex.dev/owner"   // on a Deployment: the uid of the resource it was made for
	annotationAPIID       = "cortex.dev/api-id"  // of the first revision with these pods
	annotationConcurrency = "pod.cortex.dev/max-concurrency"
	annotationQueue       = "pod.cortex.dev/max-queue-length"

	defaultNodeLabel  = "cortex.dev/node-group"
	defaultPullSecret = "registry-credentials" //nolint:gosec // the name of a secret, not one

	// patienceOfScalers is how many seconds a scaler of nodes waits for a pod at most:
	// the default of cluster-autoscaler's max-graceful-termination-sec. One that has
	// asked for more would be cut, so its node is not taken away to save cost.
	patienceOfScalers = 600
)

// The volumes of a pod.
const (
	volumeScratch = "mnt"        // what its containers share, at /mnt
	volumeCortex  = "cortex"     // a place of the platform's, at /cortex
	volumeProgram = "cortex-bin" // where the sidecar leaves its program
	volumeShm     = "shm-"       // and the number of the container: its name may be too long
)

func (c PodConfig) nodeLabel() string { return cmp.Or(c.NodeGroupLabel, defaultNodeLabel) }

// grace is in seconds. Kubernetes takes 0 for a kill without a word.
func (c PodConfig) grace(p *workload.Pod) int64 { return wholeSeconds(p.Grace(c.Grace)) }

// drainWithin is how much of the grace, in seconds, a drain may take.
func (c PodConfig) drainWithin(p *workload.Pod) int64 {
	return wholeSeconds(workload.DrainWithin(time.Duration(c.grace(p)) * time.Second))
}

// wholeSeconds rounds down, to no less than one.
func wholeSeconds(d time.Duration) int64 { return max(int64(d/time.Second), 1) }

// templateOf returns the pods of a revision.
func templateOf(cfg PodConfig, r *workload.Revision) corev1.PodTemplateSpec {
	labels := map[string]string{}
	maps.Copy(labels, cfg.Labels)
	maps.Copy(labels, r.Pod.Labels)
	maps.Copy(labels, map[string]string{
		labelAPI: "true", labelName: r.Name, labelKind: string(r.Kind), labelPodID: r.PodID, labelDeployment: r.DeploymentID,
	})
	annotations := map[string]string{
		// What kubectl logs and exec mean when nobody says a container.
		"kubectl.kubernetes.io/default-container": r.Pod.Containers[0].Name,
		// Nothing in them outlives a replica, so they need not keep a node from being
		// given back, as folders on a node's disk otherwise do.
		"cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": strings.Join([]string{volumeScratch, volumeCortex, volumeProgram}, ","),
	}
	if cfg.grace(r.Pod) > patienceOfScalers {
		annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] = "false"
		annotations["karpenter.sh/do-not-disrupt"] = "true"
	}
	maps.Copy(annotations, cfg.Annotations)
	maps.Copy(annotations, r.Pod.Annotations)
	maps.Copy(annotations, map[string]string{
		annotationAPIID:       r.ID,
		annotationConcurrency: strconv.FormatInt(r.Pod.MaxConcurrency, 10),
		annotationQueue:       strconv.FormatInt(r.Pod.MaxQueueLength, 10),
	})
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations}, Spec: podOf(cfg, r)}
}

// podOf leaves how replicas spread over nodes to the scheduler, whose own constraints
// are soft and count the replicas of one revision.
func podOf(cfg PodConfig, r *workload.Revision) corev1.PodSpec {
	none, grace := false, cfg.grace(r.Pod)
	pod := corev1.PodSpec{
		// A native sidecar: it is there before the containers and ends after them.
		InitContainers:                []corev1.Container{sidecarOf(cfg, r)},
		TerminationGracePeriodSeconds: &grace,
		ServiceAccountName:            cmp.Or(r.Pod.ServiceAccount, cfg.ServiceAccount),
		AutomountServiceAccountToken:  &none,
		// A variable for every service of the namespace would be a surprise to programs.
		EnableServiceLinks: &none,
		SecurityContext:    podSecurityOf(r.Pod),
		Affinity:           affinityOf(cfg, r.NodeGroups),
		NodeSelector:       maps.Clone(r.Pod.NodeSelector),
		Tolerations:        tolerationsOf(cfg, &r.Spec),
		ImagePullSecrets:   pullSecretsOf(cfg),
		Volumes:            []corev1.Volume{folder(volumeScratch, nil), folder(volumeCortex, nil), folder(volumeProgram, nil)},
	}
	for i := range r.Pod.Containers {
		c := &r.Pod.Containers[i]
		pod.Containers = append(pod.Containers, containerOf(cfg, r, i))
		if c.Compute != nil && c.Compute.Shm != nil {
			pod.Volumes = append(pod.Volumes, folder(volumeShm+strconv.Itoa(i), c.Compute.Shm))
		}
		pod.ResourceClaims = append(pod.ResourceClaims, claimsOf(c.Compute, i)...)
	}
	for i := range r.Pod.Volumes {
		pod.Volumes = append(pod.Volumes, volumeOf(&r.Pod.Volumes[i]))
	}
	if cfg.Zones != nil && cfg.Zones() {
		pod.TopologySpreadConstraints = spreadOf(r)
	}
	return pod
}

// tolerationsOf lets pods that ask for devices, or name a group, onto the nodes that are
// kept free for such pods.
func tolerationsOf(cfg PodConfig, s *workload.Spec) []corev1.Toleration {
	var gpu, inf int64
	for _, c := range s.Pod.Containers {
		if c.Compute != nil {
			gpu, inf = gpu+c.Compute.GPU, inf+c.Compute.Inf
		}
	}
	wanted := slices.Clone(s.Pod.Tolerations)
	for _, g := range cfg.NodeGroups {
		if slices.Contains(s.NodeGroups, g.Name) {
			wanted = append(wanted, g.Taints...)
		}
	}
	var out []corev1.Toleration
	for _, t := range wanted {
		operator := corev1.TolerationOpExists
		if t.Value != "" {
			operator = corev1.TolerationOpEqual
		}
		out = append(out, corev1.Toleration{Key: t.Key, Operator: operator, Value: t.Value, Effect: corev1.TaintEffect(t.Effect)})
	}
	for _, taint := range []struct {
		key    string
		wanted int64
	}{{gpuResource, gpu}, {infResource, inf}} {
		if taint.wanted > 0 {
			out = append(out, corev1.Toleration{Key: taint.key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	return out
}

func pullSecretsOf(cfg PodConfig) []corev1.LocalObjectReference {
	var out []corev1.LocalObjectReference
	for _, name := range cfg.PullSecrets {
		out = append(out, corev1.LocalObjectReference{Name: name})
	}
	return out
}

// folder is an emptyDir; with a size it is memory.
func folder(name string, size *workload.Quantity) corev1.Volume {
	dir := &corev1.EmptyDirVolumeSource{}
	if size != nil {
		limit := bytesOf(size)
		dir.Medium, dir.SizeLimit = corev1.StorageMediumMemory, &limit
	}
	return corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{EmptyDir: dir}}
}

// affinityOf keeps a pod on the groups it names, whether or not the installation
// knows them, and prefers among those it may use by their priority (REFERENCE 1.8).
func affinityOf(cfg PodConfig, named []string) *corev1.Affinity {
	term := func(groups ...string) corev1.NodeSelectorTerm {
		return corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{
			Key: cfg.nodeLabel(), Operator: corev1.NodeSelectorOpIn, Values: groups,
		}}}
	}
	node := &corev1.NodeAffinity{}
	if len(named) > 0 {
		node.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term(slices.Clone(named)...)}}
	}
	for _, g := range cfg.NodeGroups {
		if len(named) == 0 || slices.Contains(named, g.Name) {
			node.PreferredDuringSchedulingIgnoredDuringExecution = append(node.PreferredDuringSchedulingIgnoredDuringExecution,
				corev1.PreferredSchedulingTerm{Weight: min(max(g.Priority, 1), 100), Preference: term(g.Name)})
		}
	}
	if node.RequiredDuringSchedulingIgnoredDuringExecution == nil && node.PreferredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return &corev1.Affinity{NodeAffinity: node}
}

// portOf is the port that receives requests; 0 for kinds without one.
func portOf(r *workload.Revision) int32 {
	if r.Pod.Port == nil {
		return 0
	}
	return *r.Pod.Port
}
