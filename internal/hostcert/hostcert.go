// Package hostcert keeps the certificates that the front door shows to callers: those that
// are given as files, and those that an authority gives for the host names of what is
// deployed (ACME, RFC 8555).
//
// It promises that a caller gets the certificate of the name that it asked for or none; that
// files which change are taken without a restart, and those that cannot be used leave the
// ones before in use; that an authority is asked for names that are deployed and for no
// other, long before a certificate ends, and ever more seldom where it refuses; and that keys
// are kept with mode 0600.
//
// It must not listen, and does not know what is deployed: it is told.
package hostcert

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"cortex.dev/cortex/internal/telemetry"
)

// Config is what a Keeper needs.
type Config struct {
	Files     []Pair
	Authority Authority // with an empty Directory none is asked
	// Dir is where the account with the authority and its certificates are kept.
	Dir string
	// RedirectPort is the port of TLS as callers see it, to which requests by plain HTTP are
	// sent whose host name has a certificate. 0: they are not.
	RedirectPort int
	Telemetry    *telemetry.Registry // nil: no metrics
	Now          func() time.Time    // nil: time.Now
	Log          *slog.Logger
}

// Pair is a certificate with its chain and the key that belongs to it: PEM files.
type Pair struct{ Cert, Key string }

// Authority is one that speaks ACME.
type Authority struct {
	Directory string // its URL
	Email     string // where it may write to; empty: nowhere
	CA        string // PEM file of who vouches for the authority's own server; empty: the system's
}

// Keeper has the certificates. Its methods may be called at once.
type Keeper struct {
	cfg   Config
	acme  *issuer // nil: no authority is asked
	shown atomic.Pointer[shown]

	mu     sync.Mutex
	files  []*file
	warned map[string]time.Time // when it was said last that a certificate ends, by name
}

// shown is what callers may get. It is never changed; a new one takes its place.
type shown struct {
	byName map[string]*entry // a name, or *.example.com
	first  *tls.Certificate  // for who asks for no name; nil: there is none
}

type entry struct {
	cert   *tls.Certificate
	source string // file, or acme
}

const (
	fromFile = "file"
	fromACME = "acme"
)

// Open reads the files, or says why they cannot be used. It asks nobody for anything before
// Run.
func Open(cfg Config) (*Keeper, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	k := &Keeper{cfg: cfg, warned: map[string]time.Time{}}
	for _, p := range cfg.Files {
		f := &file{pair: p}
		if _, err := f.read(); err != nil {
			return nil, err
		}
		k.files = append(k.files, f)
	}
	if cfg.Authority.Directory != "" {
		i, err := newIssuer(&k.cfg)
		if err != nil {
			return nil, err
		}
		k.acme = i
	}
	k.show()
	k.warn()
	k.measure(cfg.Telemetry)
	return k, nil
}

// How often Run looks at what is deployed, and at the files.
const (
	lookEvery  = time.Second
	filesEvery = 5 // of those
)

// Run follows the files and has certificates made for the names that hosts returns, until ctx
// ends.
func (k *Keeper) Run(ctx context.Context, hosts func() []string) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var orders sync.WaitGroup
	defer orders.Wait()
	for n := 0; ; n++ {
		if n%filesEvery == 0 && k.reload() {
			k.show()
		}
		if k.acme != nil {
			if k.acme.use(k.uncovered(hosts())) {
				k.show()
			}
			k.acme.order(ctx, &orders, k.show)
		}
		k.warn()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// reload reads the files that have changed, and reports whether there are any.
func (k *Keeper) reload() (changed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, f := range k.files {
		isNew, err := f.read()
		switch {
		case err != nil && err.Error() != f.said:
			f.said = err.Error()
			k.cfg.Log.Error("a certificate of callers could not be exchanged; the one before stays in use", "error", err)
		case err == nil && isNew:
			f.said, changed = "", true
			k.cfg.Log.Info("a certificate of callers was exchanged", "file", f.pair.Cert, "until", f.cert.Leaf.NotAfter)
		}
	}
	return changed
}

// show has callers get what there is now. Orders that end at once show one after another.
func (k *Keeper) show() {
	k.mu.Lock()
	defer k.mu.Unlock()
	next := &shown{byName: map[string]*entry{}}
	if k.acme != nil {
		for host, cert := range k.acme.certificates() {
			next.byName[host] = &entry{cert, fromACME}
		}
	}
	for _, f := range slices.Backward(k.files) { // the first one that has a name counts
		next.first = f.cert
		for _, name := range f.cert.Leaf.DNSNames {
			next.byName[strings.ToLower(name)] = &entry{f.cert, fromFile}
		}
	}
	k.shown.Store(next)
}

// find returns the certificate of a host name, or of all that are beside it; nil: none.
func (s *shown) find(host string) *entry {
	if e := s.byName[host]; e != nil {
		return e
	}
	if _, rest, ok := strings.Cut(host, "."); ok {
		return s.byName["*."+rest]
	}
	return nil
}

// uncovered returns the names for which no file has a certificate.
func (k *Keeper) uncovered(hosts []string) []string {
	s := k.shown.Load()
	return slices.DeleteFunc(slices.Clone(hosts), func(host string) bool {
		e := s.find(host)
		return e != nil && e.source == fromFile
	})
}

// TLS is the configuration of a listener.
func (k *Keeper) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		// An answer is a few large pieces, and each record one system call.
		DynamicRecordSizingDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			s := k.shown.Load()
			if hello.ServerName == "" {
				return s.first, nil
			}
			if e := s.find(strings.ToLower(hello.ServerName)); e != nil {
				return e.cert, nil
			}
			return nil, nil //nolint:nilnil // the client hears that the name is not known (RFC 6066, 3)
		},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if k.acme == nil || !slices.Equal(hello.SupportedProtos, []string{acme.ALPNProto}) {
				return nil, nil //nolint:nilnil // that of all others
			}
			if cert := k.acme.proof(strings.ToLower(hello.ServerName)); cert != nil {
				return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto}, Certificates: []tls.Certificate{*cert}}, nil
			}
			return nil, errors.New("nobody asked for a proof of this name")
		},
	}
}

