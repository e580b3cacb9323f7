package eks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awstest"
	"cortex.dev/cortex/internal/fault"
)

// takenAway takes a cluster away and wants nothing left.
func (w *world) takenAway(what string) {
	w.t.Helper()
	found, err := w.down(w.t.Context())
	if l := append(left(found), w.aws.Left()...); err != nil || len(l) > 0 {
		w.tell()
		w.t.Errorf("%s, then down: %v; left %q", what, err, l)
	}
}

// Whatever resource can never be made, each run ends with its reason and what to do; and
// what was made goes away.
func TestAnyResourceFailsAlways(t *testing.T) {
	t.Parallel()
	private := func(c *cluster.Config) { c.SubnetVisibility = cluster.Private }
	for _, v := range victims(t, planned(t, private)) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, private)
			w.aws.Fail(awstest.Fault{Resource: v.resource, Code: "InternalFailure", Message: "the machine room is on fire"})
			for range 2 {
				err := w.up(t.Context())
				if err == nil || !strings.Contains(err.Error(), "the machine room is on fire") || fault.From(err).Hint == "" {
					t.Fatalf("%+v fails always: %v, want its reason and what to do", v, err)
				}
			}
			w.aws.Heal()
			w.takenAway(fmt.Sprintf("%+v failed always", v))
		})
	}
}

// services are those that a life of a cluster asks.
var services = []string{"sts", "iam", "ec2", "cloudformation", "eks", "elasticloadbalancing", "autoscaling", "s3", "logs", "sqs", "servicequotas", "ssm", "acm"}

// Each service of AWS's throttles, in whatever a command does, and no command takes notice.
func TestEachServiceThrottles(t *testing.T) {
	t.Parallel()
	for _, service := range services {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, func(c *cluster.Config) { c.KubernetesVersion = "1.35" })
			w.config.SSLCertificateARN = w.aws.AddCertificate("example.com", "ISSUED")
			ctx := t.Context()
			n := 0
			throttled := func(what string, do func() error) {
				t.Helper()
				before := len(w.aws.Calls())
				w.aws.Heal()
				w.aws.Fail(awstest.Fault{Service: service, Throttle: true, Times: 5})
				if err := do(); err != nil {
					w.tell()
					t.Errorf("%s throttles: %s = %v", service, what, err)
				}
				for _, c := range w.aws.Calls()[before:] {
					if strings.Contains(c.Result, "hrottl") || strings.Contains(c.Result, "RequestLimit") || strings.Contains(c.Result, "SlowDown") {
						n++
					}
				}
			}
			throttled("up", func() error { return w.up(ctx) })
			throttled("info", func() error {
				a, err := w.open(ctx)
				if err == nil {
					_, err = a.Info(ctx, "iris")
				}
				return err
			})
			throttled("configure", func() error {
				_, err := w.configure(ctx, func(c *cluster.Config) { c.NodeGroups[0].MaxInstances = 7 })
				return err
			})
			settle(t)
			throttled("upgrade", func() error { return w.upgrade(ctx, "") })
			throttled("down", func() error { _, err := w.down(ctx); return err })
			if l := w.aws.Left(); len(l) > 0 || n == 0 {
				t.Errorf("%s throttled %d times: left %q", service, n, l)
			}
		})
	}
}

