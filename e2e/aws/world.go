package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// world is an account, and what is around it: addresses, names, and a Kubernetes.
type world struct {
	proxyAt string // address; none: no proxy
	dir     string
	program string // of the node; none: no node
	log     io.Writer

	aws    *awstest.Account
	mirror *mirror
	proxy  *proxy
}

// quotaOfClusters is the code of how many clusters there may be: a machine has one node.
const quotaOfClusters = "L-1194D53C"

// account makes the account.
func (w *world) account(o awstest.Options) *awstest.Account {
	if w.program != "" {
		w.mirror = &mirror{program: w.program, region: o.Region, dir: w.dir, log: w.log}
		o.Outside = awstest.Outside{Endpoint: w.mirror.endpoint, Answers: w.mirror.answers}
		o.Quotas = map[string]float64{quotaOfClusters: 1}
	}
	w.aws = awstest.New(o)
	return w.aws
}

// serve answers until ctx ends, and says where and to whom once it can.
func (w *world) serve(ctx context.Context, address string, keys map[string]awstest.Key, stdout io.Writer) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	line := map[string]any{"url": "http://" + listener.Addr().String(), "keys": keys}
	tasks := []func(context.Context) error{func(ctx context.Context) error {
		return serveAll(ctx, service{listener, newServer(handler(w.aws))})
	}}
	if w.proxyAt != "" {
		more, err := w.openProxy(line)
		if err != nil {
			return errors.Join(err, listener.Close())
		}
		tasks = append(tasks, more)
	}
	if w.mirror != nil {
		tasks = append(tasks, w.mirror.Run)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(tasks))
	for _, task := range tasks {
		go func() { ended <- task(ctx) }()
	}
	if err := json.NewEncoder(stdout).Encode(line); err != nil {
		cancel()
	}
	var errs []error
	for range tasks {
		errs = append(errs, <-ended)
		cancel()
	}
	return errors.Join(errs...)
}

// openProxy listens as the proxy, and adds to line what its users have to know.
func (w *world) openProxy(line map[string]any) (func(context.Context) error, error) {
	vouch, err := newAuthority()
	if err != nil {
		return nil, err
	}
	file, err := filepath.Abs(filepath.Join(w.dir, "aws.pem"))
	if err == nil {
		err = os.WriteFile(file, vouch.pem, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("writing the authority: %w", err)
	}
	listener, err := net.Listen("tcp", w.proxyAt)
	if err != nil {
		return nil, err
	}
	nodes := func(string) (string, bool) { return "", false }
	url := "http://" + listener.Addr().String()
	if w.mirror != nil {
		nodes = w.mirror.address
	}
	w.proxy = newProxy(w.aws, vouch, nodes)
	if w.mirror != nil {
		w.mirror.account, w.mirror.proxy, w.mirror.authority, w.mirror.opened = w.aws, url, file, w.inside
	}
	line["proxy"], line["authority"] = url, file
	return func(ctx context.Context) error { return w.proxy.serve(ctx, listener) }, nil
}

// inside has the hosts of AWS where the DNS of the node says that they are: at its own
// address.
func (w *world) inside(ctx context.Context, address string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, "443"))
	if err != nil {
		return err
	}
	return w.proxy.serveTLS(ctx, listener)
}
