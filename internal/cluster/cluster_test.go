package cluster_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

func codes(violations []workload.Violation) (all []string) {
	for _, v := range violations {
		all = append(all, v.Code+" "+v.Path)
	}
	return all
}

// What files of releases 0.20 to 0.30 say is read, and each of their keys is told.
func TestFlatForm(t *testing.T) {
	t.Parallel()
	file, err := manifest.ParseCluster("cluster.yaml", []byte(`
cluster_name: old
region: us-west-2
instance_type: m5.large
min_instances: 2
max_instances: 6
instance_volume_size: 80
spot: true
spot_config:
  instance_distribution: [m5a.large]
  instance_pools: 2
bucket: my-bucket
log_group: logs
api_gateway: public
provider: aws
telemetry: false
image_downloader: cortexlabs/downloader:0.20.0
`))
	if err != nil {
		t.Fatal(err)
	}
	c := file.Config
	if len(c.NodeGroups) != 2 || c.NodeGroups[0].Name != "ng" || c.NodeGroups[1].Name != "ng-on-demand" {
		t.Fatalf("the groups are %+v, want ng and ng-on-demand", c.NodeGroups)
	}
	ng, other := c.NodeGroups[0], c.NodeGroups[1]
	if ng.MinInstances != 2 || ng.MaxInstances != 6 || ng.VolumeSize != 80 || !ng.Spot || !slices.Equal(ng.SpotConfig.InstanceDistribution, []string{"m5a.large"}) {
		t.Errorf("ng is %+v", ng)
	}
	if other.Spot || other.SpotConfig != nil || other.MinInstances != 0 || other.MaxInstances != 6 || other.Priority >= ng.Priority {
		t.Errorf("the group that stands in for spot instances is %+v", other)
	}
	var told []string
	for _, w := range file.Warnings {
		if w.Line == 0 || w.File == "" || w.Message == "" {
			t.Errorf("a warning has no place: %+v", w)
		}
		told = append(told, strings.TrimPrefix(w.Code, "clusterconfig.")+" "+w.Path)
	}
	want := []string{
		"every_bucket iam_policy_arns", "old_key instance_type", "old_key min_instances", "old_key max_instances", "old_key instance_volume_size", "old_key spot", "old_key spot",
		"old_key spot_config", "no_effect spot_config.instance_pools", "no_effect bucket", "no_effect log_group", "no_effect api_gateway", "no_effect provider", "no_effect telemetry", "no_effect image_downloader",
	}
	slices.Sort(want)
	slices.Sort(told)
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("the warnings differ (-want +have):\n%s", diff)
	}

	alone := parsed(t, "region: us-west-2\ninstance_type: m5.large\nspot: true\nspot_config: {on_demand_backup: false}\n")
	if len(alone.NodeGroups) != 1 {
		t.Errorf("without on_demand_backup there are the groups %+v, want one", alone.NodeGroups)
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"iam_policy_arns: []\nnode_groups: [{name: a, instance_type: m5.large}]\n": "",
		"node_groups: [{name: a, instance_type: m5.large}]\n":                      "clusterconfig.every_bucket iam_policy_arns",
		"iam_policy_arns: []\n": "clusterconfig.no_nodegroup_specified node_groups",
		"iam_policy_arns: []\nnat_gateway: single\nnode_groups: [{name: a, instance_type: m5.large}]\n":                                                                                              "clusterconfig.no_effect nat_gateway",
		"iam_policy_arns: []\nprometheus_instance_type: m5.large\nnode_groups: [{name: a, instance_type: m5.large}]\n":                                                                               "clusterconfig.no_effect prometheus_instance_type",
		"iam_policy_arns: []\nimage_grafana: x\nnode_groups: [{name: a, instance_type: m5.large}]\n":                                                                                                 "clusterconfig.no_effect image_grafana",
		"iam_policy_arns: []\nnode_groups: [{name: a, instance_type: m5.large, min_instances: 150, max_instances: 200}, {name: b, instance_type: m5.large, min_instances: 51, max_instances: 60}]\n": "clusterconfig.max_nodes_to_add_on_cluster_up node_groups",
	} {
		file, err := manifest.ParseCluster("c", []byte("region: us-west-2\n"+text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		var told []string
		for _, w := range file.Warnings {
			told = append(told, w.Code+" "+w.Path)
		}
		if got := strings.Join(told, "; "); got != want {
			t.Errorf("%s is warned of %q, want %q", text, got, want)
		}
	}
}

const configured = `
region: us-west-2
node_groups:
- {name: cpu, instance_type: m5.large}
- {name: gpu, instance_type: g5.xlarge, min_instances: 0}
`

// What `cluster configure` may change is in a table of the contract; everything else is
// refused, whichever key it is.
func TestReconfigure(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, old, new, want string }{
		{"nothing", "", "", ""},
		{"fewer and more nodes", "name: cpu", "min_instances: 2, max_instances: 9, priority: 4, name: cpu", ""},
		{"a group more", "node_groups:", "node_groups:\n- {name: new, instance_type: m5.xlarge}", ""},
		{"a group less", "- {name: gpu, instance_type: g5.xlarge, min_instances: 0}\n", "", ""},
		{"a certificate", "region:", "ssl_certificate_arn: arn:aws:acm:us-west-2:111122223333:certificate/x\nregion:", ""},
		{"white lists", "region:", "api_load_balancer_cidr_white_list: [10.0.0.0/8]\noperator_load_balancer_cidr_white_list: [10.0.0.0/8]\nregion:", ""},
		{"another type", "m5.large", "m5.xlarge", "clusterconfig.node_group_can_only_be_scaled node_groups[0]"},
		{"another volume", "name: cpu", "instance_volume_size: 60, name: cpu", "clusterconfig.node_group_can_only_be_scaled node_groups[0]"},
		{"spot", "name: cpu", "spot: true, name: cpu", "clusterconfig.node_group_can_only_be_scaled node_groups[0]"},
		{"too many nodes", "name: cpu", "min_instances: 102, max_instances: 102, name: cpu", "clusterconfig.max_nodes_to_add_on_cluster_configure node_groups"},
		{"another name", "region:", "cluster_name: other\nregion:", cannot("cluster_name")},
		{"another region", "us-west-2", "eu-west-1", cannot("region")},
		{"visibility", "region:", "subnet_visibility: private\nregion:", cannot("nat_gateway", "subnet_visibility")},
		{"zones", "region:", "availability_zones: [us-west-2a, us-west-2b]\nregion:", cannot("availability_zones")},
		{"scheme", "region:", "api_load_balancer_scheme: internal\nregion:", cannot("api_load_balancer_scheme")},
		{"operator's scheme", "region:", "operator_load_balancer_scheme: internal\nregion:", cannot("operator_load_balancer_scheme")},
		{"network", "region:", "vpc_cidr: 10.0.0.0/16\nregion:", cannot("vpc_cidr")},
		{"tags", "region:", "tags: {a: b}\nregion:", cannot("tags")},
		{"policies", "region:", "iam_policy_arns: []\nregion:", cannot("iam_policy_arns")},
		{"policies that were the default", "region:", "iam_policy_arns: ['arn:aws:iam::aws:policy/AmazonS3FullAccess']\nregion:", ""},
		{"logs and metrics", "region:", "cloudwatch_logs: true\nimage_fluent_bit: x/y:z\ncloudwatch_metrics: true\nimage_otel_collector: x/y:z\nregion:", ""},
		{"version", "region:", "kubernetes_version: 1.35\nregion:", cannot("kubernetes_version")},
		{"image", "region:", "image_operator: x/y:z\nregion:", cannot("image_operator")},
		{"credentials", "region:", "cluster_credentials: role\nregion:", cannot("cluster_credentials")},
	} {
		before := parsed(t, configured)
		after := parsed(t, strings.Replace(configured, tt.old, tt.new, 1))
		if got := strings.Join(codes(cluster.Reconfigure(before, after)), "; "); got != tt.want {
			t.Errorf("%s: Reconfigure breaks %q, want %q", tt.name, got, tt.want)
		}
	}
}

