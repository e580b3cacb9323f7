package codesnapshot

import (
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkTake measures what a deploy waits for. CORTEX_BENCH_CODE names a folder to
// copy, CORTEX_BENCH_STATE where to.
func BenchmarkTake(b *testing.B) {
	folder := os.Getenv("CORTEX_BENCH_CODE")
	if folder == "" {
		folder = "../../examples/iris"
	}
	state := os.Getenv("CORTEX_BENCH_STATE")
	if state == "" {
		state = b.TempDir()
	}
	s := Open(filepath.Join(state, "code"), Bounds(), nil)
	for b.Loop() {
		c, err := s.Take(folder)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(c.Bytes), "bytes")
		b.ReportMetric(float64(c.Files), "files")
		b.StopTimer()
		_ = os.RemoveAll(s.dir)
		b.StartTimer()
	}
}

// BenchmarkChanged measures what cortex get and explain wait for.
func BenchmarkChanged(b *testing.B) {
	folder := os.Getenv("CORTEX_BENCH_CODE")
	if folder == "" {
		folder = "../../examples/iris"
	}
	s := Open(filepath.Join(b.TempDir(), "code"), Bounds(), nil)
	c, err := s.Take(folder)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if s.Changed(folder, c.Digest) {
			b.Fatal("Changed() = true, want false")
		}
	}
}
