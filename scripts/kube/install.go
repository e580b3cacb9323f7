package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	texttemplate "text/template"
	"time"

	"cortex.dev/cortex/internal/auth/authtest"
	"cortex.dev/cortex/internal/kubetest/testcluster"
)

// Where the installation of the tests is reached on the node, and whose it is.
const (
	operatorPort = "30443"
	apisPort     = "30080"
	account      = "111122223333"
	otherAccount = "444455556666"
	region       = "us-west-2"
	stsName      = "sts.cortex-aws.svc"
)

//go:embed aws.yaml
var awsManifest string

// people are who the demo and the tests on the cluster can be.
func people() []authtest.Identity {
	return []authtest.Identity{
		{AccessKeyID: "AKIAALICEALICEEXAMPL", SecretAccessKey: "kube/secret+of+alice/EXAMPLEKEY",
			ARN: "arn:aws:iam::" + account + ":user/alice", UserID: "AIDAALICEALICEEXAMPLE", Account: account},
		{AccessKeyID: "ASIABOBBOBBOBEXAMPLE", SecretAccessKey: "kube/secret+of+bob/EXAMPLEKEY", SessionToken: "kube-session-token-of-bob",
			ARN: "arn:aws:sts::" + account + ":assumed-role/DataScience/bob", UserID: "AROADATASCIENCEEXAMPL:bob", Account: account},
		{AccessKeyID: "AKIAMALLORYMALLORYEX", SecretAccessKey: "kube/secret+of+mallory/EXAMPLEKEY",
			ARN: "arn:aws:iam::" + otherAccount + ":user/mallory", UserID: "AIDAMALLORYEXAMPLEEXA", Account: otherAccount},
	}
}

// install puts Cortex onto the node as users do, with `cortex install`; only AWS,
// which cannot be here, is a simulator that verifies signatures as AWS does. Again
// on a node that has it, it is an upgrade to this checkout.
func install(ctx context.Context, n *node) error {
	if err := requireRoot(n, "install"); err != nil {
		return err
	}
	if err := n.client(ctx); err != nil {
		return fmt.Errorf("there is no node to install on: make kube-up starts one (%w)", err)
	}
	for _, step := range []struct {
		name string
		do   func(context.Context) (string, error)
	}{
		{"command line", n.buildCommands},
		{"AWS", n.simulateAWS},
		{"cortex", n.installCortex},
	} {
		if err := n.step(step.name, func() (string, error) { return step.do(ctx) }); err != nil {
			return err
		}
	}
	return n.giveBack()
}

// buildCommands builds bin/cortex and what it hands the commands for clusters to.
func (n *node) buildCommands(ctx context.Context) (string, error) {
	for _, name := range []string{"cortex", "cortex-install"} {
		if err := n.buildStatic(ctx, "./cmd/"+name, filepath.Join(n.root, "bin", name)); err != nil {
			return "", err
		}
	}
	return "bin/cortex", nil
}

func (n *node) identities() string { return n.path("identities.json") }

// simulateAWS runs the simulator of STS on the cluster.
func (n *node) simulateAWS(ctx context.Context) (string, error) {
	who, err := json.MarshalIndent(authtest.Config{Region: region, Identities: people()}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the identities: %w", err)
	}
	if err := os.WriteFile(n.identities(), who, 0o600); err != nil {
		return "", fmt.Errorf("writing the identities: %w", err)
	}
	tag, err := n.imageTag()
	if err != nil {
		return "", err
	}
	values := map[string]string{"Image": "cortex.dev/sts:" + tag, "Identities": string(who)}
	for key, file := range map[string]string{"Cert": "sts.crt", "Key": "sts.key"} {
		text, err := os.ReadFile(n.pki(file))
		if err != nil {
			return "", fmt.Errorf("reading the certificate of STS: %w", err)
		}
		values[key] = string(text)
	}
	var manifest bytes.Buffer
	t, err := texttemplate.New("aws.yaml").Funcs(texttemplate.FuncMap{"indent": func(text string) string {
		return strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ")
	}}).Parse(awsManifest)
	if err == nil {
		err = t.Execute(&manifest, values)
	}
	if err != nil {
		return "", fmt.Errorf("writing the simulator of STS: %w", err)
	}
	if _, err := commandWith(ctx, manifest.Bytes(), n.program("kubectl"), "--kubeconfig", n.kubeconfig(), "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		return "", err
	}
	_, err = command(ctx, n.program("kubectl"), "--kubeconfig", n.kubeconfig(), "--namespace", "cortex-aws", "rollout", "status", "deployment/sts", "--timeout", "60s")
	return "a simulator of STS, for account " + account, err
}

// volumeSize is how large the volume of the server of items is said to be.
const volumeSize = "2Gi"

