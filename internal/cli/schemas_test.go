package cli

import (
	"bytes"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// held are the commands whose output was held to their schema.
type held struct {
	mu       sync.Mutex
	compiled map[string]*jsonschema.Schema
}

var seen = &held{compiled: map[string]*jsonschema.Schema{}}

// hold validates what a command printed, where it was asked for JSON and has printed some.
func (h *held) hold(args []string, stdout string) error {
	if !slices.Contains(args, "json") || strings.TrimSpace(stdout) == "" {
		return nil
	}
	command := ""
	for c := range answers {
		words := strings.Fields(c)[1:]
		if len(words) <= len(args) && slices.Equal(args[:len(words)], words) && len(c) > len(command) {
			command = c
		}
	}
	if command == "" {
		return fmt.Errorf("no command in answers prints what cortex %s does", strings.Join(args, " "))
	}
	schema, err := h.schema(command)
	if err != nil {
		return err
	}
	documents := []string{stdout}
	if answers[command].lines {
		documents = slices.Collect(strings.Lines(stdout))
	}
	for _, d := range documents {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(d))
		if err != nil {
			return fmt.Errorf("cortex %s prints no JSON: %w\n%s", strings.Join(args, " "), err, d)
		}
		if err := schema.Validate(doc); err != nil {
			return fmt.Errorf("cortex %s prints what its schema does not say: %w\n%s", strings.Join(args, " "), err, d)
		}
	}
	return nil
}

func (h *held) schema(command string) (*jsonschema.Schema, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.compiled[command]; s != nil {
		return s, nil
	}
	text, err := answers[command].schema(command)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("answer.json", doc); err != nil {
		return nil, err
	}
	s, err := c.Compile("answer.json")
	h.compiled[command] = s
	return s, err
}

// complete wants the output of every command to have been held to its schema.
func (h *held) complete(t *testing.T) {
	if t.Failed() || strings.Contains(flag.Lookup("test.run").Value.String(), "/") {
		return // not every script has run to its end
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	elsewhere := []string{"cortex cluster info", "cortex cluster down", "cortex submit", "cortex token"} // TestClusterOnAWS, and async.txtar and access-server.txtar of e2e
	for command := range answers {
		if !slices.Contains(elsewhere, command) && h.compiled[command] == nil {
			t.Errorf("no script runs %s -o json, so nothing holds it to its schema", command)
		}
	}
}

// A schema says what is always there and what its type is.
func TestSchemasRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ args, wrong string }{
		{"get -o json", `{"env_name": "local"}`},
		{"get -o json", `null`},
		{"describe iris -o json", `[{"spec": {"name": 1}}]`},
		{"delete iris -o json", `{}`},
		{"version -o json", `{"cli_version": 1}`},
		{"keys list -o json", `[{"name": "a", "id": "aaaaaaaa", "apis": [], "state": "active"}]`},
		{"secret list -o json", `[{"name": "a", "used_by": []}]`},
		{"secret list -o json", `[{"name": "a", "used_by": [], "set_at": "yesterday"}]`},
		{"logs iris -o json", `{"text": 1}`},
		{"env list -o json", `{"environments": [{"name": "a"}], "default_environment": ""}`},
		{"local status -o json", `{"running": true, "socket": ""}`},
	} {
		if err := seen.hold(strings.Fields(tt.args), tt.wrong); err == nil {
			t.Errorf("the schema of %q takes %s", tt.args, tt.wrong)
		}
	}
}
