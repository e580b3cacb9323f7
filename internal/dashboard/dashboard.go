// Package dashboard shows an environment in the browser of whoever runs the command line.
//
// It promises that only the browser that got the link of this process sees anything, that a
// page of another origin can neither read nor do anything, and that no credential reaches
// the browser: calls go to the operator with the session of the command line. It has no
// operation of its own: routes is what a page may ask of /v1, and two others do what commands
// do without an operator: Try calls an API as `cortex predict` does, Simulate is `cortex
// simulate` with what was measured.
//
// It must not know where the environment is, nor keep anything of what it passes on.
package dashboard

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io"
	"io/fs"
	"net"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
)

//go:embed web
var files embed.FS

// LinkLife is how long a link waits to be opened.
const LinkLife = time.Minute

const (
	// maxBody bounds what a page may send.
	maxBody = 256 << 10
	// maxForwards is how many calls of pages can be under way at once.
	maxForwards = 64
	// writePatience is how long a page may take to accept a part of an answer.
	writePatience = 30 * time.Second
	// keyHeader carries the key that only pages of this origin have.
	keyHeader = "X-Cortex-UI"
)

// policy is what a page may load: nothing but files of this process, nothing inline, and no
// text that becomes markup.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// routes is what pages may ask of an operator. What hands out credentials, shells, and what
// files are the truth of, is not among it.
var routes = []string{
	"GET /v1/info", "GET /v1/whoami", "GET /v1/audit", "GET /v1/watch", "GET /v1/events", "GET /v1/keys", "GET /v1/usage", "GET /v1/volumes",
	"GET /v1/apis", "GET /v1/apis/{name}", "GET /v1/apis/{name}/describe", "GET /v1/apis/{name}/explain", "GET /v1/apis/{name}/series", "GET /v1/apis/{name}/history",
	"GET /v1/apis/{name}/versions/{id}", "GET /v1/apis/{name}/logs", "GET /v1/apis/{name}/events",
	"GET /v1/apis/{name}/items", "GET /v1/apis/{name}/items/{id}", "GET /v1/apis/{name}/webhooks", "GET /v1/apis/{name}/schedules",
	"GET /v1/apis/{name}/jobs", "GET /v1/apis/{name}/jobs/{id}", "GET /v1/apis/{name}/jobs/{id}/lines",

	"DELETE /v1/apis/{name}", "POST /v1/apis/{name}/rollback", "POST /v1/apis/{name}/refresh", "POST /v1/apis/{name}/stop",
	"POST /v1/apis/{name}/start", "POST /v1/apis/{name}/scale", "POST /v1/apis/{name}/cancel-items", "POST /v1/apis/{name}/retry-items",
	"DELETE /v1/apis/{name}/jobs/{id}", "POST /v1/apis/{name}/jobs/{id}/retry", "POST /v1/apis/{name}/schedules/{id}/run",
	"POST /v1/apis/{name}/schedules/{id}/pause", "POST /v1/apis/{name}/schedules/{id}/resume", "DELETE /v1/keys/{name}",
}

// Operator answers calls; httpapi.Client implements it.
type Operator interface {
	Forward(ctx context.Context, r httpapi.Forwarded) (*http.Response, error)
}

// Config of a Server.
type Config struct {
	Operator Operator
	Env      string // name of the environment, which pages show
	Local    bool   // nobody proves who they are there, and nothing is audited
	Version  string // of this program
	// Try calls an API with the credential of whoever runs the command line.
	Try func(ctx context.Context, name string, r TryRequest) (*http.Response, error)
	// Simulate says what would have become of an API with what it had to do lately.
	Simulate func(ctx context.Context, name string, r SimulateRequest) (any, error)
	Now      func() time.Time // nil: time.Now
}

// Server answers one browser.
type Server struct {
	cfg      Config
	hosts    []string // by which it is reached
	cookie   string   // its name: a browser has one jar for all ports
	secret   string   // the value of the cookie
	key      string   // of the header: other ports get the cookie, too
	forwards chan struct{}
	assets   map[string]asset
	mux      *http.ServeMux
	entered  chan struct{}

	mu      sync.Mutex
	link    string // the one-time token; empty: used
	expires time.Time
}

type asset struct {
	data []byte
	kind string
	tag  string
}

