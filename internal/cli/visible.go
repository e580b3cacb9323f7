package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"cortex.dev/cortex/internal/workload"
)

// visible shows control characters instead of handing them to a terminal, which would
// obey them: a log line could clear the screen, or hide what comes after it
// (CVE-2021-25743).
func visible(text string) string {
	if strings.IndexFunc(text, obeyed) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case !obeyed(r):
			b.WriteRune(r)
		case r < ' ':
			b.WriteString("^" + string(r+'@'))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// obeyed reports whether a terminal does something else with r than to show it.
func obeyed(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' }

// visibleIn is v with every text in it visible.
func visibleIn[T any](v T) T {
	data, err := json.Marshal(v)
	if err != nil || !mayHoldControls(data) {
		return v
	}
	var all any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if err := decoder.Decode(&all); err != nil {
		return v
	}
	var shown T
	if data, err = json.Marshal(visibleAny(all)); err != nil || json.Unmarshal(data, &shown) != nil {
		return v
	}
	return shown
}

// mayHoldControls is a quick look at JSON, since hardly any does.
func mayHoldControls(data []byte) bool {
	for _, written := range []string{`\u000`, `\u001`, `\r`, `\b`, `\f`, "\x7f", "\xc2"} {
		if bytes.Contains(data, []byte(written)) {
			return true
		}
	}
	return false
}

func visibleAny(v any) any {
	switch v := v.(type) {
	case string:
		return visible(v)
	case []any:
		for i := range v {
			v[i] = visibleAny(v[i])
		}
	case map[string]any:
		shown := make(map[string]any, len(v))
		for key, each := range v {
			shown[visible(key)] = visibleAny(each)
		}
		return shown
	}
	return v
}

// visibleService is a Service whose answers can be shown to people.
type visibleService struct{ workload.Service }

func (s visibleService) Info(ctx context.Context) (workload.Info, error) {
	v, err := s.Service.Info(ctx)
	return visibleIn(v), err
}

func (s visibleService) Deploy(ctx context.Context, req workload.DeployRequest) ([]workload.DeployResult, error) {
	v, err := s.Service.Deploy(ctx, req)
	return visibleIn(v), err
}

func (s visibleService) List(ctx context.Context) ([]workload.APIResponse, error) {
	v, err := s.Service.List(ctx)
	return visibleIn(v), err
}

func (s visibleService) Get(ctx context.Context, name string) (workload.APIResponse, error) {
	v, err := s.Service.Get(ctx, name)
	return visibleIn(v), err
}

func (s visibleService) Version(ctx context.Context, name, id string) (workload.APIResponse, error) {
	v, err := s.Service.Version(ctx, name, id)
	return visibleIn(v), err
}

func (s visibleService) Describe(ctx context.Context, name string) (workload.APIResponse, error) {
	v, err := s.Service.Describe(ctx, name)
	return visibleIn(v), err
}

func (s visibleService) History(ctx context.Context, name string) ([]workload.APIVersion, error) {
	v, err := s.Service.History(ctx, name)
	return visibleIn(v), err
}

func (s visibleService) Rollback(ctx context.Context, name, id string) (workload.DeployResult, error) {
	v, err := s.Service.Rollback(ctx, name, id)
	return visibleIn(v), err
}

func (s visibleService) Refresh(ctx context.Context, name string, force bool) (workload.Message, error) {
	v, err := s.Service.Refresh(ctx, name, force)
	return visibleIn(v), err
}

func (s visibleService) Stop(ctx context.Context, name string) (workload.DeployResult, error) {
	v, err := s.Service.Stop(ctx, name)
	return visibleIn(v), err
}

func (s visibleService) Start(ctx context.Context, name string) (workload.DeployResult, error) {
	v, err := s.Service.Start(ctx, name)
	return visibleIn(v), err
}

func (s visibleService) Resize(ctx context.Context, name string, n int) (workload.DeployResult, error) {
	v, err := s.Service.Resize(ctx, name, n)
	return visibleIn(v), err
}

func (s visibleService) Delete(ctx context.Context, name string, opts workload.DeleteOptions) (workload.Message, error) {
	v, err := s.Service.Delete(ctx, name, opts)
	return visibleIn(v), err
}

func (s visibleService) Logs(ctx context.Context, q workload.LogQuery, fn func(workload.LogLine) error) error {
	return s.Service.Logs(ctx, q, func(l workload.LogLine) error { return fn(visibleIn(l)) })
}

func (s visibleService) Events(ctx context.Context, q workload.EventQuery, fn func(workload.Event) error) error {
	return s.Service.Events(ctx, q, func(e workload.Event) error { return fn(visibleIn(e)) })
}

func (s visibleService) Watch(ctx context.Context, q workload.WatchQuery, fn func(workload.Watched) error) error {
	return s.Service.Watch(ctx, q, func(w workload.Watched) error { return fn(visibleIn(w)) })
}

func (s visibleService) Explain(ctx context.Context, name string) (workload.Explanation, error) {
	v, err := s.Service.Explain(ctx, name)
	return visibleIn(v), err
}

// visibleWriter shows the control characters of a stream.
type visibleWriter struct {
	to   io.Writer
	rest []byte // the beginning of a character
}

// incomplete is how many bytes at the end are the beginning of a character.
func incomplete(text []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(text); n++ {
		if tail := text[len(text)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}

// Write writes whole characters; the beginning of one waits for its end.
func (w *visibleWriter) Write(p []byte) (int, error) {
	text := append(w.rest, p...)
	whole := len(text) - incomplete(text)
	w.rest = bytes.Clone(text[whole:])
	_, err := io.WriteString(w.to, visible(string(text[:whole])))
	return len(p), err
}

// Flush writes what is left when the stream has ended.
func (w *visibleWriter) Flush() error {
	_, err := io.WriteString(w.to, visible(string(w.rest)))
	w.rest = nil
	return err
}
