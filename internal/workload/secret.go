package workload

import (
	"bytes"
	"fmt"
	"regexp"
	"sync"
	"time"
	"unicode/utf8"
)

// Bounds of secrets.
const (
	MaxSecretBytes      = 64 << 10 // of one value
	MaxSecrets          = 500      // in one environment
	MaxSecretNameLength = 63
)

// Codes of what is wrong with a secret.
const (
	CodeSecretNotFound = "secrets.not_found" //nolint:gosec // a code, not a secret
	CodeSecretInUse    = "secrets.in_use"
	CodeSecretName     = "secrets.invalid_name"
	CodeSecretValue    = "secrets.invalid_value"
	CodeTooManySecrets = "secrets.too_many"
	CodeSecretForeign  = "secrets.not_ours"
)

// Secret is what is known of a secret: everything but its value, which goes in and never
// comes out.
type Secret struct {
	Name   string    `json:"name"`
	SetAt  time.Time `json:"set_at"`
	UsedBy []string  `json:"used_by"` // APIs that are deployed and refer to it, by name
}

// SecretSet is the answer to setting a secret.
type SecretSet struct {
	Name    string `json:"name"`
	Created bool   `json:"created"` // there was none of that name
	// RunWithOld are APIs whose replicas have the value of before until they are replaced.
	RunWithOld []string `json:"run_with_old"`
}

var secretName = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(NamePattern) })

// IsSecretName reports whether a secret could have a name.
func IsSecretName(text string) bool {
	return len(text) <= MaxSecretNameLength && secretName().MatchString(text)
}

// SecretValueProblem says why no variable can have a value, without repeating it; empty
// where one can.
func SecretValueProblem(value []byte) string {
	switch {
	case len(value) == 0:
		return "is empty"
	case len(value) > MaxSecretBytes:
		return fmt.Sprintf("has more than %d bytes", MaxSecretBytes)
	case bytes.IndexByte(value, 0) >= 0:
		return "has a NUL character, which no variable can have"
	case !utf8.Valid(value):
		return "is not UTF-8 text, as variables are on Kubernetes"
	}
	return ""
}
