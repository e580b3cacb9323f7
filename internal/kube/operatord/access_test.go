package operatord

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

// guardedBy is the API iris with what its networking has besides, with one replica.
func guardedBy(networking string) string {
	return `[{"name": "iris", "kind": "RealtimeAPI", "networking": ` + networking + `,
 "pod": {"port": 8080, "max_concurrency": 50, "containers": [{"name": "api", "image": "example.com/iris:1"}]}, "autoscaling": {"min_replicas": 1}}]`
}

func mustDeploy(t *testing.T, client *httpapi.Client, config string) {
	t.Helper()
	if results, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: config}); err != nil {
		t.Fatalf("Deploy() = %+v, %v", results, err)
	}
}

// said is what came of a call.
type said struct {
	status int
	code   string // X-Cortex-Reason
	header http.Header
}

// over are clients of HTTP/1.1 and HTTP/2.
func over(t *testing.T) map[string]*http.Client {
	t.Helper()
	all := map[string]*http.Client{}
	for name, set := range map[string]func(*http.Protocols, bool){"HTTP/1.1": (*http.Protocols).SetHTTP1, "HTTP/2": (*http.Protocols).SetUnencryptedHTTP2} {
		var p http.Protocols
		set(&p, true)
		tr := &http.Transport{Protocols: &p}
		t.Cleanup(tr.CloseIdleConnections)
		all[name] = &http.Client{Transport: tr, Timeout: patience}
	}
	return all
}

// call calls a path of a gateway, with fields as "Name: value".
func call(t *testing.T, client *http.Client, g *gatewayLife, path string, fields ...string) said {
	t.Helper()
	got, err := try(t, client, g, path, fields...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// try is call of a gateway that may not listen yet.
func try(t *testing.T, client *http.Client, g *gatewayLife, path string, fields ...string) (said, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.apis+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		r.Header[name] = append(r.Header[name], value)
	}
	resp, err := client.Do(r)
	if err != nil {
		return said{}, err
	}
	resp.Body.Close()
	return said{resp.StatusCode, resp.Header.Get("X-Cortex-Reason"), resp.Header}, nil
}

// twoGateways are gateways that are ready and hear the operator.
func (p *place) twoGateways(o *operatorLife) []*gatewayLife {
	p.t.Helper()
	all := []*gatewayLife{p.gateway(o.internal), p.gatewayNamed("gateway-b", o.internal)}
	for _, g := range all {
		p.trust(g)
		eventually(p.t, "a gateway is ready", func() bool { return status(p.t, "http://"+g.health+"/readyz") == http.StatusOK })
	}
	return all
}

// A stranger reaches nothing by any gateway; a key that was made is good at all of them and,
// once it is revoked, at none; and who calls is heard by the container from the gateway alone.
func TestKeysAtTwoGateways(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	client := p.alice(o)
	mustDeploy(t, client, guardedBy(`{"auth": {"accept": ["keys"], "forward": ["subject", "name"]}}`))
	gateways := p.twoGateways(o)
	made, err := client.CreateKey(t.Context(), workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}})
	if err != nil || made.CreatedBy != alice.ARN {
		t.Fatalf("CreateKey() = %+v, %v", made, err)
	}
	bearer := "Authorization: Bearer " + made.Text
	for protocol, via := range over(t) {
		for i, g := range gateways {
			if got := call(t, via, g, "/iris"); got.status != 401 || got.code != "credentials_missing" {
				t.Errorf("a stranger at gateway %d by %s: %+v, want 401", i, protocol, got)
			}
			eventually(t, "the key is good", func() bool { return call(t, via, g, "/iris", bearer).status == http.StatusOK })
			got := call(t, via, g, "/iris", bearer, "X-Cortex-Caller: root", "X-Cortex-Caller: alice", "x-cortex-caller-name: root", "X-Cortex-Caller-Name: root")
			for field, want := range map[string][]string{"X-Cortex-Caller": {"mobile"}, "X-Cortex-Caller-Name": {"mobile"}, "Authorization": nil} {
				if saw := got.header.Values("Saw-" + field); !slices.Equal(saw, want) {
					t.Errorf("%s: the container saw %s %q, want %q", protocol, field, saw, want)
				}
			}
			if got := call(t, via, g, "/iris", "X-API-Key: "+made.Text); got.status != 200 || len(got.header.Values("Saw-X-Api-Key")) > 0 {
				t.Errorf("by X-API-Key: %+v, want 200 and nothing of it at the container", got)
			}
		}
	}
	via := over(t)["HTTP/1.1"]
	// A gateway that starts knows its keys before it answers anybody.
	third := p.gatewayNamed("gateway-c", o.internal)
	eventually(t, "the gateway answers", func() bool {
		got, err := try(t, via, third, "/iris", bearer)
		if err == nil && got.status != http.StatusOK {
			t.Fatalf("the first answer of a gateway that starts: %+v, want 200", got)
		}
		return err == nil
	})
	if _, err := client.RevokeKey(t.Context(), "mobile"); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	for _, g := range append(gateways, third) {
		eventually(t, "the key is good for nothing", func() bool { return call(t, via, g, "/iris", bearer).code == "key_unknown" })
	}
	t.Logf("refused at three gateways %s after it was revoked", time.Since(revoked).Round(time.Millisecond))
	if !o.audit.has(`"action":"create_key"`) && !o.audit.has(`"action":"createKey"`) {
		t.Error("the audit does not have the key")
	}
}

