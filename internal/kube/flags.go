package kube

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/auth"
	"cortex.dev/cortex/internal/autoscaler"
	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/tracing"
)

var errHelp = errors.New("help is wanted")

// flags reads a command line whole: what is wrong with it is said at once, not one
// thing after another.
type flags struct {
	set   *flag.FlagSet
	wrong []string
}

func newFlags(program string) *flags {
	f := &flags{set: flag.NewFlagSet(program, flag.ContinueOnError)}
	f.set.SetOutput(io.Discard)
	f.set.Usage = func() {}
	return f
}

// list is a flag that may be repeated.
func (f *flags) list(name string, to *[]string) {
	f.set.Func(name, "", func(text string) error {
		*to = append(*to, text)
		return nil
	})
}

// duration is a time, which stays as it was when it cannot be read: then that is
// what is wrong with it, and not its bounds too.
func (f *flags) duration(to *time.Duration, name string, usual time.Duration) {
	*to = usual
	f.set.Func(name, "", func(text string) error {
		d, err := time.ParseDuration(text)
		if err != nil {
			return errors.New("not a duration (for example 10s)")
		}
		*to = d
		return nil
	})
}

// number is likewise a number.
func (f *flags) number(to *float64, name string, usual float64) {
	*to = usual
	f.set.Func(name, "", func(text string) error {
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errors.New("not a whole number")
		}
		*to = n
		return nil
	})
}

func (f *flags) complain(bad bool, format string, args ...any) {
	if bad {
		f.wrong = append(f.wrong, fmt.Sprintf(format, args...))
	}
}

// parse reads args. It fails only when help is wanted.
func (f *flags) parse(args []string) error {
	for {
		err := f.set.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			return errHelp
		case err != nil:
			// The words of package flag begin with one dash; ours have two.
			f.complain(true, "%s", strings.Replace(strings.Replace(err.Error(), " -", " --", 1), "---", "--", 1))
		case f.set.NArg() > 0:
			f.complain(true, "unexpected argument %q", f.set.Arg(0))
			args = f.set.Args()[1:]
			continue
		default:
			return nil
		}
		args = f.set.Args()
	}
}

// fault is everything that is wrong, or nil.
func (f *flags) fault() error {
	if len(f.wrong) == 0 {
		return nil
	}
	return fault.New(fault.Usage, "kube.wrong_flags", "it does not start:\n  %s", strings.Join(f.wrong, "\n  ")).
		WithHint("see --help")
}

func (f *flags) address(name, value string) {
	_, port, err := net.SplitHostPort(value)
	n, number := strconv.Atoi(port)
	f.complain(err != nil || number != nil || n < 0 || n > 65535, "--%s %q is not an address: host:port or :port", name, value)
}

// kubeName is the rule of the names of namespaces, accounts and pull secrets.
var kubeName = regexp.MustCompile(`^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$`)

func (f *flags) name(name, value string) {
	f.complain(!kubeName.MatchString(value), "%s %q is not a name as Kubernetes has them", name, value)
}

// traces declares the flags of where traces are sent.
func (f *flags) traces(to *Traces) {
	f.set.StringVar(&to.Endpoint, "trace-endpoint", "", "")
	f.number(&to.Ratio, "trace-ratio", tracing.DefaultRatio)
}

// checkTraces checks what was read.
func (f *flags) checkTraces(t Traces) {
	if err := tracing.CheckEndpoint(t.Endpoint); err != nil {
		f.complain(true, "--trace-endpoint: %v", err)
	}
	if err := tracing.CheckRatio(t.Ratio); err != nil {
		f.complain(true, "--trace-ratio: %v", err)
	}
}

// pod is what the downward API tells a program of itself.
func (f *flags) pod(getenv func(string) string) (name, namespace string) {
	name, namespace = getenv("POD_NAME"), getenv("POD_NAMESPACE")
	f.complain(name == "", "POD_NAME is not set: the name of this pod comes from the downward API")
	f.complain(namespace == "", "POD_NAMESPACE is not set: the namespace of this pod comes from the downward API")
	return name, namespace
}

