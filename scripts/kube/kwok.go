package main

import (
	"context"
	"os"
)

// The simulator of nodes and pods, for who measures with more of them than fit here.
// It is no part of the node: only `make bench-kube` asks for it.
var simulator = module{name: "kwok", packages: map[string]string{"sigs.k8s.io/kwok/cmd/kwok": "kwok"}}

// kwok builds the simulator beside the programs of the node, unless it is there.
func kwok(ctx context.Context, n *node) error {
	if n.prebuilt {
		if _, err := os.Stat(n.program("kwok")); err == nil {
			return n.step("kwok", func() (string, error) { return "that of " + n.relative(n.programs), nil })
		}
		n.programs = n.path("programs") // whoever built the others did not think of it
	}
	built, err := n.buildModules(ctx, []module{simulator}, "building KWOK: this is done once and takes some minutes, up to ten on two cores")
	if err != nil {
		return err
	}
	if built == 0 {
		return n.step("kwok", func() (string, error) { return "built, in " + n.relative(n.programs), nil })
	}
	return n.giveBack()
}
