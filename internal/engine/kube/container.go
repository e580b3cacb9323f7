package kube

import (
	"cmp"
	"maps"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"cortex.dev/cortex/internal/crd"
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
		Resources:       resourcesOf(c.Compute, i),
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
	out.VolumeMounts = append(out.VolumeMounts, mountsOf(c)...)
	return out
}

// envOf lists the platform's variables first, then the installation's, then those of
// secrets and config maps, then the user's own, each by name: Kubernetes expands $(NAME)
// only of variables that stand before. A name stands once, since server-side apply takes it for the key; the
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
	for _, m := range c.VolumeMounts {
		env = append(env, corev1.EnvVar{Name: workload.EnvVolume(m.Name), Value: m.MountPath})
	}
	if cfg.APIEndpoint != "" {
		env = append(env, corev1.EnvVar{Name: workload.EnvAPIEndpoint, Value: cfg.APIEndpoint})
	}
	known := map[string]bool{}
	for _, v := range env {
		known[v.Name] = true
	}
	for _, v := range c.EnvFrom {
		known[v.Name] = true // of whom the installation says it too, the user's wins
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Env)) {
		if _, again := c.Env[name]; !again && !known[name] {
			env = append(env, corev1.EnvVar{Name: name, Value: cfg.Env[name]})
		}
	}
	for _, v := range c.EnvFrom {
		env = append(env, corev1.EnvVar{Name: v.Name, ValueFrom: sourceOf(v)})
	}
	for _, name := range c.SecretVariables() {
		from := workload.EnvFrom{Secret: c.Env[name].Secret, Key: crd.SecretKey}
		env = append(env, corev1.EnvVar{Name: name, ValueFrom: sourceOf(from)})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Env)) {
		if v := c.Env[name]; v.Secret == "" && !known[name] {
			env = append(env, corev1.EnvVar{Name: name, Value: v.Value})
		}
	}
	return env
}

// sourceOf is where the value of a variable is kept. It has to be there: a container
// without it is not started, and says so.
func sourceOf(v workload.EnvFrom) *corev1.EnvVarSource {
	if v.Secret != "" {
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: v.Secret}, Key: v.Key}}
	}
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: v.ConfigMap}, Key: v.Key}}
}

// resourcesOf asks for what the user does, and limits CPU and memory only where the user
// does: else what is free on a node may be used. Devices and huge pages are never
// shared, so for them Kubernetes wants a limit that is the request.
func resourcesOf(c *workload.Compute, container int) corev1.ResourceRequirements {
	if c == nil {
		return corev1.ResourceRequirements{}
	}
	limits := corev1.ResourceList{}
	if c.GPU > 0 {
		limits[gpuResource] = *resource.NewQuantity(c.GPU, resource.DecimalSI)
	}
	if c.Inf > 0 {
		limits[infResource] = *resource.NewQuantity(c.Inf, resource.DecimalSI)
		limits[hugePages] = *resource.NewQuantity(c.Inf*infPages, resource.BinarySI)
	}
	for name, n := range c.Devices {
		limits[corev1.ResourceName(name)] = *resource.NewQuantity(n, resource.DecimalSI)
	}
	requests := maps.Clone(limits)
	var most workload.Limits
	if c.Limits != nil {
		most = *c.Limits
	}
	for _, r := range []struct {
		name           corev1.ResourceName
		request, limit *workload.Quantity
		amount         func(*workload.Quantity) resource.Quantity
	}{{corev1.ResourceCPU, c.CPU, most.CPU, coresOf}, {corev1.ResourceMemory, c.Mem, most.Mem, bytesOf}} {
		if r.limit != nil {
			limits[r.name] = r.amount(r.limit)
		}
		// Without a request Kubernetes takes the limit for it.
		if request := cmp.Or(r.request, r.limit); request != nil {
			requests[r.name] = r.amount(request)
		}
	}
	if c.Inf > 0 && requests.Cpu().IsZero() && requests.Memory().IsZero() {
		least := workload.MinCPU // Kubernetes refuses huge pages without CPU or memory
		requests[corev1.ResourceCPU] = coresOf(&least)
	}
	out := corev1.ResourceRequirements{}
	for j := range c.ResourceClaimTemplates {
		out.Claims = append(out.Claims, corev1.ResourceClaim{Name: claimName(container, j)})
	}
	if len(limits) > 0 {
		out.Limits = limits
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
