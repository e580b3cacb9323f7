// Package s3 keeps the ledger of asynchronous work in a bucket of Amazon S3, for several
// programs that accept and hand out items at once. It is named for where the truth is: an
// item is one object, and changes by writes on the condition that it is what was read. What
// programs tell each other by queues of SQS are hints, which may be lost.
//
// It promises what ledger.Ledger does, and that a program which dies between any two of its
// calls leaves nothing that is not found and mended:
//
//   - Accepting: the mark that there is something open (open/API/ID), then the item, then, if
//     it has an idempotency key, the key, which is what accepts it. A mark without an item, and
//     an item that its key does not know, are dropped an hour later.
//   - Ending: the item, with its result, its message and its end in one object. Then what the
//     end makes to be done: the message as an object of its own, a line of when the item is
//     over (over/HOUR/…, many lines in one object), and only then the mark goes. An item that
//     has ended and is marked has all of that done again.
//   - Trying again: the mark of the next generation, then the item.
//   - Forgetting: that the item was there (gone/API), then the item, then the lines.
//
// It must not rely on a list being whole, on a hint, or on the clock of another program.
package s3

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/boundedcache"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
)

// Config is where the ledger is.
type Config struct {
	Client *awsrest.Client
	Bucket string
	Prefix string // of all keys; empty, or it ends with a slash
	Queues string // what the names of its queues begin with
	Log    *slog.Logger
	Times  Times
}

// Times are how often what is idle is looked at. Each look is a call that is paid for.
type Times struct {
	Look  time.Duration // who is there, and who leads: 5 s
	Beat  time.Duration // saying that one is there: 10 s
	Life  time.Duration // after which silence one is gone: 30 s
	Sweep time.Duration // of what is open: 30 s
	Flush time.Duration // what has ended is written up together: 20 s
	Poll  time.Duration // how long SQS waits for a hint: 20 s
}

func (t Times) withDefaults() Times {
	for _, d := range []struct {
		of *time.Duration
		is time.Duration
	}{{&t.Look, 5 * time.Second}, {&t.Beat, 10 * time.Second}, {&t.Life, 30 * time.Second}, {&t.Sweep, 30 * time.Second}, {&t.Flush, 20 * time.Second}, {&t.Poll, 20 * time.Second}} {
		if *d.of == 0 {
			*d.of = d.is
		}
	}
	return t
}

// Ledger is a ledger.Ledger, and how its programs know of each other.
type Ledger struct {
	cfg    Config
	bucket *awsrest.Bucket
	name   string // of this program, among those that use the ledger

	ended ended
	gone  *boundedcache.Map[string, goneList] // by API, as it was read last

	forgetting sync.Mutex
	handled    map[string]map[int]bool // lines of over that need nothing more, by object
	pruned     time.Time               // when keys and what was forgotten were last looked through

	keysLast, orphanAfter time.Duration

	programs programs
	mail     mail
}

var _ ledger.Ledger = (*Ledger)(nil)

// goneKept is of how many APIs it is remembered what was forgotten.
const goneKept = 32

// Open returns the ledger, which need not be there yet. Nothing is asked before it is needed.
func Open(cfg Config) *Ledger {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Times = cfg.Times.withDefaults()
	l := &Ledger{cfg: cfg, bucket: cfg.Client.Bucket(cfg.Bucket, cfg.Prefix), name: token(), gone: boundedcache.New[string, goneList](goneKept), handled: map[string]map[int]bool{}, keysLast: keysLast, orphanAfter: orphanAfter}
	l.programs.init()
	l.mail.init()
	return l
}

// Close writes up what has ended. What it does not reach is found by the next program.
func (l *Ledger) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := l.flush(ctx); err != nil {
		l.cfg.Log.Warn("items that have ended are written up by the next program", "error", err)
	}
}

const closeWithin = 5 * time.Second

// Run keeps this program known to the others, tells them of changes and writes up what has
// ended, until ctx ends.
func (l *Ledger) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { l.keep(ctx) })
	all.Go(func() { l.deliver(ctx) })
	all.Go(func() {
		every(ctx, l.cfg.Times.Flush, func() {
			if err := l.flush(ctx); err != nil && ctx.Err() == nil {
				l.cfg.Log.Warn("items that have ended cannot be written up now", "error", err)
			}
		})
	})
	all.Wait()
	l.Close()
	return nil
}

// every calls fn every so often until ctx ends.
func every(ctx context.Context, d time.Duration, fn func()) {
	t := time.NewTicker(d)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			fn()
		}
	}
}

// token is a text that nobody else makes.
func token() string { return rand.Text() }

// unavailable is the fault of AWS not doing what it is asked now.
func unavailable(doing string, err error) error {
	hint := "try again later; the operator of this cluster sees why in the logs of operator and gateways"
	switch status := awsrest.Status(err); {
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		hint = "the roles of operator and gateways need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket of the bucket, and sqs:* of its queues: see docs/kubernetes.md"
	case awsrest.NoBucket(err):
		hint = "the bucket of --items is not there"
	}
	return fault.New(fault.Unavailable, "store.unavailable", "%s: %w", doing, err).WithHint("%s", hint)
}

func missing(err error) bool {
	return awsrest.Status(err) == http.StatusNotFound && !awsrest.NoBucket(err)
}

// errOvertaken says that what a write was made from has changed since it was read.
var errOvertaken = errors.New("s3: another write came first")

// refused reports whether S3 has not written, or removed, because a condition does not hold.
func refused(err error) bool {
	status := awsrest.Status(err)
	return status == http.StatusPreconditionFailed || status == http.StatusConflict
}

// swap writes an object on a condition. It returns nil when it is kept, errOvertaken when it
// is not and never will be, and another error when it is not known, or may still come to be.
// mine tells from what is there whether it was written by this call, or on top of it: an
// answer may have been lost, and the same request sent again was then refused.
func (l *Ledger) swap(ctx context.Context, key string, data []byte, cond awsrest.If, mine func([]byte) bool) error {
	_, err := l.bucket.Put(ctx, key, data, cond)
	if err == nil {
		return nil
	}
	conflict := refused(err) || cond.ETag != "" && missing(err)
	if !conflict && awsrest.Refused(err) {
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	now, reading := l.bucket.Get(within, key, "")
	switch {
	case reading == nil && mine(now.Data):
		return nil
	case reading != nil && !missing(reading):
		return err
	case conflict, reading == nil && (cond.Absent || cond.ETag != "" && now.ETag != cond.ETag), missing(reading) && cond.ETag != "":
		return errOvertaken
	}
	return err
}

// atOnce is how many objects are read or removed at a time.
const atOnce = 32

// parallel calls fn with 0 to n-1, many at once, and returns one of its errors.
func parallel(n int, fn func(int) error) error {
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i := range n {
		turns <- struct{}{}
		all.Go(func() {
			defer func() { <-turns }()
			if err := fn(i); err != nil {
				mu.Lock()
				failed = err
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return failed
}

// breather waits a moment before what was overtaken is tried again.
func breather(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(jitter(30 * time.Millisecond)):
		return nil
	}
}
