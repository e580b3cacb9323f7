package install

import (
	"context"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Objects of the chart and of the operator that are read here.
const (
	authorityMap    = "cortex-authority"
	fingerprintKey  = "fingerprint" // of the certificate that clients see
	operatorService = "cortex-operator-lb"
	gatewayService  = "cortex-gateway"
)

// info reads what users need to know. What is not known yet is empty.
func (w *work) info(ctx context.Context) (Info, error) {
	info := Info{Namespace: w.cfg.Namespace, APIsNamespace: w.apisNamespace(), ClusterName: w.text("cortex", "clusterName")}
	last, err := w.lastRelease()
	if err != nil {
		return info, err
	}
	if last != nil {
		info.Version = last.Chart.AppVersion()
	}
	node := w.nodeAddress(ctx)
	if info.Endpoint, err = w.address(ctx, operatorService, node); err != nil {
		return info, err
	}
	if info.APIs, err = w.address(ctx, gatewayService, node); err != nil {
		return info, err
	}
	if told := w.text("", "apis", "endpoint"); told != "" {
		info.APIs = told
	}
	found, err := w.clients.CoreV1().ConfigMaps(w.cfg.Namespace).Get(ctx, authorityMap, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return info, nil
	case err != nil:
		return info, asFault("reading the authority of the operator", err)
	}
	info.Fingerprint = found.Data[fingerprintKey]
	return info, nil
}

func (w *work) address(ctx context.Context, service, node string) (string, error) {
	s, err := w.clients.CoreV1().Services(w.cfg.Namespace).Get(ctx, service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", asFault("reading service "+service, err)
	}
	return endpointOf(s, node), nil
}

// endpointOf returns where a service is reached from outside, "" if nowhere yet. Its
// ports are named by their scheme; https is preferred.
func endpointOf(s *corev1.Service, node string) string {
	var port corev1.ServicePort
	for _, p := range s.Spec.Ports {
		if p.Name == "https" || p.Name == "http" && port.Name == "" {
			port = p
		}
	}
	scheme := port.Name
	host, number := "", port.Port
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		for _, in := range s.Status.LoadBalancer.Ingress {
			if host == "" {
				host = in.Hostname
			}
			if host == "" {
				host = in.IP
			}
		}
	case corev1.ServiceTypeNodePort:
		host, number = node, port.NodePort
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName:
		host = s.Name + "." + s.Namespace + ".svc"
	}
	switch {
	case host == "" || number == 0:
		return ""
	case scheme == "https" && number == 443 || scheme == "http" && number == 80:
		if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
			host = "[" + host + "]"
		}
		return scheme + "://" + host
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(int(number)))
}

// nodeAddress is an address of some node, for services that are reached through
// nodes; "" when nodes may not be looked at.
func (w *work) nodeAddress(ctx context.Context) string {
	nodes, err := w.clients.CoreV1().Nodes().List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil || len(nodes.Items) == 0 {
		return ""
	}
	best := ""
	for _, a := range nodes.Items[0].Status.Addresses {
		if a.Type == corev1.NodeExternalIP || a.Type == corev1.NodeInternalIP && best == "" {
			best = a.Address
		}
	}
	return best
}
