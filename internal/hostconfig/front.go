package hostconfig

import (
	"net"
	"net/mail"
	"net/url"
	"regexp"
	"strings"

	"cortex.dev/cortex/internal/workload"
)

// Front is how callers reach APIs with TLS.
type Front struct {
	TLSListen     string   // host:port; empty: they do not
	Certs, Keys   []string // PEM files, each certificate with the key at its place
	ACMEDirectory string   // URL of an authority that gives certificates; empty: none does
	ACMEEmail     string
	ACMECA        string // PEM file of who vouches for the authority's own server; empty: the system's
	// RedirectPort is the port of TLS as callers see it, to which they are sent who come to a
	// host name that has a certificate without it. 0: they are not.
	RedirectPort int
}

// Problems returns everything that is wrong with f.
func (f *Front) Problems() []string {
	var p problems
	if f.TLSListen == "" {
		p.when(len(f.Certs)+len(f.Keys) > 0 || f.ACMEDirectory != "" || f.RedirectPort != 0,
			"--api-tls-listen is missing: the address on which apis are served with TLS")
		return p
	}
	_, port, err := net.SplitHostPort(f.TLSListen)
	p.when(err != nil || port == "", "--api-tls-listen %q is not an address: host:port", f.TLSListen)
	p.when(len(f.Certs) != len(f.Keys), "--api-tls-cert and --api-tls-key go together: each certificate with its key, in the same order; there are %d and %d", len(f.Certs), len(f.Keys))
	p.when(len(f.Certs) == 0 && f.ACMEDirectory == "", "--api-tls-listen needs certificates: --api-tls-cert with --api-tls-key, or --acme-directory")
	if f.ACMEDirectory != "" {
		u, err := url.Parse(f.ACMEDirectory)
		p.when(err != nil || u.Scheme != "https" || u.Host == "", "--acme-directory %q is not the https:// address of an authority's directory", f.ACMEDirectory)
	}
	p.when(f.ACMEDirectory == "" && f.ACMEEmail+f.ACMECA != "", "--acme-directory is missing: the authority that --acme-email and --acme-ca are about")
	if f.ACMEEmail != "" {
		a, err := mail.ParseAddress(f.ACMEEmail)
		p.when(err != nil || a.Address != f.ACMEEmail, "--acme-email %q is not an address", f.ACMEEmail)
	}
	p.when(f.RedirectPort < 0 || f.RedirectPort > 65535, "--https-redirect %d is not a port (1 to 65535)", f.RedirectPort)
	return p
}

var hostShape = regexp.MustCompile(workload.HostPattern)

// HostProblems returns what is wrong with the names that APIs may have.
func HostProblems(hosts []string) []string {
	var p problems
	for _, host := range hosts {
		p.checkHost(host)
	}
	return p
}

// checkHost reports what is neither a host name nor * for all that are below one.
func (p *problems) checkHost(host string) {
	p.when(len(host) > workload.MaxHostLength || !hostShape.MatchString(strings.TrimPrefix(host, "*.")),
		"--api-hosts %q is neither a host name in lower case nor *.example.com for every name below example.com", host)
}
