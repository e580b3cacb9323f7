// Package items is how operator and gateways on Kubernetes use one ledger of items: by
// servers of NATS, those of the chart or somebody's own.
//
// It promises that a program starts while they are away, and that what needs them says so
// until they are there. It must not know what an item is, or who hands items out.
package items

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/ledger/jetstream"
	"cortex.dev/cortex/internal/webhook"
)

// Config is where the servers are, and who asks them.
type Config struct {
	Settings
	REST      *rest.Config
	Namespace string // of the secret
	Program   string // for the servers' log
	Log       *slog.Logger
}

// Settings are the flags.
type Settings struct {
	URL          string   // of the servers, as nats://host:4222 or tls://host:4222; empty: there are none
	Secret       string   // with the keys username and password
	Copies       int      // on how many servers an item is
	WebhookHosts []string // that messages may go to beside public addresses
}

// Usage describes the flags.
const Usage = `
  --items URL              of the servers of NATS that keep the items of AsyncAPIs, nats:// or tls://
                           (none: AsyncAPIs do not run)
  --items-secret NAME      secret with the username and password for them (cortex-ledger)
  --items-copies N         servers that each item is on: 1, 3 or 5 (1)
  --webhook-hosts HOST     host, address or network that webhook messages may go to beside
                           public addresses; may be repeated (none)
`

// Flags defines the flags.
func (s *Settings) Flags(f *program.Flags) {
	f.Set.StringVar(&s.URL, "items", "", "")
	f.Set.StringVar(&s.Secret, "items-secret", "cortex-ledger", "")
	f.Set.IntVar(&s.Copies, "items-copies", 1, "")
	f.List("webhook-hosts", &s.WebhookHosts)
}

// Check says what is wrong with them.
func (s *Settings) Check(f *program.Flags) {
	if s.URL != "" {
		u, err := url.Parse(s.URL)
		f.Complain(err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || u.User != nil || u.Path != "", "--items %q is not nats://host:port or tls://host:port", s.URL)
		f.Name("--items-secret", s.Secret)
	}
	f.Complain(s.Copies != 1 && s.Copies != 3 && s.Copies != 5, "--items-copies %d is not 1, 3 or 5", s.Copies)
	if _, err := webhook.ParseAllowed(s.WebhookHosts); err != nil {
		f.Complain(true, "--webhook-hosts: %v", err)
	}
}

// name is of the stream, and of what is beside it.
const name = "cortex-items"

// Store is the ledger and what is beside it.
type Store struct {
	*jetstream.Members
	Contents *jetstream.Contents
	Records  jetstream.Records // of jobs
	Files    *jetstream.Files  // of jobs

	cfg   Config
	conn  *nats.Conn
	login atomic.Pointer[login]
}

type login struct{ username, password string }

// Open returns at once, whether the servers are there or not. Run has to run.
func Open(cfg Config) (*Store, error) {
	s := &Store{cfg: cfg}
	conn, err := nats.Connect(cfg.URL,
		nats.Name(cfg.Program), nats.Timeout(time.Second), nats.MaxReconnects(-1), nats.ReconnectWait(500*time.Millisecond),
		nats.RetryOnFailedConnect(true), nats.IgnoreAuthErrorAbort(), nats.UserInfoHandler(s.credentials),
		// What is asked while they are away fails at once, and is not sent later.
		nats.ReconnectBufSize(-1),
		nats.ConnectHandler(func(c *nats.Conn) { cfg.Log.Info("the servers of items are there", "url", c.ConnectedUrlRedacted()) }),
		nats.ReconnectHandler(func(c *nats.Conn) {
			cfg.Log.Info("the servers of items are there again", "url", c.ConnectedUrlRedacted())
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { cfg.Log.Warn("the servers of items are away", "error", err) }),
	)
	if err != nil {
		return nil, fmt.Errorf("preparing to speak to the servers of items: %w", err)
	}
	kept, err := jetstream.Open(jetstream.Config{Conn: conn, Name: name, Replicas: cfg.Copies})
	if err != nil {
		conn.Close()
		return nil, err
	}
	s.conn, s.Members, s.Contents = conn, kept.Members(cfg.Log), kept.Contents()
	s.Records, s.Files = kept.Records(), kept.Files()
	return s, nil
}

// credentials are those of now; until they are known the servers refuse us.
func (s *Store) credentials() (username, password string) {
	if l := s.login.Load(); l != nil {
		return l.username, l.password
	}
	return "", ""
}

// credentialsEvery is how often the secret is read again: it may be changed.
const credentialsEvery = time.Minute

// Run keeps the credentials until ctx ends, and then the connection no longer.
func (s *Store) Run(ctx context.Context) error {
	defer s.conn.Close()
	defer s.Close()
	tick := time.NewTicker(credentialsEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		username, password, err := program.Credentials(ctx, s.cfg.REST, s.cfg.Namespace, s.cfg.Secret, s.cfg.Log)
		if err == nil {
			s.login.Store(&login{username, password})
		} else if ctx.Err() == nil {
			s.cfg.Log.Warn("the credentials for the servers of items cannot be read", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}

// Webhooks are the hosts that messages may go to.
func (s *Settings) Webhooks() (*webhook.Allowed, error) { return webhook.ParseAllowed(s.WebhookHosts) }
