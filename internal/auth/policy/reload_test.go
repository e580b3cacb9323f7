package policy

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"cortex.dev/cortex/internal/auth"
)

const (
	readers  = `@id("readers") permit (principal, action == Cortex::Action::"get", resource);`
	deployer = `@id("deployers") permit (principal, action == Cortex::Action::"deploy", resource);`
	broken   = `permit (principal, action == Cortex::Action::"delet", resource);`
)

// running is an authorizer that looks at its file, in a bubble.
type running struct {
	*Authorizer
	t    *testing.T
	file string
	log  *journal
}

// journal is a log that may be read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// run calls fn in a bubble with an authorizer over a file with text, and stops it.
func run(t *testing.T, file, text string, fn func(*running)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		if file == "" {
			file = filepath.Join(t.TempDir(), "policy.cedar")
			write(t, file, text)
		}
		var log journal
		a, err := New(Config{
			Account: account, Partition: "aws", Environment: "prod", File: file,
			Log: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		fn(&running{a, t, file, &log})
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run() = %v, want %v", err, context.Canceled)
		}
	})
}

// tick lets the authorizer look once more.
func (r *running) tick() {
	time.Sleep(lookEvery)
	synctest.Wait()
}

// replace renames a new file over the policy, as careful programs do.
func (r *running) replace(text string) {
	r.t.Helper()
	write(r.t, r.file+".new", text)
	if err := os.Rename(r.file+".new", r.file); err != nil {
		r.t.Fatal(err)
	}
}

func (r *running) want(when, action, verdictWanted string) {
	r.t.Helper()
	if got := verdict(r.Authorize(ask(r.t, alice, auth.Action(action), "iris"))); got != verdictWanted {
		r.t.Errorf("%s: Authorize(%s) = %s, want %s", when, action, got, verdictWanted)
	}
}

func (r *running) describes(when, part string) {
	r.t.Helper()
	if got := r.Describe(); !strings.HasPrefix(got, r.file+" (") || !strings.Contains(got, part) {
		r.t.Errorf("%s: Describe() = %s, want %q in it", when, got, part)
	}
}

func (r *running) told(when string, errorLines, infoLines int) {
	r.t.Helper()
	text := r.log.String()
	if bad, good := strings.Count(text, "level=ERROR"), strings.Count(text, "level=INFO"); bad != errorLines || good != infoLines {
		r.t.Errorf("%s: the log has %d errors and %d notes, want %d and %d:\n%s", when, bad, good, errorLines, infoLines, text)
	}
}

func TestAChangedFileComesIntoForce(t *testing.T) {
	t.Parallel()
	run(t, "", readers, func(r *running) {
		r.want("at first", "get", "allow readers")
		r.want("at first", "deploy", "deny")
		r.replace(deployer)
		r.want("before it looks", "get", "allow readers")
		r.tick()
		r.want("renamed over", "get", "deny")
		r.want("renamed over", "deploy", "allow deployers")
		write(t, r.file, readers+"\n"+deployer)
		r.tick()
		r.want("written in place", "get", "allow readers")
		r.describes("written in place", "(2 policies)")
		r.told("after two changes", 0, 2)
		r.replace(readers)
		r.tick()
		r.want("as it was at first", "deploy", "deny")
		r.told("as it was at first", 0, 3)
		if got, want := r.Counts().Reloads, uint64(3); got != want {
			t.Errorf("Counts().Reloads = %d, want %d", got, want)
		}
	})
}

func TestABadFileLeavesWhatWasInForce(t *testing.T) {
	t.Parallel()
	run(t, "", readers, func(r *running) {
		r.replace(broken)
		for range 3 {
			r.tick()
		}
		r.want("a bad file", "get", "allow readers")
		r.want("a bad file", "delete", "deny")
		r.describes("a bad file", `(1 policy; the file has changed since and is not valid: line 1: there is no action Cortex::Action::"delet")`)
		r.told("a bad file", 1, 0)
		r.replace(broken)
		r.tick()
		r.told("the same bad file again", 1, 0)
		r.replace(broken + "\n" + broken)
		r.tick()
		r.describes("another bad file", `line 1: there is no action Cortex::Action::"delet", and 1 more)`)
		r.told("another bad file", 2, 0)
		r.replace(readers)
		r.tick()
		r.describes("what is in force is back", "(1 policy)")
		r.told("what is in force is back", 2, 1)
		r.replace(broken)
		r.tick()
		r.replace(deployer)
		r.tick()
		r.want("repaired", "deploy", "allow deployers")
		r.describes("repaired", "(1 policy)")
		r.told("repaired", 3, 2)
		if got, want := r.Counts().ReloadFailures, uint64(3); got != want {
			t.Errorf("Counts().ReloadFailures = %d, want %d", got, want)
		}
	})
}

