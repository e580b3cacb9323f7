package eks

import (
	"context"
	"time"

	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"

	"cortex.dev/cortex/internal/fault"
)

// admitPatience is how long the API server of a cluster has to say whether it knows whoever
// asks.
const admitPatience = 10 * time.Second

// admitted refuses whoever has the permissions in AWS and no access to the cluster itself.
// An API server that is not there, or does not answer, refuses nobody: how a cluster is has
// to be told above all when something is wrong with it.
func (a *Account) admitted(ctx context.Context, c *ekstypes.Cluster) error {
	if c == nil || deref(c.Endpoint) == "" {
		return nil
	}
	name := deref(c.Name)
	at, err := a.placeOf(c)
	if err != nil {
		return err
	}
	asked, cancel := context.WithTimeout(ctx, admitPatience)
	defer cancel()
	if _, err := a.kube.Mapped(asked, at); fault.Is(err, fault.Unproven) || fault.Is(err, fault.Forbidden) {
		return fault.New(fault.Forbidden, CodeNotGranted, "%s has no access to cluster %s", a.Caller, name).
			WithHint("an administrator of the cluster gives it: `cortex cluster grant %s --name %s --region %s`", a.Caller, name, a.Region)
	}
	return nil
}
