package cluster_test

import (
	"fmt"
	"testing"

	"cortex.dev/cortex/internal/cluster"
)

// foreign is the first thing among values that a chart does not take.
func foreign(path string, v any) string {
	switch v := v.(type) {
	case nil, string, bool, int, int64, float64:
	case map[string]any:
		for key, each := range v {
			if found := foreign(path+"."+key, each); found != "" {
				return found
			}
		}
	case []any:
		for i, each := range v {
			if found := foreign(fmt.Sprintf("%s[%d]", path, i), each); found != "" {
				return found
			}
		}
	default:
		return fmt.Sprintf("%s is a %T", path, v)
	}
	return ""
}

// The values of a chart are handed over as they are, and its schema knows no types of Go.
func TestValuesOfTheChartArePlain(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"cluster_name: iris\nregion: us-west-2\nnode_groups: [{name: cpu, instance_type: m5.large}]\n",
		"cluster_name: iris\nregion: us-west-2\nimage_operator: r.example/operator:1\nnode_groups: [{name: gpu, instance_type: g5.xlarge, spot: true}, {name: inf, instance_type: inf2.xlarge}]\n",
	} {
		plan, broken := cluster.Build(parsed(t, text), facts(t, "us-west-2"))
		if len(broken) > 0 {
			t.Fatalf("the plan breaks rules: %+v", broken)
		}
		for _, s := range plan.Steps {
			if s.Do.Chart != nil {
				if found := foreign("values", s.Do.Chart.Values); found != "" {
					t.Errorf("%s, want what JSON has", found)
				}
			}
		}
	}
}
