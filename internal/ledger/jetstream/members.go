package jetstream

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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
	kv  jetstream.KeyValue
	log *slog.Logger
}

// Members begins to know the programs that use the ledger.
func (l *Ledger) Members(ctx context.Context, log *slog.Logger) (*Members, error) {
	kv, err := l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: l.cfg.Name + "-members", Description: "programs that accept and hand out items of Cortex",
		Storage: jetstream.MemoryStorage, Replicas: max(l.cfg.Replicas, 1), History: 1, TTL: memberKept,
	})
	if err != nil {
		return nil, unavailable("the members of "+l.cfg.Name, err)
	}
	return &Members{Ledger: l, kv: kv, log: log}, nil
}

// Attend says until ctx ends that owner is there, and then that it is not any more.
func (m *Members) Attend(ctx context.Context, owner string) {
	tick := time.NewTicker(memberEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		within, cancel := context.WithTimeout(ctx, memberEvery)
		if _, err := m.kv.PutString(within, memberOf+owner, here); err != nil && ctx.Err() == nil {
			m.log.Warn("the servers of items do not hear that this program is there", "error", err)
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	leaving, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	if _, err := m.kv.PutString(leaving, memberOf+owner, left); err != nil {
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
	entry, err := m.kv.Get(ctx, memberOf+owner)
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
	return now.Sub(p.since) >= memberLife
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
		entry, err := m.kv.Get(ctx, leadKey)
		switch {
		case errors.Is(err, jetstream.ErrKeyNotFound):
			if _, err = m.kv.Create(ctx, leadKey, []byte(owner)); err == nil {
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
			if _, err = m.kv.Update(ctx, leadKey, []byte(owner), entry.Revision()); err == nil {
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
		entry, err := m.kv.Get(ctx, leadKey)
		switch {
		case err == nil && string(entry.Value()) == owner:
			known = time.Now()
		case err == nil:
			m.log.Warn("another program hands items out now", "program", string(entry.Value()))
			return
		case errors.Is(err, jetstream.ErrKeyNotFound): // the servers were all started anew
			if _, err := m.kv.Create(ctx, leadKey, []byte(owner)); err == nil {
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
	defer cancel()
	entry, err := m.kv.Get(ctx, leadKey)
	if err == nil && string(entry.Value()) == owner {
		_, err = m.kv.Update(ctx, leadKey, nil, entry.Revision())
	}
	if err != nil {
		m.log.Warn("the next program hands items out when this one is seen to be gone", "error", err)
	}
}
