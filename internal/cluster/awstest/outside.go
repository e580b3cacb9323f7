package awstest

import (
	"fmt"
	"slices"
	"time"
)

// Outside is what an account does not simulate: a real Kubernetes behind its clusters. Its
// functions are called while nothing else happens in the account: they answer at once, and
// ask it for nothing. The zero value is no Kubernetes.
type Outside struct {
	// Endpoint is where the API server of a cluster is, once it is there. Without it, a
	// control plane has an address at which nobody listens.
	Endpoint func(cluster string) (at Endpoint, there bool)
	// Answers reports whether somebody listens at a port of the nodes of a cluster, which
	// is what a target group asks. Without it everybody does.
	Answers func(cluster string, port int) bool
}

// Endpoint is where a control plane is.
type Endpoint struct {
	URL string
	CA  []byte // PEM
}

func (o Outside) endpoint(cluster string) (Endpoint, bool) {
	if o.Endpoint == nil {
		return Endpoint{}, true
	}
	return o.Endpoint(cluster)
}

func (o Outside) answers(cluster string, port int) bool {
	return o.Answers == nil || o.Answers(cluster, port)
}

// How a control plane is waited for that is not simulated: what stands for one may take as
// long as it takes.
const (
	nextLook  = 5 * time.Second
	neverMind = 24 * time.Hour
)

// Cluster is what of a cluster of EKS a Kubernetes has to show.
type Cluster struct {
	Name, Version, Status string
	Entries               []Entry
	NodeRoles             []string // ARNs that EKS has written into the ConfigMap aws-auth
	Groups                []Group  // whose nodes have joined
}

// Entry is an access entry of somebody who is still the one that it was made for.
type Entry struct {
	ARN, ID       string
	Role          bool // else a user
	Username      string
	Groups        []string
	Administrator bool // by the policy of EKS, which knows no group for it
}

// Group is a managed node group, with what EKS puts on its nodes.
type Group struct {
	Name   string
	Labels map[string]string
	Taints []Taint
	Nodes  []Node
}

// Taint is one of a node, as Kubernetes spells it.
type Taint struct{ Key, Value, Effect string }

// Node is an instance of a node group.
type Node struct{ ID, Name, Type, Zone string }

// Clusters are those of EKS that there are, by name.
func (a *Account) Clusters() (all []Cluster) {
	defer a.locked()()
	for _, name := range sorted(a.eks.clusters) {
		k := a.eks.clusters[name]
		c := Cluster{Name: name, Version: k.version(), Status: k.status(), NodeRoles: slices.Clone(k.authMap)}
		for _, arn := range sorted(k.entries) {
			if e := k.entries[arn]; e.of != "" && e.of == a.identified(arn) && textOf(e.view["type"]) == "STANDARD" {
				c.Entries = append(c.Entries, Entry{
					ARN: arn, ID: e.of, Role: a.isRole(arn), Username: textOf(e.view["username"]), Groups: valuesAt(e.view, []string{"kubernetesGroups"}), Administrator: k.administrator(a, arn),
				})
			}
		}
		for _, group := range sorted(k.nodegroups) {
			if n := k.nodegroups[group]; n.status() == "ACTIVE" || n.status() == "UPDATING" {
				c.Groups = append(c.Groups, a.joinedGroup(n))
			}
		}
		all = append(all, c)
	}
	return all
}

func (a *Account) isRole(arn string) bool {
	for _, r := range a.iam.roles {
		if r.arn == arn {
			return true
		}
	}
	return false
}

// effects are the words of Kubernetes for those of EKS.
var effects = map[string]string{"NO_SCHEDULE": "NoSchedule", "NO_EXECUTE": "NoExecute", "PREFER_NO_SCHEDULE": "PreferNoSchedule"}

// joinedGroup is a node group with the labels that EKS adds to those that it was given.
func (a *Account) joinedGroup(n *nodegroup) Group {
	g := Group{Name: textOf(n.view["nodegroupName"]), Labels: map[string]string{
		"eks.amazonaws.com/nodegroup": textOf(n.view["nodegroupName"]), "eks.amazonaws.com/capacityType": textOf(n.view["capacityType"]),
	}}
	for key, v := range n.view["labels"].(object) {
		g.Labels[key] = textOf(v)
	}
	taints, _ := n.view["taints"].([]any)
	for _, each := range taints {
		t := each.(object)
		g.Taints = append(g.Taints, Taint{textOf(t["key"]), textOf(t["value"]), effects[textOf(t["effect"])]})
	}
	if s := a.asg.groups[n.group]; s != nil {
		for _, id := range s.instances {
			i := a.ec2.records[id]
			g.Nodes = append(g.Nodes, Node{ID: id, Name: i.text("privateDnsName"), Type: i.text("instanceType"), Zone: textOf(i.data["placement"].(object)["availabilityZone"])})
		}
	}
	return g
}

// Leads is where a load balancer sends a connection to one of its ports: to a port of the
// nodes of a cluster. An error says why it would be refused, or would find nobody.
func (a *Account) Leads(host string, port int) (cluster string, nodePort int, err error) {
	defer a.locked()()
	for _, b := range a.elb.of("loadbalancer") {
		if b.view["DNSName"] != host {
			continue
		}
		if b.view["State"].(object)["Code"] != "active" {
			return "", 0, fmt.Errorf("the load balancer %s is being made", host)
		}
		for _, l := range a.elb.of("listener") {
			if l.view["LoadBalancerArn"] == b.arn && l.view["Port"] == port {
				return a.forwards(l)
			}
		}
		return "", 0, fmt.Errorf("no listener of %s has port %d", host, port)
	}
	return "", 0, fmt.Errorf("no load balancer is called %s", host)
}

// forwards is where a listener forwards to.
func (a *Account) forwards(l *elbThing) (cluster string, nodePort int, err error) {
	for _, arn := range valuesAt(l.view, []string{"DefaultActions", "TargetGroupArn"}) {
		for _, name := range sorted(a.asg.groups) {
			g := a.asg.groups[name]
			if slices.Contains(g.targets, arn) && len(g.instances) > 0 {
				return g.tags["eks:cluster-name"].value, a.elb.find("targetgroup", arn).port(), nil
			}
		}
	}
	return "", 0, fmt.Errorf("no target is attached to what %s forwards to", l.arn)
}

// port is the port of a target group.
func (t *elbThing) port() int {
	p, _ := t.view["Port"].(int)
	return p
}
