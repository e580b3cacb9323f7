package operatord

import (
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/internal/capacity"
	"cortex.dev/cortex/internal/hostconfig"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/workload"
)

const usage = `cortex-operator deploys and scales what the custom resources of Cortex say, and
serves the management API. One replica leads; the others wait to take over.
POD_NAME and POD_NAMESPACE have to be set.

  --namespace NAME            of custom resources and their pods (cortex-apis)
  --account-id ID             AWS account whose identities are accepted (that of its own credentials)
  --region REGION             AWS region in whose STS identities are proven
  --cluster-name NAME         name of this installation (cortex)
  --policy FILE               Cedar policy (every identity of the account may do everything)
  --platform-role ARN         a role that may never manage; may be repeated
  --s3-paths PATH             what jobs may read in S3 with the operator's own credentials:
                              s3://BUCKET, s3://BUCKET/PREFIX or s3://*; may be repeated
  --session-ttl TIME          life of a session, 1m to 1h (15m)
  --sts-endpoint URL          STS endpoint to ask (the region's)
  --sts-proxy URL             HTTP proxy for the calls to STS
  --sts-calls-per-second N    limit of calls to STS (20)
  --tls-cert, --tls-key FILE  certificate of the management API, as PEM (of an authority of its own)
  --tls-name NAME             one more name of a certificate of its own; may be repeated
  --audit FILE                audit log, which goes to the standard output too; - for that alone (-)
  --sidecar-image IMAGE       of the proxy beside each replica
  --sidecar-size SIZE         what it requests: cpu=100m,mem=100Mi
  --pull-policy POLICY        of the images of pods: Always, IfNotPresent or Never (IfNotPresent)
  --pull-secret NAME          of an image pull secret of pods; may be repeated
  --pod-security STANDARD     that their namespace enforces: privileged, baseline or restricted (baseline)
  --unconfined API/CONTAINER  a container that runs privileged; may be repeated
  --node-group NAME=PRIORITY  a group of nodes that APIs may ask for; may be repeated.
                              Taints of its nodes follow: spot=1,dedicated=ml:NoSchedule
  --largest-node GROUP:SIZE   a size that nodes may come to have, without GROUP: those of
                              no group; SIZE is cpu=8,mem=32Gi,gpu=1; may be repeated
  --node-reserve SIZE         of each node, what daemon sets take: cpu=250m,mem=400Mi (nothing)
  --require-auth              refuse APIs that do not ask who calls (networking.auth)
  --capacity-check=BOOL       refuse what no node could ever hold (true)
  --api-endpoint URL          what users are told to call (the address of the gateways' service)
  --api-hosts NAME            host name that APIs may have as their own (networking.host), or
                              *.example.com for all below one; may be repeated (none)
  --api-hosts-https           they are reached by https
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
` + items.Usage

// parse returns the configuration, or everything that is wrong.
func parse(args []string, getenv func(string) string) (Config, error) {
	var c Config
	var groups, largest []string
	var reserve, sidecar string
	f := program.NewFlags("cortex-operator")
	text := f.Set.StringVar
	text(&c.Namespace, "namespace", "cortex-apis", "")
	text(&c.Account, "account-id", "", "")
	text(&c.Region, "region", "", "")
	text(&c.ClusterName, "cluster-name", "cortex", "")
	text(&c.PolicyFile, "policy", "", "")
	f.List("platform-role", &c.PlatformRoles)
	f.List("s3-paths", &c.S3Paths)
	f.Duration(&c.SessionTTL, "session-ttl", 15*time.Minute)
	text(&c.STSEndpoint, "sts-endpoint", "", "")
	text(&c.STSProxy, "sts-proxy", "", "")
	f.Number(&c.STSPerSecond, "sts-calls-per-second", 20)
	text(&c.TLSCert, "tls-cert", "", "")
	text(&c.TLSKey, "tls-key", "", "")
	f.List("tls-name", &c.TLSNames)
	text(&c.AuditFile, "audit", "-", "")
	c.AuditCopy, c.AuditBytes, c.AuditKeep = true, auditBytes, auditFiles-1
	text(&c.SidecarImage, "sidecar-image", "", "")
	text(&sidecar, "sidecar-size", "cpu=100m,mem=100Mi", "")
	text(&c.PullPolicy, "pull-policy", "IfNotPresent", "")
	text(&c.PodSecurity, "pod-security", "baseline", "")
	f.List("pull-secret", &c.PullSecrets)
	f.List("unconfined", &c.Unconfined)
	f.List("node-group", &groups)
	f.List("largest-node", &largest)
	text(&reserve, "node-reserve", "", "")
	f.Set.BoolVar(&c.RequireAuth, "require-auth", false, "")
	f.Set.BoolVar(&c.CapacityCheck, "capacity-check", true, "")
	text(&c.APIEndpoint, "api-endpoint", "", "")
	f.List("api-hosts", &c.APIHosts)
	f.Set.BoolVar(&c.HostsHTTPS, "api-hosts-https", false, "")
	f.Duration(&c.Tick, "tick", 10*time.Second)
	f.Duration(&c.ShutdownDelay, "shutdown-delay", 0)
	f.Traces(&c.Traces)
	text(&c.GatewayAccount, "gateway-account", "cortex-gateway", "")
	text(&c.Listen, "listen", ":8443", "")
	text(&c.InternalListen, "internal-listen", ":8444", "")
	text(&c.HealthListen, "health-listen", ":8081", "")
	text(&c.Kubeconfig, "kubeconfig", "", "")
	c.Items.Flags(f)
	if err := f.Parse(args); err != nil {
		return c, err
	}
	c.Pod, c.SystemNamespace = f.Pod(getenv)
	check(f, &c, groups)
	readCapacity(f, &c, largest, reserve)
	var err error
	c.SidecarSize, err = capacity.Parse(sidecar)
	f.Complain(err != nil || c.SidecarSize.CPU == 0 || c.SidecarSize.Mem == 0 || c.SidecarSize.GPU > 0 || c.SidecarSize.Inf > 0,
		"--sidecar-size %q is not a size such as cpu=100m,mem=100Mi", sidecar)
	return c, f.Fault()
}

