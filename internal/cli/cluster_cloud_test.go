package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"
	static "github.com/aws/aws-sdk-go-v2/credentials"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
	"cortex.dev/cortex/internal/cluster/eks"
	"cortex.dev/cortex/internal/fault"
)

// installed is a Kubernetes on which the chart is there as soon as it is asked for.
type installed struct{ missing []string }

func (i installed) Missing(context.Context, eks.Place, *cluster.Chart, string) ([]string, string, error) {
	return i.missing, "", nil
}

func (installed) Version() string { return "1" }

func (installed) Apply(context.Context, eks.Place, *cluster.Chart, func(string)) (eks.Applied, error) {
	return eks.Applied{Version: "1", Authority: authority()}, nil
}
func (installed) Release(context.Context, eks.Place, func(string)) error         { return nil }
func (installed) Holding(context.Context, eks.Place) ([]string, error)           { return nil, nil }
func (installed) Nodes(context.Context, eks.Place) (map[string]bool, error)      { return nil, nil }
func (installed) Drain(context.Context, eks.Place, []string, func(string)) error { return nil }
func (installed) Health(context.Context, eks.Place) ([]cluster.Check, error) {
	return []cluster.Check{{Name: "operator", OK: true, Text: "one leads"}}, nil
}
func (installed) Mapped(context.Context, eks.Place) ([]eks.Mapping, error) { return nil, nil }
func (installed) Unmap(context.Context, eks.Place, []eks.Mapping) error    { return nil }

// authority is a certificate, as PEM.
var authority = sync.OnceValue(func() string {
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
})

// desk is somebody at a terminal's place, with a home folder and an AWS account.
type desk struct {
	t    *testing.T
	home string
	env  map[string]string
	aws  *awstest.Account
	kube installed
	wrap func(Cloud) Cloud // what is around the account; nil: nothing
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, home: t.TempDir(), aws: awstest.New(awstest.Options{Account: "111122223333", Region: "us-west-2"})}
	d.env = map[string]string{"HOME": d.home, "CORTEX_CLI_CONFIG_DIR": filepath.Join(d.home, ".cortex")}
	return d
}

// atDesk runs a test in a bubble, at the desk of who may do everything.
func atDesk(t *testing.T, do func(*testing.T, *desk)) {
	t.Helper()
	authority() // its server must not live in the bubble
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		d.as(d.aws.Root())
		do(t, d)
	})
}

func (d *desk) as(k awstest.Key) {
	d.env["AWS_ACCESS_KEY_ID"], d.env["AWS_SECRET_ACCESS_KEY"] = k.AccessKeyID, k.Secret
}

