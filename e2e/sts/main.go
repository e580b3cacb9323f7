// Command sts is the STS of tests in any language, of the demo and of the benchmark:
// authtest.STS behind an address. It verifies signatures for real, from the secrets
// in its file, and counts its calls.
//
// It promises one line on standard output once it listens, and two paths beside those
// of AWS: GET /_calls answers the counters, POST /_set switches faults on and off. It
// must never hold a real key.
package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"cortex.dev/cortex/internal/auth/authtest"
)

// Exit codes.
const (
	done   = 0
	failed = 1
	usage  = 2
)

// Bounds of what is read.
const (
	maxFile = 16 << 20
	maxSet  = 4 << 10
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("sts", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen at")
	region := flags.String("region", "", "region it is the STS of; default that of the file")
	file := flags.String("identities", "", "JSON file: an object with region, host, identities, roles, web_tokens and sso_tokens, or a list of identities")
	delay := flags.Duration("delay", 0, "time before each answer")
	cert := flags.String("tls-cert", "", "file with a certificate: speak https, as whoever is not on this machine has to")
	key := flags.String("tls-key", "", "file with its key")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return done
	} else if err != nil || flags.NArg() > 0 {
		fmt.Fprintln(stderr, "usage: sts -identities FILE [-region REGION] [-listen ADDRESS] [-delay TIME] [-tls-cert FILE -tls-key FILE]")
		return usage
	}
	if (*cert == "") != (*key == "") {
		fmt.Fprintln(stderr, "error: -tls-cert and -tls-key are needed together")
		return usage
	}
	cfg, err := readConfig(*file, *region)
	if err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return usage
	}
	sts := authtest.NewSTS(cfg)
	sts.SetDelay(*delay)
	if err := serve(ctx, endpoint{*listen, *cert, *key}, handler(sts), stdout); err != nil {
		fmt.Fprintln(stderr, "error:", err)
		return failed
	}
	return done
}

// readConfig reads the file, if there is one, strictly.
func readConfig(file, region string) (cfg authtest.Config, err error) {
	if file != "" {
		f, err := os.Open(file)
		if err != nil {
			return cfg, fmt.Errorf("reading the identities: %w", err)
		}
		defer f.Close()
		data, err := io.ReadAll(io.LimitReader(f, maxFile))
		if err != nil {
			return cfg, fmt.Errorf("reading %s: %w", file, err)
		}
		if bytes.HasPrefix(bytes.TrimSpace(data), []byte("[")) {
			err = decode(data, &cfg.Identities)
		} else {
			err = decode(data, &cfg)
		}
		if err != nil {
			return cfg, fmt.Errorf("reading %s: %w", file, err)
		}
	}
	if region != "" {
		cfg.Region = region
	}
	if err := cfg.Check(); err != nil {
		return cfg, fmt.Errorf("the configuration is not usable:\n%w", err)
	}
	return cfg, nil
}

// decode reads one JSON value with known members only.
func decode(data []byte, to any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(to); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the value")
	}
	return nil
}

// handler adds the two paths of tests. It is no ServeMux: one would answer
// //x with a redirect, which no STS does.
func handler(sts *authtest.STS) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "GET /_calls":
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(sts.Calls()) // the caller has gone
		case "POST /_set":
			set(sts, w, r)
		default:
			sts.ServeHTTP(w, r)
		}
	})
}

// set changes the faults that the body names, and leaves the others.
func set(sts *authtest.STS, w http.ResponseWriter, r *http.Request) {
	var to struct {
		DelayMS  *int64 `json:"delay_ms"`
		Down     *bool  `json:"down"`
		Throttle *bool  `json:"throttle"`
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSet))
	if err == nil {
		err = decode(body, &to)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if to.DelayMS != nil {
		sts.SetDelay(time.Duration(*to.DelayMS) * time.Millisecond)
	}
	if to.Down != nil {
		sts.SetDown(*to.Down)
	}
	if to.Throttle != nil {
		sts.SetThrottle(*to.Throttle)
	}
	w.WriteHeader(http.StatusNoContent)
}

// endpoint is where it listens; with TLS when there is a certificate.
type endpoint struct{ address, cert, key string }

func (e endpoint) listen() (net.Listener, string, error) {
	if e.cert == "" {
		ln, err := net.Listen("tcp", e.address)
		return ln, "http", err
	}
	pair, err := tls.LoadX509KeyPair(e.cert, e.key)
	if err != nil {
		return nil, "", fmt.Errorf("reading the certificate: %w", err)
	}
	ln, err := tls.Listen("tcp", e.address, &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12})
	return ln, "https", err
}

// serve answers until ctx ends, and says where once it can.
func serve(ctx context.Context, at endpoint, h http.Handler, stdout io.Writer) error {
	listener, scheme, err := at.listen()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10,
		// What waits for a delay must not keep the program alive.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	fmt.Fprintf(stdout, "listening on %s://%s\n", scheme, listener.Addr())
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := server.Shutdown(last); err != nil {
		_ = server.Close() // whoever still holds a connection has had its time
	}
	<-ended
	return nil
}
