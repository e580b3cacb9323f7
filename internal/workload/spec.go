// Package workload holds the nouns of the product (Spec, Revision, Status, …),
// their rules and defaults, and Service: the one interface that every front end
// uses and every operator implements, in process or over the wire.
//
// It promises that a Spec which passed Validate can be deployed anywhere without
// a second look at its values, and that the JSON of every type is the contract
// with users: field names never change.
//
// It must not read files, speak to a network or know how replicas run.
package workload

import "time"

// Kind is one of the five kinds a user deploys.
type Kind string

// The kinds, in the order in which lists show them.
const (
	Batch    Kind = "BatchAPI"
	Task     Kind = "TaskAPI"
	Realtime Kind = "RealtimeAPI"
	Async    Kind = "AsyncAPI"
	Splitter Kind = "TrafficSplitter"
)

// Kinds returns all kinds, in the order in which lists show them.
func Kinds() []Kind { return []Kind{Batch, Task, Realtime, Async, Splitter} }

// Scales reports whether workloads of kind k have replicas that follow their load.
func (k Kind) Scales() bool { return k == Realtime || k == Async }

// Ports that containers may not use: the sidecar's and its administration's.
const (
	SidecarPort int32 = 8888
	AdminPort   int32 = 15000
)

// How a gateway has a sidecar execute an item: at ExecutionsPath, followed by ITEM.ATTEMPT,
// of its administration. ExecutionHeader of the answer says what became of it.
const (
	ExecutionsPath  = "/executions/"
	ExecutionHeader = "X-Cortex-Execution"
	// ExecutionTarget is the path of the container that is asked; none: the root.
	ExecutionTarget = "X-Cortex-Execution-Path"
	// ResultPath is where a sidecar has what a task left as its result.
	ResultPath = "/result"
	// ReleasePath is where the sidecar of a run is told that nothing of it is needed any more.
	ReleasePath = "/release"
	// ExecutionProgress is of an interim answer (102): how far the execution is.
	ExecutionProgress = "X-Cortex-Progress"
	// ProgressURLHeader tells a container where it says that.
	ProgressURLHeader = "X-Cortex-Progress-URL"

	ExecutionAnswered = "answered" // this is what the container said
	ExecutionRefused  = "refused"  // the container did not get it
	ExecutionLost     = "lost"     // the container went away
	ExecutionStopped  = "stopped"  // the replica had to stop first
	ExecutionUnknown  = "unknown"  // nothing is known of it, or not any more
)

// How the kubelet asks a sidecar whether its replica is ready. The sidecar counts on
// both: it refuses at once until the kubelet believes it, and then lets an answer
// wait for as long as the question does.
const (
	SidecarProbeTimeout = time.Minute // of a question
	SidecarUnreadyAfter = 2           // refusals in a row until the kubelet believes them
)

// Spec is what a user asks for: one element of the list in a cortex.yaml.
// Sections a kind does not have are nil and serialise as null.
type Spec struct {
	Name           string          `json:"name"`
	Kind           Kind            `json:"kind"`
	Pod            *Pod            `json:"pod"`
	NodeGroups     []string        `json:"node_groups"`
	APIs           []Target        `json:"apis"`
	Networking     *Networking     `json:"networking"`
	Autoscaling    *Autoscaling    `json:"autoscaling"`
	UpdateStrategy *UpdateStrategy `json:"update_strategy"`
	// Async is how requests are kept and tried again (Async).
	Async *Asynchronous `json:"async,omitempty"`
	// Schedules is what it does again and again (Async, Batch, Task).
	Schedules []Schedule `json:"schedules,omitempty"`
	// Stopped deploys it without starting anything, until somebody starts it.
	Stopped bool `json:"stopped,omitzero"`
}

// Pod is the group of containers that makes one replica.
type Pod struct {
	// Port is the container port that receives requests, exported as CORTEX_PORT.
	// On one machine a process is told to use another port by the same variable.
	// Nil for TaskAPI only.
	Port           *int32      `json:"port"`
	MaxQueueLength int64       `json:"max_queue_length"` // Realtime; 0 for kinds without it
	MaxConcurrency int64       `json:"max_concurrency"`  // Realtime, Async; 0 for kinds without it
	Containers     []Container `json:"containers"`
	// TerminationGracePeriod is between the decision to stop a replica and SIGKILL, for
	// kinds that scale. Nil is that of the installation (Grace).
	TerminationGracePeriod *Duration `json:"termination_grace_period,omitempty"`
	// OnClientGone says what becomes of a request whose caller leaves while the server
	// works on it: Finish or Cancel; empty is Finish. Realtime only.
	OnClientGone string `json:"on_client_gone,omitempty"`
	// ServiceAccount gives the pod rights in a cloud. Empty: the installation's.
	ServiceAccount  string              `json:"service_account,omitempty"`
	NodeSelector    map[string]string   `json:"node_selector,omitempty"` // labels of nodes
	Tolerations     []Toleration        `json:"tolerations,omitempty"`
	Labels          map[string]string   `json:"labels,omitempty"`
	Annotations     map[string]string   `json:"annotations,omitempty"`
	SecurityContext *PodSecurityContext `json:"security_context,omitempty"`
	Volumes         []Volume            `json:"volumes,omitempty"`
}

