package install

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/template"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"cortex.dev/cortex/internal/fault"
)

//go:embed nodeaddons/*.yaml
var nodeAddonFiles embed.FS

// NodeAddons is what the nodes of a cluster on AWS need beside the chart, which is for any
// cluster: what adds and removes them, and what tells of their devices.
type NodeAddons struct {
	Cluster, Region string
	Groups          map[string][]string // patterns of scaling groups by priority
	Devices         []string            // resources of devices that nodes have, such as nvidia.com/gpu
	Images          map[string]string   // other images, by cluster_autoscaler, nvidia_device_plugin and neuron_device_plugin
}

// Images of add-ons where nobody names others. That of the autoscaler has the version of
// the cluster.
const (
	autoscalerImage = "registry.k8s.io/autoscaling/cluster-autoscaler:v%s.0"
	nvidiaImage     = "nvcr.io/nvidia/k8s-device-plugin:v0.17.1"
	neuronImage     = "public.ecr.aws/neuron/neuron-device-plugin:2.22.4.0"
)

const addonManager = "cortex-cluster"

// ApplyNodeAddons writes the objects of the add-ons. It may be done again.
func ApplyNodeAddons(ctx context.Context, cfg Config, n NodeAddons) error {
	w, err := begin(cfg)
	if err != nil {
		return err
	}
	v, err := w.clients.Discovery().ServerVersion()
	if err != nil {
		return asFault("asking the cluster for its version", err)
	}
	objects, err := n.objects(strings.TrimSuffix(v.Major+"."+v.Minor, "+"))
	if err != nil {
		return err
	}
	for _, u := range objects {
		at, err := w.resourceOf(u)
		if err != nil {
			return asFault("writing "+describe(u), err)
		}
		if at == nil {
			return fault.New(fault.Unsupported, "install.unknown_kind", "the cluster does not know the kind of %s", describe(u))
		}
		if _, err := at.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: addonManager, Force: true}); err != nil {
			return asFault("writing "+describe(u), err)
		}
	}
	return nil
}

// objects are those of the autoscaler, and of each plugin for devices that there are.
func (n NodeAddons) objects(version string) ([]*unstructured.Unstructured, error) {
	type priority struct {
		Priority int
		Patterns []string
	}
	var priorities []priority
	for text, patterns := range n.Groups {
		p, err := strconv.Atoi(text)
		if err != nil {
			return nil, fmt.Errorf("priority %q of groups of nodes: %w", text, err)
		}
		priorities = append(priorities, priority{p, patterns})
	}
	slices.SortFunc(priorities, func(a, b priority) int { return cmp.Compare(a.Priority, b.Priority) })
	image := func(key, otherwise string) string { return cmp.Or(n.Images[key], otherwise) }
	values := map[string]any{
		"Cluster": n.Cluster, "Region": n.Region, "Priorities": priorities,
		"Autoscaler": image("cluster_autoscaler", fmt.Sprintf(autoscalerImage, version)),
		"NVIDIA":     image("nvidia_device_plugin", nvidiaImage),
		"Neuron":     image("neuron_device_plugin", neuronImage),
	}
	names := []string{"cluster-autoscaler"}
	for _, device := range n.Devices {
		names = append(names, strings.ReplaceAll(device, "/", "-"))
	}
	var all []*unstructured.Unstructured
	for _, name := range names {
		t, err := template.ParseFS(nodeAddonFiles, "nodeaddons/"+name+".yaml")
		if err != nil {
			return nil, fmt.Errorf("there is no add-on for %s: %w", name, err)
		}
		var text bytes.Buffer
		if err := t.Execute(&text, values); err != nil {
			return nil, err
		}
		objects, err := decode(text.String())
		if err != nil {
			return nil, err
		}
		all = append(all, objects...)
	}
	return all, nil
}
