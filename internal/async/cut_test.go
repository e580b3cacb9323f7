package async

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"

	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/ledger/s3/s3test"
	"cortex.dev/cortex/internal/workload"
)

// Two programs after the other are cut off from S3 and SQS at any of their calls, all that they
// had in memory with them: each item whose id was given away comes to one end, with its own
// result.
func TestCutOffS3(t *testing.T) {
	t.Parallel()
	a := s3test.Start(t)
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	join := func(p *s3test.Program) *rig {
		has := onS3(t, a, p)
		r := newRig(t, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"of": %s}`, body)
		})
		r.serve(nil, Config{Ledger: has.ledger, Blobs: has.blobs, Others: has.others}, func() {})
		return r
	}
	promised := map[string]int{}
	var n atomic.Int64
	const rounds = 4
	for range rounds {
		var rigs []*rig
		var programs []*s3test.Program
		for range 2 {
			p := a.Program()
			p.CutAfter(1 << 40) // one that is about to be
			programs, rigs = append(programs, p), append(rigs, join(p))
		}
		rigs[0].until("one hands out", func() bool { return rigs[0].s.leading.Load() || rigs[1].s.leading.Load() })
		for _, p := range programs {
			p.CutAfter(5 + random.Int64N(60))
		}
		for i := 0; !programs[0].IsCut() || !programs[1].IsCut(); i++ {
			if programs[i%2].IsCut() {
				continue
			}
			body := int(n.Add(1))
			rec := rigs[i%2].call(http.MethodPost, "/", fmt.Sprint(body))
			var answer struct{ ID string }
			if rec.Code == http.StatusOK && json.Unmarshal(rec.Body.Bytes(), &answer) == nil {
				promised[answer.ID] = body
			}
		}
		for _, r := range rigs {
			go r.stop() // which nobody hears of any more
		}
	}
	if len(promised) < rounds {
		t.Fatalf("only %d items were accepted", len(promised))
	}
	last := join(a.Program())
	again := 0
	for id, body := range promised {
		var item workload.Item
		last.until(id+" ends", func() bool {
			item = last.get(id, "?wait=10s")
			return item.Status == "completed" || item.Status == "failed"
		})
		succeeded := 0
		for _, attempt := range item.Attempts {
			if attempt.Outcome == string(ledger.OK) {
				succeeded++
			}
		}
		if string(item.Result) != fmt.Sprintf(`{"of":%d}`, body) || succeeded != 1 {
			t.Errorf("%s, of %d, is %s with %s and %d successful executions", id, body, item.State, item.Result, succeeded)
		}
		if len(item.Attempts) > 1 {
			again++
		}
	}
	last.load(0, 0)
	if again == 0 {
		t.Error("nothing was cut off while it was executed")
	}
	t.Logf("%d items, %d executed more than once", len(promised), again)
}
