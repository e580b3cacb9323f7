package awstest_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// What depends on something else cannot be taken from under it, and AWS's words say so.
func TestDependenciesOfEC2(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50, Quotas: map[string]float64{"L-F678F1CE": 1, "L-0263D0A3": 1}}, func(t *testing.T, _ *awstest.Account, r *runner) {
		p := planned(t, privateCluster)
		for _, s := range p.Steps {
			if s.ID == "stack/network" {
				r.made("network", s.Do.Stack)
			}
		}
		client := ec2.NewFromConfig(r.cfg)
		stack := r.ids["network"]
		vpc, gateway := r.physical(stack, "VPC"), r.physical(stack, "InternetGateway")
		_, err := client.CreateVpc(r.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
		wantError(t, err, "VpcLimitExceeded", "maximum number of VPCs")
		_, err = client.AllocateAddress(r.ctx, &ec2.AllocateAddressInput{Domain: ec2types.DomainTypeVpc})
		wantError(t, err, "AddressLimitExceeded", "maximum number of addresses")
		out, err := client.DescribeAddresses(r.ctx, &ec2.DescribeAddressesInput{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.ReleaseAddress(r.ctx, &ec2.ReleaseAddressInput{AllocationId: out.Addresses[0].AllocationId})
		wantError(t, err, "InvalidIPAddress.InUse", "is in use")
		_, err = client.DetachInternetGateway(r.ctx, &ec2.DetachInternetGatewayInput{InternetGatewayId: &gateway, VpcId: &vpc})
		wantError(t, err, "DependencyViolation", "Network "+vpc+" has some mapped public address(es). Please unmap those public address(es) before detaching the gateway.")
		_, err = client.DeleteInternetGateway(r.ctx, &ec2.DeleteInternetGatewayInput{InternetGatewayId: &gateway})
		wantError(t, err, "DependencyViolation", "has dependencies and cannot be deleted")

		group := func(name string) *string {
			g, err := client.CreateSecurityGroup(r.ctx, &ec2.CreateSecurityGroupInput{GroupName: &name, Description: &name, VpcId: &vpc})
			if err != nil {
				t.Fatal(err)
			}
			return g.GroupId
		}
		one, two := group("one"), group("two")
		from := []ec2types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(1), ToPort: aws.Int32(1), UserIdGroupPairs: []ec2types.UserIdGroupPair{{GroupId: one}}}}
		if _, err := client.AuthorizeSecurityGroupIngress(r.ctx, &ec2.AuthorizeSecurityGroupIngressInput{GroupId: two, IpPermissions: from}); err != nil {
			t.Fatal(err)
		}
		_, err = client.DeleteSecurityGroup(r.ctx, &ec2.DeleteSecurityGroupInput{GroupId: one})
		wantError(t, err, "DependencyViolation", "has a dependent object")
		if _, err := client.RevokeSecurityGroupIngress(r.ctx, &ec2.RevokeSecurityGroupIngressInput{GroupId: two, IpPermissions: from}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.DeleteSecurityGroup(r.ctx, &ec2.DeleteSecurityGroupInput{GroupId: one}); err != nil {
			t.Error(err)
		}
	})
}

// A NAT gateway takes its time, both ways.
func TestNATGateway(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, _ *awstest.Account, r *runner) {
		r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
		client := ec2.NewFromConfig(r.cfg)
		address, err := client.AllocateAddress(r.ctx, &ec2.AllocateAddressInput{})
		if err != nil {
			t.Fatal(err)
		}
		made, err := client.CreateNatGateway(r.ctx, &ec2.CreateNatGatewayInput{SubnetId: aws.String(r.physical("n", "Subnet")), AllocationId: address.AllocationId})
		if err != nil {
			t.Fatal(err)
		}
		id := *made.NatGateway.NatGatewayId
		state := func() ec2types.NatGatewayState {
			out, err := client.DescribeNatGateways(r.ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{id}})
			if err != nil {
				t.Fatal(err)
			}
			return out.NatGateways[0].State
		}
		for _, want := range []ec2types.NatGatewayState{"pending", "available"} {
			if got := state(); got != want {
				t.Errorf("it is %s, want %s", got, want)
			}
			pass(2 * time.Minute)
		}
		if _, err := client.DeleteNatGateway(r.ctx, &ec2.DeleteNatGatewayInput{NatGatewayId: &id}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []ec2types.NatGatewayState{"deleting", "deleted"} {
			if got := state(); got != want {
				t.Errorf("it is %s, want %s", got, want)
			}
			pass(2 * time.Minute)
		}
		pass(2 * time.Hour)
		_, err = client.DescribeNatGateways(r.ctx, &ec2.DescribeNatGatewaysInput{NatGatewayIds: []string{id}})
		wantError(t, err, "NatGatewayNotFound", id)
	})
}