// Credentials expire at each step of making, configuring, upgrading and taking away; with new
// ones the same command goes on.
func TestCredentialsExpireAnywhere(t *testing.T) {
	t.Parallel()
	step := 1
	if !exhaustive() {
		step = 60
	}
	for _, of := range []string{"up", "configure", "upgrade", "down"} {
		t.Run(of, func(t *testing.T) {
			t.Parallel()
			for after, ended := 1, false; !ended; after += step {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, func(c *cluster.Config) { c.KubernetesVersion = "1.35" })
					ctx := t.Context()
					do := map[string]func() error{
						"up": func() error { return w.up(ctx) }, "configure": func() error { _, err := w.configure(ctx, reshaped); return err }, "upgrade": func() error { return w.upgrade(ctx, "") },
						"down": func() error { _, err := w.down(ctx); return err },
					}
					if of != "up" {
						if err := w.up(ctx); err != nil {
							t.Fatal(err)
						}
						settle(t)
					}
					w.aws.Fail(awstest.Fault{Expired: true, After: after, Times: 1})
					err := do[of]()
					w.aws.Heal()
					switch f := fault.From(err); {
					case err == nil:
						ended = true // there are not that many calls
					case f.Code != CodeExpired || !strings.Contains(f.Hint, "nothing is lost"):
						t.Errorf("%s, expired after %d calls: %v (%s)", of, after, err, f.Code)
					}
					w.key = w.aws.AddUser(fmt.Sprintf("alice%d", after), minimum(t, "iris"))
					if err := do[of](); err != nil {
						w.tell()
						t.Errorf("%s, expired after %d calls, then: %v", of, after, err)
					}
					if of != "down" {
						w.takenAway(fmt.Sprintf("%s, expired after %d calls", of, after))
					}
				})
			}
		})
	}
}

// reshaped is another configuration of the same cluster.
func reshaped(c *cluster.Config) {
	c.NodeGroups[0].MaxInstances, c.NodeGroups[0].Priority, c.CloudWatchLogs, c.APICIDRs = 9, 3, true, []string{"203.0.113.0/24"}
}

// drowsy is the way to AWS of a machine that falls asleep during a call: its clock is hours
// later then, and the connection is dead.
type drowsy struct {
	next   aws.HTTPClient
	asleep time.Duration

	mu sync.Mutex
	at int // the call during which it does
	n  int
}

func (d *drowsy) Do(r *http.Request) (*http.Response, error) {
	d.mu.Lock()
	d.n++
	sleeps := d.n == d.at
	d.mu.Unlock()
	if sleeps {
		time.Sleep(d.asleep)
		return nil, errors.New("read tcp: connection reset by peer")
	}
	return d.next.Do(r)
}

// A laptop sleeps for hours at any moment: what was begun went on in AWS meanwhile, and the
// same run goes on when it wakes up.
func TestTheClockJumps(t *testing.T) {
	t.Parallel()
	var want map[string]int
	for _, at := range []int{0, 5, 40, 90, 140, 200, 260} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			ctx := t.Context()
			cfg := w.aws.Config(w.key)
			cfg.HTTPClient = &drowsy{next: cfg.HTTPClient, at: at, asleep: 7 * time.Hour}
			a, err := Open(ctx, cfg, w.kube)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.upBy(ctx, a); err != nil {
				w.tell()
				t.Fatalf("asleep in call %d: %v", at, err)
			}
			if at == 0 {
				want = maps.Clone(w.aws.Made())
			}
			if got := w.aws.Made(); !maps.Equal(got, want) {
				t.Errorf("asleep in call %d: made %v, want %v", at, got, want)
			}
			w.takenAway(fmt.Sprintf("asleep in call %d", at))
		})
	}
	for of, do := range map[string]func(*world) func(context.Context, *Account) error{
		"configure": func(w *world) func(context.Context, *Account) error {
			return func(ctx context.Context, a *Account) error { _, err := w.configureBy(ctx, a, reshaped); return err }
		},
		"upgrade": func(w *world) func(context.Context, *Account) error { return w.upgradeBy("") },
		"down":    func(w *world) func(context.Context, *Account) error { return w.downBy },
	} {
		for _, at := range []int{3, 30, 60, 90} {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, func(c *cluster.Config) { c.KubernetesVersion = "1.35" })
				ctx := t.Context()
				if err := w.up(ctx); err != nil {
					t.Fatal(err)
				}
				settle(t)
				cfg := w.aws.Config(w.key)
				cfg.HTTPClient = &drowsy{next: cfg.HTTPClient, at: at, asleep: 7 * time.Hour}
				a, err := Open(ctx, cfg, w.kube)
				if err != nil {
					t.Fatal(err)
				}
				if err := do(w)(ctx, a); err != nil {
					w.tell()
					t.Fatalf("%s, asleep in call %d: %v", of, at, err)
				}
				w.takenAway(fmt.Sprintf("%s, asleep in call %d", of, at))
			})
		}
	}
}

