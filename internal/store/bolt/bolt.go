// Package bolt keeps desired state, its history, its events and what replicas share
// in one file of bbolt, a B+ tree, below one folder.
//
// It promises what the port promises, and besides: every write, events included, is
// on the disk (fsync) before it is acknowledged, and writes that come together share
// one fsync; never do two processes use one folder; a file that is damaged, unreadable or full
// is refused in words before anything in it is changed. Bbolt has checksums on its two
// first pages only, so every record carries one of its own, and one record the sum of
// all: what is missing is noticed as what is wrong is.
//
// It must not interpret what it keeps.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"cortex.dev/cortex/internal/atomicfile"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
)

// Bounds of what is kept. MaxEvents bounds one workload, these bound all of them.
const (
	maxRecordBytes = 7 << 20 // one workload or one history entry, as JSON
	maxEventBytes  = 64 << 10
	maxEvents      = 50_000
	maxEventsAge   = 30 * 24 * time.Hour
)

// Config says where the state is.
type Config struct {
	// Dir is the state folder. It is created (mode 0700) when it does not exist.
	Dir string
	// Log receives what is worth telling. Nil discards it.
	Log *slog.Logger

	// free overrides the question for the bytes left on the disk of a path; tests only.
	free func(path string) (uint64, error)
	// claims overrides how many claims there may be; tests only.
	claims int
	// settle overrides how old this process must be before claims that are over are
	// forgotten; tests only.
	settle time.Duration
	// salvage makes a whole file of one that is damaged; nil: that one is refused.
	salvage func(ctx context.Context, path string, why error) error
	// log is the size of one half of a log; 0: there is none.
	log int64
}

// Store keeps state in a folder. Make one with Open.
type Store struct {
	cfg      Config
	path     string
	lock     *folderLock
	db       *bbolt.DB
	identity os.FileInfo // of the file that is open
	opened   time.Time
	queue    chan *write
	dead     error // of who commits: the disk failed, and what it holds is not known until it is read anew
	log      logged
	closing  context.Context
	close    context.CancelFunc
	once     sync.Once
	done     chan struct{} // the committer has ended

	workloads, events, access signal

	making sync.Mutex // held by who may make the key of secrets
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Shared = (*Store)(nil)
)

// Open takes the folder for this process, reads every record in it once and compares
// the checksums. Its faults are store.state_in_use (Conflict), store.unreadable,
// store.not_writable, store.not_a_folder, store.corrupt, store.too_new, store.too_old
// and store.disk_full (Unavailable); each names the file and says what to do. When it
// fails, what was kept is as it was.
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
	if cfg.settle == 0 {
		cfg.settle = store.MaxClaim
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	lock, err := lockFolder(cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, path: filepath.Join(cfg.Dir, stateFile), lock: lock, queue: make(chan *write), done: make(chan struct{}), opened: time.Now(),
	}
	s.log.size = cfg.log
	s.closing, s.close = context.WithCancel(context.Background())
	if err := s.open(ctx); err != nil {
		if s.db != nil {
			_ = s.db.Close() // why it is closed is already known
		}
		lock.release()
		return nil, err
	}
	go s.commits()
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	if err := refuseOld(s.cfg.Dir); err != nil {
		return err
	}
	if err := s.room(0, reserveStart); err != nil {
		return err
	}
	if _, err := os.Stat(s.path); errors.Is(err, fs.ErrNotExist) {
		if err := s.create(); err != nil {
			return folderFault(s.path, err)
		}
	} else if err != nil {
		return folderFault(s.path, err)
	}
	err := s.load(ctx)
	if s.cfg.salvage != nil && isDamage(err) {
		if err = s.cfg.salvage(ctx, s.path, err); err == nil {
			err = s.load(ctx)
		}
	}
	if err != nil {
		return err
	}
	if s.identity, err = os.Stat(s.path); err != nil {
		return folderFault(s.path, err)
	}
	return nil
}

// openFile opens a file; unsynced says that nobody relies on it before it is synced.
func openFile(path string, unsynced bool) (*bbolt.DB, error) {
	// Without its list of free pages a commit writes less, and there is one thing less
	// to be damaged; opening reads all pages anyway.
	return bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, PageSize: pageSize, NoSync: unsynced,
	})
}

// create makes an empty state beside its place and moves it there, so that a file in
// its place is always whole.
func (s *Store) create() error {
	part := s.path + ".part"
	if err := createFile(part, false); err != nil {
		return err
	}
	if err := os.Rename(part, s.path); err != nil {
		return err
	}
	return atomicfile.SyncFolder(s.cfg.Dir)
}

// createFile makes a file without records, in the place of any that is there.
func createFile(path string, unsynced bool) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	db, err := openFile(path, unsynced)
	if err != nil {
		return err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(bucket)
		if err != nil {
			return err
		}
		return putSummary(b, summary{Format: formatVersion})
	})
	if closing := db.Close(); err == nil {
		err = closing
	}
	return err
}

// view reads at one moment. Damage that came after Open is said, not crashed on: the
// file is mapped into memory.
func (s *Store) view(fn func(*reader) error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = corrupt(s.path, "%v", r)
		}
	}()
	tx, over, err := s.at()
	if err == nil {
		defer func() { _ = tx.Rollback() }() // of reading nothing is left
		var b records = inFile{tx.Bucket(bucket)}
		if len(over) > 0 {
			b = layered{file: tx.Bucket(bucket), over: over}
		}
		err = fn(&reader{path: s.path, b: b})
	}
	if s.closing.Err() != nil || errors.Is(err, bbolterrors.ErrDatabaseNotOpen) {
		return errClosed()
	}
	return err
}

// room refuses a write when the disk that holds the folder is nearly full.
func (s *Store) room(size int, reserve uint64) error {
	free, err := s.cfg.free(s.cfg.Dir)
	if err != nil {
		return folderFault(s.cfg.Dir, err)
	}
	if free < uint64(size)+reserve {
		return diskFull(s.cfg.Dir)
	}
	return nil
}

// Close ends every Watch and Events, finishes what is being written and gives the
// folder free. Calling it again does nothing.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		s.close()
		<-s.done
		err = errors.Join(s.finish(), s.db.Close())
		s.lock.release()
	})
	return err
}

// errClosed is what calls return that were under way when the store was closed.
func errClosed() error {
	return fault.New(fault.Unavailable, "store.closed", "the state is closed")
}

// signal wakes those who wait for a change.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that is closed at the next change. Take it before reading.
func (g *signal) wait() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch == nil {
		g.ch = make(chan struct{})
	}
	return g.ch
}

func (g *signal) fire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.ch != nil {
		close(g.ch)
		g.ch = nil
	}
}
