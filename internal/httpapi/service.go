package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

var _ workload.Service = (*Client)(nil)

// Info implements workload.Service. It gives up after ten seconds.
func (c *Client) Info(ctx context.Context) (workload.Info, error) {
	var out workload.Info
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/info", out: &out, timeout: infoTimeout})
	return out, err
}

// Deploy implements workload.Service. A file that JSON cannot carry unchanged, or
// that is too large, is refused before anything is sent.
func (c *Client) Deploy(ctx context.Context, req workload.DeployRequest) ([]workload.DeployResult, error) {
	switch {
	case len(req.Config) > workload.MaxConfigBytes:
		return nil, fault.New(fault.Invalid, "configreader.too_long", "%s has %d bytes", req.FileName, len(req.Config)).
			WithHint("a configuration file may have %d bytes", workload.MaxConfigBytes)
	case !utf8.ValidString(req.Config):
		return nil, fault.New(fault.Invalid, "configreader.invalid_yaml", "%s is not valid UTF-8", req.FileName).
			WithHint("save it as UTF-8")
	}
	for path, text := range req.EnvFiles {
		if !utf8.ValidString(text) {
			return nil, fault.New(fault.Invalid, "configreader.env_file_malformed", "%s is not valid UTF-8", path).WithHint("save it as UTF-8")
		}
	}
	var out []workload.DeployResult
	err := c.do(ctx, call{method: http.MethodPost, path: "/v1/deploy", body: req, out: &out})
	for _, r := range out {
		settle(r.API)
	}
	return out, err
}

// List implements workload.Service.
func (c *Client) List(ctx context.Context) ([]workload.APIResponse, error) {
	var out []workload.APIResponse
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/apis", out: &out})
	for i := range out {
		settle(&out[i])
	}
	return out, err
}

// Get implements workload.Service.
func (c *Client) Get(ctx context.Context, name string) (workload.APIResponse, error) {
	return c.api(ctx, name, "")
}

// Version implements workload.Service.
func (c *Client) Version(ctx context.Context, name, id string) (workload.APIResponse, error) {
	if !isSegment(id) {
		return workload.APIResponse{}, fault.New(fault.NotFound, "resources.api_id_not_found",
			"%s has no version %q", name, id).WithHint("list its versions with cortex history %s", name)
	}
	return c.api(ctx, name, "/versions/"+url.PathEscape(id))
}

// Describe implements workload.Service.
func (c *Client) Describe(ctx context.Context, name string) (workload.APIResponse, error) {
	return c.api(ctx, name, "/describe")
}

func (c *Client) api(ctx context.Context, name, tail string) (workload.APIResponse, error) {
	var out workload.APIResponse
	err := c.about(ctx, name, tail, call{method: http.MethodGet, out: &out})
	settle(&out)
	return out, err
}

// History implements workload.Service.
func (c *Client) History(ctx context.Context, name string) ([]workload.APIVersion, error) {
	var out []workload.APIVersion
	err := c.about(ctx, name, "/history", call{method: http.MethodGet, out: &out})
	return out, err
}

// Rollback implements workload.Service.
func (c *Client) Rollback(ctx context.Context, name, id string) (workload.DeployResult, error) {
	return c.change(ctx, name, "/rollback", RollbackRequest{ID: id})
}

// Refresh implements workload.Service.
func (c *Client) Refresh(ctx context.Context, name string, force bool) (workload.Message, error) {
	var out workload.Message
	err := c.about(ctx, name, "/refresh", call{method: http.MethodPost, body: RefreshRequest{Force: force}, out: &out})
	return out, err
}

// Stop implements workload.Service.
func (c *Client) Stop(ctx context.Context, name string) (workload.DeployResult, error) {
	return c.change(ctx, name, "/stop", nil)
}

// Start implements workload.Service.
func (c *Client) Start(ctx context.Context, name string) (workload.DeployResult, error) {
	return c.change(ctx, name, "/start", nil)
}

// Resize implements workload.Service.
func (c *Client) Resize(ctx context.Context, name string, n int) (workload.DeployResult, error) {
	return c.change(ctx, name, "/scale", ScaleRequest{Replicas: &n})
}

