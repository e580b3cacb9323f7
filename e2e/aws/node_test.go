package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	ekstypes "github.com/aws/aws-sdk-go-v2/service/eks/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"

	clustereks "cortex.dev/cortex/internal/cluster/eks"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// nodeVariable names scripts/kube, built: then these tests start a node of Kubernetes.
const nodeVariable = "CORTEX_TEST_AWS"

// real is a cluster of EKS behind which there is a Kubernetes of this machine.
type real struct {
	t       *testing.T
	world   *world
	account *awstest.Account
	url     string
	client  *http.Client
}

const clusterName = "iris"

func newReal(t *testing.T) *real {
	t.Helper()
	program := os.Getenv(nodeVariable)
	if program == "" {
		t.Skipf("there is no node of Kubernetes to start: make e2e-aws does (it sets %s)", nodeVariable)
	}
	var said logged
	w := &world{proxyAt: "127.0.0.1:0", dir: t.TempDir(), program: program, log: &said}
	r := &real{t: t, world: w, account: w.account(awstest.Options{Account: "111122223333", Region: "us-west-2", Speed: 200})}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- w.serve(ctx, "127.0.0.1:0", nil, in) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the account ended with %v", err)
		}
		if t.Failed() {
			t.Logf("it said:\n%s", said.text())
		}
	})
	if err := json.NewDecoder(out).Decode(&map[string]any{}); err != nil {
		t.Fatal(err)
	}
	r.create()
	return r
}

