package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/environments"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/workload"
)

// runFlags are the settings of the local environment that a command line can
// give for one run; unset ones come from `cortex env configure local`.
type runFlags struct {
	port    int
	tick    time.Duration
	metrics string
	front   hostconfig.Front
}

// addFrontFlags adds the flags of how apis are reached with TLS.
func addFrontFlags(cmd *cobra.Command, f *hostconfig.Front) {
	flags := cmd.Flags()
	flags.StringVar(&f.TLSListen, "api-tls-listen", "", "address on which apis are served with tls, such as 0.0.0.0:443 (default: none)")
	flags.StringArrayVar(&f.Certs, "api-tls-cert", nil, "certificate file with its chain, as pem, for the host names in it; may be repeated, each with its --api-tls-key")
	flags.StringArrayVar(&f.Keys, "api-tls-key", nil, "key file of the certificate at the same place, as pem; may be repeated")
	flags.StringVar(&f.ACMEDirectory, "acme-directory", "", "https address of the directory of an authority that gives certificates for the host names of apis (acme); naming it agrees to its terms (default: none)")
	flags.StringVar(&f.ACMEEmail, "acme-email", "", "where that authority may write to")
	flags.StringVar(&f.ACMECA, "acme-ca", "", "file with who vouches for that authority's own server, as pem, beside the system's")
	flags.IntVar(&f.RedirectPort, "https-redirect", 0, "send requests by plain http for host names with a certificate to https at this port of callers, such as 443 (default: do not)")
	for _, name := range []string{"api-tls-cert", "api-tls-key", "acme-ca"} {
		_ = cmd.MarkFlagFilename(name)
	}
}

// frontArgs are the flags as another command line takes them, from another folder.
func frontArgs(f *hostconfig.Front) (args []string) {
	add := func(flag, value string, isPath bool) {
		if isPath && value != "" {
			if full, err := filepath.Abs(value); err == nil {
				value = full
			}
		}
		if value != "" {
			args = append(args, flag, value)
		}
	}
	add("--api-tls-listen", f.TLSListen, false)
	for _, c := range f.Certs {
		add("--api-tls-cert", c, true)
	}
	for _, k := range f.Keys {
		add("--api-tls-key", k, true)
	}
	add("--acme-directory", f.ACMEDirectory, false)
	add("--acme-email", f.ACMEEmail, false)
	add("--acme-ca", f.ACMECA, true)
	if f.RedirectPort != 0 {
		add("--https-redirect", strconv.Itoa(f.RedirectPort), false)
	}
	return args
}

func (f *runFlags) add(cmd *cobra.Command) {
	cmd.Flags().IntVar(&f.port, "api-port", -1, "port on which apis are served; 0 takes any free one (default 8888, or as configured)")
	cmd.Flags().DurationVar(&f.tick, "autoscaling-tick", 0, "time between two decisions of the autoscaler (default 10s, or as configured)")
	cmd.Flags().StringVar(&f.metrics, "metrics-listen", "", "host:port of a metrics page for Prometheus, such as 127.0.0.1:9464 (default: none)")
	addFrontFlags(cmd, &f.front)
}

// check refuses impossible values, before anything is started with them.
func (f *runFlags) check() error {
	if f.port < -1 || f.port > 65535 {
		return fault.New(fault.Usage, "cli.wrong_flag", "--api-port %d is not a port (0 to 65535)", f.port)
	}
	if f.tick != 0 {
		if err := hostconfig.CheckTick(f.tick); err != nil {
			return fault.New(fault.Usage, "cli.wrong_flag", "--autoscaling-tick: %w", err)
		}
	}
	if wrong := f.front.Problems(); len(wrong) > 0 {
		return fault.New(fault.Usage, "cli.wrong_flag", "%s", strings.Join(wrong, "\n  "))
	}
	if f.metrics != "" {
		if _, _, err := net.SplitHostPort(f.metrics); err != nil {
			return fault.New(fault.Usage, "cli.wrong_flag", "--metrics-listen %q is not an address: host:port", f.metrics)
		}
	}
	return nil
}

