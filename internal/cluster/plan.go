package cluster

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"cortex.dev/cortex/internal/workload"
)

// Plan is everything that a cluster comes to, as data.
type Plan struct {
	ClusterName string `json:"cluster_name"`
	Region      string `json:"region"`
	Partition   string `json:"partition"`
	Account     string `json:"account"`
	Kubernetes  string `json:"kubernetes_version"`
	// SupportedUntil is when AWS ends standard support of that version.
	SupportedUntil string   `json:"supported_until,omitempty"`
	Zones          []string `json:"availability_zones"`
	FactsReadAt    string   `json:"facts_read_at,omitempty"`
	Credentials    string   `json:"cluster_credentials,omitempty"` // as the file says
	Steps          []Step   `json:"steps"`                         // each after those it needs
	Groups         []Group  `json:"node_groups"`
	Cost           Cost     `json:"cost"`
	Quotas         []Quota  `json:"quotas"`
}

// Group is a group of nodes: a managed node group of EKS, or a mixed one.
type Group struct {
	Name     string   `json:"name"`                 // in AWS
	Of       string   `json:"node_group,omitempty"` // in the file; empty: the nodes of Cortex itself
	Types    []string `json:"instance_types"`
	Spot     bool     `json:"spot"`
	Min      int64    `json:"min_instances"`
	Max      int64    `json:"max_instances"`
	Priority int64    `json:"priority"`        // of the autoscaler
	Mixed    bool     `json:"mixed,omitempty"` // a scaling group that EKS does not manage
}

// Step is one thing that is to be there. Carrying it out twice changes nothing more.
type Step struct {
	ID    string   `json:"id"` // such as stack/network
	Needs []string `json:"needs,omitempty"`
	Why   string   `json:"why"`            // in words
	Keep  bool     `json:"keep,omitempty"` // outlives `cluster down --keep-aws-resources`
	Soft  bool     `json:"soft,omitempty"` // a failure is a warning
	Do    Do       `json:"do"`
}

// Do is exactly one of these.
type Do struct {
	LogGroup    *LogGroup    `json:"log_group,omitempty"`
	Bucket      *Bucket      `json:"bucket,omitempty"`
	Policy      *Policy      `json:"policy,omitempty"`
	Role        *Role        `json:"role,omitempty"`
	Stack       *Stack       `json:"stack,omitempty"`
	Attach      *Attach      `json:"attach,omitempty"`
	Chart       *Chart       `json:"chart,omitempty"`
	Environment *Environment `json:"environment,omitempty"`
}

// LogGroup is a log group of CloudWatch.
type LogGroup struct {
	Name string            `json:"name"`
	Tags map[string]string `json:"tags"`
}

// Bucket is a private, encrypted bucket of S3.
type Bucket struct {
	Name       string `json:"name"`
	Encryption string `json:"encryption"`
	// AbortUploadsAfterDays ends uploads that nobody goes on with.
	AbortUploadsAfterDays int               `json:"abort_uploads_after_days"`
	BlockPublicAccess     bool              `json:"block_public_access"`
	Tags                  map[string]string `json:"tags"`
}

// Policy is a managed policy of IAM. It has no tags: the published minimum policy allows
// none.
type Policy struct {
	Name     string    `json:"name"`
	ARN      string    `json:"arn"`
	Document *Document `json:"document"`
}

// Role is a role of IAM, with everything that it may do.
type Role struct {
	Name   string               `json:"name"`
	ARN    string               `json:"arn"`
	Trust  *Document            `json:"trust"`
	Attach []string             `json:"attach,omitempty"` // ARNs of managed policies
	Inline map[string]*Document `json:"inline,omitempty"`
	Tags   map[string]string    `json:"tags"`
	// Profile: instances take the role on by an instance profile, which is called like it. It
	// has no tags: the published minimum policy allows none.
	Profile bool `json:"profile,omitempty"`
}

