package kube

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"cortex.dev/cortex/internal/engine"
	"cortex.dev/cortex/internal/manifest"
	"cortex.dev/cortex/internal/workload"
)

var update = flag.Bool("update", false, "write the golden pods anew")

// plain is an installation that says as little as it can.
var plain = PodConfig{Namespace: "cortex-apis", SidecarImage: "cortex.dev/sidecar:1.2.3", Version: "1.2.3", APIEndpoint: "http://cortex-gateway.cortex.svc"}

var groups = []NodeGroup{{Name: "cpu", Priority: 1}, {Name: "gpu", Priority: 5}, {Name: "gpu-spot", Priority: 100, Taints: []workload.Toleration{{Key: "dedicated", Value: "spot", Effect: "NoSchedule"}}}}

// installations are those of the golden pods that are about the installation; the
// others have the plain one.
var installations = map[string]func(*PodConfig){
	"any-node-group": func(c *PodConfig) { c.NodeGroups = groups },
	"node-groups":    func(c *PodConfig) { c.NodeGroups = groups },
	"restricted":     func(c *PodConfig) { c.Restricted = true },
	"zones":          func(c *PodConfig) { c.Zones = func() bool { return true } },
	"says": func(c *PodConfig) {
		c.ServiceAccount, c.Env = "of-the-installation", map[string]string{"REGION": "of-the-installation"}
	},
	"unconfined": func(c *PodConfig) { c.Unconfined = []string{"iris/odd", "other/api"} },
	"installation": func(c *PodConfig) {
		c.SidecarImage, c.SidecarPull, c.PullPolicy = "mirror.example.com/cortex/sidecar:1.2.3", corev1.PullAlways, corev1.PullNever
		c.PullSecrets, c.ServiceAccount, c.Grace = []string{"one", "two"}, "models", 5*time.Minute
		c.Env = map[string]string{"PROXY": "of-the-installation", "REGION": "us-west-2", "CORTEX_LOG_LEVEL": "is the platform's"}
		c.Labels = map[string]string{"team": "ml", labelName: "is ours"}
		c.Annotations = map[string]string{"cluster-autoscaler.kubernetes.io/safe-to-evict": "false", annotationQueue: "is ours"}
		c.SidecarCPU, c.SidecarMem = resource.MustParse("50m"), resource.MustParse("64Mi")
		c.Traces = Traces{Endpoint: "http://collector.monitoring.svc:4318", Ratio: 0.25, Cluster: "team-b"}
	},
	"everything": func(c *PodConfig) {
		c.PullSecrets, c.NodeGroups, c.NodeGroupLabel = []string{}, groups, "eks.amazonaws.com/nodegroup"
		c.Env, c.Unconfined = map[string]string{"PROXY": "of-the-installation"}, []string{"iris/odd"}
	},
}

// revisionIn reads a file with one API as the revision of its first deploy.
func revisionIn(t testing.TB, path string) *workload.Revision {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	file, err := manifest.Parse(path, text)
	if err != nil {
		t.Fatal(err)
	}
	r := workload.NewRevision(file.Entries[0].Spec, nil, workload.Origin{}, time.Unix(1_700_000_000, 0))
	// The only part of it that is random.
	random := r.DeploymentID
	r.DeploymentID = "abcdefghij"
	r.ID = strings.Replace(r.ID, random, r.DeploymentID, 1)
	return r
}

// golden are the Deployments of all files in testdata/pods, by name.
func golden(t testing.TB) map[string]*appsv1.Deployment {
	t.Helper()
	files, err := filepath.Glob("testdata/pods/*.in.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no pods to make: %v", err)
	}
	all := map[string]*appsv1.Deployment{}
	for _, path := range files {
		name, cfg := strings.TrimSuffix(filepath.Base(path), ".in.yaml"), plain
		if change, special := installations[name]; special {
			change(&cfg)
		}
		all[name] = deploymentOf(cfg, engine.Deployment{Revision: revisionIn(t, path), Replicas: 2}, revisionIn(t, path), nil)
	}
	return all
}

func TestDeploymentOf(t *testing.T) {
	t.Parallel()
	for name, d := range golden(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := yaml.Marshal(d)
			if err != nil {
				t.Fatal(err)
			}
			path := "testdata/pods/" + name + ".golden.yaml"
			if *update {
				if err := os.WriteFile(path, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("deploymentOf(%s.in.yaml) differs from %s; if it should, run this test with -update and read the difference (-want +got):\n%s", name, path, diff)
			}
		})
	}
}

func TestStrategyOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name               string
		in                 *workload.UpdateStrategy
		surge, unavailable string
	}{
		{name: "none said", surge: "25%", unavailable: "25%"},
		{name: "shares", in: &workload.UpdateStrategy{MaxSurge: "100%", MaxUnavailable: "0%"}, surge: "100%", unavailable: "0%"},
		{name: "numbers", in: &workload.UpdateStrategy{MaxSurge: "0", MaxUnavailable: "3"}, surge: "0", unavailable: "3"},
		{name: "the largest number of a file", in: &workload.UpdateStrategy{MaxSurge: "999999999", MaxUnavailable: "1"}, surge: "999999999", unavailable: "1"},
		{name: "no step would be allowed", in: &workload.UpdateStrategy{MaxSurge: "0", MaxUnavailable: "0%"}, surge: "0", unavailable: "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strategyOf(tt.in).RollingUpdate
			if got.MaxSurge.String() != tt.surge || got.MaxUnavailable.String() != tt.unavailable {
				t.Errorf("strategyOf(%v) = %s, %s, want %s, %s", tt.in, got.MaxSurge, got.MaxUnavailable, tt.surge, tt.unavailable)
			}
		})
	}
}

func TestGraceIsDivided(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		in, file     time.Duration
		grace, drain int64
	}{
		{0, 0, 60, 50},
		{5 * time.Minute, 0, 300, 250},
		{5 * time.Minute, time.Hour, 3600, 3540},
		{20 * time.Second, 0, 20, 16},
		// Zero seconds would be a kill without a word, and a drain without an end.
		{time.Second, 0, 1, 1},
		{time.Millisecond, 0, 1, 1},
	} {
		cfg, pod := PodConfig{Grace: tt.in}, &workload.Pod{}
		if own := workload.Duration(tt.file); own > 0 {
			pod.TerminationGracePeriod = &own
		}
		if grace, drain := cfg.grace(pod), cfg.drainWithin(pod); grace != tt.grace || drain != tt.drain {
			t.Errorf("a grace of %v and %v of the file = %d s with %d s for draining, want %d with %d", tt.in, tt.file, grace, drain, tt.grace, tt.drain)
		}
	}
}
