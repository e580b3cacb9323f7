// Package arch is the map of the house as data: every package, and what it may
// import. Its test fails on an arrow that is not drawn here, on a package nobody
// declared, on a declaration without a package, on an arrow nobody uses and on a
// package without a package comment. Drawing an arrow is a decision; the reason
// for one that is not obvious stands beside it, the story in ARCHITECTURE.md.
//
// Nothing imports it. It must not hold code that anything needs at run time.
package arch

// Rule says what one package may import besides the standard library.
type Rule struct {
	Internal []string // folders of this module
	Outside  []string // modules or package prefixes of others
}

// The libraries, named once.
const (
	yaml  = "go.yaml.in/yaml/v3"
	huma  = "github.com/danielgtaylor/huma/v2"
	bbolt = "go.etcd.io/bbolt"
	jose  = "github.com/go-jose/go-jose/v4"
	btree = "github.com/google/btree"

	natsgo     = "github.com/nats-io/nats.go"
	natsserver = "github.com/nats-io/nats-server/v2"
	nuid       = "github.com/nats-io/nuid"
	moby       = "github.com/moby/moby"
	patterns   = "github.com/moby/patternmatcher" // the syntax of .dockerignore
	errdefs    = "github.com/containerd/errdefs"  // the kinds of the errors of the Docker client
	prom       = "github.com/prometheus/client_golang"
	cobra      = "github.com/spf13/cobra"
	pflag      = "github.com/spf13/pflag"
	lipgloss   = "charm.land/lipgloss/v2"
	xsys       = "golang.org/x/sys"
	xnet       = "golang.org/x/net"
	xterm      = "golang.org/x/term"
	gocmp      = "github.com/google/go-cmp"
	aws        = "github.com/aws/aws-sdk-go-v2"
	smithy     = "github.com/aws/smithy-go"
	cedar      = "github.com/cedar-policy/cedar-go"
	xtime      = "golang.org/x/time"
	xsync      = "golang.org/x/sync"
	xcrypto    = "golang.org/x/crypto"

	k8sapi     = "k8s.io/api"
	k8smachine = "k8s.io/apimachinery"
	k8sclient  = "k8s.io/client-go"
	k8scrd     = "k8s.io/apiextensions-apiserver"
	klog       = "k8s.io/klog/v2" // what client-go logs with; it is only ever silenced
	helm       = "helm.sh/helm/v4"
	k8syaml    = "sigs.k8s.io/yaml"
	k8smerge   = "sigs.k8s.io/structured-merge-diff/v6" // which fields belong to whom
	registry   = "github.com/google/go-containerregistry"

	jsonschema = "github.com/santhosh-tekuri/jsonschema/v6"

	otlp     = "go.opentelemetry.io/proto/otlp"
	protobuf = "google.golang.org/protobuf"
)

