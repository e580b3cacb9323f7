package ledgerd

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kube/program"
)

func podEnv(name string) string {
	return map[string]string{"POD_NAME": "cortex-ledger-2", "POD_NAMESPACE": "cortex"}[name]
}

func noEnv(string) string { return "" }

func TestFlags(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{"--servers=3", "--max-bytes=18Gi", "--data=/items"}, podEnv)
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
	for _, tt := range []struct {
		name   string
		args   []string
		env    func(string) string
		want   []string // each is in the message
		clause int      // how many problems there are
	}{
		{name: "nothing of a pod", env: noEnv, clause: 2, want: []string{"POD_NAME is not set", "POD_NAMESPACE is not set"}},
		{name: "too few to agree", args: []string{"--servers=2"}, clause: 1, want: []string{"--servers 2 is not 1, 3 or 5"}},
		{name: "one too many", args: []string{"--servers=5"}, clause: 1, want: []string{`POD_NAME "cortex-ledger-7" does not end with`, "-0 to -4"}, env: func(name string) string {
			return strings.Replace(podEnv(name), "-2", "-7", 1)
		}},
		{name: "a pod without a number", args: []string{"--servers=3"}, clause: 1, want: []string{`POD_NAME "ledger" does not end with`}, env: func(string) string { return "ledger" }},
		{
			name: "everything", clause: 9,
			args: []string{"--servers=0", "--max-bytes=much", "--data=", "--service=A_B", "--secret=", "--listen=x", "--routes-listen=y", "--health-listen=z", "--fast"},
			want: []string{"--servers", "--max-bytes", "--data", "--service", "--secret", "--listen", "--routes-listen", "--health-listen", "--fast"},
		},
		{name: "less than an item", args: []string{"--max-bytes=1Ki"}, clause: 1, want: []string{"--max-bytes"}},
	} {
		if tt.env == nil {
			tt.env = podEnv
		}
		_, err := parse(tt.args, tt.env)
		if !fault.Is(err, fault.Usage) || strings.Count(err.Error(), "\n") != tt.clause {
			t.Errorf("%s: parse(%q) = %v, want a fault of usage with %d problems", tt.name, tt.args, err, tt.clause)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: parse(%q) = %v, want %q in it", tt.name, tt.args, err, want)
			}
		}
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	var out, log strings.Builder
	if code := Main(t.Context(), []string{"--help"}, program.Streams{Out: &out, Err: &log}, noEnv, "test"); code != fault.ExitDone || out.String() != usage {
		t.Errorf("Main(--help) = %d %q %q, want 0 and the usage", code, &out, &log)
	}
	for word := range strings.FieldsSeq(usage) {
		if name, ok := strings.CutPrefix(word, "--"); ok {
			if _, err := parse([]string{"--" + name + "=x"}, podEnv); err != nil && strings.Contains(err.Error(), "not defined") {
				t.Errorf("the help names --%s, which there is not: %v", name, err)
			}
		}
	}
}

func FuzzFlags(f *testing.F) {
	f.Add("--servers=3\x00--max-bytes=18Gi\x00--\x00-x")
	f.Fuzz(func(_ *testing.T, line string) {
		_, _ = parse(slices.DeleteFunc(strings.Split(line, "\x00"), func(s string) bool { return len(s) > 100 }), podEnv)
	})
}
