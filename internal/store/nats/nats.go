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
	// Log receives what the server has to say. Nil discards it.
	Log *slog.Logger

	// free overrides the question for the bytes left on the disk of a path; tests only.
	free func(path string) (uint64, error)
}

// Store keeps state in a folder. Make one with Open.
type Store struct {
	cfg     Config
	lock    *folderLock
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
	if err := s.start(ctx, known); err != nil {
		return nil, err
	}
	return s, nil
}

// start brings up a server over a folder that was inspected, makes the bucket and
// the streams or finds them again, and finishes deletions that an earlier life began.
func (s *Store) start(ctx context.Context, known bool) error {
	ss, err := s.connect(ctx)
	if err != nil {
		return err
	}
	s.current.Store(ss)
	if !known {
		if err := ss.create(ctx); err != nil {
			return s.failure(ctx, "creating the state", err)
		}
		if err := markFolder(s.cfg.Dir); err != nil {
			return err
		}
	}
	if ss.kv, err = ss.js.KeyValue(ctx, bucketWorkloads); err != nil {
		return s.failure(ctx, "opening the state", err)
	}
	return s.finishDeletions(ctx, ss)
}

func (ss *session) create(ctx context.Context) error {
	if _, err := ss.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
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
	}} {
		cfg.Storage, cfg.Discard, cfg.AllowDirect, cfg.AllowRollup = jetstream.FileStorage, jetstream.DiscardOld, true, true
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
