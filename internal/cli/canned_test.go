package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// canned is a workload.Service whose answers stand in a file, and which
// remembers what it was asked.
type canned struct {
	InfoAnswer workload.Info `json:"info"`
	// Lists are the answers to List, one after the other; the last one repeats.
	Lists        [][]workload.APIResponse         `json:"lists"`
	Gets         map[string]workload.APIResponse  `json:"gets"`
	Describes    map[string]workload.APIResponse  `json:"describes"`
	Versions     map[string]workload.APIResponse  `json:"versions"` // "name id"
	Histories    map[string][]workload.APIVersion `json:"histories"`
	Deploys      []workload.DeployResult          `json:"deploys"`
	Explained    map[string]workload.Explanation  `json:"explains"`
	LogLines     []workload.LogLine               `json:"logs"`
	EventList    []workload.Event                 `json:"events"`
	Watches      []workload.Watched               `json:"watches"`
	SecretList   []workload.Secret                `json:"secrets"`
	KeyList      []workload.Key                   `json:"keys"`
	CallRows     []workload.Calls                 `json:"calls"`
	VolumeList   []workload.VolumeInfo            `json:"volumes"`
	ItemList     []workload.Item                  `json:"items"`
	ScheduleList []workload.ScheduleStatus        `json:"schedules"`
	HookList     []workload.Hook                  `json:"webhooks"`
	JobList      []workload.Job                   `json:"jobs"`
	purges       int
	Forever      bool                    `json:"forever"` // streams wait for their end
	Faults       map[string]*fault.Fault `json:"faults"`  // by method

	mu    sync.Mutex
	lists int
	calls []string
}

var _ workload.Service = (*canned)(nil)

func loadCanned(file string, getenv func(string) string) (*canned, error) {
	c := &canned{}
	text, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return c, nil
	}
	if err != nil {
		return nil, err
	}
	var values any
	if err := yaml.Unmarshal([]byte(os.Expand(string(text), getenv)), &values); err != nil {
		return nil, err
	}
	data, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	return c, json.Unmarshal(data, c)
}

func (c *canned) call(method string, args ...any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, strings.TrimSpace(fmt.Sprintln(append([]any{method}, args...)...)))
	if f := c.Faults[method]; f != nil {
		return f
	}
	return nil
}

func (c *canned) said() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.calls, "\n")
}

func of[T any](c *canned, all map[string]T, name string) (T, error) {
	answer, ok := all[name]
	if !ok {
		return answer, fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
	}
	return answer, nil
}

func (c *canned) Info(context.Context) (workload.Info, error) { return c.InfoAnswer, c.call("Info") }

func (c *canned) Deploy(_ context.Context, r workload.DeployRequest) ([]workload.DeployResult, error) {
	words := []any{r.FileName, "in", r.Directory, "force", r.Force, "dry", r.DryRun}
	for path, text := range r.EnvFiles {
		words = append(words, "with", path, strings.ReplaceAll(text, "\n", ";"))
	}
	err := c.call("Deploy", words...)
	return c.Deploys, err
}

func (c *canned) List(context.Context) ([]workload.APIResponse, error) {
	if err := c.call("List"); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.Lists) == 0 {
		return nil, nil
	}
	answer := c.Lists[min(c.lists, len(c.Lists)-1)]
	c.lists++
	return answer, nil
}

func (c *canned) Get(_ context.Context, name string) (workload.APIResponse, error) {
	if err := c.call("Get", name); err != nil {
		return workload.APIResponse{}, err
	}
	return of(c, c.Gets, name)
}

func (c *canned) Version(_ context.Context, name, id string) (workload.APIResponse, error) {
	if err := c.call("Version", name, id); err != nil {
		return workload.APIResponse{}, err
	}
	return of(c, c.Versions, name+" "+id)
}

func (c *canned) Describe(_ context.Context, name string) (workload.APIResponse, error) {
	if err := c.call("Describe", name); err != nil {
		return workload.APIResponse{}, err
	}
	return of(c, c.Describes, name)
}