// Rules holds every package of the module by its folder.
var Rules = map[string]Rule{
	"internal/arch":      {},
	"internal/fault":     {},
	"internal/cron":      {},
	"internal/workload":  {Internal: []string{"internal/cron"}}, // what is never due is refused with the rest
	"internal/telemetry": {Outside: []string{prom}},
	// It knows no HTTP and no store: a gateway tells it of requests and of keys.
	"internal/sealed": {},
	"internal/access": {Internal: []string{"internal/workload", "internal/boundedcache", "internal/sealed"}, Outside: []string{jose}},

	// What gateways and sidecars count by the same names.
	"internal/telemetry/proxymetrics": {Internal: []string{"internal/relay", "internal/telemetry"}},
	"internal/tracing":                {Internal: []string{"internal/telemetry"}, Outside: []string{otlp, protobuf}},
	// Apart from the spans and how they are sent, which know no request.
	"internal/tracing/proxyspan": {Internal: []string{"internal/tracing", "internal/relay"}},
	// A collector for tests, which reads with the standard's own types.
	"internal/tracing/tracingtest": {Outside: []string{otlp, protobuf}},

	"internal/suggest":   {},
	"internal/top":       {Internal: []string{"internal/workload"}, Outside: []string{lipgloss}},
	"internal/autostart": {},
	"internal/sketch":    {Internal: []string{"internal/workload"}},
	// A cluster file is read as a cortex.yaml is, by the same code; its rules are the cluster's.
	"internal/manifest": {Internal: []string{"internal/cluster", "internal/suggest", "internal/workload", "internal/fault"}, Outside: []string{yaml}},
	// Pure, and without an SDK: of workload it has the form of a broken rule.
	"internal/cluster": {Internal: []string{"internal/suggest", "internal/workload", "internal/fault"}},
	// Apart from the plan, which needs no SDK; and not of cli, which would link it.
	// An account of AWS for tests: it judges what the others send, so that it knows none of them.
	"internal/cluster/awstest": {Internal: []string{"internal/auth/authtest"}, Outside: []string{aws, jsonschema}},
	// Writes down what is said to AWS, whoever says it.
	"internal/cluster/awsrecord": {},
	"internal/cluster/eks":       {Internal: []string{"internal/cluster", "internal/workload", "internal/fault"}, Outside: []string{aws, smithy}},
	"internal/autoscaler":        {Internal: []string{"internal/workload", "internal/telemetry", "internal/fault"}},
	"internal/limiter":           {},
	"internal/relay":             {Internal: []string{"internal/relay/h2"}, Outside: []string{xsys}},
	// Frames and their streams, apart from what becomes of a request.
	"internal/relay/h2":           {Outside: []string{xnet}},
	"internal/engine/local/probe": {Internal: []string{"internal/workload"}},
	"internal/capacity":           {Internal: []string{"internal/workload"}},

	"internal/engine":       {Internal: []string{"internal/workload"}},
	"internal/engine/local": {Internal: []string{"internal/engine", "internal/engine/local/probe", "internal/workload", "internal/fault"}},
	// The runtimes implement the interface that the local engine declares.
	"internal/engine/process": {Internal: []string{"internal/engine/local", "internal/workload"}, Outside: []string{xsys}},
	"internal/codesnapshot":   {Internal: []string{"internal/atomicfile", "internal/workload", "internal/fault"}, Outside: []string{patterns, xsys}},
	// Which folders a container may have is decided in one place, for the engine and for who deploys.
	"internal/volumes":           {Internal: []string{"internal/workload", "internal/fault"}},
	"internal/engine/docker":     {Internal: []string{"internal/engine/local", "internal/workload"}, Outside: []string{moby, errdefs}},
	"internal/engine/kube":       {Internal: []string{"internal/engine", "internal/executions", "internal/crd", "internal/capacity", "internal/workload", "internal/fault"}, Outside: []string{k8sapi, k8smachine, k8sclient, xsync}},
	"internal/engine/enginetest": {Internal: []string{"internal/engine", "internal/workload", "internal/fault"}},

	// The record of each item of asynchronous work. On one machine it is kept as the state
	// is, in a file of its own: by the same package, which has commits and checksums.
	"internal/ledger":            {Internal: []string{"internal/fault"}},
	"internal/ledger/ledgertest": {Internal: []string{"internal/ledger", "internal/fault"}},
	// For several programs at once. Its servers are in a program of their own.
	"internal/ledger/jetstream":               {Internal: []string{"internal/boundedcache", "internal/ledger", "internal/ledger/segments", "internal/fault"}, Outside: []string{natsgo, nuid}},
	"internal/ledger/jetstream/jetstreamtest": {Outside: []string{natsgo, natsserver}},
	// The same in a bucket. Gateways link it, which must not link the SDK of AWS.
	"internal/ledger/s3":        {Internal: []string{"internal/awsrest", "internal/boundedcache", "internal/ledger", "internal/ledger/segments", "internal/fault"}},
	"internal/ledger/s3/s3test": {Internal: []string{"internal/awsrest", "internal/mototest"}},
	"internal/ledger/segments":  {},
	"internal/awsrest":          {},
	"internal/mototest":         {},
	"internal/browsertest":      {},
	// Whatever a user may name an address for; it knows no items.
	"internal/webhook": {},
	// It knows neither the gateway, which has the places, nor how a request reaches it.
	"internal/async": {Internal: []string{"internal/webhook", "internal/ledger", "internal/schedule", "internal/limiter", "internal/store", "internal/telemetry", "internal/workload", "internal/fault"}},
	// It runs pods by the engine's port, and keeps its records by one of its own.
	"internal/jobs": {Internal: []string{"internal/engine", "internal/schedule", "internal/store", "internal/telemetry", "internal/workload", "internal/fault"}},

	// It knows neither what a run is nor how state is kept.
	"internal/schedule": {Internal: []string{"internal/cron", "internal/store", "internal/telemetry", "internal/workload", "internal/fault"}},

	"internal/store":      {Internal: []string{"internal/workload", "internal/fault"}},
	"internal/store/bolt": {Internal: []string{"internal/atomicfile", "internal/boundedcache", "internal/ledger", "internal/store", "internal/store/journal", "internal/workload", "internal/fault"}, Outside: []string{bbolt, btree, xsys}},
	// Apart from the file of pages that it goes before, of which it knows nothing.
	"internal/store/journal":   {Internal: []string{"internal/atomicfile"}, Outside: []string{xsys}},
	"internal/store/kube":      {Internal: []string{"internal/store", "internal/crd", "internal/workload", "internal/fault"}, Outside: []string{k8sapi, k8smachine, k8sclient, klog}},
	"internal/executions":      {Internal: []string{"internal/workload"}},
	"internal/objects":         {Internal: []string{"internal/fault"}, Outside: []string{aws, smithy}},
	"internal/deadletters":     {Internal: []string{"internal/fault"}, Outside: []string{aws, smithy}},
	"internal/jobs/jobstest":   {Internal: []string{"internal/jobs"}},
	"internal/store/storetest": {Internal: []string{"internal/store", "internal/workload", "internal/fault"}, Outside: []string{gocmp}},

	// One parser for the command line, Python and everyone else: the operator
	// reads the file, and positions come back over the wire.
	"internal/operator": {Internal: []string{"internal/access", "internal/workload", "internal/manifest", "internal/suggest", "internal/engine", "internal/store", "internal/telemetry", "internal/fault"}, Outside: []string{xsync}},
	"internal/gateway":  {Internal: []string{"internal/access", "internal/workload", "internal/engine", "internal/executions", "internal/store", "internal/limiter", "internal/relay", "internal/telemetry", "internal/telemetry/proxymetrics", "internal/tracing", "internal/tracing/proxyspan"}},
	// One in each pod: nothing of Kubernetes, Docker, a store or an engine.
	"internal/sidecar": {Internal: []string{"internal/workload", "internal/executions", "internal/limiter", "internal/relay", "internal/telemetry", "internal/telemetry/proxymetrics", "internal/tracing", "internal/tracing/proxyspan"}},

	// The types, which everybody on Kubernetes shares, apart from how their schema is
	// made: that needs the manifest's rules, and only tests and releases ask for it.
	"internal/crd":        {Internal: []string{"internal/workload"}, Outside: []string{k8smachine}},
	"internal/crd/schema": {Internal: []string{"internal/crd", "internal/manifest", "internal/workload"}, Outside: []string{k8scrd, k8smachine}},

	"internal/lifecycle":    {},
	"internal/serviceaddr":  {Outside: []string{k8sapi, k8smachine, k8sclient}},
	"internal/boundedcache": {},
	"internal/atomicfile":   {},
	"internal/backoff":      {},
	"internal/filelock":     {Internal: []string{"internal/backoff"}, Outside: []string{xsys}},

	// What callers see at the front door. Who authorities speak to is not the gateway's business.
	"internal/hostcert": {Internal: []string{"internal/atomicfile", "internal/fault", "internal/telemetry"}, Outside: []string{xcrypto}},
	// An authority for tests and for the demo.
	"internal/hostcert/acmetest": {Outside: []string{xnet}},

	"internal/hostconfig": {Internal: []string{"internal/workload", "internal/webhook", "internal/auth", "internal/autoscaler", "internal/tracing"}},

	"internal/auth":        {Internal: []string{"internal/fault"}},
	"internal/auth/local":  {Outside: []string{xsys}},
	"internal/auth/policy": {Internal: []string{"internal/auth", "internal/boundedcache", "internal/suggest", "internal/workload", "internal/fault"}, Outside: []string{cedar}},
	"internal/auth/audit":  {Internal: []string{"internal/auth", "internal/fault"}, Outside: []string{xtime}},
	// Used nonces and the keys of sessions are what replicas share: the store's.
	"internal/auth/iam":   {Internal: []string{"internal/access", "internal/auth", "internal/boundedcache", "internal/sealed", "internal/store", "internal/telemetry", "internal/fault"}, Outside: []string{aws, xtime}},
	"internal/auth/guard": {Internal: []string{"internal/auth", "internal/auth/iam", "internal/auth/audit", "internal/fault"}},
	// Apart from what proves an identity with them: commands about clusters need them too.
	"internal/awscreds": {Internal: []string{"internal/auth", "internal/fault"}, Outside: []string{aws, smithy, xsys}},
	// The client's half: nothing of the server may import it.
	"internal/auth/login":    {Internal: []string{"internal/auth", "internal/awscreds", "internal/backoff", "internal/fault"}, Outside: []string{aws, xsys}},
	"internal/auth/authtest": {},
	// Replicas of an operator show certificates of one authority, which is in the store.
	"internal/certificate": {Internal: []string{"internal/auth", "internal/store", "internal/atomicfile", "internal/fault"}},
	"internal/operatorserver": {Internal: []string{
		"internal/access", "internal/auth", "internal/auth/iam", "internal/auth/policy", "internal/auth/audit", "internal/auth/guard", "internal/certificate", "internal/hostconfig",
		"internal/httpapi", "internal/lifecycle", "internal/store", "internal/telemetry", "internal/workload", "internal/fault",
	}},
	"internal/controlapi": {Internal: []string{"internal/access", "internal/autoscaler", "internal/workload", "internal/boundedcache", "internal/telemetry", "internal/fault"}, Outside: []string{xtime}},

	"internal/httpapi": {Internal: []string{"internal/workload", "internal/auth", "internal/fault"}, Outside: []string{huma}},
	// It speaks for a browser as the command line does, and has no way of its own to an operator.
	"internal/dashboard": {Internal: []string{"internal/httpapi", "internal/fault"}},
	// The daemon is another process: what is seen of it is a socket, a lock and a log.
	"internal/localenv": {Internal: []string{
		"internal/auth/local", "internal/backoff", "internal/filelock", "internal/httpapi", "internal/workload", "internal/fault",
	}, Outside: []string{xsys}},
	"internal/trust": {Internal: []string{"internal/auth", "internal/httpapi", "internal/fault"}}, // httpapi has the code of an untrusted certificate
	"internal/environments": {Internal: []string{
		"internal/atomicfile", "internal/autoscaler", "internal/fault", "internal/filelock", "internal/hostconfig", "internal/httpapi", "internal/trust",
	}, Outside: []string{yaml}},
	// cortex simulate runs the scaling rule itself, offline.
	// cortex policy and cortex audit --file work offline too.
	"internal/migrate": {Internal: []string{"internal/manifest", "internal/cluster", "internal/workload", "internal/fault"}, Outside: []string{yaml}},
	"internal/cli": {Internal: []string{
		"internal/workload", "internal/manifest", "internal/migrate", "internal/capacity", "internal/cluster", "internal/dashboard", "internal/httpapi", "internal/hostconfig", "internal/autoscaler", "internal/fault",
		"internal/atomicfile", "internal/autostart", "internal/backoff", "internal/environments", "internal/localenv", "internal/sketch", "internal/suggest", "internal/top", "internal/trust",
		"internal/auth", "internal/auth/login", "internal/auth/policy", "internal/auth/audit",
		"internal/awscreds", "internal/atomicfile", "internal/filelock", // credentials for a cluster, and one command at it at a time
		"internal/tracing", // its default ratio
	}, Outside: []string{cobra, pflag, lipgloss, yaml, xterm, xsys}},
	"internal/solo": {Internal: []string{
		"internal/async", "internal/deadletters", "internal/jobs", "internal/objects", "internal/schedule", "internal/webhook", "internal/hostcert", "internal/hostconfig", "internal/httpserve", "internal/workload", "internal/fault", "internal/telemetry", "internal/autoscaler", "internal/engine/local",
		"internal/access", "internal/engine/process", "internal/engine/docker", "internal/codesnapshot", "internal/volumes", "internal/store/bolt", "internal/operator", "internal/gateway", "internal/httpapi",
		"internal/auth/local", "internal/certificate", "internal/operatorserver", "internal/lifecycle", "internal/tracing",
	}},
	// What solo is on one machine, as programs.
	"internal/httpserve": {},
	// What solo is on one machine, as two programs, and what they have in common.
	"internal/kube/program": {Internal: []string{"internal/fault", "internal/httpserve", "internal/telemetry", "internal/tracing"}, Outside: []string{k8smachine, k8sclient, klog}},
	// The promises of their command lines, as tests.
	"internal/kube/program/programtest": {Internal: []string{"internal/fault", "internal/kube/program"}},
	"internal/kube/items": {Internal: []string{
		"internal/async", "internal/jobs", "internal/store", "internal/awsrest", "internal/kube/program", "internal/ledger", "internal/ledger/jetstream", "internal/ledger/s3", "internal/webhook",
	}, Outside: []string{natsgo, k8sclient}},
	"internal/kube/gatewayd": {Internal: []string{
		"internal/access", "internal/async", "internal/jobs", "internal/kube/items", "internal/autoscaler", "internal/controlapi", "internal/engine", "internal/engine/kube", "internal/gateway", "internal/hostcert", "internal/kube/program",
		"internal/lifecycle", "internal/store/kube", "internal/telemetry", "internal/tracing", "internal/webhook",
	}, Outside: []string{k8sclient}},
	// The servers that keep items know nothing of items; internal/ledger/jetstream does.
	"internal/kube/ledgerd": {Internal: []string{
		"internal/atomicfile", "internal/fault", "internal/kube/program", "internal/lifecycle", "internal/telemetry",
	}, Outside: []string{natsserver, k8smachine, k8sclient}},
	"internal/kube/drain":    {Outside: []string{k8sapi, k8smachine, k8sclient}},
	"internal/kube/drainerd": {Internal: []string{"internal/kube/drain", "internal/kube/program"}, Outside: []string{k8sclient}},
	"internal/kube/operatord": {Internal: []string{
		"internal/async", "internal/deadletters", "internal/jobs", "internal/objects", "internal/kube/items", "internal/schedule", "internal/webhook",
		"internal/access", "internal/autoscaler", "internal/capacity", "internal/certificate", "internal/controlapi", "internal/engine", "internal/engine/kube",
		"internal/hostconfig", "internal/httpapi", "internal/httpserve", "internal/kube/program", "internal/lifecycle", "internal/operator", "internal/operatorserver",
		"internal/serviceaddr", "internal/store/kube", "internal/telemetry", "internal/tracing", "internal/workload",
	}, Outside: []string{k8sapi, k8smachine, k8sclient}},
	"deploy":           {}, // the chart, embedded
	"internal/install": {Internal: []string{"internal/kube/drain", "deploy", "internal/auth/policy", "internal/images", "internal/serviceaddr", "internal/fault"}, Outside: []string{helm, k8sapi, k8smachine, k8sclient, klog, k8syaml, k8smerge}},
	// A real Kubernetes for tests: only they, and what starts one, import it.
	"internal/kubetest/testcluster": {Internal: []string{"internal/auth/authtest"}},
	"internal/images":               {Internal: []string{"internal/fault"}, Outside: []string{registry}},
	"internal/kubetest":             {Internal: []string{"internal/images"}, Outside: []string{k8sapi, k8smachine, k8sclient, k8scrd, registry}},

	"cmd/cortex-install":  {Internal: []string{"internal/cli", "internal/cluster", "internal/cluster/awsrecord", "internal/cluster/eks", "internal/install"}, Outside: []string{aws}},
	"cmd/cortex-operator": {Internal: []string{"internal/kube/drainerd", "internal/kube/operatord", "internal/kube/program"}},
	"cmd/cortex-gateway":  {Internal: []string{"internal/kube/gatewayd", "internal/kube/program"}},
	"cmd/cortex-ledger":   {Internal: []string{"internal/kube/ledgerd", "internal/kube/program"}},
	"cmd/cortex-sidecar":  {Internal: []string{"internal/sidecar"}},
	"cmd/cortex":          {Internal: []string{"internal/cli", "internal/solo", "internal/engine/process", "internal/fault", "internal/hostconfig"}},
}

