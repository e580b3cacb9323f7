// Package httpapi is the wire: a handler that serves any workload.Service as
// REST under /v1, and a client that is a workload.Service again.
//
// It promises that the two cancel out: what the service returned in the
// operator's process, results and faults alike, is what the caller of the client
// gets. Every answer that is no success has one shape (a fault with its
// request_id), unknown keys and parameters are refused, every input is bounded,
// and the document at /openapi.json is made from the same table that routes.
//
// With a Guard, nothing but the challenge, the exchange, /healthz and /openapi.json
// is answered before the caller is proven, and no operation runs that its action
// is not permitted for: routes have the action as data.
//
// It must not decide anything about workloads, know where it listens or who may
// call; the service, the listener and auth do.
package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// Headers of every answer.
const (
	headerRequestID = "X-Request-ID"     // taken from the request when it is a plain token
	headerVersion   = "X-Cortex-Version" // Options.Version
)

// Options qualify a handler. The zero value serves without metrics or logs.
type Options struct {
	Metrics http.Handler // serves GET /metrics, which no identity guards: with a Guard it is left out
	Log     *slog.Logger // defects and failed answers; nil discards
	Version string       // of the operator, told in X-Cortex-Version; empty tells nothing

	// Guard stands before every operation that is not open, and brings the
	// operations that prove identities with it. Nil lets everybody do everything.
	Guard auth.Guard
	// Kind returns the kind of an API that is deployed, or was, for the guard; "" when
	// there is none.
	Kind func(ctx context.Context, name string) workload.Kind
}

type handler struct {
	svc   services
	execs chan struct{} // its holders run a command in a replica
	opts  Options
	log   *slog.Logger
	mux   *http.ServeMux
}

// NewHandler serves svc. It starts nothing; streams end when the context of
// their request does, so a server that shuts down should cancel its base context.
func NewHandler(svc workload.Service, opts Options) http.Handler {
	h := &handler{svc: services{svc, opts.Guard, opts.Kind}, execs: make(chan struct{}, maxExecs), opts: opts, log: opts.Log, mux: http.NewServeMux()}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	methods := map[string][]string{}
	handle := func(method, pattern string, serve func(http.ResponseWriter, *http.Request) error) {
		methods[pattern] = append(methods[pattern], method)
		h.mux.HandleFunc(method+" "+pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := serve(w, r); err != nil {
				h.refuse(w, r, err)
			}
		})
	}
	for _, rt := range routes {
		if opts.Guard != nil || !rt.guard {
			handle(rt.method, rt.path, h.serve(rt))
		}
	}
	handle(http.MethodGet, "/healthz", func(w http.ResponseWriter, _ *http.Request) error {
		return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
	})
	handle(http.MethodGet, "/openapi.json", func(w http.ResponseWriter, _ *http.Request) error {
		doc, err := OpenAPI()
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/openapi+json")
		_, _ = w.Write(doc) // the caller is gone; nobody is left to tell
		return nil
	})
	if opts.Metrics != nil && opts.Guard == nil {
		handle(http.MethodGet, "/metrics", func(w http.ResponseWriter, r *http.Request) error {
			opts.Metrics.ServeHTTP(w, r)
			return nil
		})
	}
	for pattern, allowed := range methods {
		h.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			slices.Sort(allowed)
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			h.refuse(w, r, methodNotAllowed(r, allowed))
		})
	}
	h.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { h.refuse(w, r, noRoute(r)) })
	return h
}

// ServeHTTP names the request, and turns a panic into an answer.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := requestID(r)
	w.Header().Set(headerRequestID, id)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if h.opts.Version != "" {
		w.Header().Set(headerVersion, h.opts.Version)
	}
	tracked := &trackedWriter{ResponseWriter: w}
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if p == http.ErrAbortHandler {
			panic(p)
		}
		h.log.Error("a request ended in a panic", "request_id", id, "method", r.Method, "path", r.URL.Path,
			"panic", fmt.Sprint(p), "stack", string(debug.Stack()))
		if tracked.wrote {
			panic(http.ErrAbortHandler) // the answer is cut off: its reader can tell
		}
		h.write(tracked, statusOf(http.StatusInternalServerError, panicked(id)))
	}()
	if r.ContentLength != 0 {
		// For routes that read no body too: the server reads the rest of it after
		// them. It lifts the deadline itself when the body has ended.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyPatience))
	}
	if !isCanonical(r.URL.Path) {
		// ServeMux would redirect; nothing of ours is found by two spellings.
		h.refuse(tracked, r, noRoute(r))
		return
	}
	h.mux.ServeHTTP(tracked, r)
}

