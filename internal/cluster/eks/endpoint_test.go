package eks

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// oneHost refuses requests to any other host.
type oneHost struct {
	t    *testing.T
	host string
	next interface {
		Do(*http.Request) (*http.Response, error)
	}
	asked atomic.Int64
}

func (o *oneHost) Do(r *http.Request) (*http.Response, error) {
	if r.URL.Host != o.host {
		o.t.Errorf("%s %s was asked, want nobody but %s", r.Method, r.URL.Host, o.host)
	}
	o.asked.Add(1)
	return o.next.Do(r)
}

// Where AWS is at an address of somebody's own, nothing is asked of another, buckets
// included; a token is for AWS's own STS all the same.
func TestOneEndpointForAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		cfg := w.aws.Config(w.key)
		hosts := &oneHost{t: t, host: "aws.test:4566", next: cfg.HTTPClient}
		cfg.HTTPClient, cfg.BaseEndpoint = hosts, aws.String("http://aws.test:4566")
		a, err := Open(t.Context(), cfg, w.kube)
		if err != nil {
			t.Fatal(err)
		}
		facts, plan, err := w.plan(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Up(t.Context(), w.config, facts, plan, w.run()); err != nil {
			t.Fatal(err)
		}
		if s, err := a.Info(t.Context(), "iris"); err != nil || s.Operator == "" || hosts.asked.Load() == 0 {
			t.Errorf("Info() = %+v, %v", s, err)
		}
		text, _, err := a.Token(context.Background(), "iris")
		if err != nil {
			t.Fatal(err)
		}
		if who, err := w.aws.Authenticate("iris", text); err != nil || who.ARN != a.Caller {
			t.Errorf("the token is of %+v, %v", who, err)
		}
	})
}
