package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/tracing"
)

// serverFlags are the flags as they are typed.
type serverFlags struct {
	cfg       hostconfig.Server
	operators []string
	apis      []string
	proxies   []string
}

func (a *app) serverCommand() *cobra.Command {
	var f serverFlags
	cmd := &cobra.Command{
		Use:   "server",
		Short: "serve this machine's environment to a team: TLS, AWS identities, audit",
		Long: "Serve the environment of one machine to a team. Clients prove an identity of one AWS account,\n" +
			"a policy says what each may do, and every decision is written to an audit log. It runs in the\n" +
			"foreground until it is interrupted; a systemd unit is in deploy/systemd.\n\n" +
			"Without --tls-cert it makes a certificate authority of its own, and says at the start how to\n" +
			"configure clients with it.",
		Example: "  cortex server --region us-west-2 --account-id 123456789012\n" +
			"  cortex server --region us-west-2 --listen 0.0.0.0:8889 --api-listen 0.0.0.0:8888 --policy policy.cedar\n" +
			"  cortex server --region us-east-1 --sts-endpoint https://sts-fips.us-east-1.amazonaws.com",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.config(a.getenv)
			if err != nil {
				return err
			}
			if cfg.StateDir == "" {
				cfg.StateDir = filepath.Join(a.configDir, "server")
			}
			if cfg.StateDir, err = filepath.Abs(cfg.StateDir); err != nil {
				return err
			}
			return a.hooks.Serve(cmd.Context(), cfg, a.sayServer)
		},
	}
	f.add(cmd)
	return cmd
}

func (f *serverFlags) add(cmd *cobra.Command) {
	c, flags := &f.cfg, cmd.Flags()
	flags.StringVar(&c.Region, "region", "", "aws region in whose STS identities are proven (default: AWS_REGION)")
	flags.StringVar(&c.Account, "account-id", "", "aws account whose identities are accepted (default: that of the server's own credentials)")
	flags.StringVar(&c.ClusterName, "cluster-name", "cortex", "name of this environment")
	flags.StringVar(&c.Listen, "listen", "127.0.0.1:8889", "address of the management api (https)")
	flags.StringVar(&c.APIListen, "api-listen", "127.0.0.1:8888", "address on which apis are served (http)")
	flags.StringVar(&c.MetricsListen, "metrics-listen", "127.0.0.1:9464", "address of the metrics page, which asks for no identity; empty for none")
	flags.StringSliceVar(&f.operators, "operator-load-balancer-cidr-white-list", nil, "networks from which the management api may be reached (default: any)")
	flags.StringSliceVar(&f.apis, "api-load-balancer-cidr-white-list", nil, "networks from which apis may be reached (default: any)")
	flags.StringSliceVar(&f.proxies, "trusted-proxies", nil, "networks of proxies in front of apis, whose x-forwarded headers are passed on (default: none)")
	flags.IntVar(&c.APIConns, "api-connections-per-address", 5000, "connections that one address may have to apis; trusted proxies may have any number")
	flags.StringVar(&c.PolicyFile, "policy", "", "cedar policy file (default: every identity of the account may do everything)")
	flags.StringArrayVar(&c.PlatformRoles, "platform-role", nil, "arn of a role that may never manage, such as one that apis run with; may be repeated")
	flags.StringSliceVar(&c.APIHosts, "api-hosts", nil, "host names that apis may have (networking.host): names, and *.example.com for every name below example.com (default: none)")
	addFrontFlags(cmd, &c.Front)
	flags.BoolVar(&c.RequireAuth, "require-auth", false, "refuse APIs that do not ask who calls (networking.auth)")
	flags.BoolVar(&c.ImagesOnly, "images-only", false, "refuse containers without an image: as processes they could read this server's keys")
	flags.StringSliceVar(&c.HostPaths, "host-paths", nil, "folders of this machine that apis may mount, to read, with what is in them (default: none)")
	flags.StringSliceVar(&c.S3Paths, "s3-paths", nil, "what jobs may read in s3 with the credentials of this server: s3://bucket, s3://bucket/prefix, or s3://* (default: nothing)")
	flags.StringSliceVar(&c.WebhookHosts, "webhook-hosts", nil, "hosts, addresses and networks to which webhook messages may go beside public addresses, also by http (default: none)")
	flags.StringVar(&c.TLSCert, "tls-cert", "", "certificate file with its chain, as pem (default: of an authority of its own)")
	flags.StringVar(&c.TLSKey, "tls-key", "", "key file of the certificate, as pem")
	flags.StringSliceVar(&c.TLSNames, "tls-name", nil, "more host names or addresses for a certificate of its own")
	flags.DurationVar(&c.SessionTTL, "session-ttl", 15*time.Minute, "life of a session: a revoked identity is out within it (1m to 1h)")
	flags.StringVar(&c.STSEndpoint, "sts-endpoint", "", "sts endpoint to ask: of a vpc, fips, or a simulator on a loopback address (default: the region's)")
	flags.StringVar(&c.STSProxy, "sts-proxy", "", "http proxy for the calls to sts")
	flags.Float64Var(&c.STSPerSecond, "sts-calls-per-second", 20, "limit of calls to sts")
	flags.StringVar(&c.AuditFile, "audit", "", "audit log file, - for the standard output (default: audit/audit.log in the state folder)")
	flags.StringVar(&c.StateDir, "state-dir", "", "folder of the state (default: server in the configuration folder)")
	flags.DurationVar(&c.Tick, "autoscaling-tick", autoscaler.DefaultTick, "time between two decisions of the autoscaler")
	flags.StringVar(&c.Traces.Endpoint, "trace-endpoint", "", "collector to which traces of requests are sent, otlp over http (default: none)")
	flags.Float64Var(&c.Traces.Ratio, "trace-ratio", tracing.DefaultRatio, "share of the traces that begin here that are recorded, 0 to 1")
	for _, name := range []string{"policy", "tls-cert", "tls-key", "audit"} {
		_ = cmd.MarkFlagFilename(name)
	}
	_ = cmd.MarkFlagDirname("state-dir")
}

