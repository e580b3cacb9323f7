package ledgerd

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/kube/program/programtest"
)

var tested = programtest.Program{
	Parse: func(args []string, getenv func(string) string) error { _, err := parse(args, getenv); return err },
	Main:  Main, Usage: usage, Pod: "cortex-ledger-2",
}

func TestFlags(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{"--servers=3", "--max-bytes=18Gi", "--data=/items"}, tested.Env)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Pod: "cortex-ledger-2", Namespace: "cortex", Listen: ":4222", RoutesListen: ":6222", HealthListen: ":8081",
		Data: "/items", MaxBytes: 18 << 30, Servers: 3, Service: "cortex-ledger", Secret: "cortex-ledger",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parse() (-want +got):\n%s", diff)
	}
	peers := []string{
		"cortex-ledger-0.cortex-ledger.cortex.svc:6222", "cortex-ledger-1.cortex-ledger.cortex.svc:6222", "cortex-ledger-2.cortex-ledger.cortex.svc:6222",
	}
	if diff := cmp.Diff(peers, got.peers()); diff != "" {
		t.Errorf("peers() (-want +got):\n%s", diff)
	}
}

func TestWrongFlags(t *testing.T) {
	t.Parallel()
	tested.Refuses(t, nil, []programtest.Wrong{
		{Name: "nothing of a pod", Env: programtest.NoEnv, Problems: 2, Want: []string{"POD_NAME is not set", "POD_NAMESPACE is not set"}},
		{Name: "too few to agree", Args: []string{"--servers=2"}, Problems: 1, Want: []string{"--servers 2 is not 1, 3 or 5"}},
		{Name: "one too many", Args: []string{"--servers=5"}, Problems: 1, Want: []string{`POD_NAME "cortex-ledger-7" does not end with`, "-0 to -4"}, Env: func(name string) string {
			return strings.Replace(tested.Env(name), "-2", "-7", 1)
		}},
		{Name: "a pod without a number", Args: []string{"--servers=3"}, Problems: 1, Want: []string{`POD_NAME "ledger" does not end with`}, Env: func(string) string { return "ledger" }},
		{
			Name: "everything", Problems: 9,
			Args: []string{"--servers=0", "--max-bytes=much", "--data=", "--service=A_B", "--secret=", "--listen=x", "--routes-listen=y", "--health-listen=z", "--fast"},
			Want: []string{"--servers", "--max-bytes", "--data", "--service", "--secret", "--listen", "--routes-listen", "--health-listen", "--fast"},
		},
		{Name: "less than an item", Args: []string{"--max-bytes=1Ki"}, Problems: 1, Want: []string{"--max-bytes"}},
	})
}

func TestHelp(t *testing.T) {
	t.Parallel()
	tested.Helps(t)
}

func FuzzFlags(f *testing.F) { tested.Fuzz(f, "--servers=3\x00--max-bytes=18Gi\x00--\x00-x") }
