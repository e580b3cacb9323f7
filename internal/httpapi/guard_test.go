package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// open is every operation that needs no identity, besides /healthz and /openapi.json.
var open = []string{"createSession", "getChallenge"}

// TestEveryOperationIsClassified walks the document, so that no route can be added
// open by accident: each says which action a policy is asked for, or is in the list
// above.
func TestEveryOperationIsClassified(t *testing.T) {
	t.Parallel()
	_, doc := readOpenAPI(t)
	var found []string
	for path, methods := range doc.Paths {
		for method, op := range methods {
			action := auth.Action(op.Action)
			switch known := slices.Contains(auth.Actions, action) || action == auth.ActionWhoAmI; {
			case action == "" && len(op.Security) == 0:
				found = append(found, op.OperationID)
			case action == "" || len(op.Security) == 0:
				t.Errorf("%s %s: action %q with security %v: one without the other", method, path, action, op.Security)
			case !known:
				t.Errorf("%s %s: nobody knows the action %q", method, path, action)
			case op.Responses["401"].Description == "" || op.Responses["403"].Description == "":
				t.Errorf("%s %s: the document does not say that it can be refused", method, path)
			}
		}
	}
	slices.Sort(found)
	if diff := cmp.Diff(open, found); diff != "" {
		t.Errorf("operations without an action (-want +got):\n%s", diff)
	}
}

// gate is an auth.Guard that lets the token "good" through, and writes down what it
// is asked for.
type gate struct {
	auth.Guard
	deny  bool
	asked []string
}

func (g *gate) Identify(ctx context.Context, from auth.Origin, token string) (context.Context, error) {
	g.asked = append(g.asked, "identify "+token)
	if token != "good" {
		return nil, fault.New(fault.Unproven, auth.CodeNotProven, "no")
	}
	return auth.WithCaller(ctx, auth.Caller{Principal: auth.Principal{ARN: "arn"}, Origin: from}), nil
}

func (g *gate) Permit(_ context.Context, a auth.Action, r auth.Resource) error {
	g.asked = append(g.asked, strings.Join(strings.Fields("permit "+string(a)+" "+ofOther(r)+r.API+" "+r.Kind), " "))
	if g.deny {
		return fault.New(fault.Forbidden, auth.CodeForbidden, "no")
	}
	return nil
}

func ofOther(r auth.Resource) string {
	switch {
	case r.Secret != "":
		return "secret " + r.Secret + " "
	case r.Volume != "":
		return "volume " + r.Volume + " "
	case r.Key != "":
		return "key " + r.Key + " "
	}
	return ""
}

func (g *gate) PermitAll(ctx context.Context, a auth.Action, all []auth.Resource) error {
	var err error
	for _, r := range all {
		err = errors.Join(err, g.Permit(ctx, a, r))
	}
	return err
}

func (g *gate) Visible(_ context.Context, a auth.Action, all []auth.Resource) ([]bool, error) {
	g.asked = append(g.asked, "visible "+string(a))
	seen := make([]bool, len(all))
	for i, r := range all {
		seen[i] = r.API != "hidden" && r.Kind != string(workload.Task) && r.Secret != "hidden" && r.Volume != "hidden"
	}
	return seen, nil
}

func (g *gate) Conclude(_ context.Context, c auth.Conclusion) {
	g.asked = append(g.asked, strings.Join(strings.Fields(fmt.Sprintf("%s %s %s of %s %s", c.Outcome, c.Operation, c.Version, ofOther(c.Resource)+c.Resource.API, c.Code)), " "))
}

func (g *gate) May(_ context.Context, _ auth.Action, r auth.Resource) bool {
	return r.API != "hidden" && r.Kind != string(workload.Task)
}

func (g *gate) Challenge(context.Context) (auth.Challenge, error) { return auth.Challenge{}, nil }

func (g *gate) Exchange(_ context.Context, _ auth.Origin, body []byte) (auth.Session, error) {
	g.asked = append(g.asked, "exchange "+string(body))
	return auth.Session{}, nil
}

func (g *gate) WhoAmI(context.Context) (auth.Identity, error) { return auth.Identity{}, nil }

func (g *gate) Audit(context.Context, auth.AuditQuery, func(auth.Entry) error) error { return nil }

func (g *gate) RevokeSessions(context.Context) error { return nil }

