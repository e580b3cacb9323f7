package gatewayd

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/tracing"
)

func podEnv(name string) string {
	return map[string]string{"POD_NAME": "gateway-0", "POD_NAMESPACE": "cortex"}[name]
}

func noEnv(string) string { return "" }

func TestGatewayFlags(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{"--shutdown-delay=1s", "--trace-endpoint=http://collector:4318", "--trace-ratio=0.5", "--trusted-proxies=10.1.2.3/8", "--connections-per-address=200", "--items=nats://cortex-ledger.cortex.svc:4222", "--items-copies=3"}, podEnv)
	if err != nil {
		t.Fatal(err)
	}
	want := Config{
		Pod: "gateway-0", SystemNamespace: "cortex", Namespace: "cortex-apis", Operator: "https://cortex-operator.cortex.svc:8444",
		TokenFile: "/var/run/secrets/cortex/token", CAFile: "/etc/cortex/authority/ca.crt",
		Listen: ":8080", HealthListen: ":8081", ShutdownDelay: time.Second, DrainTimeout: time.Minute,
		Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, ConnsPerAddr: 200,
		Traces: tracing.Settings{Endpoint: "http://collector:4318", Ratio: 0.5},
		Items:  items.Settings{URL: "nats://cortex-ledger.cortex.svc:4222", Secret: "cortex-ledger", Copies: 3},
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("parse() (-want +got):\n%s", diff)
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
		{
			name: "items", args: []string{"--items=http://a:4222", "--items-copies=2", "--items-secret=No", "--webhook-hosts=a/b"}, clause: 4,
			want: []string{"--items \"http://a:4222\" is not nats://", "--items-copies 2 is not 1, 3 or 5", "--items-secret", "--webhook-hosts: "},
		},
		{name: "traces", args: []string{"--trace-endpoint=http://a:b@c", "--trace-ratio=NaN"}, clause: 2, want: []string{"--trace-endpoint: the URL", "--trace-ratio: NaN"}},
		{
			name: "attributes", clause: 1, want: []string{"OTEL_RESOURCE_ATTRIBUTES"},
			env: func(name string) string {
				if name == "OTEL_RESOURCE_ATTRIBUTES" {
					return "cluster"
				}
				return podEnv(name)
			},
		},
		{name: "nothing of a pod", env: noEnv, clause: 2, want: []string{"POD_NAME is not set", "POD_NAMESPACE is not set"}},
		{
			name: "everything", clause: 7,
			args: []string{"--trusted-proxies=10.0.0.1", "--connections-per-address=0", "--operator=http://o", "--token-file=", "--drain-timeout=0s", "--shutdown-delay=-1s", "--listen=x"},
			want: []string{"--trusted-proxies", "--connections-per-address", "--operator", "--token-file", "--drain-timeout", "--shutdown-delay", "--listen"},
		},
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
	f.Add("--operator https://o\x00--drain-timeout=1s\x00--\x00-x")
	f.Fuzz(func(_ *testing.T, line string) {
		_, _ = parse(slices.DeleteFunc(strings.Split(line, "\x00"), func(s string) bool { return len(s) > 100 }), podEnv)
	})
}
