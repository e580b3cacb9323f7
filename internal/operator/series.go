package operator

import (
	"context"
	"math"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Places of a point.
const (
	pointRequests = iota
	pointErrors
	pointP50
	pointP99
	pointInFlight
	pointReady
	pointRequested
	pointValues
)

// point is what an API did within one step.
type point [pointValues]float32

// notKnown is a point of which nothing is known.
func notKnown() (p point) {
	for i := range p {
		p[i] = -1
	}
	return p
}

const (
	chunkPoints  = 60
	fineChunks   = int(workload.SeriesFine/workload.SeriesStep) / chunkPoints
	coarseChunks = int(workload.SeriesKept/workload.SeriesCoarseStep) / chunkPoints
)

// ring keeps the latest points of one API. It takes memory as it is filled: of an API that
// was deployed a moment ago, little.
type ring struct {
	step   time.Duration
	chunks []*[chunkPoints]point
	first  int64 // slot of the first point there ever was, plus one; 0: there is none
	last   int64 // slot of the latest
}

func newRing(step time.Duration, chunks int) ring {
	return ring{step: step, chunks: make([]*[chunkPoints]point, chunks)}
}

func (r *ring) size() int64 { return int64(len(r.chunks)) * chunkPoints }

func (r *ring) at(slot int64) (*[chunkPoints]point, int64) {
	i := slot % r.size()
	if i < 0 { // a clock before 1970
		i += r.size()
	}
	chunk := &r.chunks[i/chunkPoints]
	if *chunk == nil {
		*chunk = new([chunkPoints]point)
	}
	return *chunk, i % chunkPoints
}

// put keeps the point of a moment. Steps since the last one are not known; a moment before
// it is left out: the clock was set back.
func (r *ring) put(now time.Time, p point) {
	slot := now.UnixNano() / int64(r.step)
	switch {
	case r.first == 0:
		r.first = slot + 1
	case slot < r.last-r.size():
		*r = newRing(r.step, len(r.chunks)) // set back by more than all that is kept
		r.first = slot + 1
	case slot <= r.last:
		return
	default:
		for s := max(r.last+1, slot-r.size()+1); s < slot; s++ {
			chunk, i := r.at(s)
			chunk[i] = notKnown()
		}
	}
	chunk, i := r.at(slot)
	chunk[i] = p
	r.last = slot
}

// read is the points of the time before now: a point for each step, oldest first.
func (r *ring) read(now time.Time, since time.Duration) (from time.Time, points []point) {
	end := now.UnixNano() / int64(r.step) // of which nothing is known yet
	if r.first != 0 && r.last == end {    // but of this step it is
		end++
	}
	n := min(int64(since/r.step), r.size())
	points = make([]point, 0, n)
	for slot := end - n; slot < end; slot++ {
		if r.first == 0 || slot < r.first-1 || slot > r.last || slot <= r.last-r.size() {
			points = append(points, notKnown())
			continue
		}
		chunk, i := r.at(slot)
		points = append(points, chunk[i])
	}
	return time.Unix(0, (end-n)*int64(r.step)).UTC(), points
}

// history is what is kept of one API.
type history struct {
	fine, coarse ring
	step, minute measured // what had been done when each of them was written last
	flight       float64  // sum of what was in flight since the last minute, of samples
	samples      int
}

func newHistory() *history {
	return &history{fine: newRing(workload.SeriesStep, fineChunks), coarse: newRing(workload.SeriesCoarseStep, coarseChunks)}
}

// recordings is what APIs did, in memory: after a restart it begins anew.
type recordings struct {
	mu   sync.Mutex
	apis map[string]*history
}

// measureAll writes down what every API does, until ctx ends.
func (o *Operator) measureAll(ctx context.Context) {
	tick := time.NewTicker(workload.SeriesStep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			o.sample(o.now())
		}
	}
}

