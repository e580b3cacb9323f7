package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"cortex.dev/cortex/bench/proc"
	"cortex.dev/cortex/bench/row"
)

const (
	whatUpCalls   = "cluster up: calls to AWS for each thing made"
	whatUpTime    = "cluster up: time beside its longest chain in AWS"
	whatInfoCalls = "cluster info: calls to AWS, 5 groups of nodes"
	whatUpMemory  = "cluster up: resident memory"
	whatInfoTime  = "cluster info: whole process, AWS beside it"
)

// frugal is what the test of that name says of itself.
var frugal = regexp.MustCompile(`up: (\d+) things, (\d+) calls, (\S+), of which AWS takes (\S+); info: (\d+) calls`)

// clusters has a test measure what a cluster costs in calls and on the simulated clock, which
// is a test's only: there it is the same each time.
func clusters(ctx context.Context, p *place) ([]row.Row, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-run", "^TestFrugal$", "-v", "cortex.dev/cortex/internal/cluster/eks")
	out, err := cmd.CombinedOutput()
	p.Log("%s\n%s", strings.Join(cmd.Args, " "), out)
	m := frugal.FindSubmatch(out)
	if m == nil { // a failed test has measured all the same
		return nil, fmt.Errorf("%s has measured nothing: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return clusterRows(m)
}

func clusterRows(m [][]byte) ([]row.Row, error) {
	var n [6]float64
	var errs []error
	for i := 1; i < len(m); i++ {
		text := string(m[i])
		if i == 3 || i == 4 {
			d, err := time.ParseDuration(text)
			n[i], errs = d.Seconds(), append(errs, err)
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		n[i], errs = v, append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	each, share := n[2]/n[1], n[3]/n[4]
	return []row.Row{
		{What: whatUpCalls, Ours: fmt.Sprintf("%.1f", each), Ratio: fmt.Sprintf("%.2f × of target", each/12), Target: "≤ 12", Met: each <= 12,
			Note: fmt.Sprintf("%.0f calls, waiting included, for %.0f things; simulated account", n[2], n[1])},
		{What: whatUpTime, Ours: seconds(n[3]), Theirs: seconds(n[4]) + " AWS alone", Ratio: fmt.Sprintf("%.2f ×", share), Target: "≤ 1.15 ×", Met: share <= 1.15, Note: "simulated clock"},
		{What: whatInfoCalls, Ours: string(m[5]), Ratio: fmt.Sprintf("%.2f × of target", n[5]/25), Target: "≤ 25", Met: n[5] <= 25, Note: "simulated account"},
	}, nil
}

func seconds(n float64) string {
	return time.Duration(n * float64(time.Second)).Round(time.Second).String()
}

// bigCluster has most of what a plan can have.
const bigCluster = `cluster_name: bench
region: us-west-2
subnet_visibility: private
node_groups:
- {name: cpu, instance_type: m5.large}
- {name: big, instance_type: m5.large, max_instances: 20}
- {name: cheap, instance_type: m5.large, min_instances: 0, spot: true}
`

// ups makes a cluster in a simulated account whose time goes fast. There is no Kubernetes
// behind it, so that the command ends when it is to put Cortex on it: everything else it has
// done by then.
func ups(ctx context.Context, p *place) (rows []row.Row, err error) {
	h, err := p.newHome()
	if err != nil {
		return nil, err
	}
	for binary, from := range map[string]string{"cortex-install": "cortex.dev/cortex/cmd/cortex-install", "aws": "cortex.dev/cortex/e2e/aws"} {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(p.dir, binary), from)
		build.Env = append(os.Environ(), "CGO_ENABLED=0") // as a release is built
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building %s: %w\n%s", from, err, out)
		}
	}
	account := exec.CommandContext(ctx, filepath.Join(p.dir, "aws"), "-speed", "600", "-page-size", "100")
	account.Stderr = os.Stderr
	said, err := account.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := account.Start(); err != nil {
		return nil, err
	}
	defer func() { _ = account.Process.Kill(); _ = account.Wait() }()
	var at struct {
		URL  string `json:"url"`
		Keys map[string]struct{ AccessKeyID, Secret string }
	}
	line, err := bufio.NewReader(io.LimitReader(said, 64<<10)).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the simulated account says nothing: %w", err)
	}
	if err := json.Unmarshal(line, &at); err != nil {
		return nil, err
	}
	file, err := h.file("cluster.yaml", bigCluster)
	if err != nil {
		return nil, err
	}
	up := exec.CommandContext(ctx, p.cortex, "cluster", "up", file, "--yes")
	up.Dir = h.project()
	up.Env = append(h.env(), "AWS_ENDPOINT_URL="+at.URL, "AWS_EC2_METADATA_DISABLED=true", "AWS_ACCESS_KEY_ID="+at.Keys["admin"].AccessKeyID, "AWS_SECRET_ACCESS_KEY="+at.Keys["admin"].Secret)
	var out bytes.Buffer
	up.Stdout, up.Stderr = &out, &out
	if err := up.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- up.Wait() }()
	most, err := peakUntil(up.Process.Pid, ended)
	p.Log("%s\n%s", strings.Join(up.Args, " "), &out)
	if most == 0 || !strings.Contains(out.String(), "✓ attach/cx-operator") {
		return nil, fmt.Errorf("cortex cluster up has not got as far as the nodes: %w\n%s", err, &out)
	}
	var took []time.Duration
	for range p.Times(7, 3) {
		info := exec.CommandContext(ctx, p.cortex, "cluster", "info", "--config", file)
		info.Dir, info.Env = up.Dir, up.Env
		begun := time.Now()
		if said, err := info.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("cortex cluster info: %w\n%s", err, said)
		}
		took = append(took, time.Since(begun))
	}
	mid := row.Median(took)
	mb := float64(most) / 1e6
	return []row.Row{{
		What: whatInfoTime, Ours: row.Millis(mid), Ratio: row.Times(mid, 2*time.Second) + " of target", Target: "≤ 2 s", Met: mid <= 2*time.Second,
		Note: fmt.Sprintf("median of %d, at most %s; the simulated account takes next to no time of its own", len(took), row.Millis(slices.Max(took))),
	}, {
		What: whatUpMemory, Ours: fmt.Sprintf("%.1f MB", mb), Ratio: fmt.Sprintf("%.2f × of target", mb/120), Target: "≤ 120 MB", Met: mb <= 120,
		Note: "at most, until Cortex itself would be installed",
	}}, nil
}

// peakUntil is the most that a process had resident until it ended, which is looked at again
// and again: what the system says after its end has the peak of whoever started it in it.
func peakUntil(pid int, ended <-chan error) (most int64, err error) {
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			return most, err
		case <-look.C:
			if now, err := proc.Peak(pid); err == nil {
				most = max(most, now)
			}
		}
	}
}