// New returns a server for a listener on a loopback address. It has a link from now on.
func New(cfg Config, at net.Addr) (*Server, error) {
	tcp, ok := at.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return nil, fmt.Errorf("dashboard: %s is not a loopback address", at)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	s := &Server{
		cfg: cfg, hosts: []string{fmt.Sprintf("127.0.0.1:%d", tcp.Port), fmt.Sprintf("localhost:%d", tcp.Port)},
		cookie: fmt.Sprintf("cortex-%d", tcp.Port), secret: random(), key: random(), link: random(), expires: cfg.Now().Add(LinkLife),
		forwards: make(chan struct{}, maxForwards), assets: map[string]asset{}, mux: http.NewServeMux(), entered: make(chan struct{}),
	}
	if err := s.load(); err != nil {
		return nil, err
	}
	s.mux.HandleFunc("GET /{$}", s.page)
	s.mux.HandleFunc("GET /{file}", s.file)
	for _, r := range routes {
		s.mux.HandleFunc(r, s.called(s.forward))
	}
	if cfg.Try != nil {
		s.mux.HandleFunc("POST /try/{name}", s.called(s.try))
	}
	if cfg.Simulate != nil {
		s.mux.HandleFunc("POST /simulate/{name}", s.called(s.simulate))
	}
	return s, nil
}

func random() string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: it crashes the program instead
	return hex.EncodeToString(b[:])
}

// load reads the files, with the name of the environment in the pages.
func (s *Server) load() error {
	return fs.WalkDir(files, "web", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		if path.Ext(name) == ".html" {
			t, err := template.New(name).Parse(string(data))
			if err != nil {
				return err
			}
			var b strings.Builder
			if err := t.Execute(&b, map[string]any{"Env": s.cfg.Env, "Local": s.cfg.Local, "Version": s.cfg.Version, "Key": s.key}); err != nil {
				return err
			}
			data = []byte(b.String())
		}
		sum := sha256.Sum256(data)
		s.assets[path.Base(name)] = asset{data, kinds[path.Ext(name)], `"` + hex.EncodeToString(sum[:8]) + `"`}
		return nil
	})
}

var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
}

// Link is what the browser opens, once and within a minute.
func (s *Server) Link() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "http://" + s.hosts[0] + "/?t=" + s.link
}

// Entered is closed when a browser has opened the link.
func (s *Server) Entered() <-chan struct{} { return s.entered }

// ServeHTTP refuses what is not asked by a page of ours, and of what is answered says what a
// browser may do with it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(writePatience))
	}
	if why := s.foreign(r); why != "" {
		httpapi.WriteFault(w, fault.New(fault.Forbidden, "dashboard.foreign_request", "%s", why).
			WithHint("open the dashboard by the link that `cortex dashboard` prints"))
		return
	}
	s.mux.ServeHTTP(w, r)
}

// foreign says why a request comes from elsewhere than a page of ours; empty: it does not.
func (s *Server) foreign(r *http.Request) string {
	site := r.Header.Get("Sec-Fetch-Site")
	switch {
	case !slices.Contains(s.hosts, r.Host): // a name of somebody else that leads here
		return "this is not the host that was asked for"
	case len(r.Header.Values("Origin")) > 1:
		return "the request has two origins"
	case r.Header.Get("Origin") != "" && r.Header.Get("Origin") != "http://"+r.Host:
		return "the request is made by a page of another origin"
	case r.Method == http.MethodGet && r.URL.Path == "/": // links are followed from anywhere
		return ""
	case site != "" && site != "same-origin" && site != "none":
		return "the request is made by a page of another site"
	case r.Method != http.MethodGet && (r.Header.Get("Origin") == "" || site != "" && site != "same-origin"):
		return "the request does not say that a page of this origin makes it"
	}
	return ""
}

func equal(given, want string) bool {
	return want != "" && subtle.ConstantTimeCompare([]byte(given), []byte(want)) == 1
}

// known reports whether the request is of the browser that opened the link.
func (s *Server) known(r *http.Request) bool {
	given := r.CookiesNamed(s.cookie)
	return len(given) == 1 && equal(given[0].Value, s.secret)
}

