// Package nats keeps desired state in an embedded NATS server with JetStream: one
// key-value bucket for workloads, one stream for their history and one for events,
// in files below one folder.
//
// It promises what the port promises, and besides: a write of desired state or
// history is on the disk (fsync) before it is acknowledged; never do two processes
// use one folder; a folder that is damaged, unreadable or full is refused in words
// before anything in it is changed. The server listens on nothing and is reached
// in process only.
//
// It must not interpret what it keeps.
package nats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// Names on the disk and on the wire. They are a format: a daemon of tomorrow
// reads what one of today wrote.
const (
	bucketWorkloads = "workloads"
	streamWorkloads = "KV_" + bucketWorkloads
	prefixWorkloads = "$KV." + bucketWorkloads + "."
	streamHistory   = "history"
	prefixHistory   = "history."
	streamEvents    = "events"
	prefixEvents    = "events."
)

// Bounds of what is kept. MaxEvents bounds one workload, these bound all of them.
const (
	maxRecordBytes = 12 << 20 // one workload or one history entry, as JSON
	maxEventBytes  = 64 << 10
	maxEvents      = 50_000
	maxEventsBytes = 64 << 20
	maxEventsAge   = 30 * 24 * time.Hour
	maxStoreBytes  = 64 << 30
	maxMemoryBytes = 16 << 20
	startTimeout   = 30 * time.Second // a cold disk with much history
	requestTimeout = 10 * time.Second
)

// Config says where the state is.
type Config struct {
	// Dir is the state folder. It is created (mode 0700) when it does not exist.
	Dir string
	// Log receives what the server has to say. Nil discards it.
	Log *slog.Logger

	// free overrides the question for the bytes left on the disk of a path; tests only.
	free func(path string) (uint64, error)
}

// Store keeps state in a folder. Make one with Open.
type Store struct {
	cfg     Config
	lock    *folderLock
	server  *server.Server
	conn    *natsgo.Conn
	js      jetstream.JetStream
	kv      jetstream.KeyValue
	closing context.Context
	close   context.CancelFunc
	once    sync.Once
	revive  sync.Mutex
}

var _ store.Store = (*Store)(nil)

// Open takes the folder for this process and reads what is in it. Its faults are
// store.state_in_use (Conflict), store.unreadable, store.not_writable,
// store.not_a_folder, store.corrupt, store.too_new and store.disk_full
// (Unavailable); each names the file and says what to do. When it fails, the
// folder is as it was.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.free == nil {
		cfg.free = freeBytes
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, lock: lock}
	s.closing, s.close = context.WithCancel(context.Background())
	defer func() {
		if err != nil {
			s.shutDown()
		}
	}()
	if err := s.room(0, reserveStart); err != nil {
		return nil, err
	}
	known, err := inspect(cfg.Dir, cfg.Log)
	if err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if err := s.prepare(ctx, known); err != nil {
		return nil, err
	}
	return s, nil
}

// start brings up the server and connects to it.
func (s *Store) start(ctx context.Context) error {
	srv, err := server.NewServer(&server.Options{
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
	srv.SetLoggerV2(serverLog{s.cfg.Log}, false, false, false)
	s.server = srv
	srv.Start()
	wait := startTimeout
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline))
	}
	if !srv.ReadyForConnections(wait) || !srv.JetStreamEnabled() {
		return fault.New(fault.Unavailable, "store.not_started", "the state in %s could not be opened within %v", s.cfg.Dir, wait).
			WithHint("look at the log of the daemon")
	}
	s.conn, err = natsgo.Connect("", natsgo.InProcessServer(srv), natsgo.Name("cortex"),
		natsgo.MaxReconnects(-1), natsgo.ReconnectWait(50*time.Millisecond))
	if err != nil {
		return fmt.Errorf("connecting to the state server: %w", err)
	}
	s.js, err = jetstream.New(s.conn, jetstream.WithDefaultTimeout(requestTimeout))
	if err != nil {
		return fmt.Errorf("connecting to the state server: %w", err)
	}
	return nil
}

