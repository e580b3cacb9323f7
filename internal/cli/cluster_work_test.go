package cli

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/cluster"
)

// What is configured starts images too, which are looked for before anything is changed.
func TestConfigureWithoutImages(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		file := d.file("cluster.yaml", irisFile)
		if code, out, told := d.cortex(t.Context(), "cluster", "up", file, "--yes"); code != 0 {
			t.Fatalf("up = %d\n%s%s", code, out, told)
		}
		before := d.aws.Left()
		d.kube.missing = []string{"public.ecr.aws/fluent-bit:0"}
		d.file("cluster.yaml", irisFile+"cloudwatch_logs: true\n")
		code, _, told := d.cortex(t.Context(), "cluster", "configure", file, "--yes")
		if code != 1 || !strings.Contains(told, "public.ecr.aws/fluent-bit:0") || len(d.aws.Left()) != len(before) {
			t.Errorf("configure = %d\n%s\nthere was %q and is %q", code, told, before, d.aws.Left())
		}
		d.kube.missing = nil
		for _, tt := range []struct{ keys, says string }{
			{"cloudwatch_logs: true\n", "create   role/logs"},
			{"", "remove   role/logs"},
		} {
			d.file("cluster.yaml", irisFile+tt.keys)
			if code, out, told := d.cortex(t.Context(), "cluster", "configure", file, "--yes"); code != 0 || !strings.Contains(out, tt.says) {
				t.Errorf("configure with %q = %d\n%s%s", tt.keys, code, out, told)
			}
		}
	})
}

// With a cluster the environments go that lead to it, whatever they are called; another
// cluster's of the same name stays, and nothing but `up` and --configure-env makes one.
func TestEnvironmentsOfACluster(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		run := func(words ...string) string {
			t.Helper()
			code, out, told := d.cortex(ctx, words...)
			if code != 0 {
				t.Fatalf("cortex %s = %d\n%s%s", strings.Join(words, " "), code, out, told)
			}
			return out
		}
		if err := os.MkdirAll(filepath.Join(d.home, ".cortex"), 0o700); err != nil {
			t.Fatal(err)
		}
		d.file(".cortex/cli.yaml", "environments:\n- name: iris\n  operator_endpoint: https://elsewhere.example.com\n")
		file := d.file("cluster.yaml", irisFile)
		run("cluster", "up", file, "--yes", "--configure-env", "prod")
		d.file("cluster.yaml", irisFile+"    max_instances: 9\n")
		run("cluster", "configure", file, "--yes")
		run("cluster", "info", "--configure-env", "second")
		named := func() string {
			var all listedEnvironments
			if err := json.Unmarshal([]byte(run("env", "list", "-o", "json")), &all); err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range all.Environments {
				names = append(names, e.Name)
				if there := strings.Contains(e.OperatorEndpoint, "elsewhere"); there != (e.Name == "iris") {
					t.Errorf("%s leads to %s", e.Name, e.OperatorEndpoint)
				}
			}
			return strings.Join(sortedWords(names), " ")
		}
		if got := named(); got != "iris local prod second" {
			t.Errorf("there are the environments %s", got)
		}
		run("cluster", "down", "--yes")
		if got := named(); got != "iris local" {
			t.Errorf("after down there are the environments %s", got)
		}
	})
}

// Of two terminals of one machine the second is told of the first, and changes nothing.
func TestTwoTerminals(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		file := d.file("cluster.yaml", irisFile)
		ended := make(chan int, 1)
		go func() {
			code, _, _ := d.cortex(t.Context(), "cluster", "up", file, "--yes")
			ended <- code
		}()
		<-time.After(2 * time.Minute) // of the bubble
		for _, words := range [][]string{{"cluster", "up", file, "--yes"}, {"cluster", "down", "--yes"}} {
			if code, _, told := d.cortex(t.Context(), words...); code != 1 || !strings.Contains(told, "another command of this machine works on cluster iris in us-west-2") {
				t.Errorf("%v meanwhile = %d\n%s", words, code, told)
			}
		}
		if code := <-ended; code != 0 {
			t.Errorf("the first ends with %d", code)
		}
	})
}