// Challenge returns what proves a host name to the authority that asks for path; nil: nothing
// is to be proven there.
func (k *Keeper) Challenge(host, path string) []byte {
	if k.acme == nil {
		return nil
	}
	return k.acme.response(host, path)
}

// Redirect returns where requests for a host by plain HTTP belong; empty: here.
func (k *Keeper) Redirect(host string) string {
	if k.cfg.RedirectPort == 0 {
		return ""
	}
	e := k.shown.Load().find(host)
	if e == nil || k.cfg.Now().After(e.cert.Leaf.NotAfter) {
		return ""
	}
	return URL(host, k.cfg.RedirectPort)
}

// URL is where a host is reached with TLS at a port.
func URL(host string, port int) string {
	if port == 443 {
		return "https://" + host
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(port))
}

// Covers reports whether a host has a certificate, or is going to get one.
func (k *Keeper) Covers(host string) bool { return k.acme != nil || k.shown.Load().find(host) != nil }

// Certificates of which less is left are warned of, each day.
const (
	warnBefore = 14 * 24 * time.Hour
	warnEvery  = 24 * time.Hour
)

// warn says which certificates end soon, or are not valid.
func (k *Keeper) warn() {
	now := k.cfg.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for name, e := range k.shown.Load().byName {
		problem := ending(e.cert, now)
		if problem == "" {
			delete(k.warned, name)
			continue
		}
		if last, ok := k.warned[name]; !ok || now.Sub(last) >= warnEvery {
			k.warned[name] = now
			k.cfg.Log.Warn("a certificate of callers "+problem, "host", name, "from", e.source)
		}
	}
}

// ending says what is wrong with the time of a certificate; empty: nothing.
func ending(c *tls.Certificate, now time.Time) string {
	leaf := c.Leaf
	left := leaf.NotAfter.Sub(now)
	switch {
	case left <= 0:
		return fmt.Sprintf("ended on %s", leaf.NotAfter.UTC().Format(time.DateTime))
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("begins on %s: is the clock right?", leaf.NotBefore.UTC().Format(time.DateTime))
	case left < min(warnBefore, leaf.NotAfter.Sub(leaf.NotBefore)/4):
		return fmt.Sprintf("ends on %s", leaf.NotAfter.UTC().Format(time.DateTime))
	}
	return ""
}

func (k *Keeper) measure(r *telemetry.Registry) {
	r.Collect(telemetry.Metric{Name: "cortex_host_certificate_expiry_timestamp_seconds", Help: "When the certificate that callers get for a host name ends, in seconds since 1970; source: file or acme.", Type: telemetry.Gauge, Labels: []string{"host", "source"}},
		func(emit telemetry.Emit) {
			for name, e := range k.shown.Load().byName {
				emit(float64(e.cert.Leaf.NotAfter.Unix()), name, e.source)
			}
		})
	r.Collect(telemetry.Metric{Name: "cortex_acme_orders_total", Help: "Certificates that an authority gave (ok), or did not give (failed).", Type: telemetry.Counter, Labels: []string{"result"}},
		func(emit telemetry.Emit) {
			if k.acme != nil {
				emit(float64(k.acme.ok.Load()), "ok")
				emit(float64(k.acme.failed.Load()), "failed")
			}
		})
}
