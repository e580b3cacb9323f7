package jetstream

import (
	"context"
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/ledger"
)

// Follow calls fn with every item that changes, whoever changes it, in the order of the
// changes, until ctx ends; listening is called once, when no later change can be missed. An
// item that changed several times may be told of once. Get knows what fn is told. It fails
// when the server is away for long, and may be called again: what was missed then is in Open.
func (l *Ledger) Follow(ctx context.Context, listening func(), fn func(ledger.Item)) error {
	doing := "following " + l.cfg.Name
	stream, err := l.stream.get(ctx)
	if err != nil {
		return err
	}
	kept, err := l.lastKept(ctx)
	if err != nil {
		return unavailable(doing, err)
	}
	// Not "what is new": the client makes its consumer again when a server is slow, and new
	// is then what comes after that.
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{l.cfg.Name + "." + subjectItem + ".>"},
		DeliverPolicy:  jetstream.DeliverByStartSequencePolicy, OptStartSeq: kept + 1, InactiveThreshold: consumerKept,
	})
	if err != nil {
		return unavailable(doing, err)
	}
	listening()
	return consume(ctx, consumer, doing, func(m jetstream.Msg) (more bool, _ error) {
		meta, err := m.Metadata()
		if err != nil {
			return false, unavailable(doing, err)
		}
		// The server that tells may be ahead of the one that leads, which is the one that is read.
		for kept < meta.Sequence.Stream {
			if kept, err = l.lastKept(ctx); err != nil {
				return false, unavailable(doing, err)
			}
			if kept < meta.Sequence.Stream {
				time.Sleep(pause)
			}
		}
		var i ledger.Item
		// What is over, or cannot be read, is told to whoever reads it by its name.
		if m.Headers().Get(headerGone) == "" && json.Unmarshal(m.Data(), &i) == nil {
			fn(i)
		}
		return true, nil
	}, jetstream.PullMaxMessages(500), jetstream.PullHeartbeat(5*time.Second))
}

// lastKept is the sequence up to which the server that leads the stream has everything.
func (l *Ledger) lastKept(ctx context.Context) (uint64, error) {
	stream, err := l.js.Stream(ctx, l.cfg.Name) // apart from l.stream, whose settings are ours
	if err != nil {
		return 0, err
	}
	return stream.CachedInfo().State.LastSeq, nil
}