// Stack is a stack of CloudFormation.
type Stack struct {
	Name     string            `json:"name"`
	Hash     string            `json:"hash"` // of the template, which is in a tag of the stack too
	Template json.RawMessage   `json:"template"`
	Params   map[string]Source `json:"params,omitempty"`
	Tags     map[string]string `json:"tags"`
	Rollback bool              `json:"rollback"` // when making it fails
}

// Source is where a value comes from: it is known now, or is an output of a stack.
type Source struct {
	Literal string `json:"literal,omitempty"`
	Stack   string `json:"stack,omitempty"` // part, such as network
	Output  string `json:"output,omitempty"`
	Before  string `json:"before,omitempty"` // what stands before the output
	// Once: an update keeps what was given first.
	Once bool `json:"once,omitempty"`
	// Along: another value is no reason for an update, and goes along with one.
	Along bool `json:"along,omitempty"`
}

// Attach is what neither a managed node group nor a stack has a property for, and an Auto
// Scaling group has.
type Attach struct {
	NodeGroup    string            `json:"node_group"`
	TargetGroups *Source           `json:"target_groups,omitempty"`
	Tags         map[string]string `json:"tags,omitempty"`
	// Suspend are processes of the scaling group that are not to run.
	Suspend []string `json:"suspend,omitempty"`
}

// Chart is what is put on the cluster.
type Chart struct {
	Namespace     string              `json:"namespace"`
	Values        map[string]any      `json:"values"`
	From          map[string]Source   `json:"from,omitempty"` // values that only stacks know, by their paths; of a list of one, with [] behind it
	Autoscaler    map[string][]string `json:"autoscaler"`     // patterns of Auto Scaling groups by priority
	DevicePlugins []string            `json:"device_plugins,omitempty"`
	Images        map[string]string   `json:"images,omitempty"` // as the file names them
}

// Environment is what the client gets to know.
type Environment struct {
	Name     string `json:"name"`
	Operator Source `json:"operator"`
}

// builder makes the parts of one plan.
type builder struct {
	c       *Config
	f       *Facts
	names   Names
	version *KubernetesVersion
	zones   []string
	plan    *Plan
}

// Outputs of the network.
const outPublic, outPrivate = "PublicSubnets", "PrivateSubnets"

// Build returns the plan of a cluster, or every rule that the configuration breaks.
func Build(c *Config, f *Facts) (*Plan, []workload.Violation) {
	if broken := c.Validate(); len(broken) > 0 {
		return nil, broken
	}
	if broken := c.Check(f); len(broken) > 0 {
		return nil, broken
	}
	b := &builder{c: c, f: f, names: NamesOf(c.ClusterName, f.Account, c.Region), version: c.VersionIn(f), zones: c.zoneNames(f)}
	b.plan = &Plan{
		ClusterName: c.ClusterName, Region: c.Region, Partition: PartitionOf(c.Region), Account: f.Account,
		Kubernetes: b.version.Version, SupportedUntil: b.version.Until, Zones: b.zones, FactsReadAt: f.ReadAt, Credentials: c.ClusterCredentials,
	}
	groups := []managed{b.systemNodes()}
	for i := range c.NodeGroups {
		groups = append(groups, b.groupNodes(&c.NodeGroups[i])...)
	}
	b.objects()
	b.stacks(groups)
	b.finish(groups)
	for _, m := range groups {
		b.plan.Groups = append(b.plan.Groups, Group{m.name, m.of.Name, m.types, m.spot, m.min, m.max, m.priority, m.mix != nil})
	}
	b.plan.Cost = b.cost(groups)
	b.plan.Quotas = b.quotas(groups)
	return b.plan, nil
}

func (b *builder) step(s Step) { b.plan.Steps = append(b.plan.Steps, s) }

// Beginnings of the ids of steps, and ids that others need. IDQueues is what there is of
// queues, which the operator makes and no plan does.
const (
	IDRole   = "role/"
	IDStack  = "stack/"
	IDAttach = "attach/"
	IDPolicy = "policy"
	IDChart  = "chart"
	IDQueues = "queues"
)

