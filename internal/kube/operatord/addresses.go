package operatord

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"cortex.dev/cortex/internal/serviceaddr"
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
	node := func() string { return serviceaddr.Node(ctx, a.client) }
	if s := a.service(ctx, gatewayService); s != nil {
		url := serviceaddr.Endpoint(s, node)
		a.mu.Lock()
		if url != a.apis {
			a.log.Info("apis are reached", "at", url)
		}
		a.apis = url
		a.mu.Unlock()
	}
	if s := a.service(ctx, operatorPublic); s != nil {
		names := serviceaddr.Hosts(s)
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
