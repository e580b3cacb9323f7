package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
)

// status says which parts of the node run, and fails when not all do.
func status(ctx context.Context, n *node) error {
	runs := running()
	if len(runs) == 0 {
		return errors.New("there is no node: make kube-up starts one")
	}
	for _, p := range n.parts() {
		if pid, ok := runs[p.name]; ok {
			fmt.Fprintf(n.out, "%-24s runs as process %d\n", p.name, pid)
		} else {
			fmt.Fprintf(n.out, "%-24s does not run\n", p.name)
		}
	}
	if root := owner(); root != "" {
		fmt.Fprintf(n.out, "%-24s %s\n", "started from", root)
		fmt.Fprintf(n.out, "%-24s %s\n", "kubeconfig", filepath.Join(root, "bin", "kube", "kubeconfig"))
	}
	if len(runs) < len(n.parts()) {
		return errors.New("the node is broken: make kube-up starts it anew")
	}
	if err := n.client(ctx); err != nil {
		return fmt.Errorf("asking the API server: %w", err)
	}
	return nil
}
