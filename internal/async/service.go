// Package async is what an AsyncAPI does besides having replicas: it accepts requests as
// items, hands them to replicas as places become free, tries them again, and keeps what
// became of them until it is fetched.
//
// It promises that an item whose id was given away is in the ledger; that it comes to one
// end; that it is executed by a replica only while it has a place there; and that what is
// in memory here is a hint: all of it is made anew from the ledger at the start. An item
// may be executed more than once, and nothing is in an order.
//
// It must not know how places are found (Places), how requests reach it, or how items are
// kept (ledger). How an item may change is ledger.Next, and what follows from an execution
// ledger.Judge: there is no rule of either here.
package async

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/telemetry"
	"cortex.dev/cortex/internal/workload"
)

// Place is the right to send one request to a replica.
type Place interface {
	// Replica is which replica it is, and of which revision.
	Replica() (id, revision string)
	// Execute sends r, whose host it chooses, as the execution id.
	Execute(r *http.Request, id string) (*http.Response, error)
	// Keeps reports whether an execution goes on, and its answer is kept, when whoever sent it
	// goes away. Then Attach waits for the answer, and Forget ends the execution or has its
	// answer forgotten.
	Keeps() bool
	Attach(ctx context.Context, id string) (*http.Response, error)
	Forget(ctx context.Context, id string) error
	// Cut reports whether the replica was ended by us since the place was taken.
	Cut() bool
	// Done gives the place back; Unreached where the replica took no connection, so that
	// nothing was sent.
	Done()
	Unreached(err error)
}

// Deployed tells what is deployed. Every store.Store does.
type Deployed interface {
	Watch(ctx context.Context, fn func(store.Change)) error
}

// Config is what a Service needs.
type Config struct {
	Ledger   ledger.Ledger
	Blobs    Blobs // contents that are too large for the ledger
	Deployed Deployed
	// Acquire waits until a replica of an API has a place. If the API sleeps it is woken,
	// or, without wake, Acquire fails. It fails while there can be none: the API is stopped,
	// or cannot start.
	Acquire func(ctx context.Context, api string, wake bool) (Place, error)
	// At is the place at a replica of an item that it executes already, sent by a program
	// that is gone; nil: no replica keeps what others have sent.
	At func(ctx context.Context, api, replica string) (Place, error)
	// Door is where the containers of an API reach the front door, so that they can say how
	// far they are; empty, or nil: they cannot.
	Door func(*workload.Spec) string
	// Others are the programs that use the same ledger; nil: there are none.
	Others    Others
	Webhooks  Webhooks            // Send is nil: there are none
	Telemetry *telemetry.Registry // nil: no metrics
	Log       *slog.Logger        // nil: none
	// DrainTimeout is how long executions may go on when Run's context ends; 60 s.
	DrainTimeout time.Duration
}

// Service is the asynchronous work of one environment. All methods may be called at once,
// also when Run is not running: then items are accepted and wait.
type Service struct {
	cfg   Config
	log   *slog.Logger
	owner string // of executions that begin here
	began time.Time

	leading atomic.Bool     // hands items out
	known   context.Context // ends when what is deployed is known
	know    context.CancelFunc
	over    context.Context // ends when Run is to end: then nobody waits here for anything
	end     context.CancelFunc

	own        context.Context // of executions, while Run is running
	executions sync.WaitGroup
	tasks      sync.WaitGroup

	mu    sync.Mutex
	lines map[string]*line
	// begun runs a line; nil unless this program hands items out.
	begun   func(*line)
	minding context.Context // while it does
	minded  map[string]bool // owners that are, or have been seen to be gone

	clock   timers
	ends    waiters // for the end of an item
	changes waiters // for any change of one
	streams atomic.Int64
	counts  counts
	outbox  outbox
}

