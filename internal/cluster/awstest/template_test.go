package awstest_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
)

// mistake is one that AWS finds in a template: at once, or when it makes the resource.
type mistake struct {
	part, path string
	value      any // nil: the value is taken away
	want       string
}

var mistakes = []mistake{
	{"network", "Resources.VPC.Properties.CidrBlock", "192.168.0.0/33", "The CIDR '192.168.0.0/33' is invalid."},
	{"network", "Resources.VPC.Properties.CidrBlok", "192.168.0.0/16", "#: extraneous key [CidrBlok] is not permitted"},
	{"network", "Resources.VPC.Properties.EnableDnsSupport", "perhaps", "#/EnableDnsSupport: expected type: boolean, found: string"},
	{"network", "Resources.PublicSubnetA.Properties.VpcId", nil, "#: required key [VpcId] not found"},
	{"network", "Resources.PublicSubnetA.Type", "AWS::EC2::SubNet", "Unrecognized resource types: [AWS::EC2::SubNet]"},
	{"network", "Resources.PublicDefault.Properties.RouteTableId", ref("Nowhere"), "Unresolved resource dependencies [Nowhere] in the Resources block"},
	{"network", "Resources.PublicDefault.DependsOn", "Nowhere", "Unresolved resource dependencies [Nowhere]"},
	{"network", "Resources.NatGateway.Properties.AllocationId", object{"Fn::GetAtt": []any{"NatAddress", "AlocationId"}}, "does not support attribute type AlocationId in Fn::GetAtt"},
	{"network", "Resources.GatewayAttachment.DependsOn", "NatGateway", "Circular dependency between resources"},
	{"network", "Outputs.Vpc.Value", ref("Vpcc"), "Unresolved resource dependencies [Vpcc] in the Outputs block"},
	{"network", "Outputs.Vpc", object{}, "The Value field of every Outputs member must be specified"},
	{"network", "Ressources", object{}, "Invalid template property or properties [Ressources]"},
	{"network", "Resources.PublicSubnetB.Properties.CidrBlock", "192.168.0.0/19", "conflicts with another subnet"},
	{"network", "Resources.PublicSubnetB.Properties.CidrBlock", "10.0.0.0/19", "The CIDR '10.0.0.0/19' is invalid."},
	{"network", "Resources.PublicSubnetA.Properties.AvailabilityZone", "us-west-2z", "Value (us-west-2z) for parameter availabilityZone is invalid"},
	{"network", "Resources.Role", object{"Type": "AWS::IAM::Role"}, "Requires capabilities : [CAPABILITY_NAMED_IAM]"},
	{"endpoints", "Resources.S3.Properties.VpcEndpointType", "Gatway", "#/VpcEndpointType: Gatway is not a valid enum value"},
	{"cluster", "Resources.Cluster.Properties.AccessConfig.AuthenticationMode", "API_AND_CONFIGMAP", "is not a valid enum value"},
	{"cluster", "Resources.Cluster.Properties.UpgradePolicy.SupportType", "STANDRAD", "is not a valid enum value"},
	{"cluster", "Resources.Cluster.Properties.RoleArn", nil, "required key [RoleArn] not found"},
	{"cluster", "Resources.Cluster.Properties.ResourcesVpcConfig.SubnetId", ref("Subnets"), "#/ResourcesVpcConfig: extraneous key [SubnetId] is not permitted"},
	{"cluster", "Resources.Cluster.Properties.Version", "1.12", "unsupported Kubernetes version 1.12"},
	{"cluster", "Resources.Cluster.Properties.RoleArn", "arn:aws:iam::111122223333:role/nobody", "could not be assumed because it does not exist or the trusted entity is not correct"},
	{"cluster", "Parameters.Subnets.Type", "List<AWS::EC2::Subnets::Id>", "Unrecognized parameter type"},
	{"cluster", "Parameters.More", object{"Type": "String"}, "Parameters: [More] must have values"},
	{"cluster", "Parameters.Subnets", nil, "Unresolved resource dependencies [Subnets]"},
	{"addons", "Resources.VpcCni.Properties.ResolveConflicts", "OVERWRITTEN", "is not a valid enum value"},
	{"addons", "Resources.VpcCni.Properties.AddonVersion", "v0.0.1", "Addon version specified is not supported"},
	{"addons", "Resources.ApisIdentity.Properties.RoleArn", "arn:aws:iam::111122223333:role/nobody", "or the role does not exist"},
	{"nodes-cx-operator", "Resources.Nodes.Properties.AmiType", "AL2023_ARM_64_STANDARD", "is not a valid instance type for requested amiType"},
	{"nodes-cx-operator", "Resources.Nodes.Properties.Taints.0.Effect", "NO_SCHEDUL", "is not one of NO_SCHEDULE"},
	{"nodes-cx-operator", "Resources.Nodes.Properties.InstanceTypes", "t3.medium", "expected type: array, found: string"},
	{"nodes-cx-operator", "Resources.Nodes.Properties.ReleaseVersion", "1.30.1-20260714", "is not valid for kubernetes version"},
	{"nodes-cx-operator", "Resources.Nodes.Properties.ScalingConfig.MinSize", 30, "can't be greater than desired size"},
	{"nodes-cx-operator", "Resources.Nodes.Properties.Id", "x", "Encountered unsupported property Id"},
	{"services", "Resources.ApisBalancer.Properties.Scheme", "internetfacing", "Load balancer scheme 'internetfacing' must be one of"},
	{"services", "Resources.ApisBalancer.Properties.Name", "a-name-that-is-much-longer-than-it-may-be", "cannot be longer than '32' characters"},
	{"services", "Resources.ApisListener80.Properties.DefaultActions", nil, "required key [DefaultActions] not found"},
	{"services", "Resources.ApisListener80.Properties.Protocol", "TLS", "A certificate must be specified for TLS listeners"},
	{"services", "Resources.ApisGroup.Properties.GroupDescription", nil, "required key [GroupDescription] not found"},
	{"services", "Resources.ApisToNodes.Properties.IpProtocol", nil, "required key [IpProtocol] not found"},
	{"services", "Resources.ApisGroup.Properties.SecurityGroupIngress.0.CidrIp", "0.0.0.0", "CIDR block 0.0.0.0 is malformed"},
}

