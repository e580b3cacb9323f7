package operator

import (
	"strings"
	"testing"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// A host name belongs to one API, and a server says which names there may be.
func TestHosts(t *testing.T) {
	t.Parallel()
	host := func(name, host string) string { return realtime(name, "  networking:\n    host: "+host+"\n") }
	w := newWorld(t)
	deploy := func(config string) error {
		_, err := w.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: config})
		return err
	}
	refused := func(what string, err error, code, words string) {
		t.Helper()
		f := fault.From(err)
		if f == nil || f.Code != code || len(f.Problems) != 1 || f.Problems[0].Path != "networking.host" || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %+v, want %s at networking.host with %q", what, f, code, words)
		}
	}
	w.oneMachine = true
	w.hostURL = func(host string) string { return "https://" + host }
	if err := deploy(host("iris", "iris.example.com")); err != nil {
		t.Fatal(err)
	}
	refused("taken", deploy(host("rose", "iris.example.com")), codeHostTaken, "iris (RealtimeAPI)")
	if err := deploy(host("iris", "iris.example.com") + host("rose", "rose.example.com")); err != nil {
		t.Errorf("the same again, and another: %v", err)
	}
	w.hosts = []string{"iris.example.com", "*.apis.example.com"}
	for name, ok := range map[string]bool{
		"iris.example.com": true, "a.apis.example.com": true, "a.b.apis.example.com": true, "apis.example.com": false,
		"xapis.example.com": false, "iris.example.com.evil.example": false, "example.com": false,
	} {
		err := deploy(host("lily", name))
		if ok && err != nil && !strings.Contains(err.Error(), "already that of") {
			t.Errorf("%s: %v", name, err)
		} else if !ok {
			refused(name, err, codeHostRefused, "--api-hosts")
		}
	}
	w.hosts = []string{}
	refused("where there are none", deploy(host("lily", "a.apis.example.com")), codeHostRefused, "--api-hosts")

	api, err := w.Get(t.Context(), "iris")
	if err != nil || api.HostEndpoint != "https://iris.example.com" {
		t.Errorf("Get() says host endpoint %q (%v)", api.HostEndpoint, err)
	}
	e, err := w.Explain(t.Context(), "iris")
	if err != nil || !strings.Contains(e.Steps[len(e.Steps)-1].Detail, "/iris and https://iris.example.com: ") && !strings.Contains(e.Summary, "iris.example.com") {
		t.Errorf("Explain() does not say the host: %+v (%v)", e, err)
	}
}
