package docker

import (
	"context"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"cortex.dev/cortex/internal/engine/local"
)

// running is one container.
type running struct {
	r          *Runtime
	id         string
	spec       local.ContainerSpec
	stopSignal string
	pid        int    // on the machine of Docker
	ip         string // its own address; empty where it is not reached by it
	published  map[int32]string
	done       chan struct{}
	exit       local.Exit // valid after done
}

// begin starts the created container, its output attached from the first byte on.
func (c *running) begin(ctx context.Context) error {
	cli := c.r.cli
	// The output and the end outlive the start.
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	output, err := cli.ContainerAttach(life, c.id, client.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		cancel()
		return err
	}
	wait := cli.ContainerWait(life, c.id, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if _, err := cli.ContainerStart(ctx, c.id, client.ContainerStartOptions{}); err != nil {
		cancel()
		output.Close()
		return err
	}
	if err := c.locate(ctx); err != nil {
		cancel()
		output.Close()
		return err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		_, _ = stdcopy.StdCopy(c.spec.Stdout, c.spec.Stderr, output.Reader) // ends with the container
	}()
	c.r.running.Go(func() {
		defer cancel()
		c.end(life, wait, copied, output.Close)
	})
	return nil
}

// locate finds out where the container is reached.
func (c *running) locate(ctx context.Context) error {
	if other, ok := c.spec.Network.(*running); ok {
		c.ip, c.published = other.ip, other.published
	}
	got, err := c.r.cli.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	if got.Container.State != nil {
		c.pid = got.Container.State.Pid
	}
	settings := got.Container.NetworkSettings
	if c.spec.Network != nil || settings == nil {
		return nil
	}
	if c.r.direct {
		for _, n := range settings.Networks {
			if n != nil && n.IPAddress.IsValid() {
				c.ip = n.IPAddress.String()
			}
		}
		return nil // one that has ended already has none, and its end says more
	}
	c.published = map[int32]string{}
	for port, bindings := range settings.Ports {
		for _, b := range bindings {
			c.published[int32(port.Num())] = net.JoinHostPort("127.0.0.1", b.HostPort)
		}
	}
	return nil
}

// end waits for the end of the container, records it and removes what is left.
func (c *running) end(ctx context.Context, wait client.ContainerWaitResult, copied <-chan struct{}, closeOutput func()) {
	defer close(c.done)
	code := c.await(ctx, wait)
	select {
	case <-copied:
	case <-time.After(asking): // a stream that does not end is not waited for
	}
	closeOutput()
	<-copied
	ctx, cancel := context.WithTimeout(ctx, ordering)
	defer cancel()
	c.exit = local.Exit{Code: code, At: time.Now()}
	if got, err := c.r.cli.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{}); err == nil && got.Container.State != nil {
		c.exit.OOM = got.Container.State.OOMKilled
	}
	if err := c.r.remove(ctx, c.id); err != nil {
		c.r.cfg.Log.Warn("removing a container that has ended", "container", c.id, "error", err)
	}
}

// await returns the exit code of the container, also across a restart of Docker.
func (c *running) await(ctx context.Context, wait client.ContainerWaitResult) int {
	for {
		select {
		case w := <-wait.Result:
			return int(w.StatusCode)
		case err := <-wait.Error:
			c.r.cfg.Log.Debug("waiting for a container", "container", c.id, "error", err)
		}
		got, err := c.r.cli.ContainerInspect(ctx, c.id, client.ContainerInspectOptions{})
		switch {
		case errdefs.IsNotFound(err):
			return 137 // somebody removed it by force
		case err == nil && got.Container.State != nil && !got.Container.State.Running:
			return got.Container.State.ExitCode
		}
		time.Sleep(time.Second) // Docker is down, or was a moment ago
		wait = c.r.cli.ContainerWait(ctx, c.id, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	}
}

// Done implements local.Container.
func (c *running) Done() <-chan struct{} { return c.done }

// Exit implements local.Container.
func (c *running) Exit() local.Exit { return c.exit }

// Terminate implements local.Container, with the signal the image asks for.
func (c *running) Terminate() error { return c.kill(c.stopSignal) }

// Kill implements local.Container.
func (c *running) Kill() error { return c.kill("SIGKILL") }

func (c *running) kill(signal string) error {
	ctx, cancel := context.WithTimeout(context.Background(), ordering)
	defer cancel()
	select {
	case <-c.done:
		return nil
	default:
	}
	_, err := c.r.cli.ContainerKill(ctx, c.id, client.ContainerKillOptions{Signal: signal})
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil // it has ended in the meantime
	}
	return err
}

// Address implements local.Container.
func (c *running) Address(port int32) string {
	if c.ip != "" {
		return net.JoinHostPort(c.ip, strconv.Itoa(int(port)))
	}
	return c.published[port]
}

// Forwarded implements local.Container.
func (c *running) Forwarded() bool { return c.ip == "" }

// dockersDNS listens in the network of every container that is not on the default one.
var dockersDNS = netip.AddrFrom4([4]byte{127, 0, 0, 11})

// Listening implements local.Container.
func (c *running) Listening() []string {
	if !c.r.local || c.pid == 0 {
		return nil
	}
	var all []string
	for _, name := range []string{"tcp", "tcp6"} {
		f, err := os.Open("/proc/" + strconv.Itoa(c.pid) + "/net/" + name)
		if err != nil {
			continue
		}
		for _, l := range local.ParseListeners(f) {
			if l.Address.Addr() != dockersDNS {
				all = append(all, l.Address.String())
			}
		}
		_ = f.Close()
	}
	slices.Sort(all)
	return all
}