// What was applied with kubectl is a key like any other, and no gateway needs an operator for
// it.
func TestKeysOfARepository(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	client := p.alice(o)
	mustDeploy(t, client, guardedBy(`{"auth": {"accept": ["keys"], "forward": ["subject"]}}`))
	eventually(t, "a replica is there", func() bool { s, _ := p.yard.Get("iris"); return len(s.Replicas) == 1 })
	g := p.gateway(o.internal)
	text, id, hash := access.Mint()
	apply := func(spec string) error {
		cfg := rest.CopyConfig(p.rest)
		cfg.GroupVersion, cfg.APIPath, cfg.NegotiatedSerializer = &crd.GroupVersion, "/apis", scheme.Codecs.WithoutConversion()
		c, err := rest.RESTClientFor(cfg)
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"apiVersion": "cortex.dev/v1", "kind": "AccessKey", "metadata": {"name": "batch"}, "spec": {"keys": [%s]}}`, spec)
		return c.Post().Namespace(p.workloads).Resource("accesskeys").Body([]byte(body)).SetHeader("Content-Type", runtime.ContentTypeJSON).Do(t.Context()).Error()
	}
	sum := hex.EncodeToString(hash[:])
	for name, spec := range map[string]string{
		"good for nothing that is said": fmt.Sprintf(`{"id": %q, "sha256": %q}`, id, sum),
		"good for all and for some":     fmt.Sprintf(`{"id": %q, "sha256": %q, "apis": ["iris"], "all_apis": true}`, id, sum),
		"half a hash":                   fmt.Sprintf(`{"id": %q, "sha256": %q, "apis": ["iris"]}`, id, sum[:32]),
		"an id that is none":            fmt.Sprintf(`{"id": "a/b", "sha256": %q, "apis": ["iris"]}`, sum),
		"a time that is none":           fmt.Sprintf(`{"id": %q, "sha256": %q, "apis": ["iris"], "expires_at": "soon"}`, id, sum),
		"no key":                        ``,
	} {
		if err := apply(spec); err == nil {
			t.Errorf("the API server took keys with %s", name)
		}
	}
	if err := o.end(); err != nil {
		t.Fatal(err)
	}
	if err := apply(fmt.Sprintf(`{"id": %q, "sha256": %q, "apis": ["iris"]}`, id, sum)); err != nil {
		t.Fatal(err)
	}
	via := over(t)["HTTP/1.1"]
	eventually(t, "the key is good", func() bool {
		got := call(t, via, g, "/iris", "Authorization: Bearer "+text)
		return got.status == http.StatusOK && slices.Equal(got.header.Values("Saw-X-Cortex-Caller"), []string{"batch"})
	})
	if sha256.Sum256([]byte(text[13:45])) != hash { // as the docs say how to make it
		t.Error("the hash is not that of the 32 characters after the id")
	}
	next := p.leader("operator-b")
	keys, err := p.alice(next).Keys(t.Context())
	if err != nil || len(keys) != 1 || keys[0].Name != "batch" || keys[0].ID != id || keys[0].State != workload.KeyActive || keys[0].CreatedAt.IsZero() {
		t.Errorf("Keys() = %+v, %v", keys, err)
	}
}

// Sessions of AWS identities and tokens of an issuer are good at every gateway, and ended at
// all of them.
func TestSessionsAndTokensAtTwoGateways(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	client := p.alice(o)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	published, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "one", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	issuer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(published) }))
	t.Cleanup(issuer.Close)
	mustDeploy(t, client, guardedBy(fmt.Sprintf(`{"auth": {"accept": ["iam", "jwt"], "forward": ["subject"],
		"jwt": {"issuer": %q, "audience": "iris", "keys": %q, "algorithms": ["ES256"]}}}`, issuer.URL, issuer.URL+"/keys")))
	session, err := client.CreateCallSession(t.Context(), auth.CallRequest{APIs: []string{"iris"}})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "one"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(fmt.Appendf(nil, `{"iss": %q, "aud": "iris", "sub": "bob", "exp": %d}`, issuer.URL, time.Now().Add(time.Hour).Unix()))
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	gateways := p.twoGateways(o)
	for protocol, via := range over(t) {
		for _, g := range gateways {
			for whose, bearer := range map[string]string{alice.ARN: session.Token, "bob": token} {
				eventually(t, whose+" is let in by "+protocol, func() bool {
					got := call(t, via, g, "/iris", "Authorization: Bearer "+bearer)
					return got.status == http.StatusOK && slices.Equal(got.header.Values("Saw-X-Cortex-Caller"), []string{whose})
				})
			}
			parts := strings.Split(session.Token, ".")
			for name, bad := range map[string]string{
				"another epoch": "cxs1.7." + parts[2] + "." + parts[3],
				"other claims":  "cxs1." + parts[1] + "." + parts[2][:len(parts[2])-2] + "AA." + parts[3],
				"no MAC":        "cxs1." + parts[1] + "." + parts[2] + ".",
			} {
				if got := call(t, via, g, "/iris", "Authorization: Bearer "+bad); got.status != 401 || got.code != "session_unknown" {
					t.Errorf("a session with %s: %+v, want 401 session_unknown", name, got)
				}
			}
		}
	}
	if err := client.RevokeSessions(t.Context()); err != nil {
		t.Fatal(err)
	}
	via := over(t)["HTTP/1.1"]
	for _, g := range gateways {
		eventually(t, "the session is ended", func() bool {
			return call(t, via, g, "/iris", "Authorization: Bearer "+session.Token).code == "session_unknown"
		})
	}
}

// An installation may refuse what anybody could call.
func TestAuthIsRequired(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.closed = true
	client := p.alice(p.leader("operator-a"))
	_, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: idle})
	if f := fault.From(err); err == nil || len(f.Problems) != 1 || f.Problems[0].Path != "networking" {
		t.Errorf("Deploy() of an open API = %v, want it refused", err)
	}
	mustDeploy(t, client, guardedBy(`{"auth": {"accept": ["keys"]}}`))
}