const operatorUsage = `cortex-operator deploys and scales what the custom resources of Cortex say, and
serves the management API. One replica leads; the others wait to take over.
POD_NAME and POD_NAMESPACE have to be set.

  --namespace NAME            of custom resources and their pods (cortex-apis)
  --account-id ID             AWS account whose identities are accepted (that of its own credentials)
  --region REGION             AWS region in whose STS identities are proven
  --cluster-name NAME         name of this installation (cortex)
  --policy FILE               Cedar policy (every identity of the account may do everything)
  --platform-role ARN         a role that may never manage; may be repeated
  --session-ttl TIME          life of a session, 1m to 1h (15m)
  --sts-endpoint URL          STS endpoint to ask (the region's)
  --sts-proxy URL             HTTP proxy for the calls to STS
  --sts-calls-per-second N    limit of calls to STS (20)
  --tls-cert, --tls-key FILE  certificate of the management API, as PEM (of an authority of its own)
  --tls-name NAME             one more name of a certificate of its own; may be repeated
  --audit FILE                audit log, - for the standard output (-)
  --sidecar-image IMAGE       of the proxy beside each replica
  --pull-policy POLICY        of the images of pods: Always, IfNotPresent or Never (IfNotPresent)
  --pull-secret NAME          of an image pull secret of pods; may be repeated
  --unconfined API/CONTAINER  a container that runs privileged; may be repeated
  --node-group NAME=PRIORITY  a group of nodes that APIs may ask for; may be repeated
  --largest-node GROUP:SIZE   a size that nodes may come to have, without GROUP: those of
                              no group; SIZE is cpu=8,mem=32Gi,gpu=1; may be repeated
  --node-reserve SIZE         of each node, what daemon sets take: cpu=250m,mem=400Mi (nothing)
  --capacity-check=BOOL       refuse what no node could ever hold (true)
  --api-endpoint URL          what users are told to call (the address of the gateways' service)
  --tick TIME                 between two decisions of the autoscaler (10s)
  --trace-endpoint URL        of the collector to which sidecars send traces, OTLP over HTTP (none)
  --trace-ratio RATIO         of traces without a beginning elsewhere that are recorded, 0 to 1 (0.01)
  --shutdown-delay TIME       stays for so long after it gave up the lead: what still comes is
                              refused at once instead of lost (0s)
  --gateway-account NAME      service account of the gateways (cortex-gateway)
  --listen ADDRESS            of the management API (:8443)
  --internal-listen ADDRESS   for gateways (:8444)
  --health-listen ADDRESS     of /healthz, /readyz and /metrics (:8081)
  --kubeconfig FILE           how to reach the API server (as a pod does)
`

// clusterNameShape is the rule of cluster.yaml.
var clusterNameShape = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// parseOperator returns the configuration, or everything that is wrong.
func parseOperator(args []string, getenv func(string) string) (OperatorConfig, error) {
	var c OperatorConfig
	var groups, largest []string
	var reserve string
	f := newFlags("cortex-operator")
	text := f.set.StringVar
	text(&c.Namespace, "namespace", "cortex-apis", "")
	text(&c.Account, "account-id", "", "")
	text(&c.Region, "region", "", "")
	text(&c.ClusterName, "cluster-name", "cortex", "")
	text(&c.PolicyFile, "policy", "", "")
	f.list("platform-role", &c.PlatformRoles)
	f.duration(&c.SessionTTL, "session-ttl", 15*time.Minute)
	text(&c.STSEndpoint, "sts-endpoint", "", "")
	text(&c.STSProxy, "sts-proxy", "", "")
	f.number(&c.STSPerSecond, "sts-calls-per-second", 20)
	text(&c.TLSCert, "tls-cert", "", "")
	text(&c.TLSKey, "tls-key", "", "")
	f.list("tls-name", &c.TLSNames)
	text(&c.AuditFile, "audit", "-", "")
	text(&c.SidecarImage, "sidecar-image", "", "")
	text(&c.PullPolicy, "pull-policy", "IfNotPresent", "")
	f.list("pull-secret", &c.PullSecrets)
	f.list("unconfined", &c.Unconfined)
	f.list("node-group", &groups)
	f.list("largest-node", &largest)
	text(&reserve, "node-reserve", "", "")
	f.set.BoolVar(&c.CapacityCheck, "capacity-check", true, "")
	text(&c.APIEndpoint, "api-endpoint", "", "")
	f.duration(&c.Tick, "tick", 10*time.Second)
	f.duration(&c.ShutdownDelay, "shutdown-delay", 0)
	f.traces(&c.Traces)
	text(&c.GatewayAccount, "gateway-account", "cortex-gateway", "")
	text(&c.Listen, "listen", ":8443", "")
	text(&c.InternalListen, "internal-listen", ":8444", "")
	text(&c.HealthListen, "health-listen", ":8081", "")
	text(&c.Kubeconfig, "kubeconfig", "", "")
	if err := f.parse(args); err != nil {
		return c, err
	}
	c.Pod, c.SystemNamespace = f.pod(getenv)
	f.operator(&c, groups)
	f.capacity(&c, largest, reserve)
	return c, f.fault()
}