// sample writes down what every API does now.
func (o *Operator) sample(now time.Time) {
	list, complete := o.cache.workloads()
	if !complete {
		return
	}
	o.recorded.mu.Lock()
	defer o.recorded.mu.Unlock()
	there := make(map[string]bool, len(list))
	for _, one := range list {
		name := one.Name()
		es := o.cache.status(name)
		if !one.Revision.Kind.Scales() || es == nil {
			continue
		}
		h := o.recorded.apis[name]
		if h == nil {
			if len(o.recorded.apis) >= workload.MaxSeriesAPIs {
				continue
			}
			h = newHistory()
			o.recorded.apis[name] = h
		}
		there[name] = true
		s := statusOf(one, es)
		m := measured{at: now}
		t := o.trafficOf(name)
		if t != nil {
			m.traffic, m.took = *t, o.tookOf(name)
		}
		h.add(m, t != nil, s.Ready, s.Requested)
	}
	for name := range o.recorded.apis {
		if !there[name] {
			delete(o.recorded.apis, name)
		}
	}
}

// add takes over what an API has done until now.
func (h *history) add(m measured, known bool, ready, requested int) {
	p := notKnown()
	p[pointReady], p[pointRequested] = float32(ready), float32(requested)
	if known {
		h.flight += float64(m.traffic.InFlight)
		h.samples++
		p[pointInFlight] = float32(m.traffic.InFlight)
		p.since(h.step, m)
		h.step = m
	}
	h.fine.put(m.at, p)
	if m.at.UnixNano()/int64(h.coarse.step) == h.coarse.last && h.coarse.first != 0 {
		return
	}
	if known {
		p.since(h.minute, m)
		p[pointInFlight] = short(h.flight / float64(h.samples))
		h.minute, h.flight, h.samples = m, 0, 0
	}
	h.coarse.put(m.at, p)
}

// since sets what was done since an earlier moment. Without one it is not known, nor when
// the front door was started anew in between.
func (p *point) since(before, now measured) {
	p[pointRequests], p[pointErrors], p[pointP50], p[pointP99] = -1, -1, -1, -1
	if before.at.IsZero() || !now.at.After(before.at) || now.traffic.Requests < before.traffic.Requests || now.traffic.Failed < before.traffic.Failed {
		return
	}
	r := ratesOf(before, now)
	p[pointRequests] = short(r.Requests)
	p[pointErrors] = short(float64(now.traffic.Failed-before.traffic.Failed) / now.at.Sub(before.at).Seconds())
	if now.traffic.Requests > before.traffic.Requests {
		p[pointP50], p[pointP99] = short(r.P50), short(r.P99)
	}
}

// short is a number with four digits, which is more than a chart shows.
func short(v float64) float32 {
	if v == 0 {
		return 0
	}
	unit := math.Pow(10, math.Floor(math.Log10(math.Abs(v)))-3)
	return float32(math.Round(v/unit) * unit)
}

// Series implements workload.Service.
func (o *Operator) Series(ctx context.Context, q workload.SeriesQuery) (workload.Series, error) {
	since := q.Range()
	if since < workload.SeriesStep || since > workload.SeriesKept {
		return workload.Series{}, fault.New(fault.Invalid, workload.CodeSeriesOutOfRange, "what %s did is asked for since %s", q.Name, since).
			WithHint("it is known for %s to %s", workload.SeriesStep, workload.SeriesKept)
	}
	one, err := o.store.Get(ctx, q.Name)
	if err != nil {
		return workload.Series{}, err
	}
	if !one.Revision.Kind.Scales() {
		return workload.Series{}, onlyFor("what was measured", &one.Revision.Spec)
	}
	s := workload.Series{API: q.Name, StepSeconds: int(workload.SeriesStep.Seconds())}
	coarse := since > workload.SeriesFine
	if coarse {
		s.StepSeconds = int(workload.SeriesCoarseStep.Seconds())
	}
	o.recorded.mu.Lock()
	defer o.recorded.mu.Unlock()
	h := o.recorded.apis[q.Name]
	if h == nil {
		h = newHistory()
	}
	from := &h.fine
	if coarse {
		from = &h.coarse
	}
	var points []point
	s.From, points = from.read(o.now(), since)
	for place, to := range map[int]*[]float32{
		pointRequests: &s.Requests, pointErrors: &s.Errors, pointP50: &s.P50, pointP99: &s.P99, pointInFlight: &s.InFlight, pointReady: &s.Ready, pointRequested: &s.Requested,
	} {
		*to = make([]float32, len(points))
		for i, p := range points {
			(*to)[i] = p[place]
		}
	}
	return s, nil
}