// objects are made by direct calls: they outlive stacks, and the published minimum
// policy does not allow CloudFormation to make them.
func (b *builder) objects() {
	tags := b.c.allTags()
	b.step(Step{ID: "log-group", Keep: true, Why: "logs of APIs", Do: Do{LogGroup: &LogGroup{b.names.LogGroup(), tags}}})
	b.step(Step{ID: "bucket", Keep: true, Why: "what clients trust the cluster by, and work that is waiting", Do: Do{Bucket: &Bucket{
		Name: b.names.Bucket(), Encryption: "AES256", AbortUploadsAfterDays: 1, BlockPublicAccess: true, Tags: tags,
	}}})
	b.step(Step{ID: IDPolicy, Why: "widen it to widen what all APIs may do", Do: Do{Policy: &Policy{b.names.Policy(), b.names.PolicyARN(), clusterPolicy()}}})
	why := map[string]string{
		roleCluster: "the control plane", roleNodes: "nodes", roleMixed: "nodes of mixed groups", roleOperator: "the operator", roleGateway: "gateways",
		roleAPIs: "APIs: the policies of iam_policy_arns", roleAutoscaler: "what adds and removes nodes", roleLogs: "what sends logs and metrics of APIs to the log group",
	}
	for _, part := range roleParts {
		if !b.c.has(part) {
			continue
		}
		s := Step{ID: IDRole + part, Why: why[part], Do: Do{Role: b.role(part)}}
		if part == roleAPIs {
			s.Needs = []string{IDPolicy}
		}
		b.step(s)
	}
}

// stack adds the step that makes a stack.
func (b *builder) stack(part, why string, t *template, params map[string]Source, needs ...string) *Step {
	text := t.bytes()
	hash := digest(text)
	tags := b.c.allTags()
	tags[TagTemplate] = hash
	b.step(Step{ID: IDStack + part, Needs: needs, Why: why, Do: Do{Stack: &Stack{
		Name: b.names.Stack(part), Hash: hash, Template: text, Params: params, Tags: tags, Rollback: true,
	}}})
	return &b.plan.Steps[len(b.plan.Steps)-1]
}

// digest names a content.
func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

func output(part, name string) Source { return Source{Stack: part, Output: name} }

func (b *builder) stacks(groups []managed) {
	clusterNeeds := []string{IDRole + roleCluster}
	if !b.c.OwnNetwork() {
		b.stack("network", "a VPC with subnets in "+fmt.Sprint(len(b.zones))+" zones", b.networkStack(), nil)
		b.stack("endpoints", "traffic to S3 that no NAT gateway charges for", b.endpointsStack(), map[string]Source{
			"Vpc": output("network", "Vpc"), "RouteTables": output("network", "RouteTables"),
		}, IDStack+"network").Soft = true
		clusterNeeds = append(clusterNeeds, IDStack+"network")
	}
	subnets := b.nodeSubnets()
	// A control plane that took ten minutes is not taken away because of what came after.
	b.stack("cluster", "the control plane, Kubernetes "+b.version.Version, b.clusterStack(), map[string]Source{"Subnets": subnets, VersionParameter: {Literal: b.version.Version}}, clusterNeeds...).Do.Stack.Rollback = false
	addonNeeds := []string{IDStack + "cluster"}
	for _, p := range podRoles {
		if b.c.has(p.role) {
			addonNeeds = append(addonNeeds, IDRole+p.role)
		}
	}
	b.stack("addons", "what nodes need, and who pods are", b.addonsStack(), nil, addonNeeds...)
	if b.c.Mixes() {
		b.stack("access", "who mixed nodes are", b.accessStack(), nil, IDStack+"cluster", IDRole+roleMixed)
	}
	for _, m := range groups {
		if m.mix != nil {
			b.stack(NodesPart(m.name), "nodes for APIs: "+m.of.Name, b.mixedStack(m), b.mixedParams(m, subnets), IDStack+NodesPart(SystemGroup), IDStack+"access")
			continue
		}
		params := map[string]Source{"Subnets": subnets, "Min": {Literal: decimal(m.min), Once: true}, "Max": {Literal: decimal(m.max), Once: true}}
		needs, why := []string{IDStack + "addons", IDRole + roleNodes}, "the nodes of Cortex itself"
		if m.name != SystemGroup {
			needs, why = []string{IDStack + NodesPart(SystemGroup)}, "nodes for APIs: "+m.of.Name
		}
		b.stack(NodesPart(m.name), why, b.nodesStack(m), params, needs...)
		if m.name == SystemGroup {
			b.stack("services", "DNS and load balancers", b.servicesStack(), b.serviceParams(), IDStack+NodesPart(SystemGroup))
		}
	}
}

