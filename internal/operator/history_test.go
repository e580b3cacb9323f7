package operator

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// endpointAt is iris at an endpoint, which makes a version of its own.
func endpointAt(path string) string {
	return realtime("iris", "  networking:\n    endpoint: "+path+"\n")
}

// causes returns the causes of the history, newest first, with * at the current one.
func causes(t *testing.T, o *Operator, name string) (list []string) {
	t.Helper()
	versions, err := o.History(t.Context(), name)
	if err != nil {
		t.Fatalf("History(%s) = %v", name, err)
	}
	for _, v := range versions {
		cause, _, _ := strings.Cut(v.Cause, " ")
		if v.Current {
			cause += "*"
		}
		list = append(list, cause)
	}
	return list
}

func TestHistoryAndRollback(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	for _, path := range []string{"/one", "/two", "/three"} {
		w.deploy(endpointAt(path))
		w.live("iris")
	}
	if _, err := w.Refresh(t.Context(), "iris", false); err != nil {
		t.Fatalf("Refresh() = %v", err)
	}
	w.live("iris")
	if diff := cmp.Diff([]string{"refresh*", "deploy", "deploy", "deploy"}, causes(t, w.Operator, "iris")); diff != "" {
		t.Errorf("History() differs (-want +got):\n%s", diff)
	}
	versions, err := w.History(t.Context(), "iris")
	if err != nil {
		t.Fatal(err)
	}
	one := versions[3]

	r, err := w.Rollback(t.Context(), "iris", "")
	if err != nil || r.Action != workload.ActionUpdate || r.API.Spec.Networking.Endpoint != "/two" || r.Message != "rolling back iris (RealtimeAPI) to v2, the last version that was live before" {
		t.Errorf("Rollback() = %+v, %v, want an update to /two, past the refresh", r, err)
	}
	if got := w.record("iris"); got.Cause != "rollback to "+versions[2].APIID || got.Revision.DeploymentID == "" {
		t.Errorf("the record has cause %q, want the version it went back to", got.Cause)
	}
	// At once, while the last one is still updating.
	r, err = w.Rollback(t.Context(), "iris", one.APIID)
	if err != nil || r.API.Spec.Networking.Endpoint != "/one" {
		t.Errorf("Rollback(%s) = %+v, %v, want /one", one.APIID, r, err)
	}
	r, err = w.Rollback(t.Context(), "iris", one.SpecID[:8])
	if err != nil || r.Action != workload.ActionNone {
		t.Errorf("Rollback to what is deployed = %+v, %v, want nothing to do", r, err)
	}
	if diff := cmp.Diff([]string{"rollback*", "rollback", "refresh", "deploy", "deploy", "deploy"}, causes(t, w.Operator, "iris")); diff != "" {
		t.Errorf("History() differs (-want +got):\n%s", diff)
	}
	v, err := w.Version(t.Context(), "iris", one.APIID)
	if err != nil || v.Spec.Networking.Endpoint != "/one" || v.Metadata.ID != one.APIID {
		t.Errorf("Version(%s) = %+v, %v, want /one", one.APIID, v, err)
	}
	_, err = w.Rollback(t.Context(), "iris", "ffffff")
	wantFault(t, "Rollback(ffffff)", err, fault.NotFound, "resources.api_id_not_found")
}

func TestRollbackIsCheckedAgainstWhatIsDeployedNow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(endpointAt("/one"))
	w.deployAs(workload.DeployRequest{Config: endpointAt("/two"), Force: true})
	w.deploy(realtime("other", "  networking:\n    endpoint: /one\n"))
	_, err := w.Rollback(t.Context(), "iris", "v1")
	wantFault(t, "Rollback() to an endpoint that is taken", err, fault.Invalid, "spec.duplicate_endpoint")

	w.deploy(realtime("target", ""))
	w.deploy(splitter("split", "target"))
	w.deploy(splitter("split", "other"))
	if _, err := w.Delete(t.Context(), "target", workload.DeleteOptions{}); err != nil {
		t.Fatalf("Delete(target) = %v", err)
	}
	_, err = w.Rollback(t.Context(), "split", "")
	wantFault(t, "Rollback() to a target that is gone", err, fault.Invalid, "resources.apis_not_deployed")
}

func TestRollbackOfTheFirstVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.deploy(endpointAt("/one"))
	_, err := w.Rollback(t.Context(), "iris", "")
	wantFault(t, "Rollback()", err, fault.Conflict, "resources.no_previous_version")
}

func TestFindByPartsOfAnID(t *testing.T) {
	t.Parallel()
	var list []entry
	for i, id := range []string{"1111-aaaaaaaa-0123456789", "2222-aaaaaaaa-abcdef0000", "3333-bbbbbbbb-abcdef0000", "4444-bbbbbbbb-abcdef9999"} {
		parts := strings.Split(id, "-")
		e := entry{number: 14 - i}
		e.Revision = &workload.Revision{ID: id, DeploymentID: parts[1], SpecID: parts[2]}
		list = append(list, e)
	}
	for _, tt := range []struct{ id, want, code string }{
		{"1111-aaaaaaaa-0123456789", "1111-aaaaaaaa-0123456789", ""},
		{"1111-a", "1111-aaaaaaaa-0123456789", ""},
		{"012345", "1111-aaaaaaaa-0123456789", ""},
		{"aaaaaaaa-0", "1111-aaaaaaaa-0123456789", ""},
		{"abcdef0", "2222-aaaaaaaa-abcdef0000", ""}, // two of one content: the newer
		{"abcdef", "", "resources.api_id_not_unique"},
		{"aaaaaa", "", "resources.api_id_not_unique"},
		{"01", "1111-aaaaaaaa-0123456789", ""},
		{"v12", "3333-bbbbbbbb-abcdef0000", ""},
		{"v1", "", "resources.api_id_not_found"},
		{"", "", "resources.api_id_not_found"},
		{"zzzzzz", "", "resources.api_id_not_found"},
	} {
		got, err := find(list, "iris", tt.id)
		if fault.Code(err) != tt.code || err == nil && got.Revision.ID != tt.want {
			t.Errorf("find(%q) = %+v, %v, want %q or code %q", tt.id, got.Revision, err, tt.want, tt.code)
		}
	}
}

func TestRefresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.run()
	w.deploy(realtime("iris", "") + splitter("split", "iris"))
	w.live("iris")
	before := w.record("iris").Revision
	m, err := w.Refresh(t.Context(), "iris", false)
	if err != nil || m.Message != "updating iris (RealtimeAPI)" {
		t.Errorf("Refresh() = %q, %v", m.Message, err)
	}
	after := w.record("iris").Revision
	if after.DeploymentID == before.DeploymentID || after.ID == before.ID || after.SpecID != before.SpecID {
		t.Errorf("Refresh() made %+v of %+v, want another deployment of the same spec", after, before)
	}
	eventually(t, "the engine has the refreshed version", func() bool {
		d, _ := w.feed.deployment("iris")
		return d.Revision.ID == after.ID
	})
	w.live("iris")
	w.feed.tell(noneReady(mustDeployment(t, w, "iris")))
	_, err = w.Refresh(t.Context(), "iris", false)
	wantFault(t, "Refresh() during an update", err, fault.Conflict, "realtimeapi.api_updating")
	if _, err := w.Refresh(t.Context(), "iris", true); err != nil {
		t.Errorf("Refresh(force) = %v", err)
	}
	_, err = w.Refresh(t.Context(), "split", false)
	wantFault(t, "Refresh(split)", err, fault.Invalid, "resources.operation_is_only_supported_for_kind")
}
