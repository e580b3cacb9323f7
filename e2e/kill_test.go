package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var seed = flag.Uint64("seed", 0, "of TestKill; 0 takes a new one")

// TestKill ends the daemon with SIGKILL at random moments while APIs are created,
// updated, refreshed and deleted and requests are under way. What was accepted is
// there after the next start; what was deleted never runs; nothing outlives the
// daemon; two daemons never share a state folder.
func TestKill(t *testing.T) {
	t.Parallel()
	if processesIn("/") == nil {
		t.Skip("this machine has no /proc, in which the processes of a folder could be found")
	}
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("seed %d, %d kills", s, *kills)
	k := newKiller(t, s)
	defer solo{}.finish(k.work, k.env)
	stop := k.traffic()
	defer stop()
	for i := range *kills {
		if !k.round(i) {
			t.Fatalf("in round %d of seed %d", i, s)
		}
	}
	k.settle()
	if report := races(k.work); report != "" {
		t.Error(report)
	}
}

// killer drives one local environment and knows what must be there.
type killer struct {
	t    *testing.T
	work string
	env  []string
	rand *rand.Rand
	// wanted holds, per API, the versions that it may have: one, or two after an
	// operation whose answer was lost. "" is: not deployed.
	wanted  map[string][]string
	counter int

	mu  sync.Mutex
	api string // where APIs are now
}

var killNames = []string{"alpha", "beta", "gamma"}

