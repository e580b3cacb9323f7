package eks

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/aws/aws-sdk-go-v2/aws"

	"cortex.dev/cortex/internal/cluster"
	"cortex.dev/cortex/internal/cluster/awsrecord"
	"cortex.dev/cortex/internal/cluster/awstest"
)

// told are the ends of the steps of a run, in the order of the plan's ids.
func (w *world) told() map[string]cluster.EventState {
	all := map[string]cluster.EventState{}
	for _, e := range w.events {
		if e.State != cluster.Begun && e.State != cluster.Going {
			all[e.Step] = e.State
		}
	}
	return all
}

// renamesOf are the names that are made of the number of an account: as a recording has
// them, which does not have the number, and as a plan of the account of these tests has.
func renamesOf(t *testing.T, dir string, plan *cluster.Plan) map[string]string {
	t.Helper()
	all := map[string]string{}
	here := cluster.NamesOf(plan.ClusterName, account, region)
	hashes := map[string]string{}
	for _, s := range plan.Steps {
		if s.Do.Stack != nil {
			hashes[s.Do.Stack.Name] = s.Do.Stack.Hash
		}
	}
	role, bucket := regexp.MustCompile("eksctl-"+plan.ClusterName+"-([0-9a-f]{8})-"), regexp.MustCompile(`\b`+plan.ClusterName+`-[0-9a-f]{8}\b`)
	chart := regexp.MustCompile(`"chart\W+([0-9a-f]{16})\b`)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var e awsrecord.Exchange
		if err := json.Unmarshal(text, &e); err != nil {
			t.Fatal(err)
		}
		if found := role.FindSubmatch(text); found != nil {
			all[string(found[1])] = here.ID()
		}
		if found := bucket.FindString(e.Request.Path); found != "" && e.Service == "s3" {
			all[found] = here.Bucket()
		}
		if found := chart.FindSubmatch(text); found != nil { // its values have the number too
			all[string(found[1])] = plan.State()[cluster.IDChart].Digest
		}
		if e.Action != "CreateStack" {
			continue
		}
		form, err := url.ParseQuery(e.Request.Body)
		if err != nil {
			t.Fatal(err)
		}
		for key := range form {
			if form.Get(key) == cluster.TagTemplate {
				all[form.Get(strings.TrimSuffix(key, "Key")+"Value")] = hashes[form.Get("StackName")]
			}
		}
	}
	return all
}

// A life that was recorded in one account can be lived again from the recording, in which
// nothing says whose account it was, without AWS: step by step with the same ends.
func TestRecordedLife(t *testing.T) {
	t.Parallel()
	const theirs = "987654321098"
	dir := t.TempDir()
	life := func(w *world, client aws.HTTPClient, k awstest.Key) *cluster.Status {
		t.Helper()
		ctx := w.t.Context()
		cfg := w.aws.Config(k)
		if client != nil {
			cfg.HTTPClient = client
		}
		a, err := Open(ctx, cfg, w.kube)
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.upBy(ctx, a); err != nil {
			w.tell()
			w.t.Fatal(err)
		}
		s, err := a.Info(ctx, "iris")
		if err != nil {
			w.t.Fatal(err)
		}
		if err := w.downBy(ctx, a); err != nil {
			w.tell()
			w.t.Fatal(err)
		}
		return s
	}
	var events map[string]cluster.EventState
	var info *cluster.Status
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.aws = awstest.New(awstest.Options{Account: theirs, Region: region})
		k := w.aws.AddUser("margarete", strings.ReplaceAll(minimum(t, "iris"), account, theirs))
		recorder, err := awsrecord.New(dir, w.aws.Config(k).HTTPClient, "laptop", func(err error) { t.Error(err) })
		if err != nil {
			t.Fatal(err)
		}
		info = life(w, recorder, k)
		events = w.told()
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) < 100 {
			t.Fatalf("%d exchanges were recorded, %v", len(files), err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{theirs, "margarete", k.Secret, k.AccessKeyID, "laptop", "Signature="} {
				if strings.Contains(string(text), secret) {
					t.Errorf("%s holds %s:\n%s", file, secret, text)
				}
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil) // of which only the credentials are used
		a, err := w.open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		_, plan, err := w.plan(t.Context(), a)
		if err != nil {
			t.Fatal(err)
		}
		before := len(w.aws.Calls())
		player, err := awsrecord.Play(dir, renamesOf(t, dir, plan))
		if err != nil {
			t.Fatal(err)
		}
		again := life(w, player, w.key)
		for step, end := range events {
			if w.told()[step] != end {
				t.Errorf("%s ends %q, and was recorded as %q", step, w.told()[step], end)
			}
		}
		if again.Operator != info.Operator || len(again.Groups) != len(info.Groups) || len(again.Drift) != len(info.Drift) || again.Account != account {
			t.Errorf("Info = %+v with drift %v and notes %v, and was recorded as %+v", again, again.Drift, again.Notes, info)
		}
		if unknown := player.Unknown(); len(unknown) > 0 {
			t.Errorf("the recording has no answer to %q", unknown)
		}
		if n := len(w.aws.Calls()) - before; n > 0 {
			t.Errorf("%d calls were made past the recording", n)
		}
	})
}
