package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"cortex.dev/cortex/internal/hostcert/acmetest"
)

// accessDemo is the showing of who may call an API, and how much.
type accessDemo struct {
	*demo
	dir  string // a copy of the example
	key  string // alice's
	sent int    // requests of alice that were let in
	over int    // that a limit refused

	secure string           // host:port of APIs with TLS
	acme   *acmetest.Server // who gives certificates; nil: nobody

	issuer    *issuer // of tokens; nil: there is none yet
	tokensURL string  // of the API that takes them
}

// showAccess plays a stranger, a caller and her limits.
func showAccess(ctx context.Context, out io.Writer, home string) (err error) {
	d := &accessDemo{demo: newDemo(out, append(os.Environ(), "CORTEX_CLI_CONFIG_DIR="+home)), dir: filepath.Join(home, "access")}
	defer func() {
		if d.acme != nil {
			d.acme.Close()
		}
		if d.issuer != nil {
			d.issuer.server.Close()
		}
		err = errors.Join(err, d.leaveNothing(home))
	}()
	begun := time.Now()
	for _, scene := range []func(context.Context) error{d.buildAccess, d.startAccess, d.stranger, d.caller, d.ownHost, d.tokens, d.parallel, d.rate, d.quota, d.usageOfAlice, d.rotation, d.revoked, d.rotated, d.role, d.cleanUpAccess} {
		if err := scene(ctx); err != nil {
			return err
		}
	}
	d.title(fmt.Sprintf("That was all, in %d seconds. Nothing is left running. Now you:", int(time.Since(begun).Seconds())))
	d.say(`
  make build && export PATH="$PWD/bin:$PATH" && cd examples/access
  cortex deploy                                # starts your own local environment
  cortex keys create me --api flowers
  curl -H "Authorization: Bearer cxk_…" http://localhost:8888/flowers -d @../iris/flowers.json
  cortex usage

  docs/access.md   keys, tokens of your own issuer, limits, usage
  docs/tls.md      names of their own, certificates`)
	return nil
}

func (d *accessDemo) buildAccess(ctx context.Context) error {
	d.title("Build the command line, and the example's server")
	if err := d.show(ctx, "go", "build", "-o", cortexBin, "./cmd/cortex"); err != nil {
		return err
	}
	iris := filepath.Join(filepath.Dir(d.dir), "iris")
	for from, to := range map[string]string{"examples/access": d.dir, "examples/iris": iris} {
		if err := copyFiles(to, from); err != nil {
			return err
		}
	}
	return d.show(ctx, "go", "build", "-o", filepath.Join(iris, "bin", "server"), "./examples/iris/server")
}

func (d *accessDemo) startAccess(ctx context.Context) (err error) {
	d.title("Start the local environment, and deploy an API that asks who calls")
	flags, err := d.authority(ctx, filepath.Dir(d.dir))
	if err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, append(slices.Clone(startArgs), flags...)...); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "deploy", filepath.Join(d.dir, "cortex.yaml")); err != nil {
		return err
	}
	if d.url, err = d.endpointOf(ctx, "flowers"); err != nil {
		return err
	}
	d.say("(it goes back to zero when nobody calls)")
	return d.awaitOf(ctx, "flowers", "the API to be at zero", func(a api) bool { return a.Status.Ready == 0 && a.Status.Requested == 0 })
}

const aFlower = `{"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}`

// reply is what a caller gets.
type reply struct {
	status       int
	code         string // X-Cortex-Reason
	left, policy string // RateLimit, RateLimit-Policy
	after        string
	body         []byte
}

func (r reply) String() string {
	words := []string{fmt.Sprint(r.status)}
	for _, w := range []string{r.code, r.left} {
		if w != "" {
			words = append(words, w)
		}
	}
	if r.after != "" {
		words = append(words, "Retry-After: "+r.after)
	}
	return strings.Join(words, "  ")
}

// call is one request, with a key if that is not empty.
func (d *accessDemo) call(ctx context.Context, key string) (reply, error) {
	return d.callAt(ctx, d.url, key)
}

