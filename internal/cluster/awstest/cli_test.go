package awstest_test

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// python is an interpreter that has some modules. Where there is none the test is skipped,
// but in CI, which has to have one.
func python(t *testing.T, modules ...string) string {
	t.Helper()
	program, err := exec.LookPath("python3")
	if err == nil {
		err = exec.CommandContext(t.Context(), program, "-c", "import "+strings.Join(modules, ", ")).Run()
	}
	if err != nil {
		say := t.Skipf
		if os.Getenv("CI") == "true" {
			say = t.Fatalf
		}
		say("there is no python3 with %s on this machine (pip install %s)", strings.Join(modules, ", "), strings.Join(modules, " "))
	}
	return program
}

// answer is what a command of the AWS command line has said.
type answer struct {
	Code            int
	Out, Complaints string
}

// commands runs commands of the AWS command line against an account behind a server.
func commands(t *testing.T, a *awstest.Account, k awstest.Key, lines []string) []answer {
	t.Helper()
	program := python(t, "awscli")
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	dir := t.TempDir()
	var all [][]string
	for _, line := range lines {
		words := strings.Fields(line)
		for i, w := range words {
			words[i] = strings.ReplaceAll(w, "TESTDATA", "testdata")
		}
		all = append(all, append(words, "--endpoint-url", server.URL))
	}
	in, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, filepath.Join("testdata", "aws.py"))
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "AWS_ACCESS_KEY_ID=" + k.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + k.Secret, "AWS_SESSION_TOKEN=" + k.SessionToken,
		"AWS_REGION=us-west-2", "AWS_DEFAULT_REGION=us-west-2", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "AWS_MAX_ATTEMPTS=2",
	}
	cmd.Stdin = bytes.NewReader(in)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), complaints.String())
	}
	var answers []answer
	for dec := json.NewDecoder(&out); dec.More(); {
		var one answer
		if err := dec.Decode(&one); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, one)
	}
	if len(answers) != len(lines) {
		t.Fatalf("%d answers to %d commands", len(answers), len(lines))
	}
	return answers
}

const trustEKS = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`

const allowCaller = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:GetCallerIdentity","Resource":"*"}]}`

