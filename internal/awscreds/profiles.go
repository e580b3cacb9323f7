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
// file; empty where the home folder is unknown. Variables and ~ in them are expanded,
// which the AWS command line does and the SDK does not.
func (r Resolver) profileFiles() [2]string {
	home, paths := r.Getenv("HOME"), [2]string{r.Getenv("AWS_SHARED_CREDENTIALS_FILE"), r.Getenv("AWS_CONFIG_FILE")}
	for i, name := range []string{"credentials", "config"} {
		if paths[i] == "" && home != "" {
			paths[i] = filepath.Join(home, ".aws", name)
		}
		paths[i] = os.Expand(paths[i], func(name string) string {
			if v := r.Getenv(name); v != "" {
				return v
			}
			return "$" + name
		})
		if rest, ok := strings.CutPrefix(paths[i], "~/"); ok && home != "" {
			paths[i] = filepath.Join(home, rest)
		}
	}
	return paths
}

// byteOrderMark is what some editors of Windows begin a file with.
const byteOrderMark = "\ufeff"

// readable refuses a file of which the first profile would be overlooked. The AWS
// command line refuses it too.
func (r Resolver) readable() error {
	for _, path := range r.profileFiles() {
		if data, err := readBounded(path, maxAWSFile); err == nil && strings.HasPrefix(string(data), byteOrderMark) {
			return unproven("auth.config_unreadable", "%s begins with a byte order mark, so its first profile cannot be read", path).
				WithHint("save it as UTF-8 without a byte order mark")
		}
	}
	return nil
}

// section is what is read of a profile besides what the SDK does.
type section struct {
	name    string
	spelled string // as the SDK calls it: with the quotes of [profile "my dev"]
	source  string // source_profile
	process string // credential_process, with its quotes, which the SDK takes away
}

// profiles are the names of the profiles that exist, in the order of their files.
func (r Resolver) profiles() []string {
	var names []string
	for _, s := range r.sections() {
		names = append(names, s.name)
	}
	return names
}

// section returns that of a profile, or nil.
func (r Resolver) section(profile string) *section {
	all := r.sections()
	if i := slices.IndexFunc(all, func(s *section) bool { return s.name == profile }); i >= 0 {
		return all[i]
	}
	return nil
}

// circle is the way of source_profile from a profile back to one that it came by; nil
// when it ends.
func (r Resolver) circle(profile string) []string {
	way := []string{profile}
	for s := r.section(profile); s != nil && s.source != ""; s = r.section(s.source) {
		seen := slices.Contains(way, s.source)
		if way = append(way, s.source); seen {
			return way
		}
	}
	return nil
}

// sections are the profiles that exist, in the order of their files. What the
// credentials file says of one comes before what the config file does.
func (r Resolver) sections() []*section {
	var all []*section
	for i, path := range r.profileFiles() {
		data, err := readBounded(path, maxAWSFile)
		if err != nil {
			continue
		}
		at := &section{} // of no profile
		for line := range strings.Lines(string(data)) {
			line = strings.TrimSpace(line)
			if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "[") {
				at.set(strings.TrimSpace(key), strings.TrimSpace(value))
				continue
			}
			head, _, closed := strings.Cut(line, "]")
			if !closed || !strings.HasPrefix(head, "[") {
				continue
			}
			name := strings.TrimSpace(head[1:])
			rest, prefixed := strings.CutPrefix(name, "profile ")
			at = &section{}
			if isConfig := i == 1; prefixed != isConfig && (!isConfig || name != defaultProfile) {
				continue
			}
			spelled := strings.TrimSpace(rest)
			name = unquoted(spelled)
			if j := slices.IndexFunc(all, func(s *section) bool { return s.name == name }); j >= 0 {
				at = all[j]
				continue
			}
			at = &section{name: name, spelled: spelled}
			all = append(all, at)
		}
	}
	return all
}

func (s *section) set(key, value string) {
	switch {
	case strings.EqualFold(key, "source_profile") && s.source == "":
		s.source = unquoted(value)
	case strings.EqualFold(key, "credential_process") && s.process == "":
		s.process = value
	}
}

// unquoted takes the quotes of a whole text away, as the AWS command line writes them
// around names with spaces.
func unquoted(s string) string {
	if n := len(s); n >= 2 && s[0] == s[n-1] && (s[0] == '"' || s[0] == '\'') {
		return s[1 : n-1]
	}
	return s
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
