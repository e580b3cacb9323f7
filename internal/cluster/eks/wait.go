package eks

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	elbtypes "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// healthPatience is how long load balancers are given to see healthy nodes.
const healthPatience = 10 * time.Minute

// awaitTargets waits until each load balancer has a healthy target.
func (r *run) awaitTargets(ctx context.Context, say func(string, ...any)) error {
	text, err := r.value(cluster.Source{Stack: "services", Output: "TargetGroups"})
	if err != nil {
		return err
	}
	began := time.Now()
	for _, group := range listed(text) {
		for {
			healthy, all, why, err := r.targets(ctx, group)
			if err != nil {
				return err
			}
			if healthy > 0 {
				break
			}
			say("waiting for a healthy node behind the load balancers: %d of %d", healthy, all)
			if time.Since(began) > healthPatience {
				return fault.New(fault.Unavailable, CodeNotWhole, "no node behind a load balancer has become healthy in %s: %s", healthPatience, why).
					WithHint("`cortex cluster health` says what is wrong; run the same command again when it is put right")
			}
			if err := pause(ctx, 2*shortestLook); err != nil {
				return err
			}
		}
	}
	return nil
}

// targets counts the targets of a target group, and says what is wrong with one that is not
// healthy.
func (a *Account) targets(ctx context.Context, group string) (healthy, all int, why string, err error) {
	out, err := a.elb.DescribeTargetHealth(ctx, &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &group})
	if is(err, "TargetGroupNotFound") {
		return 0, 0, "there is no such target group", nil
	}
	if err != nil {
		return 0, 0, "", asFault("reading which nodes the load balancers reach", err)
	}
	why = "no node is attached"
	for _, t := range out.TargetHealthDescriptions {
		all++
		if t.TargetHealth == nil {
			continue
		}
		if t.TargetHealth.State == elbtypes.TargetHealthStateEnumHealthy {
			healthy++
			continue
		}
		why = string(t.TargetHealth.State) + " " + deref(t.TargetHealth.Description)
	}
	return healthy, all, why, nil
}
