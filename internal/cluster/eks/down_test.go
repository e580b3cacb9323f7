package eks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

var versioned = &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}

// made is a world whose cluster is there, and who may do everything in its account.
func made(t *testing.T) (w *world, root *Account) {
	t.Helper()
	w = newWorld(t, nil)
	if err := w.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	root, err := Open(t.Context(), w.aws.Config(w.aws.Root()), w.kube)
	if err != nil {
		t.Fatal(err)
	}
	return w, root
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// Whatever users have filled a cluster with goes with it.
func TestDownOfAUsedCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, root := made(t)
		ctx := t.Context()
		names := root.names("iris")
		bucket := names.Bucket()
		must[*s3.PutBucketVersioningOutput](t)(root.s3.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{
			Bucket: &bucket, VersioningConfiguration: versioned,
		}))
		for _, text := range []string{"one", "two", "three"} {
			must[*s3.PutObjectOutput](t)(root.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &bucket, Key: aws.String("workloads/a"), Body: strings.NewReader(text)}))
		}
		must[*s3.DeleteObjectOutput](t)(root.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: aws.String("workloads/a")}))
		must[*s3.CreateMultipartUploadOutput](t)(root.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: &bucket, Key: aws.String("half")}))
		must[*sqs.CreateQueueOutput](t)(root.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String(names.Queues() + "text.fifo"), Attributes: map[string]string{"FifoQueue": "true"}}))
		arn := names.PolicyARN()
		must[*iam.CreatePolicyVersionOutput](t)(root.iam.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{
			PolicyArn: &arn, SetAsDefault: true, PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:GetObject"],"Resource":["*"]}]}`),
		}))
		found, err := w.down(ctx)
		if err != nil {
			w.tell()
			t.Fatal(err)
		}
		if l := append(left(found), w.aws.Left()...); len(l) > 0 {
			t.Errorf("left: %q", l)
		}
		if w.kube.released != 1 {
			t.Errorf("the cluster was asked %d times to let go, want once", w.kube.released)
		}
	})
}

// An API server that does not answer is no reason to keep paying.
func TestDownWithoutTheAPIServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, _ := made(t)
		w.kube.fail = errors.New("the cluster does not answer")
		found, err := w.down(t.Context())
		if err != nil || len(left(found)) > 0 {
			t.Errorf("down = %q, %v", left(found), err)
		}
		warned := false
		for _, e := range w.events {
			warned = warned || e.State == cluster.Warned && strings.Contains(e.Text, "does not answer")
		}
		if !warned {
			t.Error("nobody was told")
		}
	})
}

// What somebody else has put into the cluster's network is named, and not touched.
func TestDownIsHeldBySomethingElse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, root := made(t)
		ctx := t.Context()
		s, err := root.Info(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		foreign := must[*ec2.CreateNetworkInterfaceOutput](t)(root.ec2.CreateNetworkInterface(ctx, &ec2.CreateNetworkInterfaceInput{
			SubnetId: &s.Network.Subnets[0], Description: aws.String("of the database"),
		})).NetworkInterface
		id := *foreign.NetworkInterfaceId
		_, err = w.down(ctx)
		if err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), "of the database") {
			t.Fatalf("down = %v, want %s to be named", err, id)
		}
		if l := w.aws.Left(); !strings.Contains(strings.Join(l, " "), id) {
			t.Fatalf("left: %q, want %s untouched", l, id)
		}
		must[*ec2.DeleteNetworkInterfaceOutput](t)(root.ec2.DeleteNetworkInterface(ctx, &ec2.DeleteNetworkInterfaceInput{NetworkInterfaceId: &id}))
		if found, err := w.down(ctx); err != nil || len(left(found)) > 0 || len(w.aws.Left()) > 0 {
			t.Errorf("down again = %q, %v; left %q", left(found), err, w.aws.Left())
		}
	})
}

// With --keep-aws-resources data stay, and a later cluster of the name takes them on.
func TestDownKeepsData(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, root := made(t)
		ctx := t.Context()
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		found, err := a.Down(ctx, "iris", true, w.run())
		if err != nil || len(left(found)) > 0 {
			t.Fatalf("down = %q, %v", left(found), err)
		}
		b, err := root.bucket(ctx, root.names("iris").Bucket())
		if err != nil || !b.there {
			t.Errorf("the bucket is gone: %v", err)
		}
		if l := w.aws.Left(); len(l) != 2 {
			t.Errorf("left: %q, want the bucket and the log group", l)
		}
		if err := w.up(ctx); err != nil {
			t.Errorf("up again: %v", err)
		}
	})
}

// oldCluster is a cluster as cortex 0.42 had them made: of its name, with its tag.
const oldCluster = `{"Resources":{
"Vpc":{"Type":"AWS::EC2::VPC","Properties":{"CidrBlock":"10.0.0.0/16","EnableDnsSupport":true,"EnableDnsHostnames":true}},
"A":{"Type":"AWS::EC2::Subnet","Properties":{"VpcId":{"Ref":"Vpc"},"CidrBlock":"10.0.0.0/24","AvailabilityZone":"us-west-2a"}},
"B":{"Type":"AWS::EC2::Subnet","Properties":{"VpcId":{"Ref":"Vpc"},"CidrBlock":"10.0.1.0/24","AvailabilityZone":"us-west-2b"}},
"Cluster":{"Type":"AWS::EKS::Cluster","Properties":{"Name":"iris","RoleArn":"arn:aws:iam::` + account + `:role/old","BootstrapSelfManagedAddons":false,
"ResourcesVpcConfig":{"SubnetIds":[{"Ref":"A"},{"Ref":"B"}]},"AccessConfig":{"AuthenticationMode":"API_AND_CONFIG_MAP"},"Tags":[{"Key":"cortex.dev/cluster-name","Value":"iris"}]}}}}`

