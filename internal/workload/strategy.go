package workload

import (
	"strconv"
	"strings"
)

// Surge returns how many replicas more than n may exist during an update.
// Percentages are rounded up, as Kubernetes does.
func (u UpdateStrategy) Surge(n int) int {
	v, percent, ok := parseShare(u.MaxSurge)
	if !ok {
		return 0
	}
	if percent {
		return int((int64(n)*int64(v) + 99) / 100)
	}
	return v
}

// Unavailable returns how many replicas fewer than n may be ready during an
// update. Percentages are rounded down; where neither surge nor unavailability
// is left, one replica may be missing, or no update could ever make a step.
func (u UpdateStrategy) Unavailable(n int) int {
	v, percent, ok := parseShare(u.MaxUnavailable)
	if !ok {
		v = 0
	}
	if percent {
		v = int(int64(n) * int64(v) / 100)
	}
	if v == 0 && u.Surge(n) == 0 {
		return 1
	}
	return v
}

// parseShare reads "N%" (0 to 100) or "N".
func parseShare(text string) (value int, percent, ok bool) {
	if !shareShape.MatchString(text) {
		return 0, false, false
	}
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.Atoi(number)
	return v, percent, err == nil
}
