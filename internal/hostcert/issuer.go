package hostcert

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
)

// issuer has certificates made by an authority.
type issuer struct {
	dir    string
	from   Authority
	now    func() time.Time
	log    *slog.Logger
	client *acme.Client
	known  atomic.Bool // the authority knows our account
	ok     atomic.Uint64
	failed atomic.Uint64

	mu     sync.Mutex
	names  map[string]*wanted // those that are deployed
	proofs map[string]proof   // that an authority may ask for now
	busy   int                // orders under way
}

// wanted is a host name for which there is to be a certificate.
type wanted struct {
	cert     *tls.Certificate // nil: not yet
	due      time.Time        // when it is ordered next
	failures int              // in a row
	ordering bool
}

// proof is what an authority finds where it looks whether a name is ours.
type proof struct {
	path string // for HTTP-01
	body []byte
	cert *tls.Certificate // for TLS-ALPN-01
}

const (
	maxOrders   = 2 // at once
	orderWithin = 3 * time.Minute
	askWithin   = 30 * time.Second // one request to the authority
)

// newIssuer prepares the folder and the account's key.
func newIssuer(cfg *Config) (*issuer, error) {
	// Certificates of a test directory are worth nothing with another one.
	sum := sha256.Sum256([]byte(cfg.Authority.Directory))
	i := &issuer{
		dir: filepath.Join(cfg.Dir, hex.EncodeToString(sum[:6])), from: cfg.Authority, now: cfg.Now, log: cfg.Log,
		names: map[string]*wanted{}, proofs: map[string]proof{},
	}
	roots, err := rootsWith(cfg.Authority.CA)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return nil, cannotKeep(err)
	}
	key, err := i.accountKey()
	if err != nil {
		return nil, err
	}
	i.client = &acme.Client{Key: key, DirectoryURL: cfg.Authority.Directory, UserAgent: "cortex", HTTPClient: &http.Client{
		Timeout: askWithin,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: askWithin}).DialContext, ForceAttemptHTTP2: true,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}, IdleConnTimeout: time.Minute,
		},
	}}
	return i, nil
}

// rootsWith is the system's roots with those of a file; nil: the system's.
func rootsWith(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil //nolint:nilnil // as crypto/tls has it
	}
	data, err := readBounded(path)
	if err != nil {
		return nil, unusable(path, err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(data) {
		return nil, unusable(path, errors.New("it has no certificate"))
	}
	return pool, nil
}

const accountFile = "account-key.pem"

// accountKey is the key of our account, made when there is none.
func (i *issuer) accountKey() (crypto.Signer, error) {
	path := filepath.Join(i.dir, accountFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := newKey()
		if err == nil {
			data, err = keyPEM(key)
		}
		if err == nil {
			err = atomicfile.Replace(path, data)
		}
		return key, cannotKeep(err)
	}
	if err != nil {
		return nil, cannotKeep(err)
	}
	if block, _ := pem.Decode(data); block != nil {
		if parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if key, ok := parsed.(*ecdsa.PrivateKey); ok {
				return key, nil
			}
		}
	}
	return nil, cannotKeep(fmt.Errorf("%s is no key; put it back from a copy, or remove it for a new account", path))
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func keyPEM(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func cannotKeep(err error) error {
	if err == nil {
		return nil
	}
	return fault.New(fault.Unavailable, "server.cannot_keep_certificate", "keeping certificates of callers: %w", err).
		WithHint("make the state folder writable, or give certificates as files")
}

// use makes hosts the names for which there are certificates, and reports whether others are
// to be shown. What was kept of a name is taken up.
func (i *issuer) use(hosts []string) (changed bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for host, n := range i.names {
		if !slices.Contains(hosts, host) {
			delete(i.names, host)
			changed = changed || n.cert != nil
		}
	}
	for _, host := range hosts {
		if i.names[host] != nil {
			continue
		}
		n := &wanted{cert: i.kept(host), due: i.now()}
		if n.cert != nil {
			n.due, changed = renewal(n.cert.Leaf), true
		}
		i.names[host] = n
	}
	return changed
}

// renewal is when two thirds of a certificate's life are over: whatever the authority gives,
// of 90 days or of six, there is time to try again and again.
func renewal(leaf *x509.Certificate) time.Time {
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return leaf.NotBefore.Add(life * 2 / 3).Add(-time.Duration(mathrand.Int64N(int64(life/50) + 1))) // so that not all ask at once
}

func (i *issuer) file(host string) string { return filepath.Join(i.dir, host+".pem") }

// kept is the certificate of a host from before; nil: none that is of use.
func (i *issuer) kept(host string) *tls.Certificate {
	data, err := readBounded(i.file(host))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			i.log.Warn("reading the certificate of a host: another one is ordered", "host", host, "error", err)
		}
		return nil
	}
	cert, err := tls.X509KeyPair(data, data)
	if err == nil {
		err = cert.Leaf.VerifyHostname(host)
	}
	if err != nil {
		i.log.Warn("the certificate of a host that was kept cannot be used: another one is ordered", "host", host, "error", err)
		return nil
	}
	return &cert
}

