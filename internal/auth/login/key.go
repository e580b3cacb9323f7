package login

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// fingerprinted are the variables that decide which credentials are found, in the
// order in which they stand in a key.
var fingerprinted = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
	"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
}

// aliases are names that the SDK for Go also reads, when those above are not set.
var aliases = map[string]string{"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_KEY"} //nolint:gosec // names

// Bounds of what a key reads.
const (
	maxAWSFile  = 16 << 20 // the two files of profiles
	maxSSOFile  = 1 << 20
	maxSSOFiles = 100
)

// env is the value of a variable or of its alias.
func (l *Login) env(name string) string {
	if v := l.getenv(name); v != "" {
		return v
	}
	if alias, ok := aliases[name]; ok {
		return l.getenv(alias)
	}
	return ""
}

// key is the name of a session: the hex SHA-256 of lines that say for whom and
// with which credentials it was made. Other credentials have another key, so that
// nobody ever works under an identity that they have just switched away from.
func (l *Login) key() string {
	lines := []string{"cortex-session-1", l.endpoint, l.clusterID}
	for _, name := range fingerprinted {
		if v := l.env(name); v != "" {
			lines = append(lines, name+"="+digest([]byte(v)))
		}
	}
	for i, name := range []string{"credentials=", "config="} {
		data, err := readBounded(l.profileFiles()[i], maxAWSFile)
		if err != nil {
			lines = append(lines, name+"none")
			continue
		}
		lines = append(lines, name+digest(data))
	}
	return digest([]byte(strings.Join(append(lines, l.ssoLines()...), "\n")))
}

// ssoLines is one line for each cached login of IAM Identity Center.
func (l *Login) ssoLines() []string {
	home := l.getenv("HOME")
	if home == "" {
		return nil
	}
	dir := filepath.Join(home, ".aws", "sso", "cache")
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !strings.HasSuffix(e.Name(), ".json") })
	var lines []string
	for _, e := range entries[:min(len(entries), maxSSOFiles)] {
		if data, err := readBounded(filepath.Join(dir, e.Name()), maxSSOFile); err == nil {
			lines = append(lines, "sso/"+e.Name()+"="+digest(data))
		}
	}
	return lines
}

// profileFiles are the paths of the shared credentials file and of the config
// file; empty where the home folder is unknown.
func (l *Login) profileFiles() [2]string {
	home, paths := l.getenv("HOME"), [2]string{l.getenv("AWS_SHARED_CREDENTIALS_FILE"), l.getenv("AWS_CONFIG_FILE")}
	for i, name := range []string{"credentials", "config"} {
		if paths[i] == "" && home != "" {
			paths[i] = filepath.Join(home, ".aws", name)
		}
	}
	return paths
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
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
