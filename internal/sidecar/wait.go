package sidecar

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
)

// Hook is what a container is asked to do before it is told to end. One of the two
// is set, or none.
type Hook struct {
	Get     string   // port and path on this host, such as 8080/stop
	Command []string // run in the container, with its own output
}

// maxSaid bounds what is read of an answer that nobody understands.
const maxSaid = 4 << 10

// Wait is what runs in a container before it is told to end (Kubernetes' pre-stop):
// it asks the sidecar at admin (host:port) to drain, returns when that is over, and
// then does what the user asked for. A sidecar that is not there is told on out and
// no error: the container ends anyway.
func Wait(ctx context.Context, admin string, h Hook, out io.Writer) error {
	if err := ask(ctx, http.MethodPost, "http://"+admin+"/drain"); err != nil {
		fmt.Fprintln(out, "cortex: stopping without a drain:", err)
	}
	switch {
	case h.Get != "":
		port, path, _ := strings.Cut(h.Get, "/")
		return ask(ctx, http.MethodGet, "http://127.0.0.1:"+port+"/"+path)
	case len(h.Command) > 0:
		cmd := exec.CommandContext(ctx, h.Command[0], h.Command[1:]...) //nolint:gosec // the user's own hook, in the user's container
		cmd.Stdout, cmd.Stderr = out, out
		return cmd.Run()
	}
	return nil
}

func ask(ctx context.Context, method, target string) error {
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
	if err != nil {
		return err
	}
	// Never by a proxy: it is this host.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(resp.Body, maxSaid)) // what came before an error is enough
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("%s %s: %s: %s", method, target, resp.Status, strings.TrimSpace(string(said)))
	}
	return nil
}
