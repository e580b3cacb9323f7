package cluster

import (
	"fmt"
	"slices"
	"strings"
)

func commas(list []string) string { return strings.Join(list, ",") }

// Quota is a limit of the account that a cluster counts against.
type Quota struct {
	Service string   `json:"service"`
	Code    string   `json:"code"`
	Name    string   `json:"name"`
	Need    int64    `json:"need"`            // now
	Most    int64    `json:"most,omitempty"`  // with all groups at their max_instances, where it is more
	Limit   *float64 `json:"limit,omitempty"` // nil: not known
	Used    *float64 `json:"used,omitempty"`  // nil: not known
	State   string   `json:"state"`
	own     bool     // of the cluster alone: nothing else counts against it
}

// States of a quota.
const (
	QuotaFits     = "fits"
	QuotaTight    = "tight"    // as long as groups do not grow to their max_instances
	QuotaExceeded = "exceeded" // the cluster could not be made
	QuotaUnknown  = "unknown"  // AWS has not said what the limit is, or what is used of it
)

// Ask says what to ask AWS for, where a quota is exceeded or tight.
func (q Quota) Ask() string {
	used := 0.0
	if q.Used != nil {
		used = *q.Used
	}
	return fmt.Sprintf("ask AWS for %.0f: aws service-quotas request-service-quota-increase --service-code %s --quota-code %s --desired-value %.0f",
		float64(max(q.Need, q.Most))+used, q.Service, q.Code, float64(max(q.Need, q.Most))+used)
}

// Exceeded are the quotas because of which a plan cannot be carried out.
func (p *Plan) Exceeded() []Quota {
	return slices.DeleteFunc(slices.Clone(p.Quotas), func(q Quota) bool { return q.State != QuotaExceeded })
}

// Growth are the quotas for which a cluster that is there grows too large when it becomes what
// p has. What it uses already is in what AWS says is used.
func (p *Plan) Growth(before *Plan) (all []Quota) {
	had := map[string]int64{}
	for _, q := range before.Quotas {
		had[q.Service+q.Code] = q.Need
	}
	for _, q := range p.Quotas {
		more := q.Need - had[q.Service+q.Code]
		if !q.own {
			q.Need, q.Most = more, 0
		}
		if more > 0 && q.Limit != nil && q.Used != nil && float64(q.Need)+*q.Used > *q.Limit {
			q.State = QuotaExceeded
			all = append(all, q)
		}
	}
	return all
}

// quotas are what a cluster needs of each limit that clusters are known to run into.
func (b *builder) quotas(groups []managed) []Quota {
	q := &needs{f: b.f}
	q.add("eks", "L-1194D53C", "clusters in the region", 1, 0, false)
	var managedGroups, largest int64
	for _, m := range groups {
		if m.mix == nil {
			managedGroups, largest = managedGroups+1, max(largest, m.max)
		}
	}
	q.add("eks", "L-6D54EA21", "managed node groups in the cluster", managedGroups, 0, true)
	q.add("eks", "L-BD136A63", "nodes in a managed node group", 0, largest, true)
	if !b.c.OwnNetwork() {
		q.add("vpc", "L-F678F1CE", "VPCs in the region", 1, 0, false)
		q.add("vpc", "L-A4707A72", "internet gateways in the region", 1, 0, false)
		if n := int64(len(b.natZones())); n > 0 {
			q.add("vpc", "L-FE5A380F", "NAT gateways in a zone", 1, 0, false)
			q.add("ec2", "L-0263D0A3", "elastic IP addresses", n, 0, false)
		}
	}
	q.add("vpc", "L-E79EC296", "security groups in the region", 3, 0, false)
	var most int
	for _, lb := range b.balancers() {
		most = max(most, len(rules(lb)))
	}
	q.add("vpc", "L-0EA8095F", "rules of a security group: addresses of a white list, for each port", int64(most), 0, true)
	q.add("elasticloadbalancing", "L-69A177A2", "network load balancers in the region", 2, 0, false)
	b.cpuQuotas(q, groups)
	return q.list
}

// cpuQuotas are those of virtual CPUs, by class and market.
func (b *builder) cpuQuotas(q *needs, groups []managed) {
	type class struct{ name, code string }
	now, most := map[class]int64{}, map[class]int64{}
	var order []class
	for _, m := range groups {
		of := quotaClassOf(m.types[0])
		if of == nil {
			continue
		}
		// Any type of a group may be the one that there is.
		var cpus int64
		for _, t := range m.types {
			cpus = max(cpus, b.f.InstanceTypes[t].VCPUs)
		}
		need := func(c class, least, largest int64) {
			if c.code == "" || largest == 0 {
				return
			}
			if _, known := most[c]; !known {
				order = append(order, c)
			}
			now[c] += least * cpus
			most[c] += largest * cpus
		}
		least, largest := m.onDemandOf(m.min), m.onDemandOf(m.max)
		need(class{"virtual CPUs of " + of.what + " instances on demand", of.onDemand}, least, largest)
		need(class{"virtual CPUs of " + of.what + " spot instances", of.spot}, m.min-least, m.max-largest)
	}
	for _, c := range order {
		q.add("ec2", c.code, c.name, now[c], most[c], false)
	}
}

// needs collects quotas.
type needs struct {
	f    *Facts
	list []Quota
}

// add notes a need. Of a limit that is the cluster's own nothing is used yet.
func (n *needs) add(service, code, name string, need, most int64, own bool) {
	q := Quota{Service: service, Code: code, Name: name, Need: need, State: QuotaUnknown, own: own}
	if most > need {
		q.Most = most
	}
	if fact := n.f.quota(service, code); fact != nil {
		limit := fact.Limit
		q.Limit, q.Used = &limit, fact.Used
		if own {
			q.Used = new(float64)
		}
	}
	switch {
	case q.Limit == nil:
	case float64(need) > *q.Limit || q.Used != nil && float64(need)+*q.Used > *q.Limit:
		q.State = QuotaExceeded
	case q.Used == nil:
	case float64(q.Most)+*q.Used > *q.Limit:
		q.State = QuotaTight
	default:
		q.State = QuotaFits
	}
	n.list = append(n.list, q)
}
