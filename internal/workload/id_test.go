package workload

import (
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func irisSpec() Spec {
	s := Spec{
		Name: "iris", Kind: Realtime,
		Pod: &Pod{Containers: []Container{{Name: "api", Image: "iris:1", Env: map[string]Variable{"A": {Value: "a"}, "B": {Value: "b"}}}}},
	}
	s.Default()
	return s
}

var noon = time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)

func TestRevisionNames(t *testing.T) {
	t.Parallel()
	r := NewRevision(irisSpec(), nil, Origin{Index: 2, FileName: "cortex.yaml", Submitted: "as given"}, noon)
	if !regexp.MustCompile(`^[0-9a-f]{63}$`).MatchString(r.PodID) {
		t.Errorf("PodID = %q, want 63 hexadecimal digits", r.PodID)
	}
	if !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(r.SpecID) {
		t.Errorf("SpecID = %q, want 32 hexadecimal digits", r.SpecID)
	}
	if !regexp.MustCompile(`^[0-9a-z]{10}$`).MatchString(r.DeploymentID) {
		t.Errorf("DeploymentID = %q, want ten characters", r.DeploymentID)
	}
	// 9223372036854775807 - 1893585600·10⁹, in hexadecimal digits.
	if want := "65b8a1edf0347fff-" + r.DeploymentID + "-" + r.SpecID; r.ID != want {
		t.Errorf("ID = %q, want %q", r.ID, want)
	}
	if r.Index != 2 || r.FileName != "cortex.yaml" || r.SubmittedAPISpec != "as given" || !r.LastUpdated.Equal(noon) || r.InitialDeploymentTime != noon.UnixNano() {
		t.Errorf("NewRevision() = %+v", r)
	}
}

func TestRevisionsOfJobsAndSplittersHaveNoDeployment(t *testing.T) {
	t.Parallel()
	for _, k := range []Kind{Batch, Task, Splitter} {
		r := NewRevision(Spec{Name: "x", Kind: k}, nil, Origin{}, noon)
		if r.DeploymentID != "" || r.Refreshed(nil, noon).DeploymentID != "" {
			t.Errorf("%s: DeploymentID = %q, want none", k, r.DeploymentID)
		}
	}
}

func TestIdentityFollowsContent(t *testing.T) {
	t.Parallel()
	first := NewRevision(irisSpec(), nil, Origin{FileName: "a.yaml", Directory: "/a"}, noon)
	for _, tt := range []struct {
		name      string
		change    func(*Spec)
		pod, spec bool // whether they change
	}{
		{"nothing", func(*Spec) {}, false, false},
		{"image", func(s *Spec) { s.Pod.Containers[0].Image = "iris:2" }, true, true},
		{"env", func(s *Spec) { s.Pod.Containers[0].Env["A"] = Variable{Value: "z"} }, true, true},
		{"concurrency", func(s *Spec) { s.Pod.MaxConcurrency = 2 }, true, true},
		{"name", func(s *Spec) { s.Name = "rose" }, true, true},
		{"autoscaling", func(s *Spec) { s.Autoscaling.MaxReplicas = 3 }, false, true},
		{"endpoint", func(s *Spec) { s.Networking.Endpoint = "/x" }, false, true},
		{"strategy", func(s *Spec) { s.UpdateStrategy.MaxSurge = "1" }, false, true},
		{"node groups", func(s *Spec) { s.NodeGroups = []string{"gpu"} }, false, true},
	} {
		s := irisSpec()
		tt.change(&s)
		next := NewRevision(s, first, Origin{FileName: "b.yaml", Directory: "/b"}, noon.Add(time.Hour))
		if got := next.PodID != first.PodID; got != tt.pod {
			t.Errorf("%s: the pod's id changed = %t, want %t", tt.name, got, tt.pod)
		}
		if got := next.SpecID != first.SpecID; got != tt.spec {
			t.Errorf("%s: the spec's id changed = %t, want %t", tt.name, got, tt.spec)
		}
		if next.DeploymentID != first.DeploymentID || next.InitialDeploymentTime != first.InitialDeploymentTime {
			t.Errorf("%s: a deploy renewed the deployment", tt.name)
		}
		if next.SamePod(first) == tt.pod {
			t.Errorf("%s: SamePod() = %t, want %t", tt.name, next.SamePod(first), !tt.pod)
		}
	}
}

// What is asked for in any field of a spec is another version: a deploy of it is not
// "nothing to do".
func TestEveryFieldIsPartOfTheIdentity(t *testing.T) {
	t.Parallel()
	for i := range reflect.TypeFor[Spec]().NumField() {
		field := reflect.TypeFor[Spec]().Field(i)
		if field.Name == "Name" || field.Name == "Kind" || field.Name == "Pod" { // by the id of the pod
			continue
		}
		plain, changed := Spec{Name: "a", Kind: Async, Pod: &Pod{}}, Spec{Name: "a", Kind: Async, Pod: &Pod{}}
		v := reflect.ValueOf(&changed).Elem().Field(i)
		switch v.Kind() {
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		default:
			v.SetBool(true)
		}
		if specID(&plain, "p") == specID(&changed, "p") {
			t.Errorf("a spec with %s has the identity of one without", field.Name)
		}
	}
}

