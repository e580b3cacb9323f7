package awstest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// published is the policy that Cortex's documentation asks for.
func published(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../minimum-policy.json")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("$CORTEX_CLUSTER_NAME", "iris", "$CORTEX_ACCOUNT_ID", "111122223333", "$CORTEX_REGION", "us-west-2").Replace(string(text))
}

// The published policy suffices for everything in a plan but the endpoint, whose handler
// asks for more; and what it lacks is refused, with the action in the words.
func TestPublishedPolicy(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, _ *runner) {
		r := newRunner(t, a, a.AddUser("builder", published(t)))
		p := planned(t, privateCluster)
		for i := range p.Steps {
			if p.Steps[i].ID == "stack/endpoints" {
				p.Steps = slices.Delete(p.Steps, i, i+1)
				break
			}
		}
		r.up(p)
		if failed := r.down(p); len(failed) > 0 {
			t.Errorf("failed: %v", failed)
		}
		if left := a.Left(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
		implied := 0
		for _, c := range a.Calls() {
			if c.Result == "AccessDenied" || c.Result == "UnauthorizedOperation" {
				t.Errorf("%s:%s on %v is refused", c.Service, c.Action, c.Resources)
			}
			if c.Implied {
				implied++
			}
		}
		if implied < 300 {
			t.Errorf("%d calls are CloudFormation's, want those of all resources", implied)
		}
	})
}

// A stack fails where its maker may not make what is in it.
func TestStacksActForTheirMaker(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, _ *runner) {
		r := newRunner(t, a, a.AddUser("some", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","NotAction":"ec2:CreateSubnet","Resource":"*"}]}`))
		s := r.create(&cloudformation.CreateStackInput{StackName: aws.String("n"), TemplateBody: network()})
		wantStatus(t, s, cfntypes.StackStatusRollbackComplete)
		want := "User: arn:aws:iam::111122223333:user/some is not authorized to perform: ec2:CreateSubnet"
		if events := strings.Join(r.events(*s.StackId), "\n"); !strings.Contains(events, want) || !strings.Contains(events, "HandlerErrorCode: AccessDenied") {
			t.Errorf("no event has %q:\n%s", want, events)
		}
	})
}

// Whoever may do nothing may ask who they are, and each service refuses in its own words.
func TestRefusedCalls(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, _ *runner) {
		ctx, cfg := t.Context(), a.Config(a.AddUser("carol"))
		if out, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil); err != nil || *out.Arn != "arn:aws:iam::111122223333:user/carol" {
			t.Errorf("%v, %v", out, err)
		}
		words := "User: arn:aws:iam::111122223333:user/carol is not authorized to perform: "
		_, err := ec2.NewFromConfig(cfg).DescribeVpcs(ctx, nil)
		wantError(t, err, "UnauthorizedOperation", "You are not authorized to perform this operation. "+words+"ec2:DescribeVpcs on resource: * because no identity-based policy allows the ec2:DescribeVpcs action")
		_, err = eks.NewFromConfig(cfg).DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String("iris")})
		wantError(t, err, "AccessDeniedException", words+"eks:DescribeCluster on resource: arn:aws:eks:us-west-2:111122223333:cluster/iris")
		_, err = iam.NewFromConfig(cfg).GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r")})
		wantError(t, err, "AccessDenied", words+"iam:GetRole on resource: arn:aws:iam::111122223333:role/r")
		_, err = cloudwatchlogs.NewFromConfig(cfg).DeleteLogGroup(ctx, &cloudwatchlogs.DeleteLogGroupInput{LogGroupName: aws.String("iris")})
		wantError(t, err, "AccessDeniedException", words+"logs:DeleteLogGroup on resource: arn:aws:logs:us-west-2:111122223333:log-group:iris:*")
	})
}

// Nobody is believed without a signature that verifies.
func TestSignatures(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, _ *runner) {
		ctx := t.Context()
		ask := func(cfg aws.Config) error {
			_, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, nil)
			return err
		}
		root := a.Root()
		wrong := a.Config(awstest.Key{AccessKeyID: root.AccessKeyID, Secret: "wrong"})
		wantError(t, ask(wrong), "SignatureDoesNotMatch", "does not match")
		wantError(t, ask(a.Config(awstest.Key{AccessKeyID: "AKIANOBODY", Secret: "x"})), "InvalidClientTokenId", "is invalid")
		elsewhere := a.Config(root)
		elsewhere.Region = "eu-central-1"
		wantError(t, ask(elsewhere), "SignatureDoesNotMatch", "valid region")
		session := a.AddSession("Admins", "carol", time.Hour)
		if err := ask(a.Config(session)); err != nil {
			t.Error(err)
		}
		without := a.Config(session)
		without.Credentials = credentials.NewStaticCredentialsProvider(session.AccessKeyID, session.Secret, "")
		wantError(t, ask(without), "InvalidClientTokenId", "is invalid")
		pass(2 * time.Hour)
		wantError(t, ask(a.Config(session)), "ExpiredToken", "expired")
		_, err := eks.NewFromConfig(a.Config(session)).ListClusters(ctx, nil)
		wantError(t, err, "ExpiredTokenException", "expired")
	})
	bubble(t, awstest.Options{Region: "ap-east-1", OptedOut: true}, func(t *testing.T, a *awstest.Account, r *runner) {
		_, err := sts.NewFromConfig(r.cfg).GetCallerIdentity(r.ctx, nil)
		wantError(t, err, "InvalidClientTokenId", "is invalid")
		_, err = ec2.NewFromConfig(r.cfg).DescribeVpcs(r.ctx, nil)
		wantError(t, err, "AuthFailure", "not able to validate")
	})
}