// How a mixed group mixes may change, and nothing that would make it another one.
func TestReconfigureMixed(t *testing.T) {
	t.Parallel()
	const mixed = "region: us-west-2\nnode_groups: [{name: a, instance_type: m5.large, max_instances: 9, spot: true, spot_config: {on_demand_percentage_above_base_capacity: 25, max_price: 0.05}}]\n"
	for _, tt := range []struct{ name, old, new, want string }{
		{"percentage", ": 25", ": 50", ""},
		{"price", "0.05", "0.06", ""},
		{"no price", ", max_price: 0.05", "", ""},
		{"base", "max_price", "on_demand_base_capacity: 2, max_price", ""},
		{"price alone", "on_demand_percentage_above_base_capacity: 25, ", "", ""},
		{"types", "max_price", "instance_distribution: [m5a.large], max_price", "clusterconfig.node_group_can_only_be_scaled node_groups[0]"},
		{"not mixed", "on_demand_percentage_above_base_capacity: 25, max_price: 0.05", "", "clusterconfig.node_group_can_only_be_scaled node_groups[0]"},
	} {
		if got := strings.Join(codes(cluster.Reconfigure(parsed(t, mixed), parsed(t, strings.Replace(mixed, tt.old, tt.new, 1)))), "; "); got != tt.want {
			t.Errorf("%s: Reconfigure breaks %q, want %q", tt.name, got, tt.want)
		}
	}
}

