package kube

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"cortex.dev/cortex/internal/workload"
)

// Devices, as their plugins name them, and what each Inferentia chip takes of huge
// pages (REFERENCE 1.4).
const (
	gpuResource = "nvidia.com/gpu"
	infResource = "aws.amazon.com/neuron"
	hugePages   = "hugepages-2Mi"
	infPages    = 128 * 2 << 20 // bytes
)

// containerOf is the container of a user with the given number.
func containerOf(cfg PodConfig, r *workload.Revision, i int) corev1.Container {
	c := &r.Pod.Containers[i]
	out := corev1.Container{
		Name: c.Name, Image: c.Image, ImagePullPolicy: cfg.PullPolicy, Command: slices.Clone(c.Command), Args: slices.Clone(c.Args),
		Env:            envOf(cfg, r, c),
		ReadinessProbe: probeOf(c.ReadinessProbe),
		LivenessProbe:  probeOf(c.LivenessProbe),
		Lifecycle:      &corev1.Lifecycle{PreStop: preStopOf(c.PreStop)},
		VolumeMounts: []corev1.VolumeMount{
			{Name: volumeScratch, MountPath: "/mnt"},
			{Name: volumeCortex, MountPath: "/cortex"},
			// Other containers of the pod run what is in there: none may change it.
			{Name: volumeProgram, MountPath: sidecarFolder, ReadOnly: true},
		},
		SecurityContext: securityOf(cfg, r, c),
		Resources:       resourcesOf(c.Compute),
		// The last words of a container that failed stay with the pod, also where its
		// node does not answer any more.
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
	}
	if out.LivenessProbe != nil {
		out.LivenessProbe.SuccessThreshold = 1 // the only value that Kubernetes allows
	}
	if c.Compute != nil && c.Compute.Shm != nil {
		out.VolumeMounts = append(out.VolumeMounts, corev1.VolumeMount{Name: volumeShm + strconv.Itoa(i), MountPath: "/dev/shm"})
	}
	return out
}

// envOf lists the platform's variables first, then the installation's, then the
// user's, each by name: Kubernetes expands $(NAME) only of variables that stand
// before. A name stands once, since server-side apply takes it for the key; the
// user's value wins over the installation's, and nobody's over the platform's.
func envOf(cfg PodConfig, r *workload.Revision, c *workload.Container) []corev1.EnvVar {
	env := []corev1.EnvVar{
		{Name: "CORTEX_VERSION", Value: cfg.Version},
		{Name: "CORTEX_LOG_LEVEL", Value: "INFO"},
		{Name: "CORTEX_CLI_CONFIG_DIR", Value: "/cortex/client"},
	}
	if p := portOf(r); p != 0 {
		env = append(env, corev1.EnvVar{Name: "CORTEX_PORT", Value: strconv.Itoa(int(p))})
	}
	known := map[string]bool{}
	for _, v := range env {
		known[v.Name] = true
	}
	add := func(from, later map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(from)) {
			if _, again := later[name]; !again && !known[name] {
				env = append(env, corev1.EnvVar{Name: name, Value: from[name]})
			}
		}
	}
	add(cfg.Env, c.Env)
	add(c.Env, nil)
	return env
}

// resourcesOf asks for what the user does, and limits neither CPU nor memory: what
// is free on a node may be used. Devices and huge pages are never shared, so for
// them Kubernetes wants a limit that is the request.
func resourcesOf(c *workload.Compute) corev1.ResourceRequirements {
	if c == nil {
		return corev1.ResourceRequirements{}
	}
	exact := corev1.ResourceList{}
	if c.GPU > 0 {
		exact[gpuResource] = *resource.NewQuantity(c.GPU, resource.DecimalSI)
	}
	if c.Inf > 0 {
		exact[infResource] = *resource.NewQuantity(c.Inf, resource.DecimalSI)
		exact[hugePages] = *resource.NewQuantity(c.Inf*infPages, resource.BinarySI)
	}
	requests := maps.Clone(exact)
	if c.CPU != nil {
		requests[corev1.ResourceCPU] = coresOf(c.CPU)
	}
	if c.Mem != nil {
		requests[corev1.ResourceMemory] = bytesOf(c.Mem)
	}
	if c.Inf > 0 && c.CPU == nil && c.Mem == nil {
		least := workload.MinCPU // Kubernetes refuses huge pages without CPU or memory
		requests[corev1.ResourceCPU] = coresOf(&least)
	}
	out := corev1.ResourceRequirements{}
	if len(exact) > 0 {
		out.Limits = exact
	}
	if len(requests) > 0 {
		out.Requests = requests
	}
	return out
}

