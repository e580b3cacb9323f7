package cluster_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"mime"
	"mime/multipart"
	"net/mail"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"

	"cortex.dev/cortex/internal/cluster"
)

// This file is a judge of plans that shares nothing with the code that makes them: what
// must hold of each, written down a second time, from what AWS says and from what the
// published minimum policy allows. No linter knows these rules.

type object = map[string]any

// doc is a template that was read again.
type doc struct {
	Parameters map[string]struct{ Type string }
	Resources  map[string]resource
	Outputs    map[string]struct{ Value any }
}

type resource struct {
	Type       string
	Properties object
	DependsOn  any
}

func (r resource) after() []string {
	switch d := r.DependsOn.(type) {
	case string:
		return []string{d}
	case []any:
		var all []string
		for _, x := range d {
			all = append(all, fmt.Sprint(x))
		}
		return all
	}
	return nil
}

// allowedTypes are those of which the published policy allows everything that their
// handlers may do; VPCEndpoint is not, which is why its stack may fail.
var allowedTypes = strings.Fields(`AWS::EC2::VPC AWS::EC2::Subnet AWS::EC2::InternetGateway AWS::EC2::VPCGatewayAttachment AWS::EC2::NatGateway AWS::EC2::EIP
	AWS::EC2::RouteTable AWS::EC2::Route AWS::EC2::SubnetRouteTableAssociation AWS::EC2::SecurityGroup AWS::EC2::SecurityGroupIngress AWS::EC2::LaunchTemplate
	AWS::EKS::Cluster AWS::EKS::Nodegroup AWS::EKS::AccessEntry AWS::EKS::Addon AWS::EKS::PodIdentityAssociation
	AWS::ElasticLoadBalancingV2::LoadBalancer AWS::ElasticLoadBalancingV2::TargetGroup AWS::ElasticLoadBalancingV2::Listener AWS::SQS::Queue AWS::AutoScaling::AutoScalingGroup`)

// ofEksctl are the names of stacks that eksctl takes for its own, from its source.
func ofEksctl(name string) *regexp.Regexp {
	return regexp.MustCompile(`^(eksctl|EKS)-` + regexp.QuoteMeta(name) + `-((cluster|nodegroup-.+|addon-.+|podidentityrole-.+|fargate|karpenter|capability-.+)|(VPC|ServiceRole|ControlPlane|DefaultNodeGroup))$`)
}

// trusts are who may take on each role, by partition: service and actions.
var trusts = map[string]map[string][2]string{
	"aws": {
		"cluster": {"eks.amazonaws.com", "sts:AssumeRole sts:TagSession"}, "nodes": {"ec2.amazonaws.com", "sts:AssumeRole"},
		"mixed":    {"ec2.amazonaws.com", "sts:AssumeRole"},
		"operator": {"pods.eks.amazonaws.com", "sts:AssumeRole sts:TagSession"}, "gateway": {"pods.eks.amazonaws.com", "sts:AssumeRole sts:TagSession"},
		"apis": {"pods.eks.amazonaws.com", "sts:AssumeRole sts:TagSession"}, "autoscaler": {"pods.eks.amazonaws.com", "sts:AssumeRole sts:TagSession"},
		"logs": {"pods.eks.amazonaws.com", "sts:AssumeRole sts:TagSession"},
	},
	"aws-cn": {"nodes": {"ec2.amazonaws.com.cn", "sts:AssumeRole"}, "mixed": {"ec2.amazonaws.com.cn", "sts:AssumeRole"}}, // the rest as in aws
}

// inspector collects what is wrong with a plan.
type inspector struct {
	p     *cluster.Plan
	docs  map[string]doc // by part
	wrong []string
}

func (i *inspector) say(format string, args ...any) {
	i.wrong = append(i.wrong, fmt.Sprintf(format, args...))
}

// inspect returns everything that is wrong with a plan.
func inspect(p *cluster.Plan) []string {
	i := &inspector{p: p, docs: map[string]doc{}}
	for _, s := range p.Steps {
		if s.Do.Stack != nil {
			var d doc
			if err := json.Unmarshal(s.Do.Stack.Template, &d); err != nil {
				i.say("%s: %v", s.ID, err)
			}
			i.docs[strings.TrimPrefix(s.ID, "stack/")] = d
		}
	}
	i.order()
	for _, s := range p.Steps {
		switch do := s.Do; {
		case do.Role != nil:
			i.role(strings.TrimPrefix(s.ID, "role/"), do.Role)
		case do.Stack != nil:
			i.stack(s)
		case do.Bucket != nil:
			if !do.Bucket.BlockPublicAccess || do.Bucket.Encryption == "" {
				i.say("%s: the bucket is public or not encrypted", s.ID)
			}
		case do.Policy != nil:
			i.policy(do.Policy)
		}
	}
	return i.wrong
}

