package main

import (
	"bytes"
	"os"
	"os/exec"
	"testing"

	"cortex.dev/cortex/internal/manifest"
)

func TestProcessesLeavesOutTheServer(t *testing.T) {
	t.Parallel()
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		t.Skip("no sleep program to start:", err)
	}
	for range 2 {
		cmd := exec.Command(sleep, "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	}
	with, err := processes(os.Getpid(), "none")
	if err != nil {
		t.Fatal(err)
	}
	without, err := processes(os.Getpid(), sleep)
	if err != nil {
		t.Fatal(err)
	}
	if with.count-without.count != 2 || without.count < 1 || without.resident < 1<<20 {
		t.Errorf("processes(…) = %+v with the servers and %+v without, want two fewer", with, without)
	}
}

// The files the benchmark deploys must be ones the product accepts.
func TestSpecsAreValid(t *testing.T) {
	t.Parallel()
	for _, text := range []string{plainSpec("a", "/bin/server", 3, "1"), idleSpec("b", "/bin/server", 50, 950, "-start", "1s")} {
		if _, err := manifest.Parse("cortex.yaml", []byte(text)); err != nil {
			t.Errorf("Parse(%s) = %v", text, err)
		}
	}
}

// What the test says of itself is read as it says it.
func TestClusterRows(t *testing.T) {
	t.Parallel()
	m := frugal.FindSubmatch([]byte("    faults_test.go:306: up: 60 things, 240 calls, 18m3s, of which AWS takes 15m0s; info: 26 calls\n"))
	rows, err := clusterRows(m)
	if err != nil || len(rows) != 3 {
		t.Fatalf("clusterRows = %+v, %v", rows, err)
	}
	if rows[0].Ours != "4.0" || !rows[0].Met || rows[1].Ratio != "1.20 ×" || rows[1].Met || rows[2].Ours != "26" || rows[2].Met {
		t.Errorf("clusterRows = %+v, want 4.0 calls each, which is enough, and 1.20 × and 26, which are not", rows)
	}
}

// The file of the cluster must be one that the product accepts.
func TestBigClusterIsValid(t *testing.T) {
	t.Parallel()
	if _, err := manifest.ParseCluster("cluster.yaml", []byte(bigCluster)); err != nil {
		t.Error(err)
	}
}

func TestRunRefusesWrongArguments(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-run", "("}, {"extra"}, {"-nosuch"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 2 || errs.Len() == 0 {
			t.Errorf("run(%q) = %d and says %q, want 2 and why", args, code, errs.String())
		}
	}
}
