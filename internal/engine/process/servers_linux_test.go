package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/engine/local"
)

// named lists the processes of a program, whatever they call themselves, and those that
// have ended and are not collected yet.
func named(t *testing.T, program string) (pids, ended []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if comm, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(comm)) == program {
			if runs(pid) {
				pids = append(pids, pid)
			} else {
				ended = append(ended, pid)
			}
		}
	}
	return pids, ended
}

// Servers that people run, which write their title over their environment and start
// workers: nothing of them is left, in the foreground and in the background.
func TestRealServersEndWhole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		program string
		files   map[string]string
		daemon  []string // its command line when it goes into the background
		stays   []string // and when it does not
		atLeast int      // processes, of the one that stays
		prepare func(t *testing.T, dir string)
	}{
		{
			program: "nginx", atLeast: 3,
			files:  map[string]string{"nginx.conf": "worker_processes 2;\npid DIR/nginx.pid;\nerror_log stderr;\nevents {}\nhttp { access_log off; server { listen unix:DIR/nginx.sock; } }\n"},
			daemon: []string{"nginx", "-p", "DIR", "-c", "DIR/nginx.conf"},
			stays:  []string{"nginx", "-p", "DIR", "-c", "DIR/nginx.conf", "-g", "daemon off;"},
		},
		{
			program: "redis-server", atLeast: 1,
			daemon: []string{"redis-server", "--port", "0", "--unixsocket", "DIR/redis.sock", "--dir", "DIR", "--daemonize", "yes"},
			stays:  []string{"redis-server", "--port", "0", "--unixsocket", "DIR/redis.sock", "--dir", "DIR"},
		},
		{
			// Its title is written over its arguments, and each of its workers is in a
			// session of its own.
			program: "postgres", atLeast: 5, prepare: initDatabase,
			daemon: asPostgres("pg_ctl", "-D", "DIR/data", "-o", "-k DIR -c listen_addresses=", "-w", "start"),
			stays:  asPostgres("postgres", "-D", "DIR/data", "-k", "DIR", "-c", "listen_addresses="),
		},
	} {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(pathOf(tt.program)); err != nil {
				t.Skipf("%s is not installed", tt.program)
			}
			dir := t.TempDir()
			if tt.prepare != nil {
				tt.prepare(t, dir)
			}
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before, _ := named(t, tt.program)
			fresh := func() []int {
				pids, _ := named(t, tt.program)
				return slices.DeleteFunc(pids, func(pid int) bool { return slices.Contains(before, pid) })
			}
			command := func(words []string) []string {
				var out []string
				for _, w := range words {
					out = append(out, strings.ReplaceAll(w, "DIR", dir))
				}
				return out
			}
			out := &output{}
			_, c, err := start(t, local.ContainerSpec{Name: "main", Directory: dir, Command: command(tt.daemon), Stdout: out, Stderr: out})
			if err != nil {
				t.Fatal(err)
			}
			<-c.Done()
			if exit := c.Exit(); exit.Code != 0 || exit.Left == 0 {
				t.Errorf("in the background: Exit() = %+v, want 0 and what it left running\n%s", exit, &out.buf)
			}
			if left := fresh(); len(left) > 0 {
				t.Errorf("in the background: processes %v outlive their container", left)
			}

			// A server that finds its own lock asks whether the process in it is there.
			eventually(t, "that what has ended is collected", func() bool {
				_, ended := named(t, tt.program)
				return len(ended) == 0
			})
			_ = os.Remove(filepath.Join(dir, "nginx.sock")) // which it could not remove itself
			_, c, err = start(t, local.ContainerSpec{Name: "main", Directory: dir, Command: command(tt.stays), Stdout: out, Stderr: out})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, fmt.Sprintf("%d processes of %s", tt.atLeast, tt.program), func() bool { return len(fresh()) >= tt.atLeast })
			if err := c.Kill(); err != nil {
				t.Error(err)
			}
			<-c.Done()
			if left := fresh(); len(left) > 0 {
				t.Errorf("processes %v outlive their container", left)
			}
		})
	}
}

// pathOf is where a program of PostgreSQL is, which Debian keeps out of PATH; any other
// is found by its name.
func pathOf(program string) string {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/" + program)
	if err != nil || len(found) == 0 {
		return program
	}
	return found[len(found)-1]
}

// asPostgres is a command line of PostgreSQL, which refuses to run as root.
func asPostgres(program string, args ...string) []string {
	line := append([]string{pathOf(program)}, args...)
	if os.Getuid() != 0 {
		return line
	}
	return append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"}, line...)
}

func initDatabase(t *testing.T, dir string) {
	t.Helper()
	if os.Getuid() == 0 {
		owner, err := exec.CommandContext(t.Context(), "id", "-u", "postgres").Output()
		uid, convErr := strconv.Atoi(strings.TrimSpace(string(owner)))
		if err := errors.Join(err, convErr, os.Chown(dir, uid, -1), os.Chmod(filepath.Dir(dir), 0o755)); err != nil { //nolint:gosec // postgres has to get there
			t.Fatal(err)
		}
	}
	line := asPostgres("initdb", "-D", filepath.Join(dir, "data"), "--no-sync", "--auth=trust")
	if out, err := exec.CommandContext(t.Context(), line[0], line[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
}

// What this program starts for other ends, while containers come and go, does not end
// with one of them, even when it inherited a mark.
func TestOnlyContainersAreEnded(t *testing.T) {
	t.Parallel()
	_, c, err := start(t, local.ContainerSpec{Name: "main", Command: shell("sleep 1000")})
	if err != nil {
		t.Fatal(err)
	}
	var other *exec.Cmd
	forking.Lock()
	err = marking(c.(*process).mark, func() error {
		other = exec.Command("sleep", "1000")
		return other.Start()
	})
	forking.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(); err != nil {
		t.Error(err)
	}
	<-c.Done()
	if !runs(other.Process.Pid) {
		t.Error("a process of our own was ended with a container")
	}
	_ = other.Process.Kill()
	_ = other.Wait()
}
