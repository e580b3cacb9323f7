package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"cortex.dev/cortex/examples/iris/classifier"
)

func (d *demo) build(ctx context.Context) error {
	d.title("Build the command line, and the example's server and load generator")
	if err := d.show(ctx, "go", "build", "-o", cortexBin, "./cmd/cortex"); err != nil {
		return err
	}
	return d.show(ctx, "go", "build", "-o", "examples/iris/bin/", "./examples/iris/server", "./examples/iris/load")
}

func (d *demo) start(ctx context.Context) error {
	d.title("Start the local environment: no cloud, no Docker")
	d.say("(on a free port and in a folder of its own, so that it cannot meet yours; it looks at the load")
	d.say("every second, so that you can watch)")
	return d.show(ctx, cortexBin, "local", "start", "--api-port", "0", "--autoscaling-tick", "1s")
}

func (d *demo) deploy(ctx context.Context) error {
	d.title("Deploy a model")
	if err := d.show(ctx, cortexBin, "deploy", "examples/iris/cortex.yaml"); err != nil {
		return err
	}
	api, err := d.get(ctx)
	d.url = api.Endpoint
	return err
}

func (d *demo) ask(ctx context.Context) error {
	d.title("Ask it about three flowers")
	if err := d.show(ctx, cortexBin, "predict", "iris", "examples/iris/flowers.json"); err != nil {
		return err
	}
	d.title("Ask it about every flower that was held out of its training, over HTTP")
	return d.judge(ctx, "v1")
}

// underLoad scales, updates and goes back while requests keep coming.
func (d *demo) underLoad(ctx context.Context) error {
	d.title("Put it under load, and watch it scale")
	load := []string{"-connections", "16", "-for", "2m", "-flowers", "examples/iris/flowers.json", d.url}
	d.typed(loadBin, append(load, "&")...)
	var counted bytes.Buffer
	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	cmd := d.command(loadCtx, loadBin, load...)
	cmd.Stdout, cmd.Stderr = &counted, &counted
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting the load: %w", err)
	}
	err := d.changes(ctx)
	stopLoad()            // an interrupt: the load finishes what it has begun, and counts
	waitErr := cmd.Wait() // says that it was interrupted even when it ended well
	loaded := cmd.ProcessState
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.title("What the callers saw of all that")
	fmt.Fprint(d.out, counted.String())
	switch {
	case err != nil:
		return err
	case loaded == nil || !loaded.Success():
		return fmt.Errorf("requests failed while it was updated or rolled back: %w", waitErr)
	case !strings.Contains(counted.String(), ", 0 failed, "):
		return errors.New("the load generator counted no requests")
	}
	return nil
}

func (d *demo) changes(ctx context.Context) error {
	const enough = 3
	if err := d.await(ctx, "replicas to follow the load", func(a api) bool { return a.Status.Ready >= enough }); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "get"); err != nil {
		return err
	}
	d.title("What happened, and why")
	if err := d.show(ctx, cortexBin, "events", "iris"); err != nil {
		return err
	}
	d.title("Update it to a better model, under the same load")
	if err := d.show(ctx, cortexBin, "deploy", d.updated); err != nil {
		return err
	}
	if err := d.judge(ctx, "v2"); err != nil {
		return err
	}
	d.title("Go back to the one before, still under load")
	if err := d.show(ctx, cortexBin, "rollback", "iris"); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "history", "iris")
}

func (d *demo) lookInside(ctx context.Context) error {
	d.title("Look inside")
	if err := d.show(ctx, cortexBin, "logs", "iris", "--tail", "4"); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "explain", "iris")
}

func (d *demo) cleanUp(ctx context.Context) error {
	d.title("Take it away again")
	if err := d.show(ctx, cortexBin, "delete", "iris", "--force"); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "local", "stop")
}

func (d *demo) farewell(took time.Duration) {
	d.title(fmt.Sprintf("That was all, in %d seconds. Nothing is left running. Now you:", int(took.Seconds())))
	d.say(`
  export PATH="$PWD/bin:$PATH"
  cortex deploy examples/iris/cortex.yaml            # starts your own local environment
  cortex predict iris examples/iris/flowers.json
  cortex get iris
  cortex dashboard                                   # all of it in the browser; cortex top in the terminal
  cortex delete iris && cortex local stop

  examples/README.md   what else to deploy        docs/README.md   the user guide`)
}

// api is what the demo reads of "cortex get -o json".
type api struct {
	Endpoint string
	Status   struct{ Ready, Requested int }
}

func (d *demo) get(ctx context.Context) (api, error) { return d.getOf(ctx, "iris") }

// getOf is what an API is now: the environment may have got another port, too.
func (d *demo) getOf(ctx context.Context, name string) (api, error) {
	out, err := d.output(ctx, cortexBin, "get", name, "-o", "json")
	if err != nil {
		return api{}, err
	}
	var apis []api
	if err := json.Unmarshal([]byte(out), &apis); err != nil || len(apis) != 1 {
		return api{}, fmt.Errorf("cortex get %s -o json does not describe one api: %s", name, out)
	}
	return apis[0], nil
}

func (d *demo) await(ctx context.Context, what string, wanted func(api) bool) error {
	return d.awaitOf(ctx, "iris", what, wanted)
}

// awaitOf asks until the API is as wanted, for at most half a minute.
func (d *demo) awaitOf(ctx context.Context, name, what string, wanted func(api) bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("waited half a minute for "+what))
	defer cancel()
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := d.getOf(ctx, name)
		if err == nil && wanted(a) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// judge asks about the held-out flowers one by one and counts right answers; all
// of them must come from the named model.
func (d *demo) judge(ctx context.Context, model string) error {
	flowers, err := classifier.ReadCSV("examples/iris/held-out.csv")
	if err != nil {
		return err
	}
	right := 0
	for i, f := range flowers {
		species, by, err := d.predict(ctx, f)
		if err != nil {
			return err
		}
		if by != model {
			return fmt.Errorf("model %s answered, want %s", by, model)
		}
		if species == f.Species {
			right++
		}
		if i%9 == 0 { // some of each species
			d.say("  sepal %.1f × %.1f, petal %.1f × %.1f cm: predicted %-10s  truly %s", f.Measurements[0],
				f.Measurements[1], f.Measurements[2], f.Measurements[3], species, f.Species)
		}
	}
	d.say("  model %s is right about %d of %d flowers that it never saw (%.0f %%)", model, right, len(flowers),
		100*float64(right)/float64(len(flowers)))
	return nil
}

func (d *demo) predict(ctx context.Context, f classifier.Flower) (species, model string, err error) {
	body, err := json.Marshal(f)
	if err != nil {
		return "", "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return "", "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", "", err
	}
	var answer struct{ Species, Model string }
	if err := json.Unmarshal(data, &answer); err != nil || resp.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("status %d: %s", resp.StatusCode, data)
	}
	return answer.Species, answer.Model, nil
}