// Ctrl-C ends a configuration, an upgrade and a removal as it ends `up`: what goes on is said, and how to.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		file := d.file("cluster.yaml", irisFile+"kubernetes_version: 1.35\n")
		if code, out, told := d.cortex(t.Context(), "cluster", "up", file, "--yes"); code != 0 {
			t.Fatalf("up = %d\n%s%s", code, out, told)
		}
		d.file("cluster.yaml", irisFile+"  - name: more\n    instance_type: m5.large\nkubernetes_version: 1.35\n")
		for _, tt := range []struct{ words, says []string }{
			{[]string{"cluster", "configure", file, "--yes"}, []string{
				"stopped here; AWS goes on with nodes-cx-wd-more", "an hour as long as it is there",
				"`cortex cluster configure " + file + "` goes on where it stopped",
			}},
			{[]string{"cluster", "upgrade", "--yes"}, []string{
				"stopped here; AWS goes on with cluster", "an hour as long as it is there",
				"`cortex cluster upgrade --name iris --region us-west-2 --to 1.36` goes on where it stopped", "`cortex cluster down --name iris --region us-west-2`",
			}},
			{[]string{"cluster", "down", "--yes"}, []string{
				"stopped here; AWS goes on with", "what is still there goes on costing; `cortex cluster down --name iris --region us-west-2` goes on where it stopped",
			}},
		} {
			ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Second, nil)
			interrupted, stop := context.WithCancel(t.Context())
			context.AfterFunc(ctx, stop)
			code, _, told := d.cortex(interrupted, tt.words...)
			cancel()
			for _, text := range tt.says {
				if code != ExitInterrupted || !strings.Contains(told, text) {
					t.Errorf("%v: exit code %d, and\n%s\nwant %d and %q", tt.words, code, told, ExitInterrupted, text)
				}
			}
			if code, out, told := d.cortex(t.Context(), tt.words...); code != 0 {
				t.Errorf("%v again = %d\n%s%s", tt.words, code, out, told)
			}
		}
		if l := d.aws.Left(); len(l) > 0 {
			t.Errorf("left %q", l)
		}
	})
}

// Ctrl-C ends the command and not the work: it says what goes on, and how to go on with it.
func TestInterruptedUp(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		file := d.file("cluster.yaml", irisFile)
		ctx, cancel := context.WithTimeoutCause(t.Context(), 3*time.Minute, nil)
		defer cancel()
		interrupted, stop := context.WithCancel(t.Context())
		context.AfterFunc(ctx, stop)
		code, _, told := d.cortex(interrupted, "cluster", "up", file, "--yes")
		for _, text := range []string{"stopped here; AWS goes on with cluster", "an hour as long as it is there", "`cortex cluster up " + file + "` goes on where it stopped", "`cortex cluster down --name iris --region us-west-2`"} {
			if code != ExitInterrupted || !strings.Contains(told, text) {
				t.Errorf("exit code %d, and\n%s\nwant %d and %q", code, told, ExitInterrupted, text)
			}
		}
		if code, out, told := d.cortex(t.Context(), "cluster", "up", file, "--yes"); code != 0 {
			t.Errorf("up again = %d\n%s%s", code, out, told)
		}
	})
}

// An operator that only the network of the cluster reaches is told with what a peering
// connection takes, at the end of `up` and by `info`.
func TestInternalOperator(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		file := d.file("cluster.yaml", irisFile+"operator_load_balancer_scheme: internal\nvpc_cidr: 10.40.0.0/16\n")
		for _, words := range [][]string{{"cluster", "up", file, "--yes"}, {"cluster", "info"}} {
			code, out, told := d.cortex(t.Context(), words...)
			for _, text := range []string{"operator: only the network of the cluster reaches it", "10.40.0.0/16", "vpc-", "subnet-", "rtb-"} {
				if code != 0 || !strings.Contains(out, text) {
					t.Errorf("%v = %d\n%s%s\nwant %q", words, code, out, told, text)
				}
			}
		}
		var s struct{ Network cluster.Network }
		code, out, _ := d.cortex(t.Context(), "cluster", "info", "-o", "json")
		if err := json.Unmarshal([]byte(out), &s); code != 0 || err != nil || len(s.Network.Internal) != 1 || s.Network.Internal[0] != "operator" || s.Network.CIDR != "10.40.0.0/16" || len(s.Network.Subnets) == 0 || len(s.Network.Tables) == 0 {
			t.Errorf("info -o json = %d, %+v, %v", code, s, err)
		}
	})
}