// certificates are those that there are, by host.
func (i *issuer) certificates() map[string]*tls.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := make(map[string]*tls.Certificate, len(i.names))
	for host, n := range i.names {
		if n.cert != nil {
			all[host] = n.cert
		}
	}
	return all
}

// order begins what is due, a few at a time; show is called when there is another certificate.
func (i *issuer) order(ctx context.Context, orders *sync.WaitGroup, show func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for host, n := range i.names {
		if i.busy >= maxOrders {
			return
		}
		if n.ordering || i.now().Before(n.due) {
			continue
		}
		n.ordering = true
		i.busy++
		way := ways[n.failures%len(ways)]
		orders.Go(func() {
			within, cancel := context.WithTimeout(ctx, orderWithin)
			defer cancel()
			cert, err := i.obtain(within, host, way)
			if ctx.Err() != nil {
				return // we end; the next process orders it
			}
			i.took(host, n, way, cert, err)
			if err == nil {
				show()
			}
		})
	}
}

// ways to prove a name. The first one needs the port of TLS only, the other one that of HTTP;
// which of them the authority reaches, it finds out.
var ways = []string{"tls-alpn-01", "http-01"}

// again is how long to wait after so many failures in a row. Authorities bound failures by
// the hour.
var again = []time.Duration{5 * time.Second, time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 3 * time.Hour}

// took notes what an order came to.
func (i *issuer) took(host string, n *wanted, way string, cert *tls.Certificate, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.busy--
	n.ordering = false
	if err == nil {
		n.cert, n.due = cert, renewal(cert.Leaf)
		n.failures -= n.failures % len(ways) // the way that led here is the first one next time
		if way != ways[0] {
			n.failures++
		}
		i.ok.Add(1)
		i.log.Info("an authority gave a certificate", "host", host, "until", cert.Leaf.NotAfter)
		return
	}
	i.failed.Add(1)
	wait := again[min(n.failures, len(again)-1)]
	wait += time.Duration(mathrand.Int64N(int64(wait)/5 + 1)) // so that not all ask at once
	if limited, ok := acme.RateLimit(err); ok {
		wait = max(wait, limited)
	}
	n.failures++
	n.due = i.now().Add(wait)
	i.log.Error("an authority gave no certificate", "host", host, "by", way, "error", err, "again", n.due.UTC().Format(time.DateTime))
}