// logged is a log that is read while it is written.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// well fails the test unless a call went well.
func well[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// makeCluster makes the least that is a cluster.
func makeCluster(t *testing.T, a *awstest.Account) *eks.Client {
	t.Helper()
	ctx, cfg := t.Context(), a.Config(a.Root())
	role := well[*iam.CreateRoleOutput](t)(iam.NewFromConfig(cfg).CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("control"), AssumeRolePolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"eks.amazonaws.com"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`)}))
	nets := ec2.NewFromConfig(cfg)
	vpc := well[*ec2.CreateVpcOutput](t)(nets.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("192.168.0.0/16")})).Vpc.VpcId
	var subnets []string
	for i, zone := range []string{"us-west-2a", "us-west-2b"} {
		made := well[*ec2.CreateSubnetOutput](t)(nets.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc, AvailabilityZone: &zone, CidrBlock: aws.String(fmt.Sprintf("192.168.%d.0/24", i))}))
		subnets = append(subnets, *made.Subnet.SubnetId)
	}
	clusters := eks.NewFromConfig(cfg)
	until(t, "the control plane to be asked for", func() error {
		_, err := clusters.CreateCluster(ctx, &eks.CreateClusterInput{
			Name: aws.String(clusterName), RoleArn: role.Role.Arn, ResourcesVpcConfig: &ekstypes.VpcConfigRequest{SubnetIds: subnets}, BootstrapSelfManagedAddons: aws.Bool(false),
			AccessConfig: &ekstypes.CreateAccessConfigRequest{AuthenticationMode: ekstypes.AuthenticationModeApiAndConfigMap},
		})
		return err // until IAM has spread the role
	})
	return clusters
}

// create makes a cluster, and waits for its control plane.
func (r *real) create() {
	t, ctx := r.t, r.t.Context()
	clusters := makeCluster(t, r.account)
	until(t, "the control plane", func() error {
		c := well[*eks.DescribeClusterOutput](t)(clusters.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String(clusterName)})).Cluster
		if c.Status != ekstypes.ClusterStatusActive {
			return fmt.Errorf("it is %s", c.Status)
		}
		ca, err := base64.StdEncoding.DecodeString(*c.CertificateAuthority.Data)
		roots := x509.NewCertPool()
		if err != nil || !roots.AppendCertsFromPEM(ca) {
			t.Fatalf("its authority cannot be read: %v", err)
		}
		r.url = *c.Endpoint
		r.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}}
		return nil
	})
}

// until asks until there is no error, for two minutes at most.
func until(t *testing.T, what string, ask func() error) {
	t.Helper()
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	over := time.After(2 * time.Minute)
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-over:
			t.Fatalf("waited for %s: %v", what, err)
		}
	}
}

// user is who an API server takes somebody for.
type user struct {
	Username string   `json:"username"`
	Groups   []string `json:"groups"`
}

// whoIs asks the API server of the cluster whose token this is; nobody's is "".
func (r *real) whoIs(token string) user {
	r.t.Helper()
	body := `{"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}`
	req := well[*http.Request](r.t)(http.NewRequestWithContext(r.t.Context(), http.MethodPost, r.url+"/apis/authentication.k8s.io/v1/selfsubjectreviews", strings.NewReader(body)))
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp := well[*http.Response](r.t)(r.client.Do(req))
	defer resp.Body.Close()
	var review struct {
		Status struct {
			UserInfo user `json:"userInfo"`
		} `json:"status"`
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized:
	case http.StatusCreated:
		if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&review); err != nil {
			r.t.Fatal(err)
		}
	default:
		r.t.Fatalf("the API server answers %s", resp.Status)
	}
	return review.Status.UserInfo
}

// ours is a token as `cortex cluster token` makes it.
func (r *real) ours(k awstest.Key, cluster string) string {
	r.t.Helper()
	a := well[*clustereks.Account](r.t)(clustereks.Open(r.t.Context(), r.account.Config(k), nil))
	text, _, err := a.Token(r.t.Context(), cluster)
	if err != nil {
		r.t.Fatal(err)
	}
	return text
}

// by is a token that another program makes; "" where it is not on this machine.
func (r *real) by(k awstest.Key, program string, args ...string) string {
	r.t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		r.t.Logf("there is no %s on this machine: what it makes is not judged", filepath.Base(program))
		return ""
	}
	cmd := exec.CommandContext(r.t.Context(), path, args...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + r.t.TempDir(), "AWS_EC2_METADATA_DISABLED=true", "AWS_REGION=us-west-2", "AWS_DEFAULT_REGION=us-west-2", "AWS_STS_REGIONAL_ENDPOINTS=regional",
		"AWS_ACCESS_KEY_ID=" + k.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + k.Secret, "AWS_SESSION_TOKEN=" + k.SessionToken,
	}
	out := well[[]byte](r.t)(cmd.Output())
	var made struct{ Status struct{ Token string } }
	if err := json.Unmarshal(out, &made); err != nil {
		r.t.Fatal(err)
	}
	return made.Status.Token
}

// entry makes an access entry, with the policy of administrators.
func (r *real) entry(arn string) {
	r.t.Helper()
	ctx, clusters := r.t.Context(), eks.NewFromConfig(r.account.Config(r.account.Root()))
	well[*eks.CreateAccessEntryOutput](r.t)(clusters.CreateAccessEntry(ctx, &eks.CreateAccessEntryInput{ClusterName: aws.String(clusterName), PrincipalArn: &arn}))
	until(r.t, "the entry to be known", func() error {
		_, err := clusters.AssociateAccessPolicy(ctx, &eks.AssociateAccessPolicyInput{
			ClusterName: aws.String(clusterName), PrincipalArn: &arn, PolicyArn: aws.String("arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"),
			AccessScope: &ekstypes.AccessScope{Type: ekstypes.AccessScopeTypeCluster},
		})
		return err
	})
}

func (r *real) noEntry(arn string) {
	r.t.Helper()
	well[*eks.DeleteAccessEntryOutput](r.t)(eks.NewFromConfig(r.account.Config(r.account.Root())).DeleteAccessEntry(r.t.Context(), &eks.DeleteAccessEntryInput{ClusterName: aws.String(clusterName), PrincipalArn: &arn}))
}

// mapUsers writes aws-auth, as eksctl does; lines is YAML.
func (r *real) mapUsers(lines string) {
	r.t.Helper()
	text := well[[]byte](r.t)(json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "aws-auth", "namespace": "kube-system"}, "data": map[string]string{"mapUsers": lines},
	}))
	well[string](r.t)(r.world.mirror.kubectl(r.t.Context(), text, "apply", "--server-side", "--force-conflicts", "--field-manager", "eksctl", "-f", "-"))
}

