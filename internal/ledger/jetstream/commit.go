package jetstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// Headers of a batch, as ADR 50 of NATS names them.
const (
	headerBatch    = "Nats-Batch-Id"
	headerSequence = "Nats-Batch-Sequence"
	headerCommit   = "Nats-Batch-Commit"
	headerExpected = "Nats-Expected-Last-Subject-Sequence"
	headerTTL      = "Nats-TTL"
)

// Bounds of a batch. The server's are 1,000 messages and 50 batches at once for a stream;
// ours leave room for several programs. More at once were not faster (ADR 58).
const (
	maxBatch   = 400
	maxBytes   = 4 << 20
	maxAtOnce  = 8
	maxWaiting = 4096
)

// errOvertaken says that what a write was made from has changed since it was read.
var errOvertaken = errors.New("jetstream: another write came first")

// write is messages that are kept together or not at all.
type write struct {
	messages []*nats.Msg
	done     chan error
}

// committer gathers writes that come at once into batches: one wait for the disk for all.
// A batch of which one write was overtaken keeps nothing, and its writes go again one by
// one.
type committer struct {
	conn    *nats.Conn
	writes  chan *write
	ended   chan struct{}
	once    sync.Once
	workers sync.WaitGroup
}

func newCommitter(conn *nats.Conn) *committer {
	c := &committer{conn: conn, writes: make(chan *write, maxWaiting), ended: make(chan struct{})}
	for range maxAtOnce {
		c.workers.Go(c.run)
	}
	return c
}

func (c *committer) close() {
	c.once.Do(func() { close(c.ended) })
	c.workers.Wait()
}

// commit keeps messages together. It returns nil when they are durable, errOvertaken when
// nothing was kept because of a sequence that was not as expected, and another error when
// it is not known what was kept.
func (c *committer) commit(ctx context.Context, messages ...*nats.Msg) error {
	w := &write{messages: messages, done: make(chan error, 1)}
	select {
	case c.writes <- w:
	case <-c.ended:
		return nats.ErrConnectionClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	// Once it is on its way its end is waited for: who gave up would not know.
	select {
	case err := <-w.done:
		return err
	case <-c.ended:
		return nats.ErrConnectionClosed
	}
}

func (c *committer) run() {
	var late *write // that no longer fitted into the batch before
	for {
		first := late
		late = nil
		if first == nil {
			select {
			case first = <-c.writes:
			case <-c.ended:
				return
			}
		}
		batch, n, size := []*write{first}, len(first.messages), first.size()
	gather:
		for n < maxBatch && size < maxBytes {
			select {
			case w := <-c.writes:
				if n+len(w.messages) > maxBatch || size+w.size() > maxBytes {
					late = w
					break gather
				}
				batch, n, size = append(batch, w), n+len(w.messages), size+w.size()
			default:
				break gather
			}
		}
		c.send(batch)
	}
}

func (w *write) size() (n int) {
	for _, m := range w.messages {
		n += len(m.Data)
	}
	return n
}

func (c *committer) send(batch []*write) {
	var all []*nats.Msg
	for _, w := range batch {
		all = append(all, w.messages...)
	}
	err := c.publish(all)
	if errors.Is(err, errOvertaken) && len(batch) > 1 {
		for _, w := range batch {
			w.done <- c.publish(w.messages)
		}
		return
	}
	for _, w := range batch {
		w.done <- err
	}
}

// wait is how long the server has for a batch, and pause how long after a refusal for now
// it is asked again.
const (
	wait  = 15 * time.Second
	pause = 20 * time.Millisecond
)

// publish sends one batch.
func (c *committer) publish(messages []*nats.Msg) error {
	for again := 0; ; again++ {
		err := c.attempt(messages)
		var api *jetstream.APIError
		// Others have their batches under way, or the servers choose who leads the stream:
		// in both cases nothing was kept.
		busy := errors.As(err, &api) && api.ErrorCode == tooManyBatches || errors.Is(err, nats.ErrNoResponders)
		if !busy || again == 100 {
			return err
		}
		time.Sleep(pause)
	}
}

// Codes of the server (errors.json of nats-server).
const (
	wrongLastSequence = 10071 // JSStreamWrongLastSequenceErrF
	wrongLastConstant = 10164 // JSStreamWrongLastSequenceConstantErr
	tooManyBatches    = 10210 // JSAtomicPublishTooManyInflight
)

func (c *committer) attempt(messages []*nats.Msg) error {
	id := nuid.Next()
	for n, m := range messages {
		m.Header.Set(headerBatch, id)
		m.Header.Set(headerSequence, strconv.Itoa(n+1))
		if n < len(messages)-1 {
			m.Header.Del(headerCommit)
			if err := c.conn.PublishMsg(m); err != nil {
				return fmt.Errorf("sending what is to be kept: %w", err)
			}
			continue
		}
		m.Header.Set(headerCommit, "1")
		answer, err := c.conn.RequestMsg(m, wait)
		if err != nil {
			return fmt.Errorf("waiting until it is kept: %w", err)
		}
		return outcome(answer.Data)
	}
	return nil
}

// outcome reads what the server says of a batch.
func outcome(data []byte) error {
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
	}
	if err := json.Unmarshal(data, &ack); err != nil {
		return fmt.Errorf("the server's answer cannot be read: %w", err)
	}
	switch {
	case ack.Error == nil && ack.Seq > 0:
		return nil
	case ack.Error == nil:
		return fmt.Errorf("the server's answer says nothing: %.100q", data)
	case ack.Error.ErrorCode == wrongLastSequence, ack.Error.ErrorCode == wrongLastConstant:
		return errOvertaken
	}
	return ack.Error
}

// message is one that is kept, if the subject is still where it was read: at sequence
// seq, 0 where there was nothing.
func message(subject string, data []byte, seq uint64) *nats.Msg {
	m := unconditional(subject, data)
	m.Header.Set(headerExpected, strconv.FormatUint(seq, 10))
	return m
}

// unconditional is a message that is kept in any case.
func unconditional(subject string, data []byte) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{}, Data: data}
}
