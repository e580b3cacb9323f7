// Package httpserve answers HTTP requests from a listener until it is told to stop.
//
// It promises bounds on what a connection can take before its request is known, and
// that answers under way have a moment at the end. It must not know what is served,
// nor to whom: the light programs use it too.
package httpserve

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Bounds of one connection, and how long an answer under way may take at the end.
const (
	headTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	maxHead     = 32 << 10
	lastAnswers = 5 * time.Second
)

// Serve answers requests from ln until ctx ends; streams end with it. It is for
// management, health and metrics; APIs are served by package relay.
func Serve(ctx context.Context, ln net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // of handshakes that anybody can break off
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	graceful, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	if err := server.Shutdown(graceful); err != nil {
		server.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
