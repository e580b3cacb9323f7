package process

import (
	"testing"
	"time"

	"cortex.dev/cortex/internal/engine/local"
)

// What a container takes is that of everything it started.
func TestUsageIsOfAllProcesses(t *testing.T) {
	t.Parallel()
	// A shell that works and has another work for it; both for ever.
	_, c, err := start(t, local.ContainerSpec{Name: "main", Command: []string{"sh", "-c", "sh -c 'while :; do :; done' & while :; do :; done"}, Env: map[string]string{}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Kill(); <-c.Done() }()
	metered, is := c.(local.Metered)
	if !is {
		t.Fatal("a process is not metered")
	}
	began := time.Now()
	for {
		memory, cpu, ok := metered.Usage()
		if ok && memory > 0 && cpu >= 20*time.Millisecond {
			if limit := 4 * time.Since(began); cpu > limit+time.Second {
				t.Errorf("Usage() = %v of processors after %v", cpu, time.Since(began))
			}
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("Usage() = %d bytes, %v, %v; want memory and time", memory, cpu, ok)
		}
	}
	_ = c.Kill()
	<-c.Done()
	if memory, cpu, ok := metered.Usage(); ok {
		t.Errorf("Usage() after the end = %d, %v, want none", memory, cpu)
	}
}
