package iam

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/fault"
)

// Bounds of one conversation with STS.
const (
	stsTimeout     = 5 * time.Second // both attempts together
	maxSTSHeaders  = 16 << 10
	maxSTSBytes    = 64 << 10
	stsConnections = 32
)

// STSConfig pins the endpoint.
type STSConfig struct {
	Region string
	// Endpoint overrides the region's public one: a VPC endpoint, FIPS, a simulator.
	// https, or http on a loopback address.
	Endpoint string
	Proxy    string // URL of an HTTP proxy for these calls; none is taken from the environment
	// TLS overrides what is trusted; nil trusts the roots of the system.
	TLS *tls.Config

	timeout time.Duration // tests
}

// STS is the only way out: one endpoint, chosen at start-up, asked for one thing.
type STS struct {
	url  string
	host string // that is signed: of the region's public endpoint, whatever is dialled
	// transport, and no http.Client: that would read what a redirect says.
	transport http.RoundTripper
	limit     time.Duration
}

// NewSTS computes and checks the endpoint. It connects to nothing.
func NewSTS(ctx context.Context, cfg STSConfig) (*STS, error) {
	if !auth.IsRegion(cfg.Region) {
		return nil, fault.New(fault.Usage, "auth.invalid_region", "%q is not an AWS region", cfg.Region).WithHint("such as us-west-2")
	}
	// The SDK knows the regions and their hosts; a list of ours would grow old.
	public, err := sts.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, sts.EndpointParameters{
		Region: aws.String(cfg.Region), UseFIPS: aws.Bool(false), UseDualStack: aws.Bool(false), UseGlobalEndpoint: aws.Bool(false),
	})
	if err != nil {
		return nil, fmt.Errorf("finding the STS endpoint of %s: %w", cfg.Region, err)
	}
	s := &STS{url: "https://" + public.URI.Host + "/", host: public.URI.Host, limit: cfg.timeout}
	if s.limit == 0 {
		s.limit = stsTimeout
	}
	dialer := &net.Dialer{Timeout: s.limit, Control: refuseInside}
	if cfg.Endpoint != "" {
		u, err := stsEndpoint(cfg.Endpoint)
		if err != nil {
			return nil, err
		}
		s.url = u.String()
		dialer.Control = nil // it was named on purpose
	}
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: s.limit, ResponseHeaderTimeout: s.limit, MaxResponseHeaderBytes: maxSTSHeaders,
		MaxConnsPerHost:    stsConnections,
		DisableCompression: true, // a bounded answer stays bounded
		// One question, one connection: nothing that follows an answer can be taken
		// for that to the next caller, nor is it written to the standard log.
		DisableKeepAlives: true,
	}
	if cfg.TLS != nil {
		transport.TLSClientConfig = cfg.TLS.Clone()
	}
	if cfg.Proxy != "" {
		proxy, err := url.Parse(cfg.Proxy)
		if err != nil || proxy.Scheme != "http" && proxy.Scheme != "https" || proxy.Host == "" {
			return nil, fault.New(fault.Usage, "auth.invalid_proxy", "%q is not the URL of a proxy", cfg.Proxy).WithHint("it looks like http://proxy.internal:3128")
		}
		transport.Proxy = http.ProxyURL(proxy)
		dialer.Control = nil
	}
	s.transport = transport
	return s, nil
}

// stsEndpoint reads a configured endpoint.
func stsEndpoint(text string) (*url.URL, error) {
	refuse := func(why string) error {
		return fault.New(fault.Usage, "auth.invalid_sts_endpoint", "%q cannot be the STS endpoint: %s", text, why).
			WithHint("such as https://sts-fips.us-east-1.amazonaws.com, or http://127.0.0.1:PORT of a simulator")
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "":
		return nil, refuse("it is not a URL")
	case u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/":
		return nil, refuse("it has more than a scheme, a host and a port")
	case u.Scheme == "https":
	case u.Scheme == "http":
		if ip, err := netip.ParseAddr(u.Hostname()); (err != nil || !ip.IsLoopback()) && u.Hostname() != "localhost" {
			return nil, refuse("plain http is for loopback addresses only")
		}
	default:
		return nil, refuse("its scheme is neither https nor http")
	}
	u.Path = "/"
	return u, nil
}

// instanceServices are those of EC2 that an instance reaches in itself over IPv6:
// metadata (::254), credentials of pods (::23), DNS and time.
var instanceServices = netip.MustParsePrefix("fd00:ec2::/32")

// behindNAT64 is the address of IPv4 that ip stands for at the well-known prefix of
// translators (RFC 6052), or ip itself.
func behindNAT64(ip netip.Addr) netip.Addr {
	if !netip.MustParsePrefix("64:ff9b::/96").Contains(ip) {
		return ip
	}
	b := ip.As16()
	return netip.AddrFrom4([4]byte(b[12:]))
}

