// Package drainerd is what has the pods of APIs leave a node of a mixed group before AWS ends it: the groups that
// EKS manages do that by themselves, these do not.
//
// It promises to touch only the node that it is told, and only once the machine is to end.
package drainerd

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/client-go/kubernetes"

	"cortex.dev/cortex/internal/kube/drain"
	"cortex.dev/cortex/internal/kube/program"
)

// Name is the word by which cortex-operator becomes this program.
const Name = "drainer"

const usage = `usage: cortex-operator drainer --node NAME --namespace NAMESPACE [flags]

Has the pods of APIs leave a node before AWS ends it.

  --node NAME            the node that this machine is
  --namespace NAMESPACE  that of APIs
  --metadata URL         instance metadata (default http://169.254.169.254)
  --kubeconfig FILE      how to reach the API server, outside a cluster
`

// metadataAddress is where EC2 has it on every machine.
const metadataAddress = "http://169.254.169.254"

// Main runs the program until ctx ends, and returns the code to exit with.
func Main(ctx context.Context, args []string, streams program.Streams, version string) int {
	return program.Exit(run(ctx, args, streams, version), streams, "cortex-operator "+Name, usage)
}

func run(ctx context.Context, args []string, streams program.Streams, version string) error {
	flags := program.NewFlags(Name)
	node := flags.Set.String("node", "", "")
	namespace := flags.Set.String("namespace", "", "")
	base := flags.Set.String("metadata", metadataAddress, "")
	kubeconfig := flags.Set.String("kubeconfig", "", "")
	if err := flags.Parse(args); err != nil {
		return err
	}
	flags.Name("--node", *node)
	flags.Name("--namespace", *namespace)
	if err := flags.Fault(); err != nil {
		return err
	}
	cfg, err := program.RESTConfig(*kubeconfig, "cortex-drainer", version)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	w := &watcher{
		node: *node, namespace: *namespace, client: client, log: program.LogTo(streams),
		metadata: &metadata{base: *base, http: &http.Client{Transport: &http.Transport{}}}, // no proxy: it is this machine
	}
	w.run(ctx)
	return nil
}

// watcher looks whether its machine is to end.
type watcher struct {
	node      string
	namespace string // of APIs: no other pods are asked to go
	client    kubernetes.Interface
	metadata  *metadata
	log       *slog.Logger
}

const (
	// askEvery is what AWS recommends.
	askEvery = 5 * time.Second
	// unasked is how long before the end budgets are no longer respected: then what is left is
	// told to end, because it ends anyway.
	unasked = 30 * time.Second
	// lastGrace is what pods get then.
	lastGrace = 20 * time.Second
)

// run asks until the machine is to end, and empties the node then. After that there is nothing
// left to do: the machine goes.
func (w *watcher) run(ctx context.Context) {
	w.log.Info("watching", "node", w.node)
	said := ""
	for {
		e, is, err := w.metadata.ending(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case is:
			w.empty(ctx, e)
			<-ctx.Done()
			return
		case err != nil && err.Error() != said:
			said = err.Error()
			w.log.Warn("nobody says whether this machine is to end", "error", err)
		case err == nil:
			said = ""
		}
		if !sleep(ctx, askEvery) {
			return
		}
	}
}

// empty empties the node by the end of its machine.
func (w *watcher) empty(ctx context.Context, e end) {
	w.log.Info("emptying the node", "node", w.node, "why", e.why, "by", e.at)
	ctx, cancel := context.WithDeadline(ctx, e.at)
	defer cancel()
	for {
		err := drain.Node(ctx, w.client, w.node, drain.Options{
			Namespace: w.namespace, Force: e.at.Add(-unasked), Grace: lastGrace, Say: func(text string) { w.log.Info("waiting", "for", text) },
		})
		if err == nil {
			w.log.Info("the node is empty", "node", w.node)
			return
		}
		w.log.Warn("the node is not empty", "node", w.node, "error", err)
		if !sleep(ctx, time.Second) {
			return
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
