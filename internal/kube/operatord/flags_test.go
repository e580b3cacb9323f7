package operatord

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

func podEnv(name string) string {
	return map[string]string{"POD_NAME": "operator-0", "POD_NAMESPACE": "cortex"}[name]
}

func noEnv(string) string { return "" }

func TestOperatorFlags(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{
		"--region=us-west-2", "--account-id", "111122223333", "--sidecar-image=cortex.dev/sidecar:1", "--namespace=apis",
		"--platform-role=arn:aws:iam::111122223333:role/a", "--platform-role=arn:aws:iam::111122223333:role/b",
		"--node-group=gpu=10,nvidia.com/gpu,dedicated=ml:NoSchedule", "--node-group", "cpu=1", "--sidecar-size=cpu=50m,mem=64Mi", "--pull-secret=one", "--pull-secret=two", "--tick=2s",
		"--largest-node=gpu:cpu=8,mem=32Gi,gpu=1", "--largest-node=gpu:cpu=4,mem=64Gi", "--largest-node=cpu=96,mem=384Gi", "--node-reserve=cpu=250m,mem=400Mi", "--api-endpoint=https://apis.example.com/",
	}, podEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Pod: "operator-0", SystemNamespace: "cortex", Namespace: "apis",
		Management: hostconfig.Management{
			Account: "111122223333", Region: "us-west-2", ClusterName: "cortex", SessionTTL: 15 * time.Minute, STSPerSecond: 20, AuditFile: "-", AuditCopy: true, AuditBytes: 16 << 20, AuditKeep: 5,
			PlatformRoles: []string{"arn:aws:iam::111122223333:role/a", "arn:aws:iam::111122223333:role/b"},
		},
		SidecarImage: "cortex.dev/sidecar:1", SidecarSize: capacity.Amount{CPU: 50, Mem: 64 << 20}, PullPolicy: "IfNotPresent", PodSecurity: "baseline",
		PullSecrets: []string{"one", "two"}, NodeGroups: []NodeGroup{{"gpu", 10, []workload.Toleration{{Key: "nvidia.com/gpu"}, {Key: "dedicated", Value: "ml", Effect: "NoSchedule"}}}, {Name: "cpu", Priority: 1}},
		LargestNodes: map[string][]capacity.Amount{
			"gpu": {{CPU: 8000, Mem: 32 << 30, GPU: 1}, {CPU: 4000, Mem: 64 << 30}},
			"":    {{CPU: 96000, Mem: 384 << 30}},
		},
		NodeReserve: capacity.Amount{CPU: 250, Mem: 400 << 20}, CapacityCheck: true, APIEndpoint: "https://apis.example.com",
		Tick: 2 * time.Second, Traces: tracing.Settings{Ratio: 0.01}, GatewayAccount: "cortex-gateway", Items: items.Settings{Secret: "cortex-ledger", Copies: 1}, Listen: ":8443", InternalListen: ":8444", HealthListen: ":8081",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("parse() (-want +got):\n%s", diff)
	}
}

