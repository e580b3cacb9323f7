package httpapi

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// contentBytes is the type of a secret's value, which is sent as it is: no answer, and no
// document of ours, has a member for it.
const contentBytes = "application/octet-stream"

var secretRoutes = []route{
	answers(route{
		id: "listSecrets", method: http.MethodGet, path: "/v1/secrets", action: auth.ActionListSecrets, each: true,
		summary: "List secrets, without their values",
	}, func(ctx context.Context, s services, _ input) ([]workload.Secret, error) { return s.Secrets(ctx) }),

	answers(route{
		id: "setSecret", method: http.MethodPut, path: "/v1/secrets/{name}", action: auth.ActionSetSecret, of: ofSecret,
		summary: "Set the value of a secret, which is the body",
		about: "The value is text of 1 to 65536 bytes. Nothing returns it. Replicas that run have the one of before " +
			"until they are replaced: see run_with_old.",
		body:   func() any { return new(rawSecret) },
		faults: []fault.Kind{fault.Invalid, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.SecretSet, error) {
		return s.SetSecret(ctx, in.name, in.body.(*rawSecret).value)
	}),

	answers(route{
		id: "deleteSecret", method: http.MethodDelete, path: "/v1/secrets/{name}", action: auth.ActionDeleteSecret, of: ofSecret,
		summary: "Delete a secret that no API refers to",
		query:   []param{paramForce},
		faults:  []fault.Kind{fault.NotFound, fault.Conflict},
	}, func(ctx context.Context, s services, in input) (workload.Message, error) {
		return s.DeleteSecret(ctx, in.name, in.query.force)
	}),
}

func ofSecret(name string) auth.Resource { return auth.Resource{Secret: name} }

// rawSecret is the body of a request that sets a secret.
type rawSecret struct{ value []byte }

// readSecret reads a value as it is.
func readSecret(w http.ResponseWriter, r *http.Request, into *rawSecret) error {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, workload.MaxSecretBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return statusOf(http.StatusRequestEntityTooLarge, fault.New(fault.Malformed, workload.CodeSecretValue,
			"the value has more than %d bytes", workload.MaxSecretBytes).WithHint("keep large files in a volume or in the image"))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return statusOf(http.StatusRequestTimeout, fault.New(fault.Malformed, "endpoints.body_too_slow",
			"the body did not arrive within %s", bodyPatience).WithHint("repeat the call"))
	case err != nil:
		return fault.New(fault.Malformed, "endpoints.body_malformed", "the body ended early: %w", err)
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != contentBytes {
		return statusOf(http.StatusUnsupportedMediaType, fault.New(fault.Malformed, "endpoints.content_type",
			"the body is of type %q", clip(r.Header.Get("Content-Type"))).WithHint("send the value as it is, with Content-Type: %s", contentBytes))
	}
	into.value = value
	return nil
}

// Secrets leaves out what the caller may not list. Who uses a secret is told of APIs that
// the caller may see.
func (s services) Secrets(ctx context.Context) ([]workload.Secret, error) {
	all, err := s.Service.Secrets(ctx)
	if err != nil || s.guard == nil {
		return all, err
	}
	return listable(ctx, s, auth.ActionListSecrets, all, func(of *workload.Secret) (auth.Resource, *[]string) {
		return ofSecret(of.Name), &of.UsedBy
	})
}

// listable leaves out what the caller may not list, and of who uses the rest the APIs that
// the caller may not see. parts tells what one is to a policy, and who uses it.
func listable[T any](ctx context.Context, s services, a auth.Action, all []T, parts func(*T) (of auth.Resource, usedBy *[]string)) ([]T, error) {
	shown, err := visible(ctx, s.guard, a, all, func(one *T) []auth.Resource {
		of, _ := parts(one)
		return []auth.Resource{of}
	})
	for i := range shown {
		_, usedBy := parts(&shown[i])
		*usedBy = s.known(ctx, *usedBy)
	}
	return shown, err
}

func (s services) SetSecret(ctx context.Context, name string, value []byte) (workload.SecretSet, error) {
	set, err := s.Service.SetSecret(ctx, name, value)
	s.concludeOf(ctx, auth.ActionSetSecret, "set_secret", ofSecret(name), err)
	if s.guard != nil {
		set.RunWithOld = s.known(ctx, set.RunWithOld)
	}
	return set, err
}

func (s services) DeleteSecret(ctx context.Context, name string, force bool) (workload.Message, error) {
	m, err := s.Service.DeleteSecret(ctx, name, force)
	s.concludeOf(ctx, auth.ActionDeleteSecret, "delete_secret", ofSecret(name), err)
	return m, err
}

// known leaves out the APIs that the caller may not see.
func (s services) known(ctx context.Context, apis []string) []string {
	return slices.DeleteFunc(slices.Clone(apis), func(name string) bool {
		return !s.guard.May(ctx, auth.ActionList, s.resourceOf(ctx, name))
	})
}

func (s services) resourceOf(ctx context.Context, name string) auth.Resource {
	r := auth.Resource{API: name}
	if s.kind != nil {
		r.Kind = string(s.kind(ctx, name))
	}
	return r
}

// concludeOf concludes what was done to something that is no API.
func (s services) concludeOf(ctx context.Context, a auth.Action, operation string, of auth.Resource, err error) {
	if s.guard == nil {
		return
	}
	c := auth.Conclusion{Action: a, Operation: operation, Resource: of, Outcome: auth.OutcomeDone}
	if err != nil {
		c.Outcome, c.Code = auth.OutcomeFailed, fault.From(err).Code
	}
	s.guard.Conclude(ctx, c)
}

// UseSecrets returns what the operator asks before it deploys what reads secrets.
func UseSecrets(g auth.Guard) func(context.Context, []string) error {
	return permitUse(g, auth.ActionUseSecret, ofSecret)
}

func permitUse(g auth.Guard, a auth.Action, of func(string) auth.Resource) func(context.Context, []string) error {
	return func(ctx context.Context, names []string) error {
		resources := make([]auth.Resource, len(names))
		for i, name := range names {
			resources[i] = of(name)
		}
		return g.PermitAll(ctx, a, resources)
	}
}

// Secrets implements workload.Service.
func (c *Client) Secrets(ctx context.Context) ([]workload.Secret, error) {
	var out []workload.Secret
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/secrets", out: &out})
	return out, err
}

// SetSecret implements workload.Service.
func (c *Client) SetSecret(ctx context.Context, name string, value []byte) (workload.SecretSet, error) {
	var out workload.SecretSet
	if !isSegment(name) {
		return out, fault.New(fault.Invalid, workload.CodeSecretName, "%q cannot be the name of a secret", clip(name)).
			WithHint("names have %s", workload.WordsOf(workload.NamePattern))
	}
	err := c.do(ctx, call{method: http.MethodPut, path: "/v1/secrets/" + url.PathEscape(name), body: rawSecret{value}, out: &out})
	return out, err
}

// DeleteSecret implements workload.Service.
func (c *Client) DeleteSecret(ctx context.Context, name string, force bool) (workload.Message, error) {
	var out workload.Message
	if !isSegment(name) {
		return out, fault.New(fault.NotFound, workload.CodeSecretNotFound, "there is no secret %q", clip(name)).
			WithHint("cortex secret list shows which there are")
	}
	q := url.Values{}
	setBool(q, "force", force)
	err := c.do(ctx, call{method: http.MethodDelete, path: "/v1/secrets/" + url.PathEscape(name), query: q, out: &out})
	return out, err
}
