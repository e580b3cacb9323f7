package manifest

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/suggest"
	"cortex.dev/cortex/internal/workload"
)

// clusterSection is a cluster file. Keys that are required must be among the first 64:
// decodeFields remembers no others.
var clusterSection = section[clusterDraft]{fields: slices.Concat(clusterFields(), imageFields(), flatFields(), goneFields())}

func clusterFields() []field[clusterDraft] {
	type draft = clusterDraft
	text := func(into func(*draft) *string) func(*scope, *draft, value) { return set((*scope).filled, into) }
	words := func(into func(*draft) *[]string) func(*scope, *draft, value) { return set((*scope).wordsPresent, into) }
	return []field[draft]{
		{key: "cluster_name", doc: "the name of the cluster, 3 to 54 lower-case letters, digits and single dashes (default: `cortex`)", set: text(func(t *draft) *string { return &t.ClusterName })},
		{key: "region", required: true, doc: "the AWS region, such as us-west-2", set: text(func(t *draft) *string { return &t.Region })},
		{key: "kubernetes_version", nullable: true, doc: "such as " + cluster.NewestKubernetes + " (default: the newest in standard support that this release was tested with)", set: set(versionText, func(t *draft) *string { return &t.KubernetesVersion })},
		{key: "node_groups", nullable: true, doc: "groups of equal nodes for APIs, at most 100 (default: `[]`)", set: func(s *scope, t *draft, v value) {
			t.NodeGroups = []cluster.NodeGroup{}
			decodeList(s, &groupSection, v, &t.NodeGroups, cluster.NewNodeGroup)
		}},
		{key: "tags", nullable: true, doc: "tags of everything that is made (default: `{}`)", set: set((*scope).texts, func(t *draft) *map[string]string { return &t.Tags })},
		{key: "availability_zones", nullable: true, doc: "two or more zones of the region; not with subnets (default: two in us-east-1, elsewhere three, that have every instance type)", set: words(func(t *draft) *[]string { return &t.AvailabilityZones })},
		{key: "subnet_visibility", doc: "where nodes are: `public`, with public addresses, or `private` (default: `public`)", set: text(func(t *draft) *string { return &t.SubnetVisibility })},
		{key: "subnets", nullable: true, doc: "subnets of your own, two or more in different zones of one VPC (default: a network is made)", set: func(s *scope, t *draft, v value) {
			t.Subnets = []cluster.Subnet{}
			decodeList(s, &subnetSection, v, &t.Subnets, func() cluster.Subnet { return cluster.Subnet{} })
		}},
		{key: "nat_gateway", doc: "how private nodes reach the internet: `none`, `single`, or `highly_available`, which is one in each zone (default: `single` for private nodes without subnets of your own, else `none`)", set: text(func(t *draft) *string { return &t.NATGateway })},
		{key: "vpc_cidr", nullable: true, doc: "private IPv4 addresses of the network that is made, /16 to /24; not with subnets (default: `192.168.0.0/16`)", set: text(func(t *draft) *string { return &t.VPCCIDR })},
		{key: "api_load_balancer_type", doc: "`nlb`; `elb` is refused (default: `nlb`)", set: text(func(t *draft) *string { return &t.APILoadBalancerType })},
		{key: "api_load_balancer_scheme", doc: "`internet-facing` or `internal` (default: `internet-facing`)", set: text(func(t *draft) *string { return &t.APILoadBalancerScheme })},
		{key: "operator_load_balancer_scheme", doc: "`internet-facing` or `internal` (default: `internet-facing`)", set: text(func(t *draft) *string { return &t.OperatorLoadBalancerScheme })},
		{key: "api_load_balancer_cidr_white_list", nullable: true, doc: "addresses from which APIs may be called (default: any)", set: words(func(t *draft) *[]string { return &t.APICIDRs })},
		{key: "operator_load_balancer_cidr_white_list", nullable: true, doc: "addresses from which the cluster may be managed (default: any)", set: words(func(t *draft) *[]string { return &t.OperatorCIDRs })},
		{key: "ssl_certificate_arn", nullable: true, doc: "a certificate of AWS Certificate Manager in the region: APIs are then on port 443 too (default: none)", set: text(func(t *draft) *string { return &t.SSLCertificateARN })},
		{key: "iam_policy_arns", nullable: true, doc: "policies of what APIs may do in AWS, at most 9 (default: `AmazonS3FullAccess`)", set: words(func(t *draft) *[]string { return &t.IAMPolicyARNs })},
		{key: "cloudwatch_logs", doc: "whether what APIs write is sent to the log group of the cluster, too (default: `false`)", set: set((*scope).truth, func(t *draft) *bool { return &t.CloudWatchLogs })},
		{key: "cloudwatch_metrics", doc: "whether CloudWatch gets some metrics of Cortex (default: `false`)", set: set((*scope).truth, func(t *draft) *bool { return &t.CloudWatchMetrics })},
		{key: "cluster_credentials", nullable: true, doc: "`role`; `inherit`, the key of whoever makes the cluster, is refused", set: text(func(t *draft) *string { return &t.ClusterCredentials })},
	}
}

