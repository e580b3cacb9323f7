package nats

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/fault"
)

// How long a call waits for a server that is away, and how often it is tried.
const (
	reconnectWait  = 5 * time.Second
	reconnectEvery = 250 * time.Millisecond
)

// external reports whether the state is kept by a server that is not ours.
func (c Config) external() bool { return c.URL != "" }

// place is where the state is, for people: the folder, or the servers without
// what proves who we are.
func (c Config) place() string {
	if !c.external() {
		return c.Dir
	}
	servers := strings.Split(c.URL, ",")
	for i, text := range servers {
		u, err := parseServer(text)
		if err != nil {
			return "the NATS server"
		}
		servers[i] = u.Scheme + "://" + u.Host
	}
	return strings.Join(servers, ",")
}

// parseServer reads one server of a URL. Its error does not repeat the text,
// which may hold a password.
func parseServer(text string) (*url.URL, error) {
	text = strings.TrimSpace(text)
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil, errors.New("it is not the URL of a NATS server")
	}
	return u, nil
}

// checkExternal refuses a configuration that cannot be meant.
func (c Config) checkExternal() error {
	illegal := func(format string, args ...any) error {
		return fault.New(fault.Invalid, "store.illegal_config", format, args...).
			WithHint("name either a folder, or a server such as nats://user:password@host:4222")
	}
	if !c.external() {
		if c.Replicas > 1 {
			return illegal("a folder keeps one copy of the state, not %d", c.Replicas)
		}
		return nil
	}
	if c.Dir != "" {
		return illegal("the state is either in a folder or at a NATS server, not in both")
	}
	if c.Replicas < 1 || c.Replicas > 5 {
		return illegal("%d is no number of copies: 1 to 5", c.Replicas)
	}
	for _, text := range strings.Split(c.URL, ",") {
		if _, err := parseServer(text); err != nil {
			return illegal("the URL of the state cannot be used: %w", err)
		}
	}
	return nil
}

// openExternal connects to a server and makes what is missing there.
func openExternal(ctx context.Context, cfg Config) (_ *Store, err error) {
	s := newStore(cfg)
	defer func() {
		if err != nil {
			s.shutDown()
		}
	}()
	if err := s.start(ctx, found{}); err != nil {
		return nil, err
	}
	return s, nil
}

// dial connects to the server of the URL. The connection comes back by itself
// when it is lost, for as long as the session lives.
func (s *Store) dial(ss *session) (err error) {
	log := s.cfg.Log.With("server", s.cfg.place())
	ss.conn, err = natsgo.Connect(s.cfg.URL, natsgo.Name("cortex"), natsgo.Timeout(reconnectWait),
		natsgo.MaxReconnects(-1), natsgo.ReconnectWait(reconnectEvery), natsgo.IgnoreAuthErrorAbort(),
		// A call that failed has failed: what it wanted to say is not said later.
		natsgo.ReconnectBufSize(-1),
		natsgo.DisconnectErrHandler(func(_ *natsgo.Conn, err error) {
			if ss.broken.Err() == nil {
				log.Warn("store: the connection is lost", "error", err)
			}
		}),
		natsgo.ReconnectHandler(func(*natsgo.Conn) { log.Info("store: the connection is back") }),
		natsgo.ErrorHandler(func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) {
			log.Warn("store: the server says", "error", err)
		}),
		natsgo.ClosedHandler(func(*natsgo.Conn) { ss.breaks(natsgo.ErrConnectionClosed) }))
	if err != nil {
		return s.unavailable("connecting", err)
	}
	return nil
}

// connected waits, not for long, until the connection is there.
func (s *Store) connected(ctx context.Context, ss *session) error {
	if !s.cfg.external() || ss.conn.IsConnected() {
		return nil
	}
	back := ss.conn.StatusChanged(natsgo.CONNECTED)
	defer ss.conn.RemoveStatusListener(back)
	if ss.conn.IsConnected() {
		return nil
	}
	timer := time.NewTimer(reconnectWait)
	defer timer.Stop()
	select {
	case <-back:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return s.unavailable("connecting", natsgo.ErrDisconnected)
	}
}

// serverFailure says what an error of a server means that is not ours.
func (s *Store) serverFailure(doing string, err error) error {
	switch {
	case errors.Is(err, natsgo.ErrMaxPayload):
		return fault.New(fault.Invalid, "store.too_large", "%s: it is larger than what the NATS server %s takes", doing, s.cfg.place()).
			WithHint("set max_payload of the server to 8MB")
	case isDiskFull(err):
		return fault.New(fault.Unavailable, "store.disk_full", "%s: the NATS server %s has no room; this change was not made", doing, s.cfg.place()).
			WithHint("give JetStream more storage there (max_file_store, or the limits of the account)")
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fault.New(fault.Unavailable, "store.unavailable", "%s: the NATS server %s has no JetStream", doing, s.cfg.place()).
			WithHint("start it with JetStream, and allow it for the account")
	case errors.Is(err, natsgo.ErrDisconnected), errors.Is(err, natsgo.ErrReconnectBufExceeded), errors.Is(err, natsgo.ErrNoResponders),
		errors.Is(err, natsgo.ErrConnectionReconnecting), errors.Is(err, natsgo.ErrNoServers), errors.Is(err, jetstream.ErrNoStreamResponse):
		return s.unavailable(doing, err)
	}
	var refused *jetstream.APIError
	if errors.As(err, &refused) {
		return fault.New(fault.Unavailable, "store.unavailable", "%s: the NATS server %s refuses: %w", doing, s.cfg.place(), err).
			WithHint("look at what it allows this account, and how many servers it has for the copies that are asked for")
	}
	return fmt.Errorf("%s: %w", doing, err)
}
