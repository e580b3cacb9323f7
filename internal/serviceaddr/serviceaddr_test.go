package serviceaddr

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestEndpoint(t *testing.T) {
	t.Parallel()
	http := corev1.ServicePort{Name: "http", Port: 80, NodePort: 30080}
	https := corev1.ServicePort{Name: "https", Port: 443, NodePort: 30443}
	odd := corev1.ServicePort{Name: "http", Port: 8080}
	for _, tt := range []struct {
		name    string
		kind    corev1.ServiceType
		ports   []corev1.ServicePort
		ingress []corev1.LoadBalancerIngress
		node    string
		want    string
	}{
		{name: "a load balancer by name", kind: "LoadBalancer", ports: []corev1.ServicePort{http}, ingress: []corev1.LoadBalancerIngress{{Hostname: "lb.example.com"}}, want: "http://lb.example.com"},
		{name: "by address", kind: "LoadBalancer", ports: []corev1.ServicePort{http}, ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}, want: "http://192.0.2.1"},
		{name: "by an address of version 6", kind: "LoadBalancer", ports: []corev1.ServicePort{http}, ingress: []corev1.LoadBalancerIngress{{IP: "2001:db8::1"}}, want: "http://[2001:db8::1]"},
		{name: "with TLS", kind: "LoadBalancer", ports: []corev1.ServicePort{http, https}, ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}, want: "https://192.0.2.1"},
		{name: "at another port", kind: "LoadBalancer", ports: []corev1.ServicePort{odd}, ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}, want: "http://192.0.2.1:8080"},
		{name: "a load balancer that is being made", kind: "LoadBalancer", ports: []corev1.ServicePort{http}},
		{name: "through a node", kind: "NodePort", ports: []corev1.ServicePort{http}, node: "192.0.2.9", want: "http://192.0.2.9:30080"},
		{name: "through no node", kind: "NodePort", ports: []corev1.ServicePort{http}},
		{name: "inside only", kind: "ClusterIP", ports: []corev1.ServicePort{http}, want: "http://cortex-gateway.cortex.svc"},
		{name: "no port that we know", kind: "ClusterIP", ports: []corev1.ServicePort{{Name: "apis", Port: 80}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "cortex-gateway", Namespace: "cortex"}}
			s.Spec.Type, s.Spec.Ports, s.Status.LoadBalancer.Ingress = tt.kind, tt.ports, tt.ingress
			if got := Endpoint(s, func() string { return tt.node }); got != tt.want {
				t.Errorf("Endpoint() = %q, want %q", got, tt.want)
			}
		})
	}
}
