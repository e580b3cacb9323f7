package login

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// Sessions are shared by processes, and the SDK reads the environment of its own: such
// cases are processes, this test binary with a clean environment.
const (
	childVar   = "LOGIN_TEST_CHILD" // the endpoint of the operator to log in at
	clusterVar = "LOGIN_TEST_CLUSTER"
	dirVar     = "LOGIN_TEST_DIR"
	manyVar    = "LOGIN_TEST_MANY"    // goroutines that want a token at once
	refusedVar = "LOGIN_TEST_REFUSED" // renew this token
)

func TestMain(m *testing.M) {
	if endpoint := os.Getenv(childVar); endpoint != "" {
		os.Exit(runChild(endpoint))
	}
	os.Exit(m.Run())
}

// report is what a child says. Tokens are digests: the rest must not contain one.
type report struct {
	Tokens  []string
	Code    string
	Message string
	Hint    string
	Warning string
	Kept    Kept
	IsKept  bool
	Dump    string // values of the package, printed with every verb
}

func runChild(endpoint string) int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	l := New(Config{
		Operator: &remote{url: endpoint}, Endpoint: endpoint, ClusterID: os.Getenv(clusterVar), Dir: os.Getenv(dirVar), Getenv: os.Getenv,
	})
	many, _ := strconv.Atoi(os.Getenv(manyVar))
	var (
		r  report
		mu sync.Mutex
		wg sync.WaitGroup
	)
	for range max(1, many) {
		wg.Go(func() {
			get := l.Token
			if refused := os.Getenv(refusedVar); refused != "" {
				get = func(ctx context.Context) (string, error) { return l.Renew(ctx, refused) }
			}
			token, err := get(ctx)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				f := fault.From(err)
				r.Code, r.Message, r.Hint = f.Code, f.Message, f.Hint
				r.Dump += fmt.Sprintf("%v %+v %#v %s %q", err, f, f, f, f)
				return
			}
			r.Tokens = append(r.Tokens, sumOf(token))
		})
	}
	wg.Wait()
	r.Warning = l.Warning()
	r.Kept, r.IsKept = l.Kept()
	r.Dump += fmt.Sprintf("%v %+v %#v %s %q", l, l, l, l, l)
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		return 1
	}
	return 0
}

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// machine is the environment of a child: a home folder and variables.
type machine struct {
	home, sessions string
	env            map[string]string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	home := t.TempDir()
	return &machine{home: home, sessions: filepath.Join(home, ".cortex", "sessions"), env: map[string]string{
		"HOME": home, "PATH": os.Getenv("PATH"), "AWS_EC2_METADATA_DISABLED": "true",
		dirVar: filepath.Join(home, ".cortex", "sessions"),
	}}
}

func (m *machine) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(m.home, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command is a child that logs in at o. {home} in a value is the home folder.
func (m *machine) command(t *testing.T, o *operator, extra map[string]string) (cmd *exec.Cmd, out, errs *bytes.Buffer) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	env := map[string]string{childVar: o.url, "GORACE": "atexit_sleep_ms=0 " + os.Getenv("GORACE")}
	for _, more := range []map[string]string{m.env, extra} {
		for k, v := range more {
			env[k] = strings.ReplaceAll(v, "{home}", m.home)
		}
	}
	for k, v := range env {
		if v != "" {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
	}
	out, errs = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, errs
	return cmd, out, errs
}

// run runs a child and reads what it reports. Nothing of it may show a secret.
func (m *machine) run(t *testing.T, o *operator, extra map[string]string) report {
	t.Helper()
	cmd, out, errs := m.command(t, o, extra)
	if err := cmd.Run(); err != nil {
		t.Fatalf("child: %v\n%s%s", err, out, errs)
	}
	return readReport(t, o, out, errs)
}

func readReport(t *testing.T, o *operator, out, errs *bytes.Buffer) report {
	t.Helper()
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatalf("child said %q, %q: %v", out, errs, err)
	}
	for _, s := range o.secrets() {
		if strings.Contains(out.String(), s) {
			t.Errorf("a report contains the secret %q: %s", s, out)
		}
	}
	return r
}

// with merges environments.
func with(envs ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, env := range envs {
		for k, v := range env {
			all[k] = v
		}
	}
	return all
}
