// Command probe is what the pods of the node's own test run:
//
//	probe serve PORT   answer every request with the name of the pod
//	probe get URL      print what a URL answers
//	probe note         print a line where the pod's log is, as a hook that ran
package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "serve":
		return serve(ctx, args[1])
	case len(args) == 2 && args[0] == "get":
		client := &http.Client{Timeout: 5 * time.Second}
		answer, err := client.Get(args[1]) //nolint:noctx // the client has a timeout
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		_, err = io.Copy(os.Stdout, answer.Body)
		return err
	case len(args) == 1 && args[0] == "note":
		return os.WriteFile("/proc/1/fd/1", []byte("hook ran\n"), 0)
	}
	return fmt.Errorf("unknown arguments %q", args)
}

func serve(ctx context.Context, port string) error {
	fmt.Println("serving on", port)
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	server := &http.Server{Addr: ":" + port, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, name)
	})}
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		fmt.Println("told to end")
		return server.Close()
	}
}
