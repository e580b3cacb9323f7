package dataplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cortex.dev/cortex/bench/proc"
)

// start starts one of the proxies of bench/dataplane/proxy.
func (b *bed) start(ctx context.Context, kind string, workloads int) (*process, error) {
	return b.startGo(ctx, proxyCore, kind, "-kind", kind, "-backend", b.backend, "-workloads", strconv.Itoa(workloads))
}

func (b *bed) startGo(ctx context.Context, core int, name string, args ...string) (*process, error) {
	cmd := pinned(ctx, core, b.proxy, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd}
	p.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // how it ends says nothing
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %s: it did not say where it listens: %w", name, err)
	}
	p.addr = strings.TrimSpace(line)
	if err := answers(ctx, p.addr, b.path); err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

const haproxyConfig = `
global
  nbthread 1
  maxconn 6000
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  http-reuse always
`

// The answer of the backend: 45 bytes of JSON.
const backendFrontend = `
frontend answer
  bind %s
  http-request return status 200 content-type application/json string "{\"class\":\"setosa\",\"probability\":0.981234567}\n"
`

// What HAProxy is asked to do is what the gateway does: route on the path, strip
// the prefix, append to X-Forwarded-For, bound what the server takes at once.
const proxyFrontend = `
frontend door
  bind %[1]s
  use_backend api if { path %[2]s } or { path_beg %[2]s/ }
backend api
  option forwardfor
  http-request replace-path %[2]s(/)?(.*) /\2
  server replica %[3]s maxconn 1000 maxqueue 1000
`

func (b *bed) startHAProxy(ctx context.Context) (*process, error) {
	return b.haproxyWith(ctx, proxyCore, "HAProxy", func(bind string) string { return fmt.Sprintf(proxyFrontend, bind, "/api", b.backend) })
}

// What HAProxy is asked to do for a key and three limits: find the key in a map, and the
// rates and the requests of whoever has it in tables.
const guardedFrontend = `
backend rates
  stick-table type string len 80 size 100k expire 10s store http_req_rate(1s)
backend days
  stick-table type string len 80 size 100k expire 1d store http_req_rate(1d)
backend conns
  stick-table type string len 80 size 100k expire 10s store conn_cur
frontend door
  bind %[1]s
  http-request set-var(req.caller) req.hdr(authorization),word(2,\ ),map_str(%[4]s)
  http-request deny deny_status 401 unless { var(req.caller) -m found }
  http-request track-sc0 var(req.caller) table rates
  http-request track-sc1 var(req.caller) table days
  http-request track-sc2 var(req.caller) table conns
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000 }
  http-request deny deny_status 429 if { sc_http_req_rate(1) gt 1000000000 }
  http-request deny deny_status 429 if { sc_conn_cur(2) gt 100000 }
  http-request del-header authorization
  use_backend api if { path %[2]s } or { path_beg %[2]s/ }
backend api
  option forwardfor
  http-request replace-path %[2]s(/)?(.*) /\2
  server replica %[3]s maxconn 1000 maxqueue 1000
`

// startGuardedHAProxy starts one that asks for a key.
func (b *bed) startGuardedHAProxy(ctx context.Context, key string) (*process, error) {
	keys := filepath.Join(b.dir, "keys.map")
	if err := os.WriteFile(keys, []byte(key+" alice\n"), 0o600); err != nil {
		return nil, err
	}
	return b.haproxyWith(ctx, proxyCore, "guarded HAProxy", func(bind string) string { return fmt.Sprintf(guardedFrontend, bind, "/api", b.backend, keys) })
}

// startBackend starts the fastest server there is, so that it is never what is
// measured: HAProxy itself, or a small one of our own.
func (b *bed) startBackend(ctx context.Context) (p *process, err error) {
	if b.haproxy != "" {
		p, err = b.haproxyWith(ctx, backendCore, "backend", func(bind string) string { return fmt.Sprintf(backendFrontend, bind) })
	} else {
		p, err = b.startGo(ctx, backendCore, "backend", "-kind", "backend")
	}
	if err == nil {
		b.stops = append(b.stops, p.stop)
	}
	return p, err
}

func (b *bed) haproxyWith(ctx context.Context, core int, name string, frontend func(bind string) string) (*process, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	addr := ln.Addr().String()
	_ = ln.Close() // HAProxy cannot say which port it was given, so it is told one that is free
	return b.haproxyAt(ctx, addr, 0, core, name, b.path, frontend)
}

// haproxyAt starts an HAProxy that listens on addr, in the network and the control
// groups of the process inside unless that is 0, and returns when it answers a
// request for probe.
func (b *bed) haproxyAt(ctx context.Context, addr string, inside, core int, name, probe string, frontend func(bind string) string) (*process, error) {
	path := filepath.Join(b.dir, name+".cfg")
	if err := os.WriteFile(path, []byte(haproxyConfig+frontend(addr)), 0o600); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	cmd := pinned(ctx, core, b.haproxy, "-db", "-q", "-f", path)
	if inside != 0 {
		entered := exec.CommandContext(ctx, "nsenter", append([]string{"--net", "--target", strconv.Itoa(inside), "--"}, cmd.Args...)...)
		entered.Env, cmd = cmd.Env, entered
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &process{name: name, addr: addr, cmd: cmd}
	p.stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		_ = cmd.Wait()                          // how it ends says nothing
	}
	if inside != 0 {
		// With the share of a core that the kernel gives the competitor.
		if err := proc.Join(cmd.Process.Pid, inside); err != nil {
			p.stop()
			return nil, fmt.Errorf("starting %s: %w", name, err)
		}
	}
	if err := answers(ctx, addr, probe); err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	return p, nil
}

// answers returns when addr answers the request that will be sent to it.
func answers(ctx context.Context, addr, path string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := ask(addr, path)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer: %w", addr, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func ask(addr, path string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n", path); err != nil {
		return err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.Contains(line, " 200") && !strings.Contains(line, " 401") { // who asks who calls, answers
		return fmt.Errorf("it says %q", strings.TrimSpace(line))
	}
	return nil
}
