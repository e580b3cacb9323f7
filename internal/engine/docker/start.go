package docker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"

	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/workload"
)

// Start implements local.Runtime.
func (r *Runtime) Start(ctx context.Context, spec local.ContainerSpec) (local.Container, error) {
	if err := r.prepare(ctx); err != nil {
		return nil, asStartError(err)
	}
	if spec.Compute != nil && spec.Compute.Inf > 0 {
		return nil, &local.StartError{Final: true, Reason: workload.Reason{
			Code: "devices_unavailable", Message: "Inferentia chips cannot be given to containers on one machine", Fix: "set compute.inf to 0",
		}}
	}
	image, err := r.ensureImage(ctx, spec.Image, spec.Note)
	if err != nil {
		return nil, asStartError(err)
	}
	owner := "" // root
	if image.Config != nil {
		owner, _, _ = strings.Cut(image.Config.User, ":")
	}
	if asked := spec.Security; asked != nil && asked.RunAsNonRoot && asked.RunAsUser == nil && !isOther(owner) {
		return nil, &local.StartError{Final: true, Reason: workload.Reason{
			Code:    "start_failed",
			Message: "the image of container " + spec.Name + " runs as root, or as a user without a number, and it must not run as root",
			Fix:     "say a user that the image can run as (security_context.run_as_user), or build it with a numeric USER",
		}}
	}
	ctx, cancel := context.WithTimeout(ctx, ordering)
	defer cancel()
	created, err := r.cli.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: containerName(spec), Config: r.config(spec, owner), HostConfig: r.hostConfig(spec),
	})
	if err != nil {
		return nil, r.refused(spec, err)
	}
	c := &running{r: r, id: created.ID, spec: spec, stopSignal: "SIGTERM", done: make(chan struct{})}
	if image.Config != nil && image.Config.StopSignal != "" {
		c.stopSignal = image.Config.StopSignal
	}
	if err := c.begin(ctx); err != nil {
		_ = r.remove(context.WithoutCancel(ctx), c.id) // what stays is swept next time
		return nil, r.refused(spec, err)
	}
	return c, nil
}

func asStartError(err error) error {
	var se *local.StartError
	if errors.As(err, &se) {
		return se
	}
	return &local.StartError{Err: err, Reason: workload.Reason{Code: "start_failed", Message: err.Error()}}
}

func containerName(spec local.ContainerSpec) string {
	tail := make([]byte, 3) // a name stays taken for a moment after its container is gone
	_, _ = rand.Read(tail)  // never fails
	return strings.Join([]string{"cortex", spec.Workload, spec.Replica, spec.Name, hex.EncodeToString(tail)}, "-")
}

func (r *Runtime) config(spec local.ContainerSpec, owner string) *container.Config {
	c := &container.Config{
		Image: spec.Image, AttachStdout: true, AttachStderr: true,
		Entrypoint: spec.Command, Cmd: spec.Args,
		Labels: map[string]string{
			labelInstance: r.instance, labelLife: r.life, labelWorkload: spec.Workload, labelReplica: spec.Replica, labelContainer: spec.Name,
		},
	}
	if len(spec.Command) == 0 {
		c.Entrypoint = nil // the image's
	}
	if len(spec.Args) == 0 {
		c.Cmd = nil
	}
	if asked := spec.Security; asked != nil && (asked.RunAsUser != nil || asked.RunAsGroup != nil) {
		c.User = userOf(asked, owner)
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Env)) {
		c.Env = append(c.Env, name+"="+spec.Env[name])
	}
	if spec.Network == nil && !r.direct {
		c.ExposedPorts = network.PortSet{}
		for _, port := range spec.Ports {
			c.ExposedPorts[tcpPort(port)] = struct{}{}
		}
	}
	return c
}

// HostName is what containers call the machine that Docker runs on.
const HostName = "host.docker.internal"