// becomes waits until the API server takes somebody for whom it should.
func (r *real) becomes(name string, k awstest.Key, username, group string) {
	r.t.Helper()
	until(r.t, name, func() error {
		who := r.whoIs(r.ours(k, clusterName))
		if who.Username != username || group != "" && !slices.Contains(who.Groups, group) {
			return fmt.Errorf("the API server takes her for %+v, want %q of %q", who, username, group)
		}
		return nil
	})
}

const arnOf = "arn:aws:iam::111122223333:user/"

// Who is let in, by the authenticator that EKS itself is made with.
func TestWhoIsLetIn(t *testing.T) {
	r := newReal(t)
	creator := r.account.Root()
	bob, carol, dora := r.account.AddUser("bob"), r.account.AddUser("carol"), r.account.AddUser("dora")
	session := r.account.AddSession("Admins", "erin", time.Hour)
	r.entry("arn:aws:iam::111122223333:role/Admins")
	r.entry(arnOf + "dora")

	// The creator is an administrator from the first, whoever has made her token.
	r.becomes("the creator", creator, arnOf+"admin", administrators)
	authenticator := filepath.Join(filepath.Dir(r.world.program), "kube", "programs", "aws-iam-authenticator")
	for name, token := range map[string]string{
		"aws-iam-authenticator":   r.by(creator, authenticator, "token", "-i", clusterName, "--region", "us-west-2"),
		"the command line of AWS": r.by(creator, "aws", "eks", "get-token", "--cluster-name", clusterName),
	} {
		if token == "" {
			continue
		}
		if who := r.whoIs(token); who.Username != arnOf+"admin" || !slices.Contains(who.Groups, administrators) {
			t.Errorf("with the token of %s she is %+v", name, who)
		}
	}
	r.becomes("a session of a role", session, "arn:aws:sts::111122223333:assumed-role/Admins/erin", administrators)
	r.becomes("dora", dora, arnOf+"dora", administrators)

	for name, token := range map[string]string{
		"a token for another cluster": r.ours(creator, "other"),
		"a wrong secret":              r.by(awstest.Key{AccessKeyID: creator.AccessKeyID, Secret: "wrong"}, authenticator, "token", "-i", clusterName, "--region", "us-west-2"),
		"a user without an entry":     r.ours(bob, clusterName),
		"no token at all":             "k8s-aws-v1.nothing",
	} {
		if who := r.whoIs(token); who.Username != "" {
			t.Errorf("%s: it is taken for %+v, want nobody", name, who)
		}
	}

	// An entry and aws-auth, in all four combinations; in the order in which revoking goes
	// wrong when it thinks of the entry only.
	mapped := "- userarn: " + arnOf + "carol\n  username: carol-by-map\n  groups:\n  - system:masters\n"
	r.becomes("carol, with neither", carol, "", "")
	r.entry(arnOf + "carol")
	r.becomes("carol, with an entry", carol, arnOf+"carol", administrators)
	r.mapUsers(mapped)
	r.becomes("carol, with both: the entry counts", carol, arnOf+"carol", administrators)
	r.noEntry(arnOf + "carol")
	r.becomes("carol, with aws-auth alone", carol, "carol-by-map", "system:masters")
	r.mapUsers("[]\n")
	r.becomes("carol, with neither again", carol, "", "")

	// Who is made again under her name is somebody else.
	r.account.RemoveUser("dora")
	r.becomes("another dora", r.account.AddUser("dora"), "", "")
}