// refuseInside keeps a public name that resolves to an inner address (a poisoned
// or rebound DNS answer) from reaching the metadata service or a neighbour.
// Private ranges are allowed: a VPC endpoint answers there under the public name.
func refuseInside(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	ip := behindNAT64(at.Addr().Unmap())
	metadata := instanceServices.Contains(ip) || ip == netip.MustParseAddr("100.100.100.200")
	if ip.IsLoopback() || ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast() || ip.IsMulticast() || ip.IsUnspecified() || metadata {
		return fmt.Errorf("the name of STS leads to %s, which it cannot be", ip)
	}
	return nil
}

// errNoSuchKey says that no signature with this key can be good.
var errNoSuchKey = errors.New("the key is unknown, inactive or over")

// identify sends the request of a proof and reads the answer.
func (s *STS) identify(ctx context.Context, b auth.Binding, p auth.Proof, again func() bool) (auth.Principal, error) {
	return s.caller(ctx, again, func(ctx context.Context) (*http.Request, error) {
		req, err := auth.CallerIdentity(ctx, s.url, b, p.AMZDate, p.SecurityToken)
		if err != nil {
			return nil, err
		}
		auth.Complete(req, p, b.Region)
		return req, nil
	})
}

// caller asks STS, once more when the connection broke or STS had an error of its
// own and again lets it, and reads who it says it is.
func (s *STS) caller(ctx context.Context, again func() bool, build func(context.Context) (*http.Request, error)) (auth.Principal, error) {
	deadline := time.Now().Add(s.limit)
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline) // whoever leaves has used the nonce up
	defer cancel()
	for attempt := 1; ; attempt++ {
		req, err := build(ctx)
		if err != nil {
			return auth.Principal{}, because(unavailable(ReasonDown), err)
		}
		who, retry, err := s.once(req)
		// By the clock: a limit of the transport may end the call before ctx says so.
		if !retry || attempt == 2 || !time.Now().Before(deadline) || !again() {
			return who, err
		}
	}
}

func (s *STS) once(req *http.Request) (who auth.Principal, again bool, err error) {
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return who, true, because(unavailable(ReasonDown), cleaned(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 500 {
		return who, true, because(unavailable(ReasonDown), fmt.Errorf("status %d", resp.StatusCode))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxSTSBytes+1))
	switch {
	case err != nil:
		return who, true, because(unavailable(ReasonDown), cleaned(err))
	case len(body) > maxSTSBytes:
		return who, false, because(unavailable(ReasonAnswer), fmt.Errorf("more than %d bytes", maxSTSBytes))
	case resp.StatusCode == http.StatusOK && isXML(resp):
		who, err = readIdentity(body)
		return who, false, err
	case resp.StatusCode == http.StatusTooManyRequests: // also of a proxy, with whatever body
		return who, false, tooMany(ReasonThrottled)
	case resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusForbidden:
		return who, false, readRefusal(resp, body)
	default:
		return who, false, because(unavailable(ReasonAnswer), fmt.Errorf("status %d", resp.StatusCode))
	}
}

func isXML(resp *http.Response) bool {
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return err == nil && media == "text/xml" && resp.Header.Get("Content-Encoding") == ""
}

// readRefusal tells a refusal of the proof from one of our asking too much. Only
// the code counts; texts may say anything.
func readRefusal(resp *http.Response, body []byte) error {
	code := ""
	if isXML(resp) {
		code = readErrorCode(body)
	}
	switch code {
	case "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException":
		return tooMany(ReasonThrottled)
	case "InvalidClientTokenId", "ExpiredToken", "ExpiredTokenException":
		return because(unproven(ReasonSTS), errNoSuchKey)
	case "SignatureDoesNotMatch", "IncompleteSignature", "MissingAuthenticationToken", "AccessDenied", "RequestExpired",
		"InvalidAuthenticationToken", "OptInRequired":
		return because(unproven(ReasonSTS), errors.New(code))
	default:
		return because(unavailable(ReasonAnswer), fmt.Errorf("status %d", resp.StatusCode))
	}
}

// cleaned is an error of the connection in words of our own: those of net/http and
// crypto/x509 repeat what the other end has sent.
func cleaned(err error) error {
	var (
		timeout   net.Error
		host      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		alert     tls.AlertError
		record    tls.RecordHeaderError
		dialed    *net.OpError
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return errors.New("it did not answer in time")
	case errors.As(err, &host):
		return errors.New("its certificate is for another host")
	case errors.As(err, &authority):
		return errors.New("its certificate is of an authority that is not trusted")
	case errors.As(err, &invalid):
		return errors.New("its certificate is not valid")
	case errors.As(err, &alert), errors.As(err, &record):
		return errors.New("no TLS could be agreed upon")
	case errors.As(err, &dialed): // an operation, an address and an error of the system, or of refuseInside
		return errors.New(dialed.Error())
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it hung up")
	default:
		return errors.New("what it sent cannot be understood")
	}
}
