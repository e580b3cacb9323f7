package local

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// LogLimits bound what is kept of the output of containers. Zero values mean the
// defaults in brackets.
type LogLimits struct {
	FileBytes int64 // of one file before the next is begun (10 MiB)
	Files     int   // of one container (3)
	LineBytes int   // a longer line is kept as several (16 KiB)
	Retired   int   // replicas of a workload that are gone and whose logs stay (5)
	Removed   int   // workloads that are gone and whose logs stay (20)
}

func (l LogLimits) defaulted() LogLimits {
	if l.FileBytes <= 0 {
		l.FileBytes = 10 << 20
	}
	if l.Files <= 0 {
		l.Files = 3
	}
	if l.LineBytes <= 0 {
		l.LineBytes = 16 << 10
	}
	if l.Retired <= 0 {
		l.Retired = 5
	}
	if l.Removed <= 0 {
		l.Removed = 20
	}
	return l
}

// logStore keeps the output of containers in files:
//
//	<root>/<workload>/<replica>/<container>.<number>.log
//
// Numbers grow; the lowest is the oldest. Nothing is ever renamed, so that a
// reader which follows never loses its place. One line of a file is
//
//	<time> <run> <stream> <text>
//
// with the time in UTC with nine decimals, and the run counting the starts of the
// container from 1.
type logStore struct {
	root   string
	limits LogLimits

	mu        sync.Mutex
	live      map[logKey]*logWriter
	followers map[string]map[chan struct{}]struct{} // by workload
	anyone    atomic.Int32                          // number of followers
}

type logKey struct{ workload, replica, container string }

func newLogStore(root string, limits LogLimits) *logStore {
	return &logStore{
		root: root, limits: limits.defaulted(),
		live: map[logKey]*logWriter{}, followers: map[string]map[chan struct{}]struct{}{},
	}
}

// writer returns the writer of one container. Trouble is called, never with a
// lock of the store held, when lines begin to be lost.
func (s *logStore) writer(workload, replica, container string, trouble func(reason, message string)) *logWriter {
	w := &logWriter{
		store: s, key: logKey{workload, replica, container},
		dir: filepath.Join(s.root, workload, replica), trouble: trouble,
	}
	s.mu.Lock()
	s.live[w.key] = w
	s.mu.Unlock()
	return w
}

// retire forgets the writers of a replica that is gone and drops the logs of
// those that went long before it.
func (s *logStore) retire(workload, replica string) {
	s.mu.Lock()
	alive := map[string]bool{}
	for k := range s.live {
		if k.workload == workload && k.replica == replica {
			delete(s.live, k)
		} else if k.workload == workload {
			alive[k.replica] = true
		}
	}
	s.mu.Unlock()
	prune(filepath.Join(s.root, workload), s.limits.Retired, alive)
}

// clean drops the logs of workloads that are not among present, but for those
// that were written to last.
func (s *logStore) clean(present map[string]bool) { prune(s.root, s.limits.Removed, present) }

func (s *logStore) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.live {
		w.close()
	}
}

// prune removes folders in dir, but for those in keep and the newest spare others.
func prune(dir string, spare int, keep map[string]bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // nothing there
	}
	type folder struct {
		name string
		age  int64
	}
	var others []folder
	for _, e := range entries {
		if info, err := e.Info(); err == nil && e.IsDir() && !keep[e.Name()] {
			others = append(others, folder{e.Name(), info.ModTime().UnixNano()})
		}
	}
	slices.SortFunc(others, func(a, b folder) int { return cmp.Compare(b.age, a.age) })
	for _, f := range others[min(spare, len(others)):] {
		_ = os.RemoveAll(filepath.Join(dir, f.name)) // what stays is tried again next time
	}
}

// written wakes those who follow a workload.
func (s *logStore) written(workload string) {
	if s.anyone.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for wake := range s.followers[workload] {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// follow returns a channel that receives after every write to a workload's logs,
// and a function that ends that.
func (s *logStore) follow(workload string) (<-chan struct{}, func()) {
	wake := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followers[workload] == nil {
		s.followers[workload] = map[chan struct{}]struct{}{}
	}
	s.followers[workload][wake] = struct{}{}
	s.anyone.Add(1)
	return wake, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.followers[workload], wake)
		if len(s.followers[workload]) == 0 {
			delete(s.followers, workload)
		}
		s.anyone.Add(-1)
	}
}

// numbers returns the numbers of a container's files, ascending.
func numbers(dir, container string) []int {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	var all []int
	for _, e := range entries {
		if c, n, ok := parseLogName(e.Name()); ok && c == container {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all
}

func logName(container string, number int) string {
	return container + "." + strconv.Itoa(number) + ".log"
}

func parseLogName(name string) (container string, number int, ok bool) {
	rest, ok := strings.CutSuffix(name, ".log")
	if !ok {
		return "", 0, false
	}
	container, digits, ok := strings.Cut(rest, ".")
	if !ok {
		return "", 0, false
	}
	number, err := strconv.Atoi(digits)
	return container, number, err == nil && number > 0
}