// operator checks what was read.
func (f *flags) operator(c *OperatorConfig, groups []string) {
	f.name("--namespace", c.Namespace)
	f.name("--gateway-account", c.GatewayAccount)
	f.complain(c.ShutdownDelay < 0 || c.ShutdownDelay > time.Minute, "--shutdown-delay %s is not between 0s and 1m", c.ShutdownDelay)
	f.complain(c.Region == "", "--region is missing: the AWS region in whose STS identities are proven")
	f.complain(c.Region != "" && !auth.IsRegion(c.Region), "--region %q is not an AWS region", c.Region)
	f.complain(c.Account != "" && !auth.IsAccount(c.Account), "--account-id %q is not an AWS account id: it has 12 digits", c.Account)
	f.complain(len(c.ClusterName) < 3 || len(c.ClusterName) > 54 || !clusterNameShape.MatchString(c.ClusterName),
		"--cluster-name %q: 3 to 54 lower-case letters and digits, with single dashes between", c.ClusterName)
	f.complain((c.TLSCert == "") != (c.TLSKey == ""), "--tls-cert and --tls-key go together: a certificate and its key")
	f.complain(c.SessionTTL < time.Minute || c.SessionTTL > time.Hour, "--session-ttl %s is not between 1m and 1h", c.SessionTTL)
	f.complain(!(c.STSPerSecond >= 0.1 && c.STSPerSecond <= 1000), "--sts-calls-per-second %g is not between 0.1 and 1000", c.STSPerSecond)
	f.complain(c.Tick < autoscaler.MinTick || c.Tick > time.Hour, "--tick %s is not between %s and 1h", c.Tick, autoscaler.MinTick)
	f.complain(c.SidecarImage == "", "--sidecar-image is missing: the image of the proxy beside each replica")
	switch c.PullPolicy {
	case "Always", "IfNotPresent", "Never":
	default:
		f.complain(true, "--pull-policy %q is not Always, IfNotPresent or Never", c.PullPolicy)
	}
	for _, arn := range c.PlatformRoles {
		p, err := auth.ParseARN(arn)
		f.complain(err != nil || p.Type != auth.Role, "--platform-role %q is not the ARN of a role", arn)
	}
	for _, secret := range c.PullSecrets {
		f.name("--pull-secret", secret)
	}
	for _, text := range c.Unconfined {
		api, container, ok := strings.Cut(text, "/")
		f.complain(!ok || !kubeName.MatchString(api) || !kubeName.MatchString(container), "--unconfined %q is not API/CONTAINER", text)
	}
	seen := map[string]bool{}
	for _, text := range groups {
		name, priority, _ := strings.Cut(text, "=")
		n, err := strconv.ParseInt(priority, 10, 32)
		f.complain(err != nil || n < 1 || n > 100 || name == "" || seen[name],
			"--node-group %q is not NAME=PRIORITY with a name of its own and a priority of 1 to 100", text)
		seen[name] = true
		c.NodeGroups = append(c.NodeGroups, NodeGroup{Name: name, Priority: int32(n)})
	}
	if c.APIEndpoint != "" {
		u, err := url.Parse(c.APIEndpoint)
		f.complain(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "",
			"--api-endpoint %q is not the URL of a server", c.APIEndpoint)
		c.APIEndpoint = strings.TrimRight(c.APIEndpoint, "/")
	}
	f.address("listen", c.Listen)
	f.address("internal-listen", c.InternalListen)
	f.checkTraces(c.Traces)
	f.address("health-listen", c.HealthListen)
}

