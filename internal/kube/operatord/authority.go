package operatord

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// publishEvery is how soon a changed certificate, or a map that somebody removed, is
// noticed.
const publishEvery = 10 * time.Second

// publisher keeps the ConfigMap from which gateways, and those who configure
// clients, learn whom to trust. There is nothing secret in it.
type publisher struct {
	maps typedcorev1.ConfigMapInterface
	text func() map[string]string // what it should say
	log  *slog.Logger
}

// run publishes until ctx ends, and returns ctx's error.
func (p *publisher) run(ctx context.Context) error {
	tick := time.NewTicker(publishEvery)
	defer tick.Stop()
	said := ""
	for {
		err := p.publish(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			said = ""
		case err.Error() != said:
			said = err.Error()
			p.log.Warn("gateways and clients may not learn whom to trust", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// publish makes the map say what it should, and leaves other keys alone.
func (p *publisher) publish(ctx context.Context) error {
	want := p.text()
	found, err := p.maps.Get(ctx, authorityMap, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		_, err = p.maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: authorityMap}, Data: want}, metav1.CreateOptions{})
	case err == nil:
		changed := false
		if found.Data == nil {
			found.Data = map[string]string{}
		}
		for key, text := range want {
			changed = changed || found.Data[key] != text
			found.Data[key] = text
		}
		if changed {
			_, err = p.maps.Update(ctx, found, metav1.UpdateOptions{})
		}
	}
	if err != nil {
		return fmt.Errorf("publishing %s: %w", authorityMap, err)
	}
	return nil
}
