package environments

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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

// File is the cli.yaml of a configuration folder, and the local.yaml beside it.
type File struct{ dir string }

// In returns the files of the configuration folder dir and looks at nothing yet.
func In(dir string) File { return File{dir} }

// Path is where the file is, or will be.
func (f File) Path() string { return filepath.Join(f.dir, "cli.yaml") }

// localPath is where the settings of the local environment are.
func (f File) localPath() string { return filepath.Join(f.dir, "local.yaml") }

// Read reads and checks the file; a missing one is empty.
func (f File) Read() (*Config, error) {
	c, err := f.parse()
	if err != nil {
		return nil, err
	}
	c.ignore()
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

// ignore leaves out what releases 0.18 to 0.25 wrote for this machine. It is no mistake
// of the user, who could do nothing before it is gone.
func (c *Config) ignore() {
	c.Environments = slices.DeleteFunc(c.Environments, func(e Environment) bool {
		if !e.ofOldLocal() {
			return false
		}
		c.Ignored = append(c.Ignored, fmt.Sprintf(
			"the environment %s is of a release before 0.26 and is ignored; `cortex env delete %s` removes it (this machine is always the environment %s)",
			e.Name, e.Name, Local))
		if c.DefaultEnvironment == e.Name {
			c.DefaultEnvironment = Local
		}
		return true
	})
}

// parse reads the files without checking their entries. Settings of the local environment
// that earlier builds wrote into cli.yaml hold where it has no file of its own.
func (f File) parse() (*Config, error) {
	c := &Config{}
	if err := decode(f.Path(), c); err != nil {
		return nil, err
	}
	if len(c.Environments) > maxEnvironments {
		return nil, unreadable(f.Path(), fmt.Errorf("it has more than %d environments", maxEnvironments))
	}
	local := Environment{}
	if err := decode(f.localPath(), &local); err != nil {
		return nil, err
	}
	if local != (Environment{}) {
		local.Name = Local
		c.Environments = append([]Environment{local}, slices.DeleteFunc(c.Environments, Environment.IsLocal)...)
	}
	return c, nil
}

func unreadable(path string, err error) error {
	return fault.New(fault.Invalid, "configreader.invalid_yaml", "reading %s: %w", path, err).
		WithHint("correct the file, or move it away to start with the local environment only")
}

// decode reads the YAML of the file at path into v, which stays as it is when there is none.
func decode(path string, v any) error {
	opened, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unreadable(path, err)
	}
	defer opened.Close()
	data, err := io.ReadAll(io.LimitReader(opened, maxConfigBytes+1))
	switch {
	case err != nil:
		return unreadable(path, err)
	case len(data) > maxConfigBytes:
		return unreadable(path, fmt.Errorf("it is larger than %d bytes", maxConfigBytes))
	case len(strings.TrimSpace(string(data))) == 0:
		return nil
	}
	if err := yaml.Unmarshal(data, v); err != nil {
		return unreadable(path, err)
	}
	return nil
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
	return f.write(c)
}

// write writes c into its two files.
func (f File) write(c *Config) error {
	ours := func(e Environment) bool { return e.IsLocal() && !e.ofOldLocal() }
	local := Environment{}
	if i := slices.IndexFunc(c.Environments, ours); i >= 0 {
		local = c.Environments[i]
		local.Name = ""
	}
	shared := *c
	shared.Environments = slices.DeleteFunc(slices.Clone(c.Environments), ours)
	var err error
	if local == (Environment{}) {
		if err = os.Remove(f.localPath()); errors.Is(err, os.ErrNotExist) {
			err = nil
		}
	} else {
		err = encode(f.localPath(), local)
	}
	if err != nil {
		return err
	}
	return encode(f.Path(), shared)
}

// encode makes the YAML of v the content of the file at path.
func encode(path string, v any) error {
	var text bytes.Buffer
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := errors.Join(encoder.Encode(v), encoder.Close()); err != nil {
		return err
	}
	return atomicfile.Replace(path, text.Bytes())
}
