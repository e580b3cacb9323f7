package eks

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
	"cortex.dev/cortex/internal/fault"
)

// What the network of pods leaves behind is removed, where it is provably of the cluster.
func TestDownWithLeakedInterfaces(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.aws = awstest.New(awstest.Options{Account: account, Region: region, LeakedInterfaces: true})
		w.key = w.aws.AddUser("alice", minimum(t, "iris"))
		if err := w.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.takenAway("interfaces leak")
		removed := 0
		for _, c := range w.aws.Calls() {
			if c.Service == "ec2" && c.Action == "DeleteNetworkInterface" && !c.Implied && c.Result == "" {
				removed++
			}
		}
		if removed == 0 {
			t.Error("nothing leaked: this test shows nothing")
		}
	})
}

// A peering connection, which somebody else's network hangs on, is named and not touched.
func TestDownWithAPeering(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, root := made(t)
		ctx := t.Context()
		s, err := root.Info(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		theirs := must[*ec2.CreateVpcOutput](t)(root.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("10.9.0.0/16")})).Vpc
		id := *must[*ec2.CreateVpcPeeringConnectionOutput](t)(root.ec2.CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{
			VpcId: &s.Network.VPC, PeerVpcId: theirs.VpcId,
		})).VpcPeeringConnection.VpcPeeringConnectionId
		if _, err := w.down(ctx); err == nil || !strings.Contains(err.Error(), id) || !strings.Contains(fault.From(err).Hint, "remove them, then run the same command again") {
			t.Fatalf("down = %v, want %s to be named", err, id)
		}
		must[*ec2.DeleteVpcPeeringConnectionOutput](t)(root.ec2.DeleteVpcPeeringConnection(ctx, &ec2.DeleteVpcPeeringConnectionInput{VpcPeeringConnectionId: &id}))
		found, err := w.down(ctx)
		if err != nil || len(left(found)) > 0 {
			t.Errorf("down again = %q, %v", left(found), err)
		}
	})
}

// From every end state that CloudFormation leaves a stack in, `up` makes the cluster whole
// and `down` takes it away.
func TestEveryEndStateOfAStack(t *testing.T) {
	t.Parallel()
	fails := func(f awstest.Fault) awstest.Fault {
		f.Code, f.Message = "InternalFailure", "the machine room is on fire"
		return f
	}
	failedUp := func(faults ...awstest.Fault) func(context.Context, *world, *Account) {
		return func(ctx context.Context, w *world, _ *Account) {
			for _, f := range faults {
				w.aws.Fail(fails(f))
			}
			if err := w.up(ctx); err == nil {
				w.t.Error("up does not fail")
			}
		}
	}
	failedUpgrade := func(ctx context.Context, w *world, _ *Account) {
		if err := w.up(ctx); err != nil {
			w.t.Fatal(err)
		}
		w.aws.Fail(fails(awstest.Fault{Type: "AWS::EKS::Nodegroup", Times: 1}))
		if err := w.upgrade(ctx, ""); err == nil {
			w.t.Error("upgrade does not fail")
		}
	}
	failedChange := func(ctx context.Context, w *world, _ *Account) {
		if err := w.up(ctx); err != nil {
			w.t.Fatal(err)
		}
		w.aws.Fail(fails(awstest.Fault{Resource: "ApisGroup", Times: 2}))
		if _, err := w.configure(ctx, func(c *cluster.Config) { c.APICIDRs = []string{"203.0.113.0/24"} }); err == nil {
			w.t.Error("configure does not fail")
		}
		w.config.APICIDRs = []string{"203.0.113.0/24"} // what was asked for last
	}
	for _, tt := range []struct {
		state cfn.StackStatus
		part  string
		reach func(ctx context.Context, w *world, root *Account)
	}{
		{cfn.StackStatusCreateComplete, "services", func(ctx context.Context, w *world, _ *Account) {
			if err := w.up(ctx); err != nil {
				w.t.Fatal(err)
			}
		}},
		{cfn.StackStatusUpdateComplete, "services", func(ctx context.Context, w *world, _ *Account) {
			if err := w.up(ctx); err != nil {
				w.t.Fatal(err)
			}
			if _, err := w.configure(ctx, func(c *cluster.Config) { c.APICIDRs = []string{"203.0.113.0/24"} }); err != nil {
				w.t.Fatal(err)
			}
		}},
		{cfn.StackStatusCreateFailed, "cluster", failedUp(awstest.Fault{Type: "AWS::EKS::Cluster"})},
		{cfn.StackStatusUpdateFailed, "cluster", func(ctx context.Context, w *world, root *Account) {
			failedUp(awstest.Fault{Type: "AWS::EKS::Cluster"})(ctx, w, root)
			if err := w.up(ctx); err == nil {
				w.t.Error("up does not fail again")
			}
		}},
		{cfn.StackStatusRollbackComplete, "services", failedUp(awstest.Fault{Resource: "ApisGroup"})},
		{cfn.StackStatusRollbackFailed, "services", failedUp(awstest.Fault{Resource: "ApisBalancer"}, awstest.Fault{Resource: "ApisGroup", Deletion: true})},
		{cfn.StackStatusUpdateRollbackComplete, "nodes-cx-operator", failedUpgrade},
		{cfn.StackStatusUpdateRollbackFailed, "services", failedChange},
		{cfn.StackStatusDeleteFailed, "services", func(ctx context.Context, w *world, _ *Account) {
			if err := w.up(ctx); err != nil {
				w.t.Fatal(err)
			}
			w.aws.Fail(fails(awstest.Fault{Resource: "ApisGroup", Deletion: true}))
			if _, err := w.down(ctx); err == nil {
				w.t.Error("down does not fail")
			}
		}},
	} {
		for _, then := range []string{"go on", "down"} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *cluster.Config) { c.KubernetesVersion = "1.35" })
				ctx := t.Context()
				root, err := Open(ctx, w.aws.Config(w.aws.Root()), w.kube)
				if err != nil {
					t.Fatal(err)
				}
				tt.reach(ctx, w, root)
				s, err := root.describe(ctx, root.names("iris").Stack(tt.part))
				if err != nil || s == nil || s.StackStatus != tt.state {
					var is any
					if s != nil {
						is = s.StackStatus
					}
					w.tell()
					t.Fatalf("stack %s is %v, %v; want %s", tt.part, is, err, tt.state)
				}
				w.aws.Heal()
				if then == "go on" {
					err := w.up(ctx)
					if fault.Code(err) == cluster.CodeNotFinished || fault.Code(err) == CodeOtherFile {
						err = w.upgrade(ctx, "") // which it says to run
					}
					if err != nil {
						w.tell()
						t.Fatalf("from %s, going on = %v", tt.state, err)
					}
				}
				w.takenAway("from " + string(tt.state))
			})
		}
	}
	// Each state that has an end is in the table, but for imports, which nobody makes here.
	covered := []string{"CREATE_COMPLETE", "UPDATE_COMPLETE", "CREATE_FAILED", "UPDATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "UPDATE_ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_FAILED", "DELETE_FAILED", "DELETE_COMPLETE"}
	for _, status := range cfn.StackStatus("").Values() {
		if strings.HasPrefix(string(status), "IMPORT") || strings.HasSuffix(string(status), "_IN_PROGRESS") {
			continue
		}
		if !slices.Contains(covered, string(status)) {
			t.Errorf("CloudFormation has the end state %s, which no row is about", status)
		}
	}
}
