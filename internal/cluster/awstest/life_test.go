package awstest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// A cluster comes and goes, and nothing of it is left.
func TestLifeOfACluster(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{"private": privateCluster, "public": "cluster_name: iris\nregion: us-west-2\nnode_groups:\n- {name: cpu, instance_type: m5.large, min_instances: 1}\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				a := awstest.New(awstest.Options{})
				r := newRunner(t, a, a.Root())
				p := planned(t, file)
				began := time.Now()
				r.up(p)
				t.Logf("up: %s, %v", time.Since(began), a.Made())
				began = time.Now()
				for _, s := range r.down(p) {
					t.Errorf("%s is %s: %s\n%v", *s.StackName, s.StackStatus, *s.StackStatusReason, r.events(*s.StackId))
				}
				t.Logf("down: %s", time.Since(began))
				if left := a.Left(); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
			})
		})
	}
}