// send is do with headers.
func send(t *testing.T, h http.Handler, method, target, body string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// untouched is a service that must not be reached.
type untouched struct{ workload.Service }

// Every route refuses before it reads a parameter, a body or the service, whoever
// is not proven or not permitted; and asks for its own action.
func TestNothingIsDoneBeforeTheGuard(t *testing.T) {
	t.Parallel()
	_, doc := readOpenAPI(t)
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if slices.Contains(open, op.OperationID) {
				continue
			}
			t.Run(op.OperationID, func(t *testing.T) {
				t.Parallel()
				target := strings.NewReplacer("{name}", "iris", "{id}", "123456").Replace(path) + "?nonsense=1"
				ask := func(g *gate, token string) int {
					h := httpapi.NewHandler(untouched{}, httpapi.Options{Guard: g, Kind: func(context.Context, string) workload.Kind { return workload.Realtime }})
					header := http.Header{}
					if token != "" {
						header.Set("Authorization", token)
					}
					return send(t, h, strings.ToUpper(method), target, "no json", header).Code
				}
				for _, token := range []string{"", "Bearer bad", "good", "Basic good", "Bearer", "Bearer "} {
					if got := ask(&gate{}, token); got != http.StatusUnauthorized {
						t.Errorf("with Authorization %q: status %d, want 401", token, got)
					}
				}
				g := &gate{deny: true}
				got := ask(g, "Bearer good")
				wantAsked := "permit " + op.Action
				switch {
				case strings.Contains(path, "/secrets/{name}"):
					wantAsked += " secret iris"
				case strings.Contains(path, "/volumes/{name}"):
					wantAsked += " volume iris"
				case strings.Contains(path, "{name}"):
					wantAsked += " iris RealtimeAPI"
				}
				switch op.OperationID {
				case "deploy", "listAPIs", "watch", "listSecrets", "listVolumes", "listKeys", "listUsage", "createKey", "rotateKey", "revokeKey", "createCallSession", "whoAmI": // all but the last ask for each that they are about, see below
					if got != http.StatusBadRequest || len(g.asked) != 1 {
						t.Errorf("status %d after %v, want 400 for the query", got, g.asked)
					}
				default:
					if got != http.StatusForbidden || g.asked[len(g.asked)-1] != wantAsked {
						t.Errorf("status %d after %v, want 403 after %q", got, g.asked, wantAsked)
					}
				}
			})
		}
	}
}

// listed has some APIs.
type listed struct{ workload.Service }

func (listed) List(context.Context) ([]workload.APIResponse, error) {
	return []workload.APIResponse{
		{Metadata: &workload.Metadata{Name: "hidden", Kind: workload.Realtime}},
		{Metadata: &workload.Metadata{Name: "shown", Kind: workload.Realtime}},
		{Metadata: &workload.Metadata{Name: "hidden by its kind", Kind: workload.Task}},
	}, nil
}

func (listed) Events(_ context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	return errors.Join(fn(workload.Event{API: "hidden", Message: "of the hidden one"}),
		fn(workload.Event{API: "gone", Kind: workload.Task, Message: "of a kind that is hidden"}), fn(workload.Event{API: "shown", Message: "of the shown one"}))
}

// Lists and streams tell a policy the name and the kind of each, of what is deleted too.
func TestListsShowWhatMayBeSeen(t *testing.T) {
	t.Parallel()
	bearer := http.Header{"Authorization": {"Bearer good"}}
	h := httpapi.NewHandler(listed{}, httpapi.Options{Guard: &gate{}})
	for _, path := range []string{"/v1/apis", "/v1/events"} {
		w := send(t, h, http.MethodGet, path, "", bearer)
		if body := w.Body.String(); w.Code != http.StatusOK || strings.Contains(body, "hidden") || !strings.Contains(body, "shown") {
			t.Errorf("GET %s = %d %s, want what is shown and not what is hidden", path, w.Code, body)
		}
	}
}

func TestOpenOperationsNeedNoIdentity(t *testing.T) {
	t.Parallel()
	g := &gate{}
	h := httpapi.NewHandler(untouched{}, httpapi.Options{Guard: g})
	for _, path := range []string{"/v1/auth/challenge", "/healthz", "/openapi.json"} {
		if w := send(t, h, http.MethodGet, path, "", nil); w.Code != http.StatusOK {
			t.Errorf("GET %s = %d, want 200", path, w.Code)
		}
	}
	w := send(t, h, http.MethodPost, "/v1/auth/session", `{"a":1}`, http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer bad"}})
	if w.Code != http.StatusOK || !slices.Equal(g.asked, []string{`exchange {"a":1}`}) {
		t.Errorf("POST /v1/auth/session = %d after %v, want 200 with the body as it was sent and no look at the token", w.Code, g.asked)
	}
}

// On the socket of one machine there is nobody to prove.
func TestWithoutAGuardThereAreNoIdentities(t *testing.T) {
	t.Parallel()
	h := httpapi.NewHandler(untouched{}, httpapi.Options{})
	for _, path := range []string{"/v1/auth/challenge", "/v1/whoami", "/v1/audit"} {
		if w := send(t, h, http.MethodGet, path, "", nil); w.Code != http.StatusNotFound {
			t.Errorf("GET %s = %d, want 404", path, w.Code)
		}
	}
}
