// Command peers does with other queues what bench has the product do, so that both are
// measured in one run: it submits items, has workers begin them, and waits until all have
// ended. What it found is one line of JSON.
//
// It is a module of its own: what it links is no part of the product, and is downloaded by
// nobody who does not measure.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// queue is another queue, as a program that uses it sees it.
type queue interface {
	// clear forgets every item.
	clear(ctx context.Context) error
	// submit returns when the item is on the disk.
	submit(ctx context.Context, payload []byte) error
	// work calls begun with each item that begins, until stop is called.
	work(ctx context.Context, workers int, begun func(payload []byte)) (stop func(), err error)
	// left is how many items have not ended.
	left(ctx context.Context) (int, error)
}

// found is what bench reads.
type found struct {
	Items   int     `json:"items"`
	Seconds float64 `json:"seconds"`
	P50     float64 `json:"p50"` // microseconds
	P99     float64 `json:"p99"`
}

type settings struct {
	items, callers, workers, size int
	submit                        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var s settings
	system := flag.String("system", "", "asynq or river")
	address := flag.String("address", "", "of its server")
	flag.IntVar(&s.items, "items", 100, "how many")
	flag.IntVar(&s.callers, "callers", 1, "who submit at once")
	flag.IntVar(&s.workers, "workers", 100, "items that are executed at once")
	name := flag.String("queue", "default", "of Asynq, which workers have")
	flag.IntVar(&s.size, "size", 1024, "bytes of an item")
	flag.BoolVar(&s.submit, "submit", false, "have them submitted here, by hold")
	flag.Parse()
	open, known := map[string]func(context.Context, string, string) (queue, error){"asynq": openAsynq, "river": openRiver}[*system]
	do, can := map[string]func(context.Context, queue, settings) (found, error){
		"submit": submits, "begin": begins, "all": all, "work": works, "hold": holds,
	}[flag.Arg(0)]
	if !known || !can {
		return fmt.Errorf("-system is asynq or river, and what to do is submit, begin, all, work or hold")
	}
	q, err := open(ctx, *address, *name)
	if err != nil {
		return err
	}
	result, err := do(ctx, q, s)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// submits has callers submit items, which nobody executes.
func submits(ctx context.Context, q queue, s settings) (found, error) {
	if err := q.clear(ctx); err != nil {
		return found{}, err
	}
	return submitAll(ctx, q, s)
}

func submitAll(ctx context.Context, q queue, s settings) (found, error) {
	took := make([]time.Duration, s.items)
	payload := make([]byte, s.size)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var callers sync.WaitGroup
	began := time.Now()
	for range s.callers {
		callers.Go(func() {
			for i := next.Add(1) - 1; i < int64(s.items) && failed.Load() == nil; i = next.Add(1) - 1 {
				one := time.Now()
				if err := q.submit(ctx, payload); err != nil {
					failed.Store(&err)
				}
				took[i] = time.Since(one)
			}
		})
	}
	callers.Wait()
	if err := failed.Load(); err != nil {
		return found{}, *err
	}
	return summary(took, time.Since(began)), nil
}

func summary(took []time.Duration, all time.Duration) found {
	slices.Sort(took)
	at := func(share float64) float64 { return float64(took[int(share*float64(len(took)-1))]) / 1e3 }
	return found{Items: len(took), Seconds: all.Seconds(), P50: at(0.5), P99: at(0.99)}
}

// betweenItems is how long nothing happens before an item is submitted to an idle system.
const betweenItems = 25 * time.Millisecond

// begins submits items one after the other to workers that have nothing to do, and measures
// until each begins.
func begins(ctx context.Context, q queue, s settings) (found, error) {
	if err := q.clear(ctx); err != nil {
		return found{}, err
	}
	begun := make(chan time.Duration, 1)
	stop, err := q.work(ctx, s.workers, func(payload []byte) {
		now := time.Now().UnixNano()
		begun <- time.Duration(now - int64(binary.BigEndian.Uint64(payload)))
	})
	if err != nil {
		return found{}, err
	}
	defer stop()
	took := make([]time.Duration, 0, s.items)
	start := time.Now()
	for range s.items + 1 { // the first one warms up
		select {
		case <-time.After(betweenItems):
		case <-ctx.Done():
			return found{}, ctx.Err()
		}
		payload := make([]byte, s.size)
		binary.BigEndian.PutUint64(payload, uint64(time.Now().UnixNano()))
		if err := q.submit(ctx, payload); err != nil {
			return found{}, err
		}
		select {
		case d := <-begun:
			took = append(took, d)
		case <-ctx.Done():
			return found{}, ctx.Err()
		}
	}
	return summary(took[1:], time.Since(start)), nil
}

// all submits items and waits until all have ended. River's workers are in this process, as
// its users have them; Asynq's are another one, which work is.
func all(ctx context.Context, q queue, s settings) (found, error) {
	if err := q.clear(ctx); err != nil {
		return found{}, err
	}
	if inProcess, ok := q.(*river); ok {
		stop, err := inProcess.work(ctx, s.workers, func([]byte) {})
		if err != nil {
			return found{}, err
		}
		defer stop()
	}
	began := time.Now()
	result, err := submitAll(ctx, q, s)
	if err != nil {
		return found{}, err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		n, err := q.left(ctx)
		if err != nil {
			return found{}, err
		}
		if n == 0 {
			result.Seconds = time.Since(began).Seconds()
			return result, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return found{}, ctx.Err()
		}
	}
}

// works is a program of workers, until it is told to end.
func works(ctx context.Context, q queue, s settings) (found, error) {
	stop, err := q.work(ctx, s.workers, func([]byte) {})
	if err != nil {
		return found{}, err
	}
	<-ctx.Done()
	stop()
	return found{}, nil
}

// holds is a program of workers that have items and never end. It says a line when so many
// have begun, and goes on until it is killed.
func holds(ctx context.Context, q queue, s settings) (found, error) {
	if s.submit {
		if err := q.clear(ctx); err != nil {
			return found{}, err
		}
	}
	var begun atomic.Int64
	all := make(chan struct{})
	_, err := q.work(ctx, s.workers, func([]byte) {
		if begun.Add(1) == int64(s.items) {
			close(all)
		}
		select {}
	})
	if err != nil {
		return found{}, err
	}
	if s.submit {
		if _, err := submitAll(ctx, q, s); err != nil {
			return found{}, err
		}
	}
	<-all
	fmt.Println("begun")
	select {}
}
