package cli

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
)

// What each command prints as data is said, in the words of the OpenAPI document.
func TestAnswersAreDescribed(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../httpapi/testdata/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	described := map[string]bool{}
	for _, c := range allCommands(testApp(t).root()) {
		if f := c.Flags().Lookup("output"); f == nil || f.Value.Type() != outWords {
			continue
		}
		described[c.CommandPath()] = true
		if answers[c.CommandPath()].words == "" {
			t.Errorf("%s has -o json, and answers does not say what that prints", c.CommandPath())
		}
	}
	schema := regexp.MustCompile("`([A-Z]\\w+)`")
	for path, answer := range answers {
		if !described[path] {
			t.Errorf("answers has %q, which prints no data", path)
		}
		text, err := answer.schema(path)
		if err != nil {
			t.Fatal(err)
		}
		var own struct {
			Defs map[string]json.RawMessage `json:"$defs"`
		}
		if err := json.Unmarshal(text, &own); err != nil {
			t.Fatalf("the schema of %s: %v", path, err)
		}
		for _, m := range schema.FindAllStringSubmatch(answer.words, -1) {
			if own.Defs[m[1]] == nil {
				t.Errorf("answers[%q] names %s, which its schema does not define", path, m[1])
			}
		}
	}
}
