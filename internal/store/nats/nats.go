// Package nats keeps desired state in an embedded NATS server with JetStream: one
// key-value bucket for workloads, one stream for their history and one for events,
// and one of each for what replicas share, in files below one folder. Where one
// machine is not enough, the same code speaks to a NATS server that others run.
//
// It promises what the port promises, and besides, of a folder: a write of desired
// state, history or what is shared is on the disk (fsync) before it is
// acknowledged; never do two processes use one folder; a folder that is damaged,
// unreadable or full is refused in words before anything in it is changed. The
// embedded server listens on nothing and is reached in process only.
//
// Of a server that others run it promises that many may use it at once and that it
// is found again when it was away; how durable it is, is theirs to say. While a
// workload is deleted, what another replica remembers under its name in the same
// moment may go with it. With more than one copy, List may be moments behind.
//
// It must not interpret what it keeps.
package nats

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

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
	maxRecordBytes = 7 << 20 // one workload or one history entry, as JSON
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
	// URL, instead of Dir, names a NATS server (2.11 or newer) with JetStream, or
	// several with commas between them: nats://user:password@host:4222, tls://host.
	// It wants a max_payload of 8 MB, and streams of its own in the account.
	URL string
	// Replicas is how many copies the servers of URL keep; 0 means 1.
	Replicas int
	// Log receives what the server has to say. Nil discards it.
	Log *slog.Logger

	// free overrides the question for the bytes left on the disk of a path; tests only.
	free func(path string) (uint64, error)
	// claims overrides how many claims there may be; tests only.
	claims int64
}

// Store keeps state in a folder or at a server. Make one with Open.
type Store struct {
	cfg     Config
	lock    *folderLock // nil without a folder
	names   nameLocks
	closing context.Context
	close   context.CancelFunc
	once    sync.Once
	restart sync.Mutex
	current atomic.Pointer[session]
}

var _ store.Store = (*Store)(nil)

// Open takes the folder for this process and reads what is in it. Its faults are
// store.state_in_use (Conflict), store.unreadable, store.not_writable,
// store.not_a_folder, store.corrupt, store.too_new and store.disk_full
// (Unavailable); each names the file and says what to do. When it fails, the
// folder is as it was. Of a server they are store.unavailable and store.disk_full;
// of a configuration that names both or too many copies, store.illegal_config.
func Open(ctx context.Context, cfg Config) (_ *Store, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.free == nil {
		cfg.free = freeBytes
	}
	if cfg.claims == 0 {
		cfg.claims = store.MaxClaims
	}
	if cfg.Replicas == 0 {
		cfg.Replicas = 1
	}
	if err := cfg.checkExternal(); err != nil {
		return nil, err
	}
	if cfg.external() {
		return openExternal(ctx, cfg)
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := newStore(cfg)
	s.lock = lock
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
	if err := s.start(ctx, known); err != nil {
		return nil, err
	}
	return s, nil
}

func newStore(cfg Config) *Store {
	s := &Store{cfg: cfg}
	s.closing, s.close = context.WithCancel(context.Background())
	return s
}

// start brings up a server over a folder that was inspected, or connects to one,
// makes the buckets and the streams or finds them again, and finishes deletions
// that an earlier life began.
func (s *Store) start(ctx context.Context, known found) error {
	if err := s.clearHalfMade(known); err != nil {
		return err
	}
	ss, err := s.connect(ctx)
	if err != nil {
		return err
	}
	s.current.Store(ss)
	if !known.workloads {
		if err := ss.create(ctx, s.cfg.Replicas); err != nil {
			return s.failure(ctx, "creating the state", err)
		}
		if err := s.mark(formatFile); err != nil {
			return err
		}
	}
	// An earlier version may have set up the rest.
	if !known.shared || !known.claims {
		if err := ss.createShared(ctx, s.cfg); err != nil {
			return s.failure(ctx, "creating the state", err)
		}
		if err := s.mark(sharedFile); err != nil {
			return err
		}
	}
	if ss.kv, err = ss.js.KeyValue(ctx, bucketWorkloads); err != nil {
		return s.failure(ctx, "opening the state", err)
	}
	return s.finishDeletions(ctx, ss)
}

func (ss *session) create(ctx context.Context, replicas int) error {
	if _, err := ss.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: bucketWorkloads, Storage: jetstream.FileStorage, History: 1, Replicas: replicas,
		Description: "desired state: one record for each workload",
	}); err != nil {
		return err
	}
	for _, cfg := range []jetstream.StreamConfig{{
		Name: streamHistory, Subjects: []string{prefixHistory + "*"},
		Description:       "revisions of each workload",
		MaxMsgsPerSubject: 2 * store.MaxHistory, // a revision is remembered anew when its outcome is known
	}, {
		Name: streamEvents, Subjects: []string{prefixEvents + "*"},
		Description:       "what happened to each workload",
		MaxMsgsPerSubject: store.MaxEvents,
		MaxMsgs:           maxEvents,
		MaxBytes:          maxEventsBytes,
		MaxAge:            maxEventsAge,
	}} {
		cfg.Storage, cfg.Discard, cfg.AllowDirect, cfg.AllowRollup = jetstream.FileStorage, jetstream.DiscardOld, true, true
		cfg.Replicas = replicas
		if _, err := ss.js.CreateOrUpdateStream(ctx, cfg); err != nil {
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
	s.restart.Lock() // a restart that is under way ends first
	defer s.restart.Unlock()
	s.current.Load().end()
	s.lock.release()
}