// Things that have a cluster's names and are not its own are neither used nor removed.
func TestNotOurs(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		make func(ctx context.Context, w *world, root *Account) error
		code string
	}{
		"bucket of another account": {func(_ context.Context, w *world, root *Account) error {
			w.aws.TakeBucket(root.names("iris").Bucket())
			return nil
		}, CodeNotOurs},
		"log group": {func(_ context.Context, w *world, _ *Account) error { w.aws.AddLogGroup("iris"); return nil }, CodeNotOurs},
		"role": {func(ctx context.Context, _ *world, root *Account) error {
			return root.createRole(ctx, &cluster.Role{Name: root.names("iris").Role("apis"), Trust: &cluster.Document{Version: "2012-10-17", Statement: []cluster.Statement{{
				Effect: "Allow", Principal: map[string]string{"Service": "ec2.amazonaws.com"}, Action: []string{"sts:AssumeRole"},
			}}}})
		}, CodeNotOurs},
		// A stack that only a change set was made for has no tags yet.
		"stack under review": {func(ctx context.Context, _ *world, root *Account) error {
			name := root.names("iris").Stack("network")
			_, err := root.cfn.CreateChangeSet(ctx, &cloudformation.CreateChangeSetInput{
				StackName: &name, ChangeSetName: aws.String("looked-at"), ChangeSetType: cfn.ChangeSetTypeCreate,
				TemplateBody: aws.String(`{"Resources":{"Gateway":{"Type":"AWS::EC2::InternetGateway"}}}`),
			})
			return err
		}, CodeNotOurs},
		"cluster of 0.42": {func(ctx context.Context, w *world, root *Account) error {
			err := root.createRole(ctx, &cluster.Role{Name: "old", Trust: &cluster.Document{Version: "2012-10-17", Statement: []cluster.Statement{{
				Effect: "Allow", Principal: map[string]string{"Service": "eks.amazonaws.com"}, Action: []string{"sts:AssumeRole", "sts:TagSession"},
			}}}})
			if err != nil {
				return err
			}
			settle(w.t)
			_, err = root.cfn.CreateStack(ctx, &cloudformation.CreateStackInput{StackName: aws.String("eksctl-iris-cluster"), TemplateBody: aws.String(oldCluster)})
			settle(w.t)
			settle(w.t)
			if c, missing := root.control(ctx, "iris"); err == nil && (missing != nil || c == nil || c.Tags[cluster.TagClusterName] != "iris") {
				err = fmt.Errorf("the old cluster is %+v, %w", c, missing)
			}
			return err
		}, CodeOldCluster},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			ctx := t.Context()
			root, err := Open(ctx, w.aws.Config(w.aws.Root()), w.kube)
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.make(ctx, w, root); err != nil {
				t.Fatal(err)
			}
			settle(t)
			before := strings.Join(w.aws.Left(), " ")
			if err := w.up(ctx); fault.Code(err) != tt.code {
				t.Errorf("%s: up = %v, want %s", name, err, tt.code)
			}
			if _, err := w.down(ctx); err != nil && fault.Code(err) != tt.code {
				t.Errorf("%s: down = %v", name, err)
			}
			if tt.code == CodeOldCluster {
				w.refusesOld(ctx, root)
			}
			if after := strings.Join(w.aws.Left(), " "); after != before {
				t.Errorf("%s: there was %q, and now there is %q", name, before, after)
			}
		})
	}
}

// refusesOld wants every command to say that the cluster is of cortex 0.42.
func (w *world) refusesOld(ctx context.Context, a *Account) {
	w.t.Helper()
	for what, do := range map[string]func() error{
		"info":      func() error { _, err := a.Info(ctx, "iris"); return err },
		"drift":     func() error { _, err := a.StackDrift(ctx, "iris"); return err },
		"health":    func() error { _, err := a.Health(ctx, "iris"); return err },
		"configure": func() error { _, _, err := a.Configure(ctx, w.config); return err },
		"upgrade":   func() error { _, err := a.Upgrade(ctx, "iris", ""); return err },
		"grant":     func() error { _, err := a.Grant(ctx, "iris", a.Caller); return err },
		"revoke":    func() error { _, err := a.Revoke(ctx, "iris", a.Caller); return err },
		"down":      func() error { _, err := a.Removal(ctx, "iris", false); return err },
	} {
		if err := do(); fault.Code(err) != CodeOldCluster || !strings.Contains(fault.From(err).Hint, "eksctl delete cluster") {
			w.t.Errorf("%s of a cluster of 0.42 = %v, want %s and how to go on", what, err, CodeOldCluster)
		}
	}
}
