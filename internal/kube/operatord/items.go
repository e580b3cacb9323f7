package operatord

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"cortex.dev/cortex/internal/async"
	"cortex.dev/cortex/internal/deadletters"
	"cortex.dev/cortex/internal/engine"
	enginekube "cortex.dev/cortex/internal/engine/kube"
	"cortex.dev/cortex/internal/jobs"
	"cortex.dev/cortex/internal/kube/items"
	"cortex.dev/cortex/internal/lifecycle"
	"cortex.dev/cortex/internal/objects"
	"cortex.dev/cortex/internal/operator"
	"cortex.dev/cortex/internal/schedule"
	"cortex.dev/cortex/internal/webhook"
	"cortex.dev/cortex/internal/workload"
)

// ledgerSecret is the secret with the credentials of the chart's own servers of items, which
// the operator makes. One of another name is somebody's own.
const ledgerSecret = "cortex-ledger"

// makeLedgerSecret makes the credentials of the servers of items, once and for all: they,
// the gateways and the operator read them from there.
func (p *operatorProgram) makeLedgerSecret(ctx context.Context) error {
	if p.cfg.Items.URL == "" || p.cfg.Items.InBucket() || p.cfg.Items.Secret != ledgerSecret {
		return nil
	}
	secrets := p.client.CoreV1().Secrets(p.cfg.SystemNamespace)
	_, err := secrets.Get(ctx, ledgerSecret, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: ledgerSecret, Labels: map[string]string{"app.kubernetes.io/part-of": "cortex"}},
			Data:       map[string][]byte{"username": []byte("cortex"), "password": []byte(rand.Text())},
		}, metav1.CreateOptions{FieldManager: "cortex"})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) { // another replica was faster
		return fmt.Errorf("making the secret %s/%s: %w", p.cfg.SystemNamespace, ledgerSecret, err)
	}
	return nil
}

// manageItems adds who lists, cancels and purges items here, sends the messages about their
// ends, and begins those of schedules: gateways accept them and hand them out. It adds who
// runs jobs, too, which are kept beside them.
func (l *leader) manageItems(role *operator.Config) error {
	kept, err := items.Open(items.Config{Settings: l.cfg.Items, REST: l.rest, Namespace: l.cfg.SystemNamespace, Program: "cortex-operator " + l.cfg.Pod, Log: l.cfg.Log})
	if err != nil {
		return err
	}
	allowed, err := l.cfg.Items.Webhooks()
	if err != nil {
		return err
	}
	work, err := async.New(async.Config{
		Ledger: kept, Blobs: kept.Contents, Others: onlooker{kept}, Deployed: l.store,
		Acquire: func(context.Context, string, bool) (async.Place, error) {
			return nil, errors.New("gateways hand items out")
		},
		Webhooks:  async.Webhooks{Send: webhook.NewSender(allowed).Send, CheckURL: allowed.CheckURL, Secret: l.store.SecretValue, Endpoint: l.apiEndpoint},
		Telemetry: l.metrics, Log: l.cfg.Log,
	})
	if err != nil {
		return err
	}
	runners := map[workload.Kind]schedule.Runner{workload.Async: work.Scheduled()}
	l.items = []lifecycle.Task{{Name: "ledger", Run: kept.Run}, {Name: "items", Run: work.Run}}
	if runner, ok := role.Engine.(engine.Runner); ok { // tests have an engine that runs nothing
		runs, err := jobs.New(jobs.Config{
			Records: kept.Records, Files: kept.Files, Runner: runner, Deployed: l.store, Elsewhere: true, Objects: objects.New(), S3Paths: l.cfg.S3Paths, Queues: deadletters.New(),
			CommitEvery: jobCommitEvery, Telemetry: l.metrics, Log: l.cfg.Log,
		})
		if err != nil {
			return err
		}
		role.RunJobs = runs
		if e, ok := runner.(*enginekube.Engine); ok {
			e.KeepRuns(kept.Files)
		}
		runners[workload.Batch], runners[workload.Task] = runs.Scheduled(), runs.Scheduled()
		l.items = append(l.items, lifecycle.Task{Name: "jobs", Run: func(ctx context.Context) error { return l.again(ctx, "jobs", runs.Run) }})
	}
	timetable, err := schedule.New(schedule.Config{Deployed: l.store, States: kept.Schedules, Runners: runners, Telemetry: l.metrics, Log: l.cfg.Log})
	if err != nil {
		return err
	}
	role.Items, role.Schedules = work, timetable
	l.items = append(l.items, lifecycle.Task{Name: "schedules", Run: func(ctx context.Context) error { return l.again(ctx, "schedules", timetable.Run) }})
	return nil
}

// How jobs are kept here: in the servers of items, each write to which is a round trip.
const jobCommitEvery = 2 * time.Second

// againAfter is the pause after which something is begun again that needs the servers of
// items.
const againAfter = time.Second

// again runs something until ctx ends: what it needs may be away.
func (l *leader) again(ctx context.Context, what string, run func(context.Context) error) error {
	for {
		err := run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		l.cfg.Log.Warn(what+" do not run now", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(againAfter):
		}
	}
}

// onlooker never hands items out, and executes none.
type onlooker struct{ *items.Store }

func (onlooker) Attend(ctx context.Context, _ string) { <-ctx.Done() }

func (onlooker) Lead(ctx context.Context, _ string, _ func(context.Context) error) error {
	<-ctx.Done()
	return nil
}
