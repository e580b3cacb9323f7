package httpapi

import (
	"context"
	"net/http"
	"net/url"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

var volumeRoutes = []route{
	answers(route{
		id: "listVolumes", method: http.MethodGet, path: "/v1/volumes", action: auth.ActionListVolumes, each: true,
		summary: "List the volumes that this machine keeps",
		faults:  []fault.Kind{fault.Unsupported},
	}, func(ctx context.Context, s services, _ input) ([]workload.VolumeInfo, error) { return s.Volumes(ctx) }),

	answers(route{
		id: "deleteVolume", method: http.MethodDelete, path: "/v1/volumes/{name}", action: auth.ActionDeleteVolume, of: ofVolume,
		summary: "Delete a volume that no API and no replica has, with everything in it",
		faults:  []fault.Kind{fault.NotFound, fault.Conflict, fault.Unsupported},
	}, func(ctx context.Context, s services, in input) (workload.Message, error) {
		return s.DeleteVolume(ctx, in.name)
	}),
}

func ofVolume(name string) auth.Resource { return auth.Resource{Volume: name} }

// UseVolumes returns what the operator asks before it deploys what mounts volumes.
func UseVolumes(g auth.Guard) func(context.Context, []string) error {
	return permitUse(g, auth.ActionUseVolume, ofVolume)
}

// Volumes leaves out what the caller may not list. Who uses a volume is told of APIs that
// the caller may see.
func (s services) Volumes(ctx context.Context) ([]workload.VolumeInfo, error) {
	all, err := s.Service.Volumes(ctx)
	if err != nil || s.guard == nil {
		return all, err
	}
	return listable(ctx, s, auth.ActionListVolumes, all, func(of *workload.VolumeInfo) (auth.Resource, *[]string) {
		return ofVolume(of.Name), &of.UsedBy
	})
}

func (s services) DeleteVolume(ctx context.Context, name string) (workload.Message, error) {
	m, err := s.Service.DeleteVolume(ctx, name)
	s.concludeOf(ctx, auth.ActionDeleteVolume, "delete_volume", ofVolume(name), err)
	return m, err
}

// Volumes implements workload.Service.
func (c *Client) Volumes(ctx context.Context) ([]workload.VolumeInfo, error) {
	var out []workload.VolumeInfo
	err := c.do(ctx, call{method: http.MethodGet, path: "/v1/volumes", out: &out})
	return out, err
}

// DeleteVolume implements workload.Service.
func (c *Client) DeleteVolume(ctx context.Context, name string) (workload.Message, error) {
	var out workload.Message
	if !isSegment(name) {
		return out, fault.New(fault.NotFound, workload.CodeVolumeNotFound, "there is no volume %q", clip(name)).
			WithHint("cortex volume list shows which there are")
	}
	err := c.do(ctx, call{method: http.MethodDelete, path: "/v1/volumes/" + url.PathEscape(name), out: &out})
	return out, err
}
