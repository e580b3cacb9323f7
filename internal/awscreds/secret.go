package awscreds

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Secret is a string that never shows itself: not with any verb of fmt, not by
// reflection from within a value that holds it, not in a log. Only Text does. In
// JSON, which is how a session gets into its file, it is itself.
type Secret struct{ reveal func() string }

// Hide makes a Secret of text.
func Hide(text string) Secret { return Secret{func() string { return text }} }

// Text is the string itself.
func (s Secret) Text() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

const masked = "***"

// Format prints the mask, whatever the verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, masked) }

// LogValue is the mask, too.
func (s Secret) LogValue() slog.Value { return slog.StringValue(masked) }

// MarshalJSON writes the text.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.Text()) }

// UnmarshalJSON reads the text.
func (s *Secret) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	*s = Hide(text)
	return nil
}

// MaskID shortens an access key id to what tells two of them apart.
func MaskID(id string) string {
	if len(id) < 12 {
		return masked
	}
	return id[:4] + "…" + id[len(id)-4:]
}
