package main

import (
	"context"
	"fmt"
	"net"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// applyDNS makes the Service kube-dns, as every cluster has it, in front of the
// CoreDNS that runs on the node itself, and lets that one read what it serves.
func (n *node) applyDNS(ctx context.Context) error {
	client, err := n.clientset()
	if err != nil {
		return err
	}
	for _, create := range []func(context.Context, kubernetes.Interface) error{createRole, createBinding, createService, n.createSlice} {
		if err := create(ctx, client); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("setting up DNS: %w", err)
		}
	}
	return nil
}

const dnsRole = "system:coredns"

func createRole(ctx context.Context, client kubernetes.Interface) error {
	watch := []string{"get", "list", "watch"}
	_, err := client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: dnsRole},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"endpoints", "services", "pods", "namespaces"}, Verbs: watch},
			{APIGroups: []string{"discovery.k8s.io"}, Resources: []string{"endpointslices"}, Verbs: watch},
		},
	}, metav1.CreateOptions{})
	return err //nolint:wrapcheck // applyDNS says what it was for
}

func createBinding(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: dnsRole},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: dnsRole},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: dnsRole}},
	}, metav1.CreateOptions{})
	return err //nolint:wrapcheck // applyDNS says what it was for
}

func createService(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().Services(metav1.NamespaceSystem).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-dns", Labels: map[string]string{"k8s-app": "kube-dns"}},
		Spec: corev1.ServiceSpec{ClusterIP: dnsAddr, Ports: []corev1.ServicePort{
			{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "dns-tcp", Port: 53, Protocol: corev1.ProtocolTCP},
		}},
	}, metav1.CreateOptions{})
	return err //nolint:wrapcheck // applyDNS says what it was for
}

func (n *node) createSlice(ctx context.Context, client kubernetes.Interface) error {
	port := int32(n.port + portDNS) //nolint:gosec // a port
	udp, tcp, udpName, tcpName := corev1.ProtocolUDP, corev1.ProtocolTCP, "dns", "dns-tcp"
	_, err := client.DiscoveryV1().EndpointSlices(metav1.NamespaceSystem).Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "kube-dns", Labels: map[string]string{discoveryv1.LabelServiceName: "kube-dns"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{bridgeAddr}}},
		Ports: []discoveryv1.EndpointPort{
			{Name: &udpName, Port: &port, Protocol: &udp}, {Name: &tcpName, Port: &port, Protocol: &tcp},
		},
	}, metav1.CreateOptions{})
	return err //nolint:wrapcheck // applyDNS says what it was for
}

// askDNS asks, as a pod would, where the API server is.
func (n *node) askDNS(ctx context.Context) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, net.JoinHostPort(dnsAddr, "53"))
	}}
	addresses, err := resolver.LookupHost(ctx, "kubernetes.default.svc.cluster.local.")
	if err != nil {
		return fmt.Errorf("asking DNS: %w", err)
	}
	if len(addresses) != 1 || addresses[0] != apiAddr {
		return fmt.Errorf("DNS says that the API server is at %v, not at %s", addresses, apiAddr)
	}
	return nil
}
