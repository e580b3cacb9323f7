package eks

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/fault"
)

// Note is what the bucket of a cluster remembers beside what AWS itself knows: what was
// asked for last, and who is at work. What there is, is never read from it.
type Note struct {
	Config     *cluster.Config           `json:"config,omitempty"`
	Zones      []string                  `json:"zones,omitempty"`
	Kubernetes cluster.KubernetesVersion `json:"kubernetes"` // with the versions that were current then
	PlannedAt  string                    `json:"planned_at,omitempty"`
	// Types are what the instance types of Config are like, which never changes.
	Types map[string]cluster.InstanceType `json:"instance_types,omitempty"`
	// Chart is the digest of what was put on the cluster last, Release the version of Cortex
	// that did; both are empty while that may be half there. AWS cannot be asked for it.
	Chart   string `json:"chart,omitempty"`
	Release string `json:"release,omitempty"`
	// UpgradingFrom is the version from which an upgrade has set out that has not come to
	// its end.
	UpgradingFrom string  `json:"upgrading_from,omitempty"`
	Operator      string  `json:"operator,omitempty"`
	APIs          string  `json:"apis,omitempty"`
	Authority     string  `json:"authority,omitempty"` // PEM
	Holder        *Holder `json:"holder,omitempty"`
}

// Holder is who is at work.
type Holder struct {
	Caller  string    `json:"caller"` // ARN
	Machine string    `json:"machine"`
	Run     string    `json:"run"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
}

// record notes what is asked for now.
func (n *Note) record(c *cluster.Config, f *cluster.Facts, p *cluster.Plan) {
	n.Config, n.Zones, n.PlannedAt, n.Types = c, p.Zones, f.ReadAt, f.InstanceTypes
	for _, v := range f.Versions {
		if v.Version == p.Kubernetes {
			n.Kubernetes = v
		}
	}
}

const (
	ledgerKey = "cluster/ledger.json"
	maxLedger = 1 << 20

	leaseLife  = 10 * time.Minute
	leaseRenew = 2 * time.Minute
	leaseEnd   = 30 * time.Second // that giving it back may take
)

// ledger is the note of one cluster, held by this run.
type ledger struct {
	a      *Account
	bucket string
	holder Holder

	mu   sync.Mutex
	text Note
	etag string // of what is there; empty: nothing
}

// Note reads the note of a cluster; nil when there is none.
func (a *Account) Note(ctx context.Context, name string) (*Note, error) {
	n, _, err := a.readNote(ctx, a.names(name).Bucket())
	return n, err
}

func (a *Account) readNote(ctx context.Context, bucket string) (n *Note, etag string, err error) {
	out, err := a.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: aws.String(ledgerKey), ExpectedBucketOwner: &a.ID})
	if is(err, "NoSuchKey", "NoSuchBucket", "NotFound") {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", asFault("reading the note of the cluster in bucket "+bucket, err)
	}
	defer func() { _ = out.Body.Close() }() // nothing was written
	data, err := io.ReadAll(io.LimitReader(out.Body, maxLedger))
	if err != nil {
		return nil, "", asFault("reading the note of the cluster in bucket "+bucket, err)
	}
	n = &Note{}
	if err := json.Unmarshal(data, n); err != nil {
		return nil, "", fault.New(fault.Malformed, CodeFailed, "s3://%s/%s is no note of a cluster: %w", bucket, ledgerKey, err).
			WithHint("remove it: what there is, is asked of AWS")
	}
	return n, deref(out.ETag), nil
}

// hold makes this run the only one that works on a cluster, or says who does.
func (a *Account) hold(ctx context.Context, name, machine string) (*ledger, error) {
	l := &ledger{a: a, bucket: a.names(name).Bucket()}
	l.holder = Holder{Caller: a.Caller, Machine: machine, Run: rand.Text(), Since: time.Now().UTC()}
	for range 5 {
		found, etag, err := a.readNote(ctx, l.bucket)
		if err != nil {
			return nil, err
		}
		l.text, l.etag = Note{}, etag
		if found != nil {
			l.text = *found
		}
		if h := l.text.Holder; h != nil && h.Machine != machine && time.Now().Before(h.Until) {
			return nil, busy(name, h)
		}
		err = l.write(ctx)
		if err == nil {
			return l, nil
		}
		if !lost(err) {
			return nil, asFault("noting who works on cluster "+name, err)
		}
	}
	return nil, fault.New(fault.Conflict, CodeBusy, "others begin to work on cluster %s at the same moment", name).WithHint("try again")
}

func busy(name string, h *Holder) error {
	return fault.New(fault.Conflict, CodeBusy, "cluster %s is being changed by %s on %s since %s", name, h.Caller, h.Machine, h.Since.Format(time.RFC3339)).
		WithHint("wait for them; if that run is dead, it is taken over after %s", h.Until.Format(time.RFC3339))
}

// lost reports whether somebody else has written in between.
func lost(err error) bool {
	return is(err, "PreconditionFailed", "ConditionalRequestConflict")
}

// write writes the note with this run as its holder, unless somebody else has written.
func (l *ledger) write(ctx context.Context) error {
	l.holder.Until = time.Now().UTC().Add(leaseLife)
	holder := l.holder
	l.text.Holder = &holder
	return l.put(ctx)
}

func (l *ledger) put(ctx context.Context) error {
	data, err := json.Marshal(l.text)
	if err != nil {
		return err
	}
	in := &s3.PutObjectInput{
		Bucket: &l.bucket, Key: aws.String(ledgerKey), Body: bytes.NewReader(data), ContentType: aws.String("application/json"), ExpectedBucketOwner: &l.a.ID,
	}
	if l.etag == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = &l.etag
	}
	out, err := l.a.s3.PutObject(ctx, in)
	if err != nil {
		return err
	}
	l.etag = deref(out.ETag)
	return nil
}

// note changes what is noted.
func (l *ledger) note(ctx context.Context, change func(*Note)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.text)
	return l.again(ctx, l.write)
}

// again writes, and writes again after an answer that was lost; that somebody else has
// taken over is a fault.
func (l *ledger) again(ctx context.Context, write func(context.Context) error) error {
	err := write(ctx)
	if !lost(err) {
		return asFault("noting what is done about the cluster", err)
	}
	found, etag, err := l.a.readNote(ctx, l.bucket)
	if err != nil {
		return err
	}
	if found == nil || found.Holder == nil || found.Holder.Run != l.holder.Run {
		if found != nil && found.Holder != nil {
			return busy(l.bucket, found.Holder)
		}
		return fault.New(fault.Conflict, CodeBusy, "somebody else has taken the work on this cluster over").WithHint("see what they do")
	}
	l.etag = etag
	return asFault("noting what is done about the cluster", write(ctx))
}

// keep renews the lease until stop is called, which gives it back; the context ends, with
// its cause, when somebody else has it. gone says that the bucket is no more.
func (l *ledger) keep(ctx context.Context) (held context.Context, stop func(gone bool) error) {
	held, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for pause(held, leaseRenew) == nil {
			if err := l.note(held, func(*Note) {}); err != nil && held.Err() == nil && fault.Code(err) == CodeBusy {
				cancel(err)
			}
		}
	}()
	return held, func(gone bool) error {
		cancel(nil)
		<-ended
		if gone {
			return nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.text.Holder = nil
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaseEnd)
		defer cancel()
		if err := l.put(last); err != nil && !lost(err) {
			return asFault("noting that nobody works on the cluster any more", err)
		}
		return nil
	}
}