// coresOf rounds up to the thousandth, as the API server would: what it rounds
// itself looks like a change with each apply.
func coresOf(q *workload.Quantity) resource.Quantity {
	return *resource.NewMilliQuantity(q.Milli(), resource.DecimalSI)
}

// bytesOf rounds up to the byte: Kubernetes warns of parts of one.
func bytesOf(q *workload.Quantity) resource.Quantity {
	format := resource.DecimalSI
	if parsed, err := resource.ParseQuantity(q.String()); err == nil && parsed.Format == resource.BinarySI {
		format = resource.BinarySI // as the user wrote it
	}
	return *resource.NewQuantity(q.Value(), format)
}

// securityOf lets a container do what the runtime's default capabilities allow and
// nothing that it did not start with. That is what most images are made for: those
// that run as root, change owners and listen on port 80 keep working, those that
// rely on sudo or other programs with a set-user-ID bit do not.
func securityOf(cfg PodConfig, r *workload.Revision, c *workload.Container) *corev1.SecurityContext {
	none, yes := false, true
	if slices.Contains(cfg.Unconfined, r.Name+"/"+c.Name) {
		return &corev1.SecurityContext{Privileged: &yes}
	}
	s := &corev1.SecurityContext{AllowPrivilegeEscalation: &none}
	if c.Compute != nil && c.Compute.Inf > 0 {
		// The driver of the chips wants both (REFERENCE 1.4). The container starts with
		// them, so it still need not gain any.
		s.Capabilities = &corev1.Capabilities{Add: []corev1.Capability{"SYS_ADMIN", "IPC_LOCK"}}
	}
	return s
}

// probeOf is a probe as Kubernetes has it. Zeros mean its defaults, which are also
// ours.
func probeOf(p *workload.Probe) *corev1.Probe {
	if p == nil {
		return nil
	}
	out := &corev1.Probe{
		InitialDelaySeconds: p.InitialDelaySeconds, TimeoutSeconds: p.TimeoutSeconds, PeriodSeconds: p.PeriodSeconds,
		SuccessThreshold: p.SuccessThreshold, FailureThreshold: p.FailureThreshold,
	}
	switch {
	case p.HTTPGet != nil:
		out.HTTPGet = &corev1.HTTPGetAction{Path: cmp.Or(p.HTTPGet.Path, "/"), Port: intstr.FromInt32(p.HTTPGet.Port)}
	case p.TCPSocket != nil:
		out.TCPSocket = &corev1.TCPSocketAction{Port: intstr.FromInt32(p.TCPSocket.Port)}
	case p.Exec != nil:
		out.Exec = &corev1.ExecAction{Command: slices.Clone(p.Exec.Command)}
	}
	return out
}

// preStopOf waits until the sidecar works on no request any more, and then does
// what the user asked for. The program is the sidecar's own, so that this works in
// an image that holds nothing else. Every container waits, since any of them may
// have a part in answering.
func preStopOf(p *workload.PreStop) *corev1.LifecycleHandler {
	command := []string{sidecarBinary, "wait"}
	switch {
	case p == nil:
	case p.HTTPGet != nil:
		command = append(command, "--http-get", strconv.Itoa(int(p.HTTPGet.Port))+cmp.Or(p.HTTPGet.Path, "/"))
	case p.Exec != nil:
		command = append(append(command, "--"), p.Exec.Command...)
	}
	return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: command}}
}
