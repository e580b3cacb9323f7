package gateway

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/workload"
)

// told answers with what it was asked.
type told struct{}

func (told) Serve(api, base string, w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s %s?%s", r.Method, api, base, r.URL.Path, r.URL.RawQuery)
}

// Jobs go in through the front door, at the endpoint of their API and where cortex 0.42 had
// them, by either protocol; the autoscaler hears of none.
func TestJobsThroughTheFrontDoor(t *testing.T) {
	t.Parallel()
	r := startRig(t, func(c *Config) { c.Jobs = told{} })
	train := realtime("train", "/models/train", pod{concurrency: 1})
	train.Kind = workload.Task
	r.routes.send(changeOf(train, 0))
	r.until(func() bool { return r.get("/models/train?jobID=1").status == http.StatusOK }, "the API to be known")
	for name, client := range map[string]*http.Client{"HTTP/1.1": r.client, "HTTP/2": overHTTP2(t)} {
		r.client = client
		for path, want := range map[string]string{
			"/models/train": "POST train /models/train /?", "/models/train?dryRun=true": "POST train /models/train /?dryRun=true",
			"/tasks/train": "POST train /models/train /?", "/tasks/train?jobID=1": "POST train /models/train /?jobID=1",
		} {
			if a := r.do(http.MethodPost, path, strings.NewReader("{}"), nil); a.status != http.StatusOK || a.body != want {
				t.Errorf("%s: POST %s = %v, want %q", name, path, a, want)
			}
		}
		for _, path := range []string{"/batch/train", "/tasks/other", "/tasks/train/deeper"} {
			if a := r.do(http.MethodPost, path, strings.NewReader("{}"), nil); a.status != http.StatusNotFound {
				t.Errorf("%s: POST %s = %v, want 404", name, path, a)
			}
		}
	}
	if samples := r.g.Samples(); len(samples) > 0 {
		t.Errorf("Samples() = %+v, want none", samples)
	}
}
