package workload

import (
	"fmt"
	"slices"
	"strings"
)

// podRules are the rules across the fields of what a pod says to Kubernetes.
func podRules(pods []Kind) []Rule {
	return []Rule{
		across("pod.containers[]", pods, variableTwice,
			notInCEL("values of env have no type that CEL knows")),
		across("pod.containers[]", pods, secretInCommand,
			notInCEL("variables are made of others, which CEL cannot follow")),
		across("pod.containers[]", pods, oneOrigin,
			notInCEL("made of the oneOf of the JSON Schema")),
		across("pod.containers[].security_context", pods, rootOrNot,
			inCEL(".run_as_user", "must not be 0 with run_as_non_root",
				"!(has(self.run_as_non_root) && self.run_as_non_root && has(self.run_as_user) && self.run_as_user == 0)")),
		across("pod.containers[].compute", pods, limitsBelowRequests,
			notInCEL("a quantity has no structural type, so that CEL cannot read it")),

		across("pod.volumes[]", pods, oneSource,
			notInCEL("made of the oneOf of the JSON Schema")),
		across("pod.volumes[]", pods, volumeNames,
			notInCEL("the list is a map by name")),
		across("pod.containers[].volume_mounts[]", pods, mountedTwice,
			notInCEL("the list is a map by name")),
		across("pod.containers[].volume_mounts", pods, pathTwice,
			inCEL("", "each mount_path must be another",
				"self.all(a, self.exists_one(b, b.mount_path == a.mount_path))")),
		across("pod", pods, mountedVolumes,
			inCEL(".containers", "volume_mounts must name volumes of the pod",
				"self.containers.all(c, !has(c.volume_mounts) || c.volume_mounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name)))")),
	}
}

// once refuses a name that was seen already in its scope; one that is missing is another
// rule's. What says in words what is there twice.
func (vs *violations) once(seen map[string]bool, scope, path, name, what string) {
	key := scope + " " + name
	if name != "" && seen[key] {
		vs.add(Violation{Path: path, Code: CodeDuplicatedValue, Message: what, Found: abbreviate(name)})
	}
	seen[key] = true
}

func variableTwice(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		seen := map[string]bool{}
		for i, v := range c.EnvFrom {
			at := fmt.Sprintf("%s.env_from[%d].name", path, i)
			if _, also := c.Env[v.Name]; also {
				vs.add(Violation{
					Path: at, Code: CodeDuplicatedValue, Message: "is a variable of env too", Found: v.Name,
					Hint: "keep one of the two", Related: []string{joinPath(path+".env", v.Name)},
				})
			}
			vs.once(seen, "", at, v.Name, "is a variable twice")
		}
	})
}

// given is one of several keys.
type given struct {
	key string
	set bool
}

// exactlyOne asks for one of the keys below path.
func (vs *violations) exactlyOne(path string, keys ...given) {
	var all, set, related []string
	for _, k := range keys {
		all, related = append(all, k.key), append(related, joinPath(path, k.key))
		if k.set {
			set = append(set, k.key)
		}
	}
	if len(set) != 1 {
		vs.add(Violation{
			Path: path, Code: CodeExactlyOneField, Allowed: orList(all), Message: "exactly one of " + orList(all) + " must be specified",
			Found: strings.Join(set, " and "), Related: related,
		})
	}
}

func oneOrigin(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		for i, v := range c.EnvFrom {
			vs.exactlyOne(fmt.Sprintf("%s.env_from[%d]", path, i), given{"secret", v.Secret != ""}, given{"config_map", v.ConfigMap != ""})
		}
	})
}

func rootOrNot(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		if x := c.SecurityContext; x != nil && x.RunAsNonRoot && x.RunAsUser != nil && *x.RunAsUser == 0 {
			vs.add(Violation{
				Path: path + ".security_context.run_as_user", Code: CodeDisallowedValue, Message: "must not be 0 with run_as_non_root", Found: "0",
				Hint: "0 is root", Related: []string{path + ".security_context.run_as_non_root"},
			})
		}
	})
}

func limitsBelowRequests(vs *violations, s *Spec) {
	eachContainer(s, func(path string, c *Container) {
		if c.Compute == nil || c.Compute.Limits == nil {
			return
		}
		path += ".compute"
		for _, q := range []struct {
			key            string
			request, limit *Quantity
		}{{"cpu", c.Compute.CPU, c.Compute.Limits.CPU}, {"mem", c.Compute.Mem, c.Compute.Limits.Mem}} {
			if q.request != nil && q.limit != nil && q.limit.Cmp(*q.request) < 0 {
				vs.add(Violation{
					Path: path + ".limits." + q.key, Code: CodeGreaterOrEqual, Found: q.limit.String(),
					Message: fmt.Sprintf("must be at least what is requested (%s)", q.request), Related: []string{path + "." + q.key},
				})
			}
		}
	})
}

func eachVolume(s *Spec, fn func(path string, v *Volume)) {
	if s.Pod == nil {
		return
	}
	for i := range s.Pod.Volumes {
		fn(fmt.Sprintf("pod.volumes[%d]", i), &s.Pod.Volumes[i])
	}
}

func oneSource(vs *violations, s *Spec) {
	eachVolume(s, func(path string, v *Volume) {
		vs.exactlyOne(path, given{"persistent_volume_claim", v.PersistentVolumeClaim != ""}, given{"config_map", v.ConfigMap != ""},
			given{"secret", v.Secret != ""}, given{"empty_dir", v.EmptyDir != nil}, given{"host_path", v.HostPath != ""})
	})
}

func volumeNames(vs *violations, s *Spec) {
	seen := map[string]bool{}
	eachVolume(s, func(path string, v *Volume) { vs.once(seen, "", path+".name", v.Name, "is a volume twice") })
}

func eachMount(s *Spec, fn func(container, path string, m VolumeMount)) {
	eachContainer(s, func(container string, c *Container) {
		for i, m := range c.VolumeMounts {
			fn(container, fmt.Sprintf("%s.volume_mounts[%d]", container, i), m)
		}
	})
}

func mountedTwice(vs *violations, s *Spec) {
	seen := map[string]bool{}
	eachMount(s, func(container, path string, m VolumeMount) {
		vs.once(seen, container, path+".name", m.Name, "is mounted twice in one container")
	})
}

func pathTwice(vs *violations, s *Spec) {
	seen := map[string]bool{}
	eachMount(s, func(container, path string, m VolumeMount) {
		vs.once(seen, container, path+".mount_path", m.MountPath, "is mounted at by another volume")
	})
}

func mountedVolumes(vs *violations, s *Spec) {
	var names []string
	eachVolume(s, func(_ string, v *Volume) { names = append(names, v.Name) })
	eachMount(s, func(_, path string, m VolumeMount) {
		if m.Name != "" && !slices.Contains(names, m.Name) {
			vs.add(Violation{
				Path: path + ".name", Code: CodeDisallowedValue, Message: "is not a volume of the pod", Found: m.Name, Allowed: orList(names),
				Hint: "add it to pod.volumes", Related: []string{"pod.volumes"},
			})
		}
	})
}