// What becomes of a request whose caller has left.
const (
	Finish = "finish" // the server goes on, and its place is taken for as long
	Cancel = "cancel" // the server is told, and its place is free
)

// Container is one process or image of a pod.
type Container struct {
	Name string `json:"name"`
	// Image is empty for a container that runs Command as a process; one machine only.
	Image          string              `json:"image,omitempty"`
	Env            map[string]Variable `json:"env"`
	Command        []string            `json:"command"`
	Args           []string            `json:"args"`
	ReadinessProbe *Probe              `json:"readiness_probe"`
	LivenessProbe  *Probe              `json:"liveness_probe"`
	PreStop        *PreStop            `json:"pre_stop"`
	Compute        *Compute            `json:"compute"`
	// EnvFrom are variables whose values the cluster keeps.
	EnvFrom         []EnvFrom        `json:"env_from,omitempty"`
	SecurityContext *SecurityContext `json:"security_context,omitempty"`
	VolumeMounts    []VolumeMount    `json:"volume_mounts,omitempty"`
}

// Compute is what a container requests. Nil quantities request nothing.
type Compute struct {
	CPU *Quantity `json:"cpu"` // cores
	Mem *Quantity `json:"mem"` // bytes
	GPU int64     `json:"gpu"` // devices
	Inf int64     `json:"inf"` // Inferentia chips
	Shm *Quantity `json:"shm"` // bytes of /dev/shm
	// Limits are what a container never gets more of. Nil: what is free may be used.
	Limits *Limits `json:"limits,omitempty"`
	// Devices are counts of extended resources by the names of their plugins.
	Devices map[string]int64 `json:"devices,omitempty"`
	// ResourceClaimTemplates name what a claim is made of for each replica (dynamic
	// resource allocation).
	ResourceClaimTemplates []string `json:"resource_claim_templates,omitempty"`
}

// Limits of a container. A nil quantity is no limit.
type Limits struct {
	CPU *Quantity `json:"cpu"`
	Mem *Quantity `json:"mem"`
}

// Probe asks one question of a container, periodically. Exactly one of the
// handlers is set.
type Probe struct {
	HTTPGet             *HTTPGet   `json:"http_get"`
	TCPSocket           *TCPSocket `json:"tcp_socket"`
	Exec                *Exec      `json:"exec"`
	InitialDelaySeconds int32      `json:"initial_delay_seconds"`
	TimeoutSeconds      int32      `json:"timeout_seconds"`
	PeriodSeconds       int32      `json:"period_seconds"`
	SuccessThreshold    int32      `json:"success_threshold"`
	FailureThreshold    int32      `json:"failure_threshold"`
}

// PreStop runs before a container is told to terminate. Exactly one handler is set.
type PreStop struct {
	HTTPGet *HTTPGet `json:"http_get"`
	Exec    *Exec    `json:"exec"`
}

// HTTPGet succeeds on a status from 200 to 399.
type HTTPGet struct {
	Path string `json:"path"`
	Port int32  `json:"port"`
}

// TCPSocket succeeds when a connection opens.
type TCPSocket struct {
	Port int32 `json:"port"`
}

// Exec succeeds when the command exits 0.
type Exec struct {
	Command []string `json:"command"`
}

// Target is one of the APIs a TrafficSplitter divides traffic among.
type Target struct {
	Name   string `json:"name"`
	Weight int32  `json:"weight"` // percent
	Shadow bool   `json:"shadow"` // receives copies; its answers are discarded
}

// Networking says where a workload is reached.
type Networking struct {
	Endpoint string `json:"endpoint"` // canonical: leading slash, no trailing slash
	// Host is a name of its own, under which it has every path. Empty: none.
	Host string `json:"host,omitempty"`
	// Auth is who may call it; nil: whoever reaches it. Limits are how much.
	Auth   *Auth   `json:"auth,omitempty"`
	Limits []Limit `json:"limits,omitempty"`
}

// Autoscaling bounds and tunes the number of replicas (Realtime, Async).
type Autoscaling struct {
	MinReplicas                  int32    `json:"min_replicas"`
	MaxReplicas                  int32    `json:"max_replicas"`
	InitReplicas                 int32    `json:"init_replicas"`
	TargetInFlight               float64  `json:"target_in_flight"`
	Window                       Duration `json:"window"`
	DownscaleStabilizationPeriod Duration `json:"downscale_stabilization_period"`
	UpscaleStabilizationPeriod   Duration `json:"upscale_stabilization_period"`
	MaxDownscaleFactor           float64  `json:"max_downscale_factor"`
	MaxUpscaleFactor             float64  `json:"max_upscale_factor"`
	DownscaleTolerance           float64  `json:"downscale_tolerance"`
	UpscaleTolerance             float64  `json:"upscale_tolerance"`
	// TargetQueueTime is how long an item of an AsyncAPI is to wait at most; 0: replicas
	// follow what is in flight.
	TargetQueueTime Duration `json:"target_queue_time,omitzero"`
	// Floors are times at which there are more replicas than MinReplicas at least.
	Floors []Floor `json:"floors,omitempty"`
}

// UpdateStrategy bounds a rolling update. Each value is "N%" or "N".
type UpdateStrategy struct {
	MaxSurge       string `json:"max_surge"`
	MaxUnavailable string `json:"max_unavailable"`
}

// Duration is a time.Duration written as a string ("60s") in JSON and YAML.
type Duration time.Duration
