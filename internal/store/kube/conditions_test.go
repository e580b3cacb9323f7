package kube

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	kstatus "github.com/fluxcd/cli-utils/pkg/kstatus/status"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	"cortex.dev/cortex/internal/crd"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/workload"
)

// standing is a state that an API can be in, and what tools make of it.
type standing struct {
	name       string
	generation int64 // 0: 3, which is also what was resolved
	refusal    error
	nobody     bool // has looked
	phase      workload.Phase
	ready      int
	upToDate   int
	requested  int
	outcome    workload.Outcome
	kind       workload.Kind // "": Realtime

	wantReady  metav1.ConditionStatus
	wantTools  kstatus.Status
	wantReason string
}

func standings() []standing {
	live := workload.BecameLive(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC))
	failed := workload.Outcome{Failed: &workload.Reason{Message: "no such program"}}
	const yes, no, none = metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionStatus("")
	refused := fault.New(fault.Invalid, "spec.invalid", "the port is missing")
	waits := fault.New(fault.Conflict, "resources.target_missing", "no such API")
	return []standing{
		{name: "nobody has looked", nobody: true, wantReady: none, wantTools: kstatus.InProgressStatus},
		{name: "accepted, nothing started", phase: workload.PhaseUpdating, requested: 2, wantReady: no, wantTools: kstatus.InProgressStatus, wantReason: "Updating"},
		{name: "live", phase: workload.PhaseLive, ready: 2, upToDate: 2, requested: 2, outcome: live, wantReady: yes, wantTools: kstatus.CurrentStatus, wantReason: "Live"},
		{name: "stopped", phase: workload.PhaseStopped, outcome: live, wantReady: yes, wantTools: kstatus.CurrentStatus, wantReason: "Stopped"},
		{name: "at zero", phase: workload.PhaseIdle, outcome: live, wantReady: yes, wantTools: kstatus.CurrentStatus, wantReason: "Idle"},
		{name: "more replicas for more load", phase: workload.PhaseUpdating, ready: 2, upToDate: 2, requested: 5, outcome: live, wantReady: yes, wantTools: kstatus.CurrentStatus, wantReason: "Live"},
		{name: "one replica of two ended", phase: workload.PhaseUpdating, ready: 1, upToDate: 1, requested: 2, outcome: live, wantReady: yes, wantTools: kstatus.CurrentStatus, wantReason: "Live"},
		{name: "every replica ended", phase: workload.PhaseUpdating, requested: 2, outcome: live, wantReady: no, wantTools: kstatus.InProgressStatus, wantReason: "Updating"},
		{name: "the version before still serves", phase: workload.PhaseUpdating, ready: 2, requested: 2, wantReady: no, wantTools: kstatus.InProgressStatus, wantReason: "Updating"},
		{name: "new and old serve together", phase: workload.PhaseUpdating, ready: 2, upToDate: 1, requested: 2, wantReady: no, wantTools: kstatus.InProgressStatus, wantReason: "Updating"},
		{name: "the update failed, the version before serves", phase: workload.PhaseDegraded, ready: 2, requested: 2, outcome: failed, wantReady: no, wantTools: kstatus.FailedStatus, wantReason: "Degraded"},
		{name: "down", phase: workload.PhaseFailed, requested: 2, outcome: failed, wantReady: no, wantTools: kstatus.FailedStatus, wantReason: "Failed"},
		{name: "was live, and is down", phase: workload.PhaseFailed, requested: 2, outcome: live, wantReady: no, wantTools: kstatus.FailedStatus, wantReason: "Failed"},
		{name: "refused", refusal: refused, wantReady: no, wantTools: kstatus.FailedStatus, wantReason: "SpecInvalid"},
		{name: "refused over one that is live", refusal: refused, phase: workload.PhaseLive, ready: 2, upToDate: 2, requested: 2, outcome: live, wantReady: no, wantTools: kstatus.FailedStatus, wantReason: "SpecInvalid"},
		{name: "waits for what is not there yet", refusal: waits, kind: workload.Splitter, wantReady: no, wantTools: kstatus.InProgressStatus, wantReason: "ResourcesTargetMissing"},
		{name: "applied over one that is live", generation: 4, phase: workload.PhaseLive, ready: 2, upToDate: 2, requested: 2, outcome: live, wantReady: yes, wantTools: kstatus.InProgressStatus, wantReason: "Live"},
		{name: "a splitter", kind: workload.Splitter, phase: workload.PhaseLive, outcome: live, wantReady: yes, wantTools: kstatus.CurrentStatus, wantReason: "Live"},
		{name: "a splitter whose target is gone", kind: workload.Splitter, phase: workload.PhaseFailed, outcome: live, wantReady: no, wantTools: kstatus.FailedStatus, wantReason: "Failed"},
	}
}

