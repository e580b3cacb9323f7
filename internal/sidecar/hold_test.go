package sidecar

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// keeping runs a keeper until its context ends, and returns what asks it.
func keeping(t *testing.T, h *keeper) (ask func(method, path string) (int, string), end func(), ended chan error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() { ended <- h.keep(ctx, ln, http.NotFoundHandler(), slog.New(slog.DiscardHandler)) }()
	return func(method, path string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+ln.Addr().String()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}, cancel, ended
}

// What a task leaves is there after it, until somebody has it; a short one is also told by
// the last words of the sidecar.
func TestWhatATaskLeaves(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		leave func(path string) error
		want  string
		code  int
		words string
	}{
		{name: "nothing", leave: func(string) error { return nil }, code: 200},
		{name: "a result", leave: func(path string) error { return os.WriteFile(path, []byte(`{"rate": 1}`), 0o600) }, code: 200, want: `{"rate": 1}`, words: `{"rate": 1}`},
		{name: "a long one", leave: func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("x", 5000)), 0o600) }, code: 200, want: strings.Repeat("x", 5000)},
		{name: "more than is kept", leave: func(path string) error {
			return os.WriteFile(path, make([]byte, workload.MaxInlineResult+100), 0o600)
		}, code: 200, want: string(make([]byte, workload.MaxInlineResult+1))},
		{name: "no file", leave: os.Remove, code: 200},
		{name: "a link", leave: func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Symlink("/etc/passwd", path)
		}, code: 500},
		{name: "a folder", leave: func(path string) error {
			if err := os.Remove(path); err != nil {
				return err
			}
			return os.Mkdir(path, 0o700)
		}, code: 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			h := newKeeper(time.Minute, filepath.Join(dir, "result"))
			h.words = filepath.Join(dir, "words")
			ask, end, ended := keeping(t, h)
			if code, _ := ask(http.MethodPost, "/drain"); code != http.StatusOK {
				t.Errorf("/drain answers with %d", code)
			}
			if info, err := os.Stat(h.result); err != nil || info.Mode().Perm() != 0o666 {
				t.Errorf("the file for the result is %v, %v; want one that any user may write", info, err)
			}
			if err := tt.leave(h.result); err != nil {
				t.Fatal(err)
			}
			end() // as Kubernetes does when the task has ended
			code, got := ask(http.MethodGet, workload.ResultPath)
			if code != tt.code || code == 200 && got != tt.want {
				t.Errorf("the result is %d, %d bytes; want %d, %d bytes", code, len(got), tt.code, len(tt.want))
			}
			ask(http.MethodPost, workload.ReleasePath)
			if err := <-ended; err != nil {
				t.Errorf("keep() = %v", err)
			}
			words, _ := os.ReadFile(h.words) // none is no error
			if string(words) != tt.words {
				t.Errorf("its last words are %q, want %q", words, tt.words)
			}
		})
	}
}

// It goes by itself when nobody comes.
func TestNobodyComes(t *testing.T) {
	t.Parallel()
	_, end, ended := keeping(t, newKeeper(10*time.Millisecond, ""))
	end()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("keep() = %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("it stays")
	}
}
