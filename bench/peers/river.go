package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	riverqueue "github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// river is River on PostgreSQL. It fetches as soon as it may, as in its own benchmark: by
// default it would fetch a hundred jobs ten times a second.
type river struct {
	pool      *pgxpool.Pool
	client    *riverqueue.Client[pgx.Tx] // that submits
	submitted atomic.Int64
	ended     atomic.Int64
}

const fetchCooldown = 2 * time.Millisecond

// connections are one for each caller, and what the workers need.
const connections = 80

type jobArgs struct {
	Payload []byte `json:"payload"`
}

// Kind is River's name of such jobs.
func (jobArgs) Kind() string { return kind }

type worker struct {
	riverqueue.WorkerDefaults[jobArgs]
	begun func([]byte)
}

// Work is riverqueue.Worker's.
func (w *worker) Work(_ context.Context, job *riverqueue.Job[jobArgs]) error {
	w.begun(job.Args.Payload)
	return nil
}

func openRiver(ctx context.Context, address, _ string) (queue, error) {
	cfg, err := pgxpool.ParseConfig(address)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = connections
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return nil, err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("making the tables: %w", err)
	}
	client, err := riverqueue.NewClient(riverpgxv5.New(pool), &riverqueue.Config{
		Logger: slog.New(slog.DiscardHandler), FetchCooldown: fetchCooldown, // so often workers are told of what was submitted
	})
	if err != nil {
		return nil, err
	}
	return &river{pool: pool, client: client}, nil
}

func (r *river) clear(ctx context.Context) error {
	_, err := r.pool.Exec(ctx, "TRUNCATE river_job")
	return err
}

func (r *river) submit(ctx context.Context, payload []byte) error {
	_, err := r.client.Insert(ctx, jobArgs{payload}, nil)
	r.submitted.Add(1)
	return err
}

func (r *river) work(ctx context.Context, workers int, begun func([]byte)) (func(), error) {
	all := riverqueue.NewWorkers()
	riverqueue.AddWorker(all, &worker{begun: begun})
	client, err := riverqueue.NewClient(riverpgxv5.New(r.pool), &riverqueue.Config{
		Logger: slog.New(slog.DiscardHandler), Workers: all, FetchCooldown: fetchCooldown,
		Queues: map[string]riverqueue.QueueConfig{riverqueue.QueueDefault: {MaxWorkers: workers}},
	})
	if err != nil {
		return nil, err
	}
	events, cancel := client.SubscribeConfig(&riverqueue.SubscribeConfig{ChanSize: 1_000_000, Kinds: []riverqueue.EventKind{riverqueue.EventKindJobCompleted}})
	go func() {
		for range events {
			r.ended.Add(1)
		}
	}()
	if err := client.Start(ctx); err != nil {
		cancel()
		return nil, err
	}
	return func() {
		ending, done := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer done()
		_ = client.Stop(ending) // the process ends next
		cancel()
	}, nil
}

func (r *river) left(context.Context) (int, error) {
	return int(r.submitted.Load() - r.ended.Load()), nil
}
