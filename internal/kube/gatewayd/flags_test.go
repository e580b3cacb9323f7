package gatewayd

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program/programtest"
	"cortex.dev/cortex/internal/tracing"
)

var tested = programtest.Program{
	Parse: func(args []string, getenv func(string) string) error { _, err := parse(args, getenv); return err },
	Main:  Main, Usage: usage, Pod: "gateway-0",
}

func TestGatewayFlags(t *testing.T) {
	t.Parallel()
	got, err := parse([]string{"--shutdown-delay=1s", "--trace-endpoint=http://collector:4318", "--trace-ratio=0.5", "--trusted-proxies=10.1.2.3/8", "--connections-per-address=200", "--items=nats://cortex-ledger.cortex.svc:4222", "--items-copies=3"}, tested.Env)
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
	tested.Refuses(t, nil, []programtest.Wrong{
		{
			Name: "items", Args: []string{"--items=http://a:4222", "--items-copies=2", "--items-secret=No", "--webhook-hosts=a/b"}, Problems: 4,
			Want: []string{"--items \"http://a:4222\" is not nats://", "--items-copies 2 is not 1, 3 or 5", "--items-secret", "--webhook-hosts: "},
		},
		{Name: "traces", Args: []string{"--trace-endpoint=http://a:b@c", "--trace-ratio=NaN"}, Problems: 2, Want: []string{"--trace-endpoint: the URL", "--trace-ratio: NaN"}},
		{
			Name: "attributes", Problems: 1, Want: []string{"OTEL_RESOURCE_ATTRIBUTES"},
			Env: func(name string) string {
				if name == "OTEL_RESOURCE_ATTRIBUTES" {
					return "cluster"
				}
				return tested.Env(name)
			},
		},
		{Name: "nothing of a pod", Env: programtest.NoEnv, Problems: 2, Want: []string{"POD_NAME is not set", "POD_NAMESPACE is not set"}},
		{
			Name: "everything", Problems: 7,
			Args: []string{"--trusted-proxies=10.0.0.1", "--connections-per-address=0", "--operator=http://o", "--token-file=", "--drain-timeout=0s", "--shutdown-delay=-1s", "--listen=x"},
			Want: []string{"--trusted-proxies", "--connections-per-address", "--operator", "--token-file", "--drain-timeout", "--shutdown-delay", "--listen"},
		},
	})
}

func TestHelp(t *testing.T) {
	t.Parallel()
	tested.Helps(t)
}

func FuzzFlags(f *testing.F) {
	tested.Fuzz(f, "--operator https://o\x00--drain-timeout=1s\x00--\x00-x")
}
