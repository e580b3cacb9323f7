package workload

// CodeNotOnOneMachine is a key that only Kubernetes gives a meaning to.
const CodeNotOnOneMachine = "spec.only_on_kubernetes"

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
	lacks(s.Pod.SecurityContext != nil, "pod.security_context", "it has no volumes that a group could own", "remove it")
	lacks(len(s.Pod.Volumes) > 0, "pod.volumes", "it has no volumes", "remove it; containers of a pod share /mnt, and processes read their files where they are")
	eachContainer(s, func(path string, c *Container) {
		lacks(len(c.EnvFrom) > 0, path+".env_from", "it keeps no secrets and no config maps", "remove it, and set the variables in env")
		lacks(c.SecurityContext != nil, path+".security_context", "processes have the privileges of their user, and containers those of Docker's default, without a way to more", "remove it")
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
