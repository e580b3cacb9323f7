package workload

import (
	"fmt"
	"slices"
)

func (vs *violations) targets(targets []Target) {
	if targets == nil {
		return // told by sections
	}
	if len(targets) == 0 {
		vs.empty("apis", "list the RealtimeAPIs that share the traffic")
		return
	}
	for i, t := range targets {
		if t.Name == "" {
			vs.missing(fmt.Sprintf("apis[%d].name", i), "name", "the name of a RealtimeAPI")
		}
	}
}

// ValidateSet returns the rules that the specs of one file break among each other:
// names and endpoints used twice, and splitters whose targets are in the file but
// are no RealtimeAPI. Violation.Index says which spec a violation belongs to.
func ValidateSet(specs []Spec) []Violation {
	if len(specs) == 0 {
		return []Violation{{Index: -1, Code: CodeNoAPIs, Message: "at least one API must be defined"}}
	}
	vs := &violations{}
	names := make(map[string]int, len(specs))
	endpoints, hosts := make(map[string]int, len(specs)), make(map[string]int)
	for i := range specs {
		s := &specs[i]
		if first, taken := names[s.Name]; taken && s.Name != "" {
			vs.add(Violation{
				Index: i, Path: "name", Code: CodeDuplicateName, Found: abbreviate(s.Name),
				Message: fmt.Sprintf("the name %q is already used by the %s at index %d", abbreviate(s.Name), specs[first].Kind, first),
				Hint:    "every API of a file needs its own name",
			})
		} else {
			names[s.Name] = i
		}
		if s.Networking == nil {
			continue
		}
		if host := s.Networking.Host; host != "" {
			if first, taken := hosts[host]; taken && specs[first].Name != s.Name {
				vs.add(Violation{
					Index: i, Path: "networking.host", Code: CodeDuplicateHost, Found: abbreviate(host),
					Message: fmt.Sprintf("the host %s is already that of %s", abbreviate(host), abbreviate(specs[first].Name)),
				})
			}
			hosts[host] = i
		}
		if s.Networking.Endpoint == "" {
			continue
		}
		if first, taken := endpoints[s.Networking.Endpoint]; taken {
			if specs[first].Name == s.Name {
				continue // the name is the problem
			}
			vs.add(Violation{
				Index: i, Path: "networking.endpoint", Code: CodeDuplicateEndpoint, Found: abbreviate(s.Networking.Endpoint),
				Message: fmt.Sprintf("the endpoint %s is already used by %s", abbreviate(s.Networking.Endpoint), abbreviate(specs[first].Name)),
			})
		} else {
			endpoints[s.Networking.Endpoint] = i
		}
	}
	for i := range specs {
		for j, t := range specs[i].APIs {
			if at, here := names[t.Name]; here && t.Name != "" && specs[at].Kind != Realtime && slices.Contains(Kinds(), specs[at].Kind) {
				vs.add(Violation{
					Index: i, Path: fmt.Sprintf("apis[%d].name", j), Code: CodeTargetNotDeployed, Found: t.Name,
					Message: fmt.Sprintf("%s is a %s; only a RealtimeAPI can be a target", t.Name, specs[at].Kind),
				})
			}
		}
	}
	return vs.list
}
