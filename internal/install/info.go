package install

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/serviceaddr"
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
	if info.Endpoint, err = w.address(ctx, operatorService); err != nil {
		return info, err
	}
	if info.APIs, err = w.address(ctx, gatewayService); err != nil {
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

func (w *work) address(ctx context.Context, service string) (string, error) {
	s, err := w.clients.CoreV1().Services(w.cfg.Namespace).Get(ctx, service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", asFault("reading service "+service, err)
	}
	return w.endpoint(ctx, s), nil
}

// endpoint is where s is reached from outside, "" if nowhere yet.
func (w *work) endpoint(ctx context.Context, s *corev1.Service) string {
	return serviceaddr.Endpoint(s, func() string { return serviceaddr.Node(ctx, w.clients) })
}
