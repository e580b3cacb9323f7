package autoscaler

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cortex.dev/cortex/internal/workload"
)

// The scripts in testdata/*.trace describe one workload's life:
//
//	spec min_replicas 0, window 10s   fields of autoscaling; the others have their defaults
//	tick 10s                          the default
//	replicas 2                        requested at the start
//	at 0s in_flight 5                 from now on every sample says 5
//	at 60s silent                     from now on there are no samples
//	at 70s wake                       the first request of an API at zero
//	at 80s replicas 4                 somebody else sets the number
//	at 85s spec max_replicas 3        a new revision
//	at 90s restart                    the autoscaler forgets everything
//	at 90s expect 3 because "…"       the tick of that moment asks for 3, and says why
//	at 600s end
//
// Samples are taken every second, before the tick of the same moment. A change
// that no expect line announces is a failure.
type script struct {
	spec     workload.Autoscaling
	tick     time.Duration
	replicas int
	lines    []scriptLine
}

type scriptLine struct {
	number int
	at     time.Duration
	verb   string
	rest   string
}

func defaultSpec() workload.Autoscaling {
	return workload.Autoscaling{
		MinReplicas: 1, MaxReplicas: 100, InitReplicas: 1, TargetInFlight: 1,
		Window:                       workload.Duration(time.Minute),
		DownscaleStabilizationPeriod: workload.Duration(5 * time.Minute),
		UpscaleStabilizationPeriod:   workload.Duration(time.Minute),
		MaxDownscaleFactor:           0.75, MaxUpscaleFactor: 1.5, DownscaleTolerance: 0.05, UpscaleTolerance: 0.05,
	}
}

func setFields(a *workload.Autoscaling, text string) error {
	for field := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), " ")
		numbers := map[string]*float64{
			"target_in_flight": &a.TargetInFlight, "max_downscale_factor": &a.MaxDownscaleFactor,
			"max_upscale_factor": &a.MaxUpscaleFactor, "downscale_tolerance": &a.DownscaleTolerance,
			"upscale_tolerance": &a.UpscaleTolerance,
		}
		counts := map[string]*int32{"min_replicas": &a.MinReplicas, "max_replicas": &a.MaxReplicas}
		times := map[string]*workload.Duration{
			"window": &a.Window, "downscale_stabilization_period": &a.DownscaleStabilizationPeriod,
			"upscale_stabilization_period": &a.UpscaleStabilizationPeriod,
		}
		var err error
		switch {
		case numbers[name] != nil:
			*numbers[name], err = strconv.ParseFloat(value, 64)
		case counts[name] != nil:
			var n int
			n, err = strconv.Atoi(value)
			*counts[name] = int32(n)
		case times[name] != nil:
			err = times[name].UnmarshalText([]byte(value))
		default:
			err = fmt.Errorf("no field %q", name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func readScript(t *testing.T, file string) script {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := script{spec: defaultSpec(), tick: DefaultTick, replicas: 1}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		verb, rest, _ := strings.Cut(text, " ")
		switch verb {
		case "spec":
			err = setFields(&s.spec, rest)
		case "tick":
			s.tick, err = time.ParseDuration(rest)
		case "replicas":
			s.replicas, err = strconv.Atoi(rest)
		case "at":
			when, rest, _ := strings.Cut(rest, " ")
			l := scriptLine{number: n}
			if l.at, err = time.ParseDuration(when); err == nil {
				l.verb, l.rest, _ = strings.Cut(rest, " ")
				s.lines = append(s.lines, l)
			}
		default:
			err = fmt.Errorf("no verb %q", verb)
		}
		if err != nil {
			t.Fatalf("%s:%d: %v", file, n, err)
		}
	}
	if len(s.lines) == 0 || s.lines[len(s.lines)-1].verb != "end" {
		t.Fatalf("%s: the last line must be at … end", file)
	}
	if !slices.IsSortedFunc(s.lines, func(a, b scriptLine) int { return int(a.at - b.at) }) {
		t.Fatalf("%s: lines are not in order of time", file)
	}
	return s
}

func TestScripts(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.trace")
	if err != nil || len(files) < 10 {
		t.Fatalf("found %d scripts (%v), want at least 10", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".trace"), func(t *testing.T) {
			t.Parallel()
			s := readScript(t, file)
			(&player{script: s, t: t, file: file}).play()
		})
	}
}

type player struct {
	script
	t        *testing.T
	file     string
	state    State
	inFlight float64
	silent   bool
}

func (p *player) play() {
	p.state = Start(p.tick, DefaultStart)
	p.silent = true
	pace := min(SampleEvery, p.tick)
	for now := time.Duration(0); ; now += pace {
		var expects []scriptLine
		for len(p.lines) > 0 && p.lines[0].at <= now {
			l := p.lines[0]
			p.lines = p.lines[1:]
			switch l.verb {
			case "end":
				return
			case "expect":
				if now%p.tick != 0 {
					p.t.Fatalf("%s:%d: %s is not the moment of a tick", p.file, l.number, now)
				}
				expects = append(expects, l)
			default:
				p.happen(l, now)
			}
		}
		if now == 0 {
			continue
		}
		if !p.silent {
			p.state = p.state.Observe(p.inFlight, DefaultStart.Add(now))
		}
		if now%p.tick == 0 {
			p.decide(now, expects)
		}
	}
}

func (p *player) happen(l scriptLine, now time.Duration) {
	var err error
	switch l.verb {
	case "in_flight":
		p.silent = false
		p.inFlight, err = strconv.ParseFloat(l.rest, 64)
	case "silent":
		p.silent = true
	case "wake":
		if p.replicas != 0 {
			err = fmt.Errorf("woken at %d replicas", p.replicas)
		}
		p.replicas = 1
	case "replicas":
		p.replicas, err = strconv.Atoi(l.rest)
	case "restart":
		p.state = Start(p.tick, DefaultStart.Add(now))
	case "spec":
		err = setFields(&p.spec, l.rest)
	default:
		err = fmt.Errorf("no verb %q", l.verb)
	}
	if err != nil {
		p.t.Fatalf("%s:%d: %v", p.file, l.number, err)
	}
}

func (p *player) decide(now time.Duration, expects []scriptLine) {
	var d Decision
	d, p.state = Decide(p.spec, p.state, p.replicas, DefaultStart.Add(now))
	if d.Changed != (d.Replicas != p.replicas) {
		p.t.Errorf("%s: at %s Changed = %v for %d → %d", p.file, now, d.Changed, p.replicas, d.Replicas)
	}
	if d.Changed && len(expects) == 0 {
		p.t.Fatalf("%s: at %s Decide(…) = %d, want %d as before; it says: %s", p.file, now, d.Replicas, p.replicas, d.Reason())
	}
	for _, l := range expects {
		count, because, _ := strings.Cut(l.rest, " because ")
		want, err := strconv.Atoi(count)
		if err != nil {
			p.t.Fatalf("%s:%d: %v", p.file, l.number, err)
		}
		if d.Replicas != want {
			p.t.Fatalf("%s:%d: at %s Decide(…) = %d, want %d; it says: %s", p.file, l.number, now, d.Replicas, want, d.Reason())
		}
		if because != "" {
			text, err := strconv.Unquote(because)
			if err != nil {
				p.t.Fatalf("%s:%d: %v", p.file, l.number, err)
			}
			if !strings.Contains(d.Reason(), text) {
				p.t.Fatalf("%s:%d: at %s it says %q, want %q in it", p.file, l.number, now, d.Reason(), text)
			}
		}
	}
	p.replicas = d.Replicas
}
