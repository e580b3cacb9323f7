package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"cortex.dev/cortex/internal/boundedcache"
)

// The times of members. One that has said nothing for memberLife, by the clock of whoever
// looks, is gone; one that leads stops before anybody may think so.
const (
	memberEvery = 2 * time.Second
	memberLife  = 10 * time.Second
	leadWithin  = 7 * time.Second
	lookEvery   = 500 * time.Millisecond
	leaveWithin = 3 * time.Second
	memberKept  = time.Hour // in the servers' memory, once it is gone
)

// What is kept of members: by the name of each its latest word, and who leads.
const (
	leadKey  = "lead"
	memberOf = "member."
	here     = "here"
	left     = "left"
)

// Members are the programs that use one ledger. What is known of them is in the servers'
// memory: it is worth nothing after a moment, and must not wait for a disk that is busy.
type Members struct {
	*Ledger
	kv  lazy[jetstream.KeyValue]
	log *slog.Logger
	// By owner the word after which it was not heard of for memberLife. Each program has a
	// name of its own, so that there are ever more of them; who is forgotten here is waited
	// for once more.
	dead *boundedcache.Map[string, uint64]
}

// deadKept is of how many members it is remembered that they are gone: of more than die while
// anybody asks for them.
const deadKept = 256

// Members are those of the ledger.
func (l *Ledger) Members(log *slog.Logger) *Members {
	m := &Members{Ledger: l, log: log, dead: boundedcache.New[string, uint64](deadKept)}
	m.kv.find = func(ctx context.Context) (jetstream.KeyValue, error) {
		kv, err := l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
			Bucket: l.cfg.Name + "-members", Description: "programs that accept and hand out items of Cortex",
			Storage: jetstream.MemoryStorage, Replicas: max(l.cfg.Replicas, 1), History: 1, TTL: memberKept,
		})
		if err != nil {
			return nil, unavailable("the members of "+l.cfg.Name, err)
		}
		return kv, nil
	}
	return m
}

// say writes a word of a member.
func (m *Members) say(ctx context.Context, owner, word string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	kv, err := m.kv.get(ctx)
	if err == nil {
		_, err = kv.PutString(ctx, memberOf+owner, word)
	}
	return err
}

// read returns what is kept; where nothing is the error is jetstream.ErrKeyNotFound.
func (m *Members) read(ctx context.Context, key string) (jetstream.KeyValueEntry, error) {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	kv, err := m.kv.get(ctx)
	if err != nil {
		return nil, err
	}
	return kv.Get(ctx, key)
}

// lead writes who leads, if that is still what was read; nil: nothing was.
func (m *Members) lead(ctx context.Context, owner string, was jetstream.KeyValueEntry) error {
	ctx, cancel := context.WithTimeout(ctx, leaveWithin)
	defer cancel()
	kv, err := m.kv.get(ctx)
	switch {
	case err != nil:
	case was == nil:
		_, err = kv.Create(ctx, leadKey, []byte(owner))
	default:
		_, err = kv.Update(ctx, leadKey, []byte(owner), was.Revision())
	}
	return err
}

// told is what the subjects of what members tell each other begin with. The stream does not
// have them.
func (m *Members) told() string { return m.cfg.Name + "-told." }

// Tell passes on to the other members what is worth nothing after a moment; it may be lost.
func (m *Members) Tell(api, id string, said []byte) {
	_ = m.cfg.Conn.Publish(m.told()+api+"."+id, said) // see above
}

// Hear calls fn with what other members tell, until ctx ends.
func (m *Members) Hear(ctx context.Context, fn func(api, id string, said []byte)) {
	sub, err := m.cfg.Conn.Subscribe(m.told()+">", func(msg *nats.Msg) {
		if api, id, ok := strings.Cut(strings.TrimPrefix(msg.Subject, m.told()), "."); ok {
			fn(api, id, msg.Data)
		}
	})
	if err != nil {
		m.log.Warn("what other programs say of executions is not heard", "error", err)
		return
	}
	<-ctx.Done()
	_ = sub.Unsubscribe() // the connection may be gone
}