// order checks that each step comes after those that it needs, and that they are all
// that it takes values from.
func (i *inspector) order() {
	needs := map[string]map[string]bool{}
	for _, s := range i.p.Steps {
		all := map[string]bool{}
		for _, n := range s.Needs {
			if needs[n] == nil {
				i.say("%s needs %s, which does not come before it", s.ID, n)
			}
			all[n] = true
			for m := range needs[n] {
				all[m] = true
			}
		}
		if needs[s.ID] != nil {
			i.say("there are two steps %s", s.ID)
		}
		needs[s.ID] = all
		text, _ := json.Marshal(s.Do)
		for _, from := range sources(s) {
			if from.Stack == "" {
				continue
			}
			if !all["stack/"+from.Stack] {
				i.say("%s takes %s of the stack %s, which need not be there", s.ID, from.Output, from.Stack)
			}
			if _, ok := i.docs[from.Stack].Outputs[from.Output]; !ok {
				i.say("%s takes %s of the stack %s, which has no such output", s.ID, from.Output, from.Stack)
			}
		}
		for _, other := range i.p.Steps {
			if r := other.Do.Role; r != nil && s.Do.Stack != nil && strings.Contains(string(text), r.ARN+`"`) && !all[other.ID] {
				i.say("%s names the role of %s, which need not be there", s.ID, other.ID)
			}
		}
	}
}

func sources(s cluster.Step) (all []cluster.Source) {
	switch do := s.Do; {
	case do.Stack != nil:
		for _, from := range do.Stack.Params {
			all = append(all, from)
		}
	case do.Attach != nil && do.Attach.TargetGroups != nil:
		all = append(all, *do.Attach.TargetGroups)
	case do.Chart != nil:
		for _, from := range do.Chart.From {
			all = append(all, from)
		}
	case do.Environment != nil:
		all = append(all, do.Environment.Operator)
	}
	return all
}

func (i *inspector) role(part string, r *cluster.Role) {
	if !strings.HasPrefix(r.Name, "eksctl-") || !strings.HasSuffix(r.Name, "-"+part) || len(r.Name) > 64 || strings.Contains(r.Name, "/") {
		i.say("role %s: the published policy allows no role of this name", r.Name)
	}
	if want := "arn:" + i.p.Partition + ":iam::" + i.p.Account + ":role/" + r.Name; r.ARN != want {
		i.say("role %s has the ARN %s, want %s", r.Name, r.ARN, want)
	}
	want, ok := trusts[i.p.Partition][part]
	if !ok {
		want = trusts["aws"][part]
	}
	t := r.Trust.Statement
	if len(t) != 1 || t[0].Effect != "Allow" || len(t[0].Principal) != 1 || t[0].Principal["Service"] != want[0] || strings.Join(t[0].Action, " ") != want[1] ||
		len(t[0].Resource) > 0 || r.Trust.Version != "2012-10-17" {
		i.say("role %s trusts %+v, want %v", r.Name, t, want)
	}
	if len(r.Attach) > 10 {
		i.say("role %s has %d policies, at most 10 are possible", r.Name, len(r.Attach))
	}
	for _, arn := range r.Attach {
		if !strings.HasPrefix(arn, "arn:"+i.p.Partition+":iam::") {
			i.say("role %s has a policy of another partition: %s", r.Name, arn)
		}
	}
	for _, d := range r.Inline {
		text, _ := json.Marshal(d)
		if len(text) > 10_240 {
			i.say("role %s: its policy has %d characters", r.Name, len(text))
		}
		for _, s := range d.Statement {
			i.statement(part, s)
		}
	}
}

// published is what the operator of releases 0.2x had; ours has less.
var published = strings.Fields("s3:* sts:GetCallerIdentity ecr:GetAuthorizationToken ecr:BatchGetImage elasticloadbalancing:Describe* apigateway:* cloudwatch:* logs:* sqs:*")

