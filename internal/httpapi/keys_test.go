package httpapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

const keyText = "cxk_AAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB_CCCCCC"

// keyed is a service with keys of several APIs.
type keyed struct {
	workload.Service
	err error
}

func (keyed) Keys(context.Context) ([]workload.Key, error) {
	return []workload.Key{
		{Name: "shown-1", APIs: []string{"iris"}}, {Name: "of-one-hidden", APIs: []string{"iris", "hidden"}},
		{Name: "of-all", APIs: []string{}}, {Name: "of-a-hidden-one", APIs: []string{"hidden"}}, {Name: "shown-2", APIs: []string{"other", "iris"}},
	}, nil
}

func (k keyed) CreateKey(_ context.Context, r workload.KeyRequest) (workload.KeyMade, error) {
	return workload.KeyMade{Key: workload.Key{Name: r.Name}, Text: keyText}, k.err
}

func (k keyed) RotateKey(_ context.Context, name string, _ workload.KeyRotation) (workload.KeyMade, error) {
	return workload.KeyMade{Key: workload.Key{Name: name}, Text: keyText}, k.err
}

func (k keyed) RevokeKey(context.Context, string) (workload.Message, error) {
	return workload.Message{Message: "revoked"}, k.err
}

// noEnvironment is a gate that hides what is about the environment as a whole.
type noEnvironment struct{ gate }

func (g *noEnvironment) Visible(ctx context.Context, a auth.Action, all []auth.Resource) ([]bool, error) {
	seen, err := g.gate.Visible(ctx, a, all)
	for i, r := range all {
		seen[i] = seen[i] && r != auth.Resource{}
	}
	return seen, err
}