func (c *canned) History(_ context.Context, name string) ([]workload.APIVersion, error) {
	if err := c.call("History", name); err != nil {
		return nil, err
	}
	return of(c, c.Histories, name)
}

func (c *canned) Rollback(_ context.Context, name, id string) (workload.DeployResult, error) {
	if err := c.call("Rollback", name, id); err != nil {
		return workload.DeployResult{}, err
	}
	if len(c.Deploys) == 0 {
		return workload.DeployResult{}, fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
	}
	return c.Deploys[0], nil
}

func (c *canned) Refresh(_ context.Context, name string, force bool) (workload.Message, error) {
	return workload.Message{Message: "updating " + name + " (RealtimeAPI)"}, c.call("Refresh", name, force)
}

func (c *canned) Stop(_ context.Context, name string) (workload.DeployResult, error) {
	return c.changed(name, "Stop", name)
}

func (c *canned) Start(_ context.Context, name string) (workload.DeployResult, error) {
	return c.changed(name, "Start", name)
}

func (c *canned) Resize(_ context.Context, name string, n int) (workload.DeployResult, error) {
	return c.changed(name, "Resize", name, n)
}

// changed answers with the deploy of that name.
func (c *canned) changed(name, method string, args ...any) (workload.DeployResult, error) {
	if err := c.call(method, args...); err != nil {
		return workload.DeployResult{}, err
	}
	for _, r := range c.Deploys {
		if r.Name == name {
			return r, nil
		}
	}
	return workload.DeployResult{}, fault.New(fault.NotFound, "resources.api_not_deployed", "%s is not deployed", name)
}

func (c *canned) Delete(_ context.Context, name string, o workload.DeleteOptions) (workload.Message, error) {
	return workload.Message{Message: "deleting " + name}, c.call("Delete", name, "keep", o.KeepCache)
}

func (c *canned) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	args := []any{q.Name, "follow", q.Follow, "since", q.Since, "tail", q.Tail, "previous", q.Previous, "replica", q.Replica}
	if q.Job != "" {
		args = append(args, "job", q.Job)
	}
	if err := c.call("Logs", args...); err != nil {
		return err
	}
	for _, l := range c.LogLines {
		if err := fn(l); err != nil {
			return err
		}
	}
	if c.Forever && q.Follow {
		<-ctx.Done()
	}
	return nil
}

func (c *canned) Series(_ context.Context, q workload.SeriesQuery) (workload.Series, error) {
	return workload.Series{API: q.Name, StepSeconds: 10}, c.call("Series", q.Name, q.Since)
}

func (c *canned) Watch(ctx context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	if err := c.call("Watch", q.After); err != nil {
		return err
	}
	for _, line := range c.Watches {
		if err := fn(line); err != nil {
			return err
		}
	}
	if c.Forever {
		<-ctx.Done()
	}
	return nil
}

func (c *canned) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	if err := c.call("Events", q.Name, "follow", q.Follow, "since", q.Since); err != nil {
		return err
	}
	for _, e := range c.EventList {
		if err := fn(e); err != nil {
			return err
		}
	}
	if c.Forever && q.Follow {
		<-ctx.Done()
	}
	return nil
}

// Exec is an echo of what is said to it, which fails when it is told to.
func (c *canned) Exec(ctx context.Context, req workload.ExecRequest, streams workload.ExecStreams) (int, error) {
	if err := c.call("Exec", req.Name, req.Replica, req.Container, "tty", req.TTY != nil, req.Command); err != nil {
		return 0, err
	}
	if streams.Stdin != nil && req.TTY == nil { // nobody ends what is typed
		if _, err := io.Copy(streams.Stdout, streams.Stdin); err != nil {
			return 0, err
		}
	}
	fmt.Fprintln(streams.Stderr, "ran", req.Command)
	if c.Forever {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	code := 0
	if req.Command[0] == "exit" {
		_, err := fmt.Sscan(req.Command[1], &code)
		return code, err
	}
	return code, nil
}

func (c *canned) Explain(_ context.Context, name string) (workload.Explanation, error) {
	if err := c.call("Explain", name); err != nil {
		return workload.Explanation{}, err
	}
	return of(c, c.Explained, name)
}