func (i *inspector) statement(part string, s cluster.Statement) {
	if s.Effect == "Deny" {
		return
	}
	for _, a := range s.Action {
		fits := slices.ContainsFunc(published, func(p string) bool { ok, _ := path.Match(p, a); return ok })
		if (part == "operator" || part == "gateway") && (!fits || slices.Contains(s.Resource, "*")) {
			i.say("%s may %s on %v: more than its published policy, or on everything", part, a, s.Resource)
		}
		if part == "apis" {
			i.say("apis may %s by themselves: what they may do is the user's to say", a)
		}
		if strings.HasPrefix(a, "iam:") || strings.Contains(a, "*") {
			i.say("%s may %s", part, a)
		}
		reads := regexp.MustCompile(`:(Describe|Get|List)`).MatchString(a)
		if slices.Contains(s.Resource, "*") && !reads && len(s.Condition) == 0 {
			i.say("%s may %s everywhere", part, a)
		}
	}
}

func (i *inspector) policy(p *cluster.Policy) {
	if want := "cortex-" + i.p.ClusterName + "-" + i.p.Region; p.Name != want || len(p.Name) > 128 {
		i.say("the policy of APIs is called %s, want %s", p.Name, want)
	}
}

func (i *inspector) stack(s cluster.Step) {
	st, part := s.Do.Stack, strings.TrimPrefix(s.ID, "stack/")
	d := i.docs[part]
	if st.Name != "eksctl-"+i.p.ClusterName+"-cortex-"+part || len(st.Name) > 128 || ofEksctl(i.p.ClusterName).MatchString(st.Name) {
		i.say("stack %s: want a name that eksctl takes for none of its own", st.Name)
	}
	if len(st.Template) > 51_200 || len(d.Resources) > 500 || len(d.Resources) == 0 {
		i.say("stack %s: %d bytes, %d resources", st.Name, len(st.Template), len(d.Resources))
	}
	for name := range d.Parameters {
		if _, ok := st.Params[name]; !ok {
			i.say("stack %s: nobody gives its parameter %s", st.Name, name)
		}
	}
	for name := range st.Params {
		if _, ok := d.Parameters[name]; !ok {
			i.say("stack %s: is given %s, which is no parameter", st.Name, name)
		}
	}
	if st.Tags["cortex.dev/cluster-name"] != i.p.ClusterName || st.Tags["cortex.dev/template"] != st.Hash {
		i.say("stack %s has the tags %v", st.Name, st.Tags)
	}
	if rollback := part != "cluster"; st.Rollback != rollback {
		i.say("stack %s: rollback is %v", st.Name, st.Rollback)
	}
	for name, r := range d.Resources {
		if !slices.Contains(allowedTypes, r.Type) && !(r.Type == "AWS::EC2::VPCEndpoint" && s.Soft && part == "endpoints") {
			i.say("stack %s: %s is of the type %s, which the published policy does not allow", st.Name, name, r.Type)
		}
		i.resource(part, name, r)
	}
	i.references(st.Name, d)
	if part == "network" {
		i.network(d)
	}
}

