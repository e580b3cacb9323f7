package manifest

import "cortex.dev/cortex/internal/workload"

// What a pod says to Kubernetes.

// word is a string that has a shape and is not empty.
func word[T any](path, key, doc string, into func(*T) *string) field[T] {
	shape := workload.ShapeOf(path + key)
	return field[T]{
		key: key, doc: doc, required: shape.Required,
		schema: func(workload.Kind) object { o := shapeSchema(path + key); o["minLength"] = 1; return o },
		set: func(s *scope, t *T, v value) {
			*into(t), _ = s.filledOr(v, workload.WordsOf(shape.Pattern), "")
		},
	}
}

// truthField is false where it is absent.
func truthField[T any](key, doc string, into func(*T) *bool) field[T] {
	return field[T]{key: key, doc: doc, schema: fixed(object{"type": "boolean", "default": false}), set: set((*scope).truth, into)}
}

// number is a whole number that may be absent.
func number[T any](path, key, doc string, into func(*T) **int64) field[T] {
	return field[T]{
		key: key, doc: doc, schema: wholeSchema(path+key, nil),
		set: func(s *scope, t *T, v value) {
			if n, ok := s.int64(v); ok {
				*into(t) = &n
			}
		},
	}
}

// list is a list of maps, which may be empty.
func list[T, E any](key, doc string, sec *section[E], into func(*T) *[]E) field[T] {
	return field[T]{
		key: key, doc: doc,
		schema: orEmpty(listSchema(sec)),
		set: func(s *scope, t *T, v value) {
			decodeList(s, sec, v, into(t), func() (e E) { return e })
			if len(*into(t)) == 0 {
				*into(t) = nil // says the same as an absent one, and is kept as such
			}
		},
	}
}

// words is a list of strings with a shape, which may be empty.
func words[T any](path, key, doc string, into func(*T) *[]string) field[T] {
	return field[T]{
		key: key, doc: doc,
		schema: func(workload.Kind) object {
			return object{"type": "array", "items": shapeSchema(path + key + "[]")}
		},
		set: set((*scope).wordsPresent, into),
	}
}

// textMap is a map of strings whose keys have a shape, and whose values may have one.
func textMap[T any](path, key, doc string, into func(*T) *map[string]string) field[T] {
	return field[T]{
		key: key, doc: doc,
		schema: func(workload.Kind) object {
			value := stringSchema()
			if workload.HasShape(path + key + "{}") {
				value = shapeSchema(path + key + "{}")
			}
			return object{"type": "object", "propertyNames": shapeSchema(path + key + "{key}"), "additionalProperties": value}
		},
		set: set((*scope).texts, into),
	}
}

// below is a section that may be absent.
func below[T, E any](key, doc string, sec *section[E], into func(*T) **E) field[T] {
	return field[T]{
		key: key, doc: doc, schema: sectionSchema(sec),
		set: func(s *scope, t *T, v value) {
			if e := new(E); decodeSection(s, sec, v, e) {
				*into(t) = e
			}
		},
	}
}

func placeFields() []field[workload.Pod] {
	return []field[workload.Pod]{
		word("pod.", "service_account", "the service account that clouds give rights to; its token for Kubernetes is not mounted (default: that of the namespace)",
			func(t *workload.Pod) *string { return &t.ServiceAccount }),
		textMap("pod.", "node_selector", "labels that nodes must have, beside node_groups (default: none)",
			func(t *workload.Pod) *map[string]string { return &t.NodeSelector }),
		list("tolerations", "taints of nodes that replicas accept (default: those of the devices they ask for)", &tolerationSection,
			func(t *workload.Pod) *[]workload.Toleration { return &t.Tolerations }),
		textMap("pod.", "labels", "labels of the pods, such as team: search; the keys are not Cortex's own",
			func(t *workload.Pod) *map[string]string { return &t.Labels }),
		textMap("pod.", "annotations", "annotations of the pods; the keys are not Cortex's own",
			func(t *workload.Pod) *map[string]string { return &t.Annotations }),
		below("security_context", "what the containers share", &podSecuritySection,
			func(t *workload.Pod) **workload.PodSecurityContext { return &t.SecurityContext }),
		list("volumes", "what containers can mount", &volumeSection,
			func(t *workload.Pod) *[]workload.Volume { return &t.Volumes }),
	}
}