// IAM has its limits.
func TestLimitsOfIAM(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{PageSize: 50}, func(t *testing.T, _ *awstest.Account, r *runner) {
		role := aws.String("eksctl-r")
		create := func(name, trust string) error {
			_, err := r.iam.CreateRole(r.ctx, &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
			return err
		}
		if err := create(*role, trustEKS); err != nil {
			t.Fatal(err)
		}
		wantError(t, create("a", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ec2.amazonaw.com"},"Action":"sts:AssumeRole"}]}`), "MalformedPolicyDocument", "Invalid principal in policy")
		wantError(t, create(fmt.Sprintf("%065d", 1), trustEKS), "ValidationError", "less than or equal to 64")
		var last error
		for i := range 11 {
			policy, err := r.iam.CreatePolicy(r.ctx, &iam.CreatePolicyInput{PolicyName: aws.String(fmt.Sprintf("p%d", i)), PolicyDocument: aws.String(allowCaller)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.iam.AttachRolePolicy(r.ctx, &iam.AttachRolePolicyInput{RoleName: role, PolicyArn: policy.Policy.Arn})
			if last = err; err != nil && i < 10 {
				t.Fatal(err)
			}
		}
		wantError(t, last, "LimitExceeded", "PoliciesPerRole: 10")
		arn := aws.String("arn:aws:iam::111122223333:policy/p0")
		for i := range 5 {
			_, last = r.iam.CreatePolicyVersion(r.ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, PolicyDocument: aws.String(allowCaller)})
			if last != nil && i < 4 {
				t.Fatal(last)
			}
		}
		wantError(t, last, "LimitExceeded", "can have up to 5 versions")
	})
}

// What is thrown dice for falls now this way, now that, and for one seed always the same.
func TestOdds(t *testing.T) {
	t.Parallel()
	count := func(seed uint64) (n int) {
		bubble(t, awstest.Options{Seed: seed}, func(t *testing.T, a *awstest.Account, r *runner) {
			a.Fail(awstest.Fault{Service: "ec2", Code: "Unlucky", Odds: 0.3})
			for range 200 {
				if _, err := ec2.NewFromConfig(r.cfg).DescribeRegions(r.ctx, nil); err != nil {
					n++
				}
			}
		})
		return n
	}
	first := count(1)
	if first < 30 || first > 90 || count(1) != first || count(2) == first {
		t.Errorf("of 200 calls %d failed, again %d, with another seed %d", first, count(1), count(2))
	}
}

// A bucket of another account is refused to who asks for one of this.
func TestBucketOwner(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{Region: "us-east-1"}, func(t *testing.T, _ *awstest.Account, r *runner) {
		client := s3.NewFromConfig(r.cfg)
		if _, err := client.CreateBucket(r.ctx, &s3.CreateBucketInput{Bucket: aws.String("iris-1")}); err != nil {
			t.Fatal(err)
		}
		head := func(owner string) error {
			_, err := client.HeadBucket(r.ctx, &s3.HeadBucketInput{Bucket: aws.String("iris-1"), ExpectedBucketOwner: &owner})
			return err
		}
		if err := head("111122223333"); err != nil {
			t.Error(err)
		}
		wantError(t, head("999999999999"), "Forbidden", "403")
		_, err := client.PutObject(r.ctx, &s3.PutObjectInput{Bucket: aws.String("iris-1"), Key: aws.String("a"), ACL: "private"})
		wantError(t, err, "NotSimulated", "X-Amz-Acl")
	})
}