// resource holds one resource to what is right and what no schema says.
func (i *inspector) resource(part, name string, r resource) {
	p := r.Properties
	bad := func(format string, args ...any) { i.say("%s/%s: %s", part, name, fmt.Sprintf(format, args...)) }
	switch r.Type {
	case "AWS::EKS::Cluster":
		if at(p, "AccessConfig", "AuthenticationMode") != "API_AND_CONFIG_MAP" || at(p, "AccessConfig", "BootstrapClusterCreatorAdminPermissions") != true {
			bad("who may enter is %v", p["AccessConfig"])
		}
		if at(p, "UpgradePolicy", "SupportType") != "STANDARD" || p["BootstrapSelfManagedAddons"] != false {
			bad("it would cost more, or have add-ons of its own: %v", p)
		}
	case "AWS::AutoScaling::AutoScalingGroup":
		i.mixed(part, p, bad)
	case "AWS::EKS::AccessEntry":
		if p["Type"] != "EC2_LINUX" || p["PrincipalArn"] != i.roleARN("mixed") || p["AccessPolicies"] != nil || p["KubernetesGroups"] != nil {
			bad("lets in %v", p)
		}
	case "AWS::EKS::Nodegroup":
		i.nodes(part, p, bad)
	case "AWS::EC2::LaunchTemplate":
		data := p["LaunchTemplateData"]
		if at(data, "MetadataOptions", "HttpTokens") != "required" || at(data, "MetadataOptions", "HttpPutResponseHopLimit") != 1.0 {
			bad("pods get at the credentials of their node: %v", at(data, "MetadataOptions"))
		}
		if ebs := at(at(data, "BlockDeviceMappings"), "0", "Ebs"); at(ebs, "Encrypted") != true || at(ebs, "DeleteOnTermination") != true {
			bad("its disk is not encrypted, or stays: %v", ebs)
		}
		if strings.HasPrefix(part, "nodes-cx-wx-") {
			i.ownLaunch(part, data, bad)
			return
		}
		for _, key := range []string{"InstanceType", "ImageId", "UserData", "NetworkInterfaces", "SecurityGroupIds", "IamInstanceProfile"} {
			if at(data, key) != nil {
				bad("has %s, which EKS refuses, or which takes the cluster's security group away", key)
			}
		}
	case "AWS::EC2::SecurityGroup":
		rules, _ := p["SecurityGroupIngress"].([]any)
		for _, rule := range rules {
			text := fmt.Sprint(cmp.Or(at(rule, "CidrIp"), at(rule, "CidrIpv6")))
			if c, err := netip.ParsePrefix(text); err != nil || c.Masked() != c || at(rule, "FromPort") != at(rule, "ToPort") {
				bad("lets in %v, which is no range of addresses on one port", rule)
			}
		}
	case "AWS::ElasticLoadBalancingV2::LoadBalancer":
		if p["Name"] != nil || at(p, "SecurityGroups", "0") == nil || p["Type"] != "network" {
			bad("has a name, or no security group: %v", p)
		}
	case "AWS::ElasticLoadBalancingV2::TargetGroup":
		if p["Name"] != nil {
			bad("has a name")
		}
		balancer := i.docs[part].Resources[strings.TrimSuffix(name, "Targets")+"Balancer"]
		keeps := strings.Contains(fmt.Sprint(p["TargetGroupAttributes"]), "preserve_client_ip.enabled Value:true")
		if keeps != (at(balancer.Properties, "Scheme") == "internet-facing") {
			bad("keeps the addresses of clients: %v, behind a balancer that is %v", keeps, at(balancer.Properties, "Scheme"))
		}
	case "AWS::ElasticLoadBalancingV2::Listener":
		if (p["Protocol"] == "TLS") != (p["Certificates"] != nil) {
			bad("TLS without a certificate, or a certificate without TLS")
		}
	case "AWS::EC2::NatGateway":
		if !slices.Contains(r.after(), "PublicDefault") || !slices.ContainsFunc(r.after(), func(d string) bool { return strings.HasPrefix(d, "PublicAssociation") }) {
			bad("is made before its subnet has a way out: %v", r.after())
		}
	case "AWS::EC2::EIP":
		if !slices.Contains(r.after(), "GatewayAttachment") {
			bad("keeps the internet gateway from being deleted")
		}
	case "AWS::EC2::VPC":
		if p["EnableDnsSupport"] != true || p["EnableDnsHostnames"] != true {
			bad("nodes could not join without DNS")
		}
	case "AWS::EKS::PodIdentityAssociation":
		if !slices.ContainsFunc(i.p.Steps, func(s cluster.Step) bool { return s.Do.Role != nil && s.Do.Role.ARN == p["RoleArn"] }) {
			bad("its role %v is none of the plan", p["RoleArn"])
		}
	}
}

func (i *inspector) roleARN(part string) string {
	for _, s := range i.p.Steps {
		if s.ID == "role/"+part {
			return s.Do.Role.ARN
		}
	}
	return ""
}