// args are the flags as another command line takes them.
func (f *runFlags) args() []string {
	var args []string
	if f.port >= 0 {
		args = append(args, "--api-port", strconv.Itoa(f.port))
	}
	if f.tick != 0 {
		args = append(args, "--autoscaling-tick", f.tick.String())
	}
	if f.metrics != "" {
		args = append(args, "--metrics-listen", f.metrics)
	}
	return append(args, frontArgs(&f.front)...)
}

func (a *app) localCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "local",
		Short: "manage the environment on this machine (contains subcommands)",
		Long: "Manage the environment on this machine. `cortex deploy` starts it when it is needed;\n" +
			"what was deployed survives stops, restarts and crashes.",
		Example: "  cortex local start\n" +
			"  cortex local status",
	}
	cmd.AddCommand(a.localStartCommand(), a.localStatusCommand(), a.localStopCommand(), a.localVerifyCommand(), a.localEnableCommand(), a.localDisableCommand(), a.localRunCommand())
	return cmd
}

func (a *app) localStartCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "start",
		Short: "start the local environment in the background",
		Long:  "Start the local environment in the background, with everything that was deployed. Does nothing when it runs.",
		Example: "  cortex local start\n" +
			"  cortex local start --api-port 9000",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			if _, err := a.localConfig(runFlags{port: -1}); err != nil {
				return err
			}
			info, started, err := a.daemon.Start(cmd.Context(), flags.args()...)
			if err != nil {
				return err
			}
			if started {
				a.say("started the local environment; APIs are at %s", info.APIEndpoint)
			} else {
				a.say("the local environment is already running; APIs are at %s", info.APIEndpoint)
			}
			return nil
		},
	}
	flags.add(cmd)
	return cmd
}

// localStatus is what `cortex local status -o json` says.
type localStatus struct {
	Running bool   `json:"running"`
	Ending  int    `json:"ending,omitempty"` // process that still stops its replicas
	Socket  string `json:"socket"`
	Log     string `json:"log"`
	// Info is what the running environment says; its keys stand beside the others.
	*workload.Info
}

func (a *app) localStatusCommand() *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use:   "status",
		Short: "say whether the local environment runs, and where",
		Example: "  cortex local status\n" +
			"  cortex local status -o json",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			files := a.daemon.Files()
			s := localStatus{Socket: files.Socket, Log: files.Log}
			info, ok, err := a.daemon.Running(cmd.Context())
			if err != nil {
				return err
			}
			if ok {
				s.Running, s.Info = true, &info
			} else {
				s.Ending, _ = a.daemon.Holder()
			}
			if out != pretty {
				return a.print(out, s)
			}
			a.sayStatus(s, time.Now())
			return nil
		},
	}
	addOutputFlag(cmd, &out)
	return cmd
}

func (a *app) sayStatus(s localStatus, now time.Time) {
	if !s.Running {
		a.say("the local environment is %s", a.paint.bold("not running"))
		if s.Ending > 0 {
			a.say("process %d still stops its replicas", s.Ending)
		}
		a.say("state: %s", a.daemon.Files().StateDir)
		return
	}
	a.say("the local environment is %s", a.paint.green("running"))
	row := func(name, format string, args ...any) { a.say("  "+a.paint.dim(pad(name, 10))+format, args...) }
	row("apis", "%s", s.APIEndpoint)
	if s.MetricsEndpoint != "" {
		row("metrics", "%s", s.MetricsEndpoint)
	}
	row("deployed", "%s, %s", count(s.APIs, "api"), count(s.Replicas, "replica"))
	row("pid", "%d", s.PID)
	row("since", "%s (%s)", s.StartedAt.Local().Format(timeFormat), since(s.StartedAt, now))
	row("version", "%s", s.Version)
	row("state", "%s", s.StateDir)
	row("socket", "%s", s.Socket)
	for _, e := range s.Engines {
		text := "available"
		if !e.Available {
			text = a.paint.yellow("not available")
		}
		if e.Detail != "" {
			text += " (" + e.Detail + ")"
		}
		row("engine", "%s: %s", e.Name, text)
	}
}

