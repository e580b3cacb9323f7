package manifest

import (
	"errors"
	"io"
	"io/fs"
	"os"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Read returns the text of the file at path. It never reads more than
// workload.MaxConfigBytes, whatever the path names. Errors are faults that say
// what is wrong with the path and what to do.
func Read(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.New(fault.NotFound, "cli.cortex_yaml_not_found", "%s: there is no such file", path).
			WithHint("name the file to read, or change to its folder")
	case err != nil:
		return nil, fault.New(fault.Invalid, "cli.cortex_yaml_not_found", "%s: cannot be read: %w", path, reason(err))
	case info.IsDir():
		return nil, fault.New(fault.Invalid, "cli.cortex_yaml_not_found", "%s is a directory", path).
			WithHint("name the file in it, such as %s", cortexYAMLIn(path))
	case info.Size() > workload.MaxConfigBytes:
		return nil, tooLarge(path, info.Size())
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.New(fault.Invalid, "cli.cortex_yaml_not_found", "%s: cannot be read: %w", path, reason(err))
	}
	defer func() { _ = f.Close() }() // nothing was written
	// A pipe or a device has no size, so the bound is enforced again.
	data, err := io.ReadAll(io.LimitReader(f, workload.MaxConfigBytes+1))
	if err != nil {
		return nil, fault.New(fault.Invalid, "cli.cortex_yaml_not_found", "%s: cannot be read: %w", path, reason(err))
	}
	if len(data) > workload.MaxConfigBytes {
		return nil, tooLarge(path, int64(len(data)))
	}
	return data, nil
}

// reason returns what the system said, without the path it repeats.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func cortexYAMLIn(dir string) string {
	for len(dir) > 1 && dir[len(dir)-1] == '/' {
		dir = dir[:len(dir)-1]
	}
	return dir + "/cortex.yaml"
}
