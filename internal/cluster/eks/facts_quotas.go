package eks

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"

	"cortex.dev/cortex/internal/cluster"
)

// quotaServices are those whose limits a plan counts against.
var quotaServices = []string{"eks", "vpc", "ec2", "elasticloadbalancing"}

// quotaFacts reads the limits of the account, and what is used of those that can be
// counted with one call. A limit that AWS does not tell is left out, which a plan shows as
// unknown: for a service that was never used there is no answer.
func (a *Account) quotaFacts(ctx context.Context, fill filler, f *cluster.Facts) error {
	used, err := a.used(ctx)
	if err != nil {
		return err
	}
	for _, service := range quotaServices {
		pages := servicequotas.NewListServiceQuotasPaginator(a.quotas, &servicequotas.ListServiceQuotasInput{ServiceCode: &service})
		for n := 0; pages.HasMorePages() && n < maxPages; n++ {
			page, err := pages.NextPage(ctx)
			if is(err, "NoSuchResourceException") {
				break
			}
			if err != nil {
				return asFault("reading the quotas of "+service, err)
			}
			fill(func() {
				for _, q := range page.Quotas {
					code := aws.ToString(q.QuotaCode)
					if q.Value == nil {
						continue
					}
					fact := cluster.QuotaFact{Service: service, Code: code, Limit: *q.Value}
					if n, known := used[service+"/"+code]; known {
						fact.Used = &n
					}
					f.Quotas = append(f.Quotas, fact)
				}
			})
		}
	}
	return nil
}

// used counts what there is of what has a limit in a region.
func (a *Account) used(ctx context.Context) (map[string]float64, error) {
	used := map[string]float64{}
	count := func(key string, pages func() (int, bool, error)) error {
		for n := range maxPages {
			found, more, err := pages()
			if err != nil {
				return asFault("counting what of the quotas is used", err)
			}
			used[key] += float64(found)
			if !more || n == maxPages-1 {
				return nil
			}
		}
		return nil
	}
	clusters := eks.NewListClustersPaginator(a.eks, &eks.ListClustersInput{})
	vpcs := ec2.NewDescribeVpcsPaginator(a.ec2, &ec2.DescribeVpcsInput{})
	gateways := ec2.NewDescribeInternetGatewaysPaginator(a.ec2, &ec2.DescribeInternetGatewaysInput{})
	groups := ec2.NewDescribeSecurityGroupsPaginator(a.ec2, &ec2.DescribeSecurityGroupsInput{})
	balancers := elasticloadbalancingv2.NewDescribeLoadBalancersPaginator(a.elb, &elasticloadbalancingv2.DescribeLoadBalancersInput{})
	for _, c := range []struct {
		key   string
		pages func() (int, bool, error)
	}{
		{"eks/L-1194D53C", func() (int, bool, error) {
			p, err := clusters.NextPage(ctx)
			if err != nil {
				return 0, false, err
			}
			return len(p.Clusters), clusters.HasMorePages(), nil
		}},
		{"vpc/L-F678F1CE", func() (int, bool, error) {
			p, err := vpcs.NextPage(ctx)
			if err != nil {
				return 0, false, err
			}
			return len(p.Vpcs), vpcs.HasMorePages(), nil
		}},
		{"vpc/L-A4707A72", func() (int, bool, error) {
			p, err := gateways.NextPage(ctx)
			if err != nil {
				return 0, false, err
			}
			return len(p.InternetGateways), gateways.HasMorePages(), nil
		}},
		{"vpc/L-E79EC296", func() (int, bool, error) {
			p, err := groups.NextPage(ctx)
			if err != nil {
				return 0, false, err
			}
			return len(p.SecurityGroups), groups.HasMorePages(), nil
		}},
		{"ec2/L-0263D0A3", func() (int, bool, error) {
			p, err := a.ec2.DescribeAddresses(ctx, &ec2.DescribeAddressesInput{})
			if err != nil {
				return 0, false, err
			}
			return len(p.Addresses), false, nil
		}},
		{"elasticloadbalancing/L-69A177A2", func() (int, bool, error) {
			p, err := balancers.NextPage(ctx)
			if err != nil {
				return 0, false, err
			}
			network := 0
			for _, lb := range p.LoadBalancers {
				if lb.Type == elbtypes.LoadBalancerTypeEnumNetwork {
					network++
				}
			}
			return network, balancers.HasMorePages(), nil
		}},
	} {
		if err := count(c.key, c.pages); err != nil {
			return nil, err
		}
	}
	return used, nil
}