func (a *app) localStopCommand() *cobra.Command {
	var timeout time.Duration
	var force bool
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "stop the local environment; what was deployed comes back with the next start",
		Long: "Stop the local environment: requests under way are answered, replicas are stopped, and\n" +
			"what was deployed comes back with the next start. Does nothing when it does not run.",
		Example: "  cortex local stop\n" +
			"  cortex local stop --force",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if timeout <= 0 {
				return fault.New(fault.Usage, "cli.wrong_flag", "--timeout must be positive")
			}
			stopped, err := a.daemon.Stop(cmd.Context(), timeout, force, a.whileStopping(a.running(cmd.Context())))
			switch {
			case err != nil:
				return err
			case stopped:
				a.say("stopped the local environment")
			default:
				a.say("the local environment is not running")
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 2*time.Minute, "how long to wait for the end")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "kill it without waiting for requests and replicas")
	return cmd
}

// running says whose replicas the local environment has, and how long each may take to
// end; once it stops it can no longer be asked.
func (a *app) running(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	client, err := a.daemon.Client()
	if err != nil {
		return ""
	}
	apis, err := client.List(ctx)
	if err != nil {
		return ""
	}
	var names []string
	for _, api := range apis {
		if api.Status == nil || api.Status.Ready == 0 {
			continue
		}
		text := fmt.Sprintf("%s (%s", apiName(&api), count(api.Status.Ready, "replica"))
		if one, err := client.Get(ctx, apiName(&api)); err == nil && one.Spec != nil {
			text += fmt.Sprintf(", up to %s", one.Spec.Pod.Grace(0))
		}
		names = append(names, text+")")
	}
	return strings.Join(names, ", ")
}

// Pauses after which a stop that lasts is explained, first and again.
const (
	stopSilence = time.Second
	stopAgain   = 15 * time.Second
)

// whileStopping says whom a stop waits for when that takes long.
func (a *app) whileStopping(whom string) func(time.Duration) {
	next := stopSilence
	return func(waited time.Duration) {
		if waited < next {
			return
		}
		a.note("waiting for %s to answer what was accepted and end; %s so far (`cortex local stop --force` kills them)",
			orElse(whom, "replicas"), waited.Round(time.Second))
		next = waited + stopAgain
	}
}

func (a *app) localRunCommand() *cobra.Command {
	var flags runFlags
	cmd := &cobra.Command{
		Use:   "run",
		Short: "run the local environment in the foreground",
		Long: "Run the local environment in the foreground until it is interrupted (Ctrl-C). A second\n" +
			"Ctrl-C ends it at once.",
		Example: "  cortex local run\n" +
			"  cortex local run --api-port 0 --autoscaling-tick 1s",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			cfg, err := a.localConfig(flags)
			if err != nil {
				return err
			}
			if a.hooks.RunLocal == nil {
				return errors.New("this program cannot host the local environment")
			}
			release, err := a.daemon.Hold()
			if err != nil {
				return err
			}
			defer release()
			return a.hooks.RunLocal(cmd.Context(), cfg)
		},
	}
	flags.add(cmd)
	return cmd
}

// localConfig is what the configuration and the flags of one run make together.
func (a *app) localConfig(flags runFlags) (hostconfig.Local, error) {
	c, err := a.configuration()
	if err != nil {
		return hostconfig.Local{}, err
	}
	env, err := c.Get(environments.Local)
	if err != nil {
		return hostconfig.Local{}, err
	}
	files := a.daemon.Files()
	cfg := hostconfig.Local{StateDir: files.StateDir, Socket: files.Socket, Env: env.Credentials(), MetricsListen: flags.metrics, Front: flags.front}
	port := environments.DefaultAPIPort
	if env.APIPort != nil {
		port = *env.APIPort
	}
	if flags.port >= 0 {
		port = flags.port
	}
	cfg.APIAddress = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if cfg.Tick, err = env.Tick(); err != nil {
		return hostconfig.Local{}, err
	}
	if flags.tick != 0 {
		cfg.Tick = flags.tick
	}
	return cfg, nil
}

func maskedKey(key string) string {
	if len(key) <= 4 {
		return strings.Repeat("*", len(key))
	}
	return strings.Repeat("*", len(key)-4) + key[len(key)-4:]
}
