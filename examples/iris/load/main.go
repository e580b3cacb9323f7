// Command load keeps an API busy and counts what it answers. It exits 1 when any
// request failed: anything but a status 200 is a failure.
//
//	load -connections 16 -for 10s -flowers flowers.json http://localhost:8888/iris
//
// Ctrl-C ends it early; what it has counted is still printed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	flags.SetOutput(stderr)
	connections := flags.Int("connections", 16, "how many requests are under way at once")
	duration := flags.Duration("for", 10*time.Second, "how long")
	file := flags.String("flowers", "flowers.json", "the JSON that every request carries")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if flags.NArg() != 1 || *connections < 1 || *connections > 1000 {
		fmt.Fprintln(stderr, "usage: load [-connections 1..1000] [-for 10s] [-flowers FILE] URL")
		return 2
	}
	body, err := os.ReadFile(*file)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	ctx, cancel := context.WithTimeout(ctx, *duration)
	defer cancel()
	result := send(ctx, flags.Arg(0), body, *connections)
	result.print(stdout)
	if result.failed() > 0 || result.answered() == 0 {
		return 1
	}
	return 0
}

// result counts answers by the model that gave them, and failures by their text.
type result struct {
	mu       sync.Mutex
	answers  map[string]int
	failures map[string]int
	took     []time.Duration
}

// send keeps the given number of requests under way until ctx ends, and then
// lets those that have begun finish: an interrupted request is not a failed one.
func send(ctx context.Context, url string, body []byte, connections int) *result {
	r := &result{answers: map[string]int{}, failures: map[string]int{}}
	client := &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections},
	}
	defer client.CloseIdleConnections()
	var workers sync.WaitGroup
	for range connections {
		workers.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				model, err := one(context.WithoutCancel(ctx), client, url, body)
				r.add(model, err, time.Since(begun))
			}
		})
	}
	workers.Wait()
	return r
}

// one sends a request and returns the version of the model that answered.
func one(ctx context.Context, client *http.Client, url string, body []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "", errors.Unwrap(err) // without the URL, so that equal causes count as one
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %s", resp.StatusCode, bytes.TrimSpace(data))
	}
	var answers []struct{ Model string }
	if err := json.Unmarshal(data, &answers); err != nil || len(answers) == 0 {
		return "", fmt.Errorf("the answer is not a list of predictions: %.100s", data)
	}
	return answers[0].Model, nil
}

func (r *result) add(model string, err error, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failures[err.Error()]++
		return
	}
	r.answers[model]++
	r.took = append(r.took, took)
}

func sum(counts map[string]int) int {
	total := 0
	for _, n := range counts {
		total += n
	}
	return total
}

func (r *result) answered() int { return sum(r.answers) }
func (r *result) failed() int   { return sum(r.failures) }

func (r *result) print(w io.Writer) {
	fmt.Fprintf(w, "%d requests, %d failed", r.answered()+r.failed(), r.failed())
	for _, model := range slices.Sorted(maps.Keys(r.answers)) {
		fmt.Fprintf(w, ", %d answered by model %s", r.answers[model], model)
	}
	fmt.Fprintln(w)
	if len(r.took) > 0 {
		slices.Sort(r.took)
		at := func(q float64) time.Duration {
			return r.took[int(q*float64(len(r.took)-1))].Round(time.Millisecond)
		}
		fmt.Fprintf(w, "half took %s or less, 99 of 100 took %s or less\n", at(0.5), at(0.99))
	}
	for _, text := range slices.Sorted(maps.Keys(r.failures)) {
		fmt.Fprintf(w, "%d × %s\n", r.failures[text], text)
	}
}
