package operatord

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/ledger/jetstream/jetstreamtest"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
	"cortex.dev/cortex/internal/workload"
)

const words = `[{"name": "words", "kind": "AsyncAPI", "pod": {"port": 8080, "max_concurrency": 2, "containers": [{"name": "api", "image": "example.com/words:1"}]},
 "async": {"webhook": {"url": "URL", "secret": "hooks"}},
 "autoscaling": {"min_replicas": 0, "init_replicas": 0, "max_replicas": 3, "downscale_stabilization_period": "1h", "upscale_stabilization_period": "0s", "window": "10s"}}]`

// call does one request to an API through a gateway.
func (g *gatewayLife) call(method, path, body string) (code int, answer workload.Item) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.apis+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, answer
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode < 300 {
		err = json.Unmarshal(text, &answer)
	}
	if err != nil {
		g.t.Fatalf("%s %s = %d %s, %v", method, path, resp.StatusCode, text, err)
	}
	return resp.StatusCode, answer
}

// submit waits until the servers of items are there.
func (g *gatewayLife) submit(path, body string) (id string) {
	g.t.Helper()
	eventually(g.t, "an item is accepted", func() bool {
		code, item := g.call(http.MethodPost, path, body)
		id = item.ID
		return code == http.StatusOK
	})
	return id
}

func (g *gatewayLife) is(id, state string) {
	g.t.Helper()
	eventually(g.t, id+" is "+state, func() bool {
		_, item := g.call(http.MethodGet, "/words/"+id, "")
		return item.State == state
	})
}

// Items are accepted by every gateway, wake the API, are listed and cancelled by who
// manages it, go on when their gateway ends, and their ends are told.
func TestItems(t *testing.T) {
	t.Parallel()
	testItems(t, jetstreamtest.Start(t, 1))
}

// The same with items in a bucket.
func TestItemsInABucket(t *testing.T) {
	a := s3test.Start(t)
	at := a.Serve(t)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ENDPOINT_URL_S3": at, "AWS_ENDPOINT_URL_SQS": at,
	} {
		t.Setenv(name, value)
	}
	testItems(t, "s3://"+a.Bucket+"/uid")
}

func testItems(t *testing.T, url string) {
	t.Helper()
	told := make(chan string, 10)
	hooks := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			Type string
			Data struct{ ID string }
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Webhook-Signature") == "" {
			t.Errorf("a message that cannot be read: %v, %v", err, r.Header)
		}
		told <- body.Type + " " + body.Data.ID
	}))
	t.Cleanup(hooks.Close)
	p := newPlace(t)
	p.items = url
	o := p.leader("operator-a")
	client := p.alice(o)
	if _, err := client.SetSecret(t.Context(), "hooks", []byte("whsec_"+strings.Repeat("QUJD", 11))); err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(words, "URL", hooks.URL, 1)
	if results, err := client.Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: config}); err != nil {
		t.Fatalf("Deploy() = %+v, %v", results, err)
	}
	gateways := make([]*gatewayLife, 2)
	for i := range gateways {
		p.gatewayPod = "gateway-" + string(rune('a'+i))
		gateways[i] = p.gateway(o.internal)
		p.trust(gateways[i])
	}
	a, b := gateways[0], gateways[1]
	first := a.submit("/words", "x")
	b.is(first, "succeeded")
	if got := <-told; got != "item.succeeded "+first {
		t.Errorf("told %q, want the end of %s", got, first)
	}

	// What is executed holds its place until the test lets it go.
	p.yard.hold.Store(true)
	ids := []string{a.submit("/words", "1"), b.submit("/words", "2"), a.submit("/words", "3")}
	eventually(t, "two are executed, and more replicas asked for", func() bool {
		list, err := client.Items(t.Context(), workload.ItemQuery{Name: "words", States: []string{"running"}})
		api, err2 := client.Get(t.Context(), "words")
		return err == nil && err2 == nil && len(list) >= 2 && api.Status.Requested > 1
	})
	if changed, err := client.CancelItems(t.Context(), "words", workload.ItemSelection{IDs: ids[:1]}); err != nil || len(changed.Changed) != 1 {
		t.Errorf("CancelItems() = %+v, %v", changed, err)
	}
	b.is(ids[0], "cancelled")

	// Whichever gateway has them executed ends while they are: the other one hands out, and
	// waits for the end of what was begun. None begins again.
	leads, other := a, b
	if !a.log.has("this program hands items out") {
		leads, other = b, a
	}
	if err := leads.end(); err != nil {
		t.Errorf("Run() of the gateway that was stopped = %v", err)
	}
	eventually(t, "the other one hands out", func() bool { return other.log.has("this program hands items out") })
	close(p.yard.release)
	for _, id := range ids[1:] {
		other.is(id, "succeeded")
		if _, item := other.call(http.MethodGet, "/words/"+id, ""); len(item.Attempts) != 1 {
			t.Errorf("%s was executed %d times, want once", id, len(item.Attempts))
		}
	}
	if n := p.yard.worked.Load(); n != 4 {
		t.Errorf("replicas worked %d times on 4 items, want once each", n)
	}
	var buffer bytes.Buffer
	for range 3 {
		select {
		case text := <-told:
			buffer.WriteString(text + "\n")
		case <-time.After(patience):
		}
	}
	for _, want := range []string{"item.cancelled " + ids[0], "item.succeeded " + ids[1], "item.succeeded " + ids[2]} {
		if !strings.Contains(buffer.String(), want) {
			t.Errorf("told %q, want %q in it", &buffer, want)
		}
	}
}

// While the servers of items are away, requests to AsyncAPIs are refused and all others
// are served; who starts then is ready.
func TestItemsAreAway(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.items = "nats://" + freePort(t)
	o := p.leader("operator-a")
	both := strings.Replace(words, `"async": {"webhook": {"url": "URL", "secret": "hooks"}},`, "", 1)
	both = strings.TrimSuffix(both, "]") + "," + strings.TrimPrefix(idle, "[")
	if results, err := p.alice(o).Deploy(t.Context(), workload.DeployRequest{FileName: "cortex.yaml", Config: both}); err != nil {
		t.Fatalf("Deploy() = %+v, %v", results, err)
	}
	g := p.gateway(o.internal)
	p.trust(g)
	eventually(t, "the gateway is ready", func() bool { return status(t, "http://"+g.health+"/readyz") == http.StatusOK })
	if got := status(t, "http://"+g.apis+"/iris"); got != http.StatusOK {
		t.Errorf("GET /iris = %d, want 200", got)
	}
	resp, err := http.Post("http://"+g.apis+"/words", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("POST /words = %d %s, want 503", resp.StatusCode, text)
	}
	for _, l := range []*life{g.life, o.life} {
		if err := l.end(); err != nil {
			t.Errorf("Run() = %v, want nil", err)
		}
	}
}
