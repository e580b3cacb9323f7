package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cortex.dev/cortex/internal/auth/authtest"
)

type teamKey struct{}

// team is what a script has of a server for a team: the server, its STS, and the
// addresses that it keeps when it is started again.
type team struct {
	work        string
	sts, server *background
	stsURL      string
	counted     int // calls to STS that the script has seen
	listen      string
	apis        string
}

func teamOf(ts *testscript.TestScript) *team { return ts.Value(teamKey{}).(*team) }

// end kills what still runs, whatever the script did.
func (t *team) end() {
	for _, b := range []*background{t.server, t.sts} {
		if b != nil {
			_ = b.cmd.Process.Kill()
			<-b.ended
		}
	}
}

// cmdTeam runs a server for a team:
//
//	team start [flags of cortex server]
//	team stop        as systemd does, and it must end in order
//	team kill9       as a crash does
//
// It sets $OPERATOR, $OPERATOR_PORT, $TEAM_API, $METRICS, $CA, $FINGERPRINT, $CLUSTER
// and $STS. What the server says is in $WORK/team.out and $WORK/team.err.
func cmdTeam(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: team start|stop|kill9")
	}
	t := teamOf(ts)
	if args[0] == "start" {
		if t.server != nil {
			ts.Fatalf("the server runs already")
		}
		if t.sts == nil {
			ts.Check(t.startSTS(ts))
		}
		ts.Check(t.startServer(ts, args[1:]))
		return
	}
	b := t.server
	if b == nil {
		ts.Fatalf("the server does not run")
	}
	switch args[0] {
	case "stop":
		ts.Check(b.cmd.Process.Signal(syscall.SIGTERM))
		select {
		case <-b.ended:
		case <-time.After(patience):
			ts.Fatalf("the server does not stop\n%s", b.said())
		}
		if code := b.cmd.ProcessState.ExitCode(); code != 0 {
			ts.Fatalf("the server exits with %d, want 0\n%s", code, b.said())
		}
	case "kill9":
		ts.Check(b.cmd.Process.Kill())
		<-b.ended
	default:
		ts.Fatalf("usage: team start|stop|kill9")
	}
	t.server = nil
}

// startSTS starts the STS with everybody in it.
func (t *team) startSTS(ts *testscript.TestScript) error {
	everybody := people()
	cfg := authtest.Config{Region: teamRegion}
	for _, name := range slices.Sorted(maps.Keys(everybody)) {
		cfg.Identities = append(cfg.Identities, everybody[name])
	}
	data, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	file := filepath.Join(t.work, "identities.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	if t.sts, err = startIn(t.work, "sts", scriptEnv(ts), "-identities", file); err != nil {
		return err
	}
	t.stsURL, err = t.sts.saying("listening on ")
	ts.Setenv("STS", t.stsURL)
	return err
}

func (t *team) startServer(ts *testscript.TestScript, flags []string) (err error) {
	if t.listen == "" {
		if t.listen, err = freeAddress(); err != nil {
			return err
		}
		if t.apis, err = freeAddress(); err != nil {
			return err
		}
	}
	args := append([]string{
		"server", "--cluster-name", "team", "--account-id", teamAccount, "--region", teamRegion, "--sts-endpoint", t.stsURL,
		"--listen", t.listen, "--api-listen", t.apis, "--metrics-listen", "127.0.0.1:0",
		"--state-dir", filepath.Join(t.work, "team"), "--autoscaling-tick", "200ms",
	}, flags...)
	if t.server, err = startIn(t.work, "cortex", scriptEnv(ts), args...); err != nil {
		return err
	}
	if _, err = t.server.saying("Clients: "); err != nil {
		return err
	}
	for variable, words := range map[string]string{
		"OPERATOR": "operator endpoint:", "TEAM_API": "apis:", "CLUSTER": "cluster:", "FINGERPRINT": "certificate:",
	} {
		value, err := t.server.saying("\n" + words)
		if err != nil {
			return err
		}
		ts.Setenv(variable, value)
	}
	said := t.server.said()
	_, metrics, _ := strings.Cut(said, "\nmetrics:")
	metrics, _, _ = strings.Cut(metrics, "\n")
	ts.Setenv("METRICS", strings.TrimSpace(metrics)) // there may be none
	ts.Setenv("OPERATOR_PORT", ts.Getenv("OPERATOR")[strings.LastIndexByte(ts.Getenv("OPERATOR"), ':')+1:])
	ts.Setenv("CA", filepath.Join(t.work, "team", "tls", "ca.pem"))
	return nil
}

// calls is how often the STS was asked for an identity.
func (t *team) calls() (int, error) {
	resp, err := http.Get(t.stsURL + "/_calls")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	var c authtest.Calls
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&c)
	return c.GetCallerIdentity, err
}

// background is a program that runs beside a script; what it says is in two files.
type background struct {
	cmd   *exec.Cmd
	files []string
	ended chan struct{}
}

// startIn starts one of the programs under test in a folder. Programs in it are
// killed at the end of a script.
func startIn(work, name string, env []string, args ...string) (*background, error) {
	files := name
	if name == "cortex" {
		files = "team"
	}
	return startCommand(work, files, exec.Command(filepath.Join(bin, name), args...), env)
}

// startCommand starts cmd in a folder, where what it says goes to NAME.out and NAME.err.
func startCommand(work, name string, cmd *exec.Cmd, env []string) (*background, error) {
	b := &background{cmd: cmd, ended: make(chan struct{})}
	cmd.Dir, cmd.Env = work, env
	for _, to := range []struct {
		stream *io.Writer
		file   string
	}{{&cmd.Stdout, name + ".out"}, {&cmd.Stderr, name + ".err"}} {
		f, err := os.Create(filepath.Join(work, to.file))
		if err != nil {
			return nil, err
		}
		defer f.Close()
		*to.stream, b.files = f, append(b.files, f.Name())
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = cmd.Wait() // how it ended is in ProcessState
		close(b.ended)
	}()
	return b, nil
}

// said is everything that it has said so far, each file behind a line break.
func (b *background) said() string {
	var all bytes.Buffer
	for _, file := range b.files {
		data, _ := os.ReadFile(file)
		all.WriteByte('\n')
		all.Write(data)
	}
	return all.String()
}

// saying waits for a line with these words, and returns what follows them.
func (b *background) saying(words string) (string, error) {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for over := false; ; {
		if _, rest, ok := strings.Cut(b.said(), words); ok {
			if line, _, whole := strings.Cut(rest, "\n"); whole {
				return strings.TrimSpace(line), nil
			}
		}
		if over {
			return "", fmt.Errorf("%s did not say %q:\n%s", b.cmd.Path, words, b.said())
		}
		select {
		case <-b.ended:
			over = true // it may have said it before
		case <-deadline.C:
			over = true
		case <-tick.C:
		}
	}
}

// freeAddress is one at which nobody listens. It is below the ports that systems
// give to connections, so that it stays free while a server is started again.
func freeAddress() (string, error) {
	for range 100 {
		address := net.JoinHostPort("127.0.0.1", fmt.Sprint(20000+rand.IntN(10000)))
		ln, err := net.Listen("tcp", address)
		if err == nil {
			return address, ln.Close()
		}
	}
	return "", errors.New("none of a hundred ports is free")
}
