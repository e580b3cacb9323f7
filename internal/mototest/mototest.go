// Package mototest starts moto, a simulator of AWS that others have written, for tests that
// speak to S3 or SQS.
//
// It promises a server of the test's own that listens when it is returned; where none is
// installed the test is skipped. It must not be linked by a program.
package mototest

import (
	"bytes"
	"net"
	"os/exec"
	"testing"
	"time"
)

// Start starts a server, which ends with the test, and returns its address.
func Start(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("moto_server")
	if err != nil {
		t.Skip("no moto_server to speak to: pip install 'moto[server,s3,sqs]'")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, "-H", "127.0.0.1", "-p", port) //nolint:gosec // of this machine
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			_ = c.Close()
			return "http://" + address
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("moto_server does not run here: %v\n%s", err, said.String())
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("moto_server does not listen: %s", said.String())
		}
	}
}
