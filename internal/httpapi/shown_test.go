package httpapi_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// secretive has one API, with a password in its env and in the last lines of its log.
type secretive struct{ workload.Service }

const password, lastLine = "hunter2", "panic: cannot reach the database"

func secretAPI() workload.APIResponse {
	return workload.APIResponse{
		Metadata: &workload.Metadata{Name: "iris", Kind: workload.Realtime},
		Spec: &workload.Deployed{Revision: workload.Revision{
			Spec: workload.Spec{Name: "iris", Kind: workload.Realtime, Pod: &workload.Pod{Containers: []workload.Container{{Name: "api", Env: map[string]workload.Variable{"PASSWORD": {Value: password}, "TOKEN": {Secret: "hf-token"}}}}}},
			SubmittedAPISpec: map[string]any{"name": "iris", "pod": map[string]any{"containers": []any{map[string]any{
				"env": map[string]any{"PASSWORD": password, "TOKEN": map[string]any{"secret": "hf-token"}}, "image": "shown"}}}},
			Number: 12,
		}},
		Status: &workload.Status{Phase: workload.PhaseFailed, Replicas: []workload.Replica{{ID: "r1", Reason: crash()}}},
	}
}

func crash() *workload.Reason {
	return &workload.Reason{Code: "crashed", Message: "it crashed", Evidence: []workload.Evidence{{Kind: "exit", Text: "exit code 1"}, {Kind: "log", Text: lastLine}}}
}

func (secretive) List(context.Context) ([]workload.APIResponse, error) {
	return []workload.APIResponse{secretAPI()}, nil
}
func (secretive) Get(context.Context, string) (workload.APIResponse, error) { return secretAPI(), nil }
func (secretive) Describe(context.Context, string) (workload.APIResponse, error) {
	return secretAPI(), nil
}
func (secretive) Version(context.Context, string, string) (workload.APIResponse, error) {
	return secretAPI(), nil
}
func (secretive) Explain(context.Context, string) (workload.Explanation, error) {
	return workload.Explanation{Name: "iris", Kind: workload.Realtime, Cause: crash()}, nil
}
func (secretive) Deploy(_ context.Context, req workload.DeployRequest) ([]workload.DeployResult, error) {
	api := secretAPI()
	return []workload.DeployResult{
		{Name: "iris", API: &api, Action: workload.ActionUpdate}, {Name: "same", Action: workload.ActionNone},
		{Name: "bad", Error: "error: no", Code: "some.code"},
	}, nil
}
func (secretive) Rollback(context.Context, string, string) (workload.DeployResult, error) {
	api := secretAPI()
	return workload.DeployResult{Name: "iris", API: &api, Action: workload.ActionUpdate}, nil
}
func (secretive) Refresh(context.Context, string, bool) (workload.Message, error) {
	return workload.Message{}, fault.New(fault.Conflict, "realtimeapi.api_updating", "it is updating")
}
func (secretive) Stop(ctx context.Context, name string) (workload.DeployResult, error) {
	return secretive{}.Rollback(ctx, name, "")
}
func (secretive) Start(ctx context.Context, name string) (workload.DeployResult, error) {
	return workload.DeployResult{Name: "iris", Action: workload.ActionNone}, nil
}
func (secretive) Resize(ctx context.Context, name string, _ int) (workload.DeployResult, error) {
	return workload.DeployResult{}, fault.New(fault.Invalid, "resources.replicas_out_of_range", "too many")
}
func (secretive) Exec(_ context.Context, _ workload.ExecRequest, streams workload.ExecStreams) (int, error) {
	_, err := streams.Stdout.Write([]byte("ok"))
	return 3, err
}
func (secretive) Delete(context.Context, string, workload.DeleteOptions) (workload.Message, error) {
	return workload.Message{Message: "deleting"}, nil
}

func (secretive) Secrets(context.Context) ([]workload.Secret, error) {
	return []workload.Secret{{Name: "hf-token", UsedBy: []string{"iris", "other"}}, {Name: "hidden", UsedBy: []string{}}}, nil
}
func (secretive) SetSecret(_ context.Context, name string, value []byte) (workload.SecretSet, error) {
	if string(value) != password {
		return workload.SecretSet{}, fault.New(fault.Invalid, workload.CodeSecretValue, "the value is not what was sent")
	}
	return workload.SecretSet{Name: name, RunWithOld: []string{"iris", "other"}}, nil
}
func (secretive) DeleteSecret(context.Context, string, bool) (workload.Message, error) {
	return workload.Message{}, fault.New(fault.Conflict, workload.CodeSecretInUse, "it is used")
}

// reader is a gate whose caller may do some things only.
type reader struct {
	gate
	may []auth.Action
}

func (r *reader) May(_ context.Context, a auth.Action, of auth.Resource) bool {
	return of.API == "iris" && of.Kind == "RealtimeAPI" && slices.Contains(r.may, a)
}

