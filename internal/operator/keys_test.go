package operator

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cortex.dev/cortex/internal/fault"
	"cortex.dev/cortex/internal/store"
	"cortex.dev/cortex/internal/workload"
)

// keyWorld has two APIs, keeps keys, and has a clock that stands.
type keyWorld struct {
	*world
	at time.Time
}

func newKeyWorld(t *testing.T) *keyWorld {
	w := &keyWorld{world: newWorld(t), at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	w.keys = w.store
	w.deploy(realtime("iris", "") + realtime("other", ""))
	w.now = func() time.Time { return w.at }
	w.caller = func(context.Context) string { return alice }
	return w
}

func (w *keyWorld) create(req workload.KeyRequest) workload.KeyMade {
	w.t.Helper()
	made, err := w.CreateKey(w.t.Context(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w *keyWorld) rotate(name string, r workload.KeyRotation) workload.KeyMade {
	w.t.Helper()
	made, err := w.RotateKey(w.t.Context(), name, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

func (w *keyWorld) list() []workload.Key {
	w.t.Helper()
	all, err := w.Keys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// lines are what is listed, with the time that each is good for yet.
func (w *keyWorld) lines() (lines []string) {
	w.t.Helper()
	for _, k := range w.list() {
		left := "for ever"
		if !k.ExpiresAt.IsZero() {
			left = k.ExpiresAt.Sub(w.at).String()
		}
		lines = append(lines, fmt.Sprintf("%s %s %s %s", k.Name, k.ID, k.State, left))
	}
	return lines
}

func (w *keyWorld) want(what string, lines ...string) {
	w.t.Helper()
	if diff := cmp.Diff(lines, w.lines()); diff != "" {
		w.t.Errorf("%s: Keys() differ (-want +got):\n%s", what, diff)
	}
}

func hours(n int) workload.Duration { return workload.Duration(time.Duration(n) * time.Hour) }

// What is kept is enough to know the key again, and not to make it.
func TestCreateKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	made := w.create(workload.KeyRequest{Name: "mobile", APIs: []string{"other", "iris", "iris"}, Labels: map[string]string{"team": "ä"}, ExpiresIn: hours(24)})
	want := workload.Key{
		Name: "mobile", ID: made.ID, APIs: []string{"iris", "other"}, Labels: map[string]string{"team": "ä"}, CreatedBy: alice,
		CreatedAt: w.at, ExpiresAt: w.at.Add(24 * time.Hour), State: workload.KeyActive,
	}
	if diff := cmp.Diff(want, made.Key); diff != "" {
		t.Errorf("CreateKey() differs (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]workload.Key{want}, w.list()); diff != "" {
		t.Errorf("Keys() differ (-want +got):\n%s", diff)
	}
	kept, err := w.store.Keys(t.Context())
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept are %d, %v, want 1", len(kept), err)
	}
	parts := strings.Split(made.Text, "_")
	if len(parts) != 4 || parts[1] != made.ID || sha256.Sum256([]byte(parts[2])) != kept[0].Hash {
		t.Errorf("the key %q is not that of id %s and the hash that is kept", made.Text, made.ID)
	}
	if text := fmt.Sprintf("%+v", kept); strings.Contains(text, parts[2]) {
		t.Errorf("kept is %s, with the secret", text)
	}
	all := w.create(workload.KeyRequest{Name: "all", AllAPIs: true})
	if len(all.APIs) != 0 || all.APIs == nil || !all.ExpiresAt.IsZero() || all.Text == made.Text {
		t.Errorf("CreateKey() for all APIs = %+v", all)
	}
}

func TestKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.create(workload.KeyRequest{Name: "taken", APIs: []string{"iris"}})
	iris := []string{"iris"}
	many := map[string]string{}
	for i := range workload.MaxKeyLabels + 1 {
		many["l"+itoa(i)] = "x"
	}
	for _, tt := range []struct {
		req        workload.KeyRequest
		code, says string
	}{
		{workload.KeyRequest{APIs: iris}, workload.CodeKeyName, ""},
		{workload.KeyRequest{Name: "Mobile", APIs: iris}, workload.CodeKeyName, "63"},
		{workload.KeyRequest{Name: strings.Repeat("a", 64), APIs: iris}, workload.CodeKeyName, ""},
		{workload.KeyRequest{Name: strings.Repeat("a\x00", 1<<20), APIs: iris}, workload.CodeKeyName, ""},
		{workload.KeyRequest{Name: "taken", APIs: iris}, workload.CodeKeyExists, "cortex keys rotate taken"},
		{workload.KeyRequest{Name: "a"}, workload.CodeKeyAPIs, "all_apis"},
		{workload.KeyRequest{Name: "a", APIs: iris, AllAPIs: true}, workload.CodeKeyAPIs, "all_apis"},
		{workload.KeyRequest{Name: "a", APIs: []string{"iris", "iriz"}}, workload.CodeKeyAPIs, `did you mean "iris"?`},
		{workload.KeyRequest{Name: "a", APIs: []string{"something-else"}}, workload.CodeKeyAPIs, "deploy it first"},
		{workload.KeyRequest{Name: "a", APIs: []string{"*"}}, workload.CodeKeyAPIs, ""},
		{workload.KeyRequest{Name: "a", APIs: make([]string, workload.MaxKeyAPIs+1)}, workload.CodeKeyAPIs, "101"},
		{workload.KeyRequest{Name: "a", APIs: iris, Labels: many}, workload.CodeKeyLabels, "16"},
		{workload.KeyRequest{Name: "a", APIs: iris, Labels: map[string]string{"a b": "x"}}, workload.CodeKeyLabels, "a b=x"},
		{workload.KeyRequest{Name: "a", APIs: iris, Labels: map[string]string{"a": strings.Repeat("x", 129)}}, workload.CodeKeyLabels, ""},
		{workload.KeyRequest{Name: "a", APIs: iris, ExpiresIn: -1}, workload.CodeKeyTime, "expires_in"},
		{workload.KeyRequest{Name: "a", APIs: iris, ExpiresIn: 1}, workload.CodeKeyTime, "1s"},
		{workload.KeyRequest{Name: "a", APIs: iris, ExpiresIn: workload.Duration(workload.MaxKeyExpires) + 1}, workload.CodeKeyTime, ""},
	} {
		_, err := w.CreateKey(t.Context(), tt.req)
		f := fault.From(err)
		if f.Code != tt.code || !strings.Contains(f.Message+f.Hint, tt.says) || len(f.Message) > 300 {
			t.Errorf("CreateKey(%.60q) = %.400v (%.400s), want %s with %q", fmt.Sprint(tt.req), err, f.Hint, tt.code, tt.says)
		}
	}
	for _, r := range []workload.KeyRotation{{Grace: -1}, {Grace: 1}, {Grace: workload.Duration(workload.MaxKeyGrace) + 1}, {ExpiresIn: -1}} {
		if _, err := w.RotateKey(t.Context(), "taken", r); fault.Code(err) != workload.CodeKeyTime {
			t.Errorf("RotateKey(%+v) = %v, want %s", r, err, workload.CodeKeyTime)
		}
	}
	for _, name := range []string{"nothing", "", "A/B"} {
		if _, err := w.RotateKey(t.Context(), name, workload.KeyRotation{}); fault.Code(err) != workload.CodeKeyNotFound {
			t.Errorf("RotateKey(%q) = %v, want %s", name, err, workload.CodeKeyNotFound)
		}
		if _, err := w.RevokeKey(t.Context(), name); fault.Code(err) != workload.CodeKeyNotFound {
			t.Errorf("RevokeKey(%q) = %v, want %s", name, err, workload.CodeKeyNotFound)
		}
	}
	if got := w.list(); len(got) != 1 {
		t.Errorf("after refusals there are %d keys, want 1", len(got))
	}
	w.keys = nil
	if _, err := w.CreateKey(t.Context(), workload.KeyRequest{Name: "a", APIs: iris}); fault.Code(err) != workload.CodeNoKeys || !fault.Is(err, fault.Unsupported) {
		t.Errorf("CreateKey() where none are kept = %v, want %s", err, workload.CodeNoKeys)
	}
}

// Two keys of a name at most are good at once, and none is good for longer than it was.
func TestRotateKey(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	first := w.create(workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}, Labels: map[string]string{"team": "a"}, ExpiresIn: hours(100)})
	w.at = w.at.Add(time.Hour)
	second := w.rotate("mobile", workload.KeyRotation{Grace: hours(24)})
	if !cmp.Equal(second.APIs, first.APIs) || !cmp.Equal(second.Labels, first.Labels) || second.Text == first.Text {
		t.Errorf("RotateKey() = %+v, want another key for what %+v is for", second, first)
	}
	w.want("with a grace", "mobile "+first.ID+" active 24h0m0s", "mobile "+second.ID+" active 100h0m0s")
	third := w.rotate("mobile", workload.KeyRotation{Grace: hours(200), ExpiresIn: hours(50)})
	w.want("again", "mobile "+second.ID+" active 100h0m0s", "mobile "+third.ID+" active 50h0m0s")
	w.at = w.at.Add(60 * time.Hour)
	w.want("later", "mobile "+second.ID+" active 40h0m0s", "mobile "+third.ID+" expired -10h0m0s")
	fourth := w.rotate("mobile", workload.KeyRotation{Grace: hours(1)})
	w.want("after one that has expired", "mobile "+third.ID+" expired -10h0m0s", "mobile "+fourth.ID+" active 50h0m0s")
	w.at = w.at.Add(-time.Hour) // the clock is put back
	fifth := w.rotate("mobile", workload.KeyRotation{})
	w.want("without a grace", "mobile "+fifth.ID+" active 51h0m0s")
	sixth := w.rotate("mobile", workload.KeyRotation{Grace: hours(1)})
	w.want("at the same moment", "mobile "+fifth.ID+" active 1h0m0s", "mobile "+sixth.ID+" active 51h0m0s")
	if _, err := w.RevokeKey(t.Context(), "mobile"); err != nil {
		t.Fatal(err)
	}
	w.want("revoked")
	ever := w.create(workload.KeyRequest{Name: "mobile", AllAPIs: true})
	next := w.rotate("mobile", workload.KeyRotation{Grace: hours(2)})
	w.want("for ever", "mobile "+ever.ID+" active 2h0m0s", "mobile "+next.ID+" active for ever")
}

func TestExpiredKeysAreListedForAMonth(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	request := workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}, ExpiresIn: hours(1)}
	made := w.create(request)
	w.at = w.at.Add(time.Hour)
	w.want("at the moment", "mobile "+made.ID+" expired 0s")
	if _, err := w.CreateKey(t.Context(), request); fault.Code(err) != workload.CodeKeyExists {
		t.Errorf("CreateKey() of a name that has expired = %v, want %s", err, workload.CodeKeyExists)
	}
	w.at = w.at.Add(keepExpired + time.Second)
	w.want("a month later")
	other := w.create(workload.KeyRequest{Name: "other", APIs: []string{"iris"}})
	if kept, err := w.store.Keys(t.Context()); err != nil || len(kept) != 1 || kept[0].ID != other.ID {
		t.Errorf("kept are %v, %v, want the new one only", kept, err)
	}
	w.create(request)
}

