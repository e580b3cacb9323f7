package awscreds

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// profileFiles are the paths of the shared credentials file and of the config
// file; empty where the home folder is unknown.
func (r Resolver) profileFiles() [2]string {
	home, paths := r.Getenv("HOME"), [2]string{r.Getenv("AWS_SHARED_CREDENTIALS_FILE"), r.Getenv("AWS_CONFIG_FILE")}
	for i, name := range []string{"credentials", "config"} {
		if paths[i] == "" && home != "" {
			paths[i] = filepath.Join(home, ".aws", name)
		}
	}
	return paths
}

// profiles are the names of the profiles that exist, in the order of their files.
func (r Resolver) profiles() []string {
	names, _ := r.sections()
	return names
}

// circle is the way of source_profile from a profile back to one that it came by; nil
// when it ends.
func (r Resolver) circle(profile string) []string {
	_, next := r.sections()
	way := []string{profile}
	for at := next[profile]; at != ""; at = next[at] {
		seen := slices.Contains(way, at)
		if way = append(way, at); seen {
			return way
		}
	}
	return nil
}

// sections are the names of the profiles, and the source_profile of those that have one.
func (r Resolver) sections() (names []string, sources map[string]string) {
	sources = map[string]string{}
	for i, path := range r.profileFiles() {
		data, err := readBounded(path, maxAWSFile)
		if err != nil {
			continue
		}
		at := ""
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if key, value, ok := strings.Cut(line, "="); ok && at != "" && strings.TrimSpace(key) == "source_profile" {
				sources[at] = strings.TrimSpace(value)
				continue
			}
			head, _, closed := strings.Cut(line, "]")
			if !closed || !strings.HasPrefix(head, "[") {
				continue
			}
			name := strings.TrimSpace(head[1:])
			rest, prefixed := strings.CutPrefix(name, "profile ")
			at = ""
			if isConfig := i == 1; prefixed != isConfig && (!isConfig || name != defaultProfile) {
				continue
			}
			name = strings.TrimSpace(rest)
			if at = name; !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names, sources
}

var errNotReadable = errors.New("it is not a readable file")

// readBounded reads a whole file of at most limit bytes. It does not touch a pipe:
// what is read from one is gone, and the SDK wants to read it.
func readBounded(path string, limit int64) ([]byte, error) {
	if path == "" {
		return nil, errNotReadable
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode()&(os.ModeNamedPipe|os.ModeSocket|os.ModeDir) != 0 {
		return nil, errNotReadable
	}
	data := make([]byte, 0, min(info.Size(), limit)+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case int64(len(data)) > limit:
			return nil, errNotReadable
		case errors.Is(err, io.EOF):
			return data, nil
		case err != nil:
			return nil, err
		case len(data) == cap(data):
			data = append(data, 0)[:len(data)]
		}
	}
}