func cannot(keys ...string) string {
	for i, k := range keys {
		keys[i] = "clusterconfig.config_cannot_be_changed_on_configure " + k
	}
	return strings.Join(keys, "; ")
}

func changed(changes []cluster.Change) (all []string) {
	for _, c := range changes {
		all = append(all, string(c.Action)+" "+c.ID)
	}
	return all
}

// A difference of two plans is what turns one into the other: no stack is touched by
// another number of nodes.
func TestDiff(t *testing.T) {
	t.Parallel()
	f := facts(t, "us-west-2")
	before := build(t, parsed(t, configured), f)
	for _, tt := range []struct {
		name, old, new string
		want           []string
	}{
		{"nothing", "", "", nil},
		{"more nodes", "name: cpu", "min_instances: 2, max_instances: 9, name: cpu", []string{"scale stack/nodes-cx-wd-cpu"}},
		{"another priority", "name: cpu", "priority: 9, name: cpu", []string{"update chart"}},
		{"a white list", "region:", "api_load_balancer_cidr_white_list: [10.0.0.0/8]\nregion:", []string{"update stack/services"}},
		{
			"one group for another", "name: gpu", "name: gpu2",
			[]string{"create stack/nodes-cx-wd-gpu2", "create attach/cx-wd-gpu2", "update chart", "remove attach/cx-wd-gpu", "remove stack/nodes-cx-wd-gpu"},
		},
	} {
		after := build(t, parsed(t, strings.Replace(configured, tt.old, tt.new, 1)), f)
		if diff := cmp.Diff(tt.want, changed(cluster.Diff(before.State(), after))); diff != "" {
			t.Errorf("%s (-want +have):\n%s", tt.name, diff)
		}
	}
	if got := changed(cluster.Diff(nil, before)); len(got) != len(before.Steps) || got[0] != "create log-group" {
		t.Errorf("from nothing: %v, want to create every step", got)
	}
	// What uses something goes before it.
	got := changed(cluster.Diff(before.State(), nil))
	position := func(id string) int { return slices.Index(got, "remove "+id) }
	if len(got) != len(before.Steps) {
		t.Errorf("to nothing: %v, want to remove every step", got)
	}
	for _, s := range before.Steps {
		for _, n := range s.Needs {
			if position(s.ID) > position(n) {
				t.Errorf("%s goes after %s, which it needs", s.ID, n)
			}
		}
	}
}