// changed returns v with the value at a path replaced, or taken away.
func changed(v any, path []string, value any) any {
	switch x := v.(type) {
	case object:
		x = maps.Clone(x)
		switch {
		case len(path) > 1:
			x[path[0]] = changed(x[path[0]], path[1:], value)
		case value == nil:
			delete(x, path[0])
		default:
			x[path[0]] = value
		}
		return x
	case []any:
		x = slices.Clone(x)
		i, err := strconv.Atoi(path[0])
		if err != nil {
			panic(err)
		}
		if len(path) == 1 {
			x[i] = value
		} else {
			x[i] = changed(x[i], path[1:], value)
		}
		return x
	}
	panic("there is no " + strings.Join(path, "."))
}

// Every template of a plan is accepted (see TestLifeOfACluster), and each mistake that is
// made in one is found, in the words of AWS.
func TestMistakesInTemplates(t *testing.T) {
	t.Parallel()
	byPart := map[string][]mistake{}
	for _, m := range mistakes {
		byPart[m.part] = append(byPart[m.part], m)
	}
	bubble(t, awstest.Options{PageSize: 100}, func(t *testing.T, _ *awstest.Account, r *runner) {
		p := planned(t, privateCluster)
		r.objects(p)
		for _, step := range p.Steps {
			s := step.Do.Stack
			if s == nil {
				continue
			}
			part := strings.TrimPrefix(step.ID, "stack/")
			for _, m := range byPart[part] {
				r.mistaken(s, m)
			}
			delete(byPart, part)
			r.made(part, s)
		}
	})
	if len(byPart) > 0 {
		t.Errorf("there are no stacks for %v", byPart)
	}
}

// mistaken tries a stack with a mistake, and cleans up after it.
func (r *runner) mistaken(s *cluster.Stack, m mistake) {
	r.t.Helper()
	var template any
	if err := json.Unmarshal(s.Template, &template); err != nil {
		r.t.Fatal(err)
	}
	body, err := json.Marshal(changed(template, strings.Split(m.path, "."), m.value))
	if err != nil {
		r.t.Fatal(err)
	}
	out, err := r.cfn.CreateStack(r.ctx, &cloudformation.CreateStackInput{StackName: aws.String("wrong"), TemplateBody: aws.String(string(body)), Parameters: r.params(s)})
	said := ""
	if err != nil {
		said = err.Error()
	} else {
		got := r.wait(*out.StackId)
		said = strings.Join(r.events(*out.StackId), "\n")
		if got.StackStatus != cfntypes.StackStatusRollbackComplete {
			r.t.Errorf("%s %s = %v: the stack is %s", m.part, m.path, m.value, got.StackStatus)
		}
		r.delete(*out.StackId)
	}
	if !strings.Contains(said, m.want) {
		r.t.Errorf("%s %s = %v: want %q\n%s", m.part, m.path, m.value, m.want, said)
	}
}
