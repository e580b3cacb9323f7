package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/fault"
)

// cannedCluster is a cluster on which everything goes as $CLUSTER says: well, fail
// or young (nothing has an address). It notes what it was asked for in $ASKED.
// Without $CLUSTER the program has none.
func cannedCluster() *ClusterHooks {
	state := os.Getenv("CLUSTER")
	if state == "" {
		return nil
	}
	asked := func(what string, c ClusterConfig, more ...any) error {
		var files []string
		for _, data := range c.ValueFiles {
			files = append(files, string(data))
		}
		line, err := json.Marshal([]any{what, c.Kubeconfigs, c.Context, c.Namespace, files, c.Assignments, c.Values, c.Wait, c.Timeout.String(), more})
		if err != nil {
			return err
		}
		return os.WriteFile(os.Getenv("ASKED"), append(line, '\n'), 0o600)
	}
	change := func(what string) func(context.Context, ClusterConfig) (ClusterInfo, error) {
		return func(_ context.Context, c ClusterConfig) (ClusterInfo, error) {
			if err := asked(what, c); err != nil {
				return ClusterInfo{}, err
			}
			if state == "fail" {
				return ClusterInfo{}, fault.New(fault.Conflict, "install.preflight", "the cluster is not ready for cortex; nothing was changed:\n  no node is ready\n    add one")
			}
			c.Progress(ClusterStep{"cluster", "kubernetes 1.36.3", 1234 * time.Millisecond})
			info := ClusterInfo{Namespace: c.Namespace, APIsNamespace: "cortex-apis", ClusterName: "team", Version: c.Version}
			if state == "well" {
				info.Endpoint, info.APIs, info.Fingerprint = "https://lb.example.com", "http://apis.example.com", "sha256:ab12"
			}
			return info, nil
		}
	}
	return &ClusterHooks{
		Cloud: func(ctx context.Context, keys CloudKeys, region string) (Cloud, error) {
			k, err := keys(ctx)
			if err != nil {
				return nil, err
			}
			return nil, fault.New(fault.Unproven, "aws.credentials_refused", "AWS was asked in %s with %s, and a secret of %d characters", region, k.ID, len(k.Secret.Text()))
		},
		Install: change("install"), Upgrade: change("upgrade"),
		Uninstall: func(_ context.Context, c ClusterConfig, keep bool) error {
			c.Progress(ClusterStep{"apis", "removed 3", time.Second})
			return asked("uninstall", c, keep)
		},
		Health: func(_ context.Context, c ClusterConfig) ([]ClusterCheck, error) {
			return []ClusterCheck{
				{"operator", true, "cortex-operator-1 leads", ""},
				{"apis_load_balancer", state == "well", "it has no address", "see its events"},
			}, asked("health", c)
		},
		Where: func(c ClusterConfig) (ClusterPlace, error) {
			return ClusterPlace{either(c.Context, "current"), "https://10.0.0.1:6443"}, nil
		},
		Render: func(c ClusterConfig) (string, error) { return "kind: Namespace\n", asked("render", c) },
	}
}

// A program without a cluster hands the command over as it stands, and says so when
// there is nobody to take it.
func TestClusterCommandsAreHandedOver(t *testing.T) {
	t.Parallel()
	run := func(hooks Hooks, words ...string) (code int, told string) {
		var out, err bytes.Buffer
		code = Run(t.Context(), words, Streams{strings.NewReader(""), &out, &err}, func(name string) string {
			return map[string]string{"HOME": t.TempDir()}[name]
		}, hooks)
		return code, err.String()
	}
	for _, words := range [][]string{{"install"}, {"upgrade"}, {"uninstall", "--yes"}, {"cluster", "health"}} {
		handed := false
		code, told := run(Hooks{Delegate: func(context.Context) error {
			handed = true
			return errors.New("it is not there")
		}}, words...)
		if !handed || code != fault.ExitFailed || !strings.Contains(told, "it is not there") {
			t.Errorf("cortex %s = %d, %q, handed over %v; want the error of handing over", strings.Join(words, " "), code, told, handed)
		}
		if code, told = run(Hooks{}, words...); code != fault.ExitFailed || !strings.Contains(told, "cortex-install") {
			t.Errorf("cortex %s = %d, %q, want a hint at cortex-install", strings.Join(words, " "), code, told)
		}
	}
	// What is wrong with the words themselves is said here.
	if code, _ := run(Hooks{Delegate: func(context.Context) error { t.Error("a wrong command line was handed over"); return nil }}, "install", "now"); code != fault.ExitUsage {
		t.Errorf("cortex install now = %d, want %d", code, fault.ExitUsage)
	}
}
