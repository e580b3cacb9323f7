// Package items is how operator and gateways on Kubernetes use one ledger of items: by
// servers of NATS, those of the chart or somebody's own, or in a bucket of Amazon S3.
//
// It promises that a program starts while they are away, and that what needs them says so
// until they are there. It must not know what an item is, or who hands items out.
package items

import (
	"context"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"k8s.io/client-go/rest"

	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/kube/program"
	"cortex.dev/cortex/internal/ledger"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/webhook"
)

// Config is where items are kept, and who asks.
type Config struct {
	Settings
	REST      *rest.Config
	Namespace string // of the secret
	Program   string // for the servers' log
	Log       *slog.Logger
}

// Settings are the flags.
type Settings struct {
	URL          string   // nats://host:4222, tls://host:4222 or s3://bucket/prefix; empty: nowhere
	Secret       string   // of servers, with the keys username and password
	Copies       int      // on how many servers an item is
	Region       string   // of the bucket
	Queues       string   // what the names of queues begin with; empty: of the bucket
	WebhookHosts []string // that messages may go to beside public addresses
}

// Usage describes the flags.
const Usage = `
  --items URL              where the items of AsyncAPIs are kept: servers of NATS, nats:// or tls://,
                           or s3://BUCKET/PREFIX (none: AsyncAPIs do not run)
  --items-secret NAME      secret with the username and password for servers (cortex-ledger)
  --items-copies N         servers that each item is on: 1, 3 or 5 (1)
  --items-region REGION    of the bucket
  --items-queues PREFIX    what the names of the queues of SQS begin with by which programs tell
                           each other of items in a bucket (cx-, and a digest of BUCKET/PREFIX)
  --webhook-hosts HOST     host, address or network that webhook messages may go to beside
                           public addresses; may be repeated (none)
`

// Flags defines the flags.
func (s *Settings) Flags(f *program.Flags) {
	f.Set.StringVar(&s.URL, "items", "", "")
	f.Set.StringVar(&s.Secret, "items-secret", "cortex-ledger", "")
	f.Set.IntVar(&s.Copies, "items-copies", 1, "")
	f.Set.StringVar(&s.Region, "items-region", "", "")
	f.Set.StringVar(&s.Queues, "items-queues", "", "")
	f.List("webhook-hosts", &s.WebhookHosts)
}

var (
	bucketShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`) })
	prefixShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(/[A-Za-z0-9._-]{1,100}){0,8}/?$`) })
	regionShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}$`) })
	queuesShape = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_-]{1,40}$`) })
)

// Check says what is wrong with them.
func (s *Settings) Check(f *program.Flags) {
	switch u, err := url.Parse(s.URL); {
	case s.URL == "":
	case s.InBucket():
		wrong := err != nil || !bucketShape().MatchString(u.Host) || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !prefixShape().MatchString(u.Path)
		f.Complain(wrong, "--items %q is not s3://BUCKET/PREFIX", s.URL)
		f.Complain(s.Queues != "" && !queuesShape().MatchString(s.Queues), "--items-queues %q has other than 1 to 40 letters, digits, - and _", s.Queues)
		f.Complain(!regionShape().MatchString(s.Region), "--items-region %q is no region of AWS: name that of the bucket", s.Region)
	default:
		f.Complain(err != nil || u.Scheme != "nats" && u.Scheme != "tls" || u.Host == "" || u.User != nil || u.Path != "", "--items %q is not nats://host:port, tls://host:port or s3://BUCKET/PREFIX", s.URL)
		f.Name("--items-secret", s.Secret)
	}
	f.Complain(s.Copies != 1 && s.Copies != 3 && s.Copies != 5, "--items-copies %d is not 1, 3 or 5", s.Copies)
	if _, err := webhook.ParseAllowed(s.WebhookHosts); err != nil {
		f.Complain(true, "--webhook-hosts: %v", err)
	}
}

// InBucket reports whether items are in a bucket, and not on servers, which want a secret.
func (s *Settings) InBucket() bool { return strings.HasPrefix(s.URL, "s3://") }

// Webhooks are the hosts that messages may go to.
func (s *Settings) Webhooks() (*webhook.Allowed, error) { return webhook.ParseAllowed(s.WebhookHosts) }

// Shared is a ledger, and how the programs that use it know of each other.
type Shared interface {
	ledger.Ledger
	async.Others
}

// Files are those of jobs, and of what runs write.
type Files interface {
	jobs.Files
	List(ctx context.Context, folder string) ([]string, error)
	Remove(ctx context.Context, name string) error
}

// Store is the ledger and what is beside it.
type Store struct {
	Shared
	Contents  async.Blobs
	Records   jobs.Records
	Files     Files
	Schedules store.Schedules
	// Run keeps the connection until ctx ends.
	Run func(ctx context.Context) error
}

// Open returns at once, whether what it keeps items in is there or not. Run has to run.
func Open(cfg Config) (*Store, error) {
	if cfg.InBucket() {
		return openBucket(cfg)
	}
	return openServers(cfg)
}
