package manifest

import (
	"fmt"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// What is no map of keys is refused with what it is, not with a list of what it lacks.
func TestClusterFileMustBeAMap(t *testing.T) {
	t.Parallel()
	for text, hint := range map[string]string{
		"": "region", "null\n": "region", "- name: iris\n": "list", "iris\n": "cluster.yaml",
		"region: a\n---\nregion: b\n": "three dashes", "\xff\xfe": "UTF-8", "region: \x00\n": "cluster.yaml", "region: [\n": "", "a: &a [*a]\nregion: *a\n": "",
	} {
		_, err := ParseCluster("c.yaml", []byte(text))
		f := fault.From(err)
		if f == nil || len(f.Problems) == 0 || !strings.Contains(f.Problems[0].Hint, hint) || f.Problems[0].File != "c.yaml" {
			t.Errorf("ParseCluster(%q) = %+v, want a hint at %q", text, f, hint)
		}
	}
}

// Aliases that expand without end are refused within the budget.
func TestClusterFileIsBounded(t *testing.T) {
	t.Parallel()
	var keys strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&keys, "k%d: 1, ", i)
	}
	text := "g: &g {" + keys.String() + "}\nregion: us-west-2\nnode_groups: [" + strings.Repeat("*g, ", 5000) + "]\n"
	_, err := ParseCluster("c.yaml", []byte(text))
	if f := fault.From(err); f == nil || f.Code != codeInvalidYAML || !strings.Contains(f.Message, "expand") {
		t.Errorf("a file that expands to five million values is refused with %.200v", err)
	}
	_, err = ParseCluster("c.yaml", []byte("region: us-west-2\nnode_groups:\n"+strings.Repeat("- {}\n", 5000)))
	if n := len(fault.From(err).Problems); n > maxProblems+1 {
		t.Errorf("5000 empty groups are %d problems, want at most %d", n, maxProblems)
	}
}

// Keys that must be given are remembered by their place in the list of keys.
func TestRequiredKeysAreAmongTheFirst(t *testing.T) {
	t.Parallel()
	for i, f := range clusterSection.fields {
		if f.required && i >= 64 {
			t.Errorf("%s is the key number %d, want less than 64", f.key, i)
		}
		if f.doc == "" {
			t.Errorf("%s has no text", f.key)
		}
	}
}

// Whatever the bytes are: no panic, and either a fault that people can read or a
// configuration that keeps every rule and stays what it is.
func FuzzParseCluster(f *testing.F) {
	for _, text := range []string{
		"", "region: us-west-2\n", "region: &r us-west-2\ncluster_name: *r\n", "<<: {region: us-west-2}\nnode_groups: []\n",
		"region: us-west-2\nnode_groups: [{name: a, instance_type: m5.large, spot: true, spot_config: {instance_distribution: [m5a.large], max_price: 1e9}}]\n",
		"region: us-west-2\ninstance_type: m5.large\nspot: true\nbucket: b\nprovider: aws\n", "region: us-west-2\ntags: {'a.b[0]': c}\nvpc_cidr: 10.0.0.0/16\n",
		"region: us-west-2\nsubnets: [{availability_zone: us-west-2a, subnet_id: subnet-01234567}, {}]\n", "region: us-west-2\nkubernetes_version: 1.36\nimage_operator: a/b:c\n",
		"region: us-west-2\nnode_groups: [{name: a, instance_type: m5.large, instance_volume_iops: 9223372036854775807, instance_volume_throughput: 9223372036854775807}]\n",
		"region: us-west-2\nnode_groups: [{name: a, instance_type: m5.large, instance_volume_size: -9223372036854775807, instance_volume_type: io1}]\n",
		"region: \"\\x00\"\n", "region: [", "? [a]\n: b\n",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		SortOf(data)
		file, err := ParseCluster("cortex.yaml", data)
		if err != nil {
			readable(t, err)
			return
		}
		if broken := file.Config.Validate(); len(broken) > 0 {
			t.Errorf("ParseCluster() returned what breaks a rule: %+v", broken)
		}
		before := fmt.Sprintf("%+v", *file.Config)
		if file.Config.Default(); fmt.Sprintf("%+v", *file.Config) != before {
			t.Errorf("ParseCluster() returned a configuration without its defaults: %s", before)
		}
		file.Fault([]workload.Violation{{Path: "node_groups[0].spot_config.x", Code: cluster.CodeNotPossible}, {Path: "tags.a.b[0]", OfKey: true}})
	})
}