// Light says what a program must not link, by the beginnings of import paths, and how
// many packages its closure may have. There is a sidecar in each pod, and a gateway
// before each request: what only the control plane needs is memory, start-up time and
// attack surface there.
type Light struct {
	Without []string
	Most    int
}

// Closures holds the programs that must stay light by their folders.
var Closures = map[string]Light{
	"cmd/cortex-sidecar": {Most: 300, Without: []string{
		"k8s.io/", "sigs.k8s.io/", moby, "github.com/docker/", bbolt, aws, "google.golang.org/grpc", cedar, huma,
		"cortex.dev/cortex/internal/store", "cortex.dev/cortex/internal/engine",
	}},
	"cmd/cortex-gateway": {Most: 700, Without: []string{
		moby, "github.com/docker/", bbolt, aws, smithy, "google.golang.org/grpc", cedar, huma, helm,
		"cortex.dev/cortex/internal/auth", "cortex.dev/cortex/internal/certificate", "cortex.dev/cortex/internal/operator",
		"cortex.dev/cortex/internal/manifest", "cortex.dev/cortex/internal/httpapi",
	}},
	"cmd/cortex-ledger": {Most: 620, Without: []string{
		moby, "github.com/docker/", bbolt, aws, smithy, "google.golang.org/grpc", cedar, huma, helm, natsgo,
		"cortex.dev/cortex/internal/auth", "cortex.dev/cortex/internal/operator", "cortex.dev/cortex/internal/manifest",
		"cortex.dev/cortex/internal/store", "cortex.dev/cortex/internal/engine", "cortex.dev/cortex/internal/gateway",
	}},
}