// volumeClass is the storage class of that volume. Its claim waits for the pod, so that
// Kubernetes has nothing to warn of: not of a pod whose claim is bound a second later.
const volumeClass = "node"

// makeVolume gives the node what a storage class would make: a folder for the one server of
// items.
func (n *node) makeVolume(ctx context.Context) error {
	folder := filepath.Join(dataDir, "ledger") // which goes with the node
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return fmt.Errorf("making the folder of items: %w", err)
	}
	if err := os.Chmod(folder, 0o777); err != nil { //nolint:gosec // the server is nobody in particular
		return fmt.Errorf("opening the folder of items: %w", err)
	}
	objects, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []map[string]any{{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": map[string]any{"name": volumeClass},
		"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
	}, {
		"apiVersion": "v1", "kind": "PersistentVolume", "metadata": map[string]any{"name": "cortex-ledger"},
		"spec": map[string]any{
			"storageClassName": volumeClass,
			"capacity":         map[string]any{"storage": volumeSize}, "accessModes": []string{"ReadWriteOnce"},
			"persistentVolumeReclaimPolicy": "Retain", "hostPath": map[string]any{"path": folder, "type": "Directory"},
		},
	}}})
	if err != nil {
		return fmt.Errorf("writing the volume: %w", err)
	}
	_, err = commandWith(ctx, objects, n.program("kubectl"), "--kubeconfig", n.kubeconfig(), "apply", "--server-side", "--force-conflicts", "-f", "-")
	return err
}

// installCortex runs cortex install, or upgrade, and writes what users need to know.
func (n *node) installCortex(ctx context.Context) (string, error) {
	authority, err := os.ReadFile(n.pki("ca.crt"))
	if err != nil {
		return "", fmt.Errorf("reading the authority of the node: %w", err)
	}
	tag, err := n.imageTag()
	if err != nil {
		return "", err
	}
	apis := "http://" + bridgeAddr + ":" + apisPort
	values := map[string]any{
		"image": map[string]any{"tag": tag, "pullPolicy": "Never"}, // they were loaded into the node
		"tick":  "1s",                                              // of a demo that is watched
		"apis":  map[string]any{"endpoint": apis},
		"operator": map[string]any{
			"stsEndpoint": "https://" + stsName, "authorities": string(authority),
			"loadBalancer": map[string]any{"type": "NodePort", "nodePort": 30443},
			"resources":    map[string]any{"requests": map[string]any{"cpu": "10m", "memory": "64Mi"}},
		},
		"gateway": map[string]any{
			"loadBalancer": map[string]any{"type": "NodePort", "nodePort": 30080},
			"resources":    map[string]any{"requests": map[string]any{"cpu": "10m", "memory": "64Mi"}},
		},
		"items": map[string]any{
			"servers": 1, "storage": map[string]any{"size": volumeSize, "class": volumeClass},
			"webhookHosts": []string{podRange},
			"resources":    map[string]any{"requests": map[string]any{"cpu": "10m", "memory": "64Mi"}},
		},
	}
	if err := n.makeVolume(ctx); err != nil {
		return "", err
	}
	text, err := json.MarshalIndent(values, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the values: %w", err)
	}
	file := n.path("values.yaml") // JSON is YAML
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", fmt.Errorf("writing the values: %w", err)
	}
	cortex := filepath.Join(n.root, "bin", "cortex")
	verb := "install"
	if _, err := command(ctx, n.program("kubectl"), "--kubeconfig", n.kubeconfig(), "--namespace", "cortex", "get", "deployment", "cortex-operator"); err == nil {
		verb = "upgrade"
	}
	began := time.Now()
	out, err := command(ctx, cortex, verb, "--kubeconfig", n.kubeconfig(), "--values", file, "--account-id", account, "--region", region, "-o", "json")
	if err != nil {
		return "", err
	}
	var info struct {
		Endpoint    string `json:"operator_endpoint"`
		Fingerprint string `json:"fingerprint"`
	}
	if err := json.Unmarshal([]byte(out), &info); err != nil || info.Endpoint == "" || info.Fingerprint == "" {
		return "", fmt.Errorf("cortex %s does not say where it is and by what certificate: %s", verb, out)
	}
	text, err = json.MarshalIndent(testcluster.Cluster{
		Operator: info.Endpoint, APIs: apis, Fingerprint: info.Fingerprint, Kubeconfig: n.kubeconfig(), Kubectl: n.program("kubectl"),
		IrisImage: "cortex.dev/example-iris:" + tag, Account: account, Identities: n.identities(),
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("writing the description of the cluster: %w", err)
	}
	if err := os.WriteFile(n.path("cluster.json"), text, 0o600); err != nil {
		return "", fmt.Errorf("writing the description of the cluster: %w", err)
	}
	return fmt.Sprintf("%s at %s, in %.0f s", verb, info.Endpoint, time.Since(began).Seconds()), nil
}