func TestAFileThatVanishesIsBad(t *testing.T) {
	t.Parallel()
	run(t, "", readers, func(r *running) {
		if err := os.Remove(r.file); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			r.tick()
		}
		r.want("gone", "get", "allow readers")
		r.describes("gone", "not valid: no such file or directory)")
		r.told("gone", 1, 0)
		write(t, r.file, readers)
		r.tick()
		r.describes("back", "(1 policy)")
		r.told("back", 1, 1)
		if err := os.Remove(r.file); err != nil {
			t.Fatal(err)
		}
		r.tick()
		r.told("gone again", 2, 1)
		write(t, r.file, "")
		r.tick()
		r.want("empty", "get", "allow readers")
		r.describes("empty", "not valid: there is no policy")
		write(t, r.file, strings.Repeat(" ", MaxBytes)+readers)
		r.tick()
		r.describes("large", "not valid: a policy file has at most")
		if err := os.Remove(r.file); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(r.file, 0o700); err != nil {
			t.Fatal(err)
		}
		r.tick()
		r.describes("a folder", "is not a file)")
		r.want("a folder", "get", "allow readers")
	})
}

// Touching a file, or replacing it by its like, changes nothing and says nothing.
func TestTheSameContentIsNoChange(t *testing.T) {
	t.Parallel()
	run(t, "", readers, func(r *running) {
		before := r.force.Load()
		if err := os.Chtimes(r.file, time.Time{}, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		r.tick()
		r.replace(readers)
		r.tick()
		if r.force.Load() != before {
			t.Error("the policy in force was replaced by its like")
		}
		r.told("no change", 0, 0)
	})
}

// Each of the age, the length and the inode shows a change by itself.
func TestHowAChangeIsSeen(t *testing.T) {
	t.Parallel()
	renamed := strings.Replace(readers, "readers", "renamed", 1)
	for name, tt := range map[string]struct {
		text  string
		put   func(*running, string)
		older time.Duration
	}{
		"another inode":  {renamed, (*running).replace, 0},
		"another length": {readers + "\n" + deployer, func(r *running, text string) { write(r.t, r.file, text) }, 0},
		"another age":    {renamed, func(r *running, text string) { write(r.t, r.file, text) }, time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, "", readers, func(r *running) {
				info, err := os.Stat(r.file)
				if err != nil {
					t.Fatal(err)
				}
				tt.put(r, tt.text)
				if err := os.Chtimes(r.file, time.Time{}, info.ModTime().Add(-tt.older)); err != nil {
					t.Fatal(err)
				}
				r.tick()
				if got := r.Counts().Reloads; got != 1 {
					t.Errorf("Counts().Reloads = %d, want 1", got)
				}
			})
		})
	}
}

// A volume of Kubernetes is a link to a link to a folder; the middle one is swapped.
func TestAVolumeOfKubernetes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link := func(from, to string) {
		t.Helper()
		if err := os.Symlink(from, filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	fill := func(folder, text string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, folder, "policy.cedar"), text)
	}
	fill("..1", readers)
	link("..1", "..data")
	link("..data/policy.cedar", "policy.cedar")
	run(t, filepath.Join(dir, "policy.cedar"), "", func(r *running) {
		r.want("at first", "get", "allow readers")
		fill("..2", deployer)
		link("..2", "..data_tmp")
		if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Join(dir, "..1")); err != nil {
			t.Fatal(err)
		}
		r.tick()
		r.want("swapped", "deploy", "allow deployers")
		r.want("swapped", "get", "deny")
	})
}

func TestRunWithoutAFileWaits(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := newAuthorizer(t, "").Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Run() = %v, want %v", err, context.Canceled)
	}
}

// Decisions do not wait for a reload, and none is made by half of a policy.
func TestDecisionsDuringReloads(t *testing.T) {
	t.Parallel()
	run(t, "", readers, func(r *running) {
		end := make(chan struct{})
		done := make(chan int)
		q := ask(t, alice, auth.ActionGet, "iris")
		go func() {
			odd := 0
			for {
				select {
				case <-end:
					done <- odd
					return
				default:
				}
				if v := verdict(r.Authorize(q)); v != "allow readers" && v != "deny" {
					odd++
				}
				time.Sleep(time.Millisecond)
			}
		}()
		for _, text := range []string{deployer, readers, broken, deployer, readers} {
			r.replace(text)
			r.tick()
		}
		close(end)
		if odd := <-done; odd > 0 {
			t.Errorf("Authorize() gave %d answers that no policy gives", odd)
		}
	})
}

// What cannot be evaluated does not apply, and is told once.
func TestEvaluationErrors(t *testing.T) {
	t.Parallel()
	overflow := `@id("odd") permit (principal, action, resource) when { 9223372036854775807 + 1 > 0 || principal.name == "x" };` + "\n" + readers
	run(t, "", overflow, func(r *running) {
		r.want("get", "get", "allow readers")
		r.want("deploy", "deploy", "deny")
		r.want("list", "list", "deny")
		if n := strings.Count(r.log.String(), "policy=odd"); n != 1 {
			t.Errorf("the log tells of the policy %d times, want once:\n%s", n, r.log.String())
		}
		x := r.Explain(ask(t, alice, auth.ActionDeploy, "iris"))
		if len(x.Near) != 1 || !strings.Contains(x.Near[0].Error, "overflow") {
			t.Errorf("Explain().Near = %+v, want the policy with its error", x.Near)
		}
	})
}
