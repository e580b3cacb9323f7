package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"cortex.dev/cortex/bench/proc"
)

// The competitors, as rows call them.
const (
	asynq  = "Asynq"
	river  = "River"
	celery = "Celery"
)

// peers are other queues, with servers that are started for the benchmark and have what
// they accept on the disk before they say so. What is not installed says why.
type peers struct {
	*place
	program string            // bench/peers
	python  string            // that has Celery
	redis   *server           // nil: it is not there
	absent  map[string]string // by competitor: why it is not measured
	address map[string]string // by competitor, of its server
	stops   []func()
}

// server is a program of others.
type server struct {
	address string
	pid     int
}

//go:embed noop.py
var noop []byte

// startPeers starts what is installed.
func (p *place) startPeers(ctx context.Context) (*peers, error) {
	o := &peers{place: p, program: filepath.Join(p.dir, "peers"), absent: map[string]string{}, address: map[string]string{}}
	build := exec.CommandContext(ctx, "go", "build", "-C", "bench/peers", "-o", o.program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		p.Log("building bench/peers: %s", out)
		o.absent[asynq] = "bench/peers could not be built: its modules are not here"
		o.absent[river] = o.absent[asynq]
	}
	err := errors.Join(o.startRedis(ctx), o.startPostgres(ctx), o.findCelery(ctx))
	if err != nil {
		o.stop()
	}
	return o, err
}

func (o *peers) stop() {
	for _, stop := range slices.Backward(o.stops) {
		stop()
	}
}

// lacks notes why a competitor is not measured.
func (o *peers) lacks(name, why string) {
	if o.absent[name] == "" {
		o.absent[name] = why
	}
}

func (o *peers) startRedis(ctx context.Context) error {
	program := which("redis-server")
	if program == "" {
		for _, name := range []string{asynq, celery} {
			o.lacks(name, "Redis is not installed (Debian package redis-server)")
		}
		return nil
	}
	dir, port, err := o.room("redis", nil)
	if err != nil {
		return err
	}
	// Durable: what is acknowledged is on the disk.
	cmd := exec.Command(program, "--bind", "127.0.0.1", "--port", port, "--dir", dir, "--appendonly", "yes", "--appendfsync", "always", "--save", "")
	address := net.JoinHostPort("127.0.0.1", port)
	pid, err := o.run(ctx, cmd, address)
	if err != nil {
		return err
	}
	o.redis = &server{address, pid}
	o.address[asynq], o.address[celery] = address, "redis://"+address+"/0"
	return nil
}

// postgresConfig is what the server has beside its defaults.
const postgresConfig = `
fsync = on
synchronous_commit = on
listen_addresses = '127.0.0.1'
max_connections = 120
`

func (o *peers) startPostgres(ctx context.Context) error {
	initdb, postgres := postgresProgram("initdb"), postgresProgram("postgres")
	if initdb == "" || postgres == "" {
		o.lacks(river, "PostgreSQL is not installed (Debian package postgresql)")
		return nil
	}
	as, err := postgresUser()
	if err != nil {
		o.lacks(river, "PostgreSQL does not run as root, and there is no user postgres")
		return nil //nolint:nilerr // it is said in the row
	}
	dir, port, err := o.room("postgres", as)
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	init := exec.CommandContext(ctx, initdb, "--pgdata", data, "--auth", "trust", "--username", "bench", "--encoding", "UTF8", "--locale", "C")
	init.SysProcAttr, init.Dir = &syscall.SysProcAttr{Credential: as}, dir
	if out, err := init.CombinedOutput(); err != nil {
		return fmt.Errorf("making a PostgreSQL: %w\n%s", err, out)
	}
	config, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintf(config, "%sport = %s\nunix_socket_directories = '%s'\n", postgresConfig, port, dir)
		err = errors.Join(err, config.Close())
	}
	if err != nil {
		return fmt.Errorf("making a PostgreSQL: %w", err)
	}
	cmd := exec.Command(postgres, "-D", data)
	cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Credential: as}, dir
	address := net.JoinHostPort("127.0.0.1", port)
	if _, err := o.run(ctx, cmd, address); err != nil {
		return err
	}
	o.address[river] = "postgres://bench@" + address + "/postgres?sslmode=disable"
	return nil
}

// postgresProgram finds a program of PostgreSQL; Debian has them in no PATH.
func postgresProgram(name string) string {
	if path := which(name); path != "" {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name) // the pattern is good
	if len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// postgresUser is who runs PostgreSQL; nil: who runs this.
func postgresUser() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err, err2)
}

