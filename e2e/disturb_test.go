package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"cortex.dev/cortex/internal/workload"
)

// How often an API is disturbed: a few times, or as often as make disturb-items says.
var (
	scaleIns = envInt("CORTEX_E2E_SCALE_INS", 6)
	updates  = envInt("CORTEX_E2E_UPDATES", 2)
)

// cmdDisturb has the items of an API executed while it is scaled in and updated, again and
// again, and more wait than it has places for:
//
//	disturb NAME FILE
//
// FILE deploys it, with VERSION and JOURNAL to be filled in. Each item that was accepted has
// to succeed with its first execution; where its containers run on this machine, what they
// have written down of their requests says so too. Every scale-in has to meet items that are
// executed, and some of these a replica that is to go.
func cmdDisturb(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: disturb NAME FILE")
	}
	p, err := here()
	ts.Check(err)
	d := &disturbance{ts: ts, place: p, name: args[0], text: ts.ReadFile(args[1]), journal: filepath.Join(ts.Getenv("WORK"), "journal")}
	d.deploy()
	url, err := p.apis(ts)
	ts.Check(err)
	d.url = url + "/" + d.name
	ctx, stop := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for range 4 * most {
		callers.Go(func() {
			for ctx.Err() == nil {
				d.one()
			}
		})
	}
	end := func() { stop(); callers.Wait() }
	ts.Defer(end)
	for n := range scaleIns {
		if n*updates/scaleIns != (n+1)*updates/scaleIns {
			d.scale(most)
			d.deploy()
		}
		d.scale(most)
		d.scaleIn()
	}
	end()
	d.judge()
}

// most is how many replicas are scaled in from.
const most = 3

// disturbance is one run of cmdDisturb.
type disturbance struct {
	ts                       *testscript.TestScript
	place                    place
	name, text, url, journal string
	versions                 int
	ins                      []scaledIn

	mu     sync.Mutex
	ended  []workload.Item
	failed []string
}

// scaledIn is a scale-in: when it was asked for, and when all had gone that had to.
type scaledIn struct{ asked, gone time.Time }

// deploy deploys the next version, and waits until it is live.
func (d *disturbance) deploy() {
	d.versions++
	journal := d.journal
	if d.place.name() != "solo" {
		journal = os.DevNull // of another machine
	}
	text := strings.NewReplacer("VERSION", fmt.Sprint("v", d.versions), "JOURNAL", journal).Replace(d.text)
	d.ts.Check(os.WriteFile(d.ts.MkAbs("disturbed.yaml"), []byte(text), 0o600))
	_, err := quietly(d.ts, []string{"cortex", "deploy", "disturbed.yaml"})
	d.ts.Check(err)
}

func (d *disturbance) scale(n int, more ...string) {
	_, err := quietly(d.ts, append([]string{"cortex", "scale", d.name, fmt.Sprint(n)}, more...))
	d.ts.Check(err)
}

// scaleIn takes replicas away that have something to do, and waits until they have gone.
func (d *disturbance) scaleIn() {
	seen := d.count()
	d.until("all replicas have had something to do", func() (bool, error) { return d.count() >= seen+2*most, nil })
	in := scaledIn{asked: time.Now()}
	d.scale(1, "--no-wait")
	d.until("one replica is left", func() (bool, error) {
		found, err := d.place.running(d.ts.Getenv("WORK"))
		found = slices.DeleteFunc(found, func(line string) bool { return !strings.Contains(line, "-journal") })
		return len(found) <= 1, err
	})
	in.gone = time.Now()
	d.ins = append(d.ins, in)
}

// until polls for what comes by itself.
func (d *disturbance) until(what string, holds func() (bool, error)) {
	deadline := time.Now().Add(3 * patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := holds()
		d.ts.Check(err)
		if ok {
			return
		}
		if time.Now().After(deadline) {
			d.ts.Fatalf("after %s it does not hold that %s", 3*patience, what)
		}
		<-tick.C
	}
}

func (d *disturbance) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.ended)
}

// one submits an item and waits for its end.
func (d *disturbance) one() {
	item := workload.Item{}
	err := d.call(http.MethodPost, "", &item)
	for deadline := time.Now().Add(5 * patience); err == nil && item.Status != "completed" && item.Status != "failed"; {
		if time.Now().After(deadline) {
			err = fmt.Errorf("%s has no end after %s: it is %s", item.ID, 5*patience, item.State)
			break
		}
		err = d.call(http.MethodGet, "/"+item.ID+"?wait=30s", &item)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		d.failed = append(d.failed, err.Error())
		return
	}
	d.ended = append(d.ended, item)
}

func (d *disturbance) call(method, path string, into *workload.Item) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.url+path, strings.NewReader("1"))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s is answered with %s", method, path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// judge looks at all that has ended.
func (d *disturbance) judge() {
	bad := d.failed
	lasted := map[string]time.Time{} // by replica, when the last of its executions began
	for _, item := range d.ended {
		if len(item.Attempts) != 1 || item.State != "succeeded" || item.Attempts[0].Outcome != "succeeded" {
			text, _ := json.Marshal(item)
			bad = append(bad, string(text))
			continue
		}
		if a := item.Attempts[0]; a.StartedAt.After(lasted[a.Replica]) {
			lasted[a.Replica] = a.StartedAt
		}
	}
	if d.place.name() == "solo" {
		bad = append(bad, d.wrote()...)
	}
	if len(bad) > 0 {
		d.ts.Fatalf("%d of %d items were disturbed:\n%s", len(bad), len(d.ended)+len(d.failed), strings.Join(bad[:min(len(bad), 5)], "\n"))
	}
	met, left := 0, 0 // executions that a scale-in met, and those of replicas that had to go
	for _, in := range d.ins {
		now := 0
		for _, item := range d.ended {
			a := item.Attempts[0]
			took, err := time.ParseDuration(a.Duration)
			d.ts.Check(err)
			if a.StartedAt.Before(in.gone) && a.StartedAt.Add(took).After(in.asked) {
				if now++; lasted[a.Replica].Before(in.gone) {
					left++
				}
			}
		}
		if met += now; now == 0 {
			d.ts.Fatalf("nothing was executed when it was scaled in at %s", in.asked)
		}
	}
	if left == 0 {
		d.ts.Fatalf("of %d executions that scale-ins met none was of a replica that had to go", met)
	}
	fmt.Fprintf(d.ts.Stdout(), "%d scale-ins, %d updates, %d items: %d executions were met by a scale-in, %d of them on a replica that had to go; 0 interrupted, 0 begun again\n",
		len(d.ins), d.versions-1, len(d.ended), met, left)
}

// wrote says what is wrong with what the containers have written down.
func (d *disturbance) wrote() (bad []string) {
	text, err := os.ReadFile(d.journal)
	d.ts.Check(err)
	begun, over := map[string]int{}, map[string]int{}
	for line := range bytes.Lines(text) {
		switch word, id, _ := strings.Cut(strings.TrimSpace(string(line)), " "); word {
		case "begin":
			begun[id]++
		case "end":
			over[id]++
		}
	}
	for _, item := range d.ended {
		if begun[item.ID] != 1 || over[item.ID] != 1 {
			bad = append(bad, fmt.Sprintf("containers have begun %s %d times, and come to its end %d times", item.ID, begun[item.ID], over[item.ID]))
		}
	}
	return bad
}