// capacity reads how large nodes are said to be. It comes after the groups.
func (f *flags) capacity(c *OperatorConfig, largest []string, reserve string) {
	for _, text := range largest {
		group, size, ok := strings.Cut(text, ":")
		if !ok {
			group, size = "", text
		}
		a, err := capacity.Parse(size)
		if err == nil && (a.CPU == 0 || a.Mem == 0) {
			err = errors.New("a node has cpu and mem")
		}
		f.complain(err != nil, "--largest-node %q is not a size such as cpu=8,mem=32Gi,gpu=1: %v", text, err)
		f.complain(ok && !slices.ContainsFunc(c.NodeGroups, func(g NodeGroup) bool { return g.Name == group }),
			"--largest-node %q: there is no --node-group %s", text, group)
		if c.LargestNodes == nil {
			c.LargestNodes = map[string][]capacity.Amount{}
		}
		c.LargestNodes[group] = append(c.LargestNodes[group], a)
	}
	if reserve == "" {
		return
	}
	var err error
	c.NodeReserve, err = capacity.Parse(reserve)
	if err == nil && (c.NodeReserve.GPU > 0 || c.NodeReserve.Inf > 0) {
		err = errors.New("devices are not reserved")
	}
	f.complain(err != nil, "--node-reserve %q is not a size such as cpu=250m,mem=400Mi: %v", reserve, err)
}

const gatewayUsage = `cortex-gateway is the front door of deployed APIs: it finds the API of a request,
and a replica for it. It works while the operator is away. POD_NAME and
POD_NAMESPACE have to be set.

  --namespace NAME         of custom resources and their pods (cortex-apis)
  --operator URL           of the operator's internal port (https://cortex-operator.NAMESPACE.svc:8444)
  --token-file FILE        token that proves to the operator that this is a gateway
  --ca-file FILE           authority of the operator's certificate, as PEM
  --listen ADDRESS         on which APIs are served (:8080)
  --health-listen ADDRESS  of /healthz, /readyz and /metrics (:8081)
  --shutdown-delay TIME    still takes requests for so long after it is told to stop (5s)
  --drain-timeout TIME     requests under way may then take so long (60s)
  --trace-endpoint URL     of the collector to which traces are sent, OTLP over HTTP (none)
  --trace-ratio RATIO      of traces without a beginning elsewhere that are recorded, 0 to 1 (0.01)
  --kubeconfig FILE        how to reach the API server (as a pod does)
`

// parseGateway returns the configuration, or everything that is wrong.
func parseGateway(args []string, getenv func(string) string) (GatewayConfig, error) {
	var c GatewayConfig
	f := newFlags("cortex-gateway")
	text := f.set.StringVar
	text(&c.Namespace, "namespace", "cortex-apis", "")
	text(&c.Operator, "operator", "", "")
	text(&c.TokenFile, "token-file", "/var/run/secrets/cortex/token", "")
	text(&c.CAFile, "ca-file", "/etc/cortex/authority/ca.crt", "")
	text(&c.Listen, "listen", ":8080", "")
	text(&c.HealthListen, "health-listen", ":8081", "")
	f.duration(&c.ShutdownDelay, "shutdown-delay", 5*time.Second)
	f.duration(&c.DrainTimeout, "drain-timeout", time.Minute)
	f.traces(&c.Traces)
	text(&c.Kubeconfig, "kubeconfig", "", "")
	if err := f.parse(args); err != nil {
		return c, err
	}
	var namespace string
	c.Pod, namespace = f.pod(getenv)
	var err error
	if c.Resource, err = tracing.ParseResource(getenv("OTEL_RESOURCE_ATTRIBUTES")); err != nil {
		f.complain(true, "OTEL_RESOURCE_ATTRIBUTES: %v", err)
	}
	if c.Operator == "" {
		c.Operator = "https://" + operatorService + "." + namespace + ".svc:8444"
	}
	f.name("--namespace", c.Namespace)
	u, err := url.Parse(c.Operator)
	f.complain(err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "", "--operator %q is not https://host:port", c.Operator)
	f.checkTraces(c.Traces)
	f.complain(c.TokenFile == "", "--token-file is empty")
	f.complain(c.CAFile == "", "--ca-file is empty")
	f.complain(c.ShutdownDelay < 0 || c.ShutdownDelay > 5*time.Minute, "--shutdown-delay %s is not between 0s and 5m", c.ShutdownDelay)
	f.complain(c.DrainTimeout < time.Second || c.DrainTimeout > time.Hour, "--drain-timeout %s is not between 1s and 1h", c.DrainTimeout)
	f.address("listen", c.Listen)
	f.address("health-listen", c.HealthListen)
	return c, f.fault()
}
