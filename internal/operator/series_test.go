package operator

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// A ring has what was put in last, by its step, whatever was left out and however the clock
// moved: it is compared with a map that keeps everything.
func TestRing(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 7))
		const step = 10 * time.Second
		r := newRing(step, 2)
		kept, last, begun := map[int64]float32{}, int64(0), false
		now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
		for n := range 400 {
			now = now.Add(time.Duration(random.IntN(25)) * time.Second)
			if random.IntN(40) == 0 {
				now = now.Add(time.Duration(random.IntN(3000)-1000) * time.Second)
			}
			slot := now.UnixNano() / int64(step)
			if begun && slot < last-r.size() {
				kept, begun = map[int64]float32{}, false
			}
			if !begun || slot > last {
				kept[slot], last, begun = float32(n), slot, true
			}
			r.put(now, point{float32(n)})
			from, points := r.read(now, 15*time.Minute)
			first := from.UnixNano() / int64(step)
			for i, p := range points {
				want, ok := kept[first+int64(i)]
				if !ok || first+int64(i) <= last-r.size() {
					want = -1
				}
				if p[0] != want {
					t.Fatalf("seed %d, round %d: step %d of %d is %v, want %v", seed, n, i, len(points), p[0], want)
				}
			}
			if len(points) != 90 {
				t.Fatalf("seed %d: %d points, want 90", seed, len(points))
			}
		}
	}
}

// What an API did is what its counters say between two moments.
func TestHistory(t *testing.T) {
	t.Parallel()
	h := &history{fine: newRing(workload.SeriesStep, fineChunks), coarse: newRing(workload.SeriesCoarseStep, coarseChunks)}
	begin := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	bounds := []time.Duration{10 * time.Millisecond, 100 * time.Millisecond}
	did := func(n uint64, requests, failed uint64, flight int) {
		h.add(measured{
			begin.Add(time.Duration(n) * 10 * time.Second),
			workload.Traffic{InFlight: flight, Requests: requests, Over: requests + failed, Failed: failed},
			workload.Took{Bounds: bounds, Counts: []uint64{requests, 0, 0}},
		}, true, 1, 2)
	}
	for n := range uint64(13) {
		did(n, 50*n, 10*n, int(n%2))
	}
	did(13, 7, 0, 0) // the front door was started anew
	now := begin.Add(131 * time.Second)
	_, fine := h.fine.read(now, 2*time.Minute+20*time.Second)
	if got, want := fine[0], (point{-1, -1, -1, -1, 0, 1, 2}); got != want {
		t.Errorf("the first step is %v, want %v: there was nothing to compare it with", got, want)
	}
	if got, want := fine[1], (point{5, 1, 0.005, 0.0099, 1, 1, 2}); got != want {
		t.Errorf("a step is %v, want %v", got, want)
	}
	if got, want := fine[13], (point{-1, -1, -1, -1, 0, 1, 2}); got != want {
		t.Errorf("after a restart it is %v, want %v", got, want)
	}
	_, coarse := h.coarse.read(now, 3*time.Minute)
	if got := coarse[1]; got[pointRequests] != 5 || got[pointErrors] != 1 || got[pointInFlight] != 0.5 {
		t.Errorf("a minute is %v", got)
	}
}

// An idle API takes little memory, and a full one as much as was said.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	h := &history{fine: newRing(workload.SeriesStep, fineChunks), coarse: newRing(workload.SeriesCoarseStep, coarseChunks)}
	size := func() (n int) {
		for _, c := range slices.Concat(h.fine.chunks, h.coarse.chunks) {
			if c != nil {
				n += len(c) * pointValues * 4
			}
		}
		return n
	}
	begin := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	for n := range 3 * 24 * 360 {
		h.add(measured{at: begin.Add(time.Duration(n) * workload.SeriesStep)}, false, 1, 1)
		if n == 10 && size() > 4<<10 {
			t.Errorf("after ten steps it has %d bytes", size())
		}
	}
	if got, most := size(), 51<<10; got > most {
		t.Errorf("after three days it has %d bytes, want at most %d", got, most)
	}
}

func TestSeriesIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, since := range []time.Duration{time.Second, 25 * time.Hour} {
		_, err := w.Series(t.Context(), workload.SeriesQuery{Name: "iris", Since: since})
		if fault.Code(err) != workload.CodeSeriesOutOfRange {
			t.Errorf("since %s: %v", since, err)
		}
	}
	if _, err := w.Series(t.Context(), workload.SeriesQuery{Name: "nothing"}); !fault.Is(err, fault.NotFound) {
		t.Errorf("of what is not deployed: %v", err)
	}
}
