// Package storetest is the suite that every implementation of store.Store and
// store.Shared passes.
//
// It promises that a Store which passes can stand in for any other: it asserts
// what the port says and nothing else. It must not know any implementation.
package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// Open opens one state, which is empty the first time. Calling it again after
// Close opens the same state. The test closes what it opened.
type Open func(t *testing.T) store.Store

// Run runs the suite. New makes a state of its own for every test.
func Run(t *testing.T, newState func(t *testing.T) Open) {
	t.Helper()
	for _, tt := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"PutAndGetKeepEverything", testRoundTrip},
		{"NamesWithEveryLegalCharacter", testLegalNames},
		{"IllegalNamesAreRefused", testIllegalNames},
		{"PutAgainstAnotherVersionConflicts", testConflict},
		{"ManyWritersLoseNothing", testManyWriters},
		{"ListIsByName", testList},
		{"DeleteWantsTheVersion", testDeleteVersion},
		{"DeleteForgetsHistoryAndEvents", testDeleteForgets},
		{"DeleteKeepsHistoryWhenAsked", testDeleteKeeps},
		{"VersionsGrowAcrossDeletion", testVersionsGrow},
		{"HistoryIsNewestFirstAndBounded", testHistory},
		{"HistoryHasEachRevisionOnce", testHistoryOnce},
		{"WatchTellsPresentMarkerThenChanges", testWatch},
		{"WatchOfNothingIsTheMarker", testWatchEmpty},
		{"WatchersSeeTheLastOfManyWrites", testWatchUnderLoad},
		{"WatchEndsWithItsContext", testWatchEnds},
		{"EventsAreFilteredAndOrdered", testEvents},
		{"EventsAreBoundedPerWorkload", testEventsBounded},
		{"EventsSince", testEventsSince},
		{"EventsFollow", testEventsFollow},
		{"EventsEndWithFnsError", testEventsError},
		{"OneOfManyGetsAClaim", testClaim},
		{"ClaimsExpire", testClaimExpires},
		{"ClaimsAreBoundedInTime", testClaimBounds},
		{"SharedNames", testSharedNames},
		{"ValuesAreComparedAndSet", testValues},
		{"ManySettersLoseNothing", testSetters},
		{"SecretsAreListedWithoutValues", testSecrets},
		{"CallsAddUp", func(t *testing.T, s store.Store) {
			calls, ok := s.(store.Calls)
			if !ok {
				t.Skip("this store counts no calls")
			}
			testCalls(t, calls)
		}},
		{"KeysOfANameAreChangedAtOnce", testKeys},
		{"ARefusedChangeOfKeysWritesNothing", testKeysRefused},
		{"ManyWhoChangeKeysLoseNone", testKeysTogether},
		{"WhoWatchesKeysIsToldOfEachChange", testKeysWatched},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			open := newState(t)
			s := open(t)
			t.Cleanup(func() { closeStore(t, s) })
			tt.test(t, s)
		})
	}
	t.Run("EverythingIsThereAfterReopening", func(t *testing.T) {
		t.Parallel()
		testReopen(t, newState(t))
	})
	t.Run("ClaimsAndValuesAreThereAfterReopening", func(t *testing.T) {
		t.Parallel()
		testSharedReopen(t, newState(t))
	})
	t.Run("KeysAreThereAfterReopening", func(t *testing.T) {
		t.Parallel()
		testKeysReopen(t, newState(t))
	})
}

func closeStore(t *testing.T, s store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("Close() = %v", err)
	}
}