// Of many who create at once one does, and of many who rotate none leaves a third key.
func TestKeysAreChangedByOneAtATime(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := 0
	for range 10 {
		wg.Go(func() {
			switch _, err := w.CreateKey(t.Context(), workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}}); {
			case err == nil:
				mu.Lock()
				made++
				mu.Unlock()
			case fault.Code(err) != workload.CodeKeyExists:
				t.Errorf("CreateKey() = %v, want %s", err, workload.CodeKeyExists)
			}
		})
	}
	wg.Wait()
	for range 10 {
		wg.Go(func() {
			if _, err := w.RotateKey(t.Context(), "mobile", workload.KeyRotation{Grace: hours(1)}); err != nil {
				t.Errorf("RotateKey() = %v", err)
			}
		})
	}
	wg.Wait()
	if got := w.list(); made != 1 || len(got) != 2 {
		t.Errorf("%d were made and %d are left, want 1 and 2", made, len(got))
	}
}

// What is done to a key is asked for every API of it, before anything else is told.
func TestEveryAPIOfAKeyIsAskedFor(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.create(workload.KeyRequest{Name: "both", APIs: []string{"iris", "other"}})
	w.create(workload.KeyRequest{Name: "all", AllAPIs: true})
	var asked []string
	refuse := permitBut(&asked, "other", "nothing")
	ask := func(ctx context.Context, apis []workload.Subject) error {
		if len(apis) == 0 {
			asked = append(asked, "all")
			return fault.New(fault.Forbidden, "auth.forbidden", "no all")
		}
		return refuse(ctx, apis)
	}
	create := func(req workload.KeyRequest) func() error {
		return func() error { _, err := w.CreateKey(t.Context(), req); return err }
	}
	rotate := func(name string) func() error {
		return func() error { _, err := w.RotateKey(t.Context(), name, workload.KeyRotation{}); return err }
	}
	revoke := func(name string) func() error {
		return func() error { _, err := w.RevokeKey(t.Context(), name); return err }
	}
	const hidden = "the caller may not change the key %s, or there is none"
	for _, tt := range []struct {
		what        string
		do          func() error
		revoke      bool // asks for that
		asked, says string
	}{
		{"create", create(workload.KeyRequest{Name: "a", APIs: []string{"other", "iris"}}), false, "iris RealtimeAPI, other RealtimeAPI", "no other"},
		{"create for what is not there", create(workload.KeyRequest{Name: "a", APIs: []string{"nothing"}}), false, "nothing", "no nothing"},
		{"create for all", create(workload.KeyRequest{Name: "a", AllAPIs: true}), false, "all", "no all"},
		{"create a name that is taken", create(workload.KeyRequest{Name: "both", APIs: []string{"other"}}), false, "other RealtimeAPI", "no other"},
		{"rotate", rotate("both"), false, "iris RealtimeAPI, other RealtimeAPI", fmt.Sprintf(hidden, "both")},
		{"rotate one for all", rotate("all"), false, "all", fmt.Sprintf(hidden, "all")},
		{"rotate nothing", rotate("nothing"), false, "all", fmt.Sprintf(hidden, "nothing")},
		{"revoke", revoke("both"), true, "iris RealtimeAPI, other RealtimeAPI", fmt.Sprintf(hidden, "both")},
		{"revoke one for all", revoke("all"), true, "all", fmt.Sprintf(hidden, "all")},
		{"revoke nothing", revoke("nothing"), true, "all", fmt.Sprintf(hidden, "nothing")},
	} {
		asked = nil
		w.createKeys, w.revokeKeys = ask, nil
		if tt.revoke {
			w.createKeys, w.revokeKeys = nil, ask
		}
		before := w.lines()
		err := tt.do()
		if !fault.Is(err, fault.Forbidden) || fault.From(err).Message != tt.says || strings.Join(asked, ", ") != tt.asked {
			t.Errorf("%s = %v after %q, want %q after %q", tt.what, err, asked, tt.says, tt.asked)
		}
		if diff := cmp.Diff(before, w.lines()); diff != "" {
			t.Errorf("%s was refused and changed (-before +after):\n%s", tt.what, diff)
		}
	}
}

// A key that has become another one after it was asked about is asked about again.
func TestAKeyThatIsReplacedMeanwhileIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newKeyWorld(t)
	w.create(workload.KeyRequest{Name: "mobile", APIs: []string{"iris"}})
	var asked []string
	w.revokeKeys = func(ctx context.Context, apis []workload.Subject) error {
		asked = append(asked, apis[0].Name)
		if apis[0].Name == "other" {
			return fault.New(fault.Forbidden, "auth.forbidden", "no")
		}
		// Between the question and the change.
		return w.store.ChangeKeys(ctx, "mobile", func(old []store.Key) ([]store.Key, error) {
			next := old[0]
			next.ID, next.APIs = "bbbbbbbb", []string{"other"}
			return []store.Key{next}, nil
		})
	}
	_, err := w.RevokeKey(t.Context(), "mobile")
	if got := strings.Join(asked, " "); !fault.Is(err, fault.Forbidden) || got != "iris other" {
		t.Errorf("RevokeKey() = %v after %q, want it refused after %q", err, got, "iris other")
	}
	w.want("refused", "mobile bbbbbbbb active for ever")
}
