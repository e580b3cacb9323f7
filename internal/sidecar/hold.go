package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// keeper is what a sidecar does for a pod that runs to its end, of which something is fetched
// when its containers have ended: it is the last to go.
type keeper struct {
	stay   time.Duration // how long it stays after it was told to end
	result string        // file that a task leaves; empty: none
	words  string        // file of the last words of this container

	released chan struct{} // closed when nobody needs it any more
	once     sync.Once
}

func newKeeper(stay time.Duration, result string) *keeper {
	return &keeper{stay: stay, result: result, words: "/dev/termination-log", released: make(chan struct{})}
}

// release has hold return.
func (h *keeper) release(w http.ResponseWriter, _ *http.Request) {
	h.once.Do(func() { close(h.released) })
	w.WriteHeader(http.StatusNoContent)
}

// maxWords is how much Kubernetes keeps of the last words of a container.
const maxWords = 4096

// hold returns when whoever needs something of this pod has it, or the pod has waited for
// long enough.
func (h *keeper) hold() {
	select {
	case <-h.released:
	case <-time.After(h.stay):
	}
}

// keep is the whole of a sidecar of a task: it forwards nothing, and has what the task left.
func (h *keeper) keep(ctx context.Context, admin net.Listener, metrics http.Handler, log *slog.Logger) error {
	if err := h.make(); err != nil {
		return fmt.Errorf("making the file for the result: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "alive") })
	mux.HandleFunc("GET "+workload.ResultPath, h.tell)
	mux.HandleFunc("POST "+workload.ReleasePath, h.release)
	mux.HandleFunc("POST /drain", func(w http.ResponseWriter, _ *http.Request) { say(w, http.StatusOK, "nothing is in flight") })
	mux.Handle("GET /metrics", metrics)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 64 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	var all sync.WaitGroup
	defer all.Wait()
	defer func() { // who has released it hears so
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if server.Shutdown(last) != nil {
			_ = server.Close()
		}
	}()
	failed := make(chan error, 1)
	all.Go(func() { failed <- server.Serve(admin) })
	log.Info("waiting for what the task leaves", "file", h.result)
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	// Kubernetes has them in the pod's status also when nobody comes in time.
	if err := h.lastWords(); err != nil {
		log.Warn("a result is lost if nobody fetches it", "error", err)
	}
	h.hold()
	return nil
}

// make makes the file for the result: the task may run as any user, and is to find one that
// it can write.
func (h *keeper) make() error {
	if h.result == "" {
		return nil
	}
	if err := os.WriteFile(h.result, nil, 0o600); err != nil {
		return err
	}
	return os.Chmod(h.result, 0o666) //nolint:gosec // in a folder of this pod
}

// lastWords makes the result those of this container, if it is short enough.
func (h *keeper) lastWords() error {
	f, err := h.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxWords+1))
	if err != nil || len(data) == 0 || len(data) > maxWords {
		return err
	}
	return os.WriteFile(h.words, data, 0o600)
}

// open opens the result: a file, and nothing else that a task may have put there.
func (h *keeper) open() (*os.File, error) {
	if h.result == "" {
		return nil, fs.ErrNotExist
	}
	f, err := os.OpenFile(h.result, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		_ = f.Close() // nothing was read
		return nil, fmt.Errorf("%s is no file", h.result)
	}
	return f, nil
}

// tell answers with the result, as far as one is kept.
func (h *keeper) tell(w http.ResponseWriter, _ *http.Request) {
	f, err := h.open()
	if errors.Is(err, fs.ErrNotExist) { // the task removed it
		return
	}
	if err != nil {
		say(w, http.StatusInternalServerError, "the result cannot be read: "+err.Error())
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = io.Copy(w, io.LimitReader(f, workload.MaxInlineResult+1)) // the asker may be gone
}