// Attend says until ctx ends that owner is there, and then that it is not any more.
func (m *Members) Attend(ctx context.Context, owner string) {
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := m.say(ctx, owner, here, memberEvery); err != nil && ctx.Err() == nil {
			m.log.Warn("the servers of items do not hear that this program is there", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	if err := m.say(context.WithoutCancel(ctx), owner, left, leaveWithin); err != nil {
		m.log.Warn("the servers of items do not hear that this program ends: others wait for it", "error", err)
	}
}

// pulse is what somebody has seen of a member.
type pulse struct {
	revision uint64
	since    time.Time // when it was first seen like this
}

// look asks for a member's latest word, and reports whether it is gone. While the servers
// do not answer nobody is: its words do not arrive either.
func (m *Members) look(ctx context.Context, owner string, p *pulse) bool {
	entry, err := m.read(ctx, memberOf+owner)
	now, revision := time.Now(), uint64(0)
	switch {
	case err == nil && string(entry.Value()) == left:
		return true
	case err == nil:
		revision = entry.Revision()
	case !errors.Is(err, jetstream.ErrKeyNotFound):
		p.since = now
		return false
	}
	if p.since.IsZero() || revision != p.revision {
		*p = pulse{revision, now}
	}
	if was, known := m.dead.Get(owner); known && was == revision {
		return true
	}
	gone := now.Sub(p.since) >= memberLife
	if gone {
		m.dead.Put(owner, revision)
	}
	return gone
}

// Gone waits until owner is not there any more. It fails with ctx only.
func (m *Members) Gone(ctx context.Context, owner string) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for p := (pulse{}); !m.look(ctx, owner, &p); {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
	return nil
}

// Lead calls work each time that owner becomes the one that leads, with a context that ends
// when it no longer is; until ctx ends, or work fails. The next one leads when work has
// returned, or when owner is gone. owner has to attend.
func (m *Members) Lead(ctx context.Context, owner string, work func(context.Context) error) error {
	for ctx.Err() == nil {
		if !m.take(ctx, owner) {
			return nil
		}
		m.log.Info("this program hands items out", "program", owner)
		leading, stop := context.WithCancel(ctx)
		watched := make(chan struct{})
		go func() {
			defer close(watched)
			defer stop()
			m.hold(leading, owner)
		}()
		err := work(leading)
		stop()
		<-watched
		m.release(ctx, owner)
		if err != nil {
			return err
		}
	}
	return nil
}

// take waits until owner leads; false: ctx has ended.
func (m *Members) take(ctx context.Context, owner string) bool {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var p pulse
	of := ""
	for {
		entry, err := m.read(ctx, leadKey)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			if m.lead(ctx, owner, nil) == nil {
				return true
			}
		case err == nil:
			leader := string(entry.Value())
			if leader != of {
				p, of = pulse{}, leader
			}
			if leader != "" && leader != owner && !m.look(ctx, leader, &p) {
				break
			}
			if m.lead(ctx, owner, entry) == nil {
				return true
			}
		}
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
}

// hold returns when owner does not lead any more, or cannot know, or when ctx ends.
func (m *Members) hold(ctx context.Context, owner string) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for known := time.Now(); ; {
		entry, err := m.read(ctx, leadKey)
		switch {
		case err == nil && string(entry.Value()) == owner:
			known = time.Now()
		case err == nil:
			m.log.Warn("another program hands items out now", "program", string(entry.Value()))
			return
		case errors.Is(err, jetstream.ErrKeyNotFound): // the servers were all started anew
			if m.lead(ctx, owner, nil) == nil {
				known = time.Now()
			}
		}
		if time.Since(known) > leadWithin {
			m.log.Warn("the servers of items do not answer: another program may hand them out", "error", err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// release has the next one lead at once.
func (m *Members) release(ctx context.Context, owner string) {
	ctx = context.WithoutCancel(ctx)
	entry, err := m.read(ctx, leadKey)
	if err == nil && string(entry.Value()) == owner {
		err = m.lead(ctx, "", entry)
	}
	if err != nil {
		m.log.Warn("the next program hands items out when this one is seen to be gone", "error", err)
	}
}
