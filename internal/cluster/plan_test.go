package cluster_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/manifest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// configuration is one row of testdata/matrix.yaml.
type configuration struct {
	Name    string
	Region  string
	Cluster yaml.Node
}

func (c configuration) config(t testing.TB) *cluster.Config {
	t.Helper()
	c.Cluster.Style &^= yaml.FlowStyle // so that a key can be added
	text, err := yaml.Marshal(&c.Cluster)
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(text)) == "{}" {
		text = nil
	}
	return parsed(t, string(text)+"region: "+c.Region+"\n")
}

// parsed is the configuration of a cluster file that is right.
func parsed(t testing.TB, text string) *cluster.Config {
	t.Helper()
	f, err := manifest.ParseCluster("cluster.yaml", []byte(text))
	if err != nil {
		t.Fatalf("ParseCluster: %v\n%s", err, text)
	}
	return f.Config
}

func facts(t testing.TB, region string) *cluster.Facts {
	t.Helper()
	file := filepath.Join("testdata", "facts", region+".json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := cluster.ParseFacts(file, data)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func matrix(t testing.TB) []configuration {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "matrix.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var all []configuration
	if err := yaml.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

func build(t testing.TB, c *cluster.Config, f *cluster.Facts) *cluster.Plan {
	t.Helper()
	p, broken := cluster.Build(c, f)
	if len(broken) > 0 {
		t.Fatalf("Build breaks %+v", broken)
	}
	return p
}

func indented(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", " ")
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s has changed; run go test ./internal/cluster -update if it should have (-file +now):\n%s", file, diff)
	}
}

// Every plan of the matrix stays what it is: each step by the digest of what it does. A
// few plans are kept whole, for people.
func TestGoldenPlans(t *testing.T) {
	t.Parallel()
	all := matrix(t)
	if len(all) < 40 {
		t.Fatalf("the matrix has %d configurations, want 40 or more", len(all))
	}
	whole := []string{"public", "spot-base", "spot-mixed", "china-own"}
	partitions := map[string]bool{}
	var lines strings.Builder
	for _, c := range all {
		p := build(t, c.config(t), facts(t, c.Region))
		partitions[p.Partition] = true
		fmt.Fprintf(&lines, "%s: %s an hour\n", c.Name, p.Cost.Hourly)
		made := p.State()
		for _, s := range p.Steps {
			fmt.Fprintf(&lines, "  %s %s\n", made[s.ID].Digest, s.ID)
		}
		if slices.Contains(whole, c.Name) {
			golden(t, "plan-"+c.Name+".golden.json", indented(t, p))
		}
	}
	if len(partitions) < 4 {
		t.Errorf("the matrix is of the partitions %v, want four", partitions)
	}
	golden(t, "plans.golden", []byte(lines.String()))
}

// The same configuration and facts give the same bytes, in whatever order Go walks maps.
func TestBuildIsPure(t *testing.T) {
	t.Parallel()
	for _, c := range matrix(t) {
		before, f := c.config(t), facts(t, c.Region)
		kept, factsKept := indented(t, before), indented(t, f)
		first := indented(t, build(t, before, f))
		for range 3 {
			if again := indented(t, build(t, c.config(t), facts(t, c.Region))); !bytes.Equal(first, again) {
				t.Fatalf("%s: two plans differ:\n%s", c.Name, cmp.Diff(string(first), string(again)))
			}
		}
		if !bytes.Equal(kept, indented(t, before)) || !bytes.Equal(factsKept, indented(t, f)) {
			t.Errorf("%s: Build changes what it is given", c.Name)
		}
	}
}

func manyGroups(n int) string {
	var b strings.Builder
	b.WriteString("region: us-west-2\nnode_groups:\n")
	for i := range n {
		fmt.Fprintf(&b, "- {name: group-%d, instance_type: m5.large, min_instances: 1, max_instances: 2, spot: %v}\n", i, i%2 == 0)
	}
	return b.String()
}

// No template of a cluster with as many groups as a file may have comes near a limit of
// CloudFormation.
func TestHundredGroups(t *testing.T) {
	t.Parallel()
	p := build(t, parsed(t, manyGroups(100)), facts(t, "us-west-2"))
	stacks := 0
	for _, s := range p.Steps {
		if s.Do.Stack != nil {
			stacks++
		}
	}
	if stacks != 106 || len(p.Groups) != 101 {
		t.Errorf("100 groups come to %d stacks and %d managed groups, want 106 and 101", stacks, len(p.Groups))
	}
	var names []string
	for _, q := range p.Exceeded() {
		names = append(names, q.Code)
	}
	if !slices.Equal(names, []string{"L-6D54EA21"}) {
		t.Errorf("Exceeded() = %v, want the limit of managed node groups alone", names)
	}
}

func BenchmarkBuildHundredGroups(b *testing.B) {
	text, f := []byte(manyGroups(100)), facts(b, "us-west-2")
	for b.Loop() {
		file, err := manifest.ParseCluster("cluster.yaml", text)
		if err != nil {
			b.Fatal(err)
		}
		if _, broken := cluster.Build(file.Config, f); len(broken) > 0 {
			b.Fatal(broken)
		}
	}
}
