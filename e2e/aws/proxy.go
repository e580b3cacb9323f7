package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// proxy is the way of programs to AWS by its own names, as HTTPS_PROXY and HTTP_PROXY give
// it to them: the hosts of services lead to the account, those of its load balancers to
// ports of the nodes, and every other name nowhere.
type proxy struct {
	aws   http.Handler
	tls   *tls.Config
	leads func(host string, port int) (cluster string, nodePort int, err error) // of load balancers
	node  func(cluster string) (address string, there bool)                     // of the nodes of a cluster

	taken chan net.Conn // connections to hosts of services
}

// Bounds of connections.
const (
	dialPatience = 5 * time.Second
	headPatience = 10 * time.Second
	maxHead      = 64 << 10
)

func newProxy(a *awstest.Account, vouch *authority, node func(string) (string, bool)) *proxy {
	return &proxy{aws: a, tls: vouch.config(isAWS), leads: a.Leads, node: node, taken: make(chan net.Conn)}
}

// isAWS reports whether a name is one of a host of AWS.
func isAWS(name string) bool {
	return strings.HasSuffix(name, ".amazonaws.com") || strings.HasSuffix(name, ".amazonaws.com.cn") || strings.HasSuffix(name, ".amazonaws.eu")
}

func isBalancer(name string) bool { return isAWS(name) && strings.Contains(name, ".elb.") }

// serve answers at a listener, as the proxy, until ctx ends.
func (p *proxy) serve(ctx context.Context, listener net.Listener) error {
	inner := &taken{p.taken, listener.Addr(), ctx.Done()}
	return serveAll(ctx,
		service{listener, newServer(p)},
		service{inner, newServer(p.aws)},
	)
}

// serveTLS answers at a listener as every host of AWS.
func (p *proxy) serveTLS(ctx context.Context, listener net.Listener) error {
	return serveAll(ctx, service{tls.NewListener(listener, p.tls), newServer(p.aws)})
}

func newServer(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headPatience, MaxHeaderBytes: maxHead}
}

// service is a server at a listener.
type service struct {
	listener net.Listener
	server   *http.Server
}

// serveAll serves until ctx ends or one of them fails, and returns when all have ended.
func serveAll(ctx context.Context, all ...service) error {
	ended := make(chan error, len(all))
	for _, s := range all {
		go func() { ended <- s.server.Serve(s.listener) }()
	}
	var err error
	left := len(all)
	select {
	case err = <-ended:
		left--
	case <-ctx.Done():
	}
	for _, s := range all {
		_ = s.server.Close()
	}
	for range left {
		<-ended
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// taken is a listener of connections that others have accepted.
type taken struct {
	conns   chan net.Conn
	address net.Addr
	done    <-chan struct{}
}

func (t *taken) Accept() (net.Conn, error) {
	select {
	case c := <-t.conns:
		return c, nil
	case <-t.done:
		return nil, net.ErrClosed
	}
}
func (t *taken) Close() error   { return nil }
func (t *taken) Addr() net.Addr { return t.address }

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, text, err := net.SplitHostPort(r.Host)
	if err != nil {
		host, text = r.Host, "80"
	}
	port, err := strconv.Atoi(text)
	switch {
	case err != nil:
		http.Error(w, "no port: "+r.Host, http.StatusBadRequest)
	case r.Method == http.MethodConnect && isAWS(host) && !isBalancer(host):
		p.take(w, r)
	case !isBalancer(host):
		http.Error(w, "there is no network here but AWS: "+r.Host, http.StatusBadGateway)
	default:
		p.balance(w, r, host, port)
	}
}

// take becomes the host of a service.
func (p *proxy) take(w http.ResponseWriter, r *http.Request) {
	conn, err := accept(w)
	if err != nil {
		return
	}
	select {
	case p.taken <- tls.Server(conn, p.tls):
	case <-r.Context().Done():
		_ = conn.Close()
	}
}

// accept says that a tunnel is there, and returns this end of it.
func accept(w http.ResponseWriter) (net.Conn, error) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	if _, err := io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return &ahead{conn, buffered.Reader}, nil
}

// ahead is a connection of which something has been read already.
type ahead struct {
	net.Conn
	reader *bufio.Reader
}

func (a *ahead) Read(p []byte) (int, error) { return a.reader.Read(p) }

// balance does as a load balancer does.
func (p *proxy) balance(w http.ResponseWriter, r *http.Request, host string, port int) {
	cluster, nodePort, err := p.leads(host, port)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	node, there := p.node(cluster)
	if !there {
		http.Error(w, "no node of cluster "+cluster+" is there", http.StatusBadGateway)
		return
	}
	target := net.JoinHostPort(node, strconv.Itoa(nodePort))
	if r.Method != http.MethodConnect {
		forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL.Host = target; r.Out.Host = r.In.Host }}
		forward.ServeHTTP(w, r)
		return
	}
	to, err := (&net.Dialer{Timeout: dialPatience}).DialContext(r.Context(), "tcp", target)
	if err != nil {
		http.Error(w, fmt.Sprintf("port %d of the nodes does not answer: %v", nodePort, err), http.StatusBadGateway)
		return
	}
	from, err := accept(w)
	if err != nil {
		_ = to.Close()
		return
	}
	join(from, to)
}

// join passes on what comes from either end, until both have said all.
func join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
		})
	}
	both.Wait()
	_ = a.Close()
	_ = b.Close()
}
