package awstest

// limit is a limit of the account.
type limit struct {
	service, code, name string
	value               float64
}

// limits are those that a cluster counts against, as new accounts have them.
var limits = []limit{
	{"eks", quotaClusters, "Clusters", 100},
	{"eks", quotaNodegroups, "Managed node groups per cluster", 30},
	{"eks", "L-BD136A63", "Nodes per managed node group", 450},
	{"vpc", quotaVPCs, "VPCs per Region", 5},
	{"vpc", "L-A4707A72", "Internet gateways per Region", 5},
	{"vpc", "L-FE5A380F", "NAT gateways per Availability Zone", 5},
	{"vpc", "L-E79EC296", "VPC security groups per Region", 2500},
	{"vpc", quotaGroupRules, "Inbound or outbound rules per security group", 60},
	{"ec2", quotaAddresses, "EC2-VPC Elastic IPs", 5},
	{"ec2", "L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances", 256},
	{"ec2", "L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", 128},
	{"ec2", "L-DB2E81BA", "Running On-Demand G and VT instances", 16},
	{"ec2", "L-3819A6DF", "All G and VT Spot Instance Requests", 16},
	{"ec2", "L-1945791B", "Running On-Demand Inf instances", 16},
	{"ec2", "L-B5D1601B", "All Inf Spot Instance Requests", 16},
	{"elasticloadbalancing", "L-69A177A2", "Network Load Balancers per Region", 50},
}

// quota is a limit, as the account's options have it.
func (a *Account) quota(service, code string) int {
	if v, ok := a.o.Quotas[code]; ok {
		return int(v)
	}
	for _, l := range limits {
		if l.service == service && l.code == code {
			return int(l.value)
		}
	}
	panic("awstest: no limit " + service + "/" + code)
}

var quotasService = &service{
	name: "servicequotas", target: "ServiceQuotasV20190624", protocol: jsonTarget{"1.1"}, errors: wordsJSON,
	operations: []operation{{name: "ListServiceQuotas", do: listQuotas}},
}

func listQuotas(c *call) (object, error) {
	service := c.in.text("ServiceCode")
	c.in.ignore("QuotaAppliedAtLevel")
	var list []any
	for _, l := range limits {
		if l.service == service {
			list = append(list, object{
				"ServiceCode": l.service, "ServiceName": l.service, "QuotaCode": l.code, "QuotaName": l.name, "Value": float64(c.quota(l.service, l.code)), "Unit": "None",
				"QuotaArn": c.arn("servicequotas", l.service+"/"+l.code), "Adjustable": true, "GlobalQuota": false,
			})
		}
	}
	if list == nil {
		return nil, refuse("NoSuchResourceException", "The request failed because the specified service does not exist.")
	}
	part, next, err := c.page(list, "NextToken", "MaxResults")
	if err != nil {
		return nil, err
	}
	out := object{"Quotas": append([]any{}, part...)}
	set(out, "NextToken", next)
	return out, nil
}
