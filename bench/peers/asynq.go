package main

import (
	"context"
	"errors"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// kind is of all tasks.
const kind = "noop"

// asynqQueue is Asynq as it comes, but for how much it says and how many connections it has:
// one for each caller.
type asynqQueue struct {
	redis  asynq.RedisClientOpt
	name   string // that workers have
	client *asynq.Client
	looks  *asynq.Inspector
}

func openAsynq(_ context.Context, address, name string) (queue, error) {
	r := asynq.RedisClientOpt{Addr: address, PoolSize: 110}
	return &asynqQueue{r, name, asynq.NewClient(r), asynq.NewInspector(r)}, nil
}

func (q *asynqQueue) clear(ctx context.Context) error {
	c := redis.NewClient(&redis.Options{Addr: q.redis.Addr})
	defer c.Close()
	return c.FlushAll(ctx).Err()
}

func (q *asynqQueue) submit(ctx context.Context, payload []byte) error {
	_, err := q.client.EnqueueContext(ctx, asynq.NewTask(kind, payload))
	return err
}

func (q *asynqQueue) work(_ context.Context, workers int, begun func([]byte)) (func(), error) {
	server := asynq.NewServer(q.redis, asynq.Config{Concurrency: workers, Queues: map[string]int{q.name: 1}, LogLevel: asynq.ErrorLevel})
	err := server.Start(asynq.HandlerFunc(func(_ context.Context, t *asynq.Task) error {
		begun(t.Payload())
		return nil
	}))
	return server.Shutdown, err
}

func (q *asynqQueue) left(context.Context) (int, error) {
	info, err := q.looks.GetQueueInfo("default")
	if errors.Is(err, asynq.ErrQueueNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Pending + info.Active + info.Retry + info.Archived, nil
}
