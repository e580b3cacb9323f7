// Command aws is an account of AWS for tests in any language: awstest.Account behind an
// address. It verifies signatures for real, from keys that it prints, and evaluates the
// policies that users are given.
//
// It promises one line of JSON on standard output once it listens, with the address and
// the keys, and three paths beside those of AWS: GET /_calls, /_left and /_made. With
// -proxy it is a proxy too, behind which AWS has its own names; the line then has the
// address of the proxy and the file of the authority that vouches for them. With -node
// there is a real Kubernetes of this machine behind the account's one cluster, which is
// made and deleted with it. It must never hold a real key.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"cortex.dev/cortex/internal/cluster/awstest"
)

// Exit codes.
const (
	done   = 0
	failed = 1
	usage  = 2
)

// maxPolicy bounds a file that is read.
const maxPolicy = 64 << 10

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// users are those of the flag: NAME, or NAME=FILE,… with policies.
type users []string

func (u *users) String() string { return strings.Join(*u, " ") }

func (u *users) Set(text string) error {
	*u = append(*u, text)
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("aws", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen at")
	var o awstest.Options
	flags.StringVar(&o.Region, "region", "us-west-2", "the region")
	flags.StringVar(&o.Account, "account", "111122223333", "the account")
	flags.Float64Var(&o.Speed, "speed", 60, "how fast time goes for what AWS does")
	flags.IntVar(&o.PageSize, "page-size", 0, "how long the pages of lists are; 0: 2")
	var people users
	flags.Var(&people, "user", "a user, NAME or NAME=FILE,… with policies; may be there several times")
	var w world
	flags.StringVar(&w.proxyAt, "proxy", "", "address to listen at as a proxy, behind which AWS has its own names")
	flags.StringVar(&w.dir, "dir", "", "folder for the files that others read; needed with -proxy and -node")
	flags.StringVar(&w.program, "node", "", "scripts/kube, built: it runs the Kubernetes behind the cluster; needs -proxy")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return done
	} else if err != nil || flags.NArg() > 0 || o.Speed <= 0 || w.proxyAt != "" && w.dir == "" || w.program != "" && w.proxyAt == "" {
		fmt.Fprintln(stderr, "usage: aws [-listen ADDRESS] [-region REGION] [-account ID] [-speed N] [-page-size N] [-user NAME[=FILE,…]]... [-proxy ADDRESS -dir DIR [-node PROGRAM]]")
		return usage
	}
	w.log = stderr
	a := w.account(o)
	keys := map[string]awstest.Key{"admin": a.Root()}
	for _, each := range people {
		name, files, _ := strings.Cut(each, "=")
		policies, err := readPolicies(files)
		if err != nil {
			fmt.Fprintln(stderr, "error:", err)
			return usage
		}
		keys[name] = a.AddUser(name, policies...)
	}
	if err := w.serve(ctx, *listen, keys, stdout); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return failed
	}
	return done
}

// readPolicies reads the policies of a user, who may have none.
func readPolicies(files string) (all []string, err error) {
	if files == "" {
		return nil, nil
	}
	for file := range strings.SplitSeq(files, ",") {
		text, err := readPolicy(file)
		if err != nil {
			return nil, fmt.Errorf("reading the policy %s: %w", file, err)
		}
		all = append(all, text)
	}
	return all, nil
}

func readPolicy(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPolicy))
	if err == nil {
		err = awstest.CheckPolicy(string(text))
	}
	return string(text), err
}

// handler adds the paths of tests.
func handler(a *awstest.Account) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var answer any
		switch r.Method + " " + r.URL.Path {
		case "GET /_calls":
			answer = a.Calls()
		case "GET /_left":
			answer = append([]string{}, a.Left()...)
		case "GET /_made":
			answer = a.Made()
		default:
			a.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer) // the caller has gone
	})
}
