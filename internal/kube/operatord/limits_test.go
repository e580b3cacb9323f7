package operatord

import (
	"net/http"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

// A quota holds at all gateways together, one that starts later too, and usage is what was let
// in by all of them.
func TestQuotaOfTwoGateways(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	client := p.alice(o)
	const quota = 40
	mustDeploy(t, client, guardedBy(`{"auth": {"accept": ["keys"]}, "limits": [{"name": "daily", "per": "caller", "quota": "40/1d"}]}`))
	made, err := client.CreateKey(t.Context(), workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}})
	if err != nil {
		t.Fatal(err)
	}
	gateways := p.twoGateways(o)
	via := over(t)["HTTP/1.1"]
	admitted, limited := 0, 0
	ask := func(g *gatewayLife) bool {
		got := call(t, via, g, "/iris", "Authorization: Bearer "+made.Text)
		switch {
		case got.status == http.StatusOK:
			admitted++
		case got.status == 429 && got.code == "quota_exceeded":
			limited++
		case got.code != "key_unknown": // it was made just now
			t.Fatalf("%+v", got)
		}
		return got.status == 429
	}
	for _, g := range gateways {
		eventually(t, "the key is good", func() bool { ask(g); return admitted > 0 })
	}
	for admitted < quota/2 { // all of them at the first
		ask(gateways[0])
	}
	eventually(t, "the second has heard of what the first let in", func() bool { ask(gateways[1]); return ask(gateways[1]) || limited > 0 })
	eventually(t, "the first has heard of the second", func() bool { return ask(gateways[0]) })
	if admitted < quota || admitted > 2*quota {
		t.Errorf("let in %d of a quota of %d at two gateways", admitted, quota)
	}
	t.Logf("let in %d of a quota of %d", admitted, quota)
	eventually(t, "usage is what was let in, and refused", func() bool {
		all, err := client.Calls(t.Context(), workload.CallsQuery{})
		if err != nil {
			t.Fatal(err)
		}
		var sum workload.CallCounts
		for _, c := range all {
			if c.API != "iris" || c.Caller != "mobile" {
				t.Fatalf("usage has %+v", c)
			}
			sum.Add(c.CallCounts)
		}
		return sum.Requests == int64(admitted) && sum.Succeeded == int64(admitted) && sum.Limited == int64(limited)
	})
	third := p.gatewayNamed("gateway-c", o.internal)
	p.trust(third)
	eventually(t, "a gateway that starts knows what was used", func() bool { return ask(third) })
	// Without an operator nobody is refused but by what is known.
	if err := o.end(); err != nil {
		t.Fatal(err)
	}
	for _, g := range append(gateways, third) {
		if !ask(g) {
			t.Error("a gateway that hears nobody has forgotten what was used")
		}
	}
}

// Requests at once are those of all gateways, and what one has ended another may have.
func TestRequestsAtOnceOfTwoGateways(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	o := p.leader("operator-a")
	client := p.alice(o)
	mustDeploy(t, client, guardedBy(`{"limits": [{"name": "parallel", "concurrent": 2}]}`))
	gateways := p.twoGateways(o)
	via := over(t)["HTTP/2"]
	held := make(chan int, 2)
	for range cap(held) {
		go func() { held <- status(t, "http://"+gateways[0].apis+"/iris/hold") }()
	}
	eventually(t, "the second hears that there is no room", func() bool {
		got := call(t, via, gateways[1], "/iris")
		return got.status == 429 && got.code == "concurrency_limited"
	})
	close(p.yard.release)
	for range cap(held) {
		if got := <-held; got != http.StatusOK {
			t.Errorf("a request that was let in = %d, want 200", got)
		}
	}
	eventually(t, "there is room again", func() bool { return call(t, via, gateways[1], "/iris").status == http.StatusOK })
}
