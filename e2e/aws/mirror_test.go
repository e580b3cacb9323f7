package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eks"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// script is a program that notes what it was asked for.
func script(t *testing.T, path, does string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	text := "#!/bin/sh\necho \"$(basename $0) $*\" >> " + filepath.Join(filepath.Dir(path), "asked") + "\n" + does + "\n"
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func asked(t *testing.T, dir string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// A node is started when a cluster is made, hears of access entries, and ends with the
// cluster.
func TestMirror(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	programs := filepath.Join(dir, "kube", "programs")
	script(t, filepath.Join(dir, "kube-node"), "")
	script(t, filepath.Join(programs, "kubectl"), `case "$*" in *"config view"*) echo "https://127.0.0.1:6443 YQ==" ;; *) cat > /dev/null ;; esac`)
	m := &mirror{program: filepath.Join(dir, "kube-node"), region: "us-west-2", dir: t.TempDir(), proxy: "http://127.0.0.1:1", authority: "/aws.pem", log: &logged{}}
	guests := make(chan string, 2)
	m.opened = func(ctx context.Context, address string) error {
		guests <- address
		<-ctx.Done()
		guests <- "gone"
		return nil
	}
	m.account = awstest.New(awstest.Options{Speed: 500, Outside: awstest.Outside{Endpoint: m.endpoint, Answers: m.answers}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()

	clusters := makeCluster(t, m.account)
	until(t, "the cluster", func() error {
		out, err := clusters.DescribeCluster(ctx, &eks.DescribeClusterInput{Name: aws.String(clusterName)})
		if err == nil && (out.Cluster.Endpoint == nil || *out.Cluster.Endpoint != "https://127.0.0.1:6443") {
			err = fmt.Errorf("it is %s", out.Cluster.Status)
		}
		return err
	})
	if got, want := asked(t, dir), "kube-node eks "+filepath.Join(m.dir, "cluster.json")+"\n"; got != want {
		t.Errorf("the node was asked %q, want %q", got, want)
	}
	if address := <-guests; address != "127.0.0.1" {
		t.Errorf("the names of AWS are served at %q, want the address of the node", address)
	}
	until(t, "the entry of the creator", func() error {
		text, err := os.ReadFile(filepath.Join(m.dir, "access-entries.json"))
		if err == nil && (!strings.Contains(string(text), `"userarn":"arn:aws:iam::111122223333:user/admin"`) || !strings.Contains(string(text), administrators)) {
			err = fmt.Errorf("the entries are %s", text)
		}
		return err
	})
	if _, err := clusters.DeleteCluster(ctx, &eks.DeleteClusterInput{Name: aws.String(clusterName)}); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the node", func() error {
		if !strings.HasSuffix(asked(t, dir), "kube-node down\n") {
			return errors.New("it goes on")
		}
		return nil
	})
	if said := <-guests; said != "gone" {
		t.Errorf("what runs with the node says %q, want that it has ended", said)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the mirror ended with %v", err)
	}
	if n := strings.Count(asked(t, dir), "down"); n != 1 {
		t.Errorf("the node was ended %d times, want once", n)
	}
}
