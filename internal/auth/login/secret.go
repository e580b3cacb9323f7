package login

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// secret is a string that never shows itself: not with any verb of fmt, not by
// reflection from within a value that holds it, not in a log. Only text does. In
// JSON, which is how it gets into its file, it is itself.
type secret struct{ reveal func() string }

func hide(text string) secret { return secret{func() string { return text }} }

func (s secret) text() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

const masked = "***"

// Format prints the mask, whatever the verb.
func (s secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// LogValue is the mask, too.
func (s secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalJSON writes the text.
func (s secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.text()) }

// UnmarshalJSON reads the text.
func (s *secret) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	*s = hide(text)
	return nil
}

// keys are credentials and where they are from.
type keys struct {
	Found  Found
	ID     string
	Secret secret
	Token  secret // of temporary credentials
}

// maskKeyID shortens an access key id to what tells two of them apart.
func maskKeyID(id string) string {
	if len(id) < 12 {
		return masked
	}
	return id[:4] + "…" + id[len(id)-4:]
}

// clean makes text of others fit for one line of ours: printable, its last limit
// bytes (the cause stands at the end), without the secrets that are known to stand
// in the user's environment and files.
func (l *Login) clean(text string, limit int) string {
	for _, s := range l.secrets() {
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
func (l *Login) secrets() []string {
	var found []string
	add := func(s string) {
		if len(s) >= minSecret {
			found = append(found, s)
		}
	}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN"} {
		add(l.getenv(name))
	}
	for _, path := range l.profileFiles() {
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