// Whoever may look, and neither read logs nor deploy, gets neither log lines nor the
// values of variables, by whatever way.
func TestAnswersHaveWhatTheirCallerMaySee(t *testing.T) {
	t.Parallel()
	bearer := http.Header{"Authorization": {"Bearer good"}}
	for _, tt := range []struct {
		may            []auth.Action
		secret, output bool
	}{
		{nil, false, false},
		{[]auth.Action{auth.ActionLogs}, false, true},
		{[]auth.Action{auth.ActionDeploy}, true, false},
		{[]auth.Action{auth.ActionDeploy, auth.ActionLogs}, true, true},
	} {
		h := httpapi.NewHandler(secretive{}, httpapi.Options{Guard: &reader{may: tt.may}})
		for _, path := range []string{"/v1/apis", "/v1/apis/iris", "/v1/apis/iris/describe", "/v1/apis/iris/versions/123456", "/v1/apis/iris/explain"} {
			w := send(t, h, http.MethodGet, path, "", bearer)
			body := w.Body.String()
			explained := strings.HasSuffix(path, "explain")
			if w.Code != http.StatusOK || strings.Contains(body, lastLine) != tt.output || strings.Contains(body, password) != (tt.secret && !explained) {
				t.Errorf("GET %s by one who may %v = %d %s", path, tt.may, w.Code, body)
			}
			if !explained && (!strings.Contains(body, `"PASSWORD"`) || !strings.Contains(body, "shown")) {
				t.Errorf("GET %s by one who may %v = %s, want the names of variables and all else", path, tt.may, body)
			}
			if !explained && strings.Count(body, `{"secret":"hf-token"}`) != 2 {
				t.Errorf("GET %s by one who may %v = %s, want the reference to a secret in the spec and in what was submitted", path, tt.may, body)
			}
			if !strings.Contains(body, "exit code 1") {
				t.Errorf("GET %s by one who may %v = %s, want evidence that is no log", path, tt.may, body)
			}
		}
	}
	// Nor by stopping it.
	w := send(t, httpapi.NewHandler(secretive{}, httpapi.Options{Guard: &reader{}}), http.MethodPost, "/v1/apis/iris/stop", "", bearer)
	if body := w.Body.String(); w.Code != http.StatusOK || strings.Contains(body, password) || !strings.Contains(body, `"PASSWORD"`) {
		t.Errorf("POST stop by one who may nothing else = %d %s, want the names of variables and no value", w.Code, body)
	}
	// On a socket of one's own there is nobody to hide anything from.
	w = send(t, httpapi.NewHandler(secretive{}, httpapi.Options{}), http.MethodGet, "/v1/apis/iris", "", nil)
	if body := w.Body.String(); !strings.Contains(body, password) || !strings.Contains(body, lastLine) {
		t.Errorf("GET without a guard = %s, want everything", body)
	}
}

// The audit says what became of each change, and tells them apart.
func TestChangesAreConcluded(t *testing.T) {
	t.Parallel()
	bearer := http.Header{"Authorization": {"Bearer good"}}
	for _, tt := range []struct {
		method, path, body string
		want               []string
	}{
		{http.MethodPost, "/v1/deploy", `{"config": ""}`, []string{"done deploy v12 of iris", "none deploy of same", "failed deploy of bad some.code"}},
		{http.MethodPost, "/v1/deploy", `{"config": "", "dry_run": true}`, []string{"done dry_run of iris", "none dry_run of same", "failed dry_run of bad some.code"}},
		{http.MethodPost, "/v1/apis/iris/rollback", "", []string{"done rollback v12 of iris"}},
		{http.MethodPost, "/v1/apis/iris/refresh", "", []string{"failed refresh of iris realtimeapi.api_updating"}},
		{http.MethodPost, "/v1/apis/iris/stop", "", []string{"done stop of iris"}},
		{http.MethodPost, "/v1/apis/iris/start", "", []string{"none start of iris"}},
		{http.MethodPost, "/v1/apis/iris/scale", `{"replicas": 9}`, []string{"failed scale of iris resources.replicas_out_of_range"}},
		{http.MethodDelete, "/v1/apis/iris", "", []string{"done delete of iris"}},
		{http.MethodPut, "/v1/secrets/hf-token", password, []string{"done set_secret of secret hf-token"}},
		{http.MethodPut, "/v1/secrets/hf-token", "other", []string{"failed set_secret of secret hf-token secrets.invalid_value"}},
		{http.MethodDelete, "/v1/secrets/hf-token", "", []string{"failed delete_secret of secret hf-token secrets.in_use"}},
	} {
		g := &reader{}
		header := bearer.Clone()
		switch {
		case tt.method == http.MethodPut:
			header.Set("Content-Type", "application/octet-stream")
		case tt.body != "":
			header.Set("Content-Type", "application/json")
		}
		send(t, httpapi.NewHandler(secretive{}, httpapi.Options{Guard: g}), tt.method, tt.path, tt.body, header)
		var got []string
		for _, line := range g.asked {
			if !strings.HasPrefix(line, "identify") && !strings.HasPrefix(line, "permit") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s concludes (-want +got):\n%s", tt.method, tt.path, diff)
		}
	}
}
