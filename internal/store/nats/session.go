package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/fault"
)

// session is one life of the embedded server, or one connection to another. A Store
// has a second one only after the first could not write: the server then refuses to
// go on with what it holds.
type session struct {
	server *server.Server // nil when it is not ours
	conn   *natsgo.Conn
	js     jetstream.JetStream
	kv     jetstream.KeyValue
	// broken ends, with the reason, when the server cannot write or is shut down.
	broken context.Context
	breaks context.CancelCauseFunc
}

// connect brings up a server and connects to it, or connects to the one of the URL.
func (s *Store) connect(ctx context.Context) (_ *session, err error) {
	ss := &session{}
	ss.broken, ss.breaks = context.WithCancelCause(context.Background())
	defer func() {
		if err != nil {
			ss.end()
		}
	}()
	if s.cfg.external() {
		err = s.dial(ss)
	} else {
		err = s.serve(ctx, ss)
	}
	if err != nil {
		return nil, err
	}
	ss.js, err = jetstream.New(ss.conn, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		return nil, fmt.Errorf("connecting to the state server: %w", err)
	}
	return ss, nil
}

// serve brings up the embedded server and connects to it.
func (s *Store) serve(ctx context.Context, ss *session) (err error) {
	ss.server, err = server.NewServer(&server.Options{
		ServerName: "cortex",
		DontListen: true,
		NoSigs:     true,
		JetStream:  true, StoreDir: s.cfg.Dir, SyncAlways: true,
		JetStreamMaxMemory: maxMemoryBytes,
		JetStreamMaxStore:  maxStoreBytes,
		MaxPayload:         maxRecordBytes + 1<<20,
		MaxPending:         4 * maxRecordBytes,

		DisableJetStreamBanner: true,
	})
	if err != nil {
		return fmt.Errorf("preparing the state server: %w", err)
	}
	ss.server.SetLoggerV2(serverLog{log: s.cfg.Log, breaks: ss.breaks}, false, false, false)
	ss.server.Start()
	if err := ss.wait(ctx); err != nil {
		return fault.New(fault.Unavailable, "store.not_started", "the state in %s could not be opened: %w", s.cfg.Dir, err).
			WithHint("look at the log of the daemon")
	}
	ss.conn, err = natsgo.Connect("", natsgo.InProcessServer(ss.server), natsgo.Name("cortex"), natsgo.NoReconnect())
	if err != nil {
		return fmt.Errorf("connecting to the state server: %w", err)
	}
	return nil
}

// wait returns when the server can be used, or why it cannot.
func (ss *session) wait(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for !ss.server.ReadyForConnections(20 * time.Millisecond) {
		if err := context.Cause(ss.broken); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	if !ss.server.JetStreamEnabled() {
		return errors.New("the server has no storage")
	}
	return nil
}

// end shuts the server down; a nil session has none.
func (ss *session) end() {
	if ss == nil {
		return
	}
	ss.breaks(errClosed())
	if ss.conn != nil {
		ss.conn.Close()
	}
	if ss.server != nil {
		ss.server.Shutdown()
		ss.server.WaitForShutdown()
	}
}

// begin prepares a call: it returns the server to ask and a context that ends
// with the server. A reserve above 0 asks for room for size bytes first. When the
// server could not write, because another program filled the disk at the wrong
// moment, begin starts it again as soon as there is room. It waits a little for a
// server that others run.
func (s *Store) begin(ctx context.Context, size int, reserve uint64) (*session, context.Context, context.CancelFunc, error) {
	if s.closing.Err() != nil {
		return nil, nil, nil, errClosed()
	}
	if reserve > 0 {
		if err := s.room(size, reserve); err != nil {
			return nil, nil, nil, err
		}
	}
	ss := s.current.Load()
	if ss.broken.Err() != nil {
		if err := s.startAgain(ctx, ss); err != nil {
			return nil, nil, nil, err
		}
		ss = s.current.Load()
	}
	if err := s.connected(ctx, ss); err != nil {
		return nil, nil, nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(ss.broken, func() { cancel(context.Cause(ss.broken)) })
	return ss, ctx, func() { stop(); cancel(nil) }, nil
}

// startAgain replaces a session that cannot write. What it had acknowledged is on
// the disk, and is checked as it is when the folder is opened.
func (s *Store) startAgain(ctx context.Context, old *session) error {
	s.restart.Lock()
	defer s.restart.Unlock()
	if s.current.Load() != old {
		return nil // somebody else was faster
	}
	if s.closing.Err() != nil {
		return errClosed()
	}
	if err := s.room(0, reserveShrink); err != nil {
		return err
	}
	old.end()
	var known found
	if !s.cfg.external() {
		var err error
		if known, err = inspect(s.cfg.Dir, s.cfg.Log); err != nil {
			return err
		}
	}
	if err := s.start(context.WithoutCancel(ctx), known); err != nil {
		s.current.Swap(old).end() // the next call tries again
		return err
	}
	s.cfg.Log.Warn("store: started again after it could not write", "reason", context.Cause(old.broken))
	return nil
}

// failure turns an error of the server into one that says what happened.
func (s *Store) failure(ctx context.Context, doing string, err error) error {
	var known *fault.Fault
	broken := s.current.Load().broken
	folder := !s.cfg.external()
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case s.closing.Err() != nil:
		return errClosed()
	case folder && (isDiskFull(err) || isDiskFull(context.Cause(broken)) || s.room(0, reserveShrink) != nil):
		return diskFull(s.cfg.Dir)
	case broken.Err() != nil:
		return s.unavailable(doing, context.Cause(broken))
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, natsgo.ErrTimeout), errors.Is(err, natsgo.ErrConnectionClosed):
		return s.unavailable(doing, err)
	case !folder:
		return s.serverFailure(doing, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// errClosed is what calls return that were under way when the store was closed.
func errClosed() error {
	return fault.New(fault.Unavailable, "store.closed", "the state is closed")
}

func (s *Store) unavailable(doing string, err error) error {
	f := fault.New(fault.Unavailable, "store.unavailable", "%s: the state in %s does not answer: %w", doing, s.cfg.place(), err)
	if s.cfg.external() {
		return f.WithHint("check that the NATS server runs, and that its URL and credentials are right; the next call tries again")
	}
	return f.WithHint("check that the disk works; the next call tries again")
}

// serverLog hands the server's words to slog. Its notices are of no interest to
// those who run the daemon. That it cannot write any more, it says nowhere else.
type serverLog struct {
	log    *slog.Logger
	breaks context.CancelCauseFunc
}

func (l serverLog) Errorf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("store: " + text)
	// It stays up then, and answers nothing.
	if low := strings.ToLower(text); strings.Contains(low, "critical write error") || strings.Contains(low, "disabl") {
		l.breaks(errors.New(text))
	}
}

func (l serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	l.log.Error("store: " + text)
	l.breaks(errors.New(text))
}

func (l serverLog) Noticef(format string, v ...any) {
	l.log.Debug("store: " + fmt.Sprintf(format, v...))
}
func (l serverLog) Warnf(format string, v ...any) { l.log.Warn("store: " + fmt.Sprintf(format, v...)) }
func (l serverLog) Debugf(string, ...any)         {}
func (l serverLog) Tracef(string, ...any)         {}
