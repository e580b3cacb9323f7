package awstest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// A Kubernetes that is not simulated is waited for, is told what it has to be, and is where
// load balancers lead.
func TestKubernetesOutside(t *testing.T) {
	t.Parallel()
	const late = 4 * time.Minute
	var asked time.Time // for the control plane
	answers := false
	outside := awstest.Outside{
		Endpoint: func(string) (awstest.Endpoint, bool) {
			if asked.IsZero() {
				asked = time.Now()
			}
			return awstest.Endpoint{URL: "https://10.0.0.1:6443", CA: []byte("an authority")}, time.Since(asked) >= late
		},
		Answers: func(name string, port int) bool { return answers && name == "iris" && port == 30443 },
	}
	bubble(t, awstest.Options{Outside: outside}, func(t *testing.T, a *awstest.Account, r *runner) {
		r.up(planned(t, publicCluster))
		if waited := time.Since(asked); waited < late {
			t.Errorf("the cluster was there %s after its Kubernetes was asked for, which takes %s", waited, late)
		}
		out, err := eks.NewFromConfig(r.cfg).DescribeCluster(r.ctx, &eks.DescribeClusterInput{Name: aws.String("iris")})
		if err != nil || *out.Cluster.Endpoint != "https://10.0.0.1:6443" || *out.Cluster.CertificateAuthority.Data != "YW4gYXV0aG9yaXR5" {
			t.Errorf("the cluster is %+v, %v", out, err)
		}
		asksForIt(t, a)
		hosts := balancers(t, r)
		operator, apis := r.outputs["services"]["OperatorHost"], r.outputs["services"]["ApisHost"]
		if len(hosts) != 2 || !slices.Contains(hosts, operator) || !slices.Contains(hosts, apis) {
			t.Fatalf("load balancers: %q, want %s and %s", hosts, operator, apis)
		}
		for _, tt := range []struct {
			host string
			port int
			to   int
			want string // of the error
		}{
			{operator, 443, 30443, ""},
			{apis, 80, 30080, ""},
			{apis, 443, 0, "no listener"},
			{"another.elb.us-west-2.amazonaws.com", 80, 0, "no load balancer"},
		} {
			name, to, err := a.Leads(tt.host, tt.port)
			if to != tt.to || (name == "iris") != (tt.to > 0) || (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Leads(%s, %d) = %s, %d, %v; want %d, %q", tt.host, tt.port, name, to, err, tt.to, tt.want)
			}
		}
		pass(5 * time.Minute)
		for _, answers = range []bool{false, true} {
			want := 0
			if answers {
				want = 2 // the nodes of Cortex itself, of one of the two load balancers
			}
			if got := healthyTargets(t, r); got != want {
				t.Errorf("with a listener at 30443: %v, %d targets are healthy, want %d", answers, got, want)
			}
		}
	})
}

// asksForIt looks at what the Kubernetes of the cluster has to be.
func asksForIt(t *testing.T, a *awstest.Account) {
	t.Helper()
	all := a.Clusters()
	if len(all) != 1 || all[0].Status != "ACTIVE" || len(all[0].NodeRoles) != 1 {
		t.Fatalf("clusters: %+v", all)
	}
	c := all[0]
	if len(c.Entries) != 1 || c.Entries[0].ARN != "arn:aws:iam::111122223333:user/admin" || !c.Entries[0].Administrator || c.Entries[0].Role || !strings.HasPrefix(c.Entries[0].ID, "AIDA") {
		t.Errorf("entries: %+v", c.Entries)
	}
	i := slices.IndexFunc(c.Groups, func(g awstest.Group) bool { return g.Name == "cx-operator" })
	if i < 0 {
		t.Fatalf("groups: %+v", c.Groups)
	}
	g := c.Groups[i]
	if g.Labels["cortex.dev/system"] != "true" || g.Labels["eks.amazonaws.com/nodegroup"] != "cx-operator" || len(g.Nodes) != 2 || g.Nodes[0].Type != "t3.medium" || g.Nodes[0].Zone == "" {
		t.Errorf("the group is %+v", g)
	}
	if want := (awstest.Taint{Key: "cortex.dev/system", Value: "true", Effect: "NoSchedule"}); len(g.Taints) != 1 || g.Taints[0] != want {
		t.Errorf("its taints are %+v, want %+v", g.Taints, want)
	}
}

func balancers(t *testing.T, r *runner) (hosts []string) {
	t.Helper()
	out, err := elasticloadbalancingv2.NewFromConfig(r.cfg).DescribeLoadBalancers(r.ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range out.LoadBalancers {
		hosts = append(hosts, *b.DNSName)
	}
	return hosts
}

func healthyTargets(t *testing.T, r *runner) (n int) {
	t.Helper()
	client := elasticloadbalancingv2.NewFromConfig(r.cfg)
	for arn := range strings.SplitSeq(r.outputs["services"]["TargetGroups"], ",") {
		out, err := client.DescribeTargetHealth(r.ctx, &elasticloadbalancingv2.DescribeTargetHealthInput{TargetGroupArn: &arn})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range out.TargetHealthDescriptions {
			if h.TargetHealth.State == "healthy" {
				n++
			}
		}
	}
	return n
}