// versionText reads a version, which YAML takes for a number.
func versionText(s *scope, v value) (string, bool) {
	if n := v.node; n.Kind == yaml.ScalarNode && (n.Tag == "!!float" || n.Tag == "!!int") {
		return n.Value, true
	}
	return s.filled(v)
}

var subnetSection = section[cluster.Subnet]{fields: []field[cluster.Subnet]{
	{key: "availability_zone", required: true, doc: "the zone of the subnet", set: set((*scope).filled, func(t *cluster.Subnet) *string { return &t.AvailabilityZone })},
	{key: "subnet_id", required: true, doc: "its id, such as subnet-060f3961c876872ae", set: set((*scope).filled, func(t *cluster.Subnet) *string { return &t.SubnetID })},
}}

var groupSection = section[cluster.NodeGroup]{fields: []field[cluster.NodeGroup]{
	{key: "name", required: true, doc: "unique in the cluster: letters, digits and dashes, at most 26", set: set((*scope).filled, func(t *cluster.NodeGroup) *string { return &t.Name })},
	{key: "instance_type", required: true, doc: "the type of its nodes, such as m5.large", set: set((*scope).filled, func(t *cluster.NodeGroup) *string { return &t.InstanceType })},
	count("min_instances", "nodes that there always are (default: `1`)", func(t *cluster.NodeGroup) *int64 { return &t.MinInstances }),
	count("max_instances", "nodes that there are at most, 1 or more (default: `5`)", func(t *cluster.NodeGroup) *int64 { return &t.MaxInstances }),
	count("priority", "1 to 100: nodes are added to the group with the highest first (default: `1`)", func(t *cluster.NodeGroup) *int64 { return &t.Priority }),
	count("instance_volume_size", "GB of each node's disk, 20 to 16384 (default: `50`)", func(t *cluster.NodeGroup) *int64 { return &t.VolumeSize }),
	{key: "instance_volume_type", doc: "`gp3`, `gp2` or `io1` (default: `gp3`)", set: set((*scope).filled, func(t *cluster.NodeGroup) *string { return &t.VolumeType })},
	maybe("instance_volume_iops", "of gp3 3000 to 16000 and at most 500 for each GB; of io1 100 to 64000 and at most 50 for each GB (default: gp3 `3000`, io1 50 for each GB up to 3000)",
		(*scope).int64, func(t *cluster.NodeGroup) **int64 { return &t.VolumeIOPS }),
	maybe("instance_volume_throughput", "MB/s of gp3, 125 to 1000 and at most a quarter of the IOPS; only together with them (default: `125`)",
		(*scope).int64, func(t *cluster.NodeGroup) **int64 { return &t.VolumeThroughput }),
	{key: "spot", doc: "whether its nodes are spot instances (default: `false`)", set: set((*scope).truth, func(t *cluster.NodeGroup) *bool { return &t.Spot })},
	{key: "spot_config", nullable: true, doc: "only with `spot: true`", set: func(s *scope, t *cluster.NodeGroup, v value) {
		t.SpotConfig = &cluster.SpotConfig{}
		decodeSection(s, &spotSection, v, t.SpotConfig)
	}},
}}

var spotSection = section[cluster.SpotConfig]{fields: []field[cluster.SpotConfig]{
	{key: "instance_distribution", nullable: true, doc: "types that nodes may be of besides `instance_type`, none smaller, at most 20 (default: none)", set: set((*scope).wordsPresent, func(t *cluster.SpotConfig) *[]string { return &t.InstanceDistribution })},
	wholeOrNull("on_demand_base_capacity", "how many of the nodes are on demand (default: `0`)", func(t *cluster.SpotConfig) *int64 { return &t.OnDemandBase }),
	wholeOrNull("on_demand_percentage_above_base_capacity", "percentage of the nodes beyond those that are on demand, too, 0 to 100: the group is a mixed one then (default: `0`)", func(t *cluster.SpotConfig) *int64 { return &t.OnDemandPercentage }),
	maybe("max_price", "dollars an hour that a spot instance may cost; with another than the price on demand, which is the limit anyway, the group is a mixed one", (*scope).real, func(t *cluster.SpotConfig) **float64 { return &t.MaxPrice }),
	maybe("instance_pools", "has no effect: EKS chooses pools by price and capacity", (*scope).int64, func(t *cluster.SpotConfig) **int64 { return &t.InstancePools }),
}}