// One API of a key that may not be listed hides it, and so does the environment a key of all.
func TestKeysAreListedByTheirAPIs(t *testing.T) {
	t.Parallel()
	bearer := http.Header{"Authorization": {"Bearer good"}}
	for _, tt := range []struct {
		guard auth.Guard
		want  []string
	}{
		{&gate{}, []string{"shown-1", "of-all", "shown-2"}},
		{&noEnvironment{}, []string{"shown-1", "shown-2"}},
		{nil, []string{"shown-1", "of-one-hidden", "of-all", "of-a-hidden-one", "shown-2"}},
	} {
		body := send(t, httpapi.NewHandler(keyed{}, httpapi.Options{Guard: tt.guard}), http.MethodGet, "/v1/keys", "", bearer).Body.String()
		var got []string
		for part := range strings.SplitSeq(body, `"name":"`) {
			if name, _, ok := strings.Cut(part, `"`); ok && strings.Contains(name, "-") {
				got = append(got, name)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("GET /v1/keys = %s, names differ (-want +got):\n%s", body, diff)
		}
	}
}

// The audit has the name of what was changed, and neither a key nor what could be one.
func TestChangesOfKeysAreConcluded(t *testing.T) {
	t.Parallel()
	no := fault.New(fault.NotFound, workload.CodeKeyNotFound, "none")
	for _, tt := range []struct {
		method, path, body string
		err                error
		want               []string
	}{
		{http.MethodPost, "/v1/keys", `{"name": "mobile", "apis": ["iris"]}`, nil, []string{"done create_key of key mobile"}},
		{http.MethodPost, "/v1/keys", `{"name": "` + keyText + `"}`, no, []string{"failed create_key of keys.not_found"}},
		{http.MethodPost, "/v1/keys/mobile/rotate", "", nil, []string{"done rotate_key of key mobile"}},
		{http.MethodPost, "/v1/keys/mobile/rotate", `{"grace": "24h"}`, no, []string{"failed rotate_key of key mobile keys.not_found"}},
		{http.MethodDelete, "/v1/keys/mobile", "", nil, []string{"done revoke_key of key mobile"}},
		{http.MethodDelete, "/v1/keys/" + keyText, "", no, []string{"failed revoke_key of keys.not_found"}},
		{http.MethodDelete, "/v1/keys/mobile", "", fault.New(fault.Forbidden, auth.CodeForbidden, "no"), nil}, // the guard wrote it down
	} {
		g := &gate{}
		header := http.Header{"Authorization": {"Bearer good"}}
		if tt.body != "" {
			header.Set("Content-Type", "application/json")
		}
		send(t, httpapi.NewHandler(keyed{err: tt.err}, httpapi.Options{Guard: g}), tt.method, tt.path, tt.body, header)
		var got []string
		for _, line := range g.asked {
			if !strings.HasPrefix(line, "identify") {
				got = append(got, line)
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s concludes (-want +got):\n%s", tt.method, tt.path, diff)
		}
	}
}

// What the operator asks before it changes a key is asked of each API with its kind, and of
// the environment where there is none.
func TestPermitKeys(t *testing.T) {
	t.Parallel()
	g := &gate{}
	ask := httpapi.PermitKeys(g, auth.ActionRevokeKey)
	if err := ask(t.Context(), []workload.Subject{{Name: "iris", Kind: workload.Realtime}, {Name: "gone"}}); err != nil {
		t.Fatal(err)
	}
	if err := ask(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"permit revokeKey iris RealtimeAPI", "permit revokeKey gone", "permit revokeKey"}, g.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	g.deny = true
	for _, apis := range [][]workload.Subject{nil, {{Name: "iris"}}} {
		if err := ask(t.Context(), apis); !fault.Is(err, fault.Forbidden) {
			t.Errorf("PermitKeys(%v) = %v, want it refused", apis, err)
		}
	}
}

// The client and the handler cancel out.
func TestKeysOverTheWire(t *testing.T) {
	t.Parallel()
	made := workload.KeyMade{
		Key:  workload.Key{Name: "mobile", ID: "AAAAAAAA", APIs: []string{}, State: workload.KeyActive, CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		Text: keyText,
	}
	double := &double{answer: made}
	srv := httptest.NewServer(httpapi.NewHandler(double, httpapi.Options{}))
	defer srv.Close()
	c, err := httpapi.NewClient(httpapi.ClientConfig{Endpoint: srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	request := workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}, Labels: map[string]string{"a": "b"}, ExpiresIn: workload.Duration(time.Hour)}
	for range 2 {
		got, err := c.CreateKey(t.Context(), request)
		if diff := cmp.Diff(made, got); err != nil || diff != "" {
			t.Errorf("CreateKey() = %v (-want +got):\n%s", err, diff)
		}
	}
	if got, err := c.RotateKey(t.Context(), "mobile", workload.KeyRotation{Grace: workload.Duration(time.Minute)}); err != nil || got.Text != keyText {
		t.Errorf("RotateKey() = %+v, %v", got, err)
	}
	double.answer = workload.Message{Message: "revoked"}
	if got, err := c.RevokeKey(t.Context(), "mobile"); err != nil || got.Message != "revoked" {
		t.Errorf("RevokeKey() = %+v, %v", got, err)
	}
	double.answer = []workload.Key{made.Key}
	if got, err := c.Keys(t.Context()); err != nil || !cmp.Equal(got, []workload.Key{made.Key}) {
		t.Errorf("Keys() = %+v, %v", got, err)
	}
	const once = "CreateKey[{Name:mobile APIs:[iris] AllAPIs:false Labels:map[a:b] ExpiresIn:1h}]"
	if got, want := strings.Join(double.questions(), " "), once+" "+once+" RotateKey[mobile {Grace:1m ExpiresIn:0s}] RevokeKey[mobile] Keys[]"; got != want {
		t.Errorf("the service was asked %q, want %q", got, want)
	}
	for _, name := range []string{"", "..", "a/b"} {
		if _, err := c.RotateKey(t.Context(), name, workload.KeyRotation{}); fault.Code(err) != workload.CodeKeyNotFound {
			t.Errorf("RotateKey(%q) = %v, want %s", name, err, workload.CodeKeyNotFound)
		}
		if _, err := c.RevokeKey(t.Context(), name); fault.Code(err) != workload.CodeKeyNotFound {
			t.Errorf("RevokeKey(%q) = %v, want %s", name, err, workload.CodeKeyNotFound)
		}
	}
}
