package awscreds

import (
	"fmt"
	"strings"
)

// quoteName is a name out of a file, in quotes where it is no plain word.
func quoteName(name string) string {
	if len(name) <= 128 && name == shellWord(name) {
		return name
	}
	if len(name) > 128 {
		name = name[:128] + "…"
	}
	return fmt.Sprintf("%q", name)
}

// shellWord quotes s where a shell would not take it as one word.
func shellWord(s string) string {
	if strings.IndexFunc(s, func(r rune) bool { return !strings.ContainsRune("-_./+@:", r) && !isAlphanumeric(r) }) < 0 && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

func isAlphanumeric(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}

// clean makes text of others fit for one line of ours: printable, its last limit
// bytes (the cause stands at the end), without the secrets that are known to stand
// in the user's environment and files.
func (r Resolver) clean(text string, limit int) string {
	for _, s := range r.secrets() {
		text = strings.ReplaceAll(text, s, masked)
	}
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r <= ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r == 0xfffd }), " ")
	if len(text) > limit {
		text = "…" + strings.ToValidUTF8(text[len(text)-limit:], "")
	}
	return text
}

// minSecret is the length from which on a value is masked: a shorter one would
// take words with it.
const minSecret = 8

// secrets are the secret values that stand in the environment and in the files of
// profiles, as far as they can be told without the SDK.
func (r Resolver) secrets() []string {
	var found []string
	add := func(s string) {
		if len(s) >= minSecret {
			found = append(found, s)
		}
	}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"} {
		add(r.Getenv(name))
	}
	for _, path := range r.profileFiles() {
		data, err := readBounded(path, maxAWSFile)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			name, value, _ := strings.Cut(line, "=")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "aws_secret_access_key", "aws_session_token":
				add(strings.TrimSpace(value))
			}
		}
	}
	return found
}