// mixed holds a scaling group of ours to what EKS does for its own.
func (i *inspector) mixed(part string, p object, bad func(string, ...any)) {
	group := strings.TrimPrefix(part, "nodes-")
	tags := map[string]any{}
	list, _ := p["Tags"].([]any)
	for _, each := range list {
		tags[fmt.Sprint(at(each, "Key"))] = at(each, "Value")
		if owned := at(each, "Key") == "kubernetes.io/cluster/"+i.p.ClusterName; owned != (at(each, "PropagateAtLaunch") == true) {
			bad("the tag %v reaches instances: %v", at(each, "Key"), at(each, "PropagateAtLaunch"))
		}
	}
	for key, want := range map[string]string{
		"cortex.dev/cluster-name": i.p.ClusterName, "cortex.dev/group": group, "cortex.dev/kubernetes-version": i.p.Kubernetes, "kubernetes.io/cluster/" + i.p.ClusterName: "owned",
		"k8s.io/cluster-autoscaler/enabled": "true", "k8s.io/cluster-autoscaler/" + i.p.ClusterName: "owned",
	} {
		if tags[key] != want {
			bad("has the tag %s = %v, want %s", key, tags[key], want)
		}
	}
	_, fixed := p["MinSize"].(float64)
	if fixed || p["DesiredCapacity"] != nil || p["AutoScalingGroupName"] != nil || p["CapacityRebalance"] != false {
		bad("an update would set how many nodes there are, or need another name, or nodes would end unasked: %v", p)
	}
	policy := p["MixedInstancesPolicy"]
	share := at(policy, "InstancesDistribution")
	if at(share, "SpotMaxPrice") == nil && at(share, "OnDemandPercentageAboveBaseCapacity") == 0.0 {
		bad("a managed group could be this: %v", share)
	}
	if at(policy, "LaunchTemplate", "LaunchTemplateSpecification", "Version", "Fn::GetAtt", "1") != "LatestVersionNumber" || at(policy, "LaunchTemplate", "Overrides", "0", "InstanceType") == nil {
		bad("starts from %v", at(policy, "LaunchTemplate"))
	}
	if hook := at(p, "LifecycleHookSpecificationList", "0"); at(hook, "LifecycleTransition") != "autoscaling:EC2_INSTANCE_TERMINATING" || at(hook, "DefaultResult") != "CONTINUE" {
		bad("its nodes have no time to empty themselves: %v", hook)
	}
}

// ownLaunch checks what a node of a mixed group starts from.
func (i *inspector) ownLaunch(part string, data any, bad func(string, ...any)) {
	image, profile := fmt.Sprint(at(data, "ImageId")), fmt.Sprint(at(data, "IamInstanceProfile", "Name"))
	if !regexp.MustCompile(`^ami-[0-9a-f]{17}$`).MatchString(image) || at(data, "SecurityGroupIds", "0", "Ref") != "Group" || i.roleARN("mixed") == "" || !strings.HasSuffix(i.roleARN("mixed"), "/"+profile) {
		bad("starts from the image %s with the profile %s in %v", image, profile, at(data, "SecurityGroupIds"))
	}
	text := fmt.Sprint(at(data, "UserData", "Fn::Base64", "Fn::Sub"))
	message, err := mail.ReadMessage(strings.NewReader(text))
	if err != nil {
		bad("its user data are no message: %v", err)
		return
	}
	_, params, err := mime.ParseMediaType(message.Header.Get("Content-Type"))
	if err != nil {
		bad("its user data: %v", err)
		return
	}
	body, err := multipart.NewReader(message.Body, params["boundary"]).NextPart()
	if err != nil || body.Header.Get("Content-Type") != "application/node.eks.aws" {
		bad("its user data have no NodeConfig: %v", err)
		return
	}
	var node object
	if err := json.NewDecoder(body).Decode(&node); err != nil {
		bad("its NodeConfig: %v", err)
	}
	cluster := at(node, "spec", "cluster")
	flags := fmt.Sprint(at(node, "spec", "kubelet", "flags"))
	if at(cluster, "name") != i.p.ClusterName || at(cluster, "apiServerEndpoint") != "${Endpoint}" || at(cluster, "certificateAuthority") != "${Authority}" ||
		at(cluster, "cidr") != at(i.docs["cluster"].Resources["Cluster"].Properties, "KubernetesNetworkConfig", "ServiceIpv4Cidr") {
		bad("its nodes look for the cluster %v", cluster)
	}
	if !strings.Contains(flags, "cortex.dev/node-group="+strings.TrimPrefix(part, "nodes-cx-wx-")) || !strings.Contains(flags, "cortex.dev/drains-itself=true") {
		bad("its nodes have the labels %s", flags)
	}
}

func (i *inspector) nodes(part string, p object, bad func(string, ...any)) {
	system := part == "nodes-cx-operator"
	taints := fmt.Sprint(p["Taints"])
	if system != strings.Contains(taints, "cortex.dev/system") {
		bad("pods of users are to stay away from the nodes of Cortex, and only from those: %s", taints)
	}
	for image, taint := range map[string]string{"NVIDIA": "nvidia.com/gpu", "NEURON": "aws.amazon.com/neuron"} {
		if strings.Contains(fmt.Sprint(p["AmiType"]), image) != strings.Contains(taints, taint) {
			bad("has the image %v and the taints %s", p["AmiType"], taints)
		}
	}
	if !system && at(p, "Labels", "cortex.dev/node-group") == nil {
		bad("has no label by which APIs choose it: %v", p["Labels"])
	}
	if len(fmt.Sprint(p["NodegroupName"])) > 63 || p["NodegroupName"] != strings.TrimPrefix(part, "nodes-") {
		bad("is called %v", p["NodegroupName"])
	}
	if _, fixed := at(p, "ScalingConfig", "MinSize").(float64); fixed {
		bad("an update of the stack would set how many nodes there are")
	}
	if p["ReleaseVersion"] == nil || p["ReleaseVersion"] == "" || !strings.HasPrefix(fmt.Sprint(p["ReleaseVersion"]), fmt.Sprint(p["Version"])+".") {
		bad("its image is of the release %v of %v", p["ReleaseVersion"], p["Version"])
	}
}

