package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// through serves a proxy, and returns a client that knows no other way, and trusts nobody
// but the authority of the proxy.
func through(t *testing.T, p *proxy, vouch *authority) *http.Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx, listener) }()
	roots := x509.NewCertPool()
	roots.AddCert(vouch.cert)
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: listener.Addr().String()}), TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the proxy ended with %v", err)
		}
	})
	return &http.Client{Transport: transport}
}

// Behind the proxy AWS has its own names, its load balancers lead to nodes, and there is
// nothing else.
func TestProxy(t *testing.T) {
	t.Parallel()
	vouch, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	a := awstest.New(awstest.Options{Speed: 100})
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%s asked for %s", r.Host, r.URL.Path) }))
	defer node.Close()
	address, port, err := net.SplitHostPort(node.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	nodePort, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(a, vouch, func(cluster string) (string, bool) { return address, cluster == "iris" })
	const balancer = "iris-1.elb.us-west-2.amazonaws.com"
	p.leads = func(host string, port int) (string, int, error) {
		if host == balancer && port == 80 {
			return "iris", nodePort, nil
		}
		return "", 0, errors.New("no listener there")
	}
	client := through(t, p, vouch)

	cfg := a.Config(a.Root())
	cfg.HTTPClient = client
	if _, err := ec2.NewFromConfig(cfg).CreateVpc(t.Context(), &ec2.CreateVpcInput{CidrBlock: aws.String("10.0.0.0/16")}); err != nil {
		t.Errorf("a service by its name: %v", err)
	}
	buckets := s3.NewFromConfig(cfg)
	if _, err := buckets.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: aws.String("iris-12345678"), CreateBucketConfiguration: nil}); err == nil || !strings.Contains(err.Error(), "LocationConstraint") {
		t.Errorf("a bucket by its name: %v, want what S3 says of its region", err)
	}
	for _, tt := range []struct {
		url    string
		status int
		want   string // of the body, or of the error
	}{
		{"http://" + balancer + "/predict", 200, balancer + " asked for /predict"},
		{"http://" + balancer + ":81/", 502, "no listener there"},
		{"http://example.com/", 502, "no network here but AWS"},
		{"https://example.com/", 0, "Bad Gateway"},
	} {
		resp, err := client.Get(tt.url)
		if err != nil {
			if tt.status != 0 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("GET %s: %v, want %d %q", tt.url, err, tt.status, tt.want)
			}
			continue
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != tt.status || !strings.Contains(string(body), tt.want) {
			t.Errorf("GET %s: %d %s, %v; want %d %q", tt.url, resp.StatusCode, body, err, tt.status, tt.want)
		}
	}
}
