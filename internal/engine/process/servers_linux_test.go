package process

import (
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

// named lists the processes that run a program, whatever they call themselves.
func named(t *testing.T, program string) (pids []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if comm, err := os.ReadFile(f); err == nil && strings.TrimSpace(string(comm)) == program && runs(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
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
	} {
		t.Run(tt.program, func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(tt.program); err != nil {
				t.Skipf("%s is not installed", tt.program)
			}
			dir := t.TempDir()
			for name, text := range tt.files {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before := named(t, tt.program)
			fresh := func() []int {
				return slices.DeleteFunc(named(t, tt.program), func(pid int) bool { return slices.Contains(before, pid) })
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
