package eks

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
)

// asked are the node groups that EKS was asked about since so many calls.
func (w *world) asked(since int) (groups int) {
	for _, c := range w.aws.Calls()[since:] {
		if c.Action == "DescribeNodegroup" && !c.Implied {
			groups++
		}
	}
	return groups
}

// EKS is asked about single groups of nodes only where they lack nodes or are not as their plan
// has them; what it says of those is told, and a group that somebody has made by hand too.
func TestInfoOfGroups(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, root := made(t)
		ctx := t.Context()
		settle(t)
		info := func(want int) map[string]cluster.GroupState {
			t.Helper()
			before := len(w.aws.Calls())
			s, err := root.Info(ctx, "iris")
			if err != nil {
				t.Fatal(err)
			}
			if n := w.asked(before); n != want {
				t.Errorf("EKS is asked about %d groups, want %d", n, want)
			}
			groups := map[string]cluster.GroupState{}
			for _, g := range s.Groups {
				groups[g.Name] = g
			}
			return groups
		}
		well := info(0)
		g, err := root.nodegroup(ctx, "iris", "cx-wd-cpu")
		if err != nil {
			t.Fatal(err)
		}
		said := groupState(g)
		if cpu := well["cx-wd-cpu"]; len(well) != 2 || cpu.State != said.State || cpu.Version != said.Version || cpu.Min != said.Min || cpu.Max != said.Max || cpu.Desired != said.Desired ||
			!slices.Equal(cpu.Types, said.Types) || cpu.Spot != said.Spot || cpu.Nodes != 1 {
			t.Errorf("Info without asking = %+v, EKS says %+v", well, said)
		}
		w.aws.RunOut("m5.large")
		must[*eks.UpdateNodegroupConfigOutput](t)(root.eks.UpdateNodegroupConfig(ctx, &eks.UpdateNodegroupConfigInput{
			ClusterName: aws.String("iris"), NodegroupName: aws.String("cx-wd-cpu"), ScalingConfig: &ekstypes.NodegroupScalingConfig{DesiredSize: aws.Int32(4)},
		}))
		must[*eks.CreateNodegroupOutput](t)(root.eks.CreateNodegroup(ctx, &eks.CreateNodegroupInput{
			ClusterName: aws.String("iris"), NodegroupName: aws.String("mine"), NodeRole: g.NodeRole, Subnets: g.Subnets, InstanceTypes: []string{"t3.medium"}, LaunchTemplate: &ekstypes.LaunchTemplateSpecification{Id: g.LaunchTemplate.Id, Version: g.LaunchTemplate.Version},
			ScalingConfig: &ekstypes.NodegroupScalingConfig{MinSize: aws.Int32(1), MaxSize: aws.Int32(1), DesiredSize: aws.Int32(1)},
		}))
		settle(t)
		if short := info(2); short["cx-wd-cpu"].Nodes != 1 || short["cx-wd-cpu"].Desired != 4 || short["mine"].State == "" || short["mine"].Nodes != 1 {
			t.Errorf("Info of groups that lack nodes, or that nobody knows = %+v", short)
		}
	})
}

// In subnets of the user's own a cluster says which VPC they are of and by which tables they
// lead; and with everything that a cluster can have besides, it costs no more to look at.
func TestInfoInOwnSubnets(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.aws = awstest.New(awstest.Options{Account: account, Region: region, PageSize: 100})
		w.key = w.aws.Root()
		ctx := t.Context()
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		root, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := root.Info(ctx, "iris") // whose network another cluster is in
		if err != nil {
			t.Fatal(err)
		}
		subnets, err := root.describeSubnets(ctx, filter("vpc-id", theirs.Network.VPC))
		if err != nil {
			t.Fatal(err)
		}
		w.config.ClusterName, w.config.NATGateway = "rose", cluster.NATNone
		w.config.CloudWatchLogs, w.config.CloudWatchMetrics = true, true
		w.config.SSLCertificateARN = w.aws.AddCertificate("example.com", "ISSUED")
		cheap := group("cheap", 1, 2)
		cheap.Spot, cheap.SpotConfig = true, &cluster.SpotConfig{InstanceDistribution: []string{"m5a.large"}, OnDemandBase: 1}
		w.config.NodeGroups = append(w.config.NodeGroups, cheap)
		w.config.Default()
		for _, s := range subnets {
			if aws.ToBool(s.MapPublicIpOnLaunch) {
				w.config.Subnets = append(w.config.Subnets, cluster.Subnet{AvailabilityZone: *s.AvailabilityZone, SubnetID: *s.SubnetId})
			}
		}
		if err := w.up(ctx); err != nil {
			w.tell()
			t.Fatal(err)
		}
		settle(t)
		before := w.calls()
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Info(ctx, "rose")
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("info: %d calls", w.calls()-before)
		if n := w.calls() - before; n > maxInfoCalls {
			t.Errorf("info takes %d calls, want at most %d", n, maxInfoCalls)
		}
		if s.Network.VPC != theirs.Network.VPC || s.Network.CIDR != "192.168.0.0/16" || len(s.Network.Subnets) != len(w.config.Subnets) || len(s.Network.Tables) == 0 || len(s.Drift) > 0 || len(s.Notes) > 0 {
			t.Errorf("Info = %+v, want the VPC %s and the tables of its %d subnets, and no drift", s, theirs.Network.VPC, len(w.config.Subnets))
		}
	})
}