// references checks that whatever a template refers to is in it.
func (i *inspector) references(stack string, d doc) {
	known := func(name string) bool {
		_, parameter := d.Parameters[name]
		_, resource := d.Resources[name]
		return parameter || resource || strings.HasPrefix(name, "AWS::")
	}
	var visit func(v any)
	visit = func(v any) {
		switch v := v.(type) {
		case object:
			if name, ok := v["Ref"].(string); ok && !known(name) {
				i.say("stack %s refers to %s, which it does not have", stack, name)
			}
			if pair, ok := v["Fn::GetAtt"].([]any); ok {
				if _, there := d.Resources[fmt.Sprint(pair[0])]; !there {
					i.say("stack %s refers to %v, which it does not have", stack, pair)
				}
			}
			for _, x := range v {
				visit(x)
			}
		case []any:
			for _, x := range v {
				visit(x)
			}
		}
	}
	for _, r := range d.Resources {
		visit(r.Properties)
	}
	for _, o := range d.Outputs {
		visit(o.Value)
	}
}

// network checks that subnets are in the VPC, do not overlap, and have the way out that
// they should.
func (i *inspector) network(d doc) {
	prefix := func(v any) netip.Prefix {
		p, err := netip.ParsePrefix(fmt.Sprint(v))
		if err != nil {
			i.say("network: %v", err)
		}
		return p
	}
	vpc := prefix(d.Resources["VPC"].Properties["CidrBlock"])
	var seen []netip.Prefix
	zones := map[string]int{}
	for name, r := range d.Resources {
		if r.Type != "AWS::EC2::Subnet" {
			continue
		}
		p := prefix(r.Properties["CidrBlock"])
		if !vpc.Contains(p.Addr()) || p.Bits() <= vpc.Bits() || p.Bits() > 28 {
			i.say("network: %s has %s, which is no part of %s", name, p, vpc)
		}
		for _, other := range seen {
			if p.Overlaps(other) {
				i.say("network: %s overlaps another subnet", name)
			}
		}
		seen = append(seen, p)
		public := strings.HasPrefix(name, "Public")
		if zones[fmt.Sprint(r.Properties["AvailabilityZone"])]++; public != (r.Properties["MapPublicIpOnLaunch"] == true) {
			i.say("network: %s gives public addresses: %v", name, r.Properties["MapPublicIpOnLaunch"])
		}
		if !public {
			i.privateWayOut(d, name)
		}
	}
	if len(zones) != len(i.p.Zones) || len(zones) < 2 {
		i.say("network: it is in the zones %v, want %v", zones, i.p.Zones)
	}
}

// privateWayOut checks that a private subnet has a NAT gateway and no internet gateway.
func (i *inspector) privateWayOut(d doc, subnet string) {
	table := ""
	for _, r := range d.Resources {
		if r.Type == "AWS::EC2::SubnetRouteTableAssociation" && at(r.Properties, "SubnetId", "Ref") == subnet {
			table = fmt.Sprint(at(r.Properties, "RouteTableId", "Ref"))
		}
	}
	ways := 0
	for _, r := range d.Resources {
		if r.Type == "AWS::EC2::Route" && at(r.Properties, "RouteTableId", "Ref") == table && table != "" {
			if ways++; at(r.Properties, "NatGatewayId") == nil || at(r.Properties, "GatewayId") != nil {
				i.say("network: %s has a way out that is no NAT gateway", subnet)
			}
		}
	}
	if ways != 1 {
		i.say("network: %s has %d ways out", subnet, ways)
	}
}

// at is the value at a path of maps and lists, or nil.
func at(v any, keys ...string) any {
	for _, k := range keys {
		switch x := v.(type) {
		case object:
			v = x[k]
		case []any:
			n := int(k[0] - '0')
			if n >= len(x) {
				return nil
			}
			v = x[n]
		default:
			return nil
		}
	}
	return v
}