// New returns a service that does nothing until Run.
func New(cfg Config) (*Service, error) {
	if cfg.Ledger == nil || cfg.Blobs == nil || cfg.Deployed == nil || cfg.Acquire == nil {
		return nil, errors.New("async: a ledger, a place for large contents, what is deployed and places are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.DrainTimeout <= 0 {
		cfg.DrainTimeout = time.Minute
	}
	if cfg.Webhooks.Endpoint == nil {
		cfg.Webhooks.Endpoint = func() string { return "" }
	}
	s := &Service{cfg: cfg, log: cfg.Log, owner: ledger.NewID(time.Now()), began: time.Now(), lines: map[string]*line{}}
	s.known, s.know = context.WithCancel(context.Background())
	s.over, s.end = context.WithCancel(context.Background())
	s.clock.changed = make(chan struct{}, 1)
	s.outbox.s = s
	s.register(cfg.Telemetry)
	return s, nil
}

// Run takes up every open item and hands items out until ctx ends; then no execution
// begins any more, and those under way have DrainTimeout before they are interrupted. It
// fails only when the ledger or what is deployed cannot be read.
func (s *Service) Run(ctx context.Context) error {
	own, interrupt := context.WithCancelCause(context.WithoutCancel(ctx)) // of executions
	defer interrupt(nil)
	s.own = own
	running, halt := context.WithCancel(ctx)
	defer halt()
	defer context.AfterFunc(running, s.end)()
	// What becomes of the items that are executed here is heard of until the last has ended.
	following, cease := context.WithCancel(context.WithoutCancel(ctx))
	var others sync.WaitGroup
	defer others.Wait()
	defer cease()
	if s.cfg.Webhooks.Send != nil {
		sending, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer s.outbox.stop(cancel)
		if s.cfg.Others != nil { // whose ledger may be away
			others.Go(func() { s.insist(following, func() error { return s.outbox.begin(sending) }) })
		} else if err := s.outbox.begin(sending); err != nil {
			return err
		}
	}
	defer s.finish(interrupt)

	failed := make(chan error, 1)
	known := sync.OnceFunc(func() {
		others.Go(func() {
			failed <- s.cfg.Deployed.Watch(following, func(c store.Change) { s.changed(running, c) })
			halt()
		})
	})
	err := s.share(running, following, &others, known)
	if ctx.Err() != nil {
		return nil
	}
	select {
	case err = <-failed:
		return fmt.Errorf("watching which AsyncAPIs there are: %w", err)
	default:
		return err
	}
}

// wait pauses, or until ctx ends.
func wait(ctx context.Context, pause time.Duration) {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// finish waits for the executions that are under way, and interrupts those that take too
// long.
func (s *Service) finish(interrupt context.CancelCauseFunc) {
	late := time.AfterFunc(s.cfg.DrainTimeout, func() { interrupt(errStopping) })
	defer late.Stop()
	if s.cfg.Others != nil {
		soon := time.AfterFunc(letGoAfter, s.letGo)
		defer soon.Stop()
	}
	s.executions.Wait()
	interrupt(errStopping)
	s.tasks.Wait()
}

// lead hands items out until ctx ends, and leaves the executions that it began. known is
// called when what is open is known.
func (s *Service) lead(ctx context.Context, known func()) error {
	s.mu.Lock()
	s.minding, s.minded = ctx, map[string]bool{s.owner: true}
	s.mu.Unlock()
	if err := s.takeUp(ctx); err != nil {
		return err
	}
	s.leading.Store(true)
	defer s.leading.Store(false)
	s.mu.Lock()
	var dispatchers sync.WaitGroup
	s.begun = func(l *line) { dispatchers.Go(func() { l.dispatch(ctx) }) }
	for _, l := range s.lines {
		s.begun(l)
	}
	s.tidy(ctx)
	s.mu.Unlock()

	known()
	var others sync.WaitGroup
	others.Go(func() { s.ticks(ctx) })
	others.Go(func() { s.forgets(ctx) })

	<-ctx.Done()
	s.mu.Lock()
	s.begun, s.minding = nil, nil
	s.mu.Unlock()
	dispatchers.Wait()
	others.Wait()
	return nil
}

// lost has an item begin again whose owner ended without a word of it. What has gone on since
// it was read stays as it is.
func (l *line) lost(ctx context.Context, i ledger.Item) {
	e := ledger.Judge(i, l.s.ownerLost(), l.s.rulesOf(l.name), time.Now(), share())
	_, _ = l.apply(ctx, i.ID, e, nil) // it is tried again; what is over by now needs nothing
}

// ownerLost is how an execution ends whose owner did so without a word of it.
func (s *Service) ownerLost() ledger.Ending {
	reason := &ledger.Reason{Code: "daemon_restarted", Message: "this environment ended without having been stopped, and was started anew"}
	if s.cfg.Others != nil {
		reason = &ledger.Reason{Code: "gateway_lost", Message: "the gateway that had it executed ended without having been stopped"}
	}
	return ledger.Ending{Outcome: ledger.Interrupted, Crashed: true, Reason: reason}
}

// Why executions are ended.
var (
	errStopping  = errors.New("the daemon is stopping")
	errCancelled = errors.New("the item was cancelled")
	errOvertaken = errors.New("the item has gone on elsewhere")
	errLetGo     = errors.New("the execution goes on without us")
)

// atOnce bounds how many changes are made at a time where there are many to make: they
// share commits.
const atOnce = 64

// takeUp finds every item without an end. Where there are no others, whoever executed one is
// gone with the process that held this ledger before.
func (s *Service) takeUp(ctx context.Context) error {
	turns := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	defer all.Wait()
	interrupted := 0
	err := s.cfg.Ledger.Open(ctx, func(i ledger.Item) error {
		l := s.line(i.API)
		l.add(i)
		switch {
		case !i.State.Executing():
		case s.cfg.Others != nil && i.Owner != s.owner:
			s.mind(i.Owner)
		case !l.isOurs(i.ID):
			interrupted++
			turns <- struct{}{}
			all.Go(func() {
				defer func() { <-turns }()
				l.lost(ctx, i)
			})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("reading the items that are open: %w", err)
	}
	if interrupted > 0 {
		s.log.Info("items begin again that were under way when this environment ended", "items", interrupted)
	}
	return nil
}

// isOurs reports whether an item is executed by this program.
func (l *line) isOurs(id string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.entries[id]
	return e != nil && e.ours
}

// changed follows what is deployed.
func (s *Service) changed(ctx context.Context, c store.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.Name == "": // that was everything there is
		s.know()
		s.tidy(ctx)
	case c.Workload == nil:
		if l := s.lines[c.Name]; l != nil {
			l.configure(nil)
			s.tidy(ctx)
		}
	case c.Workload.Revision.Kind == workload.Async:
		s.lineOf(c.Name).configure(c.Workload)
	}
}

// tidy cancels what is open of APIs that are not deployed, if this program hands items out;
// s.mu is held.
func (s *Service) tidy(ctx context.Context) {
	if s.known.Err() == nil || s.begun == nil {
		return
	}
	for _, l := range s.lines {
		l.abandon(ctx)
		l.poke()
	}
}

// line returns what is kept about an API, beginning to if it is new.
func (s *Service) line(api string) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lineOf(api)
}

func (s *Service) lineOf(api string) *line {
	l := s.lines[api]
	if l == nil {
		l = newLine(s, api)
		s.lines[api] = l
		if s.begun != nil {
			s.begun(l)
		}
	}
	return l
}

// drop forgets a line of an API that is not deployed and has no open items.
func (s *Service) drop(l *line) bool {
	if s.known.Err() == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.deployed || len(l.entries) > 0 || l.coming > 0 {
		return false
	}
	if s.lines[l.name] == l {
		delete(s.lines, l.name)
		s.counts.forget(l.name)
	}
	return true
}

// existing returns what is kept about an API; nil: nothing is.
func (s *Service) existing(api string) *line {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines[api]
}

func (s *Service) rulesOf(api string) ledger.Rules {
	if l := s.existing(api); l != nil {
		return l.rules().Rules
	}
	return settingsOf(nil).Rules
}

// MeanLoad returns how many items of an API were executed or could have been, but for idle
// ones, on average since it was called before. One caller only.
func (s *Service) MeanLoad(api string) float64 {
	l := s.existing(api)
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	mean := l.load.Mean()
	if !s.hands() {
		return 0
	}
	return mean
}

// Backlog returns what an API has to do that replicas are started for.
func (s *Service) Backlog(api string) workload.Backlog {
	l := s.existing(api)
	if l == nil || !s.hands() {
		return workload.Backlog{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return workload.Backlog{Queued: l.queue.useful, Running: l.running - l.idle, Service: l.service.Known()}
}

// Load returns how many items of an API wait for a place, and how many are executed.
func (s *Service) Load(api string) (queued, running int) {
	l := s.existing(api)
	if l == nil {
		return 0, 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queued, l.running
}

// share is where in a delay an item is tried again, so that those which failed together
// do not come together.
func share() float64 { return rand.Float64() }

// settings are what an API says of its items.
type settings struct {
	ledger.Rules
	timeout, expireAfter time.Duration
	maxQueue             int
	maxPayload           int64
	perCaller            int
	reached              string // where containers reach the API; empty: they do not
	webhook              *workload.Webhook
	path                 string // of the API
}

// hook is who is told of the end of an item that is accepted now; nil: nobody is.
func (s settings) hook(callers string) *ledger.Webhook {
	w := s.webhook
	if w == nil || w.URL == "" && callers == "" {
		return nil
	}
	to := &ledger.Webhook{URL: w.URL, Secret: w.Secret, States: statesOf(w.Events), Path: s.path}
	if callers != "" {
		to.URL = callers
	}
	return to
}

func settingsOf(spec *workload.Spec) settings {
	a := workload.NewAsynchronous()
	if spec != nil && spec.Async != nil {
		a = spec.Async
	}
	path := ""
	if spec != nil && spec.Networking != nil {
		path = spec.Networking.Endpoint
	}
	return settings{
		webhook: a.Webhook, path: path,
		Rules: ledger.Rules{
			Attempts: int(a.Retry.Attempts), Redeliver: int(a.Redeliver),
			MinDelay: time.Duration(a.Retry.MinDelay), MaxDelay: time.Duration(a.Retry.MaxDelay), Keep: time.Duration(a.Keep.Results),
			On: a.Retry.On, Payloads: payloads[a.Keep.Payloads],
		},
		timeout: time.Duration(a.Timeout), expireAfter: time.Duration(a.ExpireAfter),
		maxQueue: int(a.MaxQueueLength), maxPayload: a.MaxPayload.Value(), perCaller: int(a.PerCaller()),
	}
}

// payloads are the ways to keep them, as files call them.
var payloads = map[string]ledger.Payloads{"": ledger.OnFailure, workload.KeepAlways: ledger.Always, workload.KeepNever: ledger.Never}

// isOver reports whether err says that an item has gone on without us.
func isOver(err error) bool {
	switch fault.Code(err) {
	case ledger.CodeFenced, ledger.CodeRefused, ledger.CodeUnknown, ledger.CodeGone:
		return true
	}
	return false
}