// Sample returns a workload that could be deployed, in which every field that its
// kind may have is set.
func Sample(name string, n int) store.Workload {
	port := int32(8080)
	cpu, mem, shm := workload.MustQuantity("200m"), workload.MustQuantity("1.5Gi"), workload.MustQuantity("64Mi")
	probe := func(p workload.Probe) *workload.Probe {
		p.InitialDelaySeconds, p.TimeoutSeconds, p.PeriodSeconds, p.SuccessThreshold, p.FailureThreshold = 2, 3, 10, 1, 4
		return &p
	}
	return store.Workload{
		Replicas: n,
		Cause:    "deploy",
		Outcome: workload.Outcome{
			Live:     time.Date(2026, 1, 2, 3, 5, 6, 789, time.UTC),
			Failed:   &workload.Reason{Code: "crash_loop", Message: "ü", Evidence: []workload.Evidence{{Kind: "exit", Text: "exit code 1"}}, Fix: "x"},
			FailedAt: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
		},
		Serving:  &workload.Revision{Spec: workload.Spec{Name: name, Kind: workload.Realtime}, ID: "before", Number: 1},
		Unproven: true,
		Stopped:  &workload.Stopped{At: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), By: "arn:aws:iam::123456789012:user/alice", Replicas: 3},
		Revision: &workload.Revision{
			Spec: workload.Spec{
				Name: name, Kind: workload.Realtime,
				Pod: &workload.Pod{
					Port: &port, MaxQueueLength: 100, MaxConcurrency: 2,
					Containers: []workload.Container{{
						Name: "api", Image: "quay.io/team/iris:1.0", Env: map[string]workload.Variable{"A": {Value: "ä\n"}, "B": {Secret: "hf-token"}},
						Command: []string{"./serve"}, Args: []string{"--n", fmt.Sprint(n)},
						ReadinessProbe: probe(workload.Probe{HTTPGet: &workload.HTTPGet{Path: "/", Port: 8080}}),
						LivenessProbe:  probe(workload.Probe{TCPSocket: &workload.TCPSocket{Port: 8080}}),
						PreStop:        &workload.PreStop{Exec: &workload.Exec{Command: []string{"/bin/sync"}}},
						Compute:        &workload.Compute{CPU: &cpu, Mem: &mem, GPU: 1, Shm: &shm},
					}},
				},
				NodeGroups: []string{"gpu-spot"},
				Networking: &workload.Networking{Endpoint: "/" + name},
				Autoscaling: &workload.Autoscaling{
					MinReplicas: 1, MaxReplicas: 100, InitReplicas: 2, TargetInFlight: 1.5, Window: workload.Duration(time.Minute),
					DownscaleStabilizationPeriod: workload.Duration(5 * time.Minute), UpscaleStabilizationPeriod: workload.Duration(90 * time.Second),
					MaxDownscaleFactor: 0.75, MaxUpscaleFactor: 1.5, DownscaleTolerance: 0.05, UpscaleTolerance: 0.1,
				},
				UpdateStrategy: &workload.UpdateStrategy{MaxSurge: "25%", MaxUnavailable: "1"},
			},
			ID: fmt.Sprintf("%016x-abcdefghij-0123", 1<<40-n), SpecID: "0123", PodID: "4567", DeploymentID: "abcdefghij", Number: n + 2,
			Index: 2, FileName: "cortex.yaml", Directory: "/srv/" + name,
			SubmittedAPISpec:      map[string]any{"name": name, "list": []any{"x", true, nil}},
			InitialDeploymentTime: 1_700_000_000_123_456_789,
			LastUpdated:           time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC),
		},
	}
}

// patience is for a store on a busy machine, behind a network.
const patience = 5 * time.Minute

// within gives a test that waits an end that is far beyond what it needs.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func mustPut(t *testing.T, s store.Store, w store.Workload) store.Workload {
	t.Helper()
	version, err := s.Put(t.Context(), w)
	if err != nil {
		t.Fatalf("Put(%s at %d) = %v", w.Name(), w.Version, err)
	}
	w.Version = version
	return w
}

func wantFault(t *testing.T, what string, err error, kind fault.Kind, code string) {
	t.Helper()
	if !fault.Is(err, kind) || fault.Code(err) != code {
		t.Errorf("%s = %v (code %q), want a %s fault with code %s", what, err, fault.Code(err), kind, code)
	}
}
