package operator

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/codesnapshot"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/store/bolt"
	"cortex.dev/cortex/internal/workload"
)

// coded is a world in which processes run in copies of their folder.
type coded struct {
	*world
	folder string
	copies *codesnapshot.Store
}

func newCoded(t *testing.T) *coded {
	t.Helper()
	dir, f := t.TempDir(), newFeed()
	s, err := bolt.Open(t.Context(), bolt.Config{Dir: filepath.Join(dir, "store")})
	if err != nil {
		t.Fatalf("Open() = %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	copies := codesnapshot.Open(filepath.Join(dir, "code"), codesnapshot.Bounds(), nil)
	o := operatorWith(t, Config{Store: s, Engine: f, Code: copies})
	c := &coded{world: &world{Operator: o, t: t, feed: f, store: s, dir: dir}, folder: t.TempDir(), copies: copies}
	c.run()
	return c
}

// save writes the code of iris.
func (c *coded) save(text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.folder, "server.py"), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func (c *coded) deploys(config string) workload.DeployResult {
	c.t.Helper()
	r := c.deployAs(workload.DeployRequest{Config: config, Directory: c.folder})[0]
	if r.Error == "" {
		c.live("iris")
	}
	return r
}

// runs is the code in which the wanted revision runs.
func (c *coded) runs() string {
	c.t.Helper()
	code := c.record("iris").Revision.Code
	if code == nil || code.Digest == "" {
		c.t.Fatalf("iris has no copy of its code: %+v", code)
	}
	text, err := os.ReadFile(filepath.Join(codesnapshot.Path(filepath.Join(c.dir, "code"), code.Digest), "server.py"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

func TestAVersionRunsItsCode(t *testing.T) {
	t.Parallel()
	c := newCoded(t)
	c.save("one")
	c.deploys(realtime("iris", ""))
	first := c.record("iris").Revision

	c.save("two")
	const told = "code changed since v1 was deployed; `cortex refresh iris` takes it"
	if r := c.deploys(realtime("iris", "")); r.Action != workload.ActionNone || r.Message != "iris (RealtimeAPI) is up to date; "+told {
		t.Errorf("Deploy() of the same file = %s %q, want none and %q", r.Action, r.Message, told)
	}
	if got, err := c.Get(t.Context(), "iris"); err != nil || !got.CodeChanged {
		t.Errorf("Get().CodeChanged = %v, %v, want true", got.CodeChanged, err)
	}
	if e, err := c.Explain(t.Context(), "iris"); err != nil || !strings.HasSuffix(e.Steps[layerSpec].Detail, "; "+told) {
		t.Errorf("Explain() = %q, %v, want it to end with %q", e.Steps[layerSpec].Detail, err, told)
	}

	// what replaces no replica keeps the code
	r := c.deploys(realtime("iris", "  autoscaling:\n    max_replicas: 7\n"))
	if diff := cmp.Diff([]string{"autoscaling.max_replicas"}, r.Changes); diff != "" || !c.record("iris").Revision.SamePod(first) || c.runs() != "one" {
		t.Errorf("Deploy() of another bound changed %v and runs %s, want the same pod", r.Changes, c.runs())
	}
	if m, err := c.Refresh(t.Context(), "iris", false); err != nil || m.Message != "updating iris (RealtimeAPI) to the code that is now in "+c.folder {
		t.Errorf("Refresh() = %q, %v", m.Message, err)
	}
	c.live("iris")
	if got, err := c.Get(t.Context(), "iris"); err != nil || got.CodeChanged || c.runs() != "two" || got.Spec.Code.Version != 3 {
		t.Errorf("after Refresh() iris runs %s of v%d, code changed %v, %v; want two of v3", c.runs(), got.Spec.Code.Version, got.CodeChanged, err)
	}

	// what replaces them takes the code of now
	c.save("three")
	r = c.deploys(running("other", ""))
	if diff := cmp.Diff([]string{"pod.containers[0].command[0]", "autoscaling.max_replicas", "code"}, r.Changes); diff != "" || c.runs() != "three" {
		t.Errorf("Deploy() of another command runs %s; changes differ (-want +got):\n%s", c.runs(), diff)
	}

	// and going back brings it back
	for _, want := range []string{"two", "one"} {
		if r, err := c.Rollback(t.Context(), "iris", map[string]string{"two": "v3", "one": "v2"}[want]); err != nil || r.Action != workload.ActionUpdate {
			t.Fatalf("Rollback() = %+v, %v", r, err)
		}
		c.live("iris")
		if c.runs() != want {
			t.Errorf("after Rollback() iris runs %s, want %s", c.runs(), want)
		}
	}
}

func TestARefreshAtZeroTriesOneReplica(t *testing.T) {
	t.Parallel()
	c := newCoded(t)
	c.save("one")
	c.feed.obey = byCommand
	c.deploys(realtime("iris", "  autoscaling:\n    min_replicas: 0\n    init_replicas: 3\n"))
	if err := c.Scale(t.Context(), "iris", 0, "nothing to do"); err != nil {
		t.Fatal(err)
	}
	c.save("two")
	if _, err := c.Refresh(t.Context(), "iris", false); err != nil {
		t.Fatal(err)
	}
	if w := c.record("iris"); w.Replicas > 1 || c.runs() != "two" {
		t.Errorf("after Refresh() iris runs %s with %d replicas, want two with none or the one of the trial", c.runs(), w.Replicas)
	}
}

func TestADryRunCopiesNothing(t *testing.T) {
	t.Parallel()
	c := newCoded(t)
	c.save("one")
	c.deployAs(workload.DeployRequest{Config: realtime("iris", ""), Directory: c.folder, DryRun: true})
	if entries, err := os.ReadDir(filepath.Join(c.dir, "code")); len(entries) > 0 {
		t.Errorf("a dry run left %v, %v", entries, err)
	}
}

func TestWhyThereIsNoCopy(t *testing.T) {
	t.Parallel()
	c := newCoded(t)
	c.save("one")
	for word, more := range map[string]string{
		"--common=../common": "        args: [--common=../common]\n",
		"../model.json":      "        env: {MODEL: ../model.json}\n",
	} {
		r := c.deploys(realtime("iris", more))
		if code := r.API.Spec.Code; code == nil || code.Digest != "" || code.InPlace != fmt.Sprintf("%q leads out of the folder", word) {
			t.Errorf("Deploy() of %s = %+v", word, code)
		}
	}
	c.folder = filepath.Join(c.folder, "gone")
	r := c.deploys(running("other", ""))
	if r.Code != "resources.code_not_copied" || c.record("iris").Revision.Number != 2 {
		t.Errorf("Deploy() from a folder that is gone = %q %q, want resources.code_not_copied and nothing changed", r.Code, r.Error)
	}
}

func TestGoingBackToCodeThatIsGone(t *testing.T) {
	t.Parallel()
	c := newCoded(t)
	for _, text := range []string{"one", "two"} {
		c.save(text)
		c.deploys(running(text, ""))
	}
	versions, err := c.History(t.Context(), "iris")
	if err != nil {
		t.Fatal(err)
	}
	c.copies.Collect(map[string]bool{c.record("iris").Revision.Code.Digest: true}, 0, time.Now())
	_, err = c.Rollback(t.Context(), "iris", versions[1].APIID)
	if fault.Code(err) != "resources.code_not_kept" || c.runs() != "two" {
		t.Errorf("Rollback() = %v and runs %s, want resources.code_not_kept and two", err, c.runs())
	}
}

func TestOnlyNeededCodeIsKept(t *testing.T) {
	t.Parallel()
	c := newCoded(t)
	for _, text := range []string{"one", "two"} {
		c.save(text)
		c.deploys(running(text, ""))
	}
	first, err := c.Version(t.Context(), "iris", "v1")
	if err != nil {
		t.Fatal(err)
	}
	c.collectCode(t.Context(), 0)
	if !c.copies.Has(first.Spec.Code.Digest) {
		t.Error("the code of v1 is gone, and its history is there")
	}
	if _, err := c.Delete(t.Context(), "iris", workload.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.collectCode(t.Context(), 0)
	if c.copies.Has(first.Spec.Code.Digest) {
		t.Error("the code of an API that was deleted stays")
	}
}

func TestNeededCode(t *testing.T) {
	t.Parallel()
	version := func(digest string, bytes int64) *workload.Revision {
		return &workload.Revision{Code: &workload.Code{Digest: digest, Bytes: bytes}}
	}
	const half = codePerAPI / 2
	w := store.Workload{Revision: version("wanted", half), Serving: version("serving", codePerAPI)}
	past := []store.Past{{Revision: version("wanted", half)}, {Revision: version("newer", 1)}, {Revision: &workload.Revision{}}}
	needed := map[string]bool{}
	neededCode(needed, w, past)
	if diff := cmp.Diff(map[string]bool{"wanted": true, "serving": true}, needed); diff != "" {
		t.Errorf("beyond the bound, what is needed differs (-want +got):\n%s", diff)
	}
	w.Serving, past = nil, nil
	for i := range 4 {
		past = append(past, store.Past{Revision: version(fmt.Sprint(i), half/3)})
	}
	needed = map[string]bool{}
	neededCode(needed, w, past)
	if diff := cmp.Diff(map[string]bool{"wanted": true, "0": true, "1": true, "2": true}, needed); diff != "" {
		t.Errorf("below the bound, what is needed differs (-want +got):\n%s", diff)
	}
}
