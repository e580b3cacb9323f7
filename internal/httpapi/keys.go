package httpapi

import (
	"context"
	"net/http"
	"net/url"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// What is done to a key is asked of each API that it is good for, once those are known: the
// operator does, by PermitKeys.
var keyRoutes = []route{
	answers(route{
		id: "listKeys", method: http.MethodGet, path: "/v1/keys", action: auth.ActionListKeys, each: true,
		summary: "List access keys, without what makes them good",
	}, func(ctx context.Context, s services, _ input) ([]workload.Key, error) { return s.Keys(ctx) }),

	answers(route{
		id: "createKey", method: http.MethodPost, path: "/v1/keys", action: auth.ActionCreateKey, each: true,
		summary: "Make an access key, with which a caller may call APIs",
		about:   "Only this answer has the key itself. Either apis or all_apis is given.",
		body:    func() any { return new(workload.KeyRequest) },
		faults:  []fault.Kind{fault.Invalid, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.KeyMade, error) {
		return s.CreateKey(ctx, *in.body.(*workload.KeyRequest))
	}),

	answers(route{
		id: "rotateKey", method: http.MethodPost, path: "/v1/keys/{name}/rotate", action: auth.ActionCreateKey, each: true,
		summary: "Make an access key in place of another, which is good for the grace yet",
		about:   "Only this answer has the key itself. Without a grace the one before is good for nothing at once.",
		body:    func() any { return new(workload.KeyRotation) }, bodyOptional: true,
		faults: []fault.Kind{fault.Invalid, fault.NotFound, fault.Conflict},
	}, func(ctx context.Context, s services, in input) (workload.KeyMade, error) {
		return s.RotateKey(ctx, in.name, *in.body.(*workload.KeyRotation))
	}),

	answers(route{
		id: "revokeKey", method: http.MethodDelete, path: "/v1/keys/{name}", action: auth.ActionRevokeKey, each: true,
		summary: "Make all access keys of a name worthless at once",
		faults:  []fault.Kind{fault.NotFound, fault.Conflict},
	}, func(ctx context.Context, s services, in input) (workload.Message, error) {
		return s.RevokeKey(ctx, in.name)
	}),
}

// PermitKeys returns what the operator asks before it does something to keys that are good
// for some APIs, or for all: without any.
func PermitKeys(g auth.Guard, a auth.Action) func(context.Context, []workload.Subject) error {
	all := permitAll(g, a)
	return func(ctx context.Context, apis []workload.Subject) error {
		if len(apis) == 0 {
			return g.Permit(ctx, a, auth.Resource{})
		}
		return all(ctx, apis)
	}
}

// Keys leaves out keys of which the caller may not list every API that they are good for.
func (s services) Keys(ctx context.Context) ([]workload.Key, error) {
	all, err := s.Service.Keys(ctx)
	if err != nil || s.guard == nil {
		return all, err
	}
	of := s.resourcesOf(ctx)
	return visible(ctx, s.guard, auth.ActionListKeys, all, func(k *workload.Key) (each []auth.Resource) {
		if len(k.APIs) == 0 {
			return []auth.Resource{{}}
		}
		for _, api := range k.APIs {
			each = append(each, of(api)...)
		}
		return each
	})
}

func (s services) CreateKey(ctx context.Context, req workload.KeyRequest) (workload.KeyMade, error) {
	made, err := s.Service.CreateKey(ctx, req)
	s.concludeKey(ctx, auth.ActionCreateKey, "create_key", req.Name, err)
	return made, err
}

func (s services) RotateKey(ctx context.Context, name string, r workload.KeyRotation) (workload.KeyMade, error) {
	made, err := s.Service.RotateKey(ctx, name, r)
	s.concludeKey(ctx, auth.ActionCreateKey, "rotate_key", name, err)
	return made, err
}

func (s services) RevokeKey(ctx context.Context, name string) (workload.Message, error) {
	m, err := s.Service.RevokeKey(ctx, name)
	s.concludeKey(ctx, auth.ActionRevokeKey, "revoke_key", name, err)
	return m, err
}

// concludeKey concludes what was done to a key. What the guard has refused it wrote down
// itself; of a name that no key can have, so that anything may be in it, only that it is one.
func (s services) concludeKey(ctx context.Context, a auth.Action, operation, name string, err error) {
	if fault.Is(err, fault.Forbidden) {
		return
	}
	of := auth.Resource{Key: name}
	if !workload.IsKeyName(name) {
		of = auth.Resource{}
	}
	s.concludeOf(ctx, a, operation, of, err)
}

// Keys implements workload.Service.
func (c *Client) Keys(ctx context.Context) ([]workload.Key, error) {
	var out []workload.Key
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/keys", out: &out})
	return out, err
}

// CreateKey implements workload.Service.
func (c *Client) CreateKey(ctx context.Context, req workload.KeyRequest) (out workload.KeyMade, err error) {
	err = c.do(ctx, call{method: http.MethodPost, path: "/v1/keys", body: req, out: &out})
	return out, err
}

// RotateKey implements workload.Service.
func (c *Client) RotateKey(ctx context.Context, name string, r workload.KeyRotation) (out workload.KeyMade, err error) {
	if !isSegment(name) {
		return out, noKey(name)
	}
	err = c.do(ctx, call{method: http.MethodPost, path: "/v1/keys/" + url.PathEscape(name) + "/rotate", body: r, out: &out})
	return out, err
}

// RevokeKey implements workload.Service.
func (c *Client) RevokeKey(ctx context.Context, name string) (out workload.Message, err error) {
	if !isSegment(name) {
		return out, noKey(name)
	}
	err = c.do(ctx, call{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(name), out: &out})
	return out, err
}

func noKey(name string) error {
	return fault.New(fault.NotFound, workload.CodeKeyNotFound, "there is no key %q", clip(name)).
		WithHint("cortex keys list shows which there are")
}