// config returns the configuration, or everything that is wrong with the flags.
func (f *serverFlags) config(getenv func(string) string) (hostconfig.Server, error) {
	c := f.cfg
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION"} {
		if c.Region == "" {
			c.Region = getenv(name)
		}
	}
	wrong := c.Problems()
	var err error
	if c.OperatorCIDRs, err = hostconfig.ParseCIDRs(f.operators); err != nil {
		wrong = append(wrong, "--operator-load-balancer-cidr-white-list: "+err.Error())
	}
	if c.APICIDRs, err = hostconfig.ParseCIDRs(f.apis); err != nil {
		wrong = append(wrong, "--api-load-balancer-cidr-white-list: "+err.Error())
	}
	if c.TrustedProxies, err = hostconfig.ParseCIDRs(f.proxies); err != nil {
		wrong = append(wrong, "--trusted-proxies: "+err.Error())
	}
	if len(wrong) > 0 {
		return c, fault.New(fault.Usage, "server.half_configured", "the server does not start:\n  %s", strings.Join(wrong, "\n  ")).
			WithHint("see `cortex server --help`")
	}
	return c, nil
}

// sayServer tells those who start the server what clients need.
func (a *app) sayServer(info hostconfig.ServerInfo) {
	lines := [][2]string{
		{"operator endpoint", info.Endpoint},
		{"apis", info.APIEndpoint},
		{"apis with tls", info.APITLS},
		{"metrics", info.Metrics},
		{"cluster", info.ClusterID},
		{"aws account", info.Account},
		{"policy", info.Policy},
		{"audit", info.Audit},
		{"certificate", info.Fingerprint},
		{"authority", info.Authority},
	}
	for _, l := range lines {
		if l[1] != "" {
			a.note("%-18s %s", l[0]+":", l[1])
		}
	}
	name, _, _ := strings.Cut(info.ClusterID, "/")
	configure := fmt.Sprintf("cortex env configure %s --operator-endpoint %s", name, info.Endpoint)
	if info.Authority != "" {
		configure += " --ca " + info.Authority
	}
	a.note("\nClients: %s", configure)
}