func count(key, doc string, into func(*cluster.NodeGroup) *int64) field[cluster.NodeGroup] {
	return field[cluster.NodeGroup]{key: key, doc: doc, set: set((*scope).int64, into)}
}

func wholeOrNull(key, doc string, into func(*cluster.SpotConfig) *int64) field[cluster.SpotConfig] {
	return field[cluster.SpotConfig]{key: key, doc: doc, nullable: true, set: set((*scope).int64, into)}
}

// maybe is a field whose default depends on others.
func maybe[T, V any](key, doc string, read func(*scope, value) (V, bool), into func(*T) **V) field[T] {
	return field[T]{key: key, doc: doc, nullable: true, set: func(s *scope, t *T, v value) {
		if x, ok := read(s, v); ok {
			*into(t) = &x
		}
	}}
}

// Images that a cluster still starts, by what comes after image_ in their keys.
var usedImages = []struct{ name, of string }{
	{"operator", "the operator"}, {"gateway", "gateways"}, {"proxy", "the sidecar"}, {"ledger", "the servers that keep items"},
	{"cluster_autoscaler", "the cluster autoscaler"}, {"nvidia_device_plugin", "the device plugin for GPUs"}, {"neuron_device_plugin", "the device plugin for Inferentia"},
	{"fluent_bit", "Fluent Bit, with cloudwatch_logs"}, {"otel_collector", "the collector, with cloudwatch_metrics"},
}

// unusedImages are those of programs that there are no more.
var unusedImages = strings.Fields("controller_manager manager kubexit activator autoscaler async_gateway enqueuer dequeuer metrics_server neuron_scheduler " +
	"istio_proxy istio_pilot prometheus prometheus_config_reloader prometheus_operator prometheus_statsd_exporter prometheus_dcgm_exporter " +
	"prometheus_kube_state_metrics prometheus_node_exporter kube_rbac_proxy grafana event_exporter " +
	// of releases before 0.36
	"downloader request_monitor nvidia inferentia neuron_rtd fluentd statsd istio_citadel istio_galley")

func imageFields() (fields []field[clusterDraft]) {
	for _, image := range usedImages {
		fields = append(fields, field[clusterDraft]{key: "image_" + image.name, doc: "the image of " + image.of + " (default: that of the release)", set: func(s *scope, t *clusterDraft, v value) {
			if name, ok := s.text(v); ok {
				if t.Images == nil {
					t.Images = map[string]string{}
				}
				t.Images[image.name] = name
			}
		}})
	}
	for _, name := range unusedImages {
		fields = append(fields, gone("image_"+name, (*scope).filled, "there is no such program any more"))
	}
	return fields
}

// gone is a key that is read and changes nothing.
func gone[V any](key string, read func(*scope, value) (V, bool), why string) field[clusterDraft] {
	return field[clusterDraft]{key: key, old: true, nullable: true, doc: why, set: func(s *scope, _ *clusterDraft, v value) {
		if _, ok := read(s, v); ok {
			s.warn(v, cluster.CodeNoEffect, "has no effect: "+why, "remove it")
		}
	}}
}

// flatFields are keys of node groups at the top of a file, where releases 0.20 to 0.30
// had them: there was one group.
func flatFields() (fields []field[clusterDraft]) {
	for _, f := range groupSection.fields {
		if f.key == "name" || f.key == "priority" || f.key == "instance_volume_throughput" || f.key == "spot_config" {
			continue // there were none, and spot_config had a key more
		}
		fields = append(fields, field[clusterDraft]{
			key: f.key, old: true, nullable: f.nullable, doc: "of a node group called " + flatName + ", as in releases 0.20 to 0.30",
			set: func(s *scope, t *clusterDraft, v value) {
				t.flatKeys = append(t.flatKeys, v)
				f.set(s, &t.flatGroup, v)
			},
		})
	}
	return append(fields, field[clusterDraft]{
		key: "spot_config", old: true, nullable: true, doc: "of a node group called " + flatName + ", as in releases 0.20 to 0.30",
		set: func(s *scope, t *clusterDraft, v value) {
			t.flatKeys = append(t.flatKeys, v)
			t.flatGroup.SpotConfig = &cluster.SpotConfig{}
			decodeSection(s, &flatSpotSection, v, &flatSpot{t.flatGroup.SpotConfig, t})
		},
	})
}

// flatSpot is spot_config as releases 0.20 to 0.30 had it.
type flatSpot struct {
	*cluster.SpotConfig
	draft *clusterDraft
}

