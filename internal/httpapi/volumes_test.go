package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// keeper keeps two volumes.
type keeper struct{ workload.Service }

func (keeper) Volumes(context.Context) ([]workload.VolumeInfo, error) {
	return []workload.VolumeInfo{{Name: "models", UsedBy: []string{"iris", "other"}}, {Name: "hidden", UsedBy: []string{}}}, nil
}

func (keeper) DeleteVolume(_ context.Context, name string) (workload.Message, error) {
	if name != "models" {
		return workload.Message{}, fault.New(fault.Conflict, workload.CodeVolumeInUse, "it is used")
	}
	return workload.Message{Message: "deleted"}, nil
}

// Who may list volumes sees those that policies show, and of their users the APIs that the
// caller may see; what becomes of a deletion is in the audit.
func TestVolumesAreToldWithWhatTheCallerMaySee(t *testing.T) {
	t.Parallel()
	kind := func(context.Context, string) workload.Kind { return workload.Realtime }
	g := &reader{may: []auth.Action{auth.ActionList}}
	h := httpapi.NewHandler(keeper{}, httpapi.Options{Guard: g, Kind: kind})
	bearer := http.Header{"Authorization": {"Bearer good"}}
	list := send(t, h, http.MethodGet, "/v1/volumes", "", bearer).Body.String()
	if !strings.Contains(list, `"used_by":["iris"]`) || strings.Contains(list, "hidden") {
		t.Errorf("GET /v1/volumes = %s, want models used by iris, and nothing else", list)
	}
	send(t, h, http.MethodDelete, "/v1/volumes/models", "", bearer)
	send(t, h, http.MethodDelete, "/v1/volumes/taken", "", bearer)
	asked := strings.Join(g.asked, "\n")
	for _, want := range []string{
		"visible listVolumes", "permit deleteVolume volume models", "done delete_volume of volume models",
		"permit deleteVolume volume taken", "failed delete_volume of volume taken volumes.in_use",
	} {
		if !strings.Contains(asked, want) {
			t.Errorf("the guard was asked:\n%s\nwant %q", asked, want)
		}
	}
}

// What is deployed asks for each volume by name.
func TestUseVolumes(t *testing.T) {
	t.Parallel()
	g := &gate{}
	if err := httpapi.UseVolumes(g)(t.Context(), []string{"models", "/srv/llama"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(g.asked, ", "); got != "permit useVolume volume models, permit useVolume volume /srv/llama" {
		t.Errorf("the guard was asked %s", got)
	}
}

// The client and the handler cancel out.
func TestVolumesOverTheWire(t *testing.T) {
	t.Parallel()
	double := &double{}
	srv := httptest.NewServer(httpapi.NewHandler(double, httpapi.Options{}))
	defer srv.Close()
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if all, err := c.Volumes(t.Context()); err != nil || all == nil {
		t.Errorf("Volumes() = %v, %v, want an empty list", all, err)
	}
	if _, err := c.DeleteVolume(t.Context(), "hf.cache"); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(double.questions(), " "), "Volumes[] DeleteVolume[hf.cache]"; got != want {
		t.Errorf("the service was asked %q, want %q", got, want)
	}
	for _, name := range []string{"", "..", "a/b"} {
		if _, err := c.DeleteVolume(t.Context(), name); fault.Code(err) != workload.CodeVolumeNotFound {
			t.Errorf("DeleteVolume(%q) = %v, want a refusal", name, err)
		}
	}
}
