package operatord

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/kube/program/programtest"
	"cortex.dev/cortex/internal/tracing"
	"cortex.dev/cortex/internal/workload"
)

var tested = programtest.Program{
	Parse: func(args []string, getenv func(string) string) error { _, err := parse(args, getenv); return err },
	Main:  Main, Usage: usage, Pod: "operator-0",
}

func TestOperatorFlags(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{
		"--region=us-west-2", "--account-id", "111122223333", "--sidecar-image=cortex.dev/sidecar:1", "--namespace=apis",
		"--platform-role=arn:aws:iam::111122223333:role/a", "--platform-role=arn:aws:iam::111122223333:role/b",
		"--node-group=gpu=10,nvidia.com/gpu,dedicated=ml:NoSchedule", "--node-group", "cpu=1", "--sidecar-size=cpu=50m,mem=64Mi", "--pull-secret=one", "--pull-secret=two", "--tick=2s",
		"--largest-node=gpu:cpu=8,mem=32Gi,gpu=1", "--largest-node=gpu:cpu=4,mem=64Gi", "--largest-node=cpu=96,mem=384Gi", "--node-reserve=cpu=250m,mem=400Mi", "--api-endpoint=https://apis.example.com/",
	}, tested.Env)
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
	tested.Refuses(t, nil, []programtest.Wrong{
		{Name: "nothing", Env: programtest.NoEnv, Problems: 4, Want: []string{"--region is missing", "--sidecar-image is missing", "POD_NAME is not set", "POD_NAMESPACE is not set"}},
		{Name: "region", Args: []string{"--region=Oregon", "--sidecar-image=s"}, Problems: 1, Want: []string{"--region"}},
	})
	tested.Refuses(t, []string{"--region=us-west-2", "--sidecar-image=s"}, []programtest.Wrong{
		{
			Name: "several that cannot be read", Args: []string{"--tick=soon", "--none=1", "--session-ttl=2h", "rest"}, Problems: 4,
			Want: []string{`--tick`, "--none", "--session-ttl 2h0m0s is not between", `unexpected argument "rest"`},
		},
		{Name: "half a certificate", Args: []string{"--tls-cert=a"}, Problems: 1, Want: []string{"--tls-cert and --tls-key go together"}},
		{Name: "account", Args: []string{"--account-id=12"}, Problems: 1, Want: []string{"--account-id"}},
		{Name: "size of a sidecar", Args: []string{"--sidecar-size=cpu=1"}, Problems: 1, Want: []string{`--sidecar-size "cpu=1" is not a size`}},
		{Name: "cluster name", Args: []string{"--cluster-name=A"}, Problems: 1, Want: []string{"--cluster-name"}},
		{Name: "node group", Args: []string{"--node-group=a", "--node-group=b=0", "--node-group=b=2"}, Problems: 3, Want: []string{`--node-group "a"`, `"b=0"`, `"b=2"`}},
		{Name: "taints of a node group", Args: []string{"--node-group=a=1,", "--node-group=b=1,x=y:Never", "--node-group=c=1,=y"}, Problems: 3, Want: []string{`"" is not a taint`, `"x=y:Never" is not`, `"=y" is not`}},
		{
			Name: "sizes of nodes", Problems: 5,
			Args: []string{"--largest-node=gpu:cpu=8,mem=1Gi", "--largest-node=cpu=8", "--largest-node=much", "--node-reserve=cpu=1,gpu=1", "--capacity-check=often"},
			Want: []string{"there is no --node-group gpu", `"cpu=8" is not a size such as cpu=8,mem=32Gi,gpu=1: a node has cpu and mem`, `"much" is not a size`, "devices are not reserved", "--capacity-check"},
		},
		{Name: "pod security", Args: []string{"--pod-security=strict"}, Problems: 1, Want: []string{"--pod-security"}},
		{Name: "pull policy", Args: []string{"--pull-policy=maybe"}, Problems: 1, Want: []string{"--pull-policy"}},
		{Name: "role", Args: []string{"--platform-role=arn:aws:iam::111122223333:user/a"}, Problems: 1, Want: []string{"--platform-role"}},
		{Name: "address", Args: []string{"--listen=8443"}, Problems: 1, Want: []string{"--listen"}},
		{Name: "endpoint", Args: []string{"--api-endpoint=apis.example.com"}, Problems: 1, Want: []string{"--api-endpoint"}},
		{Name: "tick", Args: []string{"--tick=1ms"}, Problems: 1, Want: []string{"--tick"}},
		{Name: "stays too long", Args: []string{"--shutdown-delay=2m"}, Problems: 1, Want: []string{"--shutdown-delay 2m0s is not between"}},
		{Name: "NaN", Args: []string{"--sts-calls-per-second=NaN"}, Problems: 1, Want: []string{"--sts-calls-per-second"}},
		{Name: "traces", Args: []string{"--trace-endpoint=collector:4317", "--trace-ratio=2"}, Problems: 2, Want: []string{"--trace-endpoint", "--trace-ratio: 2"}},
		{Name: "namespace", Args: []string{"--namespace=A b"}, Problems: 1, Want: []string{"--namespace"}},
	})
}

// Not parallel: see programtest.
func TestHelp(t *testing.T) { tested.Helps(t) } //nolint:paralleltest // as TestExitCodes

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
		got := Main(t.Context(), tt.args, program.Streams{Out: &out, Err: &log}, tested.Env, "test")
		if got != tt.want || !strings.Contains(out.String(), tt.out) || !strings.Contains(log.String(), tt.err) {
			t.Errorf("Main(%q) = %d, %q, %q; want %d, %q, %q", tt.args, got, out.String(), log.String(), tt.want, tt.out, tt.err)
		}
	}
}

func FuzzFlags(f *testing.F) { tested.Fuzz(f, "--region us-west-2\x00--node-group=a=1\x00--\x00-x") }

// Pods are told the service of the gateways in the namespace of this program, not of the APIs.
func TestAddressOfTheGatewaysInPods(t *testing.T) {
	t.Parallel()
	got := podsOf(Config{Namespace: "cortex-apis", SystemNamespace: "team"}).APIEndpoint
	if want := "http://cortex-gateway.team.svc"; got != want {
		t.Errorf("podsOf().APIEndpoint = %q, want %q", got, want)
	}
}
