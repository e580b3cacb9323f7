// Command server answers HTTP requests with the species of an iris. It is what a
// container of a RealtimeAPI looks like: it listens on CORTEX_PORT, says on
// /healthz when it is ready, and finishes what it has begun when it is told to
// stop. It needs the standard library and nothing of Cortex.
//
//	POST /         {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}
//	               or a list of such flowers; the answer has the same shape
//	GET  /healthz  200 once the model is loaded
//
// Environment: CORTEX_PORT (8080), MODEL (model-v1.json), and WORK, a duration
// for which every answer is held back: the model takes microseconds, and a bigger
// one can be imagined by WORK=25ms.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cortex.dev/cortex/examples/iris/classifier"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	if err := run(ctx, os.Getenv, log); err != nil {
		log.Error("the server ends", "error", err)
		os.Exit(1) //nolint:gocritic // the process is over: the deferred stop has nothing left to do
	}
}

func run(ctx context.Context, getenv func(string) string, log *slog.Logger) error {
	model, err := classifier.Load(or(getenv("MODEL"), "model-v1.json"))
	if err != nil {
		return err
	}
	work, err := time.ParseDuration(or(getenv("WORK"), "0s"))
	if err != nil {
		return fmt.Errorf("WORK: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ":"+or(getenv("CORTEX_PORT"), "8080"))
	if err != nil {
		return err
	}
	log.Info("ready", "model", model.Version, "address", listener.Addr().String())
	server := &http.Server{Handler: handler(model, work), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	log.Info("told to stop: finishing what has begun")
	// Not ctx, which is over. Cortex waits a minute before it kills.
	finish, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	if err := server.Shutdown(finish); err != nil {
		return fmt.Errorf("shutting down: %w", err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}

// answer is what is said about one flower.
type answer struct {
	Species       string             `json:"species"`
	Probabilities map[string]float64 `json:"probabilities"`
	Model         string             `json:"model"`
}

func handler(model *classifier.Model, work time.Duration) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintln(w, "ok") // a prober that left needs no answer
	})
	mux.HandleFunc("POST /{$}", func(w http.ResponseWriter, r *http.Request) {
		flowers, single, err := parse(http.MaxBytesReader(w, r.Body, maxBody))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		select {
		case <-time.After(work):
		case <-r.Context().Done():
			return // the caller is gone
		}
		answers := make([]answer, len(flowers))
		for i, f := range flowers {
			answers[i] = answer{Species: model.Best(f), Probabilities: map[string]float64{}, Model: model.Version}
			for j, p := range model.Predict(f) {
				answers[i].Probabilities[model.Species[j]] = p
			}
		}
		w.Header().Set("Content-Type", "application/json")
		var body any = answers
		if single {
			body = answers[0]
		}
		_ = json.NewEncoder(w).Encode(body) // the caller may be gone
	})
	return mux
}
