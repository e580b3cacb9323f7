package controlapi

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"cortex.dev/cortex/internal/access"
	"cortex.dev/cortex/internal/boundedcache"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/telemetry"
)

// How much gateways may ask for: a report each second, with room for a hiccup, and
// the wake-ups of every API at zero at once. A gateway repeats what is refused.
const (
	reportsPerSecond = 4 // of one gateway
	reportsBurst     = 8
	wakesPerSecond   = 200
	wakesBurst       = 2000
	callsPerSecond   = 20 // of one gateway
	callsBurst       = 2 * maxQueued
)

// reporter is what is known of the reports of one gateway.
type reporter struct {
	loads, calls *rate.Limiter

	mu   sync.Mutex
	seq  uint64 // of the latest report of calls
	uses uint64 // of the latest report of load
}

func (s *Server) reporter(gateway string) *reporter {
	return s.reporters.GetOrPut(gateway, func() *reporter {
		return &reporter{loads: rate.NewLimiter(reportsPerSecond, reportsBurst), calls: rate.NewLimiter(callsPerSecond, callsBurst)}
	})
}

// ServerConfig says who is heard, and by whom.
type ServerConfig struct {
	Reviewer Reviewer
	Gateway  string // username of the gateways' service account
	Loads    *Loads
	Waker    Waker
	// Tell is what the report of a gateway is answered with. Again says that it is the one
	// before once more. Nil: nothing.
	Tell      func(gateway string, uses []access.Use, again bool) Told
	Calls     CallsKeeper // nil: calls are counted by nobody
	Telemetry *telemetry.Registry
	Log       *slog.Logger
	Now       func() time.Time // nil: time.Now
}

// Server is the operator's end. It serves over TLS only, which is the listener's.
type Server struct {
	cfg       ServerConfig
	callers   *callers
	reporters *boundedcache.Map[string, *reporter] // by gateway
	wakes     *rate.Limiter
	mux       *http.ServeMux

	accepted, refused atomic.Int64
}

var _ http.Handler = (*Server)(nil)

// NewServer starts nothing.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Reviewer == nil || cfg.Gateway == "" || cfg.Loads == nil || cfg.Waker == nil {
		return nil, errors.New("controlapi: a reviewer, a gateway, loads and a waker are needed")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, callers: newCallers(cfg.Reviewer, cfg.Gateway, cfg.Now),
		reporters: boundedcache.New[string, *reporter](2 * maxGateways),
		wakes:     rate.NewLimiter(wakesPerSecond, wakesBurst),
		mux:       http.NewServeMux(),
	}
	s.mux.HandleFunc("POST "+pathLoad, s.known(s.load))
	s.mux.HandleFunc("POST "+pathWake, s.known(s.wake))
	if cfg.Calls != nil {
		s.mux.HandleFunc("POST "+pathCalls, s.known(s.calls))
		s.mux.HandleFunc("POST "+pathUsed, s.known(s.used))
	}
	s.measure()
	return s, nil
}

func (s *Server) measure() {
	s.cfg.Telemetry.Collect(telemetry.Metric{Name: "cortex_operator_gateways", Type: telemetry.Gauge,
		Help: "Gateways that report their load to the operator."}, func(emit telemetry.Emit) { emit(float64(s.cfg.Loads.Gateways())) })
	s.cfg.Telemetry.Collect(telemetry.Metric{Name: "cortex_operator_gateway_calls_total", Type: telemetry.Counter, Labels: []string{"result"},
		Help: "Calls of gateways, and of whoever pretended to be one."}, func(emit telemetry.Emit) {
		emit(float64(s.accepted.Load()), "accepted")
		emit(float64(s.refused.Load()), "refused")
	})
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// statusError is an answer that is no success.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

func refuse(status int, text string) error { return &statusError{status, text} }

// known lets gateways through. Others learn nothing but that they are none, and
// nothing of their body is read.
func (s *Server) known(serve func(http.ResponseWriter, *http.Request, Caller) (told any, err error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var told any
		caller, err := s.callers.identify(r.Context(), sourceOf(r), bearer(r))
		if err == nil {
			told, err = serve(w, r, caller)
		} else {
			s.cfg.Log.Debug("refused a call of the control API", "from", r.RemoteAddr, "error", err)
			err = refusalOf(err)
		}
		if err != nil {
			s.refused.Add(1)
			answer(w, err)
			return
		}
		s.accepted.Add(1)
		if told == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(told)
	}
}

func refusalOf(err error) error {
	switch {
	case errors.Is(err, errNobody):
		return refuse(http.StatusUnauthorized, "a token is needed")
	case errors.Is(err, errOther):
		return refuse(http.StatusForbidden, "not for this token")
	case errors.Is(err, errTooMany):
		return refuse(http.StatusTooManyRequests, "too many calls")
	default:
		return refuse(http.StatusServiceUnavailable, "tokens cannot be reviewed now")
	}
}

func answer(w http.ResponseWriter, err error) {
	status, text := fault.HTTPStatus(err), fault.From(err).Message
	var known *statusError
	if errors.As(err, &known) {
		status, text = known.status, known.text
	}
	w.Header().Set("Content-Type", "application/json")
	// The rest of a body that was refused is not worth reading.
	w.Header().Set("Connection", "close")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(refusal{text})
}

func (s *Server) load(w http.ResponseWriter, r *http.Request, caller Caller) (told any, err error) {
	var report loadReport
	if err := decode(w, r, &report); err != nil {
		return nil, err
	}
	if err := report.check(); err != nil {
		return nil, refuse(http.StatusBadRequest, err.Error())
	}
	// A gateway speaks for itself: what it says in the place of another would be
	// added, or replace what that one said.
	if caller.Pod != "" && caller.Pod != report.Gateway {
		return nil, refuse(http.StatusForbidden, "not for this token")
	}
	from := s.reporter(report.Gateway)
	if !from.loads.AllowN(s.cfg.Now(), 1) {
		return nil, refuse(http.StatusTooManyRequests, "too many reports")
	}
	if !s.cfg.Loads.heard(report) {
		return nil, refuse(http.StatusTooManyRequests, "too many gateways")
	}
	if s.cfg.Tell == nil {
		return nil, nil
	}
	from.mu.Lock()
	again := report.Seq != 0 && from.uses == report.Seq
	from.uses = report.Seq
	from.mu.Unlock()
	return s.cfg.Tell(report.Gateway, report.Uses, again), nil
}

func (s *Server) wake(w http.ResponseWriter, r *http.Request, _ Caller) (told any, err error) {
	var request wakeRequest
	if err := decode(w, r, &request); err != nil {
		return nil, err
	}
	if !workloadName.MatchString(request.Name) {
		return nil, refuse(http.StatusBadRequest, "name is not that of an API")
	}
	if !s.wakes.AllowN(s.cfg.Now(), 1) {
		return nil, refuse(http.StatusTooManyRequests, "too many wake-ups")
	}
	return nil, s.cfg.Waker.Wake(r.Context(), request.Name)
}

// decode reads a body, bounded. Keys that are unknown here are a newer gateway's,
// as there are during an upgrade.
func decode(w http.ResponseWriter, r *http.Request, v any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	err := d.Decode(v)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return refuse(http.StatusRequestEntityTooLarge, "the body is too large")
	}
	return refuse(http.StatusBadRequest, "the body cannot be read")
}

// bearer is the token of a request, "" when it has none or several.
func bearer(r *http.Request) string {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return ""
	}
	token, ok := strings.CutPrefix(values[0], "Bearer ")
	if !ok || strings.ContainsAny(token, " ,") {
		return ""
	}
	return token
}

func sourceOf(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}
