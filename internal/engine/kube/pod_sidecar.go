package kube

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"cortex.dev/cortex/internal/workload"
)

const (
	sidecarName   = "proxy"
	sidecarFolder = "/cortex/bin" // where the sidecar leaves its program
	sidecarBinary = sidecarFolder + "/cortex-sidecar"
	sidecarItself = "/cortex-sidecar" // in its own image
	sidecarUser   = int64(65532)      // of the image
)

// sidecarOf is the container that limits, probes and drains the replica. It has no
// startup probe: the kubelet looks once a second, which would be a second more for
// every start, and containers need the sidecar only when they are ready, which it
// says itself, and when they end.
func sidecarOf(cfg PodConfig, r *workload.Revision) corev1.Container {
	always := corev1.ContainerRestartPolicyAlways
	c := corev1.Container{
		Name: sidecarName, Image: cfg.SidecarImage, ImagePullPolicy: cmp.Or(cfg.SidecarPull, corev1.PullIfNotPresent), RestartPolicy: &always,
		Ports: []corev1.ContainerPort{
			{Name: "requests", ContainerPort: workload.SidecarPort, Protocol: corev1.ProtocolTCP},
			{Name: "admin", ContainerPort: workload.AdminPort, Protocol: corev1.ProtocolTCP},
		},
		Env: []corev1.EnvVar{
			{Name: "CORTEX_API_NAME", Value: r.Name},
			{Name: "CORTEX_TARGET_PORT", Value: strconv.Itoa(int(portOf(r)))},
			{Name: "CORTEX_MAX_CONCURRENCY", Value: strconv.FormatInt(r.Pod.MaxConcurrency, 10)},
			{Name: "CORTEX_MAX_QUEUE_LENGTH", Value: strconv.FormatInt(r.Pod.MaxQueueLength, 10)},
			{Name: "CORTEX_GRACE", Value: strconv.FormatInt(cfg.drainWithin(r.Pod), 10)},
		},
		// Once a second, and a sidecar that is not ready yet answers when it is: waiting for
		// the next question was most of the time from a container that listens to one that
		// is asked, and every refusal is a warning at a healthy pod. By gRPC, because a
		// question before the sidecar listens itself is then asked again and no warning; but
		// only after a second, and the kubelet asks as soon as the container runs. So it runs,
		// for the kubelet, from when it listens.
		Lifecycle: &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{
			Exec: &corev1.ExecAction{Command: []string{sidecarItself, "listening"}},
		}},
		ReadinessProbe: &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: workload.AdminPort, Service: new(string)}},
			PeriodSeconds: 1, TimeoutSeconds: int32(workload.SidecarProbeTimeout / time.Second), FailureThreshold: workload.SidecarUnreadyAfter,
		},
		// A restart breaks what is in flight, so it takes a minute of silence.
		LivenessProbe: &corev1.Probe{
			ProbeHandler:  corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/live", Port: intstr.FromInt32(workload.AdminPort)}},
			PeriodSeconds: 10, TimeoutSeconds: 5, FailureThreshold: 6,
		},
		VolumeMounts:             []corev1.VolumeMount{{Name: volumeProgram, MountPath: sidecarFolder}},
		SecurityContext:          sidecarSecurity(),
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		// No limits: a sidecar that waits for CPU delays every request, and one that is
		// killed for memory breaks them.
		Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU:    orDefault(cfg.SidecarCPU, "100m"),
			corev1.ResourceMemory: orDefault(cfg.SidecarMem, "100Mi"),
		}},
	}
	if r.Pod.OnClientGone == workload.Cancel {
		c.Env = append(c.Env, corev1.EnvVar{Name: "CORTEX_ON_CLIENT_GONE", Value: workload.Cancel})
	}
	if !probesPort(r) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "CORTEX_PROBE_PORT", Value: "true"})
	}
	c.Env = append(c.Env, tracesOf(cfg, r)...)
	return c
}

// tracesOf has the sidecar send traces, and name itself in them.
func tracesOf(cfg PodConfig, r *workload.Revision) []corev1.EnvVar {
	if cfg.Traces.Endpoint == "" {
		return nil
	}
	self := corev1.EnvVar{Name: "POD_NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.name"}}}
	resource := "k8s.pod.name=$(POD_NAME),k8s.namespace.name=" + cfg.Namespace
	if cfg.Traces.Cluster != "" {
		resource += ",k8s.cluster.name=" + cfg.Traces.Cluster
	}
	return []corev1.EnvVar{
		self, // before the one that has it in its value
		{Name: "OTEL_RESOURCE_ATTRIBUTES", Value: resource + ",cortex.api.name=" + r.Name + ",cortex.api.kind=" + string(r.Kind)},
		{Name: "CORTEX_TRACE_ENDPOINT", Value: cfg.Traces.Endpoint},
		{Name: "CORTEX_TRACE_RATIO", Value: strconv.FormatFloat(cfg.Traces.Ratio, 'g', -1, 64)},
	}
}

// sidecarSecurity is what the restricted pod security standard asks, and more.
func sidecarSecurity() *corev1.SecurityContext {
	user, none, yes := sidecarUser, false, true
	return &corev1.SecurityContext{
		RunAsUser: &user, RunAsGroup: &user, RunAsNonRoot: &yes, ReadOnlyRootFilesystem: &yes,
		AllowPrivilegeEscalation: &none, Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
}

func orDefault(q resource.Quantity, text string) resource.Quantity {
	if q.IsZero() {
		return resource.MustParse(text)
	}
	return q
}

// probesPort reports whether a readiness probe of the user asks the port that
// receives requests. If none does, the sidecar looks whether it is open.
func probesPort(r *workload.Revision) bool {
	return slices.ContainsFunc(r.Pod.Containers, func(c workload.Container) bool {
		p := c.ReadinessProbe
		return p != nil && (p.HTTPGet != nil && p.HTTPGet.Port == portOf(r) || p.TCPSocket != nil && p.TCPSocket.Port == portOf(r))
	})
}
