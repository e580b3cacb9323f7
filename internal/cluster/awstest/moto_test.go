package awstest_test

import (
	"bytes"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// Another simulator, which others have written, shows the same of the networks that plans
// make, and refuses the same.
func TestAgreementWithMoto(t *testing.T) {
	t.Parallel()
	program := python(t, "boto3", "moto")
	for name, file := range map[string]string{"public": publicCluster, "private": privateCluster} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := awstest.New(awstest.Options{Speed: 1e5})
			server := httptest.NewServer(a)
			t.Cleanup(server.Close)
			template := filepath.Join(t.TempDir(), "network.json")
			for _, s := range planned(t, file).Steps {
				if s.ID == "stack/network" {
					if err := os.WriteFile(template, s.Do.Stack.Template, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			ours := shown(t, program, a.Root(), template, server.URL)
			moto := shown(t, program, a.Root(), template)
			if diff := cmp.Diff(moto, ours); diff != "" {
				t.Errorf("they differ (-moto +ours):\n%s", diff)
			}
		})
	}
}

// shown is what one of them says.
func shown(t *testing.T, program string, k awstest.Key, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, append([]string{filepath.Join("testdata", "network.py")}, args...)...)
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "AWS_ACCESS_KEY_ID=" + k.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + k.Secret, "AWS_DEFAULT_REGION=us-west-2",
		"AWS_EC2_METADATA_DISABLED=true", "AWS_MAX_ATTEMPTS=1", "MOTO_ACCOUNT_ID=111122223333",
	}
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), complaints.String())
	}
	return strings.Split(out.String(), "\n")
}
