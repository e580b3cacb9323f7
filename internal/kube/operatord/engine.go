package operatord

import (
	"fmt"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/engine"
	enginekube "cortex.dev/cortex/internal/engine/kube"
)

// newEngine runs replicas as pods, spread over the zones of the nodes that p.room knows;
// nil knows none.
func (p *operatorProgram) newEngine() (engine.Engine, error) {
	pods := podsOf(p.cfg)
	if p.room != nil {
		pods.Zones = p.room.Zones
	}
	return enginekube.New(enginekube.Config{REST: p.rest, Pods: pods, InFlight: p.inFlight, Log: p.cfg.Log})
}

// inFlight is how many requests each replica of a workload works on; nil when this
// replica of the operator does not lead, and hears no gateways.
func (p *operatorProgram) inFlight(workload string) map[string]int {
	loads := p.loads.Load()
	if loads == nil {
		return nil
	}
	return loads.InFlight(workload)
}

// newRoom knows which of these pods could ever be placed.
func newRoom(cfg *rest.Config, c Config) (*enginekube.Room, error) {
	return enginekube.NewRoom(enginekube.RoomConfig{
		REST: cfg, Pods: podsOf(c), Largest: c.LargestNodes, Reserve: c.NodeReserve, Log: c.Log,
	})
}

func podsOf(c Config) enginekube.PodConfig {
	pods := enginekube.PodConfig{
		SidecarCPU: *resource.NewMilliQuantity(c.SidecarSize.CPU, resource.DecimalSI), SidecarMem: *resource.NewQuantity(c.SidecarSize.Mem, resource.BinarySI),
		Namespace: c.Namespace, SidecarImage: c.SidecarImage, Version: c.Version, PullSecrets: c.PullSecrets, Unconfined: c.Unconfined,
		Restricted: c.PodSecurity == "restricted",
		// Without the domain of the cluster, which pods know and this program does not.
		APIEndpoint: fmt.Sprintf("http://%s.%s.svc", gatewayService, c.SystemNamespace),
		PullPolicy:  corev1.PullPolicy(c.PullPolicy), SidecarPull: corev1.PullPolicy(c.PullPolicy),
		Traces: enginekube.Traces{Endpoint: c.Traces.Endpoint, Ratio: c.Traces.Ratio, Cluster: c.ClusterName},
	}
	for _, g := range c.NodeGroups {
		pods.NodeGroups = append(pods.NodeGroups, enginekube.NodeGroup(g))
	}
	return pods
}