func (d *desk) file(name, text string) string {
	d.t.Helper()
	path := filepath.Join(d.home, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// cortex runs a command line.
func (d *desk) cortex(ctx context.Context, words ...string) (code int, out, told string) {
	var stdout, stderr bytes.Buffer
	env := maps.Clone(d.env)
	code = Run(ctx, words, Streams{strings.NewReader(""), &stdout, &stderr}, func(name string) string { return env[name] }, Hooks{Version: "1", Cluster: &ClusterHooks{
		Cloud: func(ctx context.Context, keys CloudKeys, region string) (Cloud, error) {
			k, err := keys(ctx)
			if err != nil {
				return nil, err
			}
			cfg := d.aws.Config(d.aws.Root())
			cfg.Credentials, cfg.Region = aws.NewCredentialsCache(static.NewStaticCredentialsProvider(k.ID, k.Secret.Text(), k.Token.Text())), region
			account, err := eks.Open(ctx, cfg, d.kube)
			if err != nil {
				return nil, err
			}
			if d.wrap != nil {
				return d.wrap(account), nil
			}
			return account, nil
		},
	}})
	if err := seen.hold(words, stdout.String()); err != nil {
		d.t.Error(err)
	}
	if secret := d.env["AWS_SECRET_ACCESS_KEY"]; secret != "" && strings.Contains(stdout.String()+stderr.String(), secret) {
		d.t.Errorf("%v tells the secret access key", words)
	}
	return code, stdout.String(), stderr.String()
}

const irisFile = `cluster_name: iris
region: us-west-2
node_groups:
  - name: cpu
    instance_type: m5.large
`

// A cluster from its first plan to the last look whether anything is left.
func TestClusterOnAWS(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		ctx := t.Context()
		file := d.file("cluster.yaml", irisFile)
		want := func(words []string, wantCode int, wantOut ...string) string {
			t.Helper()
			code, out, told := d.cortex(ctx, words...)
			if code != wantCode {
				t.Fatalf("cortex %s = %d, want %d\n%s%s", strings.Join(words, " "), code, wantCode, out, told)
			}
			for _, text := range wantOut {
				if !strings.Contains(out+told, text) {
					t.Errorf("cortex %s says\n%s%s\nand not %q", strings.Join(words, " "), out, told, text)
				}
			}
			return out
		}
		want([]string{"cluster", "plan", file}, 0, "cluster iris in us-west-2 of account 111122223333", "stack                    eksctl-iris-cortex-network", "using aws access key id AKIA…", "an hour, about $")
		if l := d.aws.Left(); len(l) > 0 {
			t.Fatalf("plan has made %q", l)
		}
		want([]string{"cluster", "info"}, 2, "give --name and --region")
		want([]string{"cluster", "info", "-n", "iris", "-r", "us-west-2"}, 1, "there is no cluster iris in us-west-2 of account 111122223333")
		want([]string{"cluster", "up", file, "--yes"}, 0, "✓ stack/cluster", "cluster iris is there", "operator endpoint", "`cortex deploy --env iris`")
		want([]string{"env", "list"}, 0, "iris")
		want([]string{"cluster", "info"}, 0, "cluster iris in us-west-2 of account 111122223333: active, Kubernetes 1.36", "cx-wd-cpu", "an hour now")
		var s struct {
			Network cluster.Network      `json:"network"`
			Groups  []cluster.GroupState `json:"node_groups"`
		}
		if err := json.Unmarshal([]byte(want([]string{"cluster", "info", "-o", "json"}, 0)), &s); err != nil || s.Network.CIDR != "192.168.0.0/16" || len(s.Groups) != 2 {
			t.Errorf("info -o json is %+v, %v", s, err)
		}
		want([]string{"cluster", "configure", file, "--yes"}, 0, "cluster iris is what")
		d.file("cluster.yaml", irisFile+"    max_instances: 9\n")
		want([]string{"cluster", "configure", file, "--yes"}, 0, "scale   stack/nodes-cx-wd-cpu", "from 1 to 9 nodes, was 1 to 5")
		d.file("cluster.yaml", irisFile+"subnet_visibility: private\n")
		want([]string{"cluster", "configure", file, "--yes"}, 1, "cluster.yaml:6:", "cannot be changed while the cluster is there")
		want([]string{"cluster", "health", "--name", "iris"}, 0, "control plane", "Kubernetes 1.36, active", "load balancer targets  ok", "operator: 2 of 2 nodes", "one leads")
		want([]string{"cluster", "health", "--name", "iris", "--kubeconfig", "k"}, 2, "give one kind")
		if out := want([]string{"cluster", "health", "--region", "us-west-2", "-o", "json"}, 0); !strings.Contains(out, `"node_groups": true`) {
			t.Errorf("health -o json is %s", out)
		}
		if code, out, told := d.cortex(ctx, "cluster", "token"); code != 0 || told != "" || !strings.Contains(out, `"token":"k8s-aws-v1.`) {
			t.Errorf("token = %d\n%s%s\nwant a token, and no word that kubectl would show", code, out, told)
		}
		d.aws.Ail("iris", "coredns", "InsufficientNumberOfReplicas", "too few replicas")
		want([]string{"cluster", "health", "--name", "iris"}, 1, "coredns: InsufficientNumberOfReplicas", "1 thing of ")
		want([]string{"cluster", "info", "--drift", "--configure-env", "mine"}, 0, "AWS finds nothing that was changed past the stacks", "the environment mine leads to it")
		want([]string{"env", "list"}, 0, "mine")
		want([]string{"cluster", "upgrade"}, 0, "cluster iris has Kubernetes 1.36, with its newest images and add-ons")
		want([]string{"cluster", "upgrade", "--to", "1.35"}, 1, "EKS takes no cluster back to 1.35", "cortex cluster export")
		d.aws.NewImages("20260901")
		want([]string{"cluster", "upgrade"}, 2, "Kubernetes 1.36 stays, with its newest images and add-ons:", "stack/nodes-cx-operator", "about ", "group by group", "there is no terminal to ask on")
		want([]string{"cluster", "upgrade", "--yes"}, 0, "✓ stack/nodes-cx-wd-cpu", "cluster iris has Kubernetes 1.36")
		want([]string{"cluster", "down", "--verify"}, 1, "✗ stack", "left, for $")
		want([]string{"cluster", "down", "--verify", "-o", "json"}, 1, `"left"`)
		want([]string{"cluster", "down", "--yes"}, 0, "✓ bucket", "nothing is left")
		want([]string{"cluster", "down", "-n", "iris", "-r", "us-west-2", "--verify"}, 0, "nothing is left")
		if l := d.aws.Left(); len(l) > 0 {
			t.Errorf("left: %q", l)
		}
		if _, out, _ := d.cortex(ctx, "env", "list"); strings.Contains(out, "iris") {
			t.Errorf("the environment of a cluster that is gone is there:\n%s", out)
		}
	})
}

