package deploy_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"

	"cortex.dev/cortex/deploy"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/install"
	"cortex.dev/cortex/internal/kubetest"
)

var update = flag.Bool("update", false, "rewrite testdata")

// required are the values without which nothing is rendered.
const required = "account: \"123456789012\"\nregion: us-west-2\n"

// render returns the objects of the chart with required and more values, without
// the definitions of the custom resources, which have tests of their own.
func render(t *testing.T, namespace, values string) (string, error) {
	t.Helper()
	v, err := install.Values([][]byte{[]byte(required), []byte(values)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := install.Render(install.Config{Namespace: namespace, Values: v, Version: "1.2.3"})
	if _, rest, ok := strings.Cut(text, "# Source: cortex/templates"); ok {
		text = "---\n# Source: cortex/templates" + rest
	}
	return text, err
}

func mustRender(t *testing.T, namespace, values string) string {
	t.Helper()
	text, err := render(t, namespace, values)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func objects(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	for _, doc := range regexp.MustCompile(`(?m)^---$`).Split(text, -1) {
		u := &unstructured.Unstructured{}
		// Strict, as Flux and kustomize are: a key that is there twice is an error.
		if err := yaml.UnmarshalStrict([]byte(doc), &u.Object); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		if len(u.Object) > 0 {
			all = append(all, u)
		}
	}
	return all
}

// valueSets are the renderings that the tests look at; each is a file of values.
func valueSets(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/*.values.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no value sets: %v", err)
	}
	sets := map[string]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sets[strings.TrimSuffix(filepath.Base(file), ".values.yaml")] = string(data)
	}
	return sets
}

func TestRendering(t *testing.T) {
	t.Parallel()
	for name, values := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := mustRender(t, "cortex", values)
			file := filepath.Join("testdata", name+".golden.yaml")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("the chart renders differently; go test ./deploy -run Rendering -update accepts it (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	values := valueSets(t)
	values["nothing"] = ""
	for name, more := range values {
		v, err := install.Values([][]byte{[]byte(required), []byte(more)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		lint := action.NewLint()
		lint.Strict = true
		for _, err := range lint.Run([]string{"chart"}, v).Errors {
			t.Errorf("helm lint with %s: %v", name, err)
		}
	}
}

// Every object is accepted by a real API server, with its admission and its
// strictest reading of fields.
func TestServerAccepts(t *testing.T) {
	t.Parallel()
	cfg := kubetest.Config(t)
	disco, err := discovery.NewDiscoveryClientForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(disco))
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	system, apis := kubetest.Namespace(t, cfg), kubetest.Namespace(t, cfg)
	for name, values := range valueSets(t) {
		values = regexp.MustCompile(`(?m)^  namespace: .*$`).ReplaceAllString(values, "")
		values = strings.ReplaceAll(values, "nodePort: 30", "nodePort: 31") // an installation may have these
		v, err := install.Values([][]byte{[]byte(required), []byte(values)}, []string{"apis.namespace=" + apis})
		if err != nil {
			t.Fatal(err)
		}
		text, err := install.Render(install.Config{Namespace: system, Values: v})
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range objects(t, text) {
			if group := u.GroupVersionKind().Group; group == "monitoring.coreos.com" || group == "gateway.networking.k8s.io" {
				continue // kinds of the Prometheus operator and of gateways, which this cluster may lack
			}
			if u.GetNamespace() == "istio-system" { // of gateway.ingressAlias, which the page has people make first
				u.SetNamespace(system)
			}
			if ns := u.GetNamespace(); ns == system+"-logs" || ns == system+"-drainer" { // which the chart makes, and a dry run does not
				u.SetNamespace(system)
			}
			what := name + ": " + u.GetKind() + " " + u.GetName()
			mapping, err := mapper.RESTMapping(u.GroupVersionKind().GroupKind(), u.GroupVersionKind().Version)
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			var resource dynamic.ResourceInterface = client.Resource(mapping.Resource)
			if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
				resource = client.Resource(mapping.Resource).Namespace(u.GetNamespace())
			}
			data, err := json.Marshal(u)
			if err != nil {
				t.Fatal(err)
			}
			force := true
			_, err = resource.Patch(context.Background(), u.GetName(), "application/apply-patch+yaml", data,
				metav1.PatchOptions{FieldManager: "test", DryRun: []string{metav1.DryRunAll}, Force: &force, FieldValidation: metav1.FieldValidationStrict})
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

// Of a number of gateways that null leaves to others nothing is written.
func TestReplicasOfNobody(t *testing.T) {
	t.Parallel()
	for _, u := range objects(t, mustRender(t, "cortex", "gateway: {replicas: null}")) {
		if _, found, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "replicas"); u.GetKind() == "Deployment" && found != (u.GetName() == "cortex-operator") {
			t.Errorf("%s has a number of replicas: %v", u.GetName(), found)
		}
	}
}

// Items are kept nowhere, by servers of the chart or by others; gateways and the operator
// are told where, and where they are not nothing is there for them.
func TestItems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, values string
		args         []string
		servers      float64
	}{
		{"nowhere", "", nil, 0},
		{"nowhere, with a size", "items: {storage: {size: 5Gi}, copies: 1}", nil, 0},
		{"one server", "items: {servers: 1}", []string{"--items=nats://cortex-ledger.cortex.svc:4222", "--items-secret=cortex-ledger", "--items-copies=1"}, 1},
		{"three servers", "items: {servers: 3, copies: 1}", []string{"--items=nats://cortex-ledger.cortex.svc:4222", "--items-secret=cortex-ledger", "--items-copies=3"}, 3},
		{"others", `items: {url: "tls://nats.infra:4222", secretName: nats, copies: 5}`, []string{"--items=tls://nats.infra:4222", "--items-secret=nats", "--items-copies=5"}, 0},
		{"a bucket", `items: {url: "s3://my-items/uid/a", region: eu-west-1}`, []string{"--items=s3://my-items/uid/a", "--items-region=eu-west-1"}, 0},
		{"a bucket with queues", `items: {url: "s3://my-items", region: eu-west-1, queues: cx-0a-}`, []string{"--items=s3://my-items", "--items-region=eu-west-1", "--items-queues=cx-0a-"}, 0},
	} {
		servers, told := 0.0, 0
		for _, u := range objects(t, mustRender(t, "cortex", tt.values)) {
			if u.GetKind() == "StatefulSet" {
				servers, _, _ = unstructured.NestedFloat64(u.Object, "spec", "replicas")
			} else if u.GetName() == "cortex-ledger" && tt.servers == 0 {
				t.Errorf("%s: there is a %s for servers that there are not", tt.name, u.GetKind())
			}
			if u.GetKind() != "Deployment" {
				continue
			}
			containers, _, _ := unstructured.NestedSlice(u.Object, "spec", "template", "spec", "containers")
			all, _, _ := unstructured.NestedStringSlice(containers[0].(map[string]any), "args")
			got := slices.DeleteFunc(slices.Clone(all), func(arg string) bool { return !strings.HasPrefix(arg, "--items") })
			if told++; !slices.Equal(got, tt.args) {
				t.Errorf("%s: %s is told %q, want %q", tt.name, u.GetName(), got, tt.args)
			}
		}
		if servers != tt.servers || told != 2 {
			t.Errorf("%s: the chart has %g servers and tells %d programs, want %g and 2", tt.name, servers, told, tt.servers)
		}
	}
}

// What a server is told to keep at most fits its volume.
func TestItemsFitTheVolume(t *testing.T) {
	t.Parallel()
	for size, want := range map[string]string{"20Gi": "18432Mi", "1Gi": "921Mi", "100Mi": "92160Ki", "2Ti": "1843Gi"} {
		text := mustRender(t, "cortex", "items: {servers: 3, storage: {size: "+size+"}}")
		if !strings.Contains(text, "--max-bytes="+want+"\n") || !strings.Contains(text, "{storage: "+size+"}") {
			t.Errorf("a volume of %s does not have --max-bytes=%s", size, want)
		}
	}
}

// What is printed after helm install fits how the operator is reached.
// On a cluster of `cortex cluster up` whose load balancers have lost their nodes, what
// docs/aws-guides.md says to type has Kubernetes make two of its own, on the same ports of nodes.
func TestLoadBalancersThatLoseTheirNodes(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile("../docs/aws-guides.md")
	if err != nil {
		t.Fatal(err)
	}
	command := regexp.MustCompile(`(?m)^cortex upgrade (--set operator\.loadBalancer\.type=.*)$`).FindSubmatch(guide)
	if command == nil {
		t.Fatal("docs/aws-guides.md does not say what to type")
	}
	const made = required + `
apis: {endpoint: "http://apis.elb.us-west-2.amazonaws.com"}
operator: {loadBalancer: {type: NodePort, nodePort: 30443}, tls: {names: [operator.elb.us-west-2.amazonaws.com]}}
gateway: {loadBalancer: {type: NodePort, nodePort: 30080}}
`
	assignments := strings.Fields(strings.ReplaceAll(string(command[1]), "--set ", ""))
	changed, err := install.Values(nil, assignments)
	if err != nil {
		t.Fatal(err)
	}
	before, err := install.Values([][]byte{[]byte(made)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	after, err := yaml.Marshal(install.Merge(before, changed))
	if err != nil {
		t.Fatal(err)
	}
	type service struct{ Type, Balancer, Scheme string }
	got := map[string]service{}
	text := mustRender(t, "cortex", string(after))
	for _, o := range objects(t, text) {
		if kind, _, _ := unstructured.NestedString(o.Object, "spec", "type"); o.GetKind() == "Service" && kind != "" {
			got[o.GetName()] = service{kind, o.GetAnnotations()["service.beta.kubernetes.io/aws-load-balancer-type"], o.GetAnnotations()["service.beta.kubernetes.io/aws-load-balancer-scheme"]}
		}
	}
	want := map[string]service{"cortex-operator-lb": {"LoadBalancer", "nlb", "internet-facing"}, "cortex-gateway": {"LoadBalancer", "nlb", "internet-facing"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the services (-want +got):\n%s", diff)
	}
	if strings.Contains(text, "apis.elb.us-west-2") || !strings.Contains(text, "operator.elb.us-west-2") || !strings.Contains(text, "nodePort: 30443") || !strings.Contains(text, "nodePort: 30080") {
		t.Errorf("users are told of the old load balancer, or the ports or the old name of the operator are gone:\n%s", text)
	}
}

func TestNotes(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"LoadBalancer": ".status.loadBalancer.ingress[0]", "NodePort": "--operator-endpoint https://ADDRESS:PORT", "ClusterIP": "cortex-operator-lb.cortex.svc",
	} {
		v, err := install.Values([][]byte{[]byte(required)}, []string{"operator.loadBalancer.type=" + kind})
		if err != nil {
			t.Fatal(err)
		}
		do := action.NewInstall(action.NewConfiguration())
		do.ReleaseName, do.Namespace, do.DryRunStrategy, do.WaitStrategy = install.Release, "cortex", action.DryRunClient, kube.HookOnlyStrategy
		do.KubeVersion = &common.KubeVersion{Version: "v1.29.0", Major: "1", Minor: "29"}
		c, err := loader.Load("chart")
		if err != nil {
			t.Fatal(err)
		}
		found, err := do.RunWithContext(t.Context(), c, v)
		if err != nil {
			t.Fatal(err)
		}
		if notes := found.(*release.Release).Info.Notes; !strings.Contains(notes, want) {
			t.Errorf("the notes for %s are\n%s\nwant %q in them", kind, notes, want)
		}
	}
}

func TestValuesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, values, want string }{
		{"no account", `account: ""`, "account is missing"},
		{"no region", `region: ""`, "region is missing"},
		{"account of 11 digits", `account: "12345678901"`, "account:"},
		{"account as a number", `account: 123456789012`, "account: got number, want string"},
		{"no region of that shape", `region: here`, "region:"},
		{"name of the cluster", `clusterName: a--b`, "clusterName:"},
		{"unknown key", `gateways: {replicas: 3}`, "additional properties 'gateways' not allowed"},
		{"unknown inner key", `gateway: {replicaCount: 3}`, "gateway: additional properties 'replicaCount' not allowed"},
		{"unknown key of a balancer", `operator: {loadBalancer: {certificateARN: x}}`, "operator.loadBalancer: additional properties 'certificateARN' not allowed"},
		{"no gateway", `gateway: {replicas: 0}`, "gateway.replicas: minimum: got 0, want 1"},
		{"replicas as text", `gateway: {replicas: "2"}`, "gateway.replicas: got string, want null or integer"},
		{"type of a service", `gateway: {loadBalancer: {type: Balancer}}`, "gateway.loadBalancer.type: value must be one of"},
		{"scheme", `gateway: {loadBalancer: {scheme: public}}`, "gateway.loadBalancer.scheme: value must be one of"},
		{"networks", `operator: {loadBalancer: {cidrs: [10.0.0.1]}}`, "operator.loadBalancer.cidrs.0:"},
		{"certificate", `gateway: {loadBalancer: {certificateARN: cert}}`, "gateway.loadBalancer.certificateARN:"},
		{"policy as a list", `policy: []`, "policy: got array, want string"},
		{"role of nobody", `platformRoles: ["arn:aws:iam::123456789012:user/x"]`, "platformRoles.0:"},
		{"group without priority", `nodeGroups: [{name: gpu}]`, "nodeGroups.0: missing property 'priority'"},
		{"size without memory", `nodeGroups: [{name: gpu, priority: 1, largest: {cpu: 1}}]`, "nodeGroups.0.largest: missing property 'mem'"},
		{"size in no unit", `capacity: {largest: [{cpu: 1, mem: much}]}`, "capacity.largest.0.mem:"},
		{"devices in reserve", `capacity: {reserve: {gpu: 1}}`, "capacity.reserve: additional properties 'gpu' not allowed"},
		{"a check now and then", `capacity: {check: sometimes}`, "capacity.check: got string, want boolean"},
		{"collector without http", `tracing: {endpoint: "collector:4317"}`, "tracing.endpoint:"},
		{"more than all traces", `tracing: {ratio: 2}`, "tracing.ratio: maximum: got 2, want 1"},
		{"a share in words", `tracing: {ratio: half}`, "tracing.ratio: 'half' does not match pattern"},
		{"a ratio of errors above all", `metrics: {rules: {errorRatio: 5}}`, "metrics.rules.errorRatio: maximum: got 5, want 1"},
		{"a time that no histogram tells", `metrics: {rules: {slowSeconds: 3600}}`, "metrics.rules.slowSeconds: maximum:"},
		{"duration", `tick: 10`, "tick: got number, want string"},
		{"pull policy", `image: {pullPolicy: Sometimes}`, "image.pullPolicy: value must be one of"},
		{"pod security", `apis: {podSecurity: lax}`, "apis.podSecurity: value must be one of"},
		{"digest", `image: {digests: {gateway: abc}}`, "image.digests.gateway:"},
		{"address of callers", `gateway: {loadBalancer: {externalTrafficPolicy: Nearby}}`, "gateway.loadBalancer.externalTrafficPolicy: value must be one of"},
		{"families", `operator: {loadBalancer: {ipFamilyPolicy: Both}}`, "operator.loadBalancer.ipFamilyPolicy: value must be one of"},
		{"share of CPU", `gateway: {autoscaling: {targetCPU: 0}}`, "gateway.autoscaling.targetCPU: minimum: got 0, want 1"},
		{"route to nowhere", `gateway: {route: {enabled: true}}`, "gateway.route.parentRefs is missing"},
		{"blocked in words", `networkPolicies: {blocked: [metadata]}`, "networkPolicies.blocked.0:"},
		{"priority", `priorityClass: {value: 2000000000}`, "priorityClass.value: maximum:"},
		{"two servers of items", `items: {servers: 2}`, "items.servers: value must be one of"},
		{"items in two places", `items: {servers: 3, url: "nats://nats:4222", secretName: nats}`, "items.servers and items.url exclude each other"},
		{"items without credentials", `items: {url: "nats://nats:4222"}`, "items.secretName is missing"},
		{"credentials for nobody", `items: {servers: 1, secretName: nats}`, "items.secretName is for items.url"},
		{"credentials in a url", `items: {url: "nats://u:p@nats:4222", secretName: nats}`, "items.url:"},
		{"a bucket of nowhere", `items: {url: "s3://items"}`, "items.region is missing"},
		{"a region of no bucket", `items: {url: "nats://nats:4222", secretName: nats, region: eu-west-1}`, "items.region and items.queues are for a bucket"},
		{"a secret for a bucket", `items: {url: "s3://items", region: eu-west-1, secretName: nats}`, "items.secretName is for servers"},
		{"no bucket", `items: {url: "s3://", region: eu-west-1}`, "items.url:"},
		{"items over http", `items: {url: "http://nats", secretName: nats}`, "items.url:"},
		{"an even number of copies", `items: {url: "nats://nats:4222", secretName: nats, copies: 2}`, "items.copies: value must be one of"},
		{"a volume without a unit", `items: {servers: 1, storage: {size: "20"}}`, "items.storage.size:"},
		{"log group with a second line", `logs: {cloudwatch: {group: "iris\n    region eu-west-1"}}`, "logs.cloudwatch.group:"},
		{"no image for logs", `logs: {cloudwatch: {group: iris, image: ""}}`, "logs.cloudwatch.image:"},
		{"drain", `gateway: {drainSeconds: 60s}`, "gateway.drainSeconds: got string, want integer"},
	} {
		_, err := render(t, "cortex", tt.values)
		var f *fault.Fault
		if !errors.As(err, &f) || f.Code != "install.values" || !strings.Contains(f.Message, tt.want) {
			t.Errorf("%s: Render(%s) = %v, want install.values with %q", tt.name, tt.values, err, tt.want)
		}
	}
}

// What APIs write goes to CloudWatch where a log group is named, and only that.
func TestLogsInCloudWatch(t *testing.T) {
	t.Parallel()
	if text := mustRender(t, "cortex", ""); strings.Contains(text, "cortex-logs") {
		t.Error("Fluent Bit is part of an installation that names no log group")
	}
	text := mustRender(t, "cortex", "apis: {namespace: models}\nlogs: {cloudwatch: {group: iris}}")
	var settings, annotated string
	for _, u := range objects(t, text) {
		if u.GetName() != "cortex-logs" {
			continue
		}
		// Files of a node are what the standard of the installation's namespace forbids.
		if u.GetKind() == "Namespace" && u.GetLabels()["pod-security.kubernetes.io/enforce"] != "privileged" || u.GetKind() != "Namespace" && u.GetNamespace() != "cortex-logs" {
			t.Errorf("%s is in the namespace %q with the labels %v", u.GetKind(), u.GetNamespace(), u.GetLabels())
		}
		switch u.GetKind() {
		case "ConfigMap":
			settings = u.Object["data"].(map[string]any)["fluent-bit.conf"].(string)
		case "DaemonSet":
			annotated = u.Object["spec"].(map[string]any)["template"].(map[string]any)["metadata"].(map[string]any)["annotations"].(map[string]any)["cortex.dev/settings"].(string)
		}
	}
	for _, want := range []string{"/var/log/containers/*_models_*.log\n", "Exclude_Path      /var/log/containers/*_models_proxy-*.log\n", "region             us-west-2\n", "log_group_name     iris\n"} {
		if !strings.Contains(settings, want) {
			t.Errorf("the settings of Fluent Bit are\n%s\nwithout %q", settings, want)
		}
	}
	other := mustRender(t, "cortex", "apis: {namespace: models}\nlogs: {cloudwatch: {group: other}}")
	if annotated == "" || strings.Contains(other, annotated) {
		t.Error("pods of Fluent Bit are not replaced when their settings change")
	}
	// A pod of an API, as its file is called, and what its stream is called then.
	at := strings.Index(settings, "Tag_Regex")
	line, _, _ := strings.Cut(settings[at:], "\n")
	shape := regexp.MustCompile(strings.ReplaceAll(strings.TrimSpace(strings.TrimPrefix(line, "Tag_Regex")), "(?<", "(?P<"))
	m := shape.FindStringSubmatch("iris-7d9f-x2k_models_server-" + strings.Repeat("0a", 32) + ".log")
	if m == nil || m[shape.SubexpIndex("pod_name")] != "iris-7d9f-x2k" || m[shape.SubexpIndex("container_name")] != "server" {
		t.Errorf("%s makes %q of a name", shape, m)
	}
}

// A few metrics go to CloudWatch where a log group is named, by a collector that network
// policies let read them.
func TestMetricsInCloudWatch(t *testing.T) {
	t.Parallel()
	if text := mustRender(t, "cortex", ""); strings.Contains(text, "cortex-cloudwatch") || strings.Contains(text, "name: cloudwatch") {
		t.Error("a collector is part of an installation that names no log group")
	}
	var settings map[string]any
	reached := map[string]bool{}
	for _, u := range objects(t, mustRender(t, "cortex", "items: {servers: 1}\nmetrics: {cloudwatch: {group: iris}}")) {
		text, err := yaml.Marshal(u.Object)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case u.GetKind() == "ConfigMap" && u.GetName() == "cortex-cloudwatch":
			if err := yaml.UnmarshalStrict([]byte(u.Object["data"].(map[string]any)["collector.yaml"].(string)), &settings); err != nil {
				t.Fatal(err)
			}
		case u.GetKind() == "NetworkPolicy":
			reached[u.GetName()] = strings.Contains(string(text), "app.kubernetes.io/name: cloudwatch")
		}
	}
	emf := settings["exporters"].(map[string]any)["awsemf"].(map[string]any)
	if emf["log_group_name"] != "iris" || emf["region"] != "us-west-2" || emf["namespace"] != "Cortex" {
		t.Errorf("it exports by %v", emf)
	}
	for _, policy := range []string{"cortex-sidecar", "cortex-operator", "cortex-gateway", "cortex-ledger"} {
		if !reached[policy] {
			t.Errorf("the network policy %s keeps the collector out", policy)
		}
	}
	// Its metrics are ones that there are.
	page, err := os.ReadFile("../docs/watching.md")
	if err != nil {
		t.Fatal(err)
	}
	scrape := settings["receivers"].(map[string]any)["prometheus"].(map[string]any)["config"].(map[string]any)["scrape_configs"].([]any)[0].(map[string]any)
	kept := scrape["metric_relabel_configs"].([]any)[0].(map[string]any)["regex"].(string)
	names := strings.Split(strings.TrimSuffix(strings.TrimPrefix(kept, "cortex_("), ")"), "|")
	for _, name := range names {
		if !strings.Contains(string(page), "| `cortex_"+strings.TrimSuffix(name, ".*")+"`") {
			t.Errorf("there is no metric cortex_%s", name)
		}
	}
	if len(names) != 6 {
		t.Errorf("%q are kept, want six", names)
	}
}

// The schema, values.yaml and its comments speak of the same keys.
func TestEveryValueIsDescribed(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("chart/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("chart/values.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema map[string]any
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../docs/kubernetes.md")
	if err != nil {
		t.Fatal(err)
	}
	compareKeys(t, "", schema, values, string(guide))
	templates := ""
	if err := fs.WalkDir(deploy.Chart(), "templates", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(deploy.Chart(), path)
		templates += string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	for _, key := range leaves("", values) {
		if last := key[strings.LastIndex(key, ".")+1:]; !strings.Contains(templates, "."+last) && !strings.Contains(templates, `"`+last+`"`) {
			t.Errorf("%s: no template uses it", key)
		}
	}
}

func leaves(prefix string, values map[string]any) []string {
	var all []string
	for k, v := range values {
		if inner, ok := v.(map[string]any); ok && len(inner) > 0 && !slices.Contains([]string{"resources", "labels", "from"}, k) {
			all = append(all, leaves(prefix+k+".", inner)...)
			continue
		}
		all = append(all, prefix+k)
	}
	return all
}

func compareKeys(t *testing.T, path string, schema, values map[string]any, guide string) {
	t.Helper()
	properties, _ := schema["properties"].(map[string]any)
	if properties == nil {
		return
	}
	for key, inner := range properties {
		if key == "global" {
			continue // Helm's own
		}
		v, ok := values[key]
		if !ok {
			if !strings.HasSuffix(path, "resources.") {
				t.Errorf("%s%s is in the schema and not in values.yaml", path, key)
			}
			continue
		}
		if m, isMap := v.(map[string]any); isMap {
			compareKeys(t, path+key+".", inner.(map[string]any), m, guide)
		} else if !strings.Contains(guide, "`"+path+key+"`") {
			t.Errorf("docs/kubernetes.md does not describe %s%s", path, key)
		}
	}
	for key := range values {
		if _, ok := properties[key]; !ok {
			t.Errorf("%s%s is in values.yaml and not in the schema", path, key)
		}
	}
}

// The dashboard asks for metrics that there are.
func TestDashboardAsksForRealMetrics(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("chart/dashboards/cortex.json")
	if err != nil {
		t.Fatal(err)
	}
	source := ""
	if err := filepath.WalkDir("../internal", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		source += string(text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\bcortex_[a-z_]+`).FindAllString(string(data), -1)
	if len(names) < 10 {
		t.Fatalf("the dashboard names %d metrics, want many", len(names))
	}
	for _, name := range names {
		if !strings.Contains(source, `"`+strings.TrimSuffix(name, "_bucket")+`"`) {
			t.Errorf("the dashboard asks for %s, which nobody measures", name)
		}
	}
}

// Helm takes 0.25 for text where it is assigned (--set).
func TestAssignmentsOfNumbers(t *testing.T) {
	t.Parallel()
	values, err := install.Values([][]byte{[]byte(required)}, []string{"tracing.endpoint=http://collector:4318", "tracing.ratio=0.25", "gateway.replicas=3"})
	if err != nil {
		t.Fatal(err)
	}
	text, err := install.Render(install.Config{Namespace: "cortex", Values: values})
	if err != nil || !strings.Contains(text, "--trace-ratio=0.25\n") || !strings.Contains(text, "replicas: 3\n") {
		t.Errorf("Render() = %v, without --trace-ratio=0.25 or replicas: 3", err)
	}
}