// obtain has the authority give a certificate for host, to which the name is proven in one of
// the ways.
func (i *issuer) obtain(ctx context.Context, host, way string) (*tls.Certificate, error) {
	if !i.known.Load() {
		account := &acme.Account{}
		if i.from.Email != "" {
			account.Contact = []string{"mailto:" + i.from.Email}
		}
		if _, err := i.client.Register(ctx, account, acme.AcceptTOS); err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
			return nil, fmt.Errorf("making an account with the authority: %w", err)
		}
		i.known.Store(true)
	}
	order, err := i.client.AuthorizeOrder(ctx, acme.DomainIDs(host))
	if err != nil {
		return nil, fmt.Errorf("ordering: %w", err)
	}
	for _, url := range order.AuthzURLs {
		if err := i.prove(ctx, host, way, url); err != nil {
			return nil, err
		}
	}
	if order, err = i.client.WaitOrder(ctx, order.URI); err != nil {
		return nil, fmt.Errorf("waiting for the order: %w", err)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{host}}, key)
	if err != nil {
		return nil, err
	}
	chain, _, err := i.client.CreateCertFromOrder(ctx, order, csr, true)
	if err != nil {
		return nil, fmt.Errorf("getting the certificate: %w", err)
	}
	return i.keep(host, key, chain)
}

// prove has the authority see that host is ours.
func (i *issuer) prove(ctx context.Context, host, way, url string) error {
	z, err := i.client.GetAuthorization(ctx, url)
	if err != nil {
		return fmt.Errorf("asking for challenges: %w", err)
	}
	if z.Status == acme.StatusValid {
		return nil // it has, lately
	}
	at := slices.IndexFunc(z.Challenges, func(c *acme.Challenge) bool { return c.Type == way })
	if at < 0 {
		return fmt.Errorf("the authority does not offer %s", way)
	}
	challenge := z.Challenges[at]
	p, err := i.proofOf(host, way, challenge.Token)
	if err != nil {
		return err
	}
	i.mu.Lock()
	i.proofs[host] = p
	i.mu.Unlock()
	defer func() {
		i.mu.Lock()
		delete(i.proofs, host)
		i.mu.Unlock()
	}()
	if _, err := i.client.Accept(ctx, challenge); err != nil {
		return fmt.Errorf("answering the challenge: %w", err)
	}
	if _, err := i.client.WaitAuthorization(ctx, z.URI); err != nil {
		return fmt.Errorf("proving that the name is ours: %w", err)
	}
	return nil
}

func (i *issuer) proofOf(host, way, token string) (p proof, err error) {
	if way == "http-01" {
		body, err := i.client.HTTP01ChallengeResponse(token)
		return proof{path: i.client.HTTP01ChallengePath(token), body: []byte(body)}, err
	}
	cert, err := i.client.TLSALPN01ChallengeCert(token, host)
	return proof{cert: &cert}, err
}

// keep writes a certificate with its key, after making sure that it is what was ordered.
func (i *issuer) keep(host string, key *ecdsa.PrivateKey, chain [][]byte) (*tls.Certificate, error) {
	var data bytes.Buffer
	text, err := keyPEM(key)
	if err != nil {
		return nil, err
	}
	data.Write(text)
	for _, der := range chain {
		if err := pem.Encode(&data, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return nil, err
		}
	}
	cert, err := tls.X509KeyPair(data.Bytes(), data.Bytes())
	if err == nil {
		err = cert.Leaf.VerifyHostname(host)
	}
	if err != nil {
		return nil, fmt.Errorf("the authority gave another certificate than was ordered: %w", err)
	}
	if err := atomicfile.Replace(i.file(host), data.Bytes()); err != nil {
		// It is good all the same; after a restart another one is ordered.
		i.log.Error("keeping the certificate of a host", "host", host, "error", err)
	}
	return &cert, nil
}

// proof returns the certificate that proves a host by TLS; nil: that is not asked now.
func (i *issuer) proof(host string) *tls.Certificate {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.proofs[host].cert
}

// response returns what proves a host at a path of HTTP; nil: that is not asked now.
func (i *issuer) response(host, path string) []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	if p, ok := i.proofs[host]; ok && p.path == path {
		return p.body
	}
	return nil
}