func (c *Client) change(ctx context.Context, name, tail string, body any) (workload.DeployResult, error) {
	var out workload.DeployResult
	err := c.about(ctx, name, tail, call{method: http.MethodPost, body: body, out: &out})
	settle(out.API)
	return out, err
}

// Delete implements workload.Service.
func (c *Client) Delete(ctx context.Context, name string, opts workload.DeleteOptions) (workload.Message, error) {
	var out workload.Message
	q := url.Values{}
	setBool(q, "keep_cache", opts.KeepCache)
	err := c.about(ctx, name, "", call{method: http.MethodDelete, query: q, out: &out})
	return out, err
}

// Explain implements workload.Service.
func (c *Client) Explain(ctx context.Context, name string) (workload.Explanation, error) {
	var out workload.Explanation
	err := c.about(ctx, name, "/explain", call{method: http.MethodGet, out: &out})
	return out, err
}

// Series implements workload.Service.
func (c *Client) Series(ctx context.Context, q workload.SeriesQuery) (workload.Series, error) {
	var out workload.Series
	v := url.Values{}
	setSince(v, q.Since)
	err := c.about(ctx, q.Name, "/series", call{method: http.MethodGet, query: v, out: &out})
	return out, err
}

// Logs implements workload.Service. It waits for the next line as long as ctx does.
func (c *Client) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	if !isSegment(q.Name) {
		return notDeployed(q.Name)
	}
	v := url.Values{}
	setBool(v, "follow", q.Follow)
	setSince(v, q.Since)
	setBool(v, "previous", q.Previous)
	if q.Tail != 0 {
		v.Set("tail", strconv.Itoa(q.Tail))
	}
	if q.Replica != "" {
		v.Set("replica", q.Replica)
	}
	if q.Job != "" {
		v.Set("job", q.Job)
	}
	k := call{method: http.MethodGet, path: "/v1/apis/" + url.PathEscape(q.Name) + "/logs", query: v}
	if !q.Follow {
		return stream(ctx, c, k, fn)
	}
	return follow(ctx, c, k, func(l workload.LogLine) time.Time { return l.Time }, fn)
}

// Events implements workload.Service. It waits for the next event as long as ctx does.
func (c *Client) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	path := "/v1/events"
	if q.Name != "" {
		if !isSegment(q.Name) {
			return notDeployed(q.Name)
		}
		path = "/v1/apis/" + url.PathEscape(q.Name) + "/events"
	}
	v := url.Values{}
	setBool(v, "follow", q.Follow)
	setSince(v, q.Since)
	k := call{method: http.MethodGet, path: path, query: v}
	if !q.Follow {
		return stream(ctx, c, k, fn)
	}
	return follow(ctx, c, k, func(e workload.Event) time.Time { return e.Time }, fn)
}

// about is a call on /v1/apis/{name}.
func (c *Client) about(ctx context.Context, name, tail string, k call) error {
	if !isSegment(name) {
		return notDeployed(name)
	}
	k.path = "/v1/apis/" + url.PathEscape(name) + tail
	return c.do(ctx, k)
}

// isSegment reports whether s can stand in a path: what cannot is nobody's name.
func isSegment(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= maxNameBytes && utf8.ValidString(s) && !strings.Contains(s, "/")
}

func notDeployed(name string) error {
	return fault.New(fault.NotFound, "resources.api_not_deployed", "%q is not deployed", clip(name)).
		WithHint("list what is deployed with cortex get")
}

func setBool(v url.Values, name string, b bool) {
	if b {
		v.Set(name, "true")
	}
}

func setSince(v url.Values, d time.Duration) {
	if d != 0 {
		v.Set("since", workload.Duration(d).String())
	}
}

// settle gives the numbers of the YAML as it was submitted the types they had
// before they were sent: integers are integers.
func settle(api *workload.APIResponse) {
	if api != nil && api.Spec != nil {
		api.Spec.SubmittedAPISpec = numbers(api.Spec.SubmittedAPISpec)
	}
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return n
		}
		if n, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return n
		}
		f, _ := v.Float64() // out of range is ±Inf, as in the YAML
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}
