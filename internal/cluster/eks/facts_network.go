package eks

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"cortex.dev/cortex/internal/cluster"
)

// subnets reads all subnets of the VPCs that have one of the user's, and returns the route
// table of each.
func (a *Account) subnets(ctx context.Context, c *cluster.Config, fill filler, f *cluster.Facts) (tables map[string]string, err error) {
	if !c.OwnNetwork() {
		return nil, nil
	}
	var ids []string
	for _, s := range c.Subnets {
		ids = append(ids, s.SubnetID)
	}
	named, err := a.describeSubnets(ctx, filter("subnet-id", ids...))
	if err != nil || len(named) == 0 {
		return nil, err // none of them: Build refuses each by its key
	}
	var vpcs []string
	for _, s := range named {
		vpcs = append(vpcs, aws.ToString(s.VpcId))
	}
	slices.Sort(vpcs)
	return a.subnetsOf(ctx, slices.Compact(vpcs), fill, f)
}

// subnetsOf reads all subnets of some VPCs, and returns the route table of each.
func (a *Account) subnetsOf(ctx context.Context, vpcs []string, fill filler, f *cluster.Facts) (tables map[string]string, err error) {
	all, err := a.describeSubnets(ctx, filter("vpc-id", vpcs...))
	if err != nil {
		return nil, err
	}
	ranges := map[string]string{}
	pages := ec2.NewDescribeVpcsPaginator(a.ec2, &ec2.DescribeVpcsInput{VpcIds: vpcs})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("reading the VPC of the subnets", err)
		}
		for _, v := range page.Vpcs {
			ranges[aws.ToString(v.VpcId)] = aws.ToString(v.CidrBlock)
		}
	}
	public, tables, err := a.routes(ctx, vpcs, all)
	if err != nil {
		return nil, err
	}
	fill(func() {
		for _, s := range all {
			vpc, id := aws.ToString(s.VpcId), aws.ToString(s.SubnetId)
			f.Subnets = append(f.Subnets, cluster.SubnetFact{
				ID: id, VPC: vpc, VPCCIDR: ranges[vpc], Zone: aws.ToString(s.AvailabilityZone), Public: public[id],
				PublicAddresses: aws.ToBool(s.MapPublicIpOnLaunch), FreeAddresses: int64(aws.ToInt32(s.AvailableIpAddressCount)),
			})
		}
		slices.SortFunc(f.Subnets, func(x, y cluster.SubnetFact) int { return cmp.Compare(x.ID, y.ID) })
	})
	return tables, nil
}

func (a *Account) describeSubnets(ctx context.Context, by ec2types.Filter) (all []ec2types.Subnet, err error) {
	pages := ec2.NewDescribeSubnetsPaginator(a.ec2, &ec2.DescribeSubnetsInput{Filters: []ec2types.Filter{by}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, asFault("reading the subnets", err)
		}
		all = append(all, page.Subnets...)
	}
	return all, nil
}

// routes says which subnets have a route to an internet gateway, and by which table: one of
// their own, else the main one of their VPC.
func (a *Account) routes(ctx context.Context, vpcs []string, subnets []ec2types.Subnet) (public map[string]bool, tables map[string]string, err error) {
	type table struct {
		id    string
		leads bool // to the internet
	}
	mainTable, ownTable := map[string]table{}, map[string]table{} // of VPCs, and of subnets
	pages := ec2.NewDescribeRouteTablesPaginator(a.ec2, &ec2.DescribeRouteTablesInput{Filters: []ec2types.Filter{filter("vpc-id", vpcs...)}})
	for n := 0; pages.HasMorePages() && n < maxPages; n++ {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, nil, asFault("reading the routes of the subnets", err)
		}
		for _, t := range page.RouteTables {
			is := table{aws.ToString(t.RouteTableId), slices.ContainsFunc(t.Routes, func(r ec2types.Route) bool { return strings.HasPrefix(aws.ToString(r.GatewayId), "igw-") })}
			for _, at := range t.Associations {
				if aws.ToBool(at.Main) {
					mainTable[aws.ToString(t.VpcId)] = is
				}
				if at.SubnetId != nil {
					ownTable[*at.SubnetId] = is
				}
			}
		}
	}
	public, tables = map[string]bool{}, map[string]string{}
	for _, s := range subnets {
		id := aws.ToString(s.SubnetId)
		is, own := ownTable[id]
		if !own {
			is = mainTable[aws.ToString(s.VpcId)]
		}
		public[id], tables[id] = is.leads, is.id
	}
	return public, tables, nil
}
