package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"cortex.dev/cortex/internal/cluster/awstest"
)

func TestServedAccount(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:CreateVpc","Resource":"*"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	out, in := io.Pipe()
	ended := make(chan int, 1)
	var complaints bytes.Buffer
	go func() { ended <- run(ctx, []string{"-user", "alice=" + file, "-user", "carol"}, in, &complaints) }()
	var said struct {
		URL  string
		Keys map[string]awstest.Key
	}
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &said) != nil {
		t.Fatalf("it said %q, %v", line, err)
	}
	config := func(name string) aws.Config {
		k := said.Keys[name]
		return aws.Config{Region: "us-west-2", BaseEndpoint: &said.URL, Credentials: credentials.NewStaticCredentialsProvider(k.AccessKeyID, k.Secret, "")}
	}
	if got, err := sts.NewFromConfig(config("carol")).GetCallerIdentity(ctx, nil); err != nil || !strings.HasSuffix(*got.Arn, "user/carol") {
		t.Errorf("carol is %v, %v", got, err)
	}
	vpc := &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}
	if _, err := ec2.NewFromConfig(config("alice")).CreateVpc(ctx, vpc); err != nil {
		t.Errorf("alice: %v", err)
	}
	if _, err := ec2.NewFromConfig(config("carol")).CreateVpc(ctx, vpc); err == nil {
		t.Error("carol may make a VPC, and was given no policy")
	}
	resp, err := http.Get(said.URL + "/_made")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil || strings.TrimSpace(string(body)) != `{"vpc":1}` {
		t.Errorf("made: %s, %v", body, err)
	}
	cancel()
	if code := <-ended; code != done {
		t.Errorf("it ended with %d: %s", code, complaints.String())
	}
}

func TestUsage(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"-speed", "0"}, {"more"}, {"-user", "a=/nowhere"}} {
		var complaints bytes.Buffer
		if code := run(t.Context(), args, io.Discard, &complaints); code != usage || complaints.Len() == 0 {
			t.Errorf("%q ends with %d and %q", args, code, complaints.String())
		}
	}
}
