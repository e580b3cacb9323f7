package solo

import (
	"context"
	"net"
	"path/filepath"
	"strconv"

	"cortex.dev/cortex/internal/gateway"
	"cortex.dev/cortex/internal/hostcert"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/telemetry"
)

// secure is where APIs are served with TLS. The zero value is nowhere.
type secure struct {
	listener net.Listener
	certs    *hostcert.Keeper
	port     int // as callers see it
}

// listenSecure opens the address and the certificates.
func listenSecure(cfg Config, front hostconfig.Front, metrics *telemetry.Registry) (secure, error) {
	if front.TLSListen == "" {
		return secure{}, nil
	}
	var files []hostcert.Pair
	for i := range front.Certs {
		files = append(files, hostcert.Pair{Cert: front.Certs[i], Key: front.Keys[i]})
	}
	certs, err := hostcert.Open(hostcert.Config{
		Files: files, Authority: hostcert.Authority{Directory: front.ACMEDirectory, Email: front.ACMEEmail, CA: front.ACMECA},
		Dir: filepath.Join(cfg.StateDir, "certificates"), RedirectPort: front.RedirectPort, Telemetry: metrics, Log: cfg.Log,
	})
	if err != nil {
		return secure{}, err
	}
	ln, err := listenTCP(front.TLSListen, "--api-tls-listen")
	if err != nil {
		return secure{}, err
	}
	s := secure{listener: ln, certs: certs, port: front.RedirectPort}
	if tcp, ok := ln.Addr().(*net.TCPAddr); ok && s.port == 0 {
		s.port = tcp.Port
	}
	return s, nil
}

func (s secure) close() {
	if s.listener != nil {
		s.listener.Close()
	}
}

// names is what the gateway asks; nil: there are no certificates.
func (s secure) names() gateway.Names {
	if s.certs == nil {
		return nil
	}
	return s.certs
}

// tasks are what keeps the certificates, and what serves with them.
func (s secure) tasks(gate *gateway.Gateway) (upkeep, serving []lifecycle.Task) {
	if s.listener == nil {
		return nil, nil
	}
	return []lifecycle.Task{{Name: "certificates of callers", Run: func(ctx context.Context) error { return s.certs.Run(ctx, gate.Hosts) }}},
		[]lifecycle.Task{{Name: "api listener with tls", Run: func(ctx context.Context) error { return gate.ServeTLS(ctx, s.listener, s.certs.TLS()) }}}
}

// at is where APIs with a host name of their own are reached.
func (s secure) at(plain net.Addr) func(host string) string {
	return func(host string) string {
		if s.certs != nil && s.certs.Covers(host) {
			return hostcert.URL(host, s.port)
		}
		if tcp, ok := plain.(*net.TCPAddr); ok && tcp.Port != 80 {
			host = net.JoinHostPort(host, strconv.Itoa(tcp.Port))
		}
		return "http://" + host
	}
}
