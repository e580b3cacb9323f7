package eks

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"cortex.dev/cortex/internal/cluster/awsrecord"
)

// botocore is what AWS's models of its services say of a recording: what does not fit, and
// how many exchanges there were of which services.
func botocore(t *testing.T, dir string) (wrong []string, counts map[string]int) {
	t.Helper()
	program, err := exec.LookPath("python3")
	if err == nil {
		err = exec.CommandContext(t.Context(), program, "-c", "import botocore").Run()
	}
	if err != nil {
		t.Skip("there is no python3 with botocore on this machine (pip install botocore)")
	}
	cmd := exec.CommandContext(t.Context(), program, filepath.Join("testdata", "botocore_judge.py"), dir)
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, complaints.String())
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &counts); err != nil {
		t.Fatal(err)
	}
	return lines[:len(lines)-1], counts
}

// Every request of a whole life is one that AWS's models take, and every answer of the
// simulator one that they know.
func TestRequestsAndAnswersFitTheModels(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wholeLife(t, func(next aws.HTTPClient) aws.HTTPClient {
		r, err := awsrecord.New(dir, next, "laptop", func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		return r
	})
	wrong, counts := botocore(t, dir)
	for _, line := range wrong {
		t.Error(line)
	}
	t.Logf("exchanges: %v", counts)
	for _, service := range services {
		if counts[service] == 0 {
			t.Errorf("nothing was said to %s", service)
		}
	}
}

// What a model does not know is found, in requests and in answers, in each protocol.
func TestModelsFindMistakes(t *testing.T) {
	t.Parallel()
	for want, text := range map[string]string{
		"CreateRole has no parameter RoleNam":               `{"service":"iam","action":"CreateRole","request":{"method":"POST","path":"/","body":"Action=CreateRole&RoleName=a&RoleNam=b&AssumeRolePolicyDocument=c"},"response":{"status":200,"body":"<CreateRoleResponse><CreateRoleResult><Role><RoleName>a</RoleName></Role></CreateRoleResult></CreateRoleResponse>"}}`,
		"Missing required parameter in input: \"RoleName\"": `{"service":"iam","action":"GetRole","request":{"method":"POST","path":"/","body":"Action=GetRole"},"response":{"status":400,"body":"<ErrorResponse><Error><Code>ValidationError</Code></Error></ErrorResponse>"}}`,
		"GetRole answers .Role.Nam":                         `{"service":"iam","action":"GetRole","request":{"method":"POST","path":"/","body":"Action=GetRole&RoleName=a"},"response":{"status":200,"body":"<GetRoleResponse><GetRoleResult><Role><Nam>a</Nam></Role></GetRoleResult></GetRoleResponse>"}}`,
		"DescribeVpcs has no parameter VpcIds.1":            `{"service":"ec2","action":"DescribeVpcs","request":{"method":"POST","path":"/","body":"Action=DescribeVpcs&VpcIds.1=a"},"response":{"status":200,"body":"<DescribeVpcsResponse><vpcSet/></DescribeVpcsResponse>"}}`,
		"DescribeVpcs answers .vpcs":                        `{"service":"ec2","action":"DescribeVpcs","request":{"method":"POST","path":"/","body":"Action=DescribeVpcs"},"response":{"status":200,"body":"<DescribeVpcsResponse><vpcs/></DescribeVpcsResponse>"}}`,
		"DescribeCluster answers .cluster.nam":              `{"service":"eks","action":"GET","request":{"method":"GET","path":"/clusters/iris"},"response":{"status":200,"body":"{\"cluster\":{\"nam\":\"iris\"}}"}}`,
		"there is no operation GET /cluster/iris":           `{"service":"eks","action":"GET","request":{"method":"GET","path":"/cluster/iris"},"response":{"status":200,"body":"{}"}}`,
		"CreateLogGroup: Unknown parameter":                 `{"service":"logs","action":"CreateLogGroup","request":{"method":"POST","path":"/","body":"{\"logGroupName\":\"a\",\"nam\":\"b\"}"},"response":{"status":200,"body":""}}`,
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "1.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		wrong, _ := botocore(t, dir)
		if len(wrong) != 1 || !strings.Contains(wrong[0], want) {
			t.Errorf("of %s\nit says %q, want %q", text, wrong, want)
		}
	}
}
