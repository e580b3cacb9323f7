package items

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/ledger/jetstream"
)

// name is of the stream, and of what is beside it.
const name = "cortex-items"

// servers are the connection to servers of NATS.
type servers struct {
	cfg   Config
	conn  *nats.Conn
	kept  *jetstream.Ledger
	login atomic.Pointer[login]
}

type login struct{ username, password string }

func openServers(cfg Config) (*Store, error) {
	s := &servers{cfg: cfg}
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
	s.conn, s.kept = conn, kept
	return &Store{
		Shared: kept.Members(cfg.Log), Contents: kept.Contents(), Records: kept.Records(), Files: kept.Files(), Schedules: kept.Schedules(), Run: s.run,
	}, nil
}

// credentials are those of now; until they are known the servers refuse us.
func (s *servers) credentials() (username, password string) {
	if l := s.login.Load(); l != nil {
		return l.username, l.password
	}
	return "", ""
}

// credentialsEvery is how often the secret is read again: it may be changed.
const credentialsEvery = time.Minute

// run keeps the credentials until ctx ends, and then the connection no longer.
func (s *servers) run(ctx context.Context) error {
	defer s.conn.Close()
	defer s.kept.Close()
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