// Nothing is made of a cluster whose images are nowhere.
func TestUpWithoutImages(t *testing.T) {
	t.Parallel()
	atDesk(t, func(t *testing.T, d *desk) {
		d.kube.missing = []string{"registry.example.com/cortex/operator:1"}
		file := d.file("cluster.yaml", irisFile)
		code, _, told := d.cortex(t.Context(), "cluster", "up", file, "--yes")
		if l := d.aws.Left(); code != 1 || !strings.Contains(told, "these images do not exist; nothing was made:") || !strings.Contains(told, "operator:1") || len(l) > 0 {
			t.Errorf("up = %d\n%s\nleft %q", code, told, l)
		}
	})
}

// Half a pair is named, in the words of where it stands.
func TestPairs(t *testing.T) {
	t.Parallel()
	for i, want := range []string{
		"", "--aws-secret", "--aws-key", "", // by which of the first pair is given
		"--cluster-aws-secret", "--aws-secret", "--aws-key", "--cluster-aws-secret", // and the id of the second
		"--cluster-aws-key", "--aws-secret", "--aws-key", "--cluster-aws-key", // and the secret of the second
		"--aws-key and --aws-secret", "--aws-secret", "--aws-key", "", // and both
	} {
		for _, words := range [][4]string{flagWords, envWords} {
			f := four{words: words}
			for bit := range 4 {
				if i&(1<<bit) != 0 {
					f.values[bit] = "given"
				}
			}
			parts := strings.Split(want, " and ")
			for k, part := range parts {
				for j, flag := range flagWords {
					if part == flag {
						parts[k] = words[j]
					}
				}
			}
			if got, wanted := f.pairRule(), strings.Join(parts, " and "); got != wanted {
				t.Errorf("with %v the missing half is %q, want %q", f.values, got, wanted)
			}
		}
	}
}

// The order in which credentials are looked for: flags, the cache, the environment.
func TestWhichCredentials(t *testing.T) {
	t.Parallel()
	authority() // its server must not live in the bubble
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		ctx := t.Context()
		env, flag := d.aws.Root(), d.aws.AddUser("flagged", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`)
		info := func(words ...string) string {
			_, _, told := d.cortex(ctx, append([]string{"cluster", "info", "-n", "iris", "-r", "us-west-2"}, words...)...)
			return told
		}
		last := func(id string) string { return "…" + id[len(id)-4:] }
		d.as(env)
		if told := info(); !strings.Contains(told, last(env.AccessKeyID)+" from the environment") {
			t.Errorf("with the environment: %s", told)
		}
		if _, err := os.Stat(filepath.Join(d.home, ".cortex", "credentials")); err == nil {
			t.Error("credentials of the environment were remembered")
		}
		if told := info("--aws-key", flag.AccessKeyID, "--aws-secret", flag.Secret); !strings.Contains(told, "user/flagged") {
			t.Errorf("with flags: %s", told)
		}
		path := filepath.Join(d.home, ".cortex", "credentials", "us-west-2-iris.json")
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != 0o600 {
			t.Errorf("the cache: %v, %v", i, err)
		}
		if told := info(); !strings.Contains(told, last(flag.AccessKeyID)+" from the cache of cluster iris") || !strings.Contains(told, "user/flagged") {
			t.Errorf("with a cache: %s", told)
		}
		code, _, told := d.cortex(ctx, "cluster", "info", "-n", "iris", "-r", "eu-central-1")
		if !strings.Contains(told, "from the environment") {
			t.Errorf("in another region: %d, %s", code, told)
		}
		if code, _, told := d.cortex(ctx, "cluster", "info", "-n", "iris", "-r", "us-west-2", "--aws-key", "AKIA"); code != fault.ExitUsage || !strings.Contains(told, "--aws-secret is missing") {
			t.Errorf("half a pair: %d, %s", code, told)
		}
		for _, text := range []string{flag.Secret, env.Secret} {
			if strings.Contains(fmt.Sprint(told, info()), text) {
				t.Error("a secret was printed")
			}
		}
	})
}