// prepare makes the bucket and the streams, or finds them again, and finishes
// deletions that an earlier life began.
func (s *Store) prepare(ctx context.Context, known bool) error {
	if !known {
		if err := s.create(ctx); err != nil {
			return s.failure(ctx, "creating the state", err)
		}
		if err := markFolder(s.cfg.Dir); err != nil {
			return err
		}
	}
	var err error
	if s.kv, err = s.js.KeyValue(ctx, bucketWorkloads); err != nil {
		return s.failure(ctx, "opening the state", err)
	}
	return s.finishDeletions(ctx)
}

func (s *Store) create(ctx context.Context) error {
	if _, err := s.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucketWorkloads, Storage: jetstream.FileStorage, History: 1,
		Description: "desired state: one record for each workload",
	}); err != nil {
		return err
	}
	for _, cfg := range []jetstream.StreamConfig{{
		Name: streamHistory, Subjects: []string{prefixHistory + "*"},
		Description:       "revisions of each workload",
		MaxMsgsPerSubject: store.MaxHistory,
	}, {
		Name: streamEvents, Subjects: []string{prefixEvents + "*"},
		Description:       "what happened to each workload",
		MaxMsgsPerSubject: store.MaxEvents,
		MaxMsgs:           maxEvents,
		MaxBytes:          maxEventsBytes,
		MaxAge:            maxEventsAge,
		// Events need not survive the power going off, so they cost no fsync.
		PersistMode: jetstream.AsyncPersistMode,
	}} {
		cfg.Storage, cfg.Discard, cfg.AllowDirect = jetstream.FileStorage, jetstream.DiscardOld, true
		if _, err := s.js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return fmt.Errorf("stream %s: %w", cfg.Name, err)
		}
	}
	return nil
}

// Close ends every Watch and Events, writes what is pending and gives the folder
// free. Calling it again does nothing.
func (s *Store) Close() error {
	s.once.Do(s.shutDown)
	return nil
}

func (s *Store) shutDown() {
	s.close()
	if s.conn != nil {
		s.conn.Close()
	}
	if s.server != nil {
		s.server.Shutdown()
		s.server.WaitForShutdown()
	}
	s.lock.release()
}

// errClosed is what calls return that were under way when the store was closed.
func errClosed() error {
	return fault.New(fault.Unavailable, "store.closed", "the state is closed")
}

// failure turns an error of the server into one that says what happened.
func (s *Store) failure(ctx context.Context, doing string, err error) error {
	var known *fault.Fault
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	case s.closing.Err() != nil:
		return errClosed()
	case isDiskFull(err) || s.room(0, reserveShrink) != nil:
		return diskFull(s.cfg.Dir)
	case !s.server.JetStreamEnabled(), errors.Is(err, context.DeadlineExceeded), errors.Is(err, natsgo.ErrTimeout):
		return fault.New(fault.Unavailable, "store.unavailable", "%s: the state in %s does not answer: %w", doing, s.cfg.Dir, err).
			WithHint("check that the disk works; the next call tries again")
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}

// serverLog hands the server's words to slog. Its notices are of no interest to
// those who run the daemon.
type serverLog struct{ log *slog.Logger }

func (l serverLog) Noticef(format string, v ...any) {
	l.log.Debug("store: " + fmt.Sprintf(format, v...))
}
func (l serverLog) Warnf(format string, v ...any) { l.log.Warn("store: " + fmt.Sprintf(format, v...)) }
func (l serverLog) Fatalf(format string, v ...any) {
	l.log.Error("store: " + fmt.Sprintf(format, v...))
}
func (l serverLog) Errorf(format string, v ...any) {
	l.log.Error("store: " + fmt.Sprintf(format, v...))
}
func (l serverLog) Debugf(string, ...any) {}
func (l serverLog) Tracef(string, ...any) {}