// Names are what a cluster is found by, in every release to come.
func TestNames(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 29) + "-" + strings.Repeat("b", 24)
	n, other := cluster.NamesOf(long, "111122223333", "us-west-2"), cluster.NamesOf(long, "111122223333", "us-east-1")
	for name, pair := range map[string][2]string{
		"bucket":  {n.Bucket(), long + "-" + sha("111122223333us-west-2")},
		"policy":  {n.Policy(), "cortex-" + long + "-us-west-2"},
		"stack":   {n.Stack("network"), "eksctl-" + long + "-cortex-network"},
		"role":    {n.Role("autoscaler"), "eksctl-" + strings.Repeat("a", 29) + "-" + n.ID() + "-autoscaler"},
		"in gov":  {cluster.NamesOf("c", "111122223333", "us-gov-west-1").PolicyARN(), "arn:aws-us-gov:iam::111122223333:policy/cortex-c-us-gov-west-1"},
		"queues":  {n.Queues(), "cx-" + n.ID() + "-"},
		"logs":    {n.LogGroup(), long},
		"default": {cluster.DefaultPolicyARN("cn-north-1"), "arn:aws-cn:iam::aws:policy/AmazonS3FullAccess"},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %s, want %s", name, pair[0], pair[1])
		}
	}
	// IAM knows no regions, and two long names may begin alike.
	twin := cluster.NamesOf(long+"x", "111122223333", "us-west-2")
	if n.Role("nodes") == other.Role("nodes") || n.Role("nodes") == twin.Role("nodes") {
		t.Error("roles of two clusters have one name")
	}
	if len(n.Bucket()) > 63 || len(n.Role("autoscaler")) > 64 {
		t.Errorf("%s or %s is too long", n.Bucket(), n.Role("autoscaler"))
	}
}

// sha is the beginning of a digest, as cortex 0.42 took it for the name of a bucket.
func sha(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])[:8]
}

// The idle cost of a cluster is what the design counted by hand.
func TestCost(t *testing.T) {
	t.Parallel()
	public := build(t, parsed(t, "region: us-east-1\n"), facts(t, "us-east-1"))
	private := build(t, parsed(t, "region: us-east-1\nsubnet_visibility: private\n"), facts(t, "us-east-1"))
	// control plane, 2 t3.medium, 2 x 20 GB, 2 balancers, 6 addresses
	if got := fmt.Sprintf("%.3f", float64(public.Cost.Hourly)/1e9); got != "0.263" {
		t.Errorf("a public cluster costs %s an hour, want 0.263", got)
	}
	// a NAT gateway and its address more, two addresses of nodes less
	if got := private.Cost.Hourly - public.Cost.Hourly; got.String() != "$0.0400" {
		t.Errorf("a private cluster costs %s more, want $0.0400", got)
	}
	if public.Cost.PricesOf != "2026-07-20" || public.Cost.Monthly != public.Cost.Hourly*730 {
		t.Errorf("the cost is %+v", public.Cost)
	}
	f := facts(t, "us-west-2")
	f.InstanceTypes["m99.large"] = f.InstanceTypes["m5.large"]
	unknown := build(t, parsed(t, ofType("m99.large")), f)
	if !slices.Equal(unknown.Cost.Unknown, []string{"m99.large"}) {
		t.Errorf("Unknown = %v, want the type without a price", unknown.Cost.Unknown)
	}
	text, err := json.Marshal(unknown.Cost)
	if err != nil || strings.Contains(string(text), `e-`) {
		t.Errorf("the cost is written as %s, %v", text, err)
	}
}

