package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var defaultOfKey = regexp.MustCompile(` \(default: (.*)\)$`)

// The tables of docs/aws.md are made from what reads a cluster file.
func TestClusterReference(t *testing.T) {
	t.Parallel()
	file := filepath.Join("..", "..", "docs", "aws.md")
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]*strings.Builder{}
	for _, mark := range []string{"cluster", "subnets[]", "node_groups[]", "node_groups[].spot_config", "gone"} {
		tables[mark] = &strings.Builder{}
	}
	var goneDocs []string // each once, for all keys of which it is true
	gone := map[string][]string{}
	for _, k := range ClusterKeys() {
		section, key := "cluster", k.Path
		if i := strings.LastIndexByte(key, '.'); i > 0 {
			section, key = key[:i], key[i+1:]
		}
		if k.NoEffect {
			if gone[k.Doc] == nil {
				goneDocs = append(goneDocs, k.Doc)
			}
			gone[k.Doc] = append(gone[k.Doc], "`"+k.Path+"`")
			continue
		}
		doc, def := k.Doc, ""
		if m := defaultOfKey.FindStringSubmatch(doc); m != nil {
			doc, def = strings.TrimSuffix(doc, m[0]), m[1]
		}
		if k.Required {
			def = "required"
		}
		fmt.Fprintf(tables[section], "| `%s` | %s | %s |\n", key, def, doc)
	}
	for _, doc := range goneDocs {
		fmt.Fprintf(tables["gone"], "| %s | %s |\n", strings.Join(gone[doc], ", "), doc)
	}
	used := 0
	want := regexp.MustCompile(`(?s)<!-- keys of ([a-z_.\[\]]+) -->\n.*?\n\n`).ReplaceAllStringFunc(string(have), func(block string) string {
		mark, _, _ := strings.Cut(strings.TrimPrefix(block, "<!-- keys of "), " -->")
		used++
		head := "| key | default | what it is |\n|---|---|---|\n"
		if mark == "gone" {
			head = "| key | |\n|---|---|\n"
		}
		if tables[mark] == nil {
			t.Errorf("docs/aws.md has a table of %q", mark)
			return block
		}
		return "<!-- keys of " + mark + " -->\n" + head + tables[mark].String() + "\n"
	})
	if used != len(tables) {
		t.Errorf("docs/aws.md has %d tables, want %d", used, len(tables))
	}
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(have), want); diff != "" {
		t.Errorf("docs/aws.md is not what the keys say; run go test ./internal/manifest -run Reference -update (-file +tables):\n%s", diff)
	}
}

// keysOf042 are the keys of a cluster file of cortex 0.42, but for images of programs that
// there are no more.
const keysOf042 = `cluster_name region prometheus_instance_type telemetry node_groups tags availability_zones ssl_certificate_arn iam_policy_arns
	subnet_visibility subnets nat_gateway api_load_balancer_type api_load_balancer_scheme operator_load_balancer_scheme
	api_load_balancer_cidr_white_list operator_load_balancer_cidr_white_list vpc_cidr cluster_uid bucket account_id cortex_policy_arn
	name instance_type min_instances max_instances priority instance_volume_size instance_volume_type instance_volume_iops instance_volume_throughput
	spot spot_config instance_distribution on_demand_base_capacity on_demand_percentage_above_base_capacity max_price instance_pools
	image_operator image_proxy image_cluster_autoscaler image_nvidia_device_plugin image_neuron_device_plugin image_fluent_bit`

// The guide for those who come from 0.42 says of every key of theirs what becomes of it, and
// names every key that they did not have.
func TestKeysOf042AreInTheGuide(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "migrating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## A cluster beside the old one\n")
	section, _, _ = strings.Cut(section, "\n## ")
	known := map[string]bool{}
	for _, k := range ClusterKeys() {
		key := k.Path[strings.LastIndexByte(k.Path, '.')+1:]
		known[key] = true
		// What was new and what is old beside 0.42 is of other releases.
		if !k.NoEffect && !strings.HasPrefix(k.Path, "subnets[]") && !strings.Contains(section, "`"+key+"`") && key != "cluster_credentials" {
			t.Errorf("the section does not say a word of %s", k.Path)
		}
	}
	for key := range strings.FieldsSeq(keysOf042) {
		if !known[key] {
			t.Errorf("%s of 0.42 is not known to the reader of cluster files", key)
		}
		if !strings.Contains(section, "`"+key+"`") {
			t.Errorf("the section does not say what becomes of %s", key)
		}
	}
}
