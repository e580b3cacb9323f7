package nats

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	batchMessages = 256
	batchBytes    = 4 << 20
)

// message is one stored message.
type message struct {
	name      string // last token of its subject
	sequence  uint64
	operation string // of a key-value bucket: DEL, PURGE, or "" for a value
	data      []byte
}

// scan calls fn with every message of the subject, in the order in which they
// were written. A message written while it runs may be left out only if it came
// after the last one seen. It asks for batches, so that a thousand messages take a
// few round trips and no consumer.
func (s *Store) scan(ctx context.Context, ss *session, stream, subject string, fn func(message) error) error {
	sub, err := ss.conn.SubscribeSync(ss.conn.NewInbox())
	if err != nil {
		return s.failure(ctx, "reading "+stream, err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only once the connection is closed
	for next := uint64(1); ; {
		request, err := json.Marshal(map[string]any{
			"seq": next, "next_by_subj": subject, "batch": batchMessages, "max_bytes": batchBytes,
		})
		if err != nil {
			return err
		}
		if err := ss.conn.PublishRequest("$JS.API.DIRECT.GET."+stream, sub.Subject, request); err != nil {
			return s.failure(ctx, "reading "+stream, err)
		}
		last, more, err := s.batch(ctx, sub, fn)
		if err != nil {
			return s.failure(ctx, "reading "+stream, err)
		}
		if !more {
			return nil
		}
		next = last + 1
	}
}

// batch hands over the answers to one request, and says which was the last and
// whether there may be more.
func (s *Store) batch(ctx context.Context, sub *natsgo.Subscription, fn func(message) error) (last uint64, more bool, err error) {
	for n := 0; ; n++ {
		m, err := s.next(ctx, sub)
		if err != nil {
			return 0, false, err
		}
		switch status := m.Header.Get("Status"); status {
		case "":
		case "204": // end of batch
			pending := m.Header.Get("Nats-Num-Pending")
			return last, n > 0 && (n >= batchMessages || pending != "0"), nil
		case "404":
			return last, false, nil
		default:
			return 0, false, errors.New(status + " " + m.Header.Get("Description"))
		}
		if last, err = strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64); err != nil {
			return 0, false, err
		}
		if err := fn(message{
			name: lastToken(m.Header.Get("Nats-Subject")), sequence: last,
			operation: m.Header.Get(headerOperation), data: m.Data,
		}); err != nil {
			return 0, false, err
		}
	}
}

func (s *Store) next(ctx context.Context, sub *natsgo.Subscription) (*natsgo.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

func lastToken(subject string) string { return subject[strings.LastIndexByte(subject, '.')+1:] }

// nameLocks keeps what is written under a name apart from the deletion of that
// name. Several names share one lock, so that there are few.
type nameLocks [64]sync.RWMutex

func (l *nameLocks) of(name string) *sync.RWMutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // a hash never fails
	return &l[h.Sum32()%uint32(len(l))]
}

// share and exclude lock a name and return what unlocks it.
func (l *nameLocks) share(name string) (unlock func()) {
	m := l.of(name)
	m.RLock()
	return m.RUnlock
}

func (l *nameLocks) exclude(name string) (unlock func()) {
	m := l.of(name)
	m.Lock()
	return m.Unlock
}

// follow calls fn with every message of the subject whose sequence is greater
// than after, and waits for more. It ends with ctx's error, fn's error, or because
// the store is closed. When the server stumbles it carries on where it was.
func (s *Store) follow(ctx context.Context, stream, subject string, after uint64, fn func(message) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.closing, func() { cancel(errClosed()) })()
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		before := after
		failed, err := s.consume(ctx, stream, subject, &after, fn)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if failed {
			return err
		}
		if after != before {
			wait = 10 * time.Millisecond
		}
		s.cfg.Log.Warn("store: reading stopped, trying again", "stream", stream, "error", err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// consume runs one consumer until it breaks. Failed says that the error is fn's.
func (s *Store) consume(ctx context.Context, stream, subject string, after *uint64, fn func(message) error) (failed bool, _ error) {
	ss, ctx, done, err := s.begin(ctx, 0, 0)
	if err != nil {
		return false, err
	}
	defer done()
	consumer, err := ss.js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{subject}, DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: *after + 1,
		MaxResetAttempts: 1,
	})
	if err != nil {
		return false, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(batchMessages),
		jetstream.PullExpiry(20*time.Second), jetstream.PullHeartbeat(5*time.Second))
	if err != nil {
		return false, err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return false, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return false, err
		}
		if err := fn(message{
			name: lastToken(m.Subject()), sequence: meta.Sequence.Stream,
			operation: m.Headers().Get(headerOperation), data: m.Data(),
		}); err != nil {
			return true, err
		}
		*after = meta.Sequence.Stream
	}
}
