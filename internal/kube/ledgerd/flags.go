package ledgerd

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"

	"cortex.dev/cortex/internal/kube/program"
)

const usage = `cortex-ledger keeps the items of AsyncAPIs: it is a server of NATS JetStream, which
waits for the disk with every write. Three or five of them keep copies. POD_NAME and
POD_NAMESPACE have to be set, the name with the number that a StatefulSet gives.

  --listen ADDRESS         for gateways and operators (:4222)
  --routes-listen ADDRESS  for the other servers (:6222)
  --health-listen ADDRESS  of /healthz, /readyz, /startz and /metrics (:8081)
  --data DIR               in which items are kept, on a disk of this server's own (/data)
  --max-bytes SIZE         of items at most, such as 18Gi; what is over it is refused (three quarters of what is free)
  --servers N              how many there are: 1, 3 or 5, which cannot be changed between one and several (1)
  --service NAME           headless service by which servers find each other (cortex-ledger)
  --secret NAME            with the username and password of all, which the operator makes (cortex-ledger)
  --kubeconfig FILE        how to reach the API server (as a pod does)
`

// routesPort is where servers reach each other; --routes-listen can name another for a
// server on its own.
const routesPort = "6222"

// minBytes is less than any item needs.
const minBytes = 1 << 20

// numbered is the name that a StatefulSet gives to a pod.
var numbered = regexp.MustCompile(`^(.+)-(0|[1-9][0-9]{0,3})$`)

// parse returns the configuration, or everything that is wrong.
func parse(args []string, getenv func(string) string) (Config, error) {
	var c Config
	var maxBytes string
	f := program.NewFlags("cortex-ledger")
	text := f.Set.StringVar
	text(&c.Listen, "listen", ":4222", "")
	text(&c.RoutesListen, "routes-listen", ":"+routesPort, "")
	text(&c.HealthListen, "health-listen", ":8081", "")
	text(&c.Data, "data", "/data", "")
	text(&maxBytes, "max-bytes", "", "")
	f.Set.IntVar(&c.Servers, "servers", 1, "")
	text(&c.Service, "service", "cortex-ledger", "")
	text(&c.Secret, "secret", "cortex-ledger", "")
	text(&c.Kubeconfig, "kubeconfig", "", "")
	if err := f.Parse(args); err != nil {
		return c, err
	}
	c.Pod, c.Namespace = f.Pod(getenv)
	f.Address("listen", c.Listen)
	f.Address("routes-listen", c.RoutesListen)
	f.Address("health-listen", c.HealthListen)
	f.Complain(c.Data == "", "--data is empty")
	if maxBytes != "" {
		q, err := resource.ParseQuantity(maxBytes)
		f.Complain(err != nil || q.Value() < minBytes, "--max-bytes %q is not a size of 1Mi or more (for example 18Gi)", maxBytes)
		c.MaxBytes = q.Value()
	}
	few := slices.Contains([]int{1, 3, 5}, c.Servers)
	f.Complain(!few, "--servers %d is not 1, 3 or 5", c.Servers)
	f.Name("--service", c.Service)
	f.Name("--secret", c.Secret)
	if few && c.Servers > 1 && c.Pod != "" {
		_, number, ok := ordinal(c.Pod)
		f.Complain(!ok || number >= c.Servers, "POD_NAME %q does not end with the number of one of %d servers, -0 to -%d", c.Pod, c.Servers, c.Servers-1)
	}
	return c, f.Fault()
}

// ordinal takes the name of a pod of a StatefulSet apart.
func ordinal(pod string) (set string, number int, ok bool) {
	m := numbered.FindStringSubmatch(pod)
	if m == nil {
		return "", 0, false
	}
	number, err := strconv.Atoi(m[2])
	return m[1], number, err == nil
}

// peers are the addresses of all servers, this one among them: how many there are is what
// a majority is counted of when they start for the first time.
func (c Config) peers() []string {
	if c.Peers != nil {
		return c.Peers
	}
	set, _, _ := ordinal(c.Pod)
	var all []string
	for n := range c.Servers {
		all = append(all, fmt.Sprintf("%s-%d.%s.%s.svc:%s", set, n, c.Service, c.Namespace, routesPort))
	}
	return all
}
