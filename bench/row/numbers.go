package row

import (
	"fmt"
	"slices"
	"time"
)

// Median is the middle of durations, or the mean of the two in the middle; 0 of none.
func Median(ds []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(ds))
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Quantile is the smallest of durations that so large a share of them are not above; 0 of
// none.
func Quantile(ds []time.Duration, share float64) time.Duration {
	if len(ds) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(ds))
	return sorted[int(share*float64(len(sorted)-1))]
}

// Millis is a duration in milliseconds.
func Millis(d time.Duration) string {
	if v := float64(d) / 1e6; v < 100 {
		return fmt.Sprintf("%.1f ms", v)
	}
	return fmt.Sprintf("%.0f ms", float64(d)/1e6)
}

// Times is how many times b is a.
func Times(a, b time.Duration) string { return fmt.Sprintf("%.2f ×", float64(a)/float64(b)) }

// Megabytes is a number of bytes in millions.
func Megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// Bound is a duration that somebody chose, in as few characters as it has.
func Bound(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf("%d s", d/time.Second)
	}
	return fmt.Sprintf("%d ms", d/time.Millisecond)
}