// hostConfig is the isolation of a container. It is Docker's own default, which is
// unprivileged, and no way to gain more. CPU is a weight. Memory is a limit, without
// swap: one container that takes all of a machine's memory ends what others run there.
func (r *Runtime) hostConfig(spec local.ContainerSpec) *container.HostConfig {
	h := &container.HostConfig{
		SecurityOpt: []string{"no-new-privileges"},
		LogConfig:   container.LogConfig{Type: "none"}, // the engine keeps the output, bounded
		Mounts:      []mount.Mount{{Type: mount.TypeBind, Source: spec.Scratch, Target: "/mnt"}},
	}
	for _, m := range spec.Mounts {
		if m.Source == "" {
			h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeTmpfs, Target: m.Target, ReadOnly: m.ReadOnly, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: m.Size, Mode: 0o1777}})
			continue
		}
		h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: m.ReadOnly})
	}
	if asked := spec.Security; asked != nil {
		h.ReadonlyRootfs = asked.ReadOnlyRootFilesystem
		if asked.Capabilities != nil {
			h.CapAdd, h.CapDrop = asked.Capabilities.Add, asked.Capabilities.Drop
		}
	}
	if other, ok := spec.Network.(*running); ok {
		h.NetworkMode = container.NetworkMode("container:" + other.id)
	} else if !r.direct {
		h.PortBindings = network.PortMap{}
		for _, port := range spec.Ports {
			h.PortBindings[tcpPort(port)] = []network.PortBinding{{HostIP: netip.AddrFrom4([4]byte{127, 0, 0, 1})}}
		}
	}
	if spec.Network == nil && strings.Contains(spec.Env[workload.EnvAPIEndpoint], HostName) {
		h.ExtraHosts = []string{HostName + ":host-gateway"} // who shares a network has its names
	}
	if q := spec.Compute; q != nil {
		if q.CPU != nil {
			h.CPUShares = min(max(q.CPU.Milli()*1024/1000, 2), 262144) // what the kernel takes
		}
		if q.Limits != nil && q.Limits.CPU != nil {
			h.NanoCPUs = q.Limits.CPU.Milli() * 1_000_000
		}
		if mem := q.MaxMem(); mem != nil {
			h.Memory = mem.Value()
			h.MemorySwap = h.Memory // both together
		}
		if q.Shm != nil {
			h.ShmSize = q.Shm.Value()
		}
		if q.GPU > 0 {
			h.DeviceRequests = []container.DeviceRequest{{Driver: "nvidia", Count: int(q.GPU), Capabilities: [][]string{{"gpu"}}}}
		}
	}
	return h
}

// userOf is the user of a container as Docker has it; owner is the user of its image.
func userOf(s *workload.SecurityContext, owner string) string {
	user := owner
	if s.RunAsUser != nil {
		user = strconv.FormatInt(*s.RunAsUser, 10)
	}
	if s.RunAsGroup != nil {
		user = cmp.Or(user, "0") + ":" + strconv.FormatInt(*s.RunAsGroup, 10)
	}
	return user
}

// isOther reports whether the user of an image is certainly not root. Whom a name means
// stands in a file of the image; Kubernetes takes no names either.
func isOther(owner string) bool {
	id, err := strconv.ParseInt(owner, 10, 64)
	return err == nil && id != 0
}

func tcpPort(port int32) network.Port {
	p, _ := network.PortFrom(uint16(port), network.TCP) // a spec has only legal ports
	return p
}

// refused explains why Docker did not start a container.
func (r *Runtime) refused(spec local.ContainerSpec, err error) error {
	text := err.Error()
	e := &local.StartError{Err: err, Reason: workload.Reason{
		Code: "start_failed", Message: fmt.Sprintf("Docker did not start container %s: %v", spec.Name, err),
	}}
	words := strings.Join(slices.Concat(spec.Command, spec.Args), " ")
	switch {
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "exec") && strings.Contains(text, "no such file or directory"),
		strings.Contains(text, "no command specified"), strings.Contains(text, "No command specified"):
		e.Final = true
		e.Reason.Code = "missing_executable"
		e.Reason.Message = fmt.Sprintf("image %s has no program to run as %q", spec.Image, words)
		e.Reason.Fix = "correct command, or leave it out to run what the image was made for"
	case strings.Contains(text, "exec") && strings.Contains(text, "permission denied"), strings.Contains(text, "exec format error"):
		e.Final = true
		e.Reason.Code = "not_executable"
		e.Reason.Message = fmt.Sprintf("the program in image %s cannot be run: %v", spec.Image, err)
		e.Reason.Fix = "make it executable in the image, built for this machine"
	case strings.Contains(text, "could not select device driver"):
		e.Final = true
		e.Reason.Code = "devices_unavailable"
		e.Reason.Message = fmt.Sprintf("container %s asks for %d GPUs, and Docker has none to give", spec.Name, spec.Compute.GPU)
		e.Reason.Fix = "install the NVIDIA container toolkit, or set compute.gpu to 0"
	case client.IsErrConnectionFailed(err):
		return r.silent(err)
	}
	e.Reason.Evidence = []workload.Evidence{{Kind: "engine", Text: text}}
	return e
}
