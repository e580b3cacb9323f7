// Package serviceaddr says where a Service of Kubernetes is reached from outside the
// cluster: by a load balancer, or through a node.
//
// It promises the same answer to the operator, which tells users, and to the
// installer, which told them first. It must not write anything.
package serviceaddr

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Node is an address of some node, for services that are reached through nodes; ""
// when nodes may not be looked at.
func Node(ctx context.Context, client kubernetes.Interface) string {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
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

// Hosts are the host names and addresses that a load balancer was given.
func Hosts(s *corev1.Service) []string {
	var hosts []string
	for _, in := range s.Status.LoadBalancer.Ingress {
		if host := cmp.Or(in.Hostname, in.IP); host != "" {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// Endpoint is the URL under which a service is reached from outside, "" while it
// is under none. Its ports are named by their scheme; https is preferred.
func Endpoint(s *corev1.Service, node func() string) string {
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
