package engine

import "cortex.dev/cortex/internal/workload"

// MaxTail bounds LogQuery.Tail, because the lines of a tail are held in memory.
const MaxTail = 100_000

// Tail calls fn for the last n lines, at most MaxTail, that read hands out; for every
// line, as it comes, when n is not above 0. It returns the error of read or of fn.
func Tail(n int, read func(fn func(workload.LogLine) error) error, fn func(workload.LogLine) error) error {
	n = min(n, MaxTail)
	if n <= 0 {
		return read(fn)
	}
	var ring []workload.LogLine
	start := 0
	err := read(func(l workload.LogLine) error {
		if len(ring) < n {
			ring = append(ring, l)
		} else {
			ring[start] = l
			start = (start + 1) % n
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := range ring {
		if err := fn(ring[(start+i)%len(ring)]); err != nil {
			return err
		}
	}
	return nil
}