// What is wrong is said in sentences, all of it at once, and the program ends with 2.
func TestWrongFlags(t *testing.T) {
	t.Parallel()
	right := []string{"--region=us-west-2", "--sidecar-image=s"}
	for _, tt := range []struct {
		name   string
		args   []string
		env    func(string) string
		want   []string // each is in the message
		clause int      // how many problems there are
	}{
		{name: "nothing", env: noEnv, clause: 4, want: []string{"--region is missing", "--sidecar-image is missing", "POD_NAME is not set", "POD_NAMESPACE is not set"}},
		{
			name: "several that cannot be read", args: append(right, "--tick=soon", "--none=1", "--session-ttl=2h", "rest"), clause: 4,
			want: []string{`--tick`, "--none", "--session-ttl 2h0m0s is not between", `unexpected argument "rest"`},
		},
		{name: "half a certificate", args: append(right, "--tls-cert=a"), clause: 1, want: []string{"--tls-cert and --tls-key go together"}},
		{name: "account", args: append(right, "--account-id=12"), clause: 1, want: []string{"--account-id"}},
		{name: "size of a sidecar", args: append(slices.Clone(right), "--sidecar-size=cpu=1"), clause: 1, want: []string{`--sidecar-size "cpu=1" is not a size`}},
		{name: "region", args: []string{"--region=Oregon", "--sidecar-image=s"}, clause: 1, want: []string{"--region"}},
		{name: "cluster name", args: append(right, "--cluster-name=A"), clause: 1, want: []string{"--cluster-name"}},
		{name: "node group", args: append(right, "--node-group=a", "--node-group=b=0", "--node-group=b=2"), clause: 3, want: []string{`--node-group "a"`, `"b=0"`, `"b=2"`}},
		{name: "taints of a node group", args: append(right, "--node-group=a=1,", "--node-group=b=1,x=y:Never", "--node-group=c=1,=y"), clause: 3, want: []string{`"" is not a taint`, `"x=y:Never" is not`, `"=y" is not`}},
		{
			name: "sizes of nodes", clause: 5,
			args: append(right, "--largest-node=gpu:cpu=8,mem=1Gi", "--largest-node=cpu=8", "--largest-node=much", "--node-reserve=cpu=1,gpu=1", "--capacity-check=often"),
			want: []string{"there is no --node-group gpu", `"cpu=8" is not a size such as cpu=8,mem=32Gi,gpu=1: a node has cpu and mem`, `"much" is not a size`, "devices are not reserved", "--capacity-check"},
		},
		{name: "pod security", args: append(right, "--pod-security=strict"), clause: 1, want: []string{"--pod-security"}},
		{name: "pull policy", args: append(right, "--pull-policy=maybe"), clause: 1, want: []string{"--pull-policy"}},
		{name: "role", args: append(right, "--platform-role=arn:aws:iam::111122223333:user/a"), clause: 1, want: []string{"--platform-role"}},
		{name: "address", args: append(right, "--listen=8443"), clause: 1, want: []string{"--listen"}},
		{name: "endpoint", args: append(right, "--api-endpoint=apis.example.com"), clause: 1, want: []string{"--api-endpoint"}},
		{name: "tick", args: append(right, "--tick=1ms"), clause: 1, want: []string{"--tick"}},
		{name: "stays too long", args: append(right, "--shutdown-delay=2m"), clause: 1, want: []string{"--shutdown-delay 2m0s is not between"}},
		{name: "NaN", args: append(right, "--sts-calls-per-second=NaN"), clause: 1, want: []string{"--sts-calls-per-second"}},
		{name: "traces", args: append(right, "--trace-endpoint=collector:4317", "--trace-ratio=2"), clause: 2, want: []string{"--trace-endpoint", "--trace-ratio: 2"}},
		{name: "namespace", args: append(right, "--namespace=A b"), clause: 1, want: []string{"--namespace"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := tt.env
			if env == nil {
				env = podEnv
			}
			_, err := parse(tt.args, env)
			if !fault.Is(err, fault.Usage) || fault.From(err).Hint == "" {
				t.Fatalf("parsing %q = %v, want a fault of usage with a hint", tt.args, err)
			}
			if n := strings.Count(err.Error(), "\n"); n != tt.clause {
				t.Errorf("parsing %q says %d things, want %d:\n%v", tt.args, n, tt.clause, err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("parsing %q = %v, want %q in it", tt.args, err, want)
				}
			}
		})
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	t.Parallel()
	if _, err := parse([]string{"--help"}, noEnv); !errors.Is(err, program.ErrHelp) {
		t.Errorf("parse(--help) = %v", err)
	}
	for word := range strings.FieldsSeq(usage) {
		name, ok := strings.CutPrefix(strings.TrimRight(word, ","), "--")
		if !ok {
			continue
		}
		if _, err := parse([]string{"--" + name + "=x"}, podEnv); err != nil && strings.Contains(err.Error(), "not defined") {
			t.Errorf("the help names --%s, which there is not: %v", name, err)
		}
	}
}

// Not parallel: Main has client-go write to the log of its process, which the clients of
// other tests would read meanwhile.
func TestExitCodes(t *testing.T) {
	for _, tt := range []struct {
		args     []string
		want     int
		out, err string
	}{
		{[]string{"--help"}, fault.ExitDone, "--sidecar-image", ""},
		{[]string{"--region=x"}, fault.ExitUsage, "", "cortex-operator: it does not start:"},
		{[]string{"--region=us-west-2", "--sidecar-image=s", "--kubeconfig=/no/such"}, fault.ExitUsage, "", "no Kubernetes API server is configured"},
	} {
		var out, log strings.Builder
		got := Main(t.Context(), tt.args, program.Streams{Out: &out, Err: &log}, podEnv, "test")
		if got != tt.want || !strings.Contains(out.String(), tt.out) || !strings.Contains(log.String(), tt.err) {
			t.Errorf("Main(%q) = %d, %q, %q; want %d, %q, %q", tt.args, got, out.String(), log.String(), tt.want, tt.out, tt.err)
		}
	}
}

func FuzzFlags(f *testing.F) {
	f.Add("--region us-west-2\x00--node-group=a=1\x00--\x00-x")
	f.Fuzz(func(_ *testing.T, line string) {
		args := slices.DeleteFunc(strings.Split(line, "\x00"), func(s string) bool { return len(s) > 100 })
		_, _ = parse(args, podEnv)
	})
}

// Pods are told the service of the gateways in the namespace of this program, not of the APIs.
func TestAddressOfTheGatewaysInPods(t *testing.T) {
	t.Parallel()
	got := podsOf(Config{Namespace: "cortex-apis", SystemNamespace: "team"}).APIEndpoint
	if want := "http://cortex-gateway.team.svc"; got != want {
		t.Errorf("podsOf().APIEndpoint = %q, want %q", got, want)
	}
}
