// Package jetstream keeps the ledger of asynchronous work in a stream of NATS JetStream,
// for several programs that accept and hand out items at once.
//
// It promises what ledger.Ledger does; that what is written of one item with one event is
// written whole or not at all (one atomic batch); and that changes which come together
// share a batch. It must not rely on anything that the server does by itself with what it
// keeps but on its order: no dead letters, no deduplication, no redelivery.
package jetstream

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/fault"
)

// Subjects, below the name of the stream. A stream keeps the last message of each.
const (
	subjectItem    = "i" // API, id → item; its header has the state
	subjectPayload = "p" // API, id → payload
	subjectResult  = "r" // API, id → result
	subjectHook    = "h" // API, id, generation → message about an end
	subjectForget  = "f" // hour, API, id → when the item is over
	subjectOnce    = "k" // API, digest of an idempotency key → once
)

// Headers of items, by which they are looked for without their text.
const (
	headerState  = "Cortex-State"
	headerEnded  = "Cortex-Ended"
	headerForget = "Cortex-Forget"
	// headerGone marks what was forgotten, for as long as it is known to have been there.
	headerGone = "Cortex-Gone"
)

// Config is where the ledger is.
type Config struct {
	Conn *nats.Conn
	// Name is of the stream, and what its subjects begin with.
	Name string
	// Replicas is on how many servers the stream is: 1, 3 or 5.
	Replicas int
	// MaxBytes bounds the stream; what is over it is refused, never dropped. 0: unbounded.
	MaxBytes int64
}

// Ledger is a ledger.Ledger.
type Ledger struct {
	cfg    Config
	js     jetstream.JetStream
	stream lazy[jetstream.Stream]
	writes *committer

	forgetting sync.Mutex
	from       int64 // hour before which nothing is over any more; 0: not known
}

// lazy is something of the servers that is found, or made, when it is first needed: a
// program must start while they are away.
type lazy[T any] struct {
	mu    sync.Mutex
	found bool
	value T
	find  func(context.Context) (T, error)
}

func (z *lazy[T]) get(ctx context.Context) (T, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.found {
		return z.value, nil
	}
	v, err := z.find(ctx)
	z.value, z.found = v, err == nil
	return v, err
}

// Open returns the ledger, which need not be there yet: the stream is found or made with the
// first call that needs it. What exists is not made smaller or less safe.
func Open(cfg Config) (*Ledger, error) {
	js, err := jetstream.New(cfg.Conn, jetstream.WithDefaultTimeout(10*time.Second))
	if err != nil {
		return nil, fmt.Errorf("jetstream: %w", err)
	}
	l := &Ledger{cfg: cfg, js: js, writes: newCommitter(cfg.Conn)}
	l.stream.find = l.makeStream
	return l, nil
}

func (l *Ledger) makeStream(ctx context.Context) (jetstream.Stream, error) {
	stream, err := l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:               l.cfg.Name,
		Description:        "items of asynchronous work of Cortex: the truth about them",
		Subjects:           []string{l.cfg.Name + ".>"},
		Storage:            jetstream.FileStorage,
		Replicas:           max(l.cfg.Replicas, 1),
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		MaxMsgsPerSubject:  1,
		MaxBytes:           l.cfg.MaxBytes,
		AllowAtomicPublish: true,
		AllowMsgTTL:        true,
	})
	if err != nil {
		return nil, unavailable("the stream "+l.cfg.Name, err)
	}
	// A stream that keeps the last message of each subject lets followers answer, which may
	// not have heard yet of what was kept. Who leads has: it is asked, and nobody else.
	stream.CachedInfo().Config.AllowDirect = false
	return stream, nil
}

// Close ends what is being written. The connection is the caller's.
func (l *Ledger) Close() { l.writes.close() }