// resourceIn is a resource in a state, as the API server has it.
func resourceIn(t *testing.T, tt standing) map[string]any {
	t.Helper()
	if tt.kind == "" {
		tt.kind = workload.Realtime
	}
	var s status
	s.ObservedGeneration = crd.Unobserved
	if !tt.nobody {
		resolve(&s, tt.refusal, 3)
		if tt.phase != "" {
			s.Deployed = json.RawMessage(`{}`)
		}
	}
	s.Phase, s.Ready, s.UpToDate, s.Requested, s.Reason = string(tt.phase), tt.ready, tt.upToDate, tt.requested, "as it is"
	settle(&s, tt.kind, tt.outcome)
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var plain map[string]any
	if err := utiljson.Unmarshal(text, &plain); err != nil { // whole numbers stay such
		t.Fatal(err)
	}
	generation := tt.generation
	if generation == 0 {
		generation = 3
	}
	return map[string]any{
		"apiVersion": crd.GroupVersion.String(), "kind": string(tt.kind),
		"metadata": map[string]any{"name": "iris", "namespace": "cortex", "generation": generation},
		"spec":     map[string]any{}, "status": plain,
	}
}

// The library by which Flux and Helm wait comes to the same result as a person does, in
// every state.
func TestToolsReadTheConditions(t *testing.T) {
	t.Parallel()
	for _, tt := range standings() {
		o := resourceIn(t, tt)
		got, err := kstatus.Compute(&unstructured.Unstructured{Object: o})
		if err != nil || got.Status != tt.wantTools {
			t.Errorf("%s: tools see %+v, %v, want %s", tt.name, got, err, tt.wantTools)
		}
		text, err := json.Marshal(o["status"])
		if err != nil {
			t.Fatal(err)
		}
		var s status
		if err := json.Unmarshal(text, &s); err != nil {
			t.Fatal(err)
		}
		c := meta.FindStatusCondition(s.Conditions, crd.Ready)
		switch {
		case tt.wantReady == "" && c != nil:
			t.Errorf("%s: Ready = %+v, want none", tt.name, c)
		case tt.wantReady != "" && (c == nil || c.Status != tt.wantReady || c.Reason != tt.wantReason || c.Message == ""):
			t.Errorf("%s: Ready = %+v, want %s %s with a message", tt.name, c, tt.wantReady, tt.wantReason)
		}
		if meta.IsStatusConditionTrue(s.Conditions, crd.Reconciling) && meta.IsStatusConditionTrue(s.Conditions, crd.Stalled) {
			t.Errorf("%s: Reconciling and Stalled are both true", tt.name)
		}
	}
}

// From one state to any other no condition of the first stays.
func TestConditionsFollowTheState(t *testing.T) {
	t.Parallel()
	for _, before := range standings() {
		for _, after := range standings() {
			if before.nobody || after.nobody || before.kind != after.kind {
				continue
			}
			s := conditionsIn(t, before)
			resolve(&s, after.refusal, 3)
			s.Phase, s.Ready, s.UpToDate, s.Requested = string(after.phase), after.ready, after.upToDate, after.requested
			settle(&s, cmpKind(after.kind), after.outcome)
			want := conditionsIn(t, after)
			for _, name := range []string{crd.Accepted, crd.Ready, crd.Reconciling, crd.Stalled} {
				a, b := meta.FindStatusCondition(s.Conditions, name), meta.FindStatusCondition(want.Conditions, name)
				if (a == nil) != (b == nil) || a != nil && (a.Status != b.Status || a.Reason != b.Reason) {
					t.Errorf("from %s to %s: %s = %+v, want %+v", before.name, after.name, name, a, b)
				}
			}
		}
	}
}

func cmpKind(k workload.Kind) workload.Kind {
	if k == "" {
		return workload.Realtime
	}
	return k
}

func conditionsIn(t *testing.T, tt standing) status {
	t.Helper()
	text, err := json.Marshal(resourceIn(t, tt)["status"])
	if err != nil {
		t.Fatal(err)
	}
	var s status
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// The health script that is shipped for Argo CD comes to the same result, in every state.
func TestArgoReadsTheConditions(t *testing.T) {
	t.Parallel()
	script, err := os.ReadFile("../../../deploy/argocd/health.lua")
	if err != nil {
		t.Fatal(err)
	}
	health := map[kstatus.Status]string{kstatus.InProgressStatus: "Progressing", kstatus.CurrentStatus: "Healthy", kstatus.FailedStatus: "Degraded"}
	for _, tt := range standings() {
		state := lua.NewState()
		state.SetGlobal("obj", asLua(state, resourceIn(t, tt)))
		if err := state.DoString(string(script)); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		got, ok := state.Get(-1).(*lua.LTable)
		if !ok {
			t.Fatalf("%s: the script returns %v, want a table", tt.name, state.Get(-1))
		}
		if status := got.RawGetString("status").String(); status != health[tt.wantTools] || got.RawGetString("message").String() == "" {
			t.Errorf("%s: Argo CD sees %s (%s), want %s", tt.name, status, got.RawGetString("message"), health[tt.wantTools])
		}
		state.Close()
	}
}

// asLua is a value as Argo CD hands it to scripts.
func asLua(state *lua.LState, v any) lua.LValue {
	switch v := v.(type) {
	case map[string]any:
		t := state.NewTable()
		for key, e := range v {
			t.RawSetString(key, asLua(state, e))
		}
		return t
	case []any:
		t := state.NewTable()
		for _, e := range v {
			t.Append(asLua(state, e))
		}
		return t
	case string:
		return lua.LString(v)
	case bool:
		return lua.LBool(v)
	case int64:
		return lua.LNumber(v)
	default:
		return lua.LNil
	}
}
