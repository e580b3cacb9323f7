package docker_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/moby/moby/client"

	"cortex.dev/cortex/internal/engine/enginetest"
)

// testImage is made of nothing but the test server.
const testImage = "cortex-enginetest:latest"

// dockerd is the Docker that the tests use.
type dockerd struct {
	host string // empty: whichever the environment names
	why  error  // there is none
	undo []func()
}

// findDocker returns the Docker that answers, or one of our own, with the image in it.
func findDocker() *dockerd {
	d := &dockerd{}
	if !answers("") {
		if err := d.start(); err != nil {
			d.why = err
			return d
		}
	}
	d.why = d.load()
	return d
}

func answers(host string) bool {
	cli, err := connect(host)
	if err != nil {
		return false
	}
	defer func() { _ = cli.Close() }()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, err = cli.Ping(ctx, client.PingOptions{})
	return err == nil
}

func connect(host string) (*client.Client, error) {
	options := []client.Opt{client.FromEnv}
	if host != "" {
		options = append(options, client.WithHost(host))
	}
	return client.New(options...)
}

// start runs a dockerd with folders and a bridge of its own, which touches
// nothing of the machine's firewall.
func (d *dockerd) start() error {
	program, err := exec.LookPath("dockerd")
	if err != nil {
		if program, err = exec.LookPath("/usr/sbin/dockerd"); err != nil {
			return errors.New("no Docker answers and dockerd is not installed")
		}
	}
	if os.Getuid() != 0 {
		return errors.New("no Docker answers and only root can start dockerd")
	}
	dir, err := os.MkdirTemp("", "cxd") // short: the path of a socket is bounded
	if err != nil {
		return err
	}
	d.undo = append(d.undo, func() { _ = os.RemoveAll(dir) })
	n := os.Getpid()
	bridge := "cxt" + strconv.Itoa(n)
	for _, args := range [][]string{
		{"link", "add", "name", bridge, "type", "bridge"},
		{"addr", "add", fmt.Sprintf("10.213.%d.1/24", n%250), "dev", bridge},
		{"link", "set", bridge, "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("no Docker answers and a bridge for dockerd cannot be made: %w: %s", err, out)
		}
		if args[1] == "add" && args[0] == "link" {
			d.undo = append(d.undo, func() { _ = exec.Command("ip", "link", "del", bridge).Run() })
		}
	}
	var log bytes.Buffer
	d.host = "unix://" + filepath.Join(dir, "s")
	cmd := exec.Command(program, "--host", d.host, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"--pidfile", filepath.Join(dir, "pid"), "--bridge", bridge, "--iptables=false", "--ip6tables=false", "--ip-masq=false")
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	d.undo = append(d.undo, func() {
		_ = cmd.Process.Signal(os.Interrupt)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	tick, deadline := time.NewTicker(100*time.Millisecond), time.After(30*time.Second)
	defer tick.Stop()
	for !answers(d.host) {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("dockerd ended: %w\n%s", err, log.Bytes())
		case <-deadline:
			return fmt.Errorf("dockerd does not answer")
		case <-tick.C:
		}
	}
	return nil
}

// load makes the image.
func (d *dockerd) load() error {
	dir, err := os.MkdirTemp("", "cortex-enginetest")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	server, err := enginetest.Build(dir)
	if err != nil {
		return err
	}
	binary, err := os.ReadFile(server)
	if err != nil {
		return err
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	for _, f := range []struct {
		name string
		mode int64
		data []byte
	}{{"server", 0o755, binary}, {"data.txt", 0o644, []byte("not a program\n")}} {
		if err := w.WriteHeader(&tar.Header{Name: f.name, Mode: f.mode, Size: int64(len(f.data))}); err != nil {
			return err
		}
		if _, err := w.Write(f.data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	cli, err := connect(d.host)
	if err != nil {
		return err
	}
	defer func() { _ = cli.Close() }()
	got, err := cli.ImageImport(context.Background(), client.ImageImportSource{Source: &image, SourceName: "-"}, testImage,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/server"]`}})
	if err != nil {
		return err
	}
	defer func() { _ = got.Close() }()
	_, err = io.Copy(io.Discard, got)
	return err
}

func (d *dockerd) close() {
	for i := len(d.undo) - 1; i >= 0; i-- {
		d.undo[i]()
	}
}
