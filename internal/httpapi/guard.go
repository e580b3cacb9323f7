package httpapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// guardRoutes are the operations of a network face, where identities are proven.
var guardRoutes = []route{
	answers(route{
		id: "getChallenge", method: http.MethodGet, path: "/v1/auth/challenge", open: true, guard: true,
		summary: "Learn what a proof of an AWS identity has to be bound to",
		about: "The caller signs, with SigV4 for service sts in this region, a POST of exactly " + auth.ProofBody + " to / of the " +
			"region's STS, with exactly the headers content-type, host, x-amz-date, x-amz-security-token when there is one, " +
			"x-cortex-cluster-id, x-cortex-nonce and x-cortex-tls: the fingerprint of the certificate that the caller sees.",
	}, func(ctx context.Context, s services, _ input) (auth.Challenge, error) { return s.guard.Challenge(ctx) }),

	answers(route{
		id: "createSession", method: http.MethodPost, path: "/v1/auth/session", open: true, guard: true,
		summary: "Exchange a proof of an AWS identity for a session",
		about:   "Whatever is wrong with a proof, the answer is the same. A proof works once, for a minute.",
		body:    func() any { return new(rawProof) },
		faults:  []fault.Kind{fault.Unproven, fault.Forbidden, fault.TooMany},
	}, func(ctx context.Context, s services, in input) (auth.Session, error) {
		proof := in.body.(*rawProof)
		session, err := s.guard.Exchange(ctx, in.origin, proof.data)
		if proof.status != 0 && fault.Is(err, fault.Malformed) {
			err = statusOf(proof.status, fault.From(err))
		}
		return session, err
	}),

	answers(route{
		id: "revokeSessions", method: http.MethodDelete, path: "/v1/auth/sessions", guard: true, action: auth.ActionRevokeSessions,
		summary: "End every session of everybody: each has to prove itself again",
	}, func(ctx context.Context, s services, _ input) (workload.Message, error) {
		return workload.Message{Message: "every session is ended"}, s.guard.RevokeSessions(ctx)
	}),

	answers(route{
		id: "whoAmI", method: http.MethodGet, path: "/v1/whoami", guard: true, action: auth.ActionWhoAmI,
		summary: "Show the proven identity of the caller and what it may do in this environment",
	}, func(ctx context.Context, s services, _ input) (auth.Identity, error) { return s.guard.WhoAmI(ctx) }),

	answers(route{
		id: "createCallSession", method: http.MethodPost, path: "/v1/call-sessions", guard: true, action: auth.ActionInvoke, each: true,
		summary: "Make a session with which the caller can call APIs that accept AWS identities",
		about:   "Its token is what such an API gets as Authorization: Bearer. It manages nothing. What policies say now holds for as long as it lives.",
		body:    func() any { return new(auth.CallRequest) },
		faults:  []fault.Kind{fault.Invalid},
	}, func(ctx context.Context, s services, in input) (auth.CallSession, error) {
		return s.createCallSession(ctx, *in.body.(*auth.CallRequest))
	}),

	streams(route{
		id: "readAudit", method: http.MethodGet, path: "/v1/audit", guard: true, action: auth.ActionClusterAudit,
		summary: "Read who did, or was refused, what",
		query:   []param{paramSince, paramPrincipal, paramDenied},
		faults:  []fault.Kind{fault.Unsupported},
	}, func(ctx context.Context, s services, in input, emit func(auth.Entry) error) error {
		return s.guard.Audit(ctx, auth.AuditQuery{Since: in.query.since, Principal: in.query.principal, Denied: in.query.denied}, emit)
	}),
}

// createCallSession checks what is asked for, and asks the guard.
func (s services) createCallSession(ctx context.Context, req auth.CallRequest) (none auth.CallSession, _ error) {
	ttl := auth.DefaultCallTTL
	if req.TTL != "" {
		var err error
		if ttl, err = time.ParseDuration(req.TTL); err != nil || ttl < auth.MinCallTTL || ttl > auth.MaxCallTTL {
			return none, fault.New(fault.Invalid, auth.CodeCallRequest, "a session for calls cannot live for %q", clip(req.TTL)).WithHint("use %s to %s, such as 15m", auth.MinCallTTL, auth.MaxCallTTL)
		}
	}
	if len(req.APIs) == 0 || len(req.APIs) > auth.MaxCallAPIs {
		return none, fault.New(fault.Invalid, auth.CodeCallRequest, "a session for calls is for 1 to %d APIs, not for %d", auth.MaxCallAPIs, len(req.APIs))
	}
	resources := make([]auth.Resource, len(req.APIs))
	for i, name := range req.APIs {
		if !workload.IsName(name) {
			return none, fault.New(fault.Invalid, auth.CodeCallRequest, "no API can be called %q", clip(name))
		}
		resources[i] = s.resourceOf(ctx, name)
	}
	return s.guard.MintCall(ctx, resources, ttl)
}

// rawProof is the body of an exchange, which the guard itself reads: more strictly
// than other bodies are.
type rawProof struct {
	data   []byte
	status int // of the answer, when HTTP alone says that it is no proof; data is nil then
}

