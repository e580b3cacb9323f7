package cli

import (
	"context"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

// one is an account with one cluster.
type one struct {
	Cloud
	status *cluster.Status
}

func (o one) Info(_ context.Context, name string) (*cluster.Status, error) {
	if name != o.status.ClusterName {
		return nil, fault.New(fault.NotFound, "clusterstate.cluster_does_not_exist", "there is no cluster %s", name)
	}
	return o.status, nil
}

// What a cluster on AWS has is exported without an environment: its operator is found by the
// account. The file is one that `cortex deploy` takes.
func TestExportOfAClusterOnAWS(t *testing.T) {
	t.Chdir(t.TempDir())
	api := func(name string) workload.APIResponse {
		return workload.APIResponse{
			Metadata: &workload.Metadata{Name: name, Kind: workload.Realtime},
			Spec: &workload.Deployed{Revision: workload.Revision{SubmittedAPISpec: map[string]any{
				"name": name, "kind": "RealtimeAPI", "pod": map[string]any{"containers": []any{map[string]any{"name": "api", "image": "registry.example.com/" + name + ":1"}}},
			}}},
		}
	}
	iris, other := api("iris"), api("other")
	operator := httptest.NewServer(httpapi.NewHandler(&canned{
		Lists: [][]workload.APIResponse{{other, iris}}, Gets: map[string]workload.APIResponse{"iris": iris, "other": other},
	}, httpapi.Options{}))
	defer operator.Close()
	d := newDesk(t)
	d.as(d.aws.Root())
	found := &cluster.Status{ClusterName: "prod", Region: "us-west-2", Operator: operator.URL, Authority: authority()}
	d.wrap = func(c Cloud) Cloud { return one{c, found} }
	words := []string{"cluster", "export", "--name", "prod", "--region", "us-west-2"}
	if code, out, told := d.cortex(t.Context(), words...); code != 0 || !strings.Contains(out, "wrote 2 apis to export-us-west-2-prod.yaml") {
		t.Fatalf("export = %d\n%s%s", code, out, told)
	}
	text, err := os.ReadFile("export-us-west-2-prod.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := manifest.Parse("export.yaml", text)
	if err != nil || len(parsed.Entries) != 2 {
		t.Errorf("the file is %+v, %v\n%s", parsed, err, text)
	}
	if code, _, told := d.cortex(t.Context(), words...); code != 2 || !strings.Contains(told, "is there already") {
		t.Errorf("export again = %d\n%s", code, told)
	}
	found.Authority = ""
	if code, _, told := d.cortex(t.Context(), words...); code != 1 || !strings.Contains(told, "cluster prod has no operator yet") {
		t.Errorf("export of a cluster without an operator = %d\n%s", code, told)
	}
	if code, _, told := d.cortex(t.Context(), "cluster", "export", "--name", "nowhere", "--region", "us-west-2"); code != 1 || !strings.Contains(told, "there is no cluster nowhere") {
		t.Errorf("export of no cluster = %d\n%s", code, told)
	}
}
