package eks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
)

// kube is a Kubernetes on which everything goes well unless told otherwise. It is not
// AWS, which the simulator is; what it is on a real one is package install's tests'.
type kube struct {
	mu       sync.Mutex
	applied  []*cluster.Chart
	released int
	mapped   []Mapping
	fail     error // of Release
	holding  []string
	missing  []string
	sick     error // of Health
	version  string
	aws      *awstest.Account
	drained  []string
	stuck    error // of Drain
	deaf     bool  // hears of no node
}

func (k *kube) Version() string { return k.version }

func (k *kube) Missing(_ context.Context, at Place, chart *cluster.Chart, version string) ([]string, string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at.Cluster == "" || chart == nil || version == "" {
		return nil, "", fmt.Errorf("nobody knows what is to be asked for: %+v, Kubernetes %q", at, version)
	}
	return slices.Clone(k.missing), "", nil
}

func (k *kube) Apply(_ context.Context, at Place, chart *cluster.Chart, _ func(string)) (Applied, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if at.Endpoint == "" || len(at.Authority) == 0 {
		return Applied{}, fmt.Errorf("no way to the API server: %+v", at)
	}
	k.applied = append(k.applied, chart)
	return Applied{Version: k.version, Authority: "-----BEGIN CERTIFICATE-----"}, nil
}

func (k *kube) Release(context.Context, Place, func(string)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.released++
	return k.fail
}

func (k *kube) Holding(context.Context, Place) ([]string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.holding), nil
}

func (k *kube) Nodes(context.Context, Place) (map[string]bool, error) {
	all := map[string]bool{}
	for _, id := range k.aws.Joined("iris") {
		all[id] = !k.deaf
	}
	return all, nil
}

func (k *kube) Drain(_ context.Context, _ Place, ids []string, _ func(string)) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drained = append(k.drained, ids...)
	return k.stuck
}

func (k *kube) Health(context.Context, Place) ([]cluster.Check, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return []cluster.Check{{Name: "operator", OK: true, Text: "one leads"}}, k.sick
}

func (k *kube) Mapped(context.Context, Place) ([]Mapping, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.mapped), nil
}

func (k *kube) Unmap(_ context.Context, _ Place, gone []Mapping) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mapped = slices.DeleteFunc(k.mapped, func(m Mapping) bool {
		return slices.ContainsFunc(gone, func(g Mapping) bool { return g.ARN == m.ARN })
	})
	return nil
}

// world is an account of AWS, a configuration, and somebody who may do what the published
// minimum policy allows.
type world struct {
	t      *testing.T
	aws    *awstest.Account
	key    awstest.Key
	kube   *kube
	config *cluster.Config
	wrap   func(aws.HTTPClient) aws.HTTPClient // what is around the way to AWS; nil: nothing

	mu     sync.Mutex
	events []cluster.Event
	env    []string // what the client was told
}

const account, region = "111122223333", "us-west-2"

// minimum is the published minimum policy for a cluster.
func minimum(t *testing.T, name string) string {
	t.Helper()
	return cluster.NamesOf(name, account, region).MinimumPolicy()
}

func newWorld(t *testing.T, change func(*cluster.Config)) *world {
	t.Helper()
	c := cluster.NewConfig()
	c.ClusterName, c.Region = "iris", region
	g := cluster.NewNodeGroup()
	g.Name, g.InstanceType = "cpu", "m5.large"
	c.NodeGroups = []cluster.NodeGroup{g}
	if change != nil {
		change(c)
	}
	c.Default()
	a := awstest.New(awstest.Options{Account: account, Region: region})
	w := &world{t: t, aws: a, kube: &kube{version: "1.0.0", aws: a}, config: c}
	w.key = a.AddUser("alice", minimum(t, c.ClusterName))
	return w
}

func (w *world) open(ctx context.Context) (*Account, error) {
	cfg := w.aws.Config(w.key)
	if w.wrap != nil {
		cfg.HTTPClient = w.wrap(cfg.HTTPClient)
	}
	return Open(ctx, cfg, w.kube)
}

func (w *world) run() cluster.Run {
	return cluster.Run{
		Machine: "laptop",
		Events: func(e cluster.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
		Environment: func(_ context.Context, name, endpoint, authority string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.env = append(w.env, name+" "+endpoint)
			if authority == "" {
				return fmt.Errorf("environment %s has no authority", name)
			}
			return nil
		},
	}
}

// plan reads the facts and plans, as `cluster up` does.
func (w *world) plan(ctx context.Context, a *Account) (*cluster.Facts, *cluster.Plan, error) {
	facts, err := a.Facts(ctx, w.config)
	if err != nil {
		return nil, nil, err
	}
	c, facts, err := a.Pin(ctx, w.config, facts)
	if err != nil {
		return nil, nil, err
	}
	plan, broken := cluster.Build(c, facts)
	if len(broken) > 0 {
		return nil, nil, fmt.Errorf("the plan breaks rules: %+v", broken)
	}
	return facts, plan, nil
}

// up is a whole run of `cluster up`.
func (w *world) up(ctx context.Context) error {
	a, err := w.open(ctx)
	if err != nil {
		return err
	}
	facts, plan, err := w.plan(ctx, a)
	if err != nil {
		return err
	}
	return a.Up(ctx, w.config, facts, plan, w.run())
}

// down is a whole run of `cluster down`.
func (w *world) down(ctx context.Context) ([]cluster.Verified, error) {
	a, err := w.open(ctx)
	if err != nil {
		return nil, err
	}
	return a.Down(ctx, w.config.ClusterName, false, w.run())
}

// left are the names of everything that was found.
func left(found []cluster.Verified) (all []string) {
	for _, v := range found {
		if v.Unknown != "" {
			all = append(all, v.What+": "+v.Unknown)
		}
		for _, l := range v.Left {
			all = append(all, l.What+" "+l.Name)
		}
	}
	return all
}