// A mixed group costs, and counts against quotas, by how many of its nodes are on demand.
func TestMixedCostAndQuotas(t *testing.T) {
	t.Parallel()
	f := facts(t, "us-west-2")
	f.SpotPrices["m5.large"] = 0.03
	p := build(t, parsed(t, "region: us-west-2\nnode_groups: [{name: a, instance_type: m5.large, min_instances: 4, max_instances: 10, spot: true, spot_config: {on_demand_base_capacity: 1, on_demand_percentage_above_base_capacity: 34}}]\n"), f)
	// One, and 34 % of three rounded up, of four: three at 0.096, one at 0.03.
	found := false
	for _, l := range p.Cost.Lines {
		if found = found || l.Group == "cx-wx-a" && l.Each != nil && l.Each.String() == "$0.0795"; l.Group == "cx-wx-a" && strings.HasPrefix(l.What, "nodes") && !strings.Contains(l.Note, "3 of 4 on demand") {
			t.Errorf("its nodes cost %+v, want three of four at the price on demand", l)
		}
	}
	if !found {
		t.Errorf("the lines are %+v, want $0.0795 for each node", p.Cost.Lines)
	}
	need := map[string][2]int64{}
	for _, q := range p.Quotas {
		need[q.Code] = [2]int64{q.Need, q.Most}
	}
	// Two virtual CPUs each, beside two t3.medium of 25 at most; of ten, five are on demand.
	for code, want := range map[string][2]int64{"L-1216C47A": {4 + 6, 50 + 10}, "L-34B43A08": {2, 10}, "L-6D54EA21": {1, 0}} {
		if need[code] != want {
			t.Errorf("quota %s: %v are needed, want %v", code, need[code], want)
		}
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	state := func(p *cluster.Plan, code string) string {
		i := slices.IndexFunc(p.Quotas, func(q cluster.Quota) bool { return q.Code == code })
		if i < 0 {
			return "none"
		}
		return p.Quotas[i].State
	}
	f := facts(t, "us-west-2")
	p := build(t, parsed(t, "region: us-west-2\nsubnet_visibility: private\nnat_gateway: highly_available\n"+
		"api_load_balancer_cidr_white_list: ["+numbered("10.0.%.0/24, ", 61)+"]\n"+
		"node_groups:\n- {name: gpu, instance_type: g5.xlarge, min_instances: 1, max_instances: 9}\n- {name: p5, instance_type: p5.48xlarge, min_instances: 0}\n"+
		"- {name: inf, instance_type: inf1.xlarge, spot: true}\n"), f)
	for code, want := range map[string]string{
		"L-F678F1CE": cluster.QuotaFits,     // VPCs
		"L-0263D0A3": cluster.QuotaFits,     // three addresses beside one of five
		"L-0EA8095F": cluster.QuotaExceeded, // 61 rules of 60
		"L-DB2E81BA": cluster.QuotaTight,    // 4 of 16 now, 36 when the group is full
		"L-417A185B": cluster.QuotaUnknown,  // P: AWS says nothing
		"L-B5D1601B": cluster.QuotaUnknown,  // Inf spot: used is not known
		"L-1216C47A": cluster.QuotaFits,
		"L-6D54EA21": cluster.QuotaFits,
	} {
		if got := state(p, code); got != want {
			t.Errorf("%s is %s, want %s", code, got, want)
		}
	}
	exceeded := p.Exceeded()
	if len(exceeded) != 1 || !strings.Contains(exceeded[0].Ask(), "--desired-value 61") {
		t.Errorf("Exceeded() = %+v, want what to ask for", exceeded)
	}
	own := build(t, parsed(t, own+"- {availability_zone: us-west-2a, subnet_id: subnet-ab1000000}\n- {availability_zone: us-west-2b, subnet_id: subnet-ab1100000}\n"), f)
	if got := state(own, "L-F678F1CE"); got != "none" {
		t.Errorf("with subnets of the user's own the quota of VPCs is %s, want none", got)
	}
}

func TestFactsAreReadStrictly(t *testing.T) {
	t.Parallel()
	file := filepath.Join("testdata", "facts", "us-west-2.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string][2]string{
		"unknown key":      {`"read_at"`, `"read_on"`},
		"account":          {`111122223333",`, `1111",`},
		"region":           {`"region": "us-west-2"`, `"region": "here"`},
		"number":           {`"vcpus": 2`, `"vcpus": -2`},
		"too large":        {`"memory_mib": 4096`, `"memory_mib": 99999999999999`},
		"architecture":     {`["x86_64"]`, `["riscv"]`},
		"price":            {`0.0352`, `-1`},
		"subnet":           {`"subnet-ab0000000"`, `"ab0000000"`},
		"quota":            {`"limit": 100`, `"limit": -1`},
		"image":            {`"ami-0`, `"img-0`},
		"something after":  {"\n}\n", "\n} {}\n"},
		"not JSON":         {"{", "cluster:"},
		"version":          {`"version": "1.34"`, `"version": "new"`},
		"local zone":       {`"us-west-2d"`, `"us-west-2-lax-1a"`},
		"zone twice":       {`"us-west-2b"`, `"us-west-2a"`},
		"zone without id":  {`"id": "usw2-az2"`, `"id": ""`},
		"a list for a map": {`"quotas": [`, `"quotas": [[],`},
	} {
		if !strings.Contains(string(data), tt[0]) {
			t.Errorf("%s: the facts have no %s", name, tt[0])
		}
		_, err := cluster.ParseFacts("facts.json", []byte(strings.Replace(string(data), tt[0], tt[1], 1)))
		if fault.Code(err) != cluster.CodeFactsUnreadable || !strings.Contains(fmt.Sprint(err), "facts.json") {
			t.Errorf("%s: ParseFacts = %v, want a fault that names the file", name, err)
		}
	}
	if _, err := cluster.ParseFacts("f", make([]byte, cluster.MaxFactsBytes+1)); fault.Code(err) != cluster.CodeFactsUnreadable {
		t.Errorf("a file that is too large: %v", err)
	}
}

// Whatever facts are: no panic, neither reading them nor planning with them.
func FuzzFacts(f *testing.F) {
	// Short ones: the fuzzer tries every byte of what it finds interesting.
	f.Add([]byte(`{"account":"111122223333","region":"us-west-2","zones":[{"name":"us-west-2a","id":"a"},{"name":"us-west-2b","id":"b"}],` +
		`"kubernetes_versions":[{"version":"1.36","status":"STANDARD_SUPPORT","addons":{"vpc-cni":"1","kube-proxy":"1","eks-pod-identity-agent":"1","coredns":"1"},` +
		`"releases":{"AL2023_x86_64_STANDARD":"1","AL2023_x86_64_NVIDIA":"1"}}],"policies":["arn:aws:iam::aws:policy/AmazonS3FullAccess"],` +
		`"instance_types":{"t3.medium":{"vcpus":2,"memory_mib":4096,"architectures":["x86_64"],"network_interfaces":3,"addresses_per_interface":6},` +
		`"m5.large":{"vcpus":2,"memory_mib":8192,"architectures":["x86_64"],"network_interfaces":3,"addresses_per_interface":10},` +
		`"g5.xlarge":{"vcpus":4,"memory_mib":1,"architectures":["x86_64"],"gpus":1,"gpu_maker":"NVIDIA","network_interfaces":1,"addresses_per_interface":1,"zones":[]}},` +
		`"subnets":[{"id":"subnet-ab1000000","vpc":"v","vpc_cidr":"10.0.0.0/16","zone":"us-west-2a","free_addresses":99}],"quotas":[{"service":"vpc","code":"L-F678F1CE","limit":5,"used":5}]}`))
	f.Add([]byte(`{"account":"111122223333","region":"cn-north-1","zones":[{"name":"","id":""}],"kubernetes_versions":[{}]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		facts, err := cluster.ParseFacts("facts.json", data)
		if err != nil {
			return
		}
		for _, text := range []string{
			"node_groups: [{name: a, instance_type: m5.large, spot: true}, {name: b, instance_type: g5.xlarge, min_instances: 0}]\n",
			"subnet_visibility: private\nsubnets: [{availability_zone: " + facts.Region + "a, subnet_id: subnet-ab1000000}, {availability_zone: " + facts.Region + "b, subnet_id: subnet-ab1100000}]\n",
		} {
			if file, err := manifest.ParseCluster("c", []byte("region: "+facts.Region+"\n"+text)); err == nil {
				cluster.Build(file.Config, facts)
			}
		}
	})
}