func (o *peers) findCelery(ctx context.Context) error {
	// Debian's is for Debian's Python, which need not be the first one.
	for _, python := range []string{"/usr/bin/python3", "python3"} {
		if o.python == "" && exec.CommandContext(ctx, python, "-c", "import celery, redis").Run() == nil {
			o.python = python
		}
	}
	if o.python == "" {
		o.lacks(celery, "Celery is not installed (Debian packages python3-celery and python3-redis)")
	}
	return os.WriteFile(filepath.Join(o.dir, "cxnoop.py"), noop, 0o600)
}

// startCelery starts workers: as many processes as there are cores, which is Celery's
// default, and faster than more.
func (o *peers) startCelery(ctx context.Context) (stop func(), err error) {
	cmd := o.celery(context.WithoutCancel(ctx), "-m", "celery", "-A", "cxnoop", "worker", "--pool", "prefork", "--concurrency", strconv.Itoa(runtime.NumCPU()), "--loglevel", "error")
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting Celery: %w", err)
	}
	return func() { end(cmd) }, nil
}

// celerySeconds submits items to Celery and waits until they have ended.
func (o *peers) celerySeconds(ctx context.Context, items int) (float64, error) {
	cmd := o.celery(ctx, filepath.Join(o.dir, "cxnoop.py"), strconv.Itoa(items), strconv.Itoa(runtime.NumCPU()), strconv.Itoa(itemSize))
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("submitting to Celery: %w\n%s", err, said.String())
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

func (o *peers) celery(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, o.python, args...)
	cmd.Dir = o.dir
	cmd.Env = append(os.Environ(), "PYTHONPATH="+o.dir, "CXBENCH_REDIS="+o.address[celery])
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// peerResult is what bench/peers found.
type peerResult struct {
	Items    int
	Seconds  float64
	P50, P99 float64 // microseconds
}

// ask has bench/peers do something.
func (o *peers) ask(ctx context.Context, system, what string, args ...string) (r peerResult, _ error) {
	cmd := o.peer(ctx, system, what, args...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%s, %s: %w\n%s", system, what, err, said.String())
	}
	return r, json.Unmarshal(out, &r)
}

func (o *peers) peer(ctx context.Context, system, what string, args ...string) *exec.Cmd {
	args = append([]string{"-system", strings.ToLower(system), "-address", o.address[system], "-size", strconv.Itoa(itemSize)}, args...)
	return exec.CommandContext(ctx, o.program, append(args, what)...)
}

// startAsynq starts a program of Asynq's workers.
func (o *peers) startAsynq(ctx context.Context, args ...string) (pid int, stop func(), err error) {
	cmd := o.peer(context.WithoutCancel(ctx), asynq, "work", append([]string{"-workers", strconv.Itoa(workers)}, args...)...)
	if err := cmd.Start(); err != nil {
		return 0, nil, fmt.Errorf("starting Asynq: %w", err)
	}
	return cmd.Process.Pid, func() { end(cmd) }, nil
}

// end ends a program; how it ends says nothing.
func end(cmd *exec.Cmd) {
	_ = cmd.Process.Signal(syscall.SIGTERM)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	late := time.NewTimer(15 * time.Second)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
		_ = cmd.Process.Kill()
		<-ended
	}
}

// room is a folder for a server, of the user that it runs as, and a port that is free.
func (o *peers) room(name string, as *syscall.Credential) (dir, port string, err error) {
	dir, err = os.MkdirTemp("", "cx"+name)
	if err != nil {
		return "", "", fmt.Errorf("making a folder: %w", err)
	}
	o.stops = append(o.stops, func() { _ = os.RemoveAll(dir) }) // a temporary folder
	if as != nil {
		if err := os.Chown(dir, int(as.Uid), int(as.Gid)); err != nil {
			return "", "", err
		}
	}
	free, err := freePort()
	return dir, strconv.Itoa(free), err
}

// run starts a server and returns when it takes connections.
func (o *peers) run(ctx context.Context, cmd *exec.Cmd, address string) (pid int, _ error) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true // Ctrl-C is for us
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	// PostgreSQL does not wait for its clients when it is interrupted.
	o.stops = append(o.stops, func() { _ = cmd.Process.Signal(os.Interrupt); end(cmd) })
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for late := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("tcp", address)
		if err == nil {
			return cmd.Process.Pid, c.Close()
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-tick.C:
		}
		if time.Now().After(late) {
			return 0, fmt.Errorf("%s does not listen after 20 s", cmd.Path)
		}
	}
}

// which finds a program, where administrators' programs are too.
func which(name string) string {
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/usr/local/sbin/" + name} {
		if path, err := exec.LookPath(candidate); err == nil {
			return path
		}
	}
	return ""
}

// cpuOfAll is what processes have used.
func cpuOfAll(pids ...int) (used time.Duration, _ error) {
	for _, pid := range pids {
		p, err := proc.Of(pid)
		if err != nil {
			return 0, err
		}
		used += p.CPU
	}
	return used, nil
}
