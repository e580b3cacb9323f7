package workload

import "time"

// Outcome is what became of a revision. The zero value says that it is not known
// yet: its replicas are still on their way, or none was ever started.
type Outcome struct {
	// Live is when the revision first served alone: a replica of it was ready, and
	// none of an earlier one. Zero: it never did.
	Live time.Time `json:"live,omitzero"`
	// Failed is why the revision could not become ready, as long as it never was
	// live; FailedAt is when that was found.
	Failed   *Reason   `json:"failed,omitempty"`
	FailedAt time.Time `json:"failed_at,omitzero"`
}

// WasLive reports whether the revision has ever served alone.
func (o Outcome) WasLive() bool { return !o.Live.IsZero() }

// HasFailed reports whether the revision has proven unable to become ready.
func (o Outcome) HasFailed() bool { return !o.WasLive() && o.Failed != nil }

// IsKnown reports whether it was live or has failed.
func (o Outcome) IsKnown() bool { return o.WasLive() || o.Failed != nil }

// BecameLive is the outcome of a revision that serves alone since at.
func BecameLive(at time.Time) Outcome { return Outcome{Live: at.UTC()} }
