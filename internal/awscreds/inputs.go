package awscreds

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// fingerprinted are the variables that decide which credentials are found, in the
// order of their lines.
var fingerprinted = []string{
	"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_DEFAULT_PROFILE",
	"AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME", "AWS_WEB_IDENTITY_TOKEN_FILE",
	"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
}

// aliases are names that the SDK for Go also reads, when those above are not set.
var aliases = map[string]string{"AWS_ACCESS_KEY_ID": "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY": "AWS_SECRET_KEY"} //nolint:gosec // names

// Bounds of what is read.
const (
	maxAWSFile  = 16 << 20 // the two files of profiles
	maxSSOFile  = 1 << 20
	maxSSOFiles = 100
)

// env is the value of a variable or of its alias.
func (r Resolver) env(name string) string {
	if v := r.Getenv(name); v != "" {
		return v
	}
	if alias, ok := aliases[name]; ok {
		return r.Getenv(alias)
	}
	return ""
}

// Inputs are lines that change when other credentials would be found: the variables,
// the files of profiles and the cached logins that decide it, each as a digest. Asking
// for them starts nothing and asks nobody. What the lines cannot see is what a process,
// a container or an instance would answer.
//
// They are a format: the Python client makes the same.
func (r Resolver) Inputs() []string {
	r = r.withDefaults()
	var lines []string
	for _, name := range fingerprinted {
		if v := r.env(name); v != "" {
			lines = append(lines, name+"="+digest([]byte(v)))
		}
	}
	for i, name := range []string{"credentials=", "config="} {
		data, err := readBounded(r.profileFiles()[i], maxAWSFile)
		if err != nil {
			lines = append(lines, name+"none")
			continue
		}
		lines = append(lines, name+digest(data))
	}
	return append(lines, r.ssoLines()...)
}

// ssoLines is one line for each cached login of IAM Identity Center.
func (r Resolver) ssoLines() []string {
	home := r.Getenv("HOME")
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

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
