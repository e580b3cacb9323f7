package kube

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// addressEvery is how soon the address that a load balancer was given is known.
const addressEvery = 10 * time.Second

// addresses knows where the two public services are reached.
type addresses struct {
	client    kubernetes.Interface
	namespace string
	log       *slog.Logger

	mu    sync.Mutex
	apis  string   // URL; "" while it is not known
	names []string // of the management API
	said  map[string]bool
}

// look reads both services. What cannot be read stays as it was.
func (a *addresses) look(ctx context.Context) {
	node := func() string { return a.node(ctx) }
	if s := a.service(ctx, gatewayService); s != nil {
		url := endpointOf(s, node)
		a.mu.Lock()
		if url != a.apis {
			a.log.Info("apis are reached", "at", url)
		}
		a.apis = url
		a.mu.Unlock()
	}
	if s := a.service(ctx, operatorPublic); s != nil {
		names := hostsOf(s)
		a.mu.Lock()
		a.names = names
		a.mu.Unlock()
	}
}

// run looks now and then until ctx ends, and returns ctx's error.
func (a *addresses) run(ctx context.Context) error {
	tick := time.NewTicker(addressEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			a.look(ctx)
		}
	}
}

// endpoint is where APIs are reached, "" when nobody knows yet.
func (a *addresses) endpoint() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.apis
}

// operatorNames are the addresses of the management API's load balancer.
func (a *addresses) operatorNames() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.names
}

func (a *addresses) service(ctx context.Context, name string) *corev1.Service {
	s, err := a.client.CoreV1().Services(a.namespace).Get(ctx, name, metav1.GetOptions{})
	if err == nil {
		return s
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() == nil && !a.said[name] {
		if a.said == nil {
			a.said = map[string]bool{}
		}
		a.said[name] = true
		a.log.Warn("the address of a service is not known", "service", name, "error", err)
	}
	return nil
}

// node is an address of some node, for services that are reached through nodes.
func (a *addresses) node(ctx context.Context) string {
	nodes, err := a.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(nodes.Items) == 0 {
		return ""
	}
	best := ""
	for _, address := range nodes.Items[0].Status.Addresses {
		if address.Type == corev1.NodeExternalIP || address.Type == corev1.NodeInternalIP && best == "" {
			best = address.Address
		}
	}
	return best
}

// hostsOf are the host names and addresses that a load balancer was given.
func hostsOf(s *corev1.Service) []string {
	var hosts []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		if host := cmp.Or(in.Hostname, in.IP); host != "" {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// endpointOf is the URL under which a service is reached from outside, "" while it
// is under none. Its ports are named by their scheme; https is preferred.
func endpointOf(s *corev1.Service, node func() string) string {
	var port corev1.ServicePort
	for _, p := range s.Spec.Ports {
		if p.Name == "https" || p.Name == "http" && port.Name == "" {
			port = p
		}
	}
	if port.Name == "" {
		return ""
	}
	host, number := "", port.Port
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		if in := s.Status.LoadBalancer.Ingress; len(in) > 0 {
			host = cmp.Or(in[0].Hostname, in[0].IP)
		}
	case corev1.ServiceTypeNodePort:
		host, number = node(), port.NodePort
	default:
		host = s.Name + "." + s.Namespace + ".svc"
	}
	switch {
	case host == "" || number == 0:
		return ""
	case port.Name == "http" && number == 80 || port.Name == "https" && number == 443:
		if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
			host = "[" + host + "]"
		}
		return port.Name + "://" + host
	}
	return port.Name + "://" + net.JoinHostPort(host, strconv.Itoa(int(number)))
}
