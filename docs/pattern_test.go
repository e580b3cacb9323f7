package docs_test

import (
	"strings"
	"testing"
)

// The judge of the pages is judged first.
func TestPattern(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		want, out string
		matches   bool
	}{
		"the same":                  {"a\nb", "a\nb\n", true},
		"another":                   {"a", "b\n", false},
		"spaces do not matter":      {"a  b", "a b   \n", true},
		"empty lines do not matter": {"a\n\nb", "a\nb\n", true},
		"any text within a line":    {"updated … ago", "updated 3s ago\n", true},
		"not over lines":            {"a … b", "a x\ny b\n", false},
		"any lines":                 {"a\n…\nz", "a\nb\nc\nz\n", true},
		"no lines":                  {"a\n…\nz", "a\nz\n", true},
		"nothing may be left":       {"a", "a\nb\n", false},
		"nothing may be missing":    {"a\nb", "a\n", false},
		"a command that is silent":  {"", "", true},
		"silence was promised":      {"", "a\n", false},
		"anything at all":           {"…", "a\nb\n", true},
	} {
		if got := pattern(strings.Split(tt.want, "\n")).MatchString(squeeze(tt.out)); got != tt.matches {
			t.Errorf("%s: pattern(%q) matches %q: %t, want %t", name, tt.want, tt.out, got, tt.matches)
		}
	}
}
