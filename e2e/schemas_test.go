package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemas are those of what commands print, by command, as `cortex schema` prints them.
var schemas sync.Map

// holdToSchema validates what a command printed as JSON.
func holdToSchema(ts *testscript.TestScript, args []string, stdout string) error {
	if strings.TrimSpace(stdout) == "" {
		return nil
	}
	schema, err := printedSchema(ts, args)
	if err != nil {
		return err
	}
	d := jsonschema.UnmarshalJSON
	documents := []string{stdout}
	if _, err := d(strings.NewReader(stdout)); err != nil {
		documents = strings.Split(strings.TrimSpace(stdout), "\n") // one in each line
	}
	for _, text := range documents {
		doc, err := d(strings.NewReader(text))
		if err == nil {
			err = schema.Validate(doc)
		}
		if err != nil {
			return fmt.Errorf("cortex %s prints what its schema does not say: %w\n%s", strings.Join(args, " "), err, text)
		}
	}
	return nil
}

// printedSchema is the schema of the command that begins args: of two words, or of one.
func printedSchema(ts *testscript.TestScript, args []string) (*jsonschema.Schema, error) {
	var failed error
	for n := min(2, len(args)); n > 0; n-- {
		command := strings.Join(args[:n], " ")
		if s, ok := schemas.Load(command); ok {
			return s.(*jsonschema.Schema), nil
		}
		cmd := exec.Command(filepath.Join(bin, "cortex"), append([]string{"schema"}, args[:n]...)...)
		cmd.Env = []string{"HOME=" + ts.Getenv("HOME")}
		text, err := cmd.Output()
		if err != nil {
			failed = err
			continue
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
		if err != nil {
			return nil, err
		}
		schemas.Store(command, s)
		return s, nil
	}
	return nil, fmt.Errorf("cortex %s has no schema: %w", strings.Join(args, " "), failed)
}
