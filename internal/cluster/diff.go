package cluster

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// State is what there is of a cluster, by the ids of its steps.
type State map[string]Made

// Made is what there is of one step.
type Made struct {
	Digest string `json:"digest"`
	Min    string `json:"min,omitempty"` // of a group of nodes
	Max    string `json:"max,omitempty"`
}

// Action is what is to be done about a step.
type Action string

// Actions, in the order in which people read them.
const (
	Create Action = "create"
	Update Action = "update"
	Scale  Action = "scale" // a group's numbers only, without its stack
	Remove Action = "remove"
)

// Change is one thing that has to be done.
type Change struct {
	ID     string `json:"id"`
	Action Action `json:"action"`
	Why    string `json:"why"`
}

// State is what there is after p has been carried out.
func (p *Plan) State() State {
	all := State{}
	for i := range p.Steps {
		all[p.Steps[i].ID] = p.Steps[i].made()
	}
	return all
}

// made is what there is of a step after it has been carried out. Values that an update
// keeps are no part of its digest.
func (s *Step) made() Made {
	stack := s.Do.Stack
	if stack == nil {
		return Made{Digest: digest(encode(s.Do))}
	}
	params := map[string]Source{}
	for name, from := range stack.Params {
		if !from.Once && !from.Along {
			params[name] = from
		}
	}
	return Made{
		Digest: digest(encode([]any{stack.Hash, params, stack.Tags})),
		Min:    stack.Params["Min"].Literal, Max: stack.Params["Max"].Literal,
	}
}

// Diff says what turns have into what want describes, in an order in which it can be
// done: what is missing or different as the plan has it, then what is too much. A nil
// plan is that of no cluster at all.
func Diff(have State, want *Plan) []Change {
	var changes []Change
	wanted := map[string]bool{}
	if want != nil {
		for i := range want.Steps {
			s := &want.Steps[i]
			wanted[s.ID] = true
			is, there := have[s.ID]
			should := s.made()
			switch {
			case !there:
				changes = append(changes, Change{s.ID, Create, s.Why})
			case is.Digest != should.Digest:
				changes = append(changes, Change{s.ID, Update, s.Why})
			}
			if there && (is.Min != should.Min || is.Max != should.Max) {
				changes = append(changes, Change{s.ID, Scale, fmt.Sprintf("from %s to %s nodes, was %s to %s", should.Min, should.Max, is.Min, is.Max)})
			}
		}
	}
	var surplus []string
	for _, id := range sortedKeys(have) {
		if !wanted[id] {
			surplus = append(surplus, id)
		}
	}
	slices.SortStableFunc(surplus, func(a, b string) int { return cmp.Compare(RemovalRank(a), RemovalRank(b)) })
	for _, id := range surplus {
		changes = append(changes, Change{id, Remove, "no longer wanted"})
	}
	return changes
}

// removals are beginnings of ids in the order in which things can be taken away: what
// uses something before what it uses. The most particular comes first.
var removals = []string{
	"environment", IDChart, IDAttach, IDStack + "nodes-cx-w", IDStack + "access", IDStack + "services", IDStack + "nodes-" + SystemGroup,
	IDStack + "addons", IDStack + "cluster", IDStack + "endpoints", IDStack + "network", IDRole, IDPolicy, IDQueues, "bucket", "log-group",
}

// RemovalRank orders ids by when things can be taken away: what has the same rank can go at
// the same time, and what has a lower one has to be gone before.
func RemovalRank(id string) int {
	return slices.IndexFunc(removals, func(p string) bool { return strings.HasPrefix(id, p) })
}

// changeable are the keys that a cluster that there is may be given other values of,
// besides its node groups.
var changeable = []string{
	"ssl_certificate_arn", "api_load_balancer_cidr_white_list", "operator_load_balancer_cidr_white_list",
	"cloudwatch_logs", "image_fluent_bit", "cloudwatch_metrics", "image_otel_collector",
}

// Reconfigure returns why a cluster cannot be made what after says: what it cannot change
// while it is there. Both are valid, with their defaults.
func Reconfigure(before, after *Config) []workload.Violation {
	k := &checker{}
	old, now := keysOf(before), keysOf(after)
	all := map[string]bool{}
	for _, m := range []map[string]json.RawMessage{old, now} {
		for key := range m {
			all[key] = true
		}
	}
	for _, key := range sortedKeys(all) {
		if slices.Contains(changeable, key) || bytes.Equal(old[key], now[key]) {
			continue
		}
		hint := "only node groups, ssl_certificate_arn, the white lists, cloudwatch_logs and cloudwatch_metrics can"
		if key == "kubernetes_version" {
			hint = "`cortex cluster upgrade` changes it"
		}
		k.add(workload.Violation{
			Path: key, Code: CodeCannotChange, Message: "cannot be changed while the cluster is there", Found: shownKey(now[key]), Allowed: shownKey(old[key]), Hint: hint,
		})
	}
	k.regroup(before, after)
	return k.list
}

// keysOf are the keys of a configuration with their values, node groups aside, as they
// are called in the file.
func keysOf(c *Config) map[string]json.RawMessage {
	plain := *c
	plain.NodeGroups, plain.Images = nil, nil
	plain.IAMPolicyARNs, plain.VPCCIDR = c.Policies(), c.Range() // a default that is said is no change
	keys := map[string]json.RawMessage{}
	if err := json.Unmarshal(encode(&plain), &keys); err != nil {
		panic(err) // encode has just written it
	}
	delete(keys, "node_groups")
	for name, image := range c.Images {
		keys["image_"+name] = encode(image)
	}
	return keys
}

func shownKey(v json.RawMessage) string {
	if v == nil {
		return "nothing"
	}
	const most = 80
	if len(v) > most {
		return strings.ToValidUTF8(string(v[:most]), "") + "…"
	}
	return string(v)
}

// regroup checks that groups which are there are only scaled, and that not too many
// nodes are added.
func (k *checker) regroup(before, after *Config) {
	for i := range after.NodeGroups {
		g := after.NodeGroups[i]
		j := slices.IndexFunc(before.NodeGroups, func(o NodeGroup) bool { return o.Name == g.Name })
		if j < 0 {
			continue
		}
		o := before.NodeGroups[j]
		may := "min_instances, max_instances and priority"
		g.MinInstances, g.MaxInstances, g.Priority = o.MinInstances, o.MaxInstances, o.Priority
		if before.mixes(&o) && after.mixes(&after.NodeGroups[i]) {
			s := *g.SpotConfig
			s.OnDemandBase, s.OnDemandPercentage, s.MaxPrice = o.SpotConfig.OnDemandBase, o.SpotConfig.OnDemandPercentage, o.SpotConfig.MaxPrice
			g.SpotConfig = &s
			may += ", on_demand_base_capacity, on_demand_percentage_above_base_capacity and max_price"
		}
		if !bytes.Equal(encode(g), encode(o)) {
			k.add(workload.Violation{
				Path: at("node_groups", i), Code: CodeOnlyScaled, Message: "cannot be changed but for " + may + " while the group is there", Found: g.Name,
				Hint: "make a group of another name, and remove this one when its APIs have moved",
			})
		}
	}
	if added := after.nodes() - before.nodes(); added > MaxNodesAtOnce {
		k.add(workload.Violation{
			Path: "node_groups", Code: CodeTooManyNodesConfigure, Message: "adds too many nodes at once: the sum of min_instances",
			Found: strconv.FormatInt(added, 10) + " more", Allowed: fmt.Sprintf("at most %d more", MaxNodesAtOnce), Hint: "take several steps",
		})
	}
}