// What goes wrong goes wrong as often as it was asked to, and clients get over what they
// can get over.
func TestFaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault awstest.Fault
		want  string // code; "" none
		made  int
	}{
		"throttled twice":     {awstest.Fault{Throttle: true, Times: 2}, "", 1},
		"throttled for ever":  {awstest.Fault{Throttle: true}, "RequestLimitExceeded", 0},
		"broken twice":        {awstest.Fault{Broken: true, Times: 2}, "", 1},
		"lost once":           {awstest.Fault{Lost: true, Times: 1}, "", 2}, // a VPC has no token: it is made twice
		"a code":              {awstest.Fault{Code: "VpcLimitExceeded", Message: "no"}, "VpcLimitExceeded", 0},
		"of another action":   {awstest.Fault{Action: "CreateSubnet", Code: "X"}, "", 1},
		"after one that goes": {awstest.Fault{After: 1, Code: "X"}, "", 1},
		"expired":             {awstest.Fault{Expired: true, Times: 1}, "RequestExpired", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
				c.fault.Service = "ec2"
				a.Fail(c.fault)
				_, err := ec2.NewFromConfig(r.cfg).CreateVpc(r.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
				if code(err) != c.want || (err != nil) != (c.want != "") || a.Made()["vpc"] != c.made {
					t.Errorf("%v, made %v", err, a.Made())
				}
			})
		})
	}
}

// Nothing succeeds that was not understood.
func TestWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, _ *awstest.Account, r *runner) {
		client := ec2.NewFromConfig(r.cfg)
		_, err := client.DescribeImages(r.ctx, &ec2.DescribeImagesInput{})
		wantError(t, err, "InvalidAction", "awstest does not know the operation DescribeImages of ec2")
		_, err = client.CreateVpc(r.ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16"), Ipv6Pool: aws.String("x")})
		wantError(t, err, "NotSimulated", "does not know these parameters of CreateVpc: Ipv6Pool")
		ctx, cancel := context.WithCancel(r.ctx)
		cancel()
		if _, err := client.DescribeVpcs(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("with a context that has ended: %v", err)
		}
	})
}

// Objects are written on conditions, in the form in which the SDK sends them.
func TestObjects(t *testing.T) {
	t.Parallel()
	bubble(t, awstest.Options{}, func(t *testing.T, a *awstest.Account, r *runner) {
		a.TakeBucket("theirs")
		client, bucket, key := s3.NewFromConfig(r.cfg), aws.String("iris-1"), aws.String("cluster/ledger.json")
		create := func(name string) error {
			_, err := client.CreateBucket(r.ctx, &s3.CreateBucketInput{Bucket: &name, CreateBucketConfiguration: &s3types.CreateBucketConfiguration{LocationConstraint: "us-west-2"}})
			return err
		}
		if err := create(*bucket); err != nil {
			t.Fatal(err)
		}
		wantError(t, create(*bucket), "BucketAlreadyOwnedByYou", "")
		wantError(t, create("theirs"), "BucketAlreadyExists", "")
		_, err := client.HeadBucket(r.ctx, &s3.HeadBucketInput{Bucket: aws.String("theirs")})
		wantError(t, err, "Forbidden", "403")
		_, err = client.HeadBucket(r.ctx, &s3.HeadBucketInput{Bucket: aws.String("nothing")})
		wantError(t, err, "NotFound", "404")
		put := func(match, none *string, body string) (string, error) {
			out, err := client.PutObject(r.ctx, &s3.PutObjectInput{Bucket: bucket, Key: key, Body: strings.NewReader(body), IfMatch: match, IfNoneMatch: none})
			if err != nil {
				return "", err
			}
			return *out.ETag, nil
		}
		first, err := put(nil, aws.String("*"), "one")
		if err != nil {
			t.Fatal(err)
		}
		_, err = put(nil, aws.String("*"), "two")
		wantError(t, err, "PreconditionFailed", "")
		second, err := put(&first, nil, "two")
		if err != nil || second == first {
			t.Fatalf("%s, %v", second, err)
		}
		_, err = put(&first, nil, "three")
		wantError(t, err, "PreconditionFailed", "")
		out, err := client.GetObject(r.ctx, &s3.GetObjectInput{Bucket: bucket, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(out.Body); err != nil || !bytes.Equal(body, []byte("two")) {
			t.Errorf("the object is %q, %v", body, err)
		}
		_, err = client.DeleteBucket(r.ctx, &s3.DeleteBucketInput{Bucket: bucket})
		wantError(t, err, "BucketNotEmpty", "")
		if _, err := client.DeleteObjects(r.ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &s3types.Delete{Objects: []s3types.ObjectIdentifier{{Key: key}, {Key: aws.String("a b+c")}}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := client.DeleteBucket(r.ctx, &s3.DeleteBucketInput{Bucket: bucket}); err != nil {
			t.Error(err)
		}
		if left := a.Left(); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// Many may ask at once, and what they are shown is not what is changed meanwhile.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	a := awstest.New(awstest.Options{PageSize: 50, Quotas: map[string]float64{"L-F678F1CE": 100}})
	client := ec2.NewFromConfig(a.Config(a.Root()))
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			out, err := client.CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")})
			if err != nil {
				t.Error(err)
				return
			}
			for j := range 20 {
				tag := ec2types.Tag{Key: aws.String("k" + strconv.Itoa(j)), Value: aws.String(strconv.Itoa(i))}
				if _, err := client.CreateTags(t.Context(), &ec2.CreateTagsInput{Resources: []string{*out.Vpc.VpcId}, Tags: []ec2types.Tag{tag}}); err != nil {
					t.Error(err)
				}
				if _, err := client.DescribeVpcs(t.Context(), &ec2.DescribeVpcsInput{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if got := a.Made()["vpc"]; got != 8 {
		t.Errorf("%d VPCs were made, want 8", got)
	}
}
