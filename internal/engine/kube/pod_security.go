package kube

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"cortex.dev/cortex/internal/workload"
)

func podSecurityOf(p *workload.Pod) *corev1.PodSecurityContext {
	s := &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
	if p.SecurityContext != nil {
		s.FSGroup = p.SecurityContext.FSGroup
	}
	return s
}

// securityOf lets a container do what the runtime's default capabilities allow and
// nothing that it did not start with. That is what most images are made for: those
// that run as root, change owners and listen on port 80 keep working, those that
// rely on sudo or other programs with a set-user-ID bit do not.
//
// A container that is not root has no use for capabilities, since it can gain none: it
// passes the restricted pod security standard by itself. Where the installation enforces
// that, every container is taken for one that is not root, and the node refuses to start
// an image that is.
func securityOf(cfg PodConfig, r *workload.Revision, c *workload.Container) *corev1.SecurityContext {
	none, yes := false, true
	if slices.Contains(cfg.Unconfined, r.Name+"/"+c.Name) {
		return &corev1.SecurityContext{Privileged: &yes}
	}
	s := &corev1.SecurityContext{AllowPrivilegeEscalation: &none}
	var add, drop []corev1.Capability
	if asked := c.SecurityContext; asked != nil {
		s.RunAsUser, s.RunAsGroup = asked.RunAsUser, asked.RunAsGroup
		if asked.ReadOnlyRootFilesystem {
			s.ReadOnlyRootFilesystem = &yes
		}
		if asked.Capabilities != nil {
			add, drop = capabilities(asked.Capabilities.Add), capabilities(asked.Capabilities.Drop)
		}
	}
	if cfg.Restricted || c.SecurityContext.Unprivileged() {
		s.RunAsNonRoot, drop = &yes, []corev1.Capability{"ALL"}
	}
	if c.Compute != nil && c.Compute.Inf > 0 {
		// The driver of the chips wants both (REFERENCE 1.4). The container starts with
		// them, so it still need not gain any.
		add = append(add, "SYS_ADMIN", "IPC_LOCK")
	}
	if len(add)+len(drop) > 0 {
		s.Capabilities = &corev1.Capabilities{Add: add, Drop: drop}
	}
	return s
}

func capabilities(names []string) []corev1.Capability {
	var out []corev1.Capability
	for _, name := range names {
		out = append(out, corev1.Capability(name))
	}
	return out
}
