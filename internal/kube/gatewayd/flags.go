package gatewayd

import (
	"net/url"
	"strings"
	"time"

	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/tracing"
)

const usage = `cortex-gateway is the front door of deployed APIs: it finds the API of a request,
and a replica for it. It works while there is no operator. POD_NAME and
POD_NAMESPACE have to be set.

  --namespace NAME         of custom resources and their pods (cortex-apis)
  --operator URL           of the operator's internal port (https://cortex-operator.NAMESPACE.svc:8444)
  --token-file FILE        token that proves to the operator that this is a gateway
  --ca-file FILE           authority of the operator's certificate, as PEM
  --listen ADDRESS         on which APIs are served (:8080)
  --tls-listen ADDRESS     on which they are served with TLS too (none)
  --tls-secret FOLDER      with tls.crt and tls.key, as of a Secret that is mounted; may be repeated
  --https-redirect PORT    of TLS, to which callers by plain HTTP of host names with a
                           certificate are sent (they are not)
  --health-listen ADDRESS  of /healthz, /readyz and /metrics (:8081)
  --shutdown-delay TIME    still takes requests for so long after it is told to stop (5s)
  --drain-timeout TIME     requests under way may then take so long (60s)
  --trusted-proxies CIDR   of a proxy in front, whose X-Forwarded headers are passed on; may be repeated (none)
  --connections-per-address N  connections that one address may have, but for trusted proxies (5000)
  --trace-endpoint URL     of the collector to which traces are sent, OTLP over HTTP (none)
  --trace-ratio RATIO      of traces without a beginning elsewhere that are recorded, 0 to 1 (0.01)
  --kubeconfig FILE        how to reach the API server (as a pod does)
` + items.Usage

// parse returns the configuration, or everything that is wrong.
func parse(args []string, getenv func(string) string) (Config, error) {
	var c Config
	f := program.NewFlags("cortex-gateway")
	text := f.Set.StringVar
	text(&c.Namespace, "namespace", "cortex-apis", "")
	text(&c.Operator, "operator", "", "")
	text(&c.TokenFile, "token-file", "/var/run/secrets/cortex/token", "")
	text(&c.CAFile, "ca-file", "/etc/cortex/authority/ca.crt", "")
	text(&c.Listen, "listen", ":8080", "")
	text(&c.TLSListen, "tls-listen", "", "")
	f.List("tls-secret", &c.TLSSecrets)
	f.Set.IntVar(&c.RedirectPort, "https-redirect", 0, "")
	text(&c.HealthListen, "health-listen", ":8081", "")
	f.Duration(&c.ShutdownDelay, "shutdown-delay", 5*time.Second)
	f.Duration(&c.DrainTimeout, "drain-timeout", time.Minute)
	f.Networks(&c.Trusted, "trusted-proxies")
	f.Set.IntVar(&c.ConnsPerAddr, "connections-per-address", 5000, "")
	f.Traces(&c.Traces)
	text(&c.Kubeconfig, "kubeconfig", "", "")
	c.Items.Flags(f)
	if err := f.Parse(args); err != nil {
		return c, err
	}
	c.Pod, c.SystemNamespace = f.Pod(getenv)
	var err error
	if c.Resource, err = tracing.ParseResource(getenv("OTEL_RESOURCE_ATTRIBUTES")); err != nil {
		f.Complain(true, "OTEL_RESOURCE_ATTRIBUTES: %v", err)
	}
	f.Complain(c.ConnsPerAddr < 1 || c.ConnsPerAddr > 20_000, "--connections-per-address %d is not between 1 and 20000", c.ConnsPerAddr)
	if c.Operator == "" {
		c.Operator = "https://" + program.OperatorService + "." + c.SystemNamespace + ".svc:8444"
	}
	f.Name("--namespace", c.Namespace)
	u, err := url.Parse(c.Operator)
	f.Complain(err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "", "--operator %q is not https://host:port", c.Operator)
	f.Problems(c.Traces.Problems())
	f.Complain(c.TokenFile == "", "--token-file is empty")
	f.Complain(c.CAFile == "", "--ca-file is empty")
	f.Complain(c.ShutdownDelay < 0 || c.ShutdownDelay > 5*time.Minute, "--shutdown-delay %s is not between 0s and 5m", c.ShutdownDelay)
	f.Complain(c.DrainTimeout < time.Second || c.DrainTimeout > time.Hour, "--drain-timeout %s is not between 1s and 1h", c.DrainTimeout)
	c.Items.Check(f)
	f.Address("listen", c.Listen)
	f.Address("health-listen", c.HealthListen)
	if c.TLSListen != "" {
		f.Address("tls-listen", c.TLSListen)
	}
	f.Complain((c.TLSListen == "") != (len(c.TLSSecrets) == 0), "--tls-listen and --tls-secret go together: an address, and at least one certificate for it")
	f.Complain(c.RedirectPort < 0 || c.RedirectPort > 65535 || c.RedirectPort > 0 && c.TLSListen == "", "--https-redirect %d is not a port of --tls-listen (1 to 65535)", c.RedirectPort)
	return c, f.Fault()
}
