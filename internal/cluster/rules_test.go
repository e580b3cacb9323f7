package cluster_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
)

const (
	group = "region: us-west-2\nnode_groups:\n- {name: a, instance_type: m5.large, "
	spot  = group + "spot: true, spot_config: {"
	own   = "region: us-west-2\nsubnet_visibility: private\nsubnets:\n"
)

// broken is a cluster file that breaks one rule.
type broken struct {
	code, path, text string
	line             int
}

// rules has every rule of a cluster file that needs no knowledge of the account, and one
// that breaks it and nothing else.
var rules = []broken{
	{"configreader.must_be_defined", "region", "cluster_name: iris\n", 1},
	{"configreader.cannot_be_null", "region", "region: null\n", 1},
	{"configreader.cannot_be_empty", "region", "region: ''\n", 1},
	{"configreader.invalid_primitive_type", "region", "region: 1\n", 1},
	{"configreader.unsupported_key", "regoin", "region: us-west-2\nregoin: us-west-2\n", 2},
	{"configreader.unsupported_key", "node_groups[0].prioritty", group + "prioritty: 3}\n", 3},
	{"configreader.unsupported_key", "priority", "region: us-west-2\npriority: 3\n", 2},
	{"configreader.unsupported_key", "node_groups[0].spot_config.on_demand_backup", spot + "on_demand_backup: true}}\n", 3},
	{"configreader.duplicated_value", "region", "region: us-west-2\nregion: us-west-2\n", 2},
	{"clusterconfig.invalid_region", "region", "region: us-west2\n", 1},
	{"clusterconfig.invalid_region", "region", "region: us-iso-east-1\n", 1},
	{"configreader.too_short", "cluster_name", "region: us-west-2\ncluster_name: ab\n", 2},
	{"configreader.too_long", "cluster_name", "region: us-west-2\ncluster_name: " + strings.Repeat("a", 55) + "\n", 2},
	{"clusterconfig.did_not_match_strict_s3_regex", "cluster_name", "region: us-west-2\ncluster_name: my--cluster\n", 2},
	{"clusterconfig.did_not_match_strict_s3_regex", "cluster_name", "region: us-west-2\ncluster_name: Iris\n", 2},
	{"configreader.invalid_str", "kubernetes_version", "region: us-west-2\nkubernetes_version: latest\n", 2},
	{"clusterconfig.not_possible", "kubernetes_version", "region: us-west-2\nkubernetes_version: 1.99\n", 2},
	{"configreader.disallowed_value", "cluster_credentials", "region: us-west-2\ncluster_credentials: mine\n", 2},
	{"clusterconfig.not_possible", "cluster_credentials", "region: us-west-2\ncluster_credentials: inherit\n", 2},

	{"configreader.too_many_elements", "tags", "region: us-west-2\ntags: {" + numbered("t%: v, ", 41) + "}\n", 2},
	{"configreader.too_short", "tags.", "region: us-west-2\ntags: {'': x}\n", 2},
	{"configreader.too_short", "tags.a", "region: us-west-2\ntags: {a: ''}\n", 2},
	{"configreader.too_long", "tags.a", "region: us-west-2\ntags: {a: " + strings.Repeat("x", 256) + "}\n", 2},
	{"configreader.leading_whitespace", "tags.a", "region: us-west-2\ntags: {a: ' x'}\n", 2},
	{"configreader.trailing_whitespace", "tags.a", "region: us-west-2\ntags: {a: 'x '}\n", 2},
	{"configreader.invalid_aws_tag", "tags.a", "region: us-west-2\ntags: {a: x&y}\n", 2},
	{"configreader.cant_have_prefix", "tags.AWS:x", "region: us-west-2\ntags: {'AWS:x': y}\n", 2},
	{"configreader.cant_have_prefix", "tags.kubernetes.io/x", "region: us-west-2\ntags: {kubernetes.io/x: y}\n", 2},
	{"configreader.cant_have_prefix", "tags.cortex.dev/x", "region: us-west-2\ntags: {cortex.dev/x: y}\n", 2},
	{"clusterconfig.cant_override_default_tag", "tags.cortex.dev/cluster-name", "region: us-west-2\ntags: {cortex.dev/cluster-name: other}\n", 2},
	{"configreader.invalid_primitive_type", "tags.a", "region: us-west-2\ntags: {a: 42}\n", 2},

	{"configreader.wrong_number_of_elements", "availability_zones", "region: us-west-2\navailability_zones: [us-west-2a]\n", 2},
	{"configreader.too_many_elements", "availability_zones", "region: us-west-2\navailability_zones: [us-west-2a, us-west-2b, us-west-2c, us-west-2d, us-west-2e, us-west-2f, us-west-2g, us-west-2h, us-west-2i]\n", 2},
	{"configreader.duplicated_value", "availability_zones[1]", "region: us-west-2\navailability_zones: [us-west-2a, us-west-2a]\n", 2},
	{"clusterconfig.invalid_availability_zone", "availability_zones[1]", "region: us-west-2\navailability_zones: [us-west-2a, us-east-1b]\n", 2},
	{"clusterconfig.specify_one_or_none", "availability_zones", "region: us-west-2\navailability_zones: [us-west-2a, us-west-2b]\nsubnets: [{availability_zone: us-west-2a, subnet_id: subnet-ab0000000}, {availability_zone: us-west-2b, subnet_id: subnet-ab0100000}]\n", 2},
	{"configreader.disallowed_value", "subnet_visibility", "region: us-west-2\nsubnet_visibility: privat\n", 2},
	{"configreader.too_few_elements", "subnets", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n", 3},
	{"configreader.too_many_elements", "subnets", own + numbered("- {availability_zone: us-west-2@, subnet_id: subnet-0000000%}\n", 9), 3},
	{"configreader.must_be_defined", "subnets[1].subnet_id", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b}\n", 5},
	{"configreader.invalid_str", "subnets[1].subnet_id", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: sn-1}\n", 5},
	{"configreader.duplicated_value", "subnets[1].subnet_id", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab1000000}\n", 5},
	{"clusterconfig.availability_zone_specified_twice", "subnets[1].availability_zone", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2a, subnet_id: subnet-ab1100000}\n", 5},
	{"configreader.disallowed_value", "nat_gateway", "region: us-west-2\nnat_gateway: double\n", 2},
	{"clusterconfig.no_nat_gateway_with_subnets", "nat_gateway", "nat_gateway: single\n" + own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab1100000}\n", 1},
	{"clusterconfig.nat_required_with_private_subnet_visibility", "nat_gateway", "region: us-west-2\nsubnet_visibility: private\nnat_gateway: none\n", 3},
	{"configreader.invalid_str", "vpc_cidr", "region: us-west-2\nvpc_cidr: 10.0.0.0\n", 2},
	{"configreader.invalid_str", "vpc_cidr", "region: us-west-2\nvpc_cidr: 2001:db8::/20\n", 2},
	{"configreader.invalid_str", "vpc_cidr", "region: us-west-2\nvpc_cidr: 10.0.0.1/16\n", 2},
	{"configreader.invalid_str", "vpc_cidr", "region: us-west-2\nvpc_cidr: 8.8.0.0/16\n", 2},
	{"clusterconfig.subnet_mask_out_of_range", "vpc_cidr", "region: us-west-2\nvpc_cidr: 10.0.0.0/8\n", 2},
	{"clusterconfig.specify_one_or_none", "vpc_cidr", "vpc_cidr: 10.0.0.0/16\n" + own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab1100000}\n", 1},

	{"clusterconfig.not_possible", "api_load_balancer_type", "region: us-west-2\napi_load_balancer_type: elb\n", 2},
	{"configreader.disallowed_value", "api_load_balancer_type", "region: us-west-2\napi_load_balancer_type: alb\n", 2},
	{"configreader.disallowed_value", "api_load_balancer_scheme", "region: us-west-2\napi_load_balancer_scheme: public\n", 2},
	{"configreader.disallowed_value", "operator_load_balancer_scheme", "region: us-west-2\noperator_load_balancer_scheme: intern\n", 2},
	{"configreader.cannot_be_empty", "api_load_balancer_cidr_white_list", "region: us-west-2\napi_load_balancer_cidr_white_list: []\n", 2},
	{"configreader.invalid_str", "api_load_balancer_cidr_white_list[0]", "region: us-west-2\napi_load_balancer_cidr_white_list: [10.0.0.1]\n", 2},
	{"configreader.duplicated_value", "operator_load_balancer_cidr_white_list[1]", "region: us-west-2\noperator_load_balancer_cidr_white_list: [10.0.0.0/8, 10.0.0.1/8]\n", 2},
	{"configreader.too_many_elements", "operator_load_balancer_cidr_white_list", "region: us-west-2\noperator_load_balancer_cidr_white_list: [" + numbered("10.0.0.%/32, ", 1001) + "]\n", 2},
	{"configreader.invalid_str", "ssl_certificate_arn", "region: us-west-2\nssl_certificate_arn: arn:aws:iam::111122223333:server-certificate/x\n", 2},
	{"clusterconfig.ssl_certificate_arn_not_found", "ssl_certificate_arn", "region: us-west-2\nssl_certificate_arn: arn:aws:acm:us-east-1:111122223333:certificate/x\n", 2},
	{"configreader.invalid_str", "iam_policy_arns[0]", "region: us-west-2\niam_policy_arns: [AmazonS3FullAccess]\n", 2},
	{"clusterconfig.iam_policy_arn_not_found", "iam_policy_arns[0]", "region: cn-north-1\niam_policy_arns: ['arn:aws:iam::aws:policy/AmazonS3FullAccess']\n", 2},
	{"configreader.duplicated_value", "iam_policy_arns[1]", "region: us-west-2\niam_policy_arns: ['arn:aws:iam::aws:policy/A', 'arn:aws:iam::aws:policy/A']\n", 2},
	{"configreader.too_many_elements", "iam_policy_arns", "region: us-west-2\niam_policy_arns: [" + numbered("'arn:aws:iam::aws:policy/A%', ", 10) + "]\n", 2},
	{"configreader.invalid_docker_image", "image_operator", "region: us-west-2\nimage_operator: 'a b'\n", 2},
	{"configreader.image_version_mismatch", "image_operator", "region: us-west-2\nimage_operator: quay.io/cortexlabs/operator:0.42.1\n", 2},

	{"clusterconfig.disallowed_field", "cluster_uid", "region: us-west-2\ncluster_uid: x\n", 2},
	{"clusterconfig.disallowed_field", "bucket", "region: us-west-2\nbucket: x\n", 2},
	{"clusterconfig.disallowed_field", "account_id", "region: us-west-2\naccount_id: '111122223333'\n", 2},
	{"clusterconfig.disallowed_field", "cortex_policy_arn", "region: us-west-2\ncortex_policy_arn: x\n", 2},
	{"clusterconfig.disallowed_field", "aws_secret_access_key", "region: us-west-2\naws_secret_access_key: hunter2\n", 2},
	{"clusterconfig.invalid_provider", "provider", "region: us-west-2\nprovider: azure\n", 2},
	{"clusterconfig.invalid_legacy_provider", "provider", "region: us-west-2\nprovider: gcp\n", 2},
	{"clusterconfig.old_and_new_keys", "instance_type", "region: us-west-2\ninstance_type: m5.large\nnode_groups: []\n", 2},
	{"configreader.must_be_defined", "instance_type", "region: us-west-2\nmin_instances: 1\n", 1},
	{"clusterconfig.min_instances_greater_than_max", "min_instances", "region: us-west-2\ninstance_type: m5.large\nmin_instances: 9\n", 3},

	{"clusterconfig.max_num_of_nodegroups_reached", "node_groups", "region: us-west-2\nnode_groups:\n" + numbered("- {name: g%, instance_type: m5.large}\n", 101), 2},
	{"clusterconfig.duplicate_nodegroup_name", "node_groups[1].name", group + "}\n- {name: a, instance_type: m5.large}\n", 4},
	{"configreader.must_be_defined", "node_groups[0].instance_type", "region: us-west-2\nnode_groups:\n- {name: a}\n", 3},
	{"configreader.too_long", "node_groups[0].name", "region: us-west-2\nnode_groups:\n- {name: " + strings.Repeat("a", 27) + ", instance_type: m5.large}\n", 3},
	{"configreader.invalid_str", "node_groups[0].name", "region: us-west-2\nnode_groups:\n- {name: a-, instance_type: m5.large}\n", 3},
	{"configreader.invalid_str", "node_groups[0].name", "region: us-west-2\nnode_groups:\n- {name: a_b, instance_type: m5.large}\n", 3},
	{"clusterconfig.invalid_instance_type", "node_groups[0].instance_type", ofType("m5"), 3},
	{"clusterconfig.instance_type_too_small", "node_groups[0].instance_type", ofType("t3.micro"), 3},
	{"clusterconfig.instance_type_too_small", "node_groups[0].instance_type", ofType("t4g.nano"), 3},
	{"clusterconfig.amd_gpu_instances_not_supported", "node_groups[0].instance_type", ofType("g4ad.xlarge"), 3},
	{"clusterconfig.mac_instances_not_supported", "node_groups[0].instance_type", ofType("mac2-m2.metal"), 3},
	{"clusterconfig.fpga_instances_not_supported", "node_groups[0].instance_type", ofType("f1.2xlarge"), 3},
	{"clusterconfig.alevo_instances_not_supported", "node_groups[0].instance_type", ofType("vt1.3xlarge"), 3},
	{"clusterconfig.gaudi_instances_not_supported", "node_groups[0].instance_type", ofType("dl1.24xlarge"), 3},
	{"clusterconfig.trainium_instances_not_supported", "node_groups[0].instance_type", ofType("trn1.2xlarge"), 3},
	{"clusterconfig.instance_type_not_supported_by_cortex", "node_groups[0].instance_type", ofType("m3.large"), 3},
	{"clusterconfig.instance_type_not_supported_by_cortex", "node_groups[0].instance_type", ofType("g7e.2xlarge"), 3},
	{"configreader.must_be_greater_than_or_equal_to", "node_groups[0].min_instances", group + "min_instances: -1}\n", 3},
	{"configreader.must_be_less_than_or_equal_to", "node_groups[0].max_instances", group + "max_instances: 10001}\n", 3},
	{"clusterconfig.node_group_max_instances_is_zero", "node_groups[0].max_instances", group + "min_instances: 0, max_instances: 0}\n", 3},
	{"clusterconfig.min_instances_greater_than_max", "node_groups[0].min_instances", group + "min_instances: 6}\n", 3},
	{"configreader.must_be_less_than_or_equal_to", "node_groups[0].priority", group + "priority: 101}\n", 3},
	{"configreader.must_be_greater_than_or_equal_to", "node_groups[0].priority", group + "priority: 0}\n", 3},
	{"configreader.must_be_greater_than_or_equal_to", "node_groups[0].instance_volume_size", group + "instance_volume_size: 19}\n", 3},
	{"configreader.must_be_less_than_or_equal_to", "node_groups[0].instance_volume_size", group + "instance_volume_size: 16385}\n", 3},
	{"configreader.disallowed_value", "node_groups[0].instance_volume_type", group + "instance_volume_type: gp4}\n", 3},
	{"clusterconfig.not_possible", "node_groups[0].instance_volume_type", group + "instance_volume_type: st1}\n", 3},
	{"clusterconfig.not_possible", "node_groups[0].instance_volume_type", group + "instance_volume_type: sc1}\n", 3},
	{"clusterconfig.iops_not_supported", "node_groups[0].instance_volume_iops", group + "instance_volume_type: gp2, instance_volume_iops: 3000}\n", 3},
	{"clusterconfig.iops_too_small", "node_groups[0].instance_volume_iops", group + "instance_volume_type: io1, instance_volume_iops: 99}\n", 3},
	{"clusterconfig.iops_too_large", "node_groups[0].instance_volume_iops", group + "instance_volume_size: 16384, instance_volume_type: io1, instance_volume_iops: 64001}\n", 3},
	{"clusterconfig.iops_to_volume_size_ratio", "node_groups[0].instance_volume_iops", group + "instance_volume_type: io1, instance_volume_iops: 2501}\n", 3},
	{"clusterconfig.iops_to_volume_size_ratio", "node_groups[0].instance_volume_iops", group + "instance_volume_size: 20, instance_volume_iops: 10001, instance_volume_throughput: 125}\n", 3},
	{"clusterconfig.throughput_not_supported", "node_groups[0].instance_volume_throughput", group + "instance_volume_type: io1, instance_volume_throughput: 125}\n", 3},
	{"configreader.must_be_greater_than_or_equal_to", "node_groups[0].instance_volume_throughput", group + "instance_volume_iops: 3000, instance_volume_throughput: 124}\n", 3},
	{"clusterconfig.specify_two_or_none", "node_groups[0].instance_volume_iops", group + "instance_volume_iops: 3000}\n", 3},
	{"clusterconfig.specify_two_or_none", "node_groups[0].instance_volume_throughput", group + "instance_volume_throughput: 125}\n", 3},
	{"clusterconfig.iops_to_throughput_ratio", "node_groups[0].instance_volume_throughput", group + "instance_volume_iops: 3000, instance_volume_throughput: 751}\n", 3},
	{"clusterconfig.configured_when_spot_is_not_enabled", "node_groups[0].spot_config", group + "spot_config: {instance_pools: 2}}\n", 3},
	{"configreader.duplicated_value", "node_groups[0].spot_config.instance_distribution[1]", spot + "instance_distribution: [m5a.large, m5a.large]}}\n", 3},
	{"configreader.too_many_elements", "node_groups[0].spot_config.instance_distribution", spot + "instance_distribution: [" + numbered("m%.large, ", 30)[len("m0.large, m1.large, m2.large, m3.large, "):] + "]}}\n", 3},
	{"clusterconfig.instance_type_too_small", "node_groups[0].spot_config.instance_distribution[0]", spot + "instance_distribution: [t3.nano]}}\n", 3},
	{"clusterconfig.on_demand_base_capacity_greater_than_max", "node_groups[0].spot_config.on_demand_base_capacity", spot + "on_demand_base_capacity: 6}}\n", 3},
	{"configreader.must_be_greater_than_or_equal_to", "node_groups[0].spot_config.on_demand_base_capacity", spot + "on_demand_base_capacity: -1}}\n", 3},
	{"configreader.must_be_less_than_or_equal_to", "node_groups[0].spot_config.on_demand_percentage_above_base_capacity", spot + "on_demand_percentage_above_base_capacity: 101}}\n", 3},
	{"configreader.must_be_greater_than", "node_groups[0].spot_config.max_price", spot + "max_price: 0}}\n", 3},
	{"configreader.must_be_greater_than", "node_groups[0].spot_config.max_price", spot + "max_price: 10001}}\n", 3},
	{"configreader.must_be_less_than_or_equal_to", "node_groups[0].spot_config.instance_pools", spot + "instance_pools: 21}}\n", 3},
}

func ofType(name string) string {
	return "region: us-west-2\nnode_groups:\n- {name: a, instance_type: " + name + "}\n"
}

// numbered is a text n times, with % as its number and @ as its letter.
func numbered(text string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.NewReplacer("%", strconv.Itoa(i), "@", string(rune('a'+i%26))).Replace(text))
	}
	return b.String()
}

