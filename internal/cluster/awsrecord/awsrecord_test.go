package awsrecord

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// whole is everything that a recording holds.
func whole(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.WriteString(file + "\n" + string(data) + "\n")
	}
	return all.String()
}

const secrets = "987654321098 123450006789 AKIAIOSFODNN7ABCDEFG AROAJ55OABCDEFGHIJKLM alice eve-laptop wJalrXUtnFEMI FwoGZXIvYXdzEBY fe5f80f77d5fa3beca038a248ff027d0 hunter2 shop-database private/plans.txt"

// Nothing secret and nothing of anybody's is written, wherever in an exchange it stands.
func TestNothingSecretIsWritten(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Amzn-Errortype", "of account 987654321098")
		switch {
		case strings.Contains(r.Header.Get("Authorization"), "/s3/"):
			_, _ = io.WriteString(w, `<ListVersionsResult><Version><Key>private/plans.txt</Key></Version></ListVersionsResult>`)
		case strings.Contains(r.Header.Get("Authorization"), "/cloudformation/"):
			_, _ = io.WriteString(w, `<DescribeStacksResponse><DescribeStacksResult><Stacks>`+
				`<member><Parameters><member><ParameterKey>Password</ParameterKey><ParameterValue>hunter2</ParameterValue></member></Parameters><StackName>shop-database</StackName></member>`+
				`<member><StackName>eksctl-iris-cortex-network</StackName><StackId>arn:aws:cloudformation:us-west-2:987654321098:stack/eksctl-iris-cortex-network/1</StackId></member>`+
				`</Stacks></DescribeStacksResult></DescribeStacksResponse>`)
		default:
			_, _ = io.WriteString(w, `{"arn":"arn:aws:iam::987654321098:user/alice","id":"AROAJ55OABCDEFGHIJKLM:alice","sts":"arn:aws:sts::123450006789:assumed-role/Admins/alice",`+
				`"owners":"987654321098,987654321098","machine":"eve-laptop","SessionToken":"FwoGZXIvYXdzEBY","x":"AKIAIOSFODNN7ABCDEFG"}`)
		}
	}))
	t.Cleanup(server.Close)
	dir := filepath.Join(t.TempDir(), "run")
	r, err := New(dir, server.Client(), "eve-laptop", func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"eks", "s3", "cloudformation"} {
		body := "Action=DescribeStacks&A=arn%3Aaws%3Aiam%3A%3A987654321098%3Auser%2Falice"
		if service == "s3" {
			body = "<Delete><Object><Key>private/plans.txt</Key></Object></Delete>"
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/entries/arn%3Aaws%3Aiam%3A%3A987654321098%3Auser%2Falice?X-Amz-Signature=fe5f80f77d5fa3beca038a248ff027d0&X-Amz-Security-Token=FwoGZXIvYXdzEBY", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7ABCDEFG/20260714/us-west-2/"+service+"/aws4_request, Signature=fe5f80f77d5fa3beca038a248ff027d0")
		req.Header.Set("X-Amz-Security-Token", "FwoGZXIvYXdzEBY")
		req.Header.Set("X-Secret", "wJalrXUtnFEMI")
		resp, err := r.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || len(got) == 0 || strings.Contains(string(got), "somebody") {
			t.Errorf("who is recorded hears %q, %v; want what AWS said", got, err)
		}
	}
	text := whole(t, dir)
	for _, secret := range strings.Fields(secrets) {
		if strings.Contains(text, secret) {
			t.Errorf("the recording holds %s:\n%s", secret, text)
		}
	}
	for _, want := range []string{"111122223333", "222233334444", "user/somebody", "eksctl-iris-cortex-network", `"action": "DescribeStacks"`, `"service": "cloudformation"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the recording does not hold %s:\n%s", want, text)
		}
	}
}

// A folder that cannot be written is said, and no reason to stop a run.
func TestRecordingThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	dir := filepath.Join(t.TempDir(), "run")
	var failed []error
	r, err := New(dir, server.Client(), "", func(err error) { failed = append(failed, err) })
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := r.Do(req)
		if err != nil || resp.StatusCode != http.StatusNotFound {
			t.Fatalf("Do = %v, %v; want the answer", resp, err)
		}
		if err := resp.Body.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(failed) != 1 {
		t.Errorf("what is wrong was told as %v, want once", failed)
	}
	if _, err := Play(dir, nil); err == nil {
		t.Error("a folder without exchanges is played")
	}
}

// Stacks that cannot be read are left out whole.
func TestStacksThatCannotBeRead(t *testing.T) {
	t.Parallel()
	if got := onlyOurStacks([]byte("<Stacks><member><StackName>a</Stack")); got != nil {
		t.Errorf("onlyOurStacks = %q, want nothing", got)
	}
}