// page is the page, for whoever has entered; with the token of the link it lets one in.
func (s *Server) page(w http.ResponseWriter, r *http.Request) {
	token := r.URL.Query().Get("t")
	switch {
	case token != "" && s.enter(r, token):
		//nolint:gosec // not Secure: it never leaves this machine, and browsers keep such cookies from http
		http.SetCookie(w, &http.Cookie{Name: s.cookie, Value: s.secret, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		// A redirect would not carry the cookie when the link was followed from elsewhere.
		s.write(w, r, http.StatusOK, "enter.html")
	case s.known(r):
		s.write(w, r, http.StatusOK, "index.html")
	default:
		s.write(w, r, http.StatusForbidden, "closed.html")
	}
}

// enter takes the token, once and in time. A look ahead of the browser is none.
func (s *Server) enter(r *http.Request, token string) bool {
	if r.Method != http.MethodGet || r.Header.Get("Sec-Purpose") != "" || r.Header.Get("Purpose") != "" {
		return false
	}
	if dest := r.Header.Get("Sec-Fetch-Dest"); dest != "" && dest != "document" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !equal(token, s.link) || !s.cfg.Now().Before(s.expires) {
		return false
	}
	s.link = ""
	close(s.entered)
	return true
}

// file is what pages are made of: it has nothing of anybody.
func (s *Server) file(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("file")
	if a, ok := s.assets[name]; !ok || strings.HasPrefix(a.kind, "text/html") {
		http.NotFound(w, r)
		return
	}
	s.write(w, r, http.StatusOK, name)
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, name string) {
	a := s.assets[name]
	w.Header().Set("Content-Type", a.kind)
	if !strings.HasPrefix(a.kind, "text/html") {
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("ETag", a.tag)
		if r.Header.Get("If-None-Match") == a.tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.data) // the browser is gone; nobody is left to tell
	}
}

// called is a call of a page: it has the cookie, the key of the origin and, with a body, the
// type that only a page of this origin can send.
func (s *Server) called(serve func(http.ResponseWriter, *http.Request, []byte)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.known(r) || !equal(r.Header.Get(keyHeader), s.key) {
			httpapi.WriteFault(w, fault.New(fault.Unproven, "dashboard.not_entered", "this browser has not opened the dashboard, or another `cortex dashboard` runs now").
				WithHint("run `cortex dashboard` again"))
			return
		}
		select {
		case s.forwards <- struct{}{}:
			defer func() { <-s.forwards }()
		default:
			httpapi.WriteFault(w, fault.New(fault.TooMany, "dashboard.too_many", "%d calls of the dashboard are under way", maxForwards).WithHint("close other tabs of it"))
			return
		}
		var body []byte
		if r.ContentLength != 0 {
			if r.Header.Get("Content-Type") != "application/json" {
				httpapi.WriteFault(w, fault.New(fault.Malformed, "dashboard.body", "the body is %q, and has to be application/json", r.Header.Get("Content-Type")))
				return
			}
			var err error
			if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
				httpapi.WriteFault(w, fault.New(fault.Malformed, "dashboard.body", "the body cannot be read: %w", err).WithHint("it may have %d bytes", maxBody))
				return
			}
		}
		serve(w, r, body)
	}
}

func (s *Server) forward(w http.ResponseWriter, r *http.Request, body []byte) {
	for _, v := range []string{r.PathValue("name"), r.PathValue("id")} {
		if v == "." || v == ".." || strings.ContainsAny(v, `/\`) { // whoever is on the way could take it for a path
			http.NotFound(w, r)
			return
		}
	}
	resp, err := s.cfg.Operator.Forward(r.Context(), httpapi.Forwarded{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(), After: r.Header.Get("Last-Event-ID"), Body: body,
	})
	if err != nil {
		httpapi.WriteFault(w, err)
		return
	}
	defer resp.Body.Close()
	pass(w, resp.StatusCode, resp.Header.Get("Content-Type"), resp.Body)
}

// pass hands an answer on as it comes.
func pass(w http.ResponseWriter, status int, kind string, body io.Reader) {
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = control.Flush()
	buf := make([]byte, 32<<10)
	for {
		n, err := body.Read(buf)
		if n > 0 {
			_ = control.SetWriteDeadline(time.Now().Add(writePatience))
			if _, err := w.Write(buf[:n]); err != nil {
				return
			}
			_ = control.Flush()
			_ = control.SetWriteDeadline(time.Time{})
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler) // what is cut off must not look whole
		}
	}
}

// Serve answers until ctx ends.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	base, cancel := context.WithCancel(ctx)
	defer cancel()
	server := &http.Server{
		Handler: s, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		BaseContext: func(net.Listener) context.Context { return base },
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	_ = server.Close() // streams do not end by themselves
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