var tolerationSection = section[workload.Toleration]{fields: []field[workload.Toleration]{
	word("pod.tolerations[].", "key", "the key of the taint", func(t *workload.Toleration) *string { return &t.Key }),
	word("pod.tolerations[].", "value", "its value (default: any)", func(t *workload.Toleration) *string { return &t.Value }),
	word("pod.tolerations[].", "effect", "its effect (default: any)", func(t *workload.Toleration) *string { return &t.Effect }),
}}

var podSecuritySection = section[workload.PodSecurityContext]{fields: []field[workload.PodSecurityContext]{
	number("pod.security_context.", "fs_group", "the group that owns the volumes, and that every container is in",
		func(t *workload.PodSecurityContext) **int64 { return &t.FSGroup }),
}}

var volumeSection = section[workload.Volume]{
	oneOf: []string{"persistent_volume_claim", "config_map", "secret", "empty_dir", "host_path"},
	fields: []field[workload.Volume]{
		word("pod.volumes[].", "name", "the name by which containers mount it", func(t *workload.Volume) *string { return &t.Name }),
		word("pod.volumes[].", "persistent_volume_claim", "a claim in the namespace of the APIs; on one machine a volume of this name, which is made when it is first mounted and kept until cortex volume delete", func(t *workload.Volume) *string { return &t.PersistentVolumeClaim }),
		word("pod.volumes[].", "config_map", "a config map there, a file for each key", func(t *workload.Volume) *string { return &t.ConfigMap }),
		word("pod.volumes[].", "secret", "a secret there, a file for each key", func(t *workload.Volume) *string { return &t.Secret }),
		below("empty_dir", "a folder that ends with the replica", &emptyDirSection, func(t *workload.Volume) **workload.EmptyDir { return &t.EmptyDir }),
		word("pod.volumes[].", "host_path", "on one machine only: a folder of the machine, such as one with weights, to read; a relative path is beside this file", func(t *workload.Volume) *string { return &t.HostPath }),
	},
}

var emptyDirSection = section[workload.EmptyDir]{fields: []field[workload.EmptyDir]{
	{
		key: "size", doc: "the most that it holds, such as 10Gi; on one machine of those in memory only (default: what the node has)", nullable: true,
		schema: quantitySchema("pod.volumes[].empty_dir.size", nil),
		set:    set((*scope).quantityPresent, func(t *workload.EmptyDir) **workload.Quantity { return &t.Size }),
	},
	truthField("memory", "keep it in memory, which counts as memory of the containers", func(t *workload.EmptyDir) *bool { return &t.Memory }),
}}

const inContainer = "pod.containers[]."

func containerPlaceFields() []field[workload.Container] {
	return []field[workload.Container]{
		list("env_from", "variables whose values the cluster keeps", &envFromSection,
			func(t *workload.Container) *[]workload.EnvFrom { return &t.EnvFrom }),
		below("security_context", "what the container may do", &securitySection,
			func(t *workload.Container) **workload.SecurityContext { return &t.SecurityContext }),
		list("volume_mounts", "where it has volumes of the pod", &mountSection,
			func(t *workload.Container) *[]workload.VolumeMount { return &t.VolumeMounts }),
	}
}

var envFromSection = section[workload.EnvFrom]{
	oneOf: []string{"secret", "config_map"},
	fields: []field[workload.EnvFrom]{
		word(inContainer+"env_from[].", "name", "the name of the variable", func(t *workload.EnvFrom) *string { return &t.Name }),
		word(inContainer+"env_from[].", "secret", "a secret in the namespace of the APIs", func(t *workload.EnvFrom) *string { return &t.Secret }),
		word(inContainer+"env_from[].", "config_map", "a config map there", func(t *workload.EnvFrom) *string { return &t.ConfigMap }),
		word(inContainer+"env_from[].", "key", "the key in it whose value the variable has", func(t *workload.EnvFrom) *string { return &t.Key }),
	},
}