func TestFolderIsPartOfAProcessAndNotOfAnImage(t *testing.T) {
	t.Parallel()
	pod := func(image, directory string) string {
		s := irisSpec()
		s.Pod.Containers[0].Image, s.Pod.Containers[0].Command = image, []string{"serve"}
		return NewRevision(s, nil, Origin{Directory: directory}, noon).PodID
	}
	if pod("", "/a") == pod("", "/b") {
		t.Error("a command runs in another folder under the same id")
	}
	if pod("iris", "/a") != pod("iris", "/b") {
		t.Error("an image has another id because its file moved")
	}
}

func TestProgramsArePartOfAProcessAndNotOfAnImage(t *testing.T) {
	t.Parallel()
	pod := func(image string, p *Programs) string {
		s := irisSpec()
		s.Pod.Containers[0].Image, s.Pod.Containers[0].Command = image, []string{"python3"}
		return NewRevision(s, nil, Origin{Programs: p}, noon).PodID
	}
	one := &Programs{Path: "/one/bin", Found: map[string]string{"python3": "/one/bin/python3"}}
	two := &Programs{Path: "/two/bin", Found: map[string]string{"python3": "/two/bin/python3"}}
	if pod("", one) == pod("", two) {
		t.Error("a process runs in another virtual environment under the same id")
	}
	if pod("iris", one) != pod("iris", two) {
		t.Error("an image has another id because of its caller's PATH")
	}
}

// The ids of specs that are deployed must not change by a release, or every
// replica would be replaced; fields that later releases add are null here.
func TestIdentityIsStable(t *testing.T) {
	t.Parallel()
	r := NewRevision(irisSpec(), nil, Origin{}, noon)
	const pod, spec = "af3c5c90dc59ac219257434f47f5a038ec69b9cb7f813684bb4b64ccf9a24ea", "4864b6cb240db815d8e31dc18278481c"
	if r.PodID != pod || r.SpecID != spec {
		t.Errorf("PodID, SpecID = %q, %q, want %q, %q", r.PodID, r.SpecID, pod, spec)
	}
	with := digest(map[string]any{"a": 1, "later": nil, "list": []any{map[string]any{"later": nil}}})
	if without := digest(map[string]any{"a": 1, "list": []any{map[string]any{}}}); with != without {
		t.Error("a field that is null changes the id")
	}
}

func TestRefreshRenewsTheDeploymentOnly(t *testing.T) {
	t.Parallel()
	r := NewRevision(irisSpec(), nil, Origin{}, noon)
	again := r.Refreshed(r.Code, noon.Add(time.Second))
	if again.DeploymentID == r.DeploymentID || again.SamePod(r) {
		t.Error("Refreshed() kept the deployment")
	}
	if again.PodID != r.PodID || again.SpecID != r.SpecID || again.InitialDeploymentTime != r.InitialDeploymentTime {
		t.Error("Refreshed() changed more than the deployment")
	}
	if again.ID >= r.ID {
		t.Errorf("Refreshed().ID = %s, want it before %s", again.ID, r.ID)
	}
}

// Ids in lexicographic order are revisions from the newest to the oldest, even
// when the clock stands still or goes back.
func TestIDsSortNewestFirst(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var ids []string
		var prev *Revision
		now := noon
		for range rapid.IntRange(2, 8).Draw(t, "deploys") {
			now = now.Add(time.Duration(rapid.Int64Range(-5, 5).Draw(t, "step")) * rapid.SampledFrom([]time.Duration{1, time.Second, time.Hour}).Draw(t, "unit"))
			s := irisSpec()
			s.Pod.Containers[0].Image = rapid.StringMatching(`[a-z]{1,3}`).Draw(t, "image")
			if prev != nil && rapid.Bool().Draw(t, "refresh") {
				prev = prev.Refreshed(nil, now)
			} else {
				prev = NewRevision(s, prev, Origin{}, now)
			}
			ids = append(ids, prev.ID)
		}
		slices.Reverse(ids)
		if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
			t.Fatalf("ids in order of time are not in reverse order:\n%s", strings.Join(ids, "\n"))
		}
	})
}

func TestRevisionSurvivesJSON(t *testing.T) {
	t.Parallel()
	r := NewRevision(irisSpec(), nil, Origin{FileName: "a", Directory: "/a"}, noon)
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again Revision
	if err := json.Unmarshal(text, &again); err != nil {
		t.Fatal(err)
	}
	if d := Diff(&r.Spec, &again.Spec); len(d) > 0 || again.ID != r.ID {
		t.Errorf("reading %s back differs at %v", text, d)
	}
	next := NewRevision(again.Spec, &again, Origin{Directory: "/a"}, noon)
	if next.SpecID != r.SpecID || next.PodID != r.PodID {
		t.Error("a spec that was stored and read has other ids")
	}
	for _, id := range []string{"", "short", "zzzzzzzzzzzzzzzzzzzz"} {
		odd := &Revision{ID: id}
		if got := NewRevision(again.Spec, odd, Origin{}, noon); !got.LastUpdated.Equal(noon) {
			t.Errorf("after a revision with the id %q: LastUpdated = %v, want now", id, got.LastUpdated)
		}
	}
}
