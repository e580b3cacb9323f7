// Package e2e runs the real program: each script has a home of its own, a daemon
// of its own, and servers that misbehave on demand.
package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

var (
	update = flag.Bool("update", false, "rewrite the expected output in the scripts")
	kills  = flag.Int("kills", envInt("CORTEX_E2E_KILLS", 40), "how often TestKill kills the daemon")
)

// bin is the folder of the programs under test.
var bin string

func TestMain(m *testing.M) {
	if cfg := os.Getenv(replicaVariable); cfg != "" {
		fmt.Fprintln(os.Stderr, "error:", runReplica(context.Background(), cfg))
		os.Exit(1)
	}
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "cx")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		if err := os.Chmod(dir, 0o755); err != nil { // for users without rights
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		bin = dir
		for name, pkg := range map[string]string{"cortex": "../cmd/cortex", "server": "./server", "sts": "./sts"} {
			args := []string{"build", "-o", filepath.Join(dir, name)}
			if raceDetector && name == "cortex" {
				args = append(args, "-race")
			}
			if out, err := exec.Command("go", append(args, pkg)...).CombinedOutput(); err != nil {
				fmt.Fprintf(os.Stderr, "building %s: %v\n%s", pkg, err, out)
				return 1
			}
		}
		return m.Run()
	}())
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup:               setup,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"until":     cmdUntil,
			"http":      cmdHTTP,
			"load":      cmdLoad,
			"sse":       cmdSSE,
			"ws":        cmdWebSocket,
			"apis":      cmdAPIs,
			"daemon":    cmdDaemon,
			"latest":    cmdLatest,
			"lingering": cmdLingering,
			"tinydisk":  cmdTinyDisk,
			"taken":     cmdTaken,
			"replace":   cmdReplace,
			"twice":     cmdTwice,
			"disturb":   cmdDisturb,

			"foreign":      cmdForeign,
			"unprivileged": cmdUnprivileged,

			"kubectl": cmdKubectl,
			"someone": cmdSomeone,

			"team": cmdTeam,
			"as":   cmdAs,
			"sts":  cmdSTS,

			"https":       cmdHTTPS,
			"fingerprint": cmdFingerprint,
		},
	})
}

// condition answers [root], [docker], [botocore], and [solo] or [kube], the place;
// what is skipped says why.
func condition(cond string) (bool, error) {
	switch cond {
	case "solo", "kube":
		p, err := here()
		return err == nil && p.name() == cond, err
	case "root":
		return os.Getuid() == 0, nil
	case "docker":
		return dockerRuns(), nil
	case "botocore":
		return python() != "", nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// setup gives a script its own home, configuration and state.
func setup(env *testscript.Env) error {
	config := filepath.Join(env.WorkDir, "cfg")
	for _, dir := range []string{filepath.Join(env.WorkDir, "home"), config, filepath.Join(env.WorkDir, "app")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	env.Setenv("HOME", filepath.Join(env.WorkDir, "home"))
	env.Setenv("CORTEX_CLI_CONFIG_DIR", config)
	env.Setenv("TERM", "dumb")
	env.Setenv("TZ", "UTC")
	env.Setenv("DOCKER_HOST", os.Getenv("DOCKER_HOST")) // the engine whose presence was looked for
	env.Setenv("GORACE", raceOptions(env.WorkDir))
	client, err := filepath.Abs("../python")
	if err != nil {
		return err
	}
	env.Setenv("PYTHON", python())
	env.Setenv("PYTHONPATH", client)
	env.Setenv("PYTHONDONTWRITEBYTECODE", "1")
	env.Cd = filepath.Join(env.WorkDir, "app")
	p, err := here()
	if err != nil {
		return err
	}
	if err := p.connect(env, config); err != nil {
		return err
	}
	vars := env.Vars
	team := &team{work: env.WorkDir}
	env.Values[teamKey{}] = team
	env.Defer(func() {
		team.end()
		p.finish(env.WorkDir, vars)
		if report := races(env.WorkDir); report != "" {
			env.T().Fatal(report)
		}
	})
	return nil
}

// endAll kills the processes that work in a folder.
func endAll(dir string) {
	for _, p := range processesIn(dir) {
		if proc, err := os.FindProcess(p.pid); err == nil {
			_ = proc.Kill()
		}
	}
}

// raceOptions are for programs built with the race detector: what it finds goes to
// files in dir, and they do not sleep a second at their end, as they would.
func raceOptions(dir string) string {
	return "atexit_sleep_ms=0 log_path=" + filepath.Join(dir, "race")
}

// races returns what the race detector has found in the programs of a script; a
// daemon in the background has nobody else to tell.
func races(work string) string {
	files, _ := filepath.Glob(filepath.Join(work, "race.*"))
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err.Error()
		}
		all.Write(text)
	}
	return all.String()
}

// scriptEnv is the environment of a script, for programs that are run beside it.
func scriptEnv(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{
		"HOME", "CORTEX_CLI_CONFIG_DIR", "PATH", "TMPDIR", "TERM", "TZ", "WORK", "API", "GORACE", "DOCKER_HOST",
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_EC2_METADATA_DISABLED", "KUBECONFIG",
	} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	return env
}

type status struct {
	Running     bool   `json:"running"`
	PID         int    `json:"pid"`
	APIEndpoint string `json:"api_endpoint"`
}

func statusOf(ts *testscript.TestScript) (status, error) {
	var s status
	out, err := quietly(ts, []string{"cortex", "local", "status", "-o", "json"})
	if err == nil {
		err = json.Unmarshal([]byte(out), &s)
	}
	return s, err
}

func dockerRuns() bool {
	path, err := exec.LookPath("docker")
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return exec.CommandContext(ctx, path, "info").Run() == nil
}

// python is an interpreter that has what the Python client proves identities with,
// or "".
var python = sync.OnceValue(func() string {
	for _, name := range []string{os.Getenv("PYTHON"), "python3", "../bin/python/bin/python", "/usr/bin/python3"} {
		path, err := exec.LookPath(name)
		if err != nil || exec.Command(path, "-c", "import botocore").Run() != nil {
			continue
		}
		if path, err = filepath.Abs(path); err == nil {
			return path
		}
	}
	return ""
})

func envInt(name string, otherwise int) int {
	n := otherwise
	if text := os.Getenv(name); text != "" {
		if _, err := fmt.Sscan(text, &n); err != nil {
			return otherwise
		}
	}
	return n
}
