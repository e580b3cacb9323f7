package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// How many items are submitted on Kubernetes.
const kubeItems = 60

// itemsOutliveGateways submits work, kills every gateway in the middle of it, and shows that
// nothing is lost.
func (d *kubeDemo) itemsOutliveGateways(ctx context.Context) error {
	d.title("An AsyncAPI: what is accepted is kept, and done whatever dies")
	path := filepath.Join(d.home, "later.yaml")
	text := fmt.Sprintf("- name: later\n  kind: AsyncAPI\n  pod:\n    max_concurrency: 2\n    containers: [{name: api, image: %q}]\n", d.IrisImage)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "deploy", path); err != nil {
		return err
	}
	url, err := d.endpointOf(ctx, "later")
	if err != nil {
		return err
	}
	d.say("Submitting %d items, and killing every gateway after the first half.", kubeItems)
	accepted := map[string]bool{}
	for i := range kubeItems {
		if i == kubeItems/2 {
			if err := d.kubectl(ctx, "delete", "pods", "--namespace", "cortex", "--selector", "app.kubernetes.io/name=gateway", "--grace-period", "0", "--force"); err != nil {
				return err
			}
		}
		id, err := d.submitted(ctx, url, i)
		if err != nil {
			return err
		}
		accepted[id] = true
	}
	late := time.After(time.Minute)
	for {
		ended, twice, err := d.endedOf(ctx, accepted)
		switch {
		case err != nil:
			return err
		case ended == kubeItems:
			// An item that a gateway had begun to hand to a replica when it was killed is executed
			// again, which its attempts say: interrupted, gateway_lost.
			d.say("All %d have succeeded; %d of them had to be executed again.", ended, twice)
			return d.show(ctx, cortexBin, "items", "later", "--limit", "5")
		}
		select {
		case <-late:
			return fmt.Errorf("%d of %d items have ended after a minute", ended, kubeItems)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// submitted submits one item, again while there is no gateway: by its key it is one.
func (d *kubeDemo) submitted(ctx context.Context, url string, n int) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body := fmt.Sprintf(`{"sepal_length": 5.%d, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}`, n%10)
	for {
		if id, err = post(ctx, url, body, fmt.Sprintf("demo-%d-%d", os.Getpid(), n)); err == nil {
			return id, nil
		}
		select {
		case <-ctx.Done():
			return "", err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// endedOf counts which of these items have succeeded, and how many took more than one
// execution.
func (d *kubeDemo) endedOf(ctx context.Context, ids map[string]bool) (ended, twice int, err error) {
	out, err := d.output(ctx, cortexBin, "items", "later", "--limit", "1000", "-o", "json")
	if err != nil {
		return 0, 0, err
	}
	var list []struct {
		ID, State string
		Attempts  []struct{ N int }
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return 0, 0, err
	}
	for _, i := range list {
		if ids[i.ID] && i.State == "succeeded" {
			ended++
			if len(i.Attempts) > 1 {
				twice++
			}
		}
	}
	return ended, twice, nil
}
