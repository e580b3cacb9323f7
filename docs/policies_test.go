package docs_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/cluster"
)

// The page that has both policies for clusters side by side has each statement of both, and
// puts beside each other only what allows one action at least both ways.
func TestPoliciesSideBySide(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("aws-policy.md")
	if err != nil {
		t.Fatal(err)
	}
	actions := map[string][]string{} // of ours, by the names of its statements
	for _, s := range cluster.NamesOf("iris", "111122223333", "us-west-2").CallerPolicy().Statement {
		actions[s.Sid] = s.Action
	}
	sids := regexp.MustCompile("`(\\w+)`")
	numbers := regexp.MustCompile(`statements? ([0-9 and]+) of the published`)
	shown, row := map[string]bool{}, 0
	for _, m := range regexp.MustCompile(`(?m)^\| (\d+) \|.*\| ([^|]+) \|$`).FindAllStringSubmatch(string(page), -1) {
		if row++; m[1] != strconv.Itoa(row) {
			t.Errorf("after %d comes %s", row-1, m[1])
		}
		for _, sid := range sids.FindAllStringSubmatch(m[2], -1) {
			shown[sid[1]] = true
			if !slices.ContainsFunc(actions[sid[1]], func(action string) bool {
				found := numbers.FindStringSubmatch(cluster.Granting(action, ""))
				return found != nil && slices.Contains(strings.Fields(found[1]), m[1])
			}) {
				t.Errorf("statement %s of the published policy allows nothing of %s of ours: %v", m[1], sid[1], actions[sid[1]])
			}
		}
	}
	if n := strings.Count(cluster.NamesOf("iris", "111122223333", "us-west-2").MinimumPolicy(), `"Effect"`); row != n {
		t.Errorf("the page has %d statements of the published policy, want %d", row, n)
	}
	for sid := range actions {
		if !shown[sid] {
			t.Errorf("the page lacks statement %s of ours", sid)
		}
	}
}
