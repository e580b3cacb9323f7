package cli

import (
	"fmt"
	"strconv"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// rates remembers what APIs had done when they were looked at last, which makes what they
// did since a rate.
type rates map[string]rated

type rated struct {
	at      time.Time
	traffic workload.Traffic
}

// rateHeaders are the columns of `get --watch`.
var rateHeaders = []string{"in flight", "req/s", "latency"}

// columns are what is said of one API under rateHeaders.
func (r rates) columns(env string, api workload.APIResponse, now time.Time) []string {
	if api.Status == nil || api.Status.Traffic == nil {
		return []string{"-", "-", "-"}
	}
	t, key := *api.Status.Traffic, env+"/"+apiName(&api)
	was, known := r[key]
	r[key] = rated{now, t}
	row := []string{strconv.Itoa(t.InFlight), "-", "-"}
	passed := now.Sub(was.at).Seconds()
	if !known || passed <= 0 || t.Requests < was.traffic.Requests { // the front door was restarted
		return row
	}
	n := float64(t.Requests - was.traffic.Requests)
	row[1] = fmt.Sprintf("%.1f", n/passed)
	if n > 0 {
		mean := time.Duration((t.Seconds - was.traffic.Seconds) / n * float64(time.Second))
		row[2] = shortDuration(mean)
	}
	return row
}

// shortDuration has three digits at most.
func shortDuration(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.3g ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.3g s", d.Seconds())
}
