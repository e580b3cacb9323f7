package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Codes that scripts and people meet must be in the page that explains them.
func TestCodesAreExplained(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		page    string
		folders []string
		// Each finds codes in Go source, as its first group.
		patterns []string
		prefix   string // of codes in the page
	}{
		"reasons of replicas": {
			"explain.md", []string{"../internal/engine", "../internal/operator"},
			[]string{`Code:\s*"([a-z_]+)"`, `\b[cC]ode[A-Z]\w*\s*=\s*"([a-z_]+)"`, `"([a-z_]+)":\s*layer`}, "",
		},
		"answers to requests": {
			"requests.md", []string{"../internal/gateway", "../internal/relay"},
			[]string{`Code:\s*"([a-z_]+)"`, `\b(?:refuse|unavailable|bad)\("([a-z_]+)"`, `&refusal\{\d+, "([a-z_]+)"`}, "",
		},
		"refused identities": {
			"auth.md", []string{"../internal/auth/auth.go", "../internal/auth/login", "../internal/awscreds", "../internal/trust"},
			[]string{`\bCode[A-Z]\w*\s*=\s*"([a-z_.]+)"`, `\bunproven\("([a-z_.]+)"`, `fault\.\w+, "([a-z_]+\.[a-z_]+)"`}, "",
		},
		"actions":                          {"policy.md", []string{"../internal/auth/auth.go"}, []string{`\bAction\w*\s+Action = "([\w:]+)"`}, ""},
		"flags of the server":              {"server.md", []string{"../internal/cli/server.go"}, []string{`Var\(&[\w.]+, "([a-z-]+)"`}, "--"},
		"reasons in the audit and metrics": {"watching.md", []string{"../internal/auth/iam/refusal.go"}, []string{`\bReason\w+\s*=\s*"([a-z_]+)"`}, ""},
		"metrics of identities": {
			"watching.md", []string{"../internal/auth", "../internal/operatorserver"}, []string{`"(cortex_(?:auth|audit)_[a-z_]+)"`}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, err := os.ReadFile(tt.page)
			if err != nil {
				t.Fatal(err)
			}
			found := 0
			for code, file := range codes(t, tt.folders, tt.patterns) {
				found++
				if code = tt.prefix + code; !explained(string(page), code) {
					t.Errorf("%s has the code %q, which %s does not explain", file, code, tt.page)
				}
			}
			if found < 9 {
				t.Errorf("found %d codes in %v; the patterns of this test no longer fit the source", found, tt.folders)
			}
		})
	}
}

// explained reports whether a row of the page is about code, by name or by a
// family such as `malformed_…`.
func explained(page, code string) bool {
	if strings.Contains(page, "`"+code+"`") {
		return true
	}
	for _, family := range regexp.MustCompile("`([a-z_]+_)…`").FindAllStringSubmatch(page, -1) {
		if strings.HasPrefix(code, family[1]) {
			return true
		}
	}
	return false
}

// codes returns what the patterns find in the Go files of the folders, and where.
func codes(t *testing.T, folders, patterns []string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, pattern := range patterns {
				for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(source), -1) {
					found[m[1]] = path
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