// readProof reads the bounded body of an exchange. What is wrong with it is the
// guard's to say, which counts and writes down every attempt.
func readProof(w http.ResponseWriter, r *http.Request) *rawProof {
	media, params, err := mediaType(r)
	charset, hasCharset := params["charset"]
	if err != nil || media != contentJSON || r.Header.Get("Content-Encoding") != "" || hasCharset && !strings.EqualFold(charset, "utf-8") {
		return &rawProof{status: http.StatusUnsupportedMediaType}
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, auth.MaxProofBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &rawProof{status: http.StatusRequestEntityTooLarge}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &rawProof{status: http.StatusRequestTimeout}
	case err != nil:
		return &rawProof{status: http.StatusBadRequest}
	}
	return &rawProof{data: data}
}

// mediaType is what a request says its body is. Two Content-Types say nothing: whoever
// stands before us may have believed the other.
func mediaType(r *http.Request) (media string, params map[string]string, err error) {
	said := r.Header.Values("Content-Type")
	if len(said) != 1 {
		return "", nil, fmt.Errorf("%d fields Content-Type, want one", len(said))
	}
	return mime.ParseMediaType(said[0])
}

// askAgain is how often it is asked whether a caller may still do what goes on for long.
const askAgain = 10 * time.Second

// whileAllowed returns a context for what goes on for long. It ends, with the reason as
// its cause, when the caller's session does, and when a policy forbids what they do: a log
// must not be left to whoever follows it, nor a shell to whoever is in it. The refusal is
// written down.
func (h *handler) whileAllowed(ctx context.Context, rt route, in input) (context.Context, context.CancelFunc) {
	ctx, over := auth.WhileProven(ctx)
	guard := h.opts.Guard
	if guard == nil || rt.open || rt.each {
		return ctx, over
	}
	ctx, end := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		again := time.NewTicker(askAgain)
		defer again.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-again.C:
			}
			r := h.resource(ctx, rt, in.name)
			if guard.May(ctx, rt.action, r) {
				continue
			}
			if err := guard.Permit(ctx, rt.action, r); err != nil {
				end(err)
				return
			}
		}
	}()
	return ctx, func() {
		end(nil)
		<-done
		over()
	}
}

// notAllowed reports whether the cause of such a context is about its caller.
func notAllowed(cause error) bool {
	return fault.Is(cause, fault.Unproven) || fault.Is(cause, fault.Forbidden)
}

// authorize lets a request through that the guard does: it returns the context in
// which the caller is known.
func (h *handler) authorize(r *http.Request, rt route, in input) (context.Context, error) {
	ctx := r.Context()
	if h.opts.Guard == nil || rt.open {
		return ctx, nil
	}
	ctx, err := h.opts.Guard.Identify(ctx, in.origin, bearer(r))
	if err != nil {
		return nil, err
	}
	switch {
	case rt.action == auth.ActionWhoAmI: // whoever is proven may know it
	case rt.each: // asked for each API that it is about, once those are known
	default:
		err = h.opts.Guard.Permit(ctx, rt.action, h.resource(ctx, rt, in.name))
	}
	return ctx, err
}

// Permit returns what the operator asks before it deploys what a file has.
func Permit(g auth.Guard) func(context.Context, []workload.Subject) error {
	return permitAll(g, auth.ActionDeploy)
}

func permitAll(g auth.Guard, a auth.Action) func(context.Context, []workload.Subject) error {
	return func(ctx context.Context, all []workload.Subject) error {
		resources := make([]auth.Resource, len(all))
		for i, s := range all {
			resources[i] = auth.Resource{API: s.Name, Kind: string(s.Kind)}
		}
		return g.PermitAll(ctx, a, resources)
	}
}

// Caller names whoever is calling, and nobody where no identity is proven.
func Caller(ctx context.Context) string {
	caller, _ := auth.CallerOf(ctx)
	return caller.ARN
}

func (h *handler) resource(ctx context.Context, rt route, name string) auth.Resource {
	switch {
	case name == "":
		return auth.Resource{}
	case rt.of != nil:
		return rt.of(name)
	}
	return h.svc.resourceOf(ctx, name)
}

// visible is what of a list the caller may see: those of which it may see every resource
// that of says. Equal ones are asked about once.
func visible[T any](ctx context.Context, g auth.Guard, a auth.Action, all []T, of func(*T) []auth.Resource) ([]T, error) {
	each, at := make([][]auth.Resource, len(all)), map[auth.Resource]int{}
	var asked []auth.Resource
	for i := range all {
		each[i] = of(&all[i])
		for _, r := range each[i] {
			if _, known := at[r]; !known {
				at[r] = len(asked)
				asked = append(asked, r)
			}
		}
	}
	seen, err := g.Visible(ctx, a, asked)
	if err != nil {
		return nil, err
	}
	shown := make([]T, 0, len(all))
	for i := range all {
		if !slices.ContainsFunc(each[i], func(r auth.Resource) bool { return !seen[at[r]] }) {
			shown = append(shown, all[i])
		}
	}
	return shown, nil
}

// resourcesOf is resourceOf for a list, which asks once for each name.
func (s services) resourcesOf(ctx context.Context) func(api string) []auth.Resource {
	known := map[string][]auth.Resource{}
	return func(api string) []auth.Resource {
		if known[api] == nil {
			known[api] = []auth.Resource{s.resourceOf(ctx, api)}
		}
		return known[api]
	}
}

// bearer is the token of a request that has exactly one, and nobody's otherwise.
func bearer(r *http.Request) string {
	given := r.Header.Values("Authorization")
	if len(given) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(given[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// originOf is where a request came from.
func originOf(w http.ResponseWriter, r *http.Request) auth.Origin {
	o := auth.Origin{RequestID: w.Header().Get(headerRequestID)}
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		o.Source = at.Addr()
	}
	return o
}
