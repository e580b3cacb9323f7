package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that pages name as proof exist.
func TestProofsOfSecurityExist(t *testing.T) {
	t.Parallel()
	have := proofs(t)
	for name, least := range map[string]int{"security.md": 50, "tls.md": 8} {
		page, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		named := regexp.MustCompile("`((?:Test|Fuzz)[A-Z]\\w*|test_\\w+|[a-z]+\\.txtar)`").FindAllStringSubmatch(string(page), -1)
		if len(named) < least {
			t.Errorf("%s names %d tests, want a table of them", name, len(named))
		}
		for _, m := range named {
			if !have[m[1]] {
				t.Errorf("%s names %s, which is no test", name, m[1])
			}
		}
	}
}

// proofs are the names of all tests in Go and Python, and of the scripts of e2e.
func proofs(t *testing.T) map[string]bool {
	t.Helper()
	have := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^(?:func |    def )((?:Test|Fuzz|test_)\w+)\(`)
	for _, folder := range []string{"../internal", "../e2e", "../python/tests"} {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			if strings.HasSuffix(path, ".txtar") && strings.HasPrefix(folder, "../e2e") {
				have[d.Name()] = true
			}
			if !strings.HasSuffix(path, "_test.go") && !strings.HasSuffix(path, ".py") {
				return nil
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range declared.FindAllStringSubmatch(string(source), -1) {
				have[m[1]] = true
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return have
}
