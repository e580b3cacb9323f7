package eks

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
)

// question is one call, as a judge of policies is asked about it.
type question struct {
	Action   string            `json:"action"`
	Resource string            `json:"resource"`
	Context  map[string]string `json:"context,omitempty"`
}

// dispute is a call that a policy does not allow.
type dispute struct{ Policy, Action, Resource, Verdict string }

// askJudge asks the program of scripts/iam-judge.
func askJudge(t *testing.T, ask map[string]any) (n int, refused []dispute) {
	t.Helper()
	dir := os.Getenv("CORTEX_TEST_JUDGE")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "bin", "judge")
	}
	program := filepath.Join(dir, "judge.mjs")
	if _, err := os.Stat(program); err != nil {
		t.Skip("there is no independent judge of IAM policies on this machine: scripts/iam-judge gets it, and CORTEX_TEST_JUDGE names its folder")
	}
	text, err := json.Marshal(ask)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "node", program)
	cmd.Stdin = bytes.NewReader(text)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("the judge ends with %v\n%s", err, complaints.String())
	}
	var answer struct {
		Judged  int
		Refused []dispute
	}
	if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Judged, answer.Refused
}

// wholeLife is everything that can be done about a cluster, and the calls that it took:
// those of the program, and those that CloudFormation makes or may make for it. wrap is
// around the way to AWS.
func wholeLife(t *testing.T, wrap func(aws.HTTPClient) aws.HTTPClient) (calls []awstest.Call) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *cluster.Config) {
			c.SubnetVisibility, c.KubernetesVersion = cluster.Private, "1.35"
			c.CloudWatchLogs, c.CloudWatchMetrics = true, true
			spot := group("thrifty", 0, 2)
			spot.Spot = true
			c.NodeGroups = append(c.NodeGroups, spot)
			mixes(c)
		})
		w.wrap = wrap
		w.config.SSLCertificateARN = w.aws.AddCertificate("example.com", "ISSUED")
		w.aws.AddUser("carol")
		ctx := t.Context()
		do := func(what string, err error) {
			t.Helper()
			if err != nil {
				w.tell()
				t.Fatalf("%s: %v", what, err)
			}
			settle(t)
		}
		do("up", w.up(ctx))
		a, err := w.open(ctx)
		do("open", err)
		_, err = a.Info(ctx, "iris")
		do("info", err)
		_, err = a.Health(ctx, "iris")
		do("health", err)
		_, err = a.StackDrift(ctx, "iris")
		do("drift", err)
		_, err = a.Grant(ctx, "iris", carol)
		do("grant", err)
		_, err = a.Revoke(ctx, "iris", carol)
		do("revoke", err)
		_, err = w.configure(ctx, func(c *cluster.Config) {
			c.NodeGroups[0].MaxInstances, c.NodeGroups[2].MaxInstances, c.NodeGroups = 8, 6, append(c.NodeGroups[:1:1], c.NodeGroups[2])
			c.APICIDRs = []string{"203.0.113.0/24"}
			c.CloudWatchLogs, c.CloudWatchMetrics = false, false
		})
		do("configure", err)
		do("upgrade", w.upgrade(ctx, ""))
		_, err = w.configure(ctx, func(c *cluster.Config) {
			c.KubernetesVersion = "1.36"
			c.NodeGroups[1].SpotConfig = &cluster.SpotConfig{InstanceDistribution: []string{"m5a.large"}, OnDemandPercentage: 50}
		})
		do("configure again", err)
		_, err = w.down(ctx)
		do("down", err)
		calls = w.aws.Calls()
	})
	return calls
}

// questions are what a judge of policies is asked about calls, each once.
func questions(calls []awstest.Call) (all []question) {
	seen := map[string]bool{}
	for _, c := range calls {
		// The endpoint of S3, which a cluster does without, asks for what the policies lack.
		if c.Implied && (strings.HasPrefix(c.Service, "vpc-lattice") || strings.HasPrefix(c.Service, "vpce")) {
			continue
		}
		for _, resource := range c.Resources {
			q := question{c.Service + ":" + c.Action, resource, c.Context}
			if key := fmt.Sprint(q); !seen[key] {
				seen[key] = true
				all = append(all, q)
			}
		}
	}
	return all
}

// What a whole life of a cluster asks of AWS is allowed by the published minimum policy and
// by ours, as a simulator says that others have written; and ours allows nothing that the
// published one does not.
func TestIndependentJudgeOfPolicies(t *testing.T) {
	t.Parallel()
	var published json.RawMessage = []byte(minimum(t, "iris"))
	ours := cluster.NamesOf("iris", account, region).CallerPolicy()
	policies := map[string]any{"published": published, "ours": ours}
	all := questions(wholeLife(t, nil))
	n, refused := askJudge(t, map[string]any{"account": account, "region": region, "policies": policies, "questions": all})
	t.Logf("%d different calls, judged %d times", len(all), n)
	if len(all) < 150 || n < 2*len(all) {
		t.Errorf("%d calls were judged %d times: not a whole life", len(all), n)
	}
	for _, d := range refused {
		if beyondTheJudge(d) {
			continue
		}
		t.Errorf("%s does not allow %s on %s: %s", d.Policy, d.Action, d.Resource, d.Verdict)
	}
	n, refused = askJudge(t, map[string]any{"account": account, "region": region, "policies": policies, "narrower": "ours", "wider": "published"})
	t.Logf("ours allows %d pairs of an action and a kind of resource", n)
	if n < 300 {
		t.Errorf("%d pairs of ours were judged: not all of it", n)
	}
	for _, d := range refused {
		if !beyondTheJudge(d) {
			t.Errorf("ours allows %s on %s, and the published policy does not", d.Action, d.Resource)
		}
	}
	// A judge that allows everything is none.
	if _, refused = askJudge(t, map[string]any{"account": account, "region": region, "policies": policies, "questions": []question{
		{Action: "iam:CreateUser", Resource: "arn:aws:iam::" + account + ":user/mallory"}, {Action: "s3:GetObject", Resource: "arn:aws:s3:::shop/private"},
	}}); len(refused) != 4 {
		t.Errorf("the judge refuses %v of what neither policy allows, want all", refused)
	}
}

// beyondTheJudge are questions that the judge cannot answer: it does not know parameters
// that are AWS's own, nor that a target group can have tags; and a key of KMS has a policy
// of its own, which decides.
func beyondTheJudge(d dispute) bool {
	unknown := strings.Contains(d.Verdict, "no.resource.types")
	// The handler of a scaling group says in patterns what it asks, which no judge takes for an
	// action; TestCallerPolicyIsEnough has them evaluated.
	pattern := strings.HasSuffix(d.Action, ":Describe*") && strings.Contains(d.Verdict, "invalid.action")
	return pattern || strings.HasPrefix(d.Action, "kms:") && !unknown ||
		unknown && (d.Action == "ssm:GetParameters" && strings.Contains(d.Resource, "::parameter/aws/") || d.Action == "elasticloadbalancing:AddTags" && strings.Contains(d.Resource, ":targetgroup/"))
}