var flatSpotSection = section[flatSpot]{fields: flatSpotFields()}

func flatSpotFields() (fields []field[flatSpot]) {
	for _, f := range spotSection.fields {
		fields = append(fields, field[flatSpot]{key: f.key, nullable: f.nullable, doc: f.doc, set: func(s *scope, t *flatSpot, v value) { f.set(s, t.SpotConfig, v) }})
	}
	return append(fields, field[flatSpot]{key: "on_demand_backup", doc: "whether on-demand instances stand in for spot instances", set: func(s *scope, t *flatSpot, v value) {
		if b, ok := s.truth(v); ok {
			t.draft.backup = &b
		}
	}})
}

// disallowed is the setter of a key that nobody may give.
func disallowed(why string) func(*scope, *clusterDraft, value) {
	return func(s *scope, _ *clusterDraft, v value) {
		s.problem(v.key, v.path, cluster.CodeDisallowedField, "must not be given: "+why, "", "remove it")
		s.cannotRead(v.path)
	}
}

// goneFields are keys of earlier releases that mean nothing any more, and those that were
// never for users.
func goneFields() []field[clusterDraft] {
	anything := func(*scope, value) (bool, bool) { return true, true }
	older := func(key, why string) field[clusterDraft] {
		f := gone(key, anything, why)
		warn := f.set
		f.set = func(s *scope, t *clusterDraft, v value) {
			t.oldKeys++
			warn(s, t, v)
		}
		return f
	}
	never := func(key, why string) field[clusterDraft] {
		return field[clusterDraft]{key: key, old: true, doc: "must not be given: " + why, set: disallowed(why)}
	}
	const secret = "credentials do not belong in a file that people pass on; make new ones if others have seen this"
	return []field[clusterDraft]{
		gone("prometheus_instance_type", (*scope).filled, "there is no node for Prometheus"),
		gone("telemetry", (*scope).truth, "Cortex sends nothing about its use to anybody"),
		older("log_group", "the log group is called as the cluster is"),
		older("api_gateway", "an API Gateway is never made"),
		{key: "provider", old: true, doc: "`aws`, as in releases 0.24 to 0.32", set: provider},
		{key: "bucket", old: true, nullable: true, doc: "must not be given: it is made of those of the cluster, the account and the region", set: func(_ *scope, t *clusterDraft, v value) { t.bucket = &v }},
		never("cluster_uid", "it is made with the cluster"),
		never("account_id", "it is that of the credentials"),
		never("cortex_policy_arn", "its name is made of those of the cluster and the region"),
		never("aws_access_key_id", secret), never("aws_secret_access_key", secret),
		never("cortex_aws_access_key_id", secret), never("cortex_aws_secret_access_key", secret),
	}
}

func provider(s *scope, t *clusterDraft, v value) {
	name, ok := s.text(v)
	switch {
	case !ok:
	case name == "aws":
		t.oldKeys++
		s.warn(v, cluster.CodeNoEffect, "has no effect: there is no other", "remove it")
	case name == "gcp" || name == "local":
		s.wrongAt(v, cluster.CodeInvalidLegacyProvider, "is a provider that releases after 0.32 do not have", quote(name), "aws", "")
	default:
		s.wrongAt(v, cluster.CodeInvalidProvider, "is not a provider", quote(name), "aws", suggest.Hint(name, []string{"aws"}))
	}
}

// placeInCluster says in which section of a cluster file a key belongs that stands
// elsewhere, or "".
func placeInCluster(key string, _ workload.Kind) string {
	for _, p := range []struct {
		place string
		keys  []string
	}{
		{"the top level of the file", names(clusterSection.fields, "")},
		{"node_groups[]", names(groupSection.fields, "")},
		{"node_groups[].spot_config", names(spotSection.fields, "")},
		{"subnets[]", names(subnetSection.fields, "")},
	} {
		if slices.Contains(p.keys, key) {
			return p.place
		}
	}
	return ""
}

const noGoogle = "clusters on Google Cloud were dropped in release 0.33"

// oldClusterKeys are keys of earlier releases that cannot be read.
var oldClusterKeys = map[string]string{
	"project": noGoogle, "node_pools": noGoogle, "accelerator_type": noGoogle, "accelerators_per_instance": noGoogle, "preemptible": noGoogle,
	"node_groups[].spot_config.on_demand_backup": "make a second group on demand, with a lower priority and min_instances: 0",
	"min_replicas": "it is called min_instances, in a node group", "max_replicas": "it is called max_instances, in a node group",
}

func oldClusterKey(path string) (hint string, replaces []string) {
	return oldClusterKeys[indices.ReplaceAllString(path, "[]")], nil
}
