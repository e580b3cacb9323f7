package testcluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"cortex.dev/cortex/internal/auth/authtest"
)

func TestWhatAClusterSays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name string, v any) string {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	who := write("identities.json", authtest.Config{Region: "us-west-2", Identities: []authtest.Identity{
		{AccessKeyID: "A", SecretAccessKey: "a", ARN: "arn:aws:iam::111122223333:user/alice"},
		{AccessKeyID: "B", SecretAccessKey: "b", SessionToken: "t", ARN: "arn:aws:sts::111122223333:assumed-role/DataScience/bob"},
	}})
	c, err := Read(write("cluster.json", Cluster{Operator: "https://o", APIs: "http://a", Identities: who}))
	if err != nil || c.Operator != "https://o" || c.APIs != "http://a" {
		t.Fatalf("Read() = %+v, %v", c, err)
	}
	for name, want := range map[string][]string{
		"alice": {"AWS_ACCESS_KEY_ID=A", "AWS_SECRET_ACCESS_KEY=a", "AWS_SESSION_TOKEN=", "X=1"},
		"bob":   {"AWS_ACCESS_KEY_ID=B", "AWS_SECRET_ACCESS_KEY=b", "AWS_SESSION_TOKEN=t", "X=1"},
	} {
		keys, err := c.Keys(name)
		if got := slices.Sorted(slices.Values(Environ([]string{"X=1"}, keys))); err != nil || !slices.Equal(got, want) {
			t.Errorf("the environment of %s = %q, %v, want %q", name, got, err, want)
		}
	}
	if _, err := c.Keys("lice"); err == nil || !strings.Contains(err.Error(), "knows no lice") {
		t.Errorf("Keys(lice) = %v, want that nobody is called so", err)
	}
	if _, err := Read(filepath.Join(dir, "nothing")); err == nil || !strings.Contains(err.Error(), "make kube-up") {
		t.Errorf("Read(nothing) = %v, want which command is missing", err)
	}
}
