package cluster_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"cortex.dev/cortex/internal/cluster"
)

func TestPlansOfTheMatrixAreRight(t *testing.T) {
	t.Parallel()
	for _, c := range matrix(t) {
		for _, wrong := range inspect(build(t, c.config(t), facts(t, c.Region))) {
			t.Errorf("%s: %s", c.Name, wrong)
		}
	}
}

// What a plan hands to the chart is what the chart takes.
func TestChartTakesTheValues(t *testing.T) {
	t.Parallel()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("..", "..", "deploy", "chart", "values.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range matrix(t) {
		chart := stepOf(build(t, c.config(t), facts(t, c.Region)), "chart").Do.Chart
		values, err := chart.Filled(func(from cluster.Source) (string, error) { return from.Before + "example.elb.amazonaws.com", nil })
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(indented(t, values)))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: the chart refuses the values: %v", c.Name, err)
		}
	}
}

// linter is AWS's own linter of templates.
func linter(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("cfn-lint")
	if err != nil {
		t.Skip("there is no cfn-lint on this machine, which judges the templates (pip install cfn-lint)")
	}
	return program
}

// lint returns what the linter says of each file, by its name.
func lint(t *testing.T, program string, regions []string, files []string) map[string][]string {
	t.Helper()
	// W3010 would have zones chosen by whoever runs the template; the plan chooses those
	// that have the instance types.
	args := append(append([]string{"--format", "json", "--ignore-checks", "W3010", "--regions"}, regions...), "--")
	cmd := exec.CommandContext(t.Context(), program, append(args, files...)...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	// It exits with the kinds of what it found; what it says is what counts.
	if err := cmd.Run(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	var matches []struct {
		Filename, Message string
		Rule              struct{ ID string }
	}
	if err := json.Unmarshal(out.Bytes(), &matches); err != nil {
		t.Fatalf("%s: %v\n%s%s", program, err, out.String(), complaint.String())
	}
	said := map[string][]string{}
	for _, m := range matches {
		name := filepath.Base(m.Filename)
		said[name] = append(said[name], m.Rule.ID+" "+m.Message)
	}
	return said
}

// Every template of the matrix is right by AWS's own linter, in its region.
func TestLinterAcceptsTheMatrix(t *testing.T) {
	t.Parallel()
	program := linter(t)
	dir := t.TempDir()
	byRegion := map[string][]string{}
	seen := map[string]bool{}
	for _, c := range matrix(t) {
		for _, s := range build(t, c.config(t), facts(t, c.Region)).Steps {
			if s.Do.Stack == nil || seen[c.Region+s.Do.Stack.Hash] {
				continue
			}
			seen[c.Region+s.Do.Stack.Hash] = true
			byRegion[c.Region] = append(byRegion[c.Region], write(t, dir, c.Name+"-"+strings.ReplaceAll(s.ID, "/", "-"), s.Do.Stack.Template))
		}
	}
	for region, files := range byRegion {
		for name, said := range lint(t, program, []string{region}, files) {
			t.Errorf("%s in %s: %s", name, region, strings.Join(said, "; "))
		}
	}
	if len(seen) < 60 {
		t.Errorf("judged %d templates, want those of the whole matrix", len(seen))
	}
}

func write(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	file := filepath.Join(dir, name+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// mutant is a mistake that could be made in a plan.
type mutant struct {
	name  string
	stack string // part, where the mistake is in a template
	path  string // of the value, with dots
	value any    // nil: the value is taken away
	plan  func(p *cluster.Plan)
	lint  bool // the linter finds it; else inspect does
}

func inTemplate(stack, path string, value any) mutant {
	return mutant{name: stack + " " + path + " = " + fmt.Sprint(value), stack: stack, path: path, value: value}
}

func linted(stack, path string, value any) mutant {
	m := inTemplate(stack, path, value)
	m.lint = true
	return m
}

func inPlan(name string, change func(p *cluster.Plan)) mutant {
	return mutant{name: name, plan: change}
}

func ref(name string) object { return object{"Ref": name} }

const (
	res    = "Resources."
	launch = "Resources.Template.Properties.LaunchTemplateData."
	nodes  = "nodes-cx-ws-gpu"
)

var mutants = []mutant{
	// What AWS's linter finds.
	linted("network", res+"VPC.Properties.CidrBlock", "192.168.0.0/33"),
	linted("network", res+"VPC.Properties.CidrBlok", "192.168.0.0/16"),
	linted("network", res+"VPC.Properties.EnableDnsSupport", "perhaps"),
	linted("network", res+"PublicSubnetA.Properties.VpcId", nil),
	linted("network", res+"PublicSubnetA.Type", "AWS::EC2::SubNet"),
	linted("network", res+"PublicDefault.Properties.RouteTableId", ref("Nowhere")),
	linted("network", res+"PublicDefault.DependsOn", "Nowhere"),
	linted("network", res+"NatGatewayA.Properties.AllocationId", object{"Fn::GetAtt": []any{"NatAddressA", "AlocationId"}}),
	linted("network", res+"GatewayAttachment.DependsOn", "NatGatewayA"),
	linted("network", "Outputs.Vpc.Value", ref("Vpcc")),
	linted("network", "Outputs.Vpc", object{}),
	linted("network", "Ressources", object{}),
	linted("endpoints", res+"S3.Properties.VpcEndpointType", "Gatway"),
	linted("cluster", res+"Cluster.Properties.AccessConfig.AuthenticationMode", "API_AND_CONFIGMAP"),
	linted("cluster", res+"Cluster.Properties.UpgradePolicy.SupportType", "STANDRAD"),
	linted("cluster", res+"Cluster.Properties.RoleArn", nil),
	linted("cluster", res+"Cluster.Properties.ResourcesVpcConfig.SubnetId", ref("Subnets")),
	linted("cluster", "Parameters.Subnets.Type", "List<AWS::EC2::Subnets::Id>"),
	linted("cluster", "Parameters.Unused", object{"Type": "String"}),
	linted("addons", res+"VpcCni.Properties.ResolveConflicts", "OVERWRITTEN"),
	linted("addons", res+"VpcCni.Properties.AddonName", nil),
	linted("addons", res+"ApisIdentity.Properties.RoleArn", nil),
	linted(nodes, res+"Nodes.Properties.AmiType", "AL2023_x86_64_NVIDA"),
	linted(nodes, res+"Nodes.Properties.CapacityType", "SPOTS"),
	linted(nodes, res+"Nodes.Properties.Taints.0.Effect", "NO_SCHEDUL"),
	linted(nodes, res+"Nodes.Properties.UpdateConfig.MaxUnavailablePercentage", 133),
	linted(nodes, res+"Nodes.Properties.InstanceTypes", "g5.xlarge"),
	linted(nodes, res+"Nodes.Properties.Subnets", nil),
	linted(nodes, launch+"BlockDeviceMappings.0.Ebs.VolumeType", "gp33"),
	linted(nodes, launch+"BlockDeviceMappings.0.Ebs.Iops", "many"),
	linted(nodes, launch+"MetadataOptions.HttpTokens", "requird"),
	linted(nodes, launch+"TagSpecifications.0.ResourceType", "instances"),
	linted("services", res+"ApisBalancer.Properties.Scheme", "internetfacing"),
	linted("services", res+"ApisBalancer.Properties.Type", "nlb"),
	linted("services", res+"ApisListener80.Properties.Protocol", "TCPS"),
	linted("services", res+"ApisListener80.Properties.DefaultActions", nil),
	linted("services", res+"ApisTargets.Properties.TargetType", "instances"),
	linted("services", res+"ApisTargets.Properties.Port", 70000),
	linted("services", res+"ApisGroup.Properties.GroupDescription", nil),
	linted("services", res+"ApisToNodes.Properties.IpProtocol", nil),

	// What it takes for right, and is not.
	inTemplate("network", res+"PublicSubnetB.Properties.CidrBlock", "192.168.0.0/19"),
	inTemplate("network", res+"PublicSubnetB.Properties.CidrBlock", "10.0.0.0/19"),
	inTemplate("network", res+"PublicSubnetA.Properties.MapPublicIpOnLaunch", nil),
	inTemplate("network", res+"NatGatewayA.DependsOn", "PublicAssociationA"),
	inTemplate("network", res+"NatAddressA.DependsOn", nil),
	inTemplate("network", res+"VPC.Properties.EnableDnsHostnames", false),
	inTemplate("network", res+"PrivateDefaultA.Properties", object{"RouteTableId": ref("PrivateRoutesA"), "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": ref("InternetGateway")}),
	inTemplate("network", res+"Role", object{"Type": "AWS::IAM::Role", "Properties": object{"AssumeRolePolicyDocument": object{}}}),
	inTemplate("network", "Outputs.PrivateSubnets", nil),
	inTemplate("cluster", res+"Cluster.Properties.AccessConfig.AuthenticationMode", "CONFIG_MAP"),
	inTemplate("cluster", res+"Cluster.Properties.AccessConfig.BootstrapClusterCreatorAdminPermissions", false),
	inTemplate("cluster", res+"Cluster.Properties.UpgradePolicy.SupportType", "EXTENDED"),
	inTemplate("cluster", res+"Cluster.Properties.BootstrapSelfManagedAddons", true),
	inTemplate("addons", res+"ApisIdentity.Properties.RoleArn", "arn:aws:iam::111122223333:role/eksctl-other"),
	inTemplate(nodes, launch+"MetadataOptions.HttpPutResponseHopLimit", 2),
	inTemplate(nodes, launch+"MetadataOptions.HttpTokens", "optional"),
	inTemplate(nodes, launch+"BlockDeviceMappings.0.Ebs.Encrypted", false),
	inTemplate(nodes, launch+"SecurityGroupIds", []any{"sg-1"}),
	inTemplate(nodes, res+"Nodes.Properties.Taints", nil),
	inTemplate(nodes, res+"Nodes.Properties.Labels", object{}),
	inTemplate(nodes, res+"Nodes.Properties.ScalingConfig.MinSize", 1),
	inTemplate(nodes, res+"Nodes.Properties.ReleaseVersion", "1.35.3-20260714"),
	inTemplate("nodes-cx-operator", res+"Nodes.Properties.Taints", nil),
	inTemplate("services", res+"ApisGroup.Properties.SecurityGroupIngress.0.CidrIp", "0.0.0.0"),
	inTemplate("services", res+"ApisGroup.Properties.SecurityGroupIngress.1.ToPort", 65535),
	inTemplate("services", res+"ApisBalancer.Properties.SecurityGroups", nil),
	inTemplate("services", res+"ApisBalancer.Properties.Name", "iris"),
	inTemplate("services", res+"OperatorTargets.Properties.TargetGroupAttributes.0.Value", "true"),
	inTemplate("services", res+"ApisListener443.Properties.Protocol", "TCP"),
	inTemplate("services", "Outputs.TargetGroups", nil),

	// Mistakes outside templates.
	inPlan("a principal is misspelt", func(p *cluster.Plan) { roleOf(p, "nodes").Trust.Statement[0].Principal["Service"] = "ec2.amazonaw.com" }),
	inPlan("a principal is another service", func(p *cluster.Plan) { roleOf(p, "apis").Trust.Statement[0].Principal["Service"] = "ec2.amazonaws.com" }),
	inPlan("anybody may take on a role", func(p *cluster.Plan) {
		roleOf(p, "operator").Trust.Statement[0].Principal = map[string]string{"AWS": "*"}
	}),
	inPlan("a role cannot be tagged for", func(p *cluster.Plan) {
		s := &roleOf(p, "apis").Trust.Statement[0]
		s.Action = s.Action[:1]
	}),
	inPlan("a trust policy denies", func(p *cluster.Plan) { roleOf(p, "cluster").Trust.Statement[0].Effect = "Deny" }),
	inPlan("a role has a name that is not allowed", func(p *cluster.Plan) { roleOf(p, "nodes").Name = "cortex-nodes" }),
	inPlan("a role is of another account", func(p *cluster.Plan) {
		r := roleOf(p, "nodes")
		r.ARN = strings.Replace(r.ARN, p.Account, "999999999999", 1)
	}),
	inPlan("the operator may do everything", func(p *cluster.Plan) { roleOf(p, "operator").Inline["cortex"].Statement[0].Action = []string{"*"} }),
	inPlan("the operator may change roles", func(p *cluster.Plan) {
		roleOf(p, "operator").Inline["cortex"].Statement[0].Action = []string{"iam:PutRolePolicy"}
	}),
	inPlan("gateways may read every bucket", func(p *cluster.Plan) { roleOf(p, "gateway").Inline["cortex"].Statement[0].Resource = []string{"*"} }),
	inPlan("the autoscaler may end any instance", func(p *cluster.Plan) { roleOf(p, "autoscaler").Inline["cortex"].Statement[1].Condition = nil }),
	inPlan("a policy is of another partition", func(p *cluster.Plan) {
		roleOf(p, "nodes").Attach[0] = "arn:aws-cn:iam::aws:policy/AmazonEKSWorkerNodePolicy"
	}),
	inPlan("a stack has a name of eksctl's", func(p *cluster.Plan) { stackOf(p, "cluster").Name = "eksctl-" + p.ClusterName + "-cluster" }),
	inPlan("the control plane is rolled back", func(p *cluster.Plan) { stackOf(p, "cluster").Rollback = true }),
	inPlan("a parameter is not given", func(p *cluster.Plan) { delete(stackOf(p, "services").Params, "Vpc") }),
	inPlan("a parameter is too much", func(p *cluster.Plan) {
		stackOf(p, "addons").Params = map[string]cluster.Source{"Subnets": {Literal: "x"}}
	}),
	inPlan("a stack waits for nothing", func(p *cluster.Plan) { stepOf(p, "stack/services").Needs = nil }),
	inPlan("a stack does not wait for its role", func(p *cluster.Plan) { stepOf(p, "stack/cluster").Needs = []string{"stack/network"} }),
	inPlan("a step waits for a later one", func(p *cluster.Plan) { stepOf(p, "stack/network").Needs = []string{"chart"} }),
	inPlan("the endpoint must not fail", func(p *cluster.Plan) { stepOf(p, "stack/endpoints").Soft = false }),
	inPlan("the bucket is public", func(p *cluster.Plan) { stepOf(p, "bucket").Do.Bucket.BlockPublicAccess = false }),
	inPlan("a policy has another name", func(p *cluster.Plan) { stepOf(p, "policy").Do.Policy.Name = "cortex" }),
}

func stepOf(p *cluster.Plan, id string) *cluster.Step {
	return &p.Steps[slices.IndexFunc(p.Steps, func(s cluster.Step) bool { return s.ID == id })]
}

func roleOf(p *cluster.Plan, part string) *cluster.Role   { return stepOf(p, "role/"+part).Do.Role }
func stackOf(p *cluster.Plan, part string) *cluster.Stack { return stepOf(p, "stack/"+part).Do.Stack }

// victim is a plan that has everything a mistake can be made in.
const victim = `
cluster_name: iris
region: us-west-2
subnet_visibility: private
nat_gateway: highly_available
operator_load_balancer_scheme: internal
ssl_certificate_arn: arn:aws:acm:us-west-2:111122223333:certificate/8d1f2c3b-0000-4444-8888-aaaaaaaaaaaa
node_groups:
- {name: gpu, instance_type: g5.xlarge, min_instances: 0, spot: true}
`

// mutate returns the victim with a mistake.
func (m mutant) mutate(t *testing.T) *cluster.Plan {
	t.Helper()
	p := build(t, parsed(t, victim), facts(t, "us-west-2"))
	if m.plan != nil {
		m.plan(p)
		return p
	}
	s := stackOf(p, m.stack)
	var template any
	if err := json.Unmarshal(s.Template, &template); err != nil {
		t.Fatal(err)
	}
	changed, ok := changedAt(template, strings.Split(m.path, "."), m.value)
	if !ok {
		t.Fatalf("%s: the template has no %s", m.name, m.path)
	}
	text, err := json.Marshal(changed)
	if err != nil {
		t.Fatal(err)
	}
	s.Template = text
	return p
}

// changedAt returns v with the value at a path replaced, or taken away.
func changedAt(v any, path []string, value any) (any, bool) {
	switch x := v.(type) {
	case object:
		x = maps.Clone(x)
		if len(path) > 1 {
			below, ok := changedAt(x[path[0]], path[1:], value)
			x[path[0]] = below
			return x, ok
		}
		if value == nil {
			_, ok := x[path[0]]
			delete(x, path[0])
			return x, ok
		}
		x[path[0]] = value
		return x, true
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(x) {
			return v, false
		}
		x = slices.Clone(x)
		ok := true
		if len(path) == 1 {
			x[i] = value
		} else {
			x[i], ok = changedAt(x[i], path[1:], value)
		}
		return x, ok
	}
	return v, false
}

// Every mistake that was sown is found: by AWS's linter, or by what it does not know.
func TestMistakesAreFound(t *testing.T) {
	t.Parallel()
	if wrong := inspect(build(t, parsed(t, victim), facts(t, "us-west-2"))); len(wrong) > 0 {
		t.Fatalf("the plan is wrong without a mistake: %v", wrong)
	}
	for _, m := range mutants {
		if !m.lint && len(inspect(m.mutate(t))) == 0 {
			t.Errorf("nobody finds that %s", m.name)
		}
	}
}

func TestLinterFindsMistakes(t *testing.T) {
	t.Parallel()
	program := linter(t)
	dir := t.TempDir()
	var files []string
	named := map[string]string{}
	for i, m := range mutants {
		if m.lint {
			name := fmt.Sprintf("mutant-%02d", i)
			files = append(files, write(t, dir, name, stackOf(m.mutate(t), m.stack).Template))
			named[name+".json"] = m.name
		}
	}
	if len(files) < 30 {
		t.Errorf("%d kinds of mistakes, want 30 or more", len(files))
	}
	said := lint(t, program, []string{"us-west-2"}, files)
	for file, name := range named {
		if len(said[file]) == 0 {
			t.Errorf("the linter does not find that %s", name)
		}
	}
}
