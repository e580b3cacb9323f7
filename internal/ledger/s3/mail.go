package s3

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"cortex.dev/cortex/internal/awsrest"
	"cortex.dev/cortex/internal/ledger"
)

// hints are what one message tells: which items have changed, how far executions are, and
// that it has changed who is there. All of it may be lost, come twice, or late.
type hints struct {
	Items [][2]string `json:"items,omitempty"` // API, id
	Told  []told      `json:"told,omitempty"`
	Look  bool        `json:"look,omitempty"`
}

type told struct {
	API  string `json:"api"`
	ID   string `json:"id"`
	Said string `json:"said"`
}

// mail is what is to be told to other programs.
type mail struct {
	mu    sync.Mutex
	items []([2]string)
	told  map[[2]string]string // the latest of each
	look  bool
	some  chan struct{} // holds a token when there is something

	hear     func(api, id string, said []byte)
	follower *follower // nil: nobody follows here
}

func (m *mail) following(f *follower) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.follower = f
}

// Bounds of what waits to be told, and of one message.
const (
	maxMail  = 20_000
	maxItems = 1000
	maxTold  = 100
	maxSaid  = 2 << 10 // as a message has it
)

// mailEvery is the time between two messages: what comes meanwhile is in the next.
const mailEvery = 20 * time.Millisecond

func (m *mail) init() { m.told, m.some = map[[2]string]string{}, make(chan struct{}, 1) }

func (m *mail) wake() {
	select {
	case m.some <- struct{}{}:
	default:
	}
}

// tell has the others hear that an item has changed.
func (l *Ledger) tell(i ledger.Item) {
	m := &l.mail
	m.mu.Lock()
	if len(m.items) < maxMail {
		m.items = append(m.items, [2]string{i.API, i.ID})
	}
	f := m.follower
	m.mu.Unlock()
	if f != nil {
		f.note(i)
	}
	m.wake()
}

// tellLook has the others look who is there.
func (l *Ledger) tellLook() {
	l.mail.mu.Lock()
	l.mail.look = true
	l.mail.mu.Unlock()
	l.mail.wake()
}

// Tell passes on to the other programs what is worth nothing after a moment; it may be lost.
func (l *Ledger) Tell(api, id string, said []byte) {
	m := &l.mail
	m.mu.Lock()
	if len(m.told) < maxTold && len(said) <= maxSaid {
		m.told[[2]string{api, id}] = string(said)
	}
	m.mu.Unlock()
	m.wake()
}

// Hear calls fn with what other programs tell, until ctx ends. Follow has to run.
func (l *Ledger) Hear(ctx context.Context, fn func(api, id string, said []byte)) {
	l.mail.mu.Lock()
	l.mail.hear = fn
	l.mail.mu.Unlock()
	<-ctx.Done()
	l.mail.mu.Lock()
	l.mail.hear = nil
	l.mail.mu.Unlock()
}

// next takes what is to be told in one message.
func (m *mail) next() (h hints, some bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := min(len(m.items), maxItems)
	h.Items, m.items = m.items[:n:n], m.items[n:]
	for of, said := range m.told {
		h.Told = append(h.Told, told{of[0], of[1], said})
	}
	clear(m.told)
	h.Look, m.look = m.look, false
	if len(m.items) > 0 {
		m.wake()
	} else {
		m.items = nil
	}
	return h, h.Look || len(h.Items)+len(h.Told) > 0
}

// deliver sends what is to be told to every other program, until ctx ends. At the end it
// sends what is left.
func (l *Ledger) deliver(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-l.mail.some:
			l.sendNext(ctx)
			wait(ctx, mailEvery)
		}
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeWithin)
	defer cancel()
	l.sendNext(within)
}

func (l *Ledger) sendNext(ctx context.Context) {
	h, some := l.mail.next()
	if !some {
		return
	}
	body, err := json.Marshal(h)
	if err != nil || len(body) > awsrest.MaxMessage {
		l.cfg.Log.Warn("changes of items are not told to others", "error", err, "bytes", len(body))
		return
	}
	r, read, _ := l.programs.known()
	if read.IsZero() {
		if r, _, err = l.refresh(ctx); err != nil {
			l.cfg.Log.Warn("changes of items are heard of late by other programs", "error", err)
			return
		}
	}
	var all sync.WaitGroup
	for name, p := range r.Programs {
		if name == l.name || p.Queue == "" {
			continue
		}
		all.Go(func() {
			switch err := l.cfg.Client.Send(ctx, p.Queue, string(body)); {
			case awsrest.NoQueue(err): // it has ended, or is about to begin again
				l.programs.atOnce()
			case err != nil && ctx.Err() == nil:
				l.cfg.Log.Warn("changes of items are heard of late by another program", "error", err)
			}
		})
	}
	all.Wait()
}
