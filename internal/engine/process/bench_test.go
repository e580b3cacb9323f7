package process_test

import (
	"context"
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/engine/enginetest"
	"cortex.dev/cortex/internal/workload"
)

// BenchmarkColdStart measures from the wish for a first replica to its readiness,
// the start-up of a small Go server included.
func BenchmarkColdStart(b *testing.B) {
	server, err := enginetest.Build(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	h, err := harness(enginetest.Options{StateDir: b.TempDir(), Server: server, Grace: 10 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Engine.Run(ctx) }()
	ready := make(chan int, 1000)
	go func() {
		_ = h.Engine.Watch(ctx, func(st engine.Status) {
			n, _ := st.Ready()
			if n == len(st.Replicas) {
				ready <- n
			}
		})
	}()
	port := int32(8080)
	rev := &workload.Revision{ID: "r1", PodID: "p", Directory: b.TempDir(), Spec: workload.Spec{Name: "iris", Kind: workload.Realtime, Pod: &workload.Pod{
		Port: &port, Containers: []workload.Container{{Name: "main", Command: []string{server}}},
	}}}
	scale := func(n int) {
		if err := h.Engine.Apply(ctx, engine.Deployment{Revision: rev, Replicas: n}); err != nil {
			b.Fatal(err)
		}
		for <-ready != n {
		}
	}
	scale(1)
	for b.Loop() {
		b.StopTimer()
		scale(0)
		b.StartTimer()
		scale(1)
	}
	cancel()
	<-ended
}