func (d *accessDemo) callAt(ctx context.Context, url, key string) (r reply, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(aFlower))
	if err != nil {
		return r, err
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	h := resp.Header
	return reply{resp.StatusCode, h.Get("X-Cortex-Reason"), h.Get("RateLimit"), h.Get("RateLimit-Policy"), h.Get("Retry-After"), body}, err
}

// asAlice is call with alice's key, and counts.
func (d *accessDemo) asAlice(ctx context.Context) (reply, error) {
	r, err := d.call(ctx, d.key)
	if err == nil {
		d.count(r)
	}
	return r, err
}

func (d *accessDemo) count(r reply) {
	if r.status == http.StatusTooManyRequests {
		d.over++
	} else {
		d.sent++
	}
}

// want says what came, and fails where it is something else.
func (d *accessDemo) want(what string, r reply, err error, status int, code string) error {
	if err != nil {
		return err
	}
	d.say(fmt.Sprintf("%-40s → %s", what, r))
	if r.status != status || r.code != code {
		return fmt.Errorf("%s: the answer is %s, want %d %s:\n%s", what, r, status, code, r.body)
	}
	return nil
}

func (d *accessDemo) stranger(ctx context.Context) error {
	d.title("A stranger is refused, and wakes nothing")
	for range 3 {
		r, err := d.call(ctx, "")
		if err := d.want("POST /flowers, without a key", r, err, http.StatusUnauthorized, "credentials_missing"); err != nil {
			return err
		}
	}
	r, err := d.call(ctx, "cxk_AAAAAAAA_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB_CCCCCC")
	if err := d.want("… with a key that is none", r, err, http.StatusUnauthorized, "key_malformed"); err != nil {
		return err
	}
	if err := d.show(ctx, cortexBin, "get", "flowers"); err != nil {
		return err
	}
	return d.awaitOf(ctx, "flowers", "the API to be at zero still", func(a api) bool { return a.Status.Requested == 0 })
}

func (d *accessDemo) caller(ctx context.Context) error {
	d.title("Alice gets a key, and calls a moment later")
	text, err := d.output(ctx, cortexBin, "keys", "create", "alice", "--api", "flowers", "-o", "json")
	d.typed(cortexBin, "keys", "create", "alice", "--api", "flowers")
	var made struct{ Key, ID string }
	if err == nil {
		err = json.Unmarshal([]byte(text), &made)
	}
	if err != nil || made.Key == "" {
		return errors.Join(err, errors.New("cortex keys create made no key"))
	}
	d.key = made.Key
	d.say("made the key " + made.Key[:13] + "… for flowers")
	r, err := d.asAlice(ctx)
	return d.want("POST /flowers, as alice, from zero", r, err, http.StatusOK, "")
}

// parallel has more under way at once than the limit lets.
func (d *accessDemo) parallel(ctx context.Context) error {
	d.title("She may have two requests under way at once, and sends five")
	time.Sleep(time.Second) //nolint:forbidigo // until the rate lets five through at once
	replies, errs := make([]reply, 5), make([]error, 5)
	var all sync.WaitGroup
	for i := range replies {
		all.Go(func() {
			replies[i], errs[i] = d.call(ctx, d.key)
		})
	}
	all.Wait()
	counts := map[int]int{}
	for i, r := range replies {
		if errs[i] != nil {
			return errs[i]
		}
		d.count(r)
		counts[r.status]++
		d.say(fmt.Sprintf("%-40s → %s", "POST /flowers, as alice", r))
		if r.status != http.StatusOK && r.code != "concurrency_limited" {
			return fmt.Errorf("a request of five at once was answered %s", r)
		}
	}
	if counts[http.StatusOK] < 2 || counts[http.StatusTooManyRequests] < 1 {
		return fmt.Errorf("of five requests at once %d were let in, want two or three", counts[http.StatusOK])
	}
	return nil
}