// check complains about what was read.
func check(f *program.Flags, c *Config, groups []string) {
	f.Name("--namespace", c.Namespace)
	f.Name("--gateway-account", c.GatewayAccount)
	f.Complain(c.ShutdownDelay < 0 || c.ShutdownDelay > time.Minute, "--shutdown-delay %s is not between 0s and 1m", c.ShutdownDelay)
	f.Problems(c.Management.Problems())
	if err := hostconfig.CheckTick(c.Tick); err != nil {
		f.Complain(true, "--tick %v", err)
	}
	f.Complain(c.SidecarImage == "", "--sidecar-image is missing: the image of the proxy beside each replica")
	switch c.PullPolicy {
	case "Always", "IfNotPresent", "Never":
	default:
		f.Complain(true, "--pull-policy %q is not Always, IfNotPresent or Never", c.PullPolicy)
	}
	switch c.PodSecurity {
	case "privileged", "baseline", "restricted":
	default:
		f.Complain(true, "--pod-security %q is not privileged, baseline or restricted", c.PodSecurity)
	}
	for _, secret := range c.PullSecrets {
		f.Name("--pull-secret", secret)
	}
	for _, text := range c.Unconfined {
		api, container, ok := strings.Cut(text, "/")
		f.Complain(!ok || !program.KubeName.MatchString(api) || !program.KubeName.MatchString(container), "--unconfined %q is not API/CONTAINER", text)
	}
	readGroups(f, c, groups)
	if c.APIEndpoint != "" {
		u, err := url.Parse(c.APIEndpoint)
		f.Complain(err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "",
			"--api-endpoint %q is not the URL of a server", c.APIEndpoint)
		c.APIEndpoint = strings.TrimRight(c.APIEndpoint, "/")
	}
	f.Problems(hostconfig.HostProblems(c.APIHosts))
	c.Items.Check(f)
	f.Address("listen", c.Listen)
	f.Address("internal-listen", c.InternalListen)
	f.Problems(c.Traces.Problems())
	f.Address("health-listen", c.HealthListen)
}

func readGroups(f *program.Flags, c *Config, groups []string) {
	seen := map[string]bool{}
	for _, text := range groups {
		group, taints, tainted := strings.Cut(text, ",")
		name, priority, _ := strings.Cut(group, "=")
		n, err := strconv.ParseInt(priority, 10, 32)
		f.Complain(err != nil || n < 1 || n > 100 || name == "" || seen[name],
			"--node-group %q is not NAME=PRIORITY with a name of its own and a priority of 1 to 100", text)
		seen[name] = true
		g := NodeGroup{Name: name, Priority: int32(n)}
		for taint := range strings.SplitSeq(taints, ",") {
			t, ok := parseTaint(taint)
			f.Complain(tainted && !ok, "--node-group %q: %q is not a taint such as dedicated=spot:NoSchedule", text, taint)
			if ok {
				g.Taints = append(g.Taints, t)
			}
		}
		c.NodeGroups = append(c.NodeGroups, g)
	}
}

// parseTaint reads a taint as kubectl writes it: KEY, KEY=VALUE, each with :EFFECT.
func parseTaint(text string) (workload.Toleration, bool) {
	pair, effect, _ := strings.Cut(text, ":")
	key, value, _ := strings.Cut(pair, "=")
	for path, part := range map[string]string{"key": key, "value": value, "effect": effect} {
		if !workload.ShapeOf("pod.tolerations[]." + path).Fits(part) {
			return workload.Toleration{}, false
		}
	}
	return workload.Toleration{Key: key, Value: value, Effect: effect}, true
}

// readCapacity reads how large nodes are said to be. It comes after the groups.
func readCapacity(f *program.Flags, c *Config, largest []string, reserve string) {
	for _, text := range largest {
		group, size, ok := strings.Cut(text, ":")
		if !ok {
			group, size = "", text
		}
		a, err := capacity.Parse(size)
		if err == nil && (a.CPU == 0 || a.Mem == 0) {
			err = errors.New("a node has cpu and mem")
		}
		f.Complain(err != nil, "--largest-node %q is not a size such as cpu=8,mem=32Gi,gpu=1: %v", text, err)
		f.Complain(ok && !slices.ContainsFunc(c.NodeGroups, func(g NodeGroup) bool { return g.Name == group }),
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
	f.Complain(err != nil, "--node-reserve %q is not a size such as cpu=250m,mem=400Mi: %v", reserve, err)
}
