package cluster_test

import (
	"encoding/json"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/cluster"
)

// Who lacks a permission is told which statement gives it: by its number in the published
// policy, by its name in ours.
func TestGranting(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ action, resource, published, ours string }{
		{"iam:CreateRole", "", "statement 4", "statement Roles"},
		{"iam:CreateRole", "arn:aws:iam::111122223333:role/eksctl-iris-0-nodes", "statement 4", "statement Roles"},
		{"iam:CreateRole", "arn:aws:iam::111122223333:role/mine", "", "statement Roles"},
		{"iam:GetRole", "", "statements 3 and 4", "statements Roles and Grant"},
		{"iam:GetRole", "arn:aws:iam::111122223333:role/mine", "statement 3", "statements Roles and Grant"},
		{"iam:CreatePolicy", "arn:aws:iam::111122223333:policy/cortex-iris-us-west-2", "statement 5", "statement Policy"},
		{"ec2:DescribeSubnets", "*", "statement 6", "statement Facts"},
		{"EC2:describesubnets", "*", "statement 6", "statement Facts"},
		{"sqs:DeleteQueue", "arn:aws:sqs:us-west-2:111122223333:cx-1-text", "statement 7", "statement Queues"},
		{"s3:PutObject", "arn:aws:s3:::iris-12345678/cluster/ledger.json", "statements 8 and 9", "statement Bucket"},
		{"logs:CreateLogGroup", "arn:aws:logs:us-west-2:111122223333:log-group:iris", "statement 3", "statement Logs"},
		{"iam:CreateUser", "", "", ""},
		{"", "", "", ""},
	} {
		got := cluster.Granting(tt.action, tt.resource)
		for part, want := range map[string]string{" of the published minimum policy": tt.published, " of the one that": tt.ours} {
			if has := strings.Contains(got, part); has != (want != "") || !strings.Contains(got, want+part) && want != "" {
				t.Errorf("Granting(%q, %q) = %q, want %q", tt.action, tt.resource, got, want+part)
			}
		}
	}
}

// Of the published policy every variable has a value, and it is what AWS takes.
func TestMinimumPolicy(t *testing.T) {
	t.Parallel()
	text := cluster.NamesOf("iris", "111122223333", "us-west-2").MinimumPolicy()
	var policy struct{ Statement []any }
	if err := json.Unmarshal([]byte(text), &policy); err != nil || len(policy.Statement) != 9 || strings.Contains(text, "$") || !strings.Contains(text, "arn:*:s3:::iris*") {
		t.Errorf("MinimumPolicy has %d statements, %v\n%s", len(policy.Statement), err, text)
	}
}
