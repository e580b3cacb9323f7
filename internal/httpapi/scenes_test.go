package httpapi_test

import (
	"time"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// scene is one question and what the service behind the wire makes of it.
type scene struct {
	name   string // of the recorded exchange
	ask    question
	answer any
	lines  []any
	err    error
}

var (
	noon     = time.Date(2026, 3, 14, 12, 0, 0, 123456789, time.UTC)
	port     = int32(8080)
	targets  = 2
	mem      = workload.MustQuantity("256Mi")
	revision = workload.Revision{
		Spec: workload.Spec{
			Name: "iris", Kind: workload.Realtime,
			Pod: &workload.Pod{
				Port: &port, MaxQueueLength: 100, MaxConcurrency: 1,
				Containers: []workload.Container{{
					Name: "api", Env: map[string]workload.Variable{"MODEL": {Value: "<iris> & co"}, "TOKEN": {Secret: "hf-token"}}, Command: []string{"python3", "server.py"},
					ReadinessProbe: &workload.Probe{TCPSocket: &workload.TCPSocket{Port: 8080}, PeriodSeconds: 10, TimeoutSeconds: 1},
					Compute:        &workload.Compute{Mem: &mem},
				}},
			},
			Networking: &workload.Networking{Endpoint: "/iris"},
			Autoscaling: &workload.Autoscaling{
				MinReplicas: 1, MaxReplicas: 3, InitReplicas: 1, TargetInFlight: 1, Window: workload.Duration(time.Minute),
				DownscaleTolerance: 0.05,
			},
			UpdateStrategy: &workload.UpdateStrategy{MaxSurge: "25%", MaxUnavailable: "25%"},
		},
		ID: "6f3c0a-9qx7d2k1m0-1c3d", SpecID: "1c3d", PodID: "77aa", DeploymentID: "9qx7d2k1m0", FileName: "cortex.yaml",
		SubmittedAPISpec: map[string]any{
			"name": "iris", "kind": "RealtimeAPI",
			"autoscaling": map[string]any{"max_replicas": int64(3), "target_in_flight": 0.5, "window": "60s"},
			"big":         []any{int64(9007199254740993), uint64(18446744073709551615), true, nil},
		},
		InitialDeploymentTime: 1773489600123456789, LastUpdated: noon,
	}
	metadata = &workload.Metadata{Name: "iris", Kind: workload.Realtime, ID: revision.ID, DeploymentID: revision.DeploymentID, LastUpdated: noon.Unix()}
	status   = &workload.Status{Ready: 1, Requested: 2, UpToDate: 1, Phase: workload.PhaseUpdating, Reason: "1 of 2 replicas is ready"}
	versions = []workload.APIVersion{
		{APIID: revision.ID, SpecID: "1c3d", Number: 12, LastUpdated: 1773489600, Current: true, Cause: "deploy", Result: workload.ResultFailed, Reason: "it ends"},
		{APIID: "6f3c0b-9qx7d2k1m0-0b2c", SpecID: "0b2c", Number: 11, LastUpdated: 1773489000, Serving: true, Cause: "deploy", Result: workload.ResultLive, FirstLive: 1773489003},
	}
	iris = workload.APIResponse{Spec: revision.Shown(), Metadata: metadata, Status: status, Endpoint: "http://localhost:8888/iris", APIVersions: versions}
	loop = &workload.Reason{
		Code: "crash_loop", Message: "the container api exited 5 times with code 1",
		Evidence: []workload.Evidence{{Kind: "log", Text: "ModuleNotFoundError: No module named 'model'"}, {Kind: "exit", Text: "exit code 1"}},
		Fix:      "add the module to the image",
	}
	problems = []fault.Problem{
		{File: "cortex.yaml", Line: 3, Column: 3, API: "iris (RealtimeAPI)", Path: "pod.prot", Code: "configreader.unsupported_key",
			Message: `key "prot" is not supported`, Hint: `did you mean "port"?`},
		{File: "cortex.yaml", Line: 9, Column: 5, API: "iris (RealtimeAPI)", Path: "autoscaling.max_replicas", Code: "configreader.must_be_greater_than_or_equal_to",
			Message: "max_replicas is too small", Found: "0", Allowed: "1 or more"},
	}
)

const config = "- name: iris\n  kind: RealtimeAPI # <model> & \"co\"\n"

// scenes is at least one success of every method, and every kind of fault.
func scenes() []scene {
	named := arguments{Name: "iris"}
	deploy := &workload.DeployRequest{FileName: "cortex.yaml", Directory: "/home/ada/iris", Config: config, Force: true}
	line := func(sec int, text string) workload.LogLine {
		return workload.LogLine{Time: noon.Add(time.Duration(sec) * time.Second), Replica: "iris-1", Container: "api", Stream: "stdout", Text: text}
	}
	event := workload.Event{Time: noon, API: "iris", Type: "warning", Reason: "ReplicaFailed", Message: "exit code 1", Replica: "iris-1"}
	return append([]scene{
		{name: "info", ask: question{"info", arguments{}}, answer: workload.Info{
			Environment: "local", Version: "1.0.0", APIEndpoint: "http://localhost:8888", StateDir: "/home/ada/.cortex/local", PID: 42, StartedAt: noon,
			APIs: 1, Replicas: 2, Engines: []workload.Engine{{Name: "process", Available: true}, {Name: "docker", Detail: "no socket at /var/run/docker.sock"}},
		}},
		{name: "deploy", ask: question{"deploy", arguments{Deploy: deploy}}, answer: []workload.DeployResult{
			{API: &iris, Action: workload.ActionUpdate, Changes: []string{"pod.containers[0].command"}, Message: "updating iris (RealtimeAPI)"},
			{Error: "error: rose cannot be deployed", Code: "resources.cannot_change_kind_of_deployed_api"},
		}},
		{name: "deploy_dry_run", ask: question{"deploy", arguments{Deploy: &workload.DeployRequest{FileName: "cortex.yaml", Config: config, DryRun: true}}},
			answer: []workload.DeployResult{{API: &iris, Action: workload.ActionCreate, Message: "creating iris (RealtimeAPI)"}}},
		{name: "list", ask: question{"list", arguments{}}, answer: []workload.APIResponse{
			{Metadata: metadata, Status: status},
			{Metadata: &workload.Metadata{Name: "split", Kind: workload.Splitter, ID: "6f", LastUpdated: noon.Unix()}, NumTrafficSplitterTargets: &targets},
		}},
		{name: "list_with_specs", ask: question{"list", arguments{}}, answer: []workload.APIResponse{{Spec: revision.Shown()}}},
		{name: "list_empty", ask: question{"list", arguments{}}, answer: []workload.APIResponse{}},
		{name: "get", ask: question{"get", named}, answer: iris},
		{name: "get_odd_name", ask: question{"get", arguments{Name: "a b\\ü?&%2F"}}, answer: workload.APIResponse{Endpoint: "x"}},
		{name: "version", ask: question{"version", arguments{Name: "iris", ID: "0b2c0b2c"}}, answer: workload.APIResponse{Spec: revision.Shown()}},
		{name: "describe", ask: question{"describe", named}, answer: workload.APIResponse{Metadata: metadata, Status: &workload.Status{
			Requested: 1, Phase: workload.PhaseFailed, Reason: loop.Message, ReplicaCounts: &workload.Counts{Requested: 1, Failed: 1},
			Replicas: []workload.Replica{{ID: "iris-1", APIID: revision.ID, UpToDate: true, State: workload.Failed, Reason: loop, Restarts: 5, Since: noon}},
		}}},
		{name: "history", ask: question{"history", named}, answer: versions},
		{name: "rollback", ask: question{"rollback", arguments{Name: "iris", ID: "0b2c0b2c"}},
			answer: workload.DeployResult{API: &iris, Action: workload.ActionUpdate, Message: "updating iris (RealtimeAPI)"}},
		{name: "rollback_previous", ask: question{"rollback", named}, answer: workload.DeployResult{API: &iris, Message: "updating iris (RealtimeAPI)"}},
		{name: "refresh", ask: question{"refresh", arguments{Name: "iris", Force: true}}, answer: workload.Message{Message: "updating iris (RealtimeAPI)"}},
		{name: "stop", ask: question{"stop", named}, answer: workload.DeployResult{Name: "iris", API: &workload.APIResponse{Metadata: metadata, Status: &workload.Status{
			Phase: workload.PhaseStopped, Reason: "stopped", Stopped: &workload.Stopped{At: noon, By: "arn:aws:iam::123456789012:user/alice", Replicas: 2},
		}}, Action: workload.ActionUpdate, Message: "stopping iris (RealtimeAPI)"}},
		{name: "start", ask: question{"start", named}, answer: workload.DeployResult{Name: "iris", API: &iris, Action: workload.ActionUpdate, Message: "starting iris (RealtimeAPI)"}},
		{name: "scale", ask: question{"scale", arguments{Name: "iris", Replicas: 4}}, answer: workload.DeployResult{Name: "iris", Action: workload.ActionNone, Message: "iris (RealtimeAPI) asks for 4 replicas already"}},
		{name: "delete", ask: question{"delete", arguments{Name: "iris", KeepCache: true}}, answer: workload.Message{Message: "deleting iris"}},
		{name: "explain", ask: question{"explain", named}, answer: workload.Explanation{
			Name: "iris", Kind: workload.Realtime, Summary: loop.Message, Cause: loop, At: noon,
			Steps: []workload.Step{{Layer: "spec", OK: true, Detail: "valid"}, {Layer: "process", Detail: "exit code 1"}},
		}},
		{name: "series", ask: question{"series", arguments{Name: "iris", Since: workload.Duration(15 * time.Minute)}}, answer: workload.Series{
			API: "iris", From: noon, StepSeconds: 10, Requests: []float32{-1, 0, 12.5}, Errors: []float32{-1, 0, 0.1}, P50: []float32{-1, -1, 0.004}, P99: []float32{-1, -1, 0.25},
			InFlight: []float32{0, 0, 3}, Ready: []float32{1, 1, 2}, Requested: []float32{1, 2, 2},
		}},
		{name: "logs", ask: question{"logs", arguments{Name: "iris", Follow: true, Since: workload.Duration(90 * time.Second), Tail: 2, Previous: true, Replica: "iris-1"}},
			lines: []any{line(0, "listening on <8080>"), line(1, `{"class":"setosa"} ü`)}},
		{name: "logs_none", ask: question{"logs", named}},
		{name: "logs_fail_later", ask: question{"logs", named}, lines: []any{line(0, "listening")},
			err: fault.New(fault.Unavailable, "engine.log_lost", "the log was removed").WithHint("ask again")},
		{name: "events", ask: question{"events", arguments{Name: "iris", Since: workload.Duration(time.Hour)}}, lines: []any{event}},
		{name: "events_of_all", ask: question{"events", arguments{Follow: true}}, lines: []any{event, event}},
		{name: "watch", ask: question{"watch", arguments{ID: "5e1f-41"}}, lines: []any{
			workload.Watched{ID: "5e1f-42", Snapshot: true, APIs: []workload.WatchedAPI{
				{
					Metadata: *metadata, Endpoint: "http://localhost:8888/iris", Status: status, LastEvent: &event,
					Rates: &workload.Rates{Requests: 12.5, Latency: 0.025, P50: 0.02, P90: 0.04, P99: 0.25, ErrorShare: 0.01},
				},
				{Metadata: workload.Metadata{Name: "split", Kind: workload.Splitter, ID: "6f"}, Targets: &targets},
			}},
			workload.Watched{ID: "5e1f-43", APIs: []workload.WatchedAPI{}, Gone: []string{"split"}},
		}},
	}, faults()...)
}

// faults is every kind of fault, spread over the methods, and one error that is none.
func faults() []scene {
	named := arguments{Name: "iris"}
	deploy := question{"deploy", arguments{Deploy: &workload.DeployRequest{FileName: "cortex.yaml", Config: config}}}
	return []scene{
		{name: "fault_malformed", ask: deploy, err: fault.New(fault.Malformed, "spec.malformed_config", "cortex.yaml is not a list")},
		{name: "fault_unproven", ask: question{"info", arguments{}}, err: fault.New(fault.Unproven, "endpoints.auth_invalid", "nobody has signed")},
		{name: "fault_forbidden", ask: question{"list", arguments{}}, err: fault.New(fault.Forbidden, "endpoints.auth_other_account", "another account")},
		{name: "fault_not_found", ask: question{"get", named},
			err: fault.New(fault.NotFound, "resources.api_not_deployed", "iris is not deployed").WithHint("list what is deployed with cortex get")},
		{name: "fault_conflict", ask: question{"refresh", named}, err: fault.New(fault.Conflict, "realtimeapi.api_updating", "iris is updating").WithHint("override with --force")},
		{name: "fault_invalid", ask: deploy, err: fault.OfProblems(problems)},
		{name: "fault_too_many", ask: question{"explain", named}, err: fault.New(fault.TooMany, "operator.too_many", "too many at once")},
		{name: "fault_unavailable", ask: question{"rollback", named}, err: fault.New(fault.Unavailable, "operator.load_balancer_initializing", "not yet")},
		{name: "fault_unsupported", ask: question{"describe", named}, err: fault.New(fault.Unsupported, "resources.operation_is_only_supported_for_kind", "not for a splitter")},
		{name: "fault_usage", ask: question{"history", named}, err: fault.New(fault.Usage, "cli.usage", "no such thing")},
		{name: "fault_unexpected", ask: question{"delete", named}, err: fault.New(fault.Unexpected, "errors.unexpected", "disk full")},
		{name: "fault_disconnected", ask: question{"version", arguments{Name: "iris", ID: "abcdef"}}, err: fault.New(fault.Disconnected, "cli.x", "the store is away")},
		{name: "fault_before_first_line", ask: question{"logs", named}, err: fault.New(fault.NotFound, "resources.api_not_deployed", "iris is not deployed")},
		{name: "fault_events", ask: question{"events", named}, err: fault.New(fault.NotFound, "resources.api_not_deployed", "iris is not deployed")},
	}
}