// NodesPart is the part of a stack that is a node group.
func NodesPart(group string) string { return "nodes-" + group }

// nodeSubnets are the subnets of nodes, and of the control plane.
func (b *builder) nodeSubnets() Source {
	if b.c.OwnNetwork() {
		var ids []string
		for _, s := range b.c.Subnets {
			ids = append(ids, s.SubnetID)
		}
		return Source{Literal: commas(ids)}
	}
	if b.c.SubnetVisibility == Private {
		return output("network", outPrivate)
	}
	return output("network", outPublic)
}

func (b *builder) serviceParams() map[string]Source {
	params := map[string]Source{"NodeGroup": output("cluster", "SecurityGroup")}
	vpc, public := output("network", "Vpc"), output("network", outPublic)
	if b.c.OwnNetwork() {
		vpc, public = Source{Literal: b.f.subnet(b.c.Subnets[0].SubnetID).VPC}, Source{Literal: commas(b.c.publicSubnets(b.f))}
	}
	params["Vpc"] = vpc
	for _, lb := range b.balancers() {
		name := subnetsParameter(lb.scheme)
		if params[name] = public; lb.scheme == Internal {
			params[name] = b.nodeSubnets()
		}
	}
	return params
}

// finish is what comes after the stacks.
func (b *builder) finish(groups []managed) {
	for _, m := range groups {
		a := &Attach{NodeGroup: m.name, Tags: m.scaleTags(b.f.InstanceTypes[m.types[0]])}
		s := Step{ID: IDAttach + m.name, Needs: []string{IDStack + NodesPart(m.name)}, Why: "what the autoscaler has to know of an empty group"}
		if m.name == SystemGroup {
			targets := output("services", "TargetGroups")
			a.TargetGroups = &targets
			s.Needs, s.Why = append(s.Needs, IDStack+"services"), "load balancers reach these nodes"
		}
		if m.mix != nil {
			// It would end nodes that work, to have as many in each zone.
			a.Suspend = []string{"AZRebalance"}
		}
		s.Do.Attach = a
		b.step(s)
	}
	b.step(Step{ID: IDChart, Needs: []string{IDAttach + SystemGroup}, Why: "Cortex itself, and what adds and removes nodes", Do: Do{Chart: b.chart(groups)}})
	b.step(Step{ID: "environment", Needs: []string{IDChart, "bucket"}, Why: "the client knows where the operator is, and what it has to show", Do: Do{Environment: &Environment{
		Name: b.c.ClusterName, Operator: Source{Before: "https://", Stack: "services", Output: "OperatorHost"},
	}}})
}