func problems(t *testing.T, err error) []fault.Problem {
	t.Helper()
	if err == nil {
		return nil
	}
	return fault.From(err).Problems
}

func TestRulesOfTheFile(t *testing.T) {
	t.Parallel()
	for _, tt := range rules {
		t.Run(tt.code+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			_, err := manifest.ParseCluster("cluster.yaml", []byte(tt.text))
			got := problems(t, err)
			if len(got) == 0 {
				t.Fatalf("nothing is wrong with\n%s", tt.text)
			}
			if slices.ContainsFunc(got, func(p fault.Problem) bool { return p.Code != tt.code || p.Path != tt.path }) {
				t.Errorf("it breaks %v, want %s at %s alone", err, tt.code, tt.path)
			}
			if p := got[0]; p.Line != tt.line || p.Column < 1 || p.Message == "" || p.File != "cluster.yaml" {
				t.Errorf("the problem is at %d:%d of %s, %q; want line %d", p.Line, p.Column, p.File, p.Message, tt.line)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the problem tells a secret: %v", err)
			}
		})
	}
}

// What is just within the rules is accepted.
func TestRulesAcceptTheirLimits(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"nulls":             "region: us-west-2\nnode_groups: null\ntags: null\navailability_zones: null\nsubnets: null\nvpc_cidr: null\nssl_certificate_arn: null\niam_policy_arns: null\n",
		"empty lists":       "region: us-west-2\nnode_groups: []\ntags: {}\navailability_zones: []\niam_policy_arns: []\n",
		"mixed":             "region: us-west-2\nnode_groups:\n- {name: a, instance_type: m5.large, max_instances: 4, spot: true, spot_config: {on_demand_base_capacity: 4, on_demand_percentage_above_base_capacity: 100, max_price: 10000}}\n",
		"price on demand":   "region: us-east-1\nnode_groups:\n- {name: a, instance_type: m5.large, spot: true, spot_config: {max_price: 0.096}}\n",
		"version in quotes": "region: us-west-2\nkubernetes_version: '1.36'\n",
		"merged groups":     "region: us-west-2\nnode_groups:\n- &a {name: a, instance_type: m5.large}\n- {<<: *a, name: b}\n",
		"names":             "cluster_name: 0-a\nregion: us-west-2\nnode_groups:\n- {name: A-26-characters-long-name1, instance_type: m5.large}\n",
		"io1":               group + "instance_volume_type: io1, instance_volume_size: 20, instance_volume_iops: 1000}\n",
		"gp3":               group + "instance_volume_size: 32, instance_volume_iops: 16000, instance_volume_throughput: 1000}\n",
		"all on demand":     spot + "on_demand_base_capacity: 5}}\n",
		"no instance":       group + "min_instances: 0, max_instances: 10000, priority: 100}\n",
		"networks":          "region: us-west-2\nvpc_cidr: 10.100.0.0/24\napi_load_balancer_cidr_white_list: ['::/0', 0.0.0.0/0]\n",
		"own tag":           "cluster_name: iris\nregion: us-west-2\ntags: {cortex.dev/cluster-name: iris, cortex.device: x}\n",
		"nine policies":     "region: us-west-2\niam_policy_arns: [" + numbered("'arn:aws:iam::aws:policy/A%', ", 9) + "]\n",
	} {
		if _, err := manifest.ParseCluster("cluster.yaml", []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// checks are rules that need to know the account: a file and facts that break one.
var checks = []struct {
	code, path, text string
	change           func(f *cluster.Facts)
}{
	{"clusterconfig.facts_of_another_region", "region", "region: us-east-1\n", nil},
	{"clusterconfig.kubernetes_version_not_available", "kubernetes_version", "region: us-west-2\nkubernetes_version: 1.33\n", nil},
	{"clusterconfig.kubernetes_version_not_available", "kubernetes_version", "region: us-west-2\nkubernetes_version: 1.34\n", nil},
	{"clusterconfig.kubernetes_version_not_available", "kubernetes_version", "region: us-west-2\n", func(f *cluster.Facts) { f.Versions = f.Versions[3:] }},
	{"clusterconfig.facts_incomplete", "kubernetes_version", "region: us-west-2\n", func(f *cluster.Facts) { delete(f.Versions[2].Addons, "coredns") }},
	{"clusterconfig.facts_incomplete", "node_groups[0].instance_type", ofType("g5.xlarge"), func(f *cluster.Facts) { delete(f.Versions[2].Releases, "AL2023_x86_64_NVIDIA") }},
	{"clusterconfig.facts_incomplete", "node_groups[0].instance_type", spot + "on_demand_percentage_above_base_capacity: 1}}\n", func(f *cluster.Facts) { f.Versions[2].Images = nil }},
	{"clusterconfig.instance_type_not_supported_in_region", "region", "region: us-west-2\n", func(f *cluster.Facts) { delete(f.InstanceTypes, "t3.medium") }},
	{"clusterconfig.instance_type_not_supported_in_region", "node_groups[0].instance_type", ofType("m5.enormous"), nil},
	{"clusterconfig.instance_type_not_supported_in_region", "node_groups[0].spot_config.instance_distribution[0]", spot + "instance_distribution: [m99.large]}}\n", nil},
	{"clusterconfig.instance_type_not_supported_by_cortex", "node_groups[0].instance_type", ofType("g9.xlarge"), func(f *cluster.Facts) {
		t := f.InstanceTypes["g5.xlarge"]
		t.GPUMaker = "Elsewhere"
		f.InstanceTypes["g9.xlarge"] = t
	}},
	{"clusterconfig.incompatible_spot_instance_type_memory", "node_groups[0].spot_config.instance_distribution[1]", spot + "instance_distribution: [m5a.large, c5.large]}}\n", nil},
	{"clusterconfig.incompatible_spot_instance_type_cpu", "node_groups[0].spot_config.instance_distribution[0]", strings.Replace(spot, "m5.large", "m5.xlarge", 1) + "instance_distribution: [r5.large]}}\n", nil},
	{"clusterconfig.incompatible_spot_instance_type_architecture", "node_groups[0].spot_config.instance_distribution[0]", spot + "instance_distribution: [m6g.large]}}\n", nil},
	{"clusterconfig.subnet_not_found", "subnets[1].subnet_id", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-99999999}\n", nil},
	{"clusterconfig.invalid_availability_zone", "subnets[1].availability_zone", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab1200000}\n", nil},
	{"clusterconfig.not_possible", "subnets[1].subnet_id", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-cd1100000}\n", nil},
	{"clusterconfig.not_possible", "subnets[1].subnet_id", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab0100000}\n", nil},
	{"clusterconfig.not_possible", "subnets[0].subnet_id", strings.Replace(own, "private", "public", 1) + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab0100000}\n", nil},
	{"clusterconfig.not_possible", "subnets[0].subnet_id", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab1100000}\n", func(f *cluster.Facts) { f.Subnets[3].FreeAddresses = 3 }},
	{"clusterconfig.not_possible", "api_load_balancer_scheme", own + "- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab1100000}\noperator_load_balancer_scheme: internal\n", func(f *cluster.Facts) { f.Subnets = f.Subnets[3:6] }},
	{"clusterconfig.invalid_availability_zone", "availability_zones[1]", "region: us-west-2\navailability_zones: [us-west-2a, us-west-2z]\n", nil},
	{"clusterconfig.unsupported_availability_zone", "availability_zones[1]", "region: us-west-2\navailability_zones: [us-west-2a, us-west-2d]\nnode_groups: [{name: a, instance_type: inf1.xlarge}]\n", nil},
	{"clusterconfig.unsupported_availability_zone", "availability_zones[0]", "region: us-west-2\navailability_zones: [us-west-2a, us-west-2b]\n", func(f *cluster.Facts) { f.Zones[0].ID = "use1-az3" }},
	{"clusterconfig.not_enough_valid_default_availability_zones", "region", "region: us-west-2\n", func(f *cluster.Facts) { f.Zones = f.Zones[:1] }},
	{"clusterconfig.ssl_certificate_arn_not_found", "ssl_certificate_arn", "region: us-west-2\nssl_certificate_arn: arn:aws:acm:us-west-2:111122223333:certificate/other\n", nil},
	{"clusterconfig.ssl_certificate_arn_not_found", "ssl_certificate_arn", "region: us-west-2\nssl_certificate_arn: arn:aws:acm:us-west-2:111122223333:certificate/pending\n", nil},
	{"clusterconfig.iam_policy_arn_not_found", "iam_policy_arns[0]", "region: us-west-2\niam_policy_arns: ['arn:aws:iam::aws:policy/Typo']\n", nil},
	{"clusterconfig.incompatible_spot_instance_type_inf", "node_groups[0].spot_config.instance_distribution[0]", strings.Replace(spot, "m5.large", "inf1.xlarge", 1) + "instance_distribution: [m5.xlarge]}}\n", nil},
	{"clusterconfig.incompatible_spot_instance_type_gpu", "node_groups[0].spot_config.instance_distribution[0]", strings.Replace(spot, "m5.large", "g5.xlarge", 1) + "instance_distribution: [m5.xlarge]}}\n", nil},
	{"clusterconfig.spot_price_greater_than_target_on_demand", "node_groups[0].spot_config.instance_distribution[0]", spot + "max_price: 0.01, instance_distribution: [m5a.large]}}\n", func(f *cluster.Facts) {
		f.SpotPrices["m5a.large"] = 0.02
	}},
	{"clusterconfig.spot_price_greater_than_target_on_demand", "node_groups[0].spot_config.instance_distribution[0]", strings.Replace(spot, "us-west-2", "us-east-1", 1) + "instance_distribution: [m5a.large]}}\n", func(f *cluster.Facts) {
		f.Region = "us-east-1"
		for i := range f.Zones {
			f.Zones[i].Name = strings.Replace(f.Zones[i].Name, "us-west-2", "us-east-1", 1)
		}
		f.SpotPrices["m5a.large"] = 0.2
	}},
}

func TestRulesOfTheAccount(t *testing.T) {
	t.Parallel()
	for _, tt := range checks {
		t.Run(tt.code+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			file, err := manifest.ParseCluster("cluster.yaml", []byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			f := facts(t, "us-west-2")
			if tt.change != nil {
				tt.change(f)
			}
			plan, violations := cluster.Build(file.Config, f)
			if plan != nil || len(violations) == 0 {
				t.Fatalf("Build(%s) breaks nothing", tt.text)
			}
			got := problems(t, file.Fault(violations))
			if !slices.ContainsFunc(got, func(p fault.Problem) bool { return p.Code == tt.code && p.Path == tt.path && p.Line > 0 }) {
				t.Errorf("it breaks %v, want %s at %s", got, tt.code, tt.path)
			}
		})
	}
}

// Every code is one that some file gets.
func TestEveryCodeIsReached(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, tt := range rules {
		seen[tt.code] = true
	}
	for _, tt := range checks {
		seen[tt.code] = true
	}
	for _, elsewhere := range []string{
		cluster.CodeTooManyNodes, cluster.CodeTooManyNodesConfigure, cluster.CodeCannotChange, cluster.CodeOnlyScaled, // TestReconfigure and TestCreation
		cluster.CodeNoEffect, cluster.CodeEveryBucket, cluster.CodeNoGroups, cluster.CodeOldKey, // warnings
		cluster.CodeQuota, cluster.CodeFactsUnreadable, // the command line
	} {
		seen[elsewhere] = true
	}
	source, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	ast.Inspect(source, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok {
			code, _ := strconv.Unquote(lit.Value)
			if codes++; !seen[code] {
				t.Errorf("no test has a file that gets %s", code)
			}
		}
		return true
	})
	if codes < 50 {
		t.Errorf("found %d codes, want all", codes)
	}
}

const twentyMistakes = `
cluster_name: Iris
region: us-west-2
kubernetes_version: newest
tags: {aws:team: x}
availability_zones: [us-west-2a]
subnet_visibility: hidden
nat_gateway: two
vpc_cidr: 10.0.0.0/8
api_load_balancer_type: elb
api_load_balancer_scheme: external
operator_load_balancer_scheme: none
api_load_balancer_cidr_white_list: [anywhere]
ssl_certificate_arn: my-certificate
iam_policy_arns: [AmazonS3FullAccess]
account_id: "111122223333"
regoin: eu-central-1
node_groups:
- {name: a_b, instance_type: t3.nano, min_instances: 9, priority: 0}
- {name: b, instance_type: m5.large, instance_volume_size: 5, spot_config: {}}
`

// A file with twenty mistakes names all of them, in their order.
func TestTwentyMistakes(t *testing.T) {
	t.Parallel()
	_, err := manifest.ParseCluster("cluster.yaml", []byte(twentyMistakes))
	got := problems(t, err)
	var paths []string
	for i, p := range got {
		paths = append(paths, p.Path)
		if i > 0 && p.Line < got[i-1].Line {
			t.Errorf("line %d comes after line %d", p.Line, got[i-1].Line)
		}
	}
	want := strings.Fields(`cluster_name kubernetes_version tags.aws:team availability_zones subnet_visibility nat_gateway vpc_cidr api_load_balancer_type
		api_load_balancer_scheme operator_load_balancer_scheme api_load_balancer_cidr_white_list[0] ssl_certificate_arn iam_policy_arns[0] account_id regoin
		node_groups[0].name node_groups[0].instance_type node_groups[0].min_instances node_groups[0].priority node_groups[1].instance_volume_size node_groups[1].spot_config`)
	if !slices.Equal(paths, want) {
		t.Errorf("the problems are at\n%s\nwant\n%s", strings.Join(paths, " "), strings.Join(want, " "))
	}
}
