package main

import (
	"context"
	"fmt"
	"os"
	"strings"
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
	goTool, err := findGo()
	if err != nil {
		return err
	}
	version, err := command(ctx, goTool, "env", "GOVERSION")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.programs, 0o755); err != nil {
		return fmt.Errorf("making the folder of the programs: %w", err)
	}
	stamp, err := n.stamp(simulator, strings.TrimSpace(version))
	if err != nil {
		return err
	}
	if n.built(simulator, stamp) {
		return n.step("kwok", func() (string, error) { return "built, in " + n.relative(n.programs), nil })
	}
	fmt.Fprintln(n.out, "building KWOK: this is done once and takes some minutes, up to ten on two cores")
	if err := n.step("kwok", func() (string, error) { return n.buildModule(ctx, goTool, simulator, stamp) }); err != nil {
		return err
	}
	return n.giveBack()
}
