package docker_test

import (
	"os"
	"path/filepath"
	"testing"

	"cortex.dev/cortex/internal/engine/docker"
	"cortex.dev/cortex/internal/engine/enginetest"
	"cortex.dev/cortex/internal/engine/local"
	"cortex.dev/cortex/internal/volumes"
	"cortex.dev/cortex/internal/workload"
)

// hostVariable tells a daemon that a test starts which Docker is used.
const hostVariable = "ENGINETEST_DOCKER"

var theDocker *dockerd

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if host, ok := os.LookupEnv(hostVariable); ok { // this is such a daemon
		theDocker = &dockerd{host: host}
		return enginetest.Main(m, harness(false))
	}
	theDocker = findDocker()
	defer theDocker.close()
	_ = os.Setenv(hostVariable, theDocker.host)
	return enginetest.Main(m, harness(false))
}

func harness(publish bool) func(o enginetest.Options) (enginetest.Harness, error) {
	return func(o enginetest.Options) (enginetest.Harness, error) {
		rt, err := docker.New(docker.Config{StateDir: o.StateDir, Host: theDocker.host, Publish: publish})
		if err != nil {
			return enginetest.Harness{}, err
		}
		kept := volumes.New(volumes.Config{Dir: filepath.Join(o.StateDir, "volumes")})
		e, err := local.New(local.Config{
			StateDir: o.StateDir, Docker: rt, Drain: o.Drain, InFlight: o.InFlight, Env: o.Env, Secret: o.Secret, Volumes: kept, Version: enginetest.Version,
			Grace: o.Grace, ProgressDeadline: o.Deadline, Steady: o.Steady,
			Backoff: local.Backoff{First: enginetest.BackoffFirst, Max: enginetest.BackoffMax},
		})
		return enginetest.Harness{
			Engine:     e,
			Container:  func(args ...string) workload.Container { return workload.Container{Image: testImage, Args: args} },
			Self:       []string{"/server"},
			OwnNetwork: true, BoundsMemory: true, DeleteVolume: kept.Delete,
			Broken: map[string]workload.Container{
				"missing_executable":    {Image: testImage, Command: []string{"/never-built"}},
				"not_executable":        {Image: testImage, Command: []string{"/data.txt"}},
				"image_not_found":       {Image: "Not A Reference"},
				"image_pull":            {Image: "localhost:1/iris:1"},
				"processes_unavailable": {Command: []string{"true"}},
			},
		}, err
	}
}

func TestConformance(t *testing.T) {
	if theDocker.why != nil {
		t.Skip(theDocker.why)
	}
	t.Run("direct", func(t *testing.T) {
		t.Parallel()
		enginetest.Run(t, harness(false))
	})
	t.Run("published", func(t *testing.T) {
		t.Parallel()
		enginetest.Run(t, harness(true), "StartsAndBecomesReady", "UpdatesWithinItsBounds", "RemoveEndsEverything", "HTTPProbe", "TCPProbe",
			"SeveralContainers", "PreStopRunsFirst", "NeverListens", "ListensElsewhere", "ListensLate")
	})
}