// unavailable is the fault of a server that does not do what it is asked now.
func unavailable(doing string, err error) error {
	var api *jetstream.APIError
	hint := "try again later; the operator of this cluster sees why in the log of NATS"
	if errors.As(err, &api) && api.ErrorCode == jetstreamStoreFull {
		hint = "the stream is full: nothing is accepted until items are over, or it may be larger"
	}
	return fault.New(fault.Unavailable, "store.unavailable", "%s: %w", doing, err).WithHint("%s", hint)
}

// jetstreamStoreFull is the server's code for a stream that is at its bound (errors.json
// of nats-server: JSStreamStoreFailedF).
const jetstreamStoreFull = 10077

// commit is committer.commit, to a stream that there is.
func (l *Ledger) commit(ctx context.Context, messages ...*nats.Msg) error {
	if _, err := l.stream.get(ctx); err != nil {
		return err
	}
	return l.writes.commit(ctx, messages...)
}

// subject is where something of an item is.
func (l *Ledger) subject(kind, api, id string) string {
	return l.cfg.Name + "." + kind + "." + api + "." + id
}

// last returns the last message of a subject; nil: there is none.
func (l *Ledger) last(ctx context.Context, subject string) (*jetstream.RawStreamMsg, error) {
	stream, err := l.stream.get(ctx)
	if err != nil {
		return nil, err
	}
	m, err := stream.GetLastMsgForSubject(ctx, subject)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil, nil
	case err != nil:
		return nil, unavailable("reading "+subject, err)
	}
	return m, nil
}

// purge removes what is at a subject, or at all that match.
func (l *Ledger) purge(ctx context.Context, subject string) error {
	stream, err := l.stream.get(ctx)
	if err != nil {
		return err
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSubject(subject)); err != nil {
		return unavailable("dropping "+subject, err)
	}
	return nil
}

// scan calls fn with the last message of every subject that matches a filter, without its text,
// in the order in which they were written.
func (l *Ledger) scan(ctx context.Context, filters []string, fn func(subject string, h nats.Header) error) error {
	return l.scanBy(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: filters, HeadersOnly: true}, func(m jetstream.Msg) error {
		return fn(m.Subject(), m.Headers())
	})
}

// scanWhole is scan, with the text.
func (l *Ledger) scanWhole(ctx context.Context, filter string, fn func(jetstream.Msg) error) error {
	return l.scanBy(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}}, fn)
}

func (l *Ledger) scanBy(ctx context.Context, cfg jetstream.OrderedConsumerConfig, fn func(jetstream.Msg) error) error {
	cfg.InactiveThreshold = consumerKept
	doing := "reading " + cfg.FilterSubjects[0]
	stream, err := l.stream.get(ctx)
	if err != nil {
		return err
	}
	consumer, err := stream.OrderedConsumer(ctx, cfg)
	if err != nil {
		return unavailable(doing, err)
	}
	// A server allows a stream so many, and counts those that nobody reads any more.
	defer func() {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropWithin)
		defer cancel()
		_ = stream.DeleteConsumer(within, consumer.CachedInfo().Name) // else the server does, after consumerKept
	}()
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	return consume(ctx, consumer, doing, func(m jetstream.Msg) (more bool, _ error) {
		meta, err := m.Metadata()
		if err != nil {
			return false, unavailable(doing, err)
		}
		return meta.NumPending > 0, fn(m)
	}, jetstream.PullMaxMessages(5000))
}

// consumerKept is how long the server keeps a consumer that nobody reads, and dropWithin how
// long it has to drop one.
const (
	consumerKept = 30 * time.Second
	dropWithin   = 2 * time.Second
)

// consume calls fn with messages, until there are to be no more.
func consume(ctx context.Context, c jetstream.Consumer, doing string, fn func(jetstream.Msg) (more bool, err error), opts ...jetstream.PullMessagesOpt) error {
	messages, err := c.Messages(opts...)
	if err != nil {
		return unavailable(doing, err)
	}
	defer messages.Stop()
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	for {
		m, err := messages.Next()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return unavailable(doing, err)
		}
		if more, err := fn(m); err != nil || !more {
			return err
		}
	}
}
