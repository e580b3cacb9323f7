package environments

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/filelock"
)

// Bounds of what is read.
const (
	maxConfigBytes  = 1 << 20
	maxEnvironments = 1000
)

// File is the cli.yaml of a configuration folder.
type File struct{ dir string }

// In returns the file of the configuration folder dir and looks at nothing yet.
func In(dir string) File { return File{dir} }

// Path is where the file is, or will be.
func (f File) Path() string { return filepath.Join(f.dir, "cli.yaml") }

// Read reads and checks the file; a missing one is empty.
func (f File) Read() (*Config, error) {
	c, err := f.parse()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, e := range c.Environments {
		if err := e.Check(); err != nil {
			wrong := fault.From(fmt.Errorf("%s: %w", f.Path(), err))
			if wrong.Hint == "" {
				wrong = wrong.WithHint("correct the file, or remove the entry with `cortex env delete %s`", e.Name)
			}
			return nil, wrong
		}
		if seen[e.Name] {
			return nil, fault.New(fault.Invalid, "cliconfig.duplicate_environment_names",
				"%s: duplicate environment names (%s is defined more than once)", f.Path(), e.Name).
				WithHint("remove one of them from the file")
		}
		seen[e.Name] = true
	}
	return c, nil
}

// parse reads the file without checking its entries.
func (f File) parse() (*Config, error) {
	opened, err := os.Open(f.Path())
	if errors.Is(err, os.ErrNotExist) {
		return &Config{}, nil
	}
	unreadable := func(err error) error {
		return fault.New(fault.Invalid, "configreader.invalid_yaml", "reading %s: %w", f.Path(), err).
			WithHint("correct the file, or move it away to start with the local environment only")
	}
	if err != nil {
		return nil, unreadable(err)
	}
	defer opened.Close()
	data, err := io.ReadAll(io.LimitReader(opened, maxConfigBytes+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(data) > maxConfigBytes {
		return nil, unreadable(fmt.Errorf("it is larger than %d bytes", maxConfigBytes))
	}
	c := &Config{}
	if len(strings.TrimSpace(string(data))) == 0 {
		return c, nil
	}
	if err := yaml.Unmarshal(data, c); err != nil {
		return nil, unreadable(err)
	}
	if len(c.Environments) > maxEnvironments {
		return nil, unreadable(fmt.Errorf("it has more than %d environments", maxEnvironments))
	}
	return c, nil
}

// Change lets fn change the configuration while nobody else does. When fn fails the
// file stays as it is. Entries are not checked before, so that a bad one can be
// removed; what fn makes must be good.
func (f File) Change(ctx context.Context, fn func(*Config) error) error {
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return fmt.Errorf("creating the configuration folder: %w", err)
	}
	unlock, err := filelock.Lock(ctx, f.dir, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("locking %s: %w", f.dir, err)
	}
	defer unlock()
	c, err := f.parse()
	if err != nil {
		return err
	}
	if err := fn(c); err != nil {
		return err
	}
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(c), encoder.Close()); err != nil {
		return err
	}
	return atomicfile.Replace(f.Path(), text.Bytes())
}
