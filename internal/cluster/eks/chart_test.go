package eks

import (
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// What only stacks know reaches the chart: the certificate of the operator has the name by
// which its load balancer is reached.
func TestChartHearsOfLoadBalancers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		if err := w.up(t.Context()); err != nil {
			t.Fatal(err)
		}
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s, err := a.Info(t.Context(), "iris")
		if err != nil {
			t.Fatal(err)
		}
		values := w.kube.applied[len(w.kube.applied)-1].Values
		operator, _ := values["operator"].(map[string]any)
		apis, _ := values["apis"].(map[string]any)
		got := map[string]any{"tls": operator["tls"], "nodePort": operator["loadBalancer"].(map[string]any)["nodePort"], "apis": apis["endpoint"]}
		want := map[string]any{"tls": map[string]any{"names": []any{s.Operator[len("https://"):]}}, "nodePort": 30443, "apis": s.APIs}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the values of the chart differ (-want +got):\n%s", diff)
		}
	})
}