// serve is the work every operation has in common: read, call, answer.
func (h *handler) serve(rt route) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		in, err := readPath(w, r)
		if err != nil {
			return err
		}
		ctx, err := h.authorize(r, rt, in)
		if err != nil {
			return err
		}
		if err := readRest(w, r, rt, &in); err != nil {
			return err
		}
		if rt.converse {
			req := *in.body.(*workload.ExecRequest)
			req.Name = in.name
			ctx, stop := h.whileAllowed(ctx, rt, in)
			defer stop()
			return h.serveExec(ctx, w, r, req)
		}
		if rt.stream != nil {
			if r.Method == http.MethodHead {
				w.Header().Set("Content-Type", contentNDJSON)
				return nil
			}
			ctx, stop := h.whileAllowed(ctx, rt, in)
			defer stop()
			return serveStream(w, r.WithContext(ctx), rt.events && wantsEvents(r), func(ctx context.Context, emit func(any) error) error {
				return rt.stream(ctx, h.svc, in, emit)
			})
		}
		answer, err := rt.call(ctx, h.svc, in)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, answer)
	}
}

// refuse answers with err, and logs it when it is a defect of ours.
func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if f := fault.From(err); f.Kind == fault.Unexpected && r.Context().Err() == nil {
		h.log.Error("a request failed unexpectedly", "request_id", w.Header().Get(headerRequestID),
			"method", r.Method, "path", r.URL.Path, "error", err)
	}
	h.write(w, err)
}

func (h *handler) write(w http.ResponseWriter, err error) {
	if werr := writeFault(w, err); werr != nil {
		h.log.Debug("an answer could not be written", "request_id", w.Header().Get(headerRequestID), "error", werr)
	}
}

func methodNotAllowed(r *http.Request, allowed []string) error {
	return statusOf(http.StatusMethodNotAllowed, fault.New(fault.Malformed, "endpoints.method_not_allowed",
		"%s is not a method of %s", clip(r.Method), clip(r.URL.Path)).
		WithHint("use %s", strings.Join(allowed, " or ")))
}

func noRoute(r *http.Request) error {
	return fault.New(fault.NotFound, "endpoints.no_such_route", "there is nothing at %s", clip(r.URL.Path)).
		WithHint("GET /openapi.json lists every operation")
}

func panicked(id string) *fault.Fault {
	return fault.New(fault.Unexpected, "errors.unexpected", "internal error in the operator").
		WithHint("its log has the details under request id %s", id)
}

// isCanonical reports whether p is spelled as the routes are.
func isCanonical(p string) bool { return strings.HasPrefix(p, "/") && path.Clean(p) == p }

// requestID is the caller's when it is a token that is safe in a log and a header.
func requestID(r *http.Request) string {
	id := r.Header.Get(headerRequestID)
	plain := func(c rune) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("-_.", c)
	}
	if id != "" && len(id) <= 128 && strings.IndexFunc(id, func(c rune) bool { return !plain(c) }) < 0 {
		return id
	}
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails: it crashes the program instead
	return hex.EncodeToString(b[:])
}

// clip bounds what an error repeats of a request.
func clip(s string) string {
	const limit = 200
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// trackedWriter knows whether the answer has begun.
type trackedWriter struct {
	http.ResponseWriter
	wrote bool
}

func (t *trackedWriter) WriteHeader(status int) {
	t.wrote = true
	t.ResponseWriter.WriteHeader(status)
}

func (t *trackedWriter) Write(p []byte) (int, error) {
	t.wrote = true
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *trackedWriter) Unwrap() http.ResponseWriter { return t.ResponseWriter }
