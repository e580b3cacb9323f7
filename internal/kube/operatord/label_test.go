package operatord

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// TestClearWaitsForTheAPIServer starts a replica while the API server is away: it
// waits, instead of being started again ever more slowly.
func TestClearWaitsForTheAPIServer(t *testing.T) {
	t.Parallel()
	forbidden := apierrors.NewForbidden(corev1.Resource("pods"), "a", errors.New("no role"))
	for _, tt := range []struct {
		name  string
		error error
		times int // that it is given
		want  error
	}{
		{"away for a minute", errors.New("connect: connection refused"), 120, nil},
		{"never away", nil, 0, nil},
		{"not allowed", forbidden, 1, forbidden},
		{"away until the program is to end", errors.New("connect: connection refused"), 1 << 30, context.DeadlineExceeded},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "cortex", Labels: map[string]string{leaderLabel: "true"}}}
				client := fake.NewClientset(pod)
				failed := 0
				client.PrependReactor("patch", "pods", func(clienttesting.Action) (bool, runtime.Object, error) {
					if failed == tt.times {
						return false, nil, nil
					}
					failed++
					return true, nil, tt.error
				})
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				m := podLabel{pods: client.CoreV1().Pods("cortex"), pod: "a", log: slog.New(slog.DiscardHandler)}
				if err := m.clear(ctx); !errors.Is(err, tt.want) {
					t.Errorf("clear() = %v, want %v", err, tt.want)
				}
				after, err := client.CoreV1().Pods("cortex").Get(t.Context(), "a", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				if _, marked := after.Labels[leaderLabel]; marked != (tt.want != nil) {
					t.Errorf("afterwards the label is there: %t, want %t", marked, tt.want != nil)
				}
			})
		})
	}
}
