package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// CONTRIBUTING.md promises that tests do not sleep outside a bubble of
// testing/synctest, where sleeping takes no time.
func TestNoTestSleeps(t *testing.T) {
	t.Parallel()
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		seen++
		if strings.Contains(string(source), "time."+"Sleep(") && !strings.Contains(string(source), `"testing/synctest"`) {
			t.Errorf("%s sleeps: wait for a condition, or use testing/synctest", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 10 {
		t.Errorf("looked at %d test files, want all of the project", seen)
	}
}
