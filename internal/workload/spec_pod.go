package workload

// EnvFrom is a variable with a value that the cluster keeps. One of Secret and
// ConfigMap is set.
type EnvFrom struct {
	Name      string `json:"name"`
	Secret    string `json:"secret,omitempty"`
	ConfigMap string `json:"config_map,omitempty"`
	Key       string `json:"key"` // in it
}

// Toleration lets a pod onto nodes with a taint.
type Toleration struct {
	Key    string `json:"key"`
	Value  string `json:"value,omitempty"`  // empty: any
	Effect string `json:"effect,omitempty"` // empty: any
}

// PodSecurityContext is what the containers of a pod share.
type PodSecurityContext struct {
	FSGroup *int64 `json:"fs_group,omitempty"` // owns the volumes
}

// SecurityContext is what a container may do. What it does not say is the
// installation's.
type SecurityContext struct {
	RunAsUser              *int64        `json:"run_as_user,omitempty"`
	RunAsGroup             *int64        `json:"run_as_group,omitempty"`
	RunAsNonRoot           bool          `json:"run_as_non_root,omitempty"`
	ReadOnlyRootFilesystem bool          `json:"read_only_root_filesystem,omitempty"`
	Capabilities           *Capabilities `json:"capabilities,omitempty"`
}

// Unprivileged reports whether s keeps the container from being root.
func (s *SecurityContext) Unprivileged() bool {
	return s != nil && (s.RunAsNonRoot || s.RunAsUser != nil && *s.RunAsUser != 0)
}

// Capabilities are changes to those of the runtime's default.
type Capabilities struct {
	Add  []string `json:"add,omitempty"`
	Drop []string `json:"drop,omitempty"`
}

// Volume is something that containers of a pod mount. Exactly one source is set.
type Volume struct {
	Name                  string    `json:"name"`
	PersistentVolumeClaim string    `json:"persistent_volume_claim,omitempty"`
	ConfigMap             string    `json:"config_map,omitempty"`
	Secret                string    `json:"secret,omitempty"`
	EmptyDir              *EmptyDir `json:"empty_dir,omitempty"`
	HostPath              string    `json:"host_path,omitempty"` // a folder of the machine, only read; beside the file where it is relative
}

// EmptyDir is a folder that lives as long as the replica.
type EmptyDir struct {
	Size   *Quantity `json:"size"`             // nil: as much as the node has
	Memory bool      `json:"memory,omitempty"` // in memory, not on a disk
}

// VolumeMount is where a container has a volume of its pod.
type VolumeMount struct {
	Name      string `json:"name"` // of the volume
	MountPath string `json:"mount_path"`
	ReadOnly  bool   `json:"read_only,omitempty"`
}