// said are commands, and what they have to say. An error is told by its code.
var said = []struct{ command, want string }{
	{"sts get-caller-identity --query Arn --output text", "arn:aws:iam::111122223333:user/admin"},

	{"iam create-role --role-name eksctl-iris --assume-role-policy-document " + trustEKS + " --query Role.Arn --output text", "arn:aws:iam::111122223333:role/eksctl-iris"},
	{"iam create-role --role-name eksctl-iris --assume-role-policy-document " + trustEKS, "EntityAlreadyExists"},
	{"iam tag-role --role-name eksctl-iris --tags Key=a,Value=b", ""},
	{"iam get-role --role-name eksctl-iris --query Role.[Tags[0].Value,AssumeRolePolicyDocument.Statement[0].Principal.Service] --output text", "b\teks.amazonaws.com"},
	{"iam get-role --role-name nobody", "NoSuchEntity"},
	{"iam put-role-policy --role-name eksctl-iris --policy-name p --policy-document " + allowCaller, ""},
	{"iam get-role-policy --role-name eksctl-iris --policy-name p --query PolicyDocument.Statement[0].Effect --output text", "Allow"},
	{"iam list-role-policies --role-name eksctl-iris --query PolicyNames --output text", "p"},
	{"iam create-policy --policy-name cortex-iris --policy-document " + allowCaller + " --query Policy.DefaultVersionId --output text", "v1"},
	{"iam create-policy-version --policy-arn arn:aws:iam::111122223333:policy/cortex-iris --policy-document " + allowCaller + " --set-as-default --query PolicyVersion.VersionId --output text", "v2"},
	{"iam list-policy-versions --policy-arn arn:aws:iam::111122223333:policy/cortex-iris --query Versions[].VersionId --output text", "v2\tv1"},
	{"iam attach-role-policy --role-name eksctl-iris --policy-arn arn:aws:iam::aws:policy/AmazonEKSClusterPolicy", ""},
	{"iam list-attached-role-policies --role-name eksctl-iris --query AttachedPolicies[0].PolicyName --output text", "AmazonEKSClusterPolicy"},
	{"iam delete-role --role-name eksctl-iris", "DeleteConflict"},
	{"iam delete-policy --policy-arn arn:aws:iam::111122223333:policy/cortex-iris", "DeleteConflict"},
	{"iam delete-policy-version --policy-arn arn:aws:iam::111122223333:policy/cortex-iris --version-id v1", ""},
	{"iam delete-policy --policy-arn arn:aws:iam::111122223333:policy/cortex-iris", ""},
	{"iam get-policy --policy-arn arn:aws:iam::aws:policy/AmazonS3FullAccess --query Policy.PolicyName --output text", "AmazonS3FullAccess"},
	{"iam create-policy --policy-name bad --policy-document {}", "MalformedPolicyDocument"},

	{"ec2 describe-availability-zones --query AvailabilityZones[].ZoneId --output text", "usw2-az2\tusw2-az1\tusw2-az3\tusw2-az4"},
	{"ec2 describe-instance-types --instance-types g5.xlarge m5.large --query InstanceTypes[].[GpuInfo.Gpus[0].Count,VCpuInfo.DefaultVCpus] --output text", "1\t4\nNone\t2"},
	{"ec2 describe-instance-types --instance-types m99.huge", "InvalidInstanceType"},
	{"ec2 describe-instance-type-offerings --location-type availability-zone --filters Name=instance-type,Values=g5.xlarge --query length(InstanceTypeOfferings)", "3"},
	{"ec2 describe-spot-price-history --instance-types m5.large --product-descriptions Linux/UNIX --query SpotPriceHistory[3].SpotPrice", `"0.0352"`},
	{"ec2 create-vpc --cidr-block 10.1.0.0/16 --tag-specifications ResourceType=vpc,Tags=[{Key=Name,Value=mine}] --query Vpc.CidrBlock --output text", "10.1.0.0/16"},
	{"ec2 describe-vpcs --filters Name=tag:Name,Values=mine --query Vpcs[].State --output text", "available"},
	{"ec2 create-vpc --cidr-block 10.1.0.0/8", "InvalidVpc.Range"},
	{"ec2 describe-subnets --subnet-ids subnet-0", "InvalidSubnetID.NotFound"},
	{"ec2 describe-route-tables --query RouteTables[].Associations[].Main", "[\n    true\n]"},
	{"ec2 describe-security-groups --query SecurityGroups[].[GroupName,IpPermissionsEgress[0].IpRanges[0].CidrIp] --output text", "default\t0.0.0.0/0"},
	{"ec2 allocate-address --domain vpc --query Domain --output text", "vpc"},
	{"ec2 describe-addresses --query length(Addresses)", "1"},
	{"ec2 describe-vpcs --filters Name=colour,Values=red", "InvalidParameterValue"},

	{"cloudformation validate-template --template-body file://TESTDATA/network.json --query Description --output text", "a network"},
	{"cloudformation create-stack --stack-name net --template-body file://TESTDATA/network.json --tags Key=a,Value=b --query StackId --output text", "*arn:aws:cloudformation:us-west-2:111122223333:stack/net/"},
	{"cloudformation create-stack --stack-name net --template-body file://TESTDATA/network.json", "AlreadyExistsException"},
	{"cloudformation describe-stacks --stack-name net --query Stacks[0].[StackStatus,Tags[0].Value,Outputs[0].OutputKey] --output text", "CREATE_COMPLETE\tb\tVpc"},
	{"cloudformation describe-stack-events --stack-name net --query StackEvents[-1].ResourceStatusReason", `"User Initiated"`},
	{"cloudformation describe-stack-resources --stack-name net --query length(StackResources)", "8"},
	{"cloudformation list-stack-resources --stack-name net --query length(StackResourceSummaries)", "8"},
	{"cloudformation get-template --stack-name net --query TemplateBody.Description --output text", "a network"},
	{"cloudformation update-stack --stack-name net --use-previous-template --tags Key=a,Value=b", "ValidationError"},
	{"cloudformation create-change-set --stack-name net --change-set-name c --template-body file://TESTDATA/network.json --tags Key=a,Value=c --query StackId --output text", "*stack/net/"},
	{"cloudformation describe-change-set --stack-name net --change-set-name c --query Changes[4].ResourceChange.Scope[0]", `"Tags"`},
	{"cloudformation list-change-sets --stack-name net --query Summaries[0].ExecutionStatus --output text", "AVAILABLE"},
	{"cloudformation execute-change-set --stack-name net --change-set-name c", ""},
	{"cloudformation describe-stacks --stack-name net --query Stacks[0].[StackStatus,Tags[0].Value] --output text", "UPDATE_COMPLETE\tc"},
	{"cloudformation detect-stack-drift --stack-name net --query length(StackDriftDetectionId)", "36"},
	{"cloudformation describe-stack-resource-drifts --stack-name net --query StackResourceDrifts[?StackResourceDriftStatus!='IN_SYNC']", "[]"},
	{"cloudformation delete-stack --stack-name net", ""},
	{"cloudformation describe-stacks --stack-name net", "ValidationError"},
	{"cloudformation list-stacks --query StackSummaries[].StackStatus --output text", "DELETE_COMPLETE"},

	{"eks describe-cluster-versions --query clusterVersions[?defaultVersion].clusterVersion --output text", "1.36"},
	{"eks describe-addon-versions --kubernetes-version 1.35 --addon-name coredns --query addons[].addonVersions[].compatibilities[?defaultVersion].clusterVersion[] --output text", "1.35"},
	{"eks list-clusters --query clusters", "[]"},
	{"eks describe-cluster --name iris", "ResourceNotFoundException"},
	{"ssm get-parameters --names /aws/service/eks/optimized-ami/1.36/amazon-linux-2023/x86_64/standard/recommended/release_version /a --query [Parameters[0].Value,InvalidParameters[0]] --output text", "1.36.1-20260714\t/a"},

	{"elbv2 describe-load-balancers --query LoadBalancers", "[]"},
	{"elbv2 describe-load-balancers --names iris", "LoadBalancerNotFound"},
	{"autoscaling describe-auto-scaling-groups --query AutoScalingGroups", "[]"},
	{"autoscaling attach-load-balancer-target-groups --auto-scaling-group-name g --target-group-arns a", "ValidationError"},

	{"s3api create-bucket --bucket iris-1 --create-bucket-configuration LocationConstraint=us-west-2", "*iris-1"},
	{"s3api put-bucket-tagging --bucket iris-1 --tagging TagSet=[{Key=a,Value=b},{Key=c,Value=d}]", ""},
	{"s3api get-bucket-tagging --bucket iris-1 --query TagSet[].Value --output text", "b\td"},
	{"s3api put-bucket-versioning --bucket iris-1 --versioning-configuration Status=Enabled", ""},
	{"s3api put-object --bucket iris-1 --key a/b --body testdata/network.json --query VersionId", "*"},
	{"s3api list-objects-v2 --bucket iris-1 --query Contents[].Key --output text", "a/b"},
	{"s3api head-object --bucket iris-1 --key nothing", "404"},
	{"s3api delete-object --bucket iris-1 --key a/b", "*"},
	{"s3api list-object-versions --bucket iris-1 --query [length(Versions),length(DeleteMarkers)] --output text", "1\t1"},
	{"s3api delete-bucket --bucket iris-1", "BucketNotEmpty"},
	{"s3api put-public-access-block --bucket iris-1 --public-access-block-configuration BlockPublicAcls=true,IgnorePublicAcls=true,BlockPublicPolicy=true,RestrictPublicBuckets=true", ""},
	{"s3api get-public-access-block --bucket iris-1 --query PublicAccessBlockConfiguration.BlockPublicAcls", "true"},

	{"logs create-log-group --log-group-name iris --tags a=b", ""},
	{"logs create-log-group --log-group-name iris", "ResourceAlreadyExistsException"},
	{"logs list-tags-log-group --log-group-name iris --query tags.a --output text", "b"},
	{"sqs create-queue --queue-name cx-1 --query QueueUrl --output text", "https://sqs.us-west-2.amazonaws.com/111122223333/cx-1"},
	{"sqs list-queues --queue-name-prefix cx- --query length(QueueUrls)", "1"},
	{"service-quotas list-service-quotas --service-code vpc --query Quotas[?QuotaCode=='L-F678F1CE'].Value --output text", "5"},
	{"acm describe-certificate --certificate-arn arn:aws:acm:us-west-2:111122223333:certificate/00000000-0000-0000-0000-000000000000", "ResourceNotFoundException"},
}

// The AWS command line, which was written by others from AWS's models, understands every
// answer.
func TestAWSCommandLine(t *testing.T) {
	t.Parallel()
	a := awstest.New(awstest.Options{Speed: 1e6})
	lines := make([]string, len(said))
	for i, s := range said {
		lines[i] = s.command
	}
	for i, got := range commands(t, a, a.Root(), lines) {
		want, loose := strings.CutPrefix(said[i].want, "*")
		out := strings.TrimSpace(got.Out)
		failed := got.Code != 0 && (strings.Contains(got.Complaints, "("+want+")"))
		if !failed && (got.Code != 0 || out != want && !(loose && strings.Contains(out, want))) {
			t.Errorf("aws %s\nexit %d: %q %s\nwant %q", said[i].command, got.Code, out, got.Complaints, want)
		}
	}
}
