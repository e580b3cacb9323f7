package cli

import (
	"context"
	"errors"
	"fmt"
	"html"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/dashboard"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/httpapi"
	"cortex.dev/cortex/internal/workload"
)

func (a *app) dashboardCommand() *cobra.Command {
	var env string
	var port int
	var noOpen bool
	cmd := &cobra.Command{
		Use:   "dashboard",
		Short: "look at everything in the browser",
		Long: "Show every API with its status, requests and latency in the browser, live: why one is as\n" +
			"it is, its replicas, versions, logs, items, jobs and schedules, and who did what.\n\n" +
			"The page is served to this machine only, for as long as this command runs, and sees what\n" +
			"you may see: its calls carry the identity of this command line, which the browser never\n" +
			"gets. The link works once, for a minute. Ctrl-C ends it.",
		Example: "  cortex dashboard\n" +
			"  cortex dashboard --no-open --port 8899   # over SSH: ssh -L 8899:127.0.0.1:8899 HOST",
		Args: between(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port != 0 && (port < 1024 || port > 65535) {
				return fault.New(fault.Usage, "cli.bad_flag", "--port is %d, and has to be 1024 to 65535, or 0 for any that is free", port)
			}
			return a.dashboard(cmd.Context(), env, port, noOpen)
		},
	}
	a.envFlag(cmd, &env)
	cmd.Flags().IntVar(&port, "port", 0, "port on 127.0.0.1 (default: any that is free)")
	cmd.Flags().BoolVar(&noOpen, "no-open", false, "print the link instead of opening a browser")
	return cmd
}

func (a *app) dashboard(ctx context.Context, env string, port int, noOpen bool) error {
	a.verbatim = true // the browser shows what others have written as text
	t, err := a.connect(ctx, env, pretty, start)
	if err != nil {
		return err
	}
	client, ok := t.Service.(*httpapi.Client)
	if !ok {
		return fmt.Errorf("the dashboard cannot ask a %T", t.Service)
	}
	if _, err := client.Info(ctx); err != nil && !fault.Is(err, fault.Forbidden) { // before a browser is bothered
		return err
	}
	ln, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return fault.New(fault.Conflict, "cli.port_in_use", "listening for the browser: %w", err).WithHint("choose another --port, or none")
	}
	server, err := dashboard.New(dashboard.Config{
		Operator: client, Env: t.Name, Local: t.IsLocal(), Version: a.hooks.Version,
		Try: func(ctx context.Context, name string, r dashboard.TryRequest) (*http.Response, error) {
			return a.try(ctx, client, name, r)
		},
		Simulate: func(ctx context.Context, name string, r dashboard.SimulateRequest) (any, error) {
			return recorded(ctx, client, name, r)
		},
	}, ln.Addr())
	if err != nil {
		ln.Close()
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, ln) }()
	forget, err := a.openDashboard(ctx, server.Link(), noOpen)
	if err == nil {
		select {
		case <-server.Entered():
			forget()
			return <-done
		case err = <-done:
			forget()
			return err
		case <-time.After(dashboard.LinkLife):
			forget()
			err = fault.New(fault.Unavailable, "dashboard.not_opened", "nobody has opened the link within %s, after which it is worth nothing", dashboard.LinkLife).
				WithHint("run `cortex dashboard` again")
		}
	}
	stop()
	return errors.Join(err, <-done)
}

// openDashboard opens the link in a browser, or says it. What it returns forgets the file
// by which the browser gets it: the arguments of a program are for everybody to see.
func (a *app) openDashboard(ctx context.Context, link string, noOpen bool) (forget func(), _ error) {
	opener := ""
	if !noOpen {
		opener = a.browser()
	}
	if opener != "" {
		if err := os.MkdirAll(a.configDir, 0o700); err != nil {
			return nil, fmt.Errorf("making a folder for the link: %w", err)
		}
		dir, err := os.MkdirTemp(a.configDir, "dashboard-")
		if err != nil {
			return nil, fmt.Errorf("making a folder for the link: %w", err)
		}
		forget = func() { os.RemoveAll(dir) }
		file := filepath.Join(dir, "open.html")
		page := `<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer"><title>Cortex</title><meta http-equiv="refresh" content="0;url=` + html.EscapeString(link) + `">` + "\n"
		if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
			forget()
			return nil, fmt.Errorf("writing the link: %w", err)
		}
		if err := startBrowser(ctx, opener, file); err == nil {
			a.note("the dashboard is open in your browser. If it is not: `cortex dashboard --no-open` prints a link. Ctrl-C ends it")
			return forget, nil
		}
		forget()
	}
	a.say("%s", link)
	a.note("open it within a minute; it works once. Ctrl-C ends the dashboard")
	return func() {}, nil
}

// browser is the program that opens a file in one; empty: there is none.
func (a *app) browser() string {
	if b, _, _ := strings.Cut(a.getenv("BROWSER"), ":"); b != "" && !strings.ContainsAny(b, " %") {
		return b
	}
	switch {
	case runtime.GOOS == "darwin":
		return "open"
	case a.getenv("DISPLAY") == "" && a.getenv("WAYLAND_DISPLAY") == "":
		return ""
	}
	return "xdg-open"
}

// startBrowser does not wait for it, and does not end it with this command.
func startBrowser(ctx context.Context, program, file string) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, file) //nolint:gosec // the user's own browser
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // so that it leaves no zombie
	return nil
}

// try calls an API as predict does, with what the page asks for.
func (a *app) try(ctx context.Context, svc workload.Service, name string, r dashboard.TryRequest) (*http.Response, error) {
	api, err := svc.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if api.Endpoint == "" {
		return nil, fault.New(fault.Unavailable, "cli.api_not_ready", "%s has no endpoint", name)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, api.Endpoint+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return nil, fault.New(fault.Malformed, "dashboard.try", "making a request to %s: %w", api.Endpoint, err)
	}
	if r.Body == "" {
		req.Body, req.ContentLength = http.NoBody, 0
	} else {
		req.Header.Set("Content-Type", orElse(r.ContentType, "application/json"))
	}
	if a.proveCaller(req.Header); r.Key != "" {
		req.Header.Set("Authorization", "Bearer "+r.Key)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, unreachable(name, api.Endpoint, err)
	}
	return resp, nil
}
