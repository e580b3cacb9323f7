package cluster_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// promises are what the documentation of releases 0.20 to 0.42 says of clusters on AWS, row
// by row, and the tests that hold it: names of functions, or scripts by their paths. What is
// not kept says what became of it.
var promises = []struct{ row, says, tests string }{
	{"C1", "--aws-key and --aws-secret make the cluster", "TestWhichCredentials TestClusterOnAWS"},
	{"C2", "a pair for the cluster: refused, because nothing in a cluster is given a key (ADR 48)", "internal/cli/testdata/cluster_keys.txtar TestNoSecretAnywhere"},
	{"C3", "without one the first pair is the cluster's: likewise", "internal/cli/testdata/cluster_keys.txtar TestNoSecretAnywhere"},
	{"C4", "then the cache of this name and region, which outlives the cluster", "TestWhichCredentials"},
	{"C5", "then the environment", "TestWhichCredentials"},
	{"C6", "then profiles, and whatever the SDK finds", "TestEachSourceOfCredentials"},
	{"C7", "at last it asks, but not with --yes", "internal/cli/testdata/cluster_keys.txtar"},
	{"C8", "half a pair is an error that names the other half", "TestPairs"},
	{"C9", "a session token belongs to its pair, and is never remembered", "TestWhichCredentials TestHintAboutAKeyAndATokenThatDoNotGoTogether"},
	{"C10", "which credentials are used is said", "TestWhichCredentials"},
	{"N1", "nodes are in public subnets with public addresses", "TestPlansOfTheMatrixAreRight TestAgreementWithMoto"},
	{"N2", "or private ones, behind a NAT gateway", "TestPlansOfTheMatrixAreRight TestAgreementWithMoto"},
	{"N3", "nat_gateway: single, highly_available, none", "TestPlansOfTheMatrixAreRight TestRulesOfTheFile"},
	{"N4", "the operator's balancer faces the internet, or is internal", "TestPlansOfTheMatrixAreRight TestGoldenPlans"},
	{"N5", "the APIs' too; both can be narrowed by lists", "TestPlansOfTheMatrixAreRight TestConfigure TestStackDrift"},
	{"N6", "an internal operator is reached by peering: what that takes is said, and what hangs on it is named", "TestInternalOperator TestInfoInOwnSubnets TestDownWithAPeering"},
	{"I1", "the operator takes any active identity of the account", "TestProofs TestProvenIsNotAllowed TestOtherAccountIsToldItsOwnARN"},
	{"I2", "whoever makes the cluster administers it", "TestAccessEntries TestGrantAndRevoke"},
	{"I3", "nobody else, until granted; and not after it was revoked", "TestGrantAndRevoke TestIdentities"},
	{"I4", "mappings of eksctl are honoured, and revoked too", "TestGrantAndRevoke TestIdentities TestSamePrincipal TestWhoIsLetIn"},
	{"P1", "iam_policy_arns are what APIs may do; what there is not is refused", "TestPlansOfTheMatrixAreRight TestRulesOfTheAccount"},
	{"P2", "cortex-CLUSTER-REGION is made, attached, and deleted with all its versions", "TestDownOfAUsedCluster TestPlansOfTheMatrixAreRight"},
	{"P3", "widening it widens what all APIs may do at once", "TestPlansOfTheMatrixAreRight"},
	{"P4", "the published minimum policy is enough for every command", "TestLife TestIndependentJudgeOfPolicies TestMissingStatementIsNamed TestPoliciesSideBySide"},
	{"P5", "the operator has no more than was published", "TestPlansOfTheMatrixAreRight"},
	{"P6", "what the operator may do names its resources", "TestPlansOfTheMatrixAreRight"},
	{"S1", "names, encryption and tags of bucket, queues and log group; down empties or keeps them", "TestNames TestPlansOfTheMatrixAreRight TestDownOfAUsedCluster TestDownKeepsData"},
	{"S2", "an API Gateway is never made", "TestPlansOfTheMatrixAreRight"},
	{"S3", "what configure may change, and what not", "TestConfigure TestConfigureRefuses TestReconfigure TestKilledAnywhereWhileConfiguring"},
	{"S4", "every key of node_groups has an effect, or is refused with a reason", "TestRulesOfTheFile TestPlansOfTheMatrixAreRight TestClusterReference"},
}

// Each promise names tests that there are.
func TestPromisesNameTheirTests(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	there := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, folder := range []string{"internal", "e2e", "docs"} {
		err := filepath.WalkDir(filepath.Join(root, folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range function.FindAllSubmatch(text, -1) {
				there[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	rows := map[byte]int{}
	for _, p := range promises {
		rows[p.row[0]]++
		if len(strings.Fields(p.tests)) == 0 {
			t.Errorf("%s (%s) names no test", p.row, p.says)
		}
		for _, name := range strings.Fields(p.tests) {
			if strings.Contains(name, "/") {
				if _, err := os.Stat(filepath.Join(root, name)); err != nil {
					t.Errorf("%s (%s) names the script %s: %v", p.row, p.says, name, err)
				}
				continue
			}
			if !there[name] {
				t.Errorf("%s (%s) names %s, which is no test", p.row, p.says, name)
			}
		}
	}
	for kind, n := range map[byte]int{'C': 10, 'N': 6, 'I': 4, 'P': 6, 'S': 4} {
		if rows[kind] != n {
			t.Errorf("there are %d promises %c, want %d", rows[kind], kind, n)
		}
	}
}