// rate calls one after the other until the rate is reached.
func (d *accessDemo) rate(ctx context.Context) error {
	d.title("She may come five times a second, and ten times at once")
	for range 40 {
		r, err := d.asAlice(ctx)
		if err != nil {
			return err
		}
		if r.status == http.StatusTooManyRequests {
			d.say(fmt.Sprintf("%-40s → %s", "POST /flowers, as alice", r))
			d.say("\n" + string(bytes.TrimSpace(r.body)) + "\nRateLimit-Policy: " + r.policy)
			if r.code != "rate_limited" {
				return fmt.Errorf("the first refusal is %s, want rate_limited", r)
			}
			return nil
		}
	}
	return errors.New("the rate was never reached")
}

// quota goes on, slowly enough for the rate.
func (d *accessDemo) quota(ctx context.Context) error {
	d.title("And thirty times a day. She goes on, as fast as she may")
	for {
		r, err := d.asAlice(ctx)
		switch {
		case err != nil:
			return err
		case r.code == "quota_exceeded":
			d.say(fmt.Sprintf("%-40s → %s", "POST /flowers, as alice", r))
			if d.sent != 30 {
				return fmt.Errorf("the quota of 30 was over after %d requests", d.sent)
			}
			return nil
		case d.sent > 30:
			return errors.New("more requests were let in than the quota has")
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *accessDemo) usageOfAlice(ctx context.Context) error {
	d.title(fmt.Sprintf("What she has used is what she has sent: %d requests, and %d that a limit refused", d.sent, d.over))
	for end := time.Now().Add(30 * time.Second); ; {
		text, err := d.output(ctx, cortexBin, "usage", "--caller", "alice", "-o", "json")
		var rows []struct{ Requests, Succeeded, Limited int }
		if err == nil {
			err = json.Unmarshal([]byte(text), &rows)
		}
		if err != nil {
			return err
		}
		requests, limited := 0, 0
		for _, r := range rows {
			requests, limited = requests+r.Requests, limited+r.Limited
		}
		if requests == d.sent && limited == d.over {
			return d.show(ctx, cortexBin, "usage", "flowers", "--by", "caller")
		}
		if time.Now().After(end) {
			return fmt.Errorf("usage says %d requests and %d refused, want %d and %d", requests, limited, d.sent, d.over)
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rotation gives alice another key, by which her limits go on.
func (d *accessDemo) rotation(ctx context.Context) error {
	d.title("Her key is replaced. The old one is good for an hour yet; the quota is hers, and not the key's")
	text, err := d.output(ctx, cortexBin, "keys", "rotate", "alice", "--grace", "1h", "-o", "json")
	d.typed(cortexBin, "keys", "rotate", "alice", "--grace", "1h")
	var made struct{ Key string }
	if err == nil {
		err = json.Unmarshal([]byte(text), &made)
	}
	if err != nil {
		return err
	}
	r, err := d.call(ctx, made.Key)
	if err := d.want("POST /flowers, with the new key", r, err, http.StatusTooManyRequests, "quota_exceeded"); err != nil {
		return err
	}
	return d.show(ctx, cortexBin, "keys", "list")
}

func (d *accessDemo) revoked(ctx context.Context) error {
	d.title("She leaves: her keys are revoked")
	if err := d.show(ctx, cortexBin, "keys", "revoke", "alice"); err != nil {
		return err
	}
	begun := time.Now()
	for {
		r, err := d.call(ctx, d.key)
		switch {
		case err != nil:
			return err
		case r.code == "key_unknown":
			return d.want(fmt.Sprintf("POST /flowers, %d ms later", time.Since(begun).Milliseconds()), r, nil, http.StatusUnauthorized, "key_unknown")
		case time.Since(begun) > time.Second:
			return errors.New("a revoked key is good a second later")
		}
	}
}

func (d *accessDemo) cleanUpAccess(ctx context.Context) error {
	d.title("Take it away again")
	for _, name := range []string{"flowers", "tokens"} {
		if err := d.show(ctx, cortexBin, "delete", name, "--force"); err != nil {
			return err
		}
	}
	return d.show(ctx, cortexBin, "local", "stop")
}
