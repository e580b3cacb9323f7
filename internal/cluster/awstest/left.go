package awstest

import "strings"

// Left names everything that still exists and costs something, is in somebody's way or is
// open to somebody: after a cluster is gone it is empty.
func (a *Account) Left() []string {
	defer a.locked()()
	var list []string
	add := func(what, name string) { list = append(list, what+" "+name) }
	for _, s := range a.cfn.stacks {
		if s.status != "DELETE_COMPLETE" {
			add("stack", s.name+" "+s.status)
		}
	}
	for _, name := range sorted(a.eks.clusters) {
		k := a.eks.clusters[name]
		add("cluster", name+" "+k.status())
		for _, n := range sorted(k.nodegroups) {
			add("nodegroup", name+"/"+n)
		}
	}
	for _, id := range a.ec2.order {
		r := a.ec2.records[id]
		if !r.foreign && !r.over() {
			name, _ := tagOf(r.data, "Name")
			add(r.kind, strings.TrimSpace(id+" "+name+" "+r.text("description")))
		}
	}
	for _, t := range a.elb.things {
		add(t.kind, t.arn)
	}
	for _, name := range sorted(a.asg.groups) {
		add("auto-scaling-group", name)
	}
	for _, name := range sorted(a.iam.roles) {
		if !a.iam.roles[name].service {
			add("role", name)
		}
	}
	for _, name := range sorted(a.iam.profiles) {
		add("instance-profile", name)
	}
	for _, arn := range sorted(a.iam.policies) {
		add("policy", arn)
	}
	for _, name := range sorted(a.s3.buckets) {
		if !a.s3.buckets[name].foreign {
			add("bucket", name)
		}
	}
	for _, name := range sorted(a.logs.groups) {
		add("log-group", name)
	}
	for _, name := range sorted(a.sqs.queues) {
		add("queue", name)
	}
	return list
}