func (b *builder) chart(groups []managed) *Chart {
	c := &Chart{Namespace: namespaceOperator, Autoscaler: map[string][]string{}, Images: b.c.Images}
	var roles []any
	for _, part := range roleParts {
		if b.c.has(part) {
			roles = append(roles, b.names.RoleARN(part))
		}
	}
	nodeGroups := []any{}
	for i := range b.c.NodeGroups {
		g := &b.c.NodeGroups[i]
		nodeGroups = append(nodeGroups, object{"name": g.Name, "priority": g.Priority, "largest": b.f.InstanceTypes[g.InstanceType].allocatable().values()})
	}
	program := func(port int) object {
		return object{
			"loadBalancer": object{"type": "NodePort", "nodePort": port},
			"nodeSelector": object{labelSystem: "true"},
			"tolerations":  []any{object{"key": labelSystem, "operator": "Exists", "effect": "NoSchedule"}},
		}
	}
	c.Values = object{
		"account": b.f.Account, "region": b.c.Region, "clusterName": b.c.ClusterName, "platformRoles": roles, "nodeGroups": nodeGroups,
		"operator": program(operatorPort), "gateway": program(gatewayPort), "apis": object{"namespace": namespaceAPIs},
		"items": object{"url": "s3://" + b.names.Bucket() + "/" + pathItems, "region": b.c.Region, "queues": b.names.Queues()},
	}
	if b.c.CloudWatchLogs {
		c.Values["logs"] = object{"cloudwatch": b.cloudWatch("fluent_bit")}
	}
	if cpu, mem := b.reserve(); cpu > 0 {
		c.Values["capacity"] = object{"reserve": object{"cpu": decimal(cpu) + "m", "mem": decimal(mem) + "Mi"}}
	}
	if b.c.CloudWatchMetrics {
		collector := b.cloudWatch("otel_collector")
		system := program(0)
		collector["nodeSelector"], collector["tolerations"] = system["nodeSelector"], system["tolerations"]
		c.Values["metrics"] = object{"cloudwatch": collector}
	}
	if b.c.Mixes() {
		c.Values["drainer"] = object{"nodeSelector": object{LabelDrains: "true"}}
	}
	if names := b.images(); len(names) > 0 {
		c.Values["image"] = object{"names": names}
	}
	c.From = map[string]Source{
		"apis.endpoint": {Before: "http://", Stack: "services", Output: "ApisHost"},
		// Clients look for the name of the load balancer in the operator's certificate.
		"operator.tls.names[]": {Stack: "services", Output: "OperatorHost"},
	}
	plugins := map[string]bool{}
	for _, m := range groups {
		if m.name == SystemGroup {
			continue
		}
		priority := decimal(m.priority)
		// EKS calls the group after the node group and a random id, CloudFormation after stack,
		// resource and a random id.
		pattern := "^eks-" + m.name + "-[0-9a-f]{8}-"
		if m.mix != nil {
			pattern = "^" + b.names.Stack(NodesPart(m.name)) + "-Nodes-[0-9A-Za-z]+$"
		}
		c.Autoscaler[priority] = append(c.Autoscaler[priority], pattern)
		for _, t := range m.taints {
			plugins[t.key] = true
		}
	}
	c.DevicePlugins = sortedKeys(plugins)
	return c
}

// reserve is what Cortex's own pods request of nodes for APIs, in thousandths and MiB: what
// sends logs, and what empties mixed nodes.
func (b *builder) reserve() (cpu, mem int64) {
	if b.c.CloudWatchLogs {
		cpu, mem = cpu+50, mem+64
	}
	if b.c.Mixes() {
		cpu, mem = cpu+10, mem+32
	}
	return cpu, mem
}

// cloudWatch is what of something that sends to the log group is said of it: image is what the
// file calls its image.
func (b *builder) cloudWatch(image string) object {
	values := object{"group": b.names.LogGroup(), "region": b.c.Region}
	if name := b.c.Images[image]; name != "" {
		values["image"] = name
	}
	return values
}

// images are the names of those images of Cortex's own that the file names, as the chart
// calls them.
func (b *builder) images() object {
	names := object{}
	for key, program := range map[string]string{"operator": "operator", "gateway": "gateway", "proxy": "sidecar", "ledger": "ledger"} {
		if image := b.c.Images[key]; image != "" {
			names[program] = image
		}
	}
	return names
}