// Whoever lacks one statement of the published policy is told its number, wherever the lack
// shows first.
func TestMissingStatementIsNamed(t *testing.T) {
	t.Parallel()
	var whole struct {
		Version   string
		Statement []json.RawMessage
	}
	if err := json.Unmarshal([]byte(minimum(t, "iris")), &whole); err != nil {
		t.Fatal(err)
	}
	for _, number := range []int{3, 4, 5, 6, 8} { // without the others a first cluster goes well
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil)
			less := whole
			less.Statement = slices.Delete(slices.Clone(whole.Statement), number-1, number)
			text, err := json.Marshal(less)
			if err != nil {
				t.Fatal(err)
			}
			w.key = w.aws.AddUser("eve", string(text))
			err = w.up(t.Context())
			f := fault.From(err)
			if err == nil || !regexp.MustCompile(fmt.Sprintf(`statements? ([0-9] and )?%d( and [0-9])? of the published`, number)).MatchString(f.Hint) {
				t.Errorf("without statement %d: %v\nhint: %s", number, err, f.Hint)
			}
		})
	}
}

// Whoever sleeps longer than the lease, and wakes up when somebody else is at work, is told
// so and changes nothing more.
func TestTakenOverWhileAsleep(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		ctx := t.Context()
		slow, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.up(ctx); err != nil {
			t.Fatal(err)
		}
		lease, err := slow.hold(ctx, "iris", "laptop")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(leaseLife + time.Minute)
		other, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := other.hold(ctx, "iris", "desktop"); err != nil {
			t.Fatal(err)
		}
		if err := lease.note(ctx, func(*Note) {}); fault.Code(err) != CodeBusy || !strings.Contains(err.Error(), "on desktop since") {
			t.Errorf("noting after it was taken over = %v, want %s", err, CodeBusy)
		}
	})
}

// Nothing is made when an image that it needs is nowhere.
func TestImagesAreLookedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.kube.missing = []string{"registry.example.com/cortex/operator:1"}
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, plan, err := w.plan(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.LookForImages(t.Context(), plan); fault.Code(err) != CodeNoImage || !strings.Contains(err.Error(), "registry.example.com/cortex/operator:1") {
			t.Errorf("LookForImages = %v, want the image to be named", err)
		}
		w.kube.missing = nil
		if unknown, err := a.LookForImages(t.Context(), plan); err != nil || unknown != "" {
			t.Errorf("LookForImages = %q, %v", unknown, err)
		}
	})
}

// No secret of whoever makes a cluster is in anything that outlives the command, nor in what
// it tells.
func TestNoSecretAnywhere(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w, root := made(t)
		ctx := t.Context()
		a, err := w.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, plan, err := w.plan(ctx, a)
		if err != nil {
			t.Fatal(err)
		}
		info, err := a.Info(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		stacks, err := root.stacks(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		bucket := root.names("iris").Bucket()
		objects := must[*s3.ListObjectsV2Output](t)(root.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket}))
		kept := map[string]string{}
		for _, o := range objects.Contents {
			got := must[*s3.GetObjectOutput](t)(root.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &bucket, Key: o.Key}))
			data, err := io.ReadAll(got.Body)
			if err = errors.Join(err, got.Body.Close()); err != nil {
				t.Fatal(err)
			}
			kept[deref(o.Key)] = string(data)
		}
		if len(kept) == 0 || len(w.kube.applied) == 0 || len(w.events) == 0 {
			t.Fatalf("there is nothing to search: %d objects, %d charts, %d events", len(kept), len(w.kube.applied), len(w.events))
		}
		token, _, err := a.Token(ctx, "iris")
		if err != nil {
			t.Fatal(err)
		}
		for what, v := range map[string]any{
			"plan": plan, "bucket": kept, "events": w.events, "environment": w.env, "what Kubernetes gets": w.kube.applied, "info": info, "stacks": stacks,
		} {
			text, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			for secret, value := range map[string]string{"the access key id": w.key.AccessKeyID, "the secret": w.key.Secret, "a token": token[:40]} {
				if strings.Contains(string(text), value) {
					t.Errorf("%s holds %s", what, secret)
				}
			}
		}
	})
}