func newKiller(t *testing.T, seed uint64) *killer {
	work, err := os.MkdirTemp("", "cxk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(work) })
	k := &killer{t: t, work: work, rand: rand.New(rand.NewPCG(seed, 1)), wanted: map[string][]string{}}
	cfg := filepath.Join(work, "cfg")
	if err := os.Mkdir(cfg, 0o700); err != nil {
		t.Fatal(err)
	}
	text := "environments:\n- name: local\n  api_port: 0\n"
	if err := os.WriteFile(filepath.Join(cfg, "cli.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	k.env = []string{"HOME=" + work, "CORTEX_CLI_CONFIG_DIR=" + cfg, "PATH=" + bin + ":" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "GORACE=" + raceOptions(work)}
	for _, name := range killNames {
		k.wanted[name] = []string{""}
		if err := os.Mkdir(filepath.Join(work, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

func (k *killer) cortex(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "cortex"), args...)
	cmd.Env, cmd.Dir = k.env, "/" // outside of what is searched for lingering processes
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// round starts the daemon, checks what it knows, and kills it during an operation.
func (k *killer) round(i int) bool {
	k.start(i%5 == 0)
	k.check()
	if i%10 == 9 {
		k.settle()
	}
	if k.t.Failed() {
		return false
	}
	s := k.status()
	name := killNames[k.rand.IntN(len(killNames))]
	// Half of the time during the operation, half during what follows from it.
	longest := []int{25, 400}[k.rand.IntN(2)]
	moment := time.NewTimer(time.Duration(k.rand.IntN(longest)) * time.Millisecond)
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.operate(name)
	}()
	<-moment.C
	if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil {
		k.t.Errorf("killing the daemon: %v", err)
	}
	<-done
	k.killAgain()
	if err := waitGone(k.work, "", 15*time.Second); err != nil {
		k.t.Errorf("after the death of the daemon: %v", err)
	}
	return !k.t.Failed()
}

// killAgain ends a daemon that a deploy has started after the death of the first.
func (k *killer) killAgain() {
	var s status
	out, err := k.cortex("local", "status", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	switch {
	case err != nil:
		k.t.Errorf("status: %v\n%s", err, out)
	case s.Running:
		if err := syscall.Kill(s.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			k.t.Errorf("killing the second daemon: %v", err)
		}
	}
}

// start starts the daemon, sometimes from two command lines at once.
func (k *killer) start(twice bool) {
	starts := 1
	if twice {
		starts = 2
	}
	var all sync.WaitGroup
	for range starts {
		all.Go(func() {
			if out, err := k.cortex("local", "start"); err != nil {
				k.t.Errorf("starting again: %v\n%s", err, out)
			}
		})
	}
	all.Wait()
	if daemons := k.daemons(); len(daemons) != 1 {
		k.t.Errorf("%d daemons work in one state folder, want 1:\n%s", len(daemons), strings.Join(daemons, "\n"))
	}
	s := k.status()
	k.mu.Lock()
	k.api = s.APIEndpoint
	k.mu.Unlock()
}

// daemons lists the daemons in the state folder. A child of one that has not yet
// become another program still looks like it.
func (k *killer) daemons() []string {
	all := processesIn(k.work)
	var found []string
	for _, p := range all {
		child := slices.ContainsFunc(all, func(other process) bool { return other.pid == p.parent })
		if strings.Contains(p.args, "local run") && !child {
			found = append(found, fmt.Sprintf("%d %s", p.pid, p.args))
		}
	}
	return found
}

func (k *killer) status() status {
	var s status
	out, err := k.cortex("local", "status", "-o", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	if err != nil || !s.Running {
		k.t.Errorf("status: %v\n%s", err, out)
	}
	return s
}

// operate does one thing to an API and notes what must be there afterwards.
func (k *killer) operate(name string) {
	now := k.wanted[name][0]
	after, args := now, []string{"refresh", name}
	switch n := k.rand.IntN(10); {
	case now == "" || n < 6:
		k.counter++
		after = fmt.Sprintf("%s-%d", name, k.counter)
		args = []string{"deploy", k.manifest(name, after), "--no-wait", "--force"}
	case n < 9:
		after, args = "", []string{"delete", name, "--force"}
	}
	if _, err := k.cortex(args...); err != nil {
		// The daemon may have died before or after it was done.
		k.wanted[name] = slices.Compact([]string{now, after})
		return
	}
	k.wanted[name] = []string{after}
}

func (k *killer) manifest(name, version string) string {
	file := filepath.Join(k.work, name, "cortex.yaml")
	text := fmt.Sprintf(`- name: %s
  kind: RealtimeAPI
  autoscaling: {min_replicas: %d}
  pod: {max_concurrency: 10, containers: [{name: api, command: [server, -version, %s]}]}
`, name, 1+k.rand.IntN(2), version)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		k.t.Error(err)
	}
	return file
}

// check compares what the daemon knows with what it must know, and that nothing
// runs which should not.
func (k *killer) check() {
	for _, name := range killNames {
		got, err := k.deployed(name)
		if err != nil {
			k.t.Errorf("asking for %s: %v", name, err)
			continue
		}
		if !slices.Contains(k.wanted[name], got) {
			k.t.Errorf("%s is at %q after a crash, want one of %q", name, got, k.wanted[name])
		}
		k.wanted[name] = []string{got}
	}
	for _, p := range processesIn(k.work) {
		_, version, ok := strings.Cut(p.args, "-version ")
		if !ok {
			continue
		}
		name, _, _ := strings.Cut(version, "-")
		if k.wanted[name][0] == "" {
			k.t.Errorf("a replica of the deleted %s runs: %s", name, p.args)
		}
	}
}

// deployed returns the version of an API, "" if it is not deployed.
func (k *killer) deployed(name string) (string, error) {
	out, err := k.cortex("get", name, "-o", "json")
	if err != nil {
		if strings.Contains(out, "is not deployed") {
			return "", nil
		}
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	var answer []struct {
		Spec struct {
			Pod struct {
				Containers []struct {
					Command []string `json:"command"`
				} `json:"containers"`
			} `json:"pod"`
		} `json:"spec"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		return "", err
	}
	return answer[0].Spec.Pod.Containers[0].Command[2], nil
}

// settle waits until every API that is deployed answers with its version.
func (k *killer) settle() {
	k.t.Helper()
	if s, _ := k.cortex("local", "status"); strings.Contains(s, "not running") {
		k.start(false)
	}
	k.check()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for _, name := range killNames {
		want := k.wanted[name][0]
		if want == "" {
			continue
		}
		for {
			got := k.call(name)
			if got == want {
				break
			}
			if time.Now().After(deadline) {
				out, _ := k.cortex("explain", name)
				k.t.Errorf("%s answers %q, want %q; %s", name, got, want, out)
				return
			}
			<-tick.C
		}
	}
}

// call returns the version that answers a request, or why none does.
func (k *killer) call(name string) string {
	k.mu.Lock()
	url := k.api + "/" + name
	k.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err.Error()
	}
	resp, err := killClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	var answer struct {
		Version string `json:"version"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return resp.Status
	}
	return answer.Version
}

var killClient = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 4}}

// traffic keeps requests under way. They may fail while the daemon is dead, but
// none may be answered by another API than the one that was asked.
func (k *killer) traffic() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for _, name := range killNames {
		all.Go(func() {
			pace := time.NewTicker(5 * time.Millisecond)
			defer pace.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pace.C:
				}
				got := k.call(name)
				for _, other := range killNames {
					if other != name && strings.HasPrefix(got, other+"-") {
						k.t.Errorf("%s was answered by %s", name, got)
					}
				}
			}
		})
	}
	return func() {
		cancel()
		all.Wait()
	}
}