var securitySection = section[workload.SecurityContext]{fields: []field[workload.SecurityContext]{
	number(inContainer+"security_context.", "run_as_user", "the user id it runs as (default: that of the image)", func(t *workload.SecurityContext) **int64 { return &t.RunAsUser }),
	number(inContainer+"security_context.", "run_as_group", "the group id it runs as (default: that of the image)", func(t *workload.SecurityContext) **int64 { return &t.RunAsGroup }),
	truthField("run_as_non_root", "refuse to start it as root", func(t *workload.SecurityContext) *bool { return &t.RunAsNonRoot }),
	truthField("read_only_root_filesystem", "let it write to volumes only", func(t *workload.SecurityContext) *bool { return &t.ReadOnlyRootFilesystem }),
	below("capabilities", "changes to the runtime's default capabilities", &capabilitiesSection, func(t *workload.SecurityContext) **workload.Capabilities { return &t.Capabilities }),
}}

var capabilitiesSection = section[workload.Capabilities]{fields: []field[workload.Capabilities]{
	words(inContainer+"security_context.capabilities.", "add", "capabilities it has more", func(t *workload.Capabilities) *[]string { return &t.Add }),
	words(inContainer+"security_context.capabilities.", "drop", "capabilities it has not; ALL are all", func(t *workload.Capabilities) *[]string { return &t.Drop }),
}}

var mountSection = section[workload.VolumeMount]{fields: []field[workload.VolumeMount]{
	word(inContainer+"volume_mounts[].", "name", "the name of the volume", func(t *workload.VolumeMount) *string { return &t.Name }),
	word(inContainer+"volume_mounts[].", "mount_path", "where it is in the container, as the variable CORTEX_VOLUME_<NAME> says; of a process on one machine the variable says where else", func(t *workload.VolumeMount) *string { return &t.MountPath }),
	truthField("read_only", "the container may not write to it", func(t *workload.VolumeMount) *bool { return &t.ReadOnly }),
}}

var limitsSection = section[workload.Limits]{fields: []field[workload.Limits]{
	limit("cpu", "cores it never gets more of (default: none)", func(t *workload.Limits) **workload.Quantity { return &t.CPU }),
	limit("mem", "memory at which it is ended (default: none)", func(t *workload.Limits) **workload.Quantity { return &t.Mem }),
}}

func limit(key, doc string, into func(*workload.Limits) **workload.Quantity) field[workload.Limits] {
	return field[workload.Limits]{
		key: key, doc: doc, nullable: true, schema: quantitySchema(inContainer+"compute.limits."+key, nil),
		set: set((*scope).quantityPresent, into),
	}
}

func computePlaceFields() []field[workload.Compute] {
	const devices = inContainer + "compute.devices"
	return []field[workload.Compute]{
		below("limits", "what the container never gets more of", &limitsSection, func(t *workload.Compute) **workload.Limits { return &t.Limits }),
		{
			key: "devices", doc: "counts of other devices by the names of their plugins, such as nvidia.com/mig-1g.5gb: 1 (default: none)",
			schema: func(k workload.Kind) object {
				return object{
					"type": "object", "propertyNames": shapeSchema(devices + "{key}"),
					"additionalProperties": wholeSchema(devices+"{}", nil)(k),
				}
			},
			set: set((*scope).counts, func(t *workload.Compute) *map[string]int64 { return &t.Devices }),
		},
		words(inContainer+"compute.", "resource_claim_templates", "ResourceClaimTemplates of which each replica gets a claim (dynamic resource allocation)",
			func(t *workload.Compute) *[]string { return &t.ResourceClaimTemplates }),
	}
}

// shapeSchema describes a string with a shape.
func shapeSchema(path string) object {
	shape := workload.ShapeOf(path)
	o := object{"type": "string", "pattern": shape.Pattern}
	if shape.Max > 0 {
		o["maxLength"] = shape.Max
	}
	if shape.Not != "" {
		o["not"] = object{"pattern": shape.Not}
	}
	return o
}
