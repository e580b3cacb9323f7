package workload

// CodeNotOnOneMachine is a key that only Kubernetes gives a meaning to.
const CodeNotOnOneMachine = "spec.only_on_kubernetes"

// CodeOnlyOneMachine is a key that only one machine gives a meaning to.
const CodeOnlyOneMachine = "spec.only_on_one_machine"

// OneMachine returns what a replica of s would lack on one machine, because only
// Kubernetes has it. What says no more than where pods run and what they are labelled
// with is not among it: it asks for nothing there.
func (s *Spec) OneMachine() []Violation {
	vs := &violations{}
	lacks := func(missing bool, path, why, hint string) {
		if missing {
			vs.add(Violation{Path: path, Code: CodeNotOnOneMachine, Message: "cannot be had on one machine: " + why, Hint: hint})
		}
	}
	if s.Pod == nil {
		return nil
	}
	lacks(s.Pod.ServiceAccount != "", "pod.service_account", "it has no service accounts", "remove it; replicas have the credentials of the environment")
	eachVolume(s, func(path string, v *Volume) {
		lacks(v.ConfigMap != "", path+".config_map", "it keeps no config maps", "name a folder beside the file: host_path")
		lacks(v.Secret != "", path+".secret", "it keeps no secrets of Kubernetes", "set variables in env: to {secret: NAME} after cortex secret set NAME")
		if v.EmptyDir == nil || !v.EmptyDir.Memory {
			return
		}
		processes, images := s.mountedBy(v.Name)
		lacks(processes > 0, path+".empty_dir.memory", "processes have no folders in memory", "remove it, or name images")
		lacks(processes == 0 && images > 1, path+".empty_dir.memory", "containers in Docker do not share folders in memory", "remove it, or have one container mount the volume")
	})
	eachContainer(s, func(path string, c *Container) {
		lacks(len(c.EnvFrom) > 0, path+".env_from", "it keeps no secrets and no config maps of Kubernetes", "remove it, and set the variables in env: to a value, or to {secret: NAME} after cortex secret set NAME")
		lacks(c.Image == "" && c.SecurityContext != nil, path+".security_context", "processes have the privileges of their user", "remove it, or name an image")
		if c.Compute == nil {
			return
		}
		path += ".compute"
		lacks(len(c.Compute.Devices) > 0, path+".devices", "it has no plugins for devices", "remove it")
		lacks(len(c.Compute.ResourceClaimTemplates) > 0, path+".resource_claim_templates", "it has no resource claims", "remove it")
		lacks(c.Image == "" && c.Compute.Limits != nil && c.Compute.Limits.CPU != nil, path+".limits.cpu", "processes have no such limit", "remove it, or name an image")
	})
	return vs.list
}

// MaxMem is the memory at which one machine ends a container; nil: there is no limit.
func (c *Compute) MaxMem() *Quantity {
	if c.Limits != nil && c.Limits.Mem != nil {
		return c.Limits.Mem
	}
	return c.Mem
}

// mountedBy counts the containers that mount a volume: those without and with an image.
func (s *Spec) mountedBy(volume string) (processes, images int) {
	for i := range s.Pod.Containers {
		c := &s.Pod.Containers[i]
		for _, m := range c.VolumeMounts {
			switch {
			case m.Name != volume:
			case c.Image == "":
				processes++
			default:
				images++
			}
		}
	}
	return processes, images
}

// OnKubernetes returns what s would lack on Kubernetes, because only one machine has it.
func (s *Spec) OnKubernetes() []Violation {
	vs := &violations{}
	for _, f := range s.HostFolders() {
		vs.add(Violation{
			Path: f.Path, Code: CodeOnlyOneMachine, Found: abbreviate(f.Folder), Message: "cannot be had on Kubernetes: a folder of a node is a way to take it over, and other nodes do not have it",
			Hint: "put the files into the image, or into a persistent volume and name its claim: persistent_volume_claim",
		})
	}
	return vs.list
}
