package codesnapshot

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"
)

func benchFolder() string { return cmp.Or(os.Getenv("CORTEX_BENCH_CODE"), "../../examples/iris") }

// BenchmarkTake measures what a deploy waits for. CORTEX_BENCH_CODE names a folder to
// copy, CORTEX_BENCH_STATE where to.
func BenchmarkTake(b *testing.B) {
	folder := benchFolder()
	state := cmp.Or(os.Getenv("CORTEX_BENCH_STATE"), b.TempDir())
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
	folder := benchFolder()
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
