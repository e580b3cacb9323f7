package cluster_test

import (
	"fmt"
	"testing"

	"cortex.dev/cortex/internal/cluster"
)

// A cluster that grows is held to what it needs beyond what it has, which AWS counts as used.
func TestGrowth(t *testing.T) {
	t.Parallel()
	f := facts(t, "us-west-2")
	plan := func(gpus int, cidrs int) *cluster.Plan {
		return build(t, parsed(t, fmt.Sprintf("region: us-west-2\napi_load_balancer_cidr_white_list: [%s]\nnode_groups:\n- {name: gpu, instance_type: g5.xlarge, min_instances: %d, max_instances: 9}\n",
			numbered("10.0.%.0/24, ", cidrs), gpus)), f)
	}
	before := plan(2, 1)
	for _, tt := range []struct {
		gpus, cidrs int
		code        string // of the quota that is too small
		need        int64
	}{
		{2, 1, "", 0},
		{1, 1, "", 0},
		{4, 1, "", 0},            // 8 more of 16, of which nothing is used
		{8, 1, "L-DB2E81BA", 24}, // virtual CPUs
		{2, 61, "L-0EA8095F", 61},
	} {
		got := plan(tt.gpus, tt.cidrs).Growth(before)
		if len(got) != min(len(tt.code), 1) || len(got) == 1 && (got[0].Code != tt.code || got[0].Need != tt.need || got[0].State != cluster.QuotaExceeded) {
			t.Errorf("Growth to %d and %d = %+v, want %q", tt.gpus, tt.cidrs, got, tt.code)
		}
	}
}
